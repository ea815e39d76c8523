// Package deploy_test holds what is in this directory to what the program really does: files are parsed, rendered and run against the
// built binary and, where Java is, against a real Kafka. What a machine lacks is skipped aloud.
package deploy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"sevwatch/pipeline"
	"sevwatch/rules/strictyaml"
)

// scratch is a directory for what several tests share.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sevwatch-deploy-")
	if err != nil {
		panic(err)
	}
	scratch = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// decode reads one YAML document into a pointer to a struct and knows no field that the struct has not.
func decode(t *testing.T, name string, data []byte, into any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		t.Fatalf("%s has more than one document (%v)", name, err)
	}
}

// tool is the path of a program that not every machine has.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIP: no %s here: %v", name, err)
	}
	return path
}

// sameBut checks that a configuration parses, and that it differs from the defaults in what change changes and in nothing else.
func sameBut(t *testing.T, name string, data []byte, change func(*pipeline.Config)) *pipeline.Config {
	t.Helper()
	got, err := pipeline.ParseConfig(name, data)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pipeline.ParseConfig("defaults.yaml", []byte("brokers: [localhost:9092]"))
	if err != nil {
		t.Fatal(err)
	}
	change(want)
	if diff := gocmp.Diff(want, got, cmpopts.IgnoreTypes(strictyaml.Where{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: - is expected, + is found:\n%s", name, diff)
	}
	return got
}

// program is the binary, built as the image builds it.
var program = sync.OnceValues(func() (string, error) {
	out := filepath.Join(scratch, "sevwatch")
	return out, buildFrom("..", out)
})

// sevwatch runs the program and returns its exit code and what it said.
func sevwatch(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// checkCommand checks that the program understands a container's arguments, and returns the path of the configuration among them. Instead
// of the container's file it is given an empty one: only a command line that is understood comes as far as to say so.
func checkCommand(t *testing.T, args []string) string {
	t.Helper()
	i := slices.Index(args, "--config")
	if i < 0 || i+1 == len(args) {
		t.Fatalf("the command %v has no --config FILE", args)
	}
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	mine := slices.Clone(args)
	mine[i+1] = empty
	code, _, stderr := sevwatch(t, mine...)
	if code != 2 || !strings.Contains(stderr, empty+":1:1: ") {
		t.Errorf("sevwatch %s ends with %d, expected 2, and says:\n%s", strings.Join(mine, " "), code, stderr)
	}
	return args[i+1]
}

// A wrong flag and a wrong verb are found by checkCommand's way of looking.
func TestCommandsAreReallyChecked(t *testing.T) {
	f := func(args ...string) {
		t.Helper()
		code, _, stderr := sevwatch(t, args...)
		if code == 2 && strings.Contains(stderr, "/dev/null:1:1: ") {
			t.Errorf("sevwatch %s comes as far as the configuration", strings.Join(args, " "))
		}
	}
	f("run", "--config", "/dev/null", "--json")
	f("work", "--config", "/dev/null")
	f("topics", "--config", "/dev/null", "create")
	if code, _, stderr := sevwatch(t, "run", "--config", "/dev/null"); code != 2 || !strings.Contains(stderr, "/dev/null:1:1: ") {
		t.Errorf("an empty configuration ends with %d and says:\n%s", code, stderr)
	}
}
