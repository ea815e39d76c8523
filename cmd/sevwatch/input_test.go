package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

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
	f("expected one of error, latency", "--brokers", "127.0.0.1:1", "--topic", "a=nonsense")
	f("--until is for files", "--brokers", "127.0.0.1:1", "--until", "2026-11-02T00:00:00Z")
	f("--pane is 0s", "--pane", "0s", "-")
}

func TestReplayTopics(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	code, _, stderr := call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency")
	expect(t, "a missing topic", exitUsage, code, stderr, "sevwatch: topic web.requests is missing\n")
	client := &kafka.Client{Addr: kafka.TCP(broker), Timeout: time.Minute}
	res, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "web.requests", NumPartitions: 3, ReplicationFactor: 1}}})
	if err != nil || res.Errors["web.requests"] != nil {
		t.Fatal(err, res)
	}
	code, stdout, stderr := call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency")
	expect(t, "an empty topic", exitDone, code, stderr, "0 records", "the input is empty")
	if stdout != "" {
		t.Errorf("an empty topic told %s", stdout)
	}
	var records []kafka.Record
	lines := strings.Split(strings.TrimSpace(outage()), "\n")
	for _, line := range lines {
		records = append(records, kafka.Record{Value: kafka.NewBytes([]byte(line))})
	}
	produced, err := client.Produce(t.Context(), &kafka.ProduceRequest{
		Topic: "web.requests", Partition: 1, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...),
	})
	if err != nil || produced.Error != nil {
		t.Fatal(err, produced)
	}
	code, stdout, stderr = call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency")
	expect(t, "an outage in a topic", exitDone, code, stderr, fmt.Sprintf("%d counted + 0 late", len(lines)), "not exactly what live said, perhaps: topic sevwatch.marks is missing")
	_, fromFile, _ := call(t, outage(), "replay", "-")
	if stdout != fromFile || stdout == "" {
		t.Errorf("from a topic:\n%s\nfrom a file:\n%s", stdout, fromFile)
	}
	code, part, stderr := call(t, "", "replay", "--brokers", broker, "--topic", "web.requests=latency", "--from", "2026-11-01T12:02:30Z", "--to", "2026-11-01T12:03:00Z")
	expect(t, "a range", exitDone, code, stderr, "warm-up: judged from", "before it on; ", "messages before --from were not given out")
	if part == stdout || !strings.Contains(stdout, part) {
		t.Errorf("the range gave\n%s\nof\n%s", part, stdout)
	}
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
