package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
)

// call runs the program with arguments and gives its exit code, stdout and stderr.
func call(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = run(world{ctx, strings.NewReader(stdin), &out, &errs, 300 * time.Millisecond}, args)
	return code, out.String(), errs.String()
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func expect(t *testing.T, what string, wantCode, code int, output string, want ...string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("%s: exit code %d, expected %d; it said %s", what, code, wantCode, output)
	}
	for _, w := range want {
		if !strings.Contains(output, w) {
			t.Errorf("%s: it said %q, expected %q in it", what, output, w)
		}
	}
}

func TestUsage(t *testing.T) {
	code, stdout, stderr := call(t, "")
	expect(t, "no verb", exitUsage, code, stderr, "Usage: sevwatch <command>", "  status        Write what a status page")
	if stdout != "" {
		t.Errorf("without a verb it prints %s", stdout)
	}
	code, _, stderr = call(t, "", "replay", "--formt", "table", "x")
	expect(t, "an unknown flag", exitUsage, code, stderr, "unknown flag --formt")
	code, stdout, _ = call(t, "", "--help")
	expect(t, "help", exitDone, code, stdout, "replay", "demo", "topics")
	code, stdout, _ = call(t, "", "--version")
	expect(t, "the version", exitDone, code, stdout, "sevwatch "+pipeline.Version+", go1.")
	code, _, stderr = call(t, "", "demo", "--scale", "0")
	expect(t, "a demo that takes no time", exitUsage, code, stderr, "--scale is 0, expected more")
}

// TestVersion: what the build knows of its commit is told.
func TestVersion(t *testing.T) {
	f := func(want string, known bool, settings ...debug.BuildSetting) {
		t.Helper()
		if got := version(&debug.BuildInfo{GoVersion: "go1.26", Settings: settings}, known); got != "sevwatch "+pipeline.Version+want {
			t.Errorf("%s, expected %s behind the version", got, want)
		}
	}
	commit, at := debug.BuildSetting{Key: "vcs.revision", Value: "1a2b"}, debug.BuildSetting{Key: "vcs.time", Value: "2026-11-01T12:00:00Z"}
	f("", false)
	f(", go1.26", true)
	f(", go1.26, commit 1a2b", true, commit, debug.BuildSetting{Key: "vcs.modified", Value: "false"})
	f(", go1.26, commit 1a2b of 2026-11-01T12:00:00Z and changes to it", true, commit, at, debug.BuildSetting{Key: "vcs.modified", Value: "true"})
}

// TestLabelText: what has no labels shows none.
func TestLabelText(t *testing.T) {
	f := func(want string, labels map[string]string) {
		t.Helper()
		if got := labelText(labels); got != want {
			t.Errorf("%v is %s, expected %s", labels, got, want)
		}
	}
	f("", nil)
	f("", map[string]string{"team": "x"})
	f(`{a="b",service="api"}`, map[string]string{"service": "api", "team": "x", "a": "b"})
}

// outage is a minute of good requests and three of failed ones, twenty a second.
func outage() string {
	var b strings.Builder
	for i := range 4 * 60 * 20 {
		at := time.Date(2026, 11, 1, 12, 0, 0, i%20*50_000_000, time.UTC).Add(time.Duration(i/20) * time.Second)
		status := 200
		if i > 60*20 {
			status = 500
			fmt.Fprintf(&b, `{"time":%d,"kind":"error","service":"api","error_type":"Boom"}`+"\n", at.UnixMilli())
		}
		fmt.Fprintf(&b, `{"time":%d,"kind":"latency","service":"api","endpoint":"/","status":%d,"duration_ms":12.5}`+"\n", at.UnixMilli(), status)
	}
	return b.String()
}

// Records of another shape, read by the configuration of their source, are the same outage.
func TestReplayOfASource(t *testing.T) {
	config := write(t, "sevwatch.yaml", []byte(`
brokers: ["localhost:9092"]
sources:
  - topic: web.requests
    fields:
      time: {path: ts, unit: ns}
      kind: {path: what}
      service: {const: api}
      endpoint: {path: at}
      status: {path: answer.code}
      duration_ms: {path: answer.took, unit: s}
      error_type: {path: answer.error}
`))
	_, want, _ := call(t, outage(), "replay", "-")
	foreign := regexp.MustCompile(`"time":(\d+),"kind":("[a-z]+"),"service":"api"(?:,"endpoint":("/"),"status":(\d+),"duration_ms":12.5|,"error_type":("Boom"))`).
		ReplaceAllStringFunc(outage(), func(text string) string {
			var e struct {
				Time   int64
				Kind   string
				Status int
			}
			if err := json.Unmarshal([]byte("{"+text+"}"), &e); err != nil {
				t.Fatal(err)
			}
			if e.Kind == "error" {
				return fmt.Sprintf(`"ts":"%d000000","what":"error","answer":{"error":"Boom"}`, e.Time)
			}
			return fmt.Sprintf(`"ts":"%d000000","what":"latency","at":"https://api/","answer":{"code":%d,"took":0.0125}`, e.Time, e.Status)
		})
	code, got, stderr := call(t, foreign, "replay", "--config", config, "--source", "web.requests", "-")
	expect(t, "another shape", exitDone, code, stderr, "0 late + 0 rejected")
	if got != want || !strings.Contains(got, "Sev1") {
		t.Errorf("the messages are\n%s\nexpected\n%s", got, want)
	}
	code, _, stderr = call(t, foreign, "replay", "--config", config, "--source", "web", "-")
	expect(t, "no such source", exitUsage, code, stderr, `--source is "web", expected one of the sources of --config: web.requests`)
	code, _, stderr = call(t, foreign, "replay", "--source", "web", "-")
	expect(t, "no configuration", exitUsage, code, stderr, "--source needs --config and files")
}

// Late records are counted by the lateness of their source, and the summary says which one they would have needed.
func TestReplayNeedsLateness(t *testing.T) {
	late := outage() + strings.Repeat(`{"time":"2026-11-01T12:02:44.950Z","kind":"error","service":"api"}`+"\n", 50) // 75 s behind the newest
	_, _, stderr := call(t, late, "replay", "-")
	if !strings.Contains(stderr, "50 late") || !strings.Contains(stderr, "late 50 of file under a lateness of 10s; 1m21s919ms would have kept 99.9 % of its records\n") {
		t.Errorf("the summary is %s", stderr)
	}
	f := func(lateness, want string) {
		t.Helper()
		config := write(t, "sevwatch.yaml", fmt.Appendf(nil, "{brokers: ['a:1'], lateness: 0s, sources: [{topic: a, lateness: %s}]}", lateness))
		_, _, stderr := call(t, late, "replay", "--config", config, "--source", "a", "-")
		if !strings.Contains(stderr, want) {
			t.Errorf("under %s the summary is %s", lateness, stderr)
		}
	}
	f("20s", "late 50 of file under a lateness of 20s; 1m21s919ms would")
	f("1m21s919ms", " 0 late")
}

// TestSummaryAddsUp: what became of the records is told of all of them, and offsets that hold none are told beside them.
func TestSummaryAddsUp(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stderr)
	publish(t, broker, "assessment.errors", `{"time":"2026-11-01T12:00:00Z","service":"api"}`, `{"time":"2026-11-03T12:00:00Z","service":"api"}`, "nonsense")
	code, _, stderr = call(t, "", "replay", "--config", config)
	expect(t, "a record that is held", exitDone, code, stderr, "3 records in ", ": 1 counted + 0 late + 1 rejected + 1 held, dated too far ahead;")
	f := func(in detector.Totals, want string) {
		t.Helper()
		if got := account(in, false, time.Second); got != want {
			t.Errorf("%s\nexpected %s", got, want)
		}
	}
	f(detector.Totals{}, "0 records in 1s: 0 counted + 0 late + 0 rejected")
	f(detector.Totals{Counted: 100, Late: 20, Rejected: 3, Duplicate: 4000, Control: 1, Aborted: 7, Held: 50000},
		"54123 records in 1s: 100 counted + 20 late + 3 rejected + 4000 duplicate + 50000 held, dated too far ahead; "+
			"1 offset with the end of a transaction; 7 offsets of aborted or compacted records")
	blank := strings.Replace(outage(), "\n", "\n\n  \n", 1)
	code, _, stderr = call(t, blank, "replay", "--format", "none", "-")
	expect(t, "blank lines", exitDone, code, stderr, "0 rejected; 2 lines without a record; judged up to")
	table := write(t, "a.csv", []byte("\ntime,kind\n1793534400000,error\n1793534401000,error\n"))
	code, _, stderr = call(t, "", "replay", "--format", "none", table)
	expect(t, "a CSV head", exitDone, code, stderr, "2 records in ", "2 counted + 0 late + 0 rejected; judged up to")
	code, _, stderr = call(t, "", "replay", "--format", "none", write(t, "b.csv", []byte("time,kind\n\n1793534400000,error\n")))
	expect(t, "a blank line behind a CSV head", exitDone, code, stderr, "0 rejected; 1 line without a record; ")
}

func TestReplay(t *testing.T) {
	code, stdout, stderr := call(t, outage(), "replay", "-")
	expect(t, "an outage", exitDone, code, stdout, `"transition":"opened"`, `"severity":"Sev1"`)
	expect(t, "an outage", exitDone, code, stderr, "0 late + 0 rejected")
	code, table, _ := call(t, outage(), "replay", "--format", "table", "-")
	expect(t, "as a table", exitDone, code, table, "CriticalErrorRateSpike", "Sev1")
	code, _, stderr = call(t, outage(), "replay", "--fail-on", "sev2", "-")
	expect(t, "--fail-on", exitFound, code, stderr)
	code, inside, stderr := call(t, outage(), "replay", "--fail-on", "sev2", "--from", "2026-11-01T12:03:35Z", "-")
	expect(t, "--fail-on of what is open when the range begins", exitFound, code, stderr)
	if strings.Contains(inside, "Sev") {
		t.Errorf("something is told in the range:\n%s", inside)
	}
	code, _, stderr = call(t, outage(), "replay", "--fail-on", "sev2", "--from", "2026-11-01T13:00:00Z", "-")
	expect(t, "--fail-on of a range that is not reached", exitDone, code, stderr)
	code, _, stderr = call(t, "{\"time\":5}\nnonsense\n", "replay", "-")
	expect(t, "bad lines", exitUsage, code, stderr, "2 rejected", "rejected 1 for not_json, first -:2:", "rejected 1 for missing, first -:1:")
	code, _, stderr = call(t, "", "replay", filepath.Join(t.TempDir(), "nothing.ndjson"))
	expect(t, "no file", exitUsage, code, stderr, "cannot open the input", "nothing.ndjson: no such file")

	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(outage())); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	code, again, _ := call(t, "", "replay", write(t, "outage.ndjson.gz", packed.Bytes()))
	if expect(t, "gz", exitDone, code, again); again != stdout {
		t.Error("the gz file gave other messages than the plain one")
	}
	code, _, stderr = call(t, "", "replay", write(t, "half.ndjson.gz", packed.Bytes()[:packed.Len()/2]))
	expect(t, "a truncated gz", exitWorld, code, stderr, "cannot read", "half.ndjson.gz behind line", "unexpected EOF")
}

func TestCheck(t *testing.T) {
	bad := write(t, "bad.yaml", []byte("groups:\n  - name: x\n    rules:\n      - alert: A\n        signal: {ratio: {errors: error, total: latency}}\n"+
		"        window: 7s\n        severities: [{severity: sev1, above: 0.1}, {severity: sev2, above: 0.5}]\n"))
	code, stdout, _ := call(t, "", "check", bad)
	expect(t, "a bad file", exitFound, code, stdout, bad+":6:", bad+":7:", "looser")
	code, _, stderr := call(t, "", "replay", "--rules", bad, "-")
	expect(t, "replay by it", exitUsage, code, stderr, bad+":6:", bad+":7:")
	good := write(t, "good.yaml", []byte("groups:\n  - name: x\n    rules:\n      - alert: A\n        signal: {count: error}\n"+
		"        window: 1m\n        severities: [{severity: sev1, above: 10}]\n"))
	code, _, stderr = call(t, "", "check", good)
	expect(t, "a good file", exitDone, code, stderr, "1 rule, nothing wrong")
}

func configFile(t *testing.T, broker string) string {
	return write(t, "sevwatch.yaml", fmt.Appendf(nil, "brokers: [%q]\ntopics: {replication: 1}\nhttp: {listen: none}\n", broker))
}

func TestUnreachableBroker(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	uneven := write(t, "uneven.yaml", []byte("brokers: [\"127.0.0.1:1\"]\npane: 7s\n"))
	code, _, stderr := call(t, "", "run", "--config", uneven)
	expect(t, "run whose rules have mistakes, which no broker is needed for", exitUsage, code, stderr, "more durations are none: a pane of 30s fits all of them")
	for _, verb := range []string{"run", "topics"} {
		code, _, stderr := call(t, "", verb, "--config", configFile(t, nobody))
		expect(t, verb, exitWorld, code, stderr, "cannot reach any of the brokers ["+nobody+"]")
		if n := strings.Count(stderr, "\n"); n != 1 {
			t.Errorf("%s: %d lines, expected one sentence: %s", verb, n, stderr)
		}
	}
}

func TestMissingTopics(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, _, stderr := call(t, "", "run", "--config", config)
	expect(t, "run", exitUsage, code, stderr, "topic assessment.errors is missing", "topic sevwatch.panes is missing", "sevwatch topics --create")
	if n := strings.Count(stderr, "is missing"); n != 14 {
		t.Errorf("%d topics are missing by name, expected 14", n)
	}
	code, stdout, _ := call(t, "", "topics", "--config", config)
	expect(t, "topics", exitFound, code, stdout, "topic sevwatch.marks is missing")
	three := write(t, "three.yaml", fmt.Appendf(nil, "brokers: [%q]\n", broker))
	code, stdout, _ = call(t, "", "topics", "--config", three, "--create")
	expect(t, "three copies on one broker", exitFound, code, stdout, "topics.replication is 3, which is more than there are brokers (1): make it smaller")
	if n := strings.Count(stdout, "\n"); n != 1 {
		t.Errorf("%d lines, expected one sentence: %s", n, stdout)
	}
	code, stdout, _ = call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics --create", exitDone, code, stdout, "topic sevwatch.marks made with 4 partitions")
	code, stdout, _ = call(t, "", "topics", "--config", config)
	expect(t, "topics again", exitDone, code, stdout, "topic sevwatch.marks is there with 4 partitions")
	other := write(t, "other.yaml", fmt.Appendf(nil, "brokers: [%q]\ntasks: {aggregate: 5}\ntopics: {replication: 1}\n", broker))
	code, _, stderr = call(t, "", "run", "--config", other)
	expect(t, "another number of tasks", exitUsage, code, stderr, "topic sevwatch.marks has 4 partitions, expected 5")
}

// TestNothingThereIsNoHealth: what is asked of topics that are missing has no answer, which is another thing than that nothing is on them.
func TestNothingThereIsNoHealth(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	f := func(want string, args ...string) {
		t.Helper()
		code, stdout, stderr := call(t, "", append(args, "--config", config)...)
		if expect(t, args[0], exitUsage, code, stderr, want); stdout != "" {
			t.Errorf("%s prints %s", args[0], stdout)
		}
	}
	const alerts = "topic assessment.alerts is missing: sevwatch topics --create makes it\n"
	f(alerts, "status")
	f(alerts, "postmortem", "9a")
	f(alerts, "verify")
	f(alerts, "ack", "9a", "--by", "maria")
	f("topic sevwatch.rejected is missing: sevwatch topics --create makes it\n", "rejected")
	f("topic sevwatch.rejected is missing: sevwatch topics --create makes it\n", "rejected", "--resend")
	f("topic sevwatch.late is missing: sevwatch topics --create makes it\n", "rejected", "--late")
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestFullDisk: what could not be printed is an error.
func TestFullDisk(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	events, rules := write(t, "events.ndjson", []byte(outage())), write(t, "rules.yaml", []byte(testRules))
	bad := write(t, "bad.yaml", []byte("brokers: []\n"))
	f := func(args ...string) {
		t.Helper()
		var errs bytes.Buffer
		code := run(world{t.Context(), strings.NewReader(""), full{}, &errs, 300 * time.Millisecond}, args)
		expect(t, strings.Join(args, " "), exitWorld, code, errs.String(), "no space left on device")
	}
	f("topics", "--config", config, "--create")
	aside := wire.Origin{Source: detector.Source{Topic: "gone"}, Record: wire.Record{Value: []byte("x"), Time: 1793534400000}}
	putAside(t, broker, wire.Rejected(aside, &wire.Reject{Reason: wire.NotJSON, Detail: "unexpected byte"}))
	publish(t, broker, "assessment.alerts", `{"id":"9b"}`)
	f("topics", "--config", config)
	f("rejected", "--config", config)
	f("rejected", "--config", config, "--format", "ndjson")
	f("status", "--config", config)
	f("ack", "--config", config, "--by", "maria", "9b")
	f("test", "-v")
	f("tune", "A", events, "--rules", rules)
	f("check", bad)
	f("check", rules, "--against", events)
	f("replay", events)
	f("replay", "--format", "csv", events)
	f("query", "error", events)
}

// A worker does not start on a topic whose settings lose data. What is only unusual is told.
func TestTopicSettings(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics --create", exitDone, code, stderr)
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	set := func(topic, name, value string) {
		t.Helper()
		res, err := client.IncrementalAlterConfigs(t.Context(), &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value}},
		}}})
		if err = errors.Join(err, res.Resources[0].Error); err != nil {
			t.Fatal(err)
		}
	}
	const marks = "topic sevwatch.marks has retention.ms 2592000000, expected -1: what is older cannot be replayed exactly"
	const state = "topic sevwatch.state has cleanup.policy delete, expected compact: set it with `sevwatch topics --create`"
	set("sevwatch.marks", "retention.ms", "2592000000")
	code, stdout, _ := call(t, "", "topics", "--config", config)
	expect(t, "topics, one unusual", exitDone, code, stdout, "topic sevwatch.marks is there with 4 partitions\nwarning: "+marks)
	set("sevwatch.state", "cleanup.policy", "delete")
	code, stdout, _ = call(t, "", "topics", "--config", config)
	expect(t, "topics, one wrong", exitFound, code, stdout, state)
	code, _, stderr = call(t, "", "run", "--config", config)
	expect(t, "run", exitUsage, code, stderr, state, marks)
	code, stdout, _ = call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics --create, one wrong", exitDone, code, stdout, "topic sevwatch.state had cleanup.policy delete: it is compact now", marks)
	code, stdout, _ = call(t, "", "topics", "--config", config)
	expect(t, "topics, mended", exitDone, code, stdout, "topic sevwatch.state is there with")
}

func TestBadConfiguration(t *testing.T) {
	path := write(t, "bad.yaml", []byte("brokers: []\npanes: 10s\n"))
	code, _, stderr := call(t, "", "run", "--config", path)
	expect(t, "a bad configuration", exitUsage, code, stderr, path+":1:", path+":2:1: ", `"panes"`)
}

// publish writes messages to the topics of a pipeline as its judges do.
func publish(t *testing.T, broker, topic string, messages ...string) {
	t.Helper()
	var records []kafka.Record
	for _, m := range messages {
		records = append(records, kafka.Record{Value: kafka.NewBytes([]byte(m))})
	}
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	res, err := client.Produce(t.Context(), &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPeoplesWords(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stderr)
	publish(t, broker, "assessment.alerts", `{"id":"9a1e62f0c7d34b58e201","revision":1}`, `{"id":"9a1e62f0c7d34b58e201","revision":2}`, `nonsense`, `{"id":"9a77"}`)
	publish(t, broker, "assessment.recovery", `{"incident_id":"9a1e62f0c7d34b58e201","action":"rollback","transition":"requested"}`, `{"incident_id":"9a1e62f0c7d34b58e201","action":"scale"}`)
	code, stdout, stderr := call(t, "", "ack", "--config", config, "--by", "maria", "-m", "looking", "9a1e62f0c7d34b58e201")
	expect(t, "ack", exitDone, code, stdout, `{"v":1,"act":"acknowledge","incident_id":"9a1e62f0c7d34b58e201","by":"maria","comment":"looking"}`)
	expect(t, "ack", exitDone, code, stderr, "written to sevwatch.control/0 at offset 0")
	code, stdout, stderr = call(t, "", "silence", "--config", config, "--by", "maria", "--at", "2026-11-01T12:00:00Z", "--for", "2h", `{service="api",alert=~"Slow.*"}`)
	expect(t, "silence", exitDone, code, stdout, `"time":"2026-11-01T12:00:00.000Z"`, `"matchers":"{service=\"api\",alert=~\"Slow.*\"}","until":"2026-11-01T14:00:00.000Z"`)
	expect(t, "silence", exitDone, code, stderr, "at offset 1")
	code, _, stderr = call(t, "", "silence", "--config", config, "--by", "maria", "--for", "2h", `{service=api}`)
	expect(t, "bad matchers", exitUsage, code, stderr, "expected a quoted value for label service")
	code, _, stderr = call(t, "", "silence", "--config", config, "--by", "maria", "x")
	expect(t, "a silence without an end", exitUsage, code, stderr, "--for or --until")
	code, stdout, _ = call(t, "", "resolve", "--config", config, "--by", "maria", "--cause", "a bad cache", "9A1E62F0")
	expect(t, "resolve by what a table prints, in capitals", exitDone, code, stdout, `"incident_id":"9a1e62f0c7d34b58e201"`, `"cause":"a bad cache"`)
	code, stdout, _ = call(t, "", "silence", "--config", config, "--by", "maria", "--for", "2h", "9a7")
	expect(t, "silence of one", exitDone, code, stdout, `"incident_id":"9a77"`)
	code, stdout, stderr = call(t, "", "approve", "--config", config, "--by", "maria", "9a1e62f0c7d34b58e201", "rollback")
	expect(t, "approve", exitDone, code, stdout, `"act":"approve"`, `"action":"rollback"`)
	expect(t, "approve", exitDone, code, stderr, "at offset 4")
}

// TestWordsAboutNothing: a word that no judge could do anything with is refused, and not written.
func TestWordsAboutNothing(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stderr)
	publish(t, broker, "assessment.alerts", `{"id":"9a1e62f0c7d34b58e201"}`, `{"id":"9a77"}`, `{"id":"9b"}`)
	publish(t, broker, "assessment.recovery", `{"incident_id":"9a1e62f0c7d34b58e201","action":"scale","attempt":1,"transition":"requested"}`,
		`{"incident_id":"9a1e62f0c7d34b58e201","action":"scale","attempt":1,"transition":"cancelled"}`,
		`{"incident_id":"9a1e62f0c7d34b58e201","action":"rollback","attempt":1,"transition":"requested","mode":"automatic"}`)
	publish(t, broker, "assessment.alerts", `{"id":"c1","revision":1,"status":{"phase":"open"}}`, `{"id":"c1","revision":2,"status":{"phase":"resolved"}}`,
		`{"id":"c2","status":{"phase":"expired"}}`, `{"id":"c3","status":{"phase":"superseded"}}`,
		`{"id":"c4","revision":1,"status":{"phase":"resolved"}}`, `{"id":"c4","revision":2,"status":{"phase":"open"}}`)
	f := func(want, verb string, args ...string) {
		t.Helper()
		code, stdout, stderr := call(t, "", append([]string{verb, "--config", config, "--by", "maria"}, args...)...)
		if expect(t, verb, exitUsage, code, stderr, want); stdout != "" {
			t.Errorf("%s prints %s", verb, stdout)
		}
	}
	f(`no incident on assessment.alerts has an id that is, or begins with, "ffff"; nothing was written`, "ack", "ffff")
	f(`no incident on assessment.alerts has an id that is, or begins with, "9b0"`, "silence", "--for", "2h", "9b0")
	f(`no incident on assessment.alerts has an id that is, or begins with, "1e62f0"`, "resolve", "--cause", "a bad cache", "1e62f0")
	f(`the ids of 2 incidents begin with "9a", among them 9a1e62f0c7d34b58e201 and 9a77: give more of it`, "ack", "9a")
	f(`the incident 9a1e62f0c7d34b58e201 has not asked for "rolback", only for rollback and scale; nothing was written`, "approve", "9a1e", "rolback")
	f(`the incident 9b has asked for no action; nothing was written`, "approve", "9b", "scale")
	f(`the incident c1 is over: it is resolved; nothing was written`, "ack", "c1")
	f(`the incident c1 is over: it is resolved; nothing was written`, "approve", "c1", "scale")
	f(`the incident c2 is over: it is expired; nothing was written`, "resolve", "--cause", "a bad cache", "c2")
	f(`the incident c3 is over: it is superseded; nothing was written`, "silence", "--for", "2h", "c3")
	f(`the action scale of the incident 9a1e62f0c7d34b58e201 waits for nobody: it was last told as "cancelled"; nothing was written`, "approve", "9a1e", "scale")
	f(`the action rollback of the incident 9a1e62f0c7d34b58e201 waits for nobody: it was asked for as automatic; nothing`, "approve", "9a1e", "rollback")
	f(`cannot read the record: it has 90`, "ack", "9b", "-m", strings.Repeat("x", 9000))
	f(` bytes, expected at most 8192; nothing was written`, "resolve", "9b", "--cause", strings.Repeat("x", 9000))
	const at, early = "2026-11-01T12:00:00Z", `the silence would end at 2026-11-01T12:00:00.000Z, expected a time after --at, which is 2026-11-01T12:00:00.000Z; nothing was written`
	f(early, "silence", "--at", at, "--until", at, `{service="api"}`)
	code, _, stderr = call(t, "", "ack", "--config", config, "--by", "maria", "c4")
	expect(t, "the first that is written", exitDone, code, stderr, "at offset 0")
}

func TestReplayWithPeoplesWords(t *testing.T) {
	words := write(t, "words.ndjson", []byte(`{"v":1,"time":"2026-11-01T12:02:30.000Z","act":"silence","matchers":"{service=\"api\"}","until":"2026-11-01T13:00:00.000Z","by":"maria"}`))
	code, stdout, _ := call(t, outage(), "replay", "--control", words, "-")
	expect(t, "silenced", exitDone, code, stdout, `"transition":"silenced"`)
	code, _, stderr := call(t, outage(), "replay", "--control", write(t, "bad.ndjson", []byte("{}")), "-")
	expect(t, "a bad file of words", exitUsage, code, stderr, "bad.ndjson:1: cannot read the record")
}

// TestStatus: the same messages give the same feed, however often they are read.
func TestStatus(t *testing.T) {
	_, messages, _ := call(t, outage(), "replay", "-")
	file := write(t, "messages.ndjson", []byte(messages))
	code, feed, _ := call(t, "", "status", "--title", "Flow & more", file)
	expect(t, "a feed", exitDone, code, feed, `"version": "https://jsonfeed.org/version/1.1"`, `"title": "Flow & more"`, `Critical Error Rate Spike: Sev1`, `"phase": "`)
	if _, twice, _ := call(t, "", "status", "--title", "Flow & more", file, file); twice != feed {
		t.Error("every message twice makes another feed")
	}
	code, feed, _ = call(t, messages, "status", "--limit", "1", "--mildest", "sev1", "-")
	expect(t, "one entry", exitDone, code, feed)
	if n := strings.Count(feed, `"content_text"`); n != 1 {
		t.Errorf("the feed has %d entries, expected 1", n)
	}
	code, _, stderr := call(t, "", "status")
	expect(t, "neither topics nor files", exitUsage, code, stderr, "either --config or files")
}

// TestStatusOfOthers: what others write to the alerts topic is no incident, and that it was passed over is said.
func TestStatusOfOthers(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stderr)
	_, messages, _ := call(t, outage(), "replay", "-")
	file := write(t, "messages.ndjson", []byte(messages))
	_, want, _ := call(t, "", "status", file)
	publish(t, broker, "assessment.alerts", `{"id":"order-7","total":12}`)
	publish(t, broker, "assessment.alerts", strings.Split(strings.TrimSpace(messages), "\n")...)
	publish(t, broker, "assessment.alerts", `{"id":"x","revision":1,"severity":"Sev1"}`, `{"id":"y","severity":"high"}`, `{"order":8}`, "nonsense")
	code, feed, stderr := call(t, "", "status", "--config", config)
	expect(t, "the status", exitDone, code, stderr, `passed over: a message is no incident: it has no revision: "{\"id\":\"order-7\",\"total\":12}"`+"\n", "and 4 messages more that cannot be read\n")
	if feed != want {
		t.Errorf("the feed is\n%s\nexpected\n%s", feed, want)
	}
	code, _, stderr = call(t, `{"id":"order-7","total":12}`, "status", "-")
	expect(t, "a file of others", exitUsage, code, stderr, "-:1: a message is no incident: it has no revision")
}

func TestPostmortem(t *testing.T) {
	words := `{"v":1,"time":"2026-11-01T12:02:30.000Z","act":"silence","matchers":"{service=\"api\"}","until":"2026-11-01T13:00:00.000Z","by":"maria"}`
	_, messages, _ := call(t, outage(), "replay", "--control", write(t, "words.ndjson", []byte(words)), "-")
	id := strings.SplitN(strings.SplitN(messages, `"id":"`, 2)[1], `"`, 2)[0]
	file := write(t, "messages.ndjson", []byte(messages))
	code, text, _ := call(t, "", "postmortem", id[:8], file)
	expect(t, "a post-mortem", exitDone, code, text, "# Post-mortem: ", "1 November 2026", "Incident `"+id+"`", "## Impact", "## Timeline", "| began |",
		"| opened, ", "silenced until 2026-11-01T13:00:00.000Z by maria", "- Detected ", "Nobody acknowledged it", "circuit_breaker requested", "## Root cause", "- [ ] Update monitoring thresholds")
	_, again, _ := call(t, messages, "postmortem", strings.ToUpper(id), "-")
	if again != text {
		t.Error("from stdin, by its whole id in capitals, the post-mortem is another")
	}
	code, _, stderr := call(t, "", "postmortem", "ffffffffffffffffffff", file)
	expect(t, "an unknown id", exitFound, code, stderr, "no post-mortem of ffffffffffffffffffff")
	code, _, stderr = call(t, "nonsense\n", "postmortem", id, "-")
	expect(t, "no messages", exitUsage, code, stderr, "-:1: cannot read the message")
	code, _, stderr = call(t, "", "postmortem", id)
	expect(t, "neither topics nor files", exitUsage, code, stderr, "either --config or files")
}
