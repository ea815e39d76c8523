package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sevwatch/pipeline"
	"sevwatch/pipeline/kafkatest"
)

func TestReplayUsage(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		code, _, stderr := call(t, "", append([]string{"replay"}, args...)...)
		expect(t, strings.Join(args, " "), exitUsage, code, stderr, want)
		if n := strings.Count(stderr, "\n"); n != 1 {
			t.Errorf("%v: %d lines, expected one sentence: %s", args, n, stderr)
		}
	}
	f("there is nothing to replay")
	f("cannot be replayed together", "--brokers", "127.0.0.1:1", "x.ndjson")
	f("--topic needs --brokers", "--topic", "a", "x.ndjson")
	f("is not before --to", "--from", "2026-11-02T00:00:00Z", "--to", "2026-11-01T00:00:00Z", "-")
	f("in the configuration already", "--config", "x.yaml", "--topic", "a")
	f("in the configuration already", "--config", "x.yaml", "--pane", "10s", "x.ndjson")
	f("in the configuration already", "--config", "x.yaml", "--lateness", "1m")
	f("in the configuration already", "--config", "x.yaml", "--marks", "a")
	f(`--from: "yesterday" is no time, expected one such as 2026-11-01T12:00:00Z, or a date such as 2026-11-01`, "--from", "yesterday", "-")
	f("--from 2026-11-02T00:00:00Z is not before --to 2026-11-01T00:00:00Z", "--from", "2026-11-02", "--to", "2026-11-01", "-")
	f("--warm-up is for topics", "--warm-up", "1h", "x.ndjson")
	f("expected one of error, latency", "--brokers", "127.0.0.1:1", "--topic", "a=nonsense")
	f("--until is for files", "--brokers", "127.0.0.1:1", "--until", "2026-11-02T00:00:00Z")
	f("--control is for files", "--brokers", "127.0.0.1:1", "--control", "x.ndjson")
	f("--pane is 0s", "--pane", "0s", "-")
	f("--give-up-after is 0s", "--give-up-after", "0s", "-")
}

// topicOf makes a topic of three partitions, and gives what writes to one of them.
func topicOf(t *testing.T, broker, topic string) (produce func(partition int, lines []string)) {
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(broker), Timeout: time.Minute}
	res, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 3, ReplicationFactor: 1}}})
	if err != nil || res.Errors[topic] != nil {
		t.Fatal(err, res)
	}
	return func(partition int, lines []string) {
		t.Helper()
		for batch := range slices.Chunk(lines, 1000) {
			var records []kafka.Record
			for _, line := range batch {
				records = append(records, kafka.Record{Value: kafka.NewBytes([]byte(line))})
			}
			res, err := client.Produce(t.Context(), &kafka.ProduceRequest{
				Topic: topic, Partition: partition, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...),
			})
			if err != nil || res.Error != nil {
				t.Fatal(err, res)
			}
		}
	}
}

// A broker that dies in the middle, or answers no more: the replay ends, and nothing that it leaves looks whole.
func TestReplayGivesUp(t *testing.T) {
	f := func(what string, dead func() (kmsg.Response, error, bool)) {
		t.Helper()
		broker, cluster := kafkatest.Fake(t)
		lines := strings.Split(strings.TrimSpace(outage()), "\n")
		topicOf(t, broker, "web.requests")(1, slices.Repeat(lines, 4)) // more than one response holds
		fetches := 0
		cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			if fetches++; fetches == 1 {
				return nil, nil, false
			}
			return dead()
		})
		report, table := filepath.Join(t.TempDir(), "r.html"), filepath.Join(t.TempDir(), "w.parquet")
		code, stdout, stderr := call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency", "--give-up-after", "500ms", "--report", report, "--windows", table)
		expect(t, what, exitWorld, code, stderr, "sevwatch: cannot read the topics to their ends: nothing came from the brokers for 500ms\n")
		if stdout == "" || fetches < 2 {
			t.Errorf("%s: it died before anything was told: the test proves nothing", what)
		}
		data, err := os.ReadFile(table)
		if err != nil || bytes.HasSuffix(data, []byte("PAR1")) {
			t.Errorf("%s: the table of %d bytes looks whole, %v", what, len(data), err)
		}
		if _, err := os.Stat(report); err == nil {
			t.Errorf("%s: there is a report of half the input", what)
		}
	}
	f("a broker that dies", func() (kmsg.Response, error, bool) { return nil, errors.New("dead"), true })
	f("a broker that hangs", func() (kmsg.Response, error, bool) { return nil, nil, true })
}

func TestReplayTopics(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	code, _, stderr := call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency")
	expect(t, "a missing topic", exitUsage, code, stderr, "sevwatch: topic web.requests is missing\n")
	produce := topicOf(t, broker, "web.requests")
	code, stdout, stderr := call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency")
	expect(t, "an empty topic", exitDone, code, stderr, "0 records", "the input is empty")
	if stdout != "" {
		t.Errorf("an empty topic told %s", stdout)
	}
	lines := strings.Split(strings.TrimSpace(outage()), "\n")
	produce(1, lines)
	code, stdout, stderr = call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency")
	expect(t, "an outage in a topic", exitDone, code, stderr, fmt.Sprintf("%d counted + 0 late", len(lines)), "not exactly what live said, perhaps: topic sevwatch.marks is missing")
	_, fromFile, _ := call(t, outage(), "replay", "-")
	if stdout != fromFile || stdout == "" {
		t.Errorf("from a topic:\n%s\nfrom a file:\n%s", stdout, fromFile)
	}
	code, part, stderr := call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency", "--from", "2026-11-01T12:02:30Z", "--to", "2026-11-01T12:03:00Z")
	expect(t, "a range", exitDone, code, stderr, "warm-up: judged from", "before it on; ", "; 1 message before --from left out.")
	short := write(t, "short.yaml", []byte(testRules))
	long := write(t, "long.yaml", []byte(strings.ReplaceAll(testRules, "window: 1m", "window: 3h")))
	_, _, stderr = call(t, "", "diff", "--brokers", broker, "--topic", "web.requests=latency", "--from", "2026-11-01T12:02:30Z", "--rules", short, "--rules", long)
	if strings.Count(stderr, "warm-up: judged from 4h10s before it on") != 2 {
		t.Errorf("the two rule files are not compared from the same event on: %s", stderr)
	}
	if part == stdout || !strings.Contains(stdout, part) {
		t.Errorf("the range gave\n%s\nof\n%s", part, stdout)
	}
}

// TestReplayWithoutAKind: where nothing can be counted because no record says its kind, it is said what helps.
func TestReplayWithoutAKind(t *testing.T) {
	line := `{"time":"2026-11-01T12:00:00Z","service":"api"}` + "\n"
	file, other := write(t, "a.ndjson", []byte(line)), write(t, "b.ndjson", []byte(line))
	config := write(t, "sevwatch.yaml", []byte(`brokers: ["localhost:9092"]`))
	const hint = "no line says its kind: write one into each, or name the topic that they are from, which has one: --config FILE --source TOPIC\n"
	code, _, stderr := call(t, "", "replay", "--config", config, file, other)
	expect(t, "files", exitUsage, code, stderr, "rejected 2 for missing", hint)
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{line, []string{"replay", "--config", config, "--source", "assessment.errors", "-"}},
		{line + outage(), []string{"replay", "-"}},
		{line + "nonsense\n", []string{"replay", "-"}},
	} {
		if _, _, stderr = call(t, c.stdin, c.args...); strings.Contains(stderr, "says its kind") {
			t.Errorf("%v: %s", c.args, stderr)
		}
	}
	broker, _ := kafkatest.Fake(t)
	topicOf(t, broker, "web.requests")(0, []string{line})
	code, _, stderr = call(t, "", "replay", "--brokers", broker, "--topic", "web.requests")
	expect(t, "a topic", exitUsage, code, stderr, "no record says its kind: give its source one in the configuration, or read it as --topic TOPIC=KIND\n")
}

// A range that the input has nothing of is said to be one.
func TestReplayOfNothing(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		code, stdout, stderr := call(t, outage(), append([]string{"replay", "-"}, args...)...)
		expect(t, strings.Join(args, " "), exitDone, code, stderr, want)
		if stdout != "" {
			t.Errorf("%v told %s", args, stdout)
		}
	}
	f("nothing could be judged from --from on: the input goes up to 2026-11-01T12:03:40.000Z\n", "--from", "2030-01-01T00:00:00Z")
	code, _, stderr := call(t, `{"topic":"a","partition":0,"offset":5,"payload":"{}"}`+"\n", "replay", "-")
	expect(t, "exported records from stdin", exitUsage, code, stderr, "stdin carries topic, partition and offset: put it into a file")
	f("nothing could be judged up to --to: the input begins at 2026-11-01T12:00:00.000Z\n", "--to", "2020-01-01T00:00:00Z")
}

// TestReplayWithoutEvents: where there are records and none of them counts, no verb takes that for a quiet day.
func TestReplayWithoutEvents(t *testing.T) {
	file, rules := write(t, "bad.ndjson", []byte("nonsense\n{}\n")), write(t, "r.yaml", []byte(testRules))
	report, table := filepath.Join(t.TempDir(), "r.html"), filepath.Join(t.TempDir(), "w.parquet")
	f := func(args ...string) {
		t.Helper()
		code, _, stderr := call(t, "", args...)
		expect(t, strings.Join(args, " "), exitUsage, code, stderr, "rejected 1 for not_json, first "+file+":1: ", "sevwatch: none of 2 records was counted\n")
	}
	f("replay", file)
	f("replay", "--fail-on", "sev4", "--report", report, "--windows", table, file)
	f("diff", "--rules", rules, "--rules", rules, file)
	f("explain", "x", file)
	f("tune", "A", "--rules", rules, file)
	f("check", rules, "--against", file)
	if _, err := os.Stat(report); err == nil {
		t.Error("there is a report of nothing")
	}
	if data, err := os.ReadFile(table); err != nil || bytes.HasSuffix(data, []byte("PAR1")) {
		t.Errorf("the table of %d bytes looks whole, %v", len(data), err)
	}
	code, _, stderr := call(t, "", "replay", write(t, "empty.ndjson", nil))
	expect(t, "an empty file", exitDone, code, stderr, "the input is empty")
}

// What the lines of progress say.
func TestProgress(t *testing.T) {
	f := func(p pipeline.Position, took time.Duration, want string) {
		t.Helper()
		if got := bar(p.Done) + " " + progressLine(p, took); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(pipeline.Position{Records: 1000, Edge: 1793534400000, Done: 0.25}, 10*time.Second,
		"[######..................] 1000 records, 100 a second, at 2026-11-01T12:00:00.000Z, 25 %, 30s left")
	f(pipeline.Position{Records: 1000, Edge: -1 << 63, Done: -1}, 10*time.Second, " 1000 records, 100 a second")
	f(pipeline.Position{Records: 1000, Edge: -1 << 63, Done: 1}, 10*time.Second, "[########################] 1000 records, 100 a second, 100 %, 0s left")
}

// TestReplayTellsUnknownKeys: a key that is misspelt is told, from whatever the events are read, and what the contract knows is not.
func TestReplayTellsUnknownKeys(t *testing.T) {
	misspelt := strings.ReplaceAll(outage(), `"service":`, `"id":"x","message":"y","svc":`)
	n := strings.Count(misspelt, "\n")
	want := fmt.Sprintf("\nkeys that are not read: svc %d\n", n)
	f := func(what, stdin, want string, args ...string) {
		t.Helper()
		code, _, stderr := call(t, stdin, append([]string{"replay", "--format", "none"}, args...)...)
		if expect(t, what, exitDone, code, stderr, want); want == "" && strings.Contains(stderr, "not read") {
			t.Errorf("%s: it said %s", what, stderr)
		}
	}
	f("known keys", outage(), "", "-")
	f("a key that is misspelt", misspelt, want, "-")
	f("two files", "", fmt.Sprintf("keys that are not read: svc %d\n", 2*n), write(t, "a.ndjson", []byte(misspelt)), write(t, "b.ndjson", []byte(misspelt)))
	f("a CSV file", "", "keys that are not read: svc 1, took 1\n", write(t, "a.csv", []byte("time,kind,svc,took\n1793534400000,error,api,5\n1793534400000,error,,\n")))
	cut := write(t, "cut.yaml", []byte("{brokers: ['a:1'], sources: [{topic: a, long_labels: cut}]}"))
	f("a source that is read otherwise", misspelt, want, "--config", cut, "--source", "a", "-")
	var exported strings.Builder
	for i, line := range strings.Split(strings.TrimSpace(misspelt), "\n") {
		fmt.Fprintf(&exported, `{"topic":"a","partition":0,"offset":%d,"ts":1,"payload":%q}`+"\n", i, line)
	}
	f("an exported file", "", want, write(t, "exported.ndjson", []byte(exported.String())))
	broker, _ := kafkatest.Fake(t)
	topicOf(t, broker, "a")(1, strings.Split(strings.TrimSpace(misspelt), "\n"))
	f("a topic", "", want, "--brokers", broker, "--topic", "a")
}

func TestUnknownText(t *testing.T) {
	f := func(counts map[string]int64, want string) {
		t.Helper()
		if got := unknownText(counts); got != want {
			t.Errorf("it says %s, expected %s", got, want)
		}
	}
	f(map[string]int64{"traceid": 12, "svc": 327190}, "keys that are not read: svc 327190, traceid 12")
	f(map[string]int64{"b": 5, "a": 5, "\x1b[31m": 5, "x, y": 1, "": 2}, `keys that are not read: "\x1b[31m" 5, a 5, b 5, "" 2, "x, y" 1`)
	many := map[string]int64{}
	for i := range 13 {
		many[string(rune('a'+i))] = int64(i)
	}
	f(many, "keys that are not read: m 12, l 11, k 10, j 9, i 8, h 7, g 6, f 5, e 4, d 3, and 3 more")
}
