package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// programEnv tells the test binary to be the program.
const programEnv = "SEVWATCH_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// output is what a process says, to be looked at while it goes on.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// `sevwatch run` in a process of its own: it puts its rule file in force when it starts and on SIGHUP; of a file with mistakes it says them all, and
// goes on.
func TestHangup(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	const one = "groups: [{name: g, rules: [{alert: A, signal: {count: error}, window: 1m, severities: [{severity: sev1, above: 1}]}]}]\n"
	file := write(t, "rules.yaml", []byte(one))
	config := write(t, "sevwatch.yaml", []byte("brokers: [\""+broker+"\"]\nhttp: {listen: none}\ntopics: {replication: 1}\nrules: "+file+"\n"))
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stderr)
	cfg, err := loadConfig(config)
	must(t, err)
	client, err := cfg.Connect(t.Context(), time.Minute)
	must(t, err)

	said := &output{}
	cmd := exec.Command(os.Args[0], "run", "--config", config)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), programEnv+"=1"), said, said
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	until := func(what string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for !strings.Contains(said.String(), what) {
			select {
			case <-ctx.Done():
				t.Fatalf("waited for it to say %q; it said\n%s", what, said)
			case err := <-ended:
				t.Fatalf("it ended with %v; it said\n%s", err, said)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	until("rules are put in force")

	other, err := rules.Parse("other", []byte(strings.Replace(one, "above: 1", "above: 2", 1)), cfg.RuleOptions())
	must(t, err)
	_, err = pipeline.Say(t.Context(), cfg, client, wire.Rules(other, 0, "another worker"))
	must(t, err)
	until("the rule file is not what runs")
	must(t, cmd.Process.Signal(syscall.SIGHUP))
	until("the rule file is what runs")
	bad := strings.Replace(strings.Replace(one, "sev1", "sev9", 1), "window: 1m", "window: 1x", 1)
	must(t, os.WriteFile(file, []byte(bad), 0o600))
	must(t, cmd.Process.Signal(syscall.SIGHUP))
	until(file + ":1:71: ")
	until(file + ":1:99: ")

	must(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err = <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	var exited *exec.ExitError
	if errors.As(err, &exited) || err != nil {
		t.Errorf("it ended with %v", err)
	}
	for _, what := range []string{"worker starts", `"pipeline": "assessment"`, "told to stop", "worker has stopped"} {
		if !strings.Contains(said.String(), what) {
			t.Errorf("it never said %q", what)
		}
	}
	mine, err := rules.Parse("mine", []byte(one), cfg.RuleOptions())
	must(t, err)
	if got, want := loggedRules(t, cfg, client), []string{mine.Hash, other.Hash, mine.Hash}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the rules on the log are %v, expected %v", got, want)
	}
}

// A worker that cannot have its address puts no rules in force: the one that has it goes on as it was.
func TestAddressTaken(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	config := write(t, "sevwatch.yaml", []byte("brokers: [\""+broker+"\"]\nhttp: {listen: \""+l.Addr().String()+"\"}\ntopics: {replication: 1}\n"))
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stderr)
	code, _, stderr = call(t, "", "run", "--config", config)
	expect(t, "run", exitWorld, code, stderr, "cannot listen on "+l.Addr().String())
	cfg, err := loadConfig(config)
	must(t, err)
	client, err := cfg.Connect(t.Context(), time.Minute)
	must(t, err)
	if got := loggedRules(t, cfg, client); len(got) > 0 {
		t.Errorf("the rules on the log are %v, expected none", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// loggedRules are the hashes of the rules on the control topic.
func loggedRules(t *testing.T, cfg *pipeline.Config, client *kafka.Client) (hashes []string) {
	t.Helper()
	res, err := client.Fetch(t.Context(), &kafka.FetchRequest{Topic: cfg.Topics.Control, MaxBytes: 1 << 20, MaxWait: time.Second})
	must(t, err)
	for {
		r, err := res.Records.ReadRecord()
		if err != nil {
			return hashes
		}
		value, err := kafka.ReadAll(r.Value)
		must(t, err)
		if c, err := wire.DecodeControl(value, cfg.RuleOptions()); err == nil && c.Act.Act == detector.ActRules {
			hashes = append(hashes, c.Hash)
		}
	}
}

// A replay changes the rules where a control record says so, unless it is given rules of its own.
func TestReplayWithChangedRules(t *testing.T) {
	file := func(above string) *rules.File {
		text := "groups: [{name: g, rules: [{alert: A, signal: {count: error}, window: 1m, severities: [{severity: sev1, above: " + above + "}]}]}]\n"
		f, err := rules.Parse("rules.yaml", []byte(text), rules.Options{})
		must(t, err)
		return f
	}
	first, quiet := file("0"), file("100000")
	at := detector.Millis(time.Date(2026, 11, 1, 12, 1, 0, 0, time.UTC).UnixMilli())
	control := write(t, "control.ndjson", slices.Concat(wire.JSON(wire.Rules(first, 0, "w")), []byte("\n"), wire.JSON(wire.Rules(quiet, at, "w")), []byte("\n")))
	code, stdout, stderr := call(t, outage(), "replay", "--control", control, "-")
	expect(t, "rules of the log", exitDone, code, stderr, "rules: the control records have changed them; the last are "+quiet.Hash)
	if stdout != "" {
		t.Errorf("rules that tell of nothing told %s", stdout)
	}
	code, stdout, stderr = call(t, outage(), "replay", "--control", control, "--rules", write(t, "own.yaml", first.Text), "-")
	expect(t, "own rules", exitDone, code, stdout, `"transition":"opened"`, first.Hash)
	if strings.Contains(stderr, "control records") {
		t.Errorf("under its own rules the replay says %s", stderr)
	}
	bad := strings.Replace(string(wire.JSON(wire.Rules(quiet, at, "w"))), "window", "widow", 1)
	code, _, stderr = call(t, outage(), "replay", "--control", write(t, "bad.ndjson", []byte(bad)), "-")
	expect(t, "a bad record", exitUsage, code, stderr, "bad.ndjson:1: cannot read the rules: rules:1:", `"widow"`)
}
