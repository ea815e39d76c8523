// Package kafkatest starts brokers for tests and benchmarks: an embedded fake one, and real Apache Kafka as child
// processes without containers. It also reads topics with kcat, a client that shares no code with ours.
//
// It must know nothing of sevwatch: no events, no rules, no messages. The product must not import it.
package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Fake starts an embedded broker on loopback and closes it when the test ends. It is one broker, without topics, unless
// opts say otherwise. The address is that of its first broker.
func Fake(t testing.TB, opts ...kfake.Opt) (string, *kfake.Cluster) {
	t.Helper()
	all := append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)
	cluster, err := kfake.NewCluster(all...)
	if err != nil {
		t.Fatalf("cannot start a fake broker: %v", err)
	}
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0], cluster
}

// Real starts real brokers with their data in t.TempDir and kills them when the test ends. Without Java, or without
// Maven to fetch Kafka the first time, it skips the test; with CI=true in the environment it fails it.
func Real(t testing.TB, opt Options) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), t.TempDir(), opt)
	failOrSkip(t, err)
	c.tb = t
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// shared is the one broker of a test process. Its lock is held while the broker starts, so that parallel tests wait.
var shared struct {
	mu      sync.Mutex
	inMain  bool
	tried   bool
	dir     string
	cluster *Cluster
	err     error
}

// Shared returns the one real broker of this test process, started by the first test that asks. Tests use topics named
// by Topic and leave the broker running. The package's TestMain must call Main, which ends it.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.inMain {
		t.Fatal("BUG: kafkatest.Shared without kafkatest.Main in TestMain: nobody would end the broker")
	}
	if !shared.tried {
		shared.tried = true
		shared.cluster, shared.err = startShared(t)
	}
	failOrSkip(t, shared.err)
	c := *shared.cluster
	c.tb = t
	return &c
}

func startShared(t testing.TB) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "sevwatch-kafka-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the shared broker: %w", err)
	}
	shared.dir = dir
	return Start(t.Context(), dir, Options{})
}

// Main runs the tests, ends the shared broker if one was started, and exits:
//
//	func TestMain(m *testing.M) { kafkatest.Main(m) }
func Main(m *testing.M) {
	shared.mu.Lock()
	shared.inMain = true
	shared.mu.Unlock()
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func closeShared() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var err error
	if shared.cluster != nil {
		err = shared.cluster.Close()
	}
	if shared.dir != "" {
		err = errors.Join(err, os.RemoveAll(shared.dir))
	}
	return err
}

var (
	topics       atomic.Int64
	notTopicName = regexp.MustCompile(`[^a-zA-Z0-9]+`)
)

// Topic returns a topic name that carries the test's name and that no other call in this process returns. It does not
// make the topic.
func Topic(t testing.TB) string {
	const longest = 200 // Kafka allows 249
	name := notTopicName.ReplaceAllString(t.Name(), "-")
	return fmt.Sprintf("%s-%d", name[:min(len(name), longest)], topics.Add(1))
}

// failOrSkip ends the test if there is an error: a missing program skips it, except where CI=true says that nothing may
// be missing.
func failOrSkip(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var missing *MissingError
	if errors.As(err, &missing) && os.Getenv("CI") != "true" {
		t.Skipf("SKIP: %v", missing)
	}
	t.Fatal(err)
}

// MissingError says which program is not installed on this machine.
type MissingError struct {
	Program string
	Err     error
}

func (e *MissingError) Error() string { return fmt.Sprintf("no %s: %v", e.Program, e.Err) }

func (e *MissingError) Unwrap() error { return e.Err }
