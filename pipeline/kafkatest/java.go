package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const kafkaVersion = "4.3.1"

// pom names Kafka's server, its tools, and a logger that writes warnings to stderr: without one a broker that cannot
// start says nothing.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sevwatch</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>` + kafkaVersion + `</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>` + kafkaVersion + `</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
`

// java runs the programs of Kafka.
type java struct {
	binary string
	jars   string // the directory that holds Kafka and all it needs
}

func findJava(ctx context.Context) (java, error) {
	binary := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		binary = filepath.Join(home, "bin", "java")
	}
	binary, err := exec.LookPath(binary)
	if err != nil {
		return java{}, &MissingError{Program: "Java", Err: err}
	}
	jars, err := findJars(ctx)
	if err != nil {
		return java{}, err
	}
	return java{binary: binary, jars: jars}, nil
}

// command runs a main class. The flags are for a quick start: the first compiler only, the simplest collector.
func (j java) command(class string, jvmArgs, args []string) *exec.Cmd {
	all := []string{
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
	}
	all = append(all, jvmArgs...)
	all = append(all, "-cp", filepath.Join(j.jars, "*"), class)
	return exec.Command(j.binary, append(all, args...)...)
}

// run runs one of Kafka's tools and returns what it wrote to stdout.
func (j java) run(ctx context.Context, class string, args ...string) (string, error) {
	return run(ctx, j.command(class, []string{"-Xmx256m"}, args))
}

// server is the command that runs broker n.
func (j java) server(opt Options, n *node) *exec.Cmd {
	jvmArgs := []string{"-Xmx" + strconv.Itoa(opt.HeapMB) + "m", "-XX:+ExitOnOutOfMemoryError"}
	return j.command("kafka.Kafka", append(jvmArgs, opt.JavaArgs...), []string{n.properties()})
}

// findJars returns the directory of Kafka's jars and fetches them the first time. Many test processes may come at once:
// one fetches under a lock, the others wait; the directory appears whole or not at all.
func findJars(ctx context.Context) (string, error) {
	dir, err := jarsDir()
	if err != nil {
		return "", err
	}
	if hasJars(dir) {
		return dir, nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", &MissingError{Program: "Maven", Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("cannot make a cache for Kafka: %w", err)
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if hasJars(dir) {
		return dir, nil
	}
	return dir, fetchJars(ctx, mvn, dir)
}

func jarsDir() (string, error) {
	if dir := os.Getenv("SEVWATCH_KAFKA_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cannot find a cache for Kafka: %w", err)
	}
	return filepath.Join(cache, "sevwatch", "kafka-"+kafkaVersion), nil
}

func hasJars(dir string) bool {
	for _, name := range []string{"kafka_2.13-", "kafka-tools-"} {
		if _, err := os.Stat(filepath.Join(dir, name+kafkaVersion+".jar")); err != nil {
			return false
		}
	}
	return true
}

// fetchJars has Maven copy the jars beside dir and then renames them into place.
func fetchJars(ctx context.Context, mvn, dir string) (err error) {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "kafka-fetch-")
	if err != nil {
		return fmt.Errorf("cannot fetch Kafka: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	file, jars := filepath.Join(tmp, "pom.xml"), filepath.Join(tmp, "jars")
	if err := os.WriteFile(file, []byte(pom), 0o644); err != nil {
		return fmt.Errorf("cannot fetch Kafka: %w", err)
	}
	cmd := exec.Command(mvn, "-q", "-B", "-Dstyle.color=never", "-f", file, "dependency:copy-dependencies",
		"-DoutputDirectory="+jars)
	if _, err := run(ctx, cmd); err != nil {
		return fmt.Errorf("cannot fetch Kafka: %w", err)
	}
	if err := os.Rename(jars, dir); err != nil {
		return fmt.Errorf("cannot fetch Kafka: %w", err)
	}
	return nil
}

// lockFile waits for the lock on the file at path. The file stays: who removes a lock file breaks the lock of the next.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	every := backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx)
	err = backoff.Retry(func() error {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return backoff.Permanent(err)
		}
		return err
	}, every)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil // closing unlocks
}
