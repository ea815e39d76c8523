package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/rules"
)

// What live has published is what a replay gives; what is not is told, message by message.
func TestVerify(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stderr)
	code, _, stderr = call(t, "", "verify", "--config", config)
	expect(t, "before anything", exitDone, code, stderr, "the judges have told nothing yet", "0 messages the same, 0 different")

	cfg, err := loadConfig(config)
	must(t, err)
	client, err := cfg.Connect(t.Context(), time.Minute)
	must(t, err)
	byTopic := map[string][]kafka.Record{}
	for line := range strings.Lines(outage()) {
		topic := "assessment.latency"
		if strings.Contains(line, `"error"`) {
			topic = "assessment.errors"
		}
		byTopic[topic] = append(byTopic[topic], kafka.Record{Value: kafka.NewBytes([]byte(line))})
	}
	for topic, records := range byTopic {
		res, err := client.Produce(t.Context(), &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
		must(t, err)
		must(t, res.Error)
	}
	name, data := rules.Runbook()
	file, err := rules.Parse(name, data, cfg.RuleOptions())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- pipeline.NewWorker(pipeline.WorkerOptions{Config: cfg, Rules: file, Client: client, Log: zap.NewNop()}).Run(ctx)
	}()
	end := detector.Millis(time.Date(2026, 11, 1, 12, 3, 40, 0, time.UTC).UnixMilli())
	var messages []string
	for edge := int64(0); edge < int64(end); {
		must(t, ctx.Err())
		messages = nil
		edge, _, err = pipeline.ReadPublished(ctx, cfg, client, func(value []byte) error { messages = append(messages, string(value)); return nil })
		must(t, err)
	}
	code, stdout, stderr := call(t, "", "verify", "--config", config)
	expect(t, "live against its replay", exitDone, code, stdout+stderr, " messages the same, 0 different")
	if strings.Contains(stderr, " 0 messages") || stdout != "" || strings.Contains(stderr, "perhaps") {
		t.Errorf("live against its replay: %s%s", stdout, stderr)
	}
	code, _, stderr = call(t, "", "verify", "--config", config, "--from", "2026-11-01T12:03:30Z")
	expect(t, "what began later", exitDone, code, stderr, "0 messages the same, 0 different")

	first := messages[0]
	publish(t, broker, cfg.Topics.Alerts, first, strings.Replace(messages[1], `"revision":2`, `"revision":77`, 1), "<nothing>")
	code, stdout, _ = call(t, "", "verify", "--config", config)
	expect(t, "with what nobody told", exitFound, code, stdout, ".1  opened: live told it 2 times\n", ".77  ", ": only live tells it\n", `live has "<nothing>", which is no message`)
	if n := strings.Count(stdout, "\n"); n != 3 {
		t.Errorf("%d differences, expected 3:\n%s", n, stdout)
	}
	cancel()
	must(t, <-ended)
}

func TestOtherKeys(t *testing.T) {
	f := func(x, y, want string) {
		t.Helper()
		if got := strings.Join(otherKeys([]byte(x), []byte(y)), " "); got != want {
			t.Errorf("%s and %s differ in %q, expected %q", x, y, got, want)
		}
	}
	f(`{"a":1,"b":2,"c":{"d":1}}`, `{"a":1,"c":{"d":2},"e":3}`, "b c e")
	f(`{"a":1,"b":2}`, `{"b":2,"a":1}`, "order of keys")
	f(`nonsense`, `{}`, "bytes")
}

// Each message that differs is told once, in the order of time, up to where live is.
func TestCompare(t *testing.T) {
	v := verification{from: 100, live: map[string]*published{}, began: map[string]bool{}}
	message := func(id string, revision int, at, started, reason string) []byte {
		return fmt.Appendf(nil, `{"id":%q,"revision":%d,"transition":"updated","at":"1970-01-01T00:00:%sZ","started_at":"1970-01-01T00:00:%sZ","reason":%q}`, id, revision, at, started, reason)
	}
	for _, m := range [][]byte{
		message("a", 1, "01.000", "01.000", "x"), message("a", 2, "02.000", "01.000", "x"), message("b", 1, "03.000", "02.000", "x"), message("late", 1, "09.000", "08.000", "x"),
		message("old", 3, "02.000", "00.050", "x"), message("c", 1, "01.500", "01.500", "x"),
		[]byte(`{"incident_id":"old","action":"scale","attempt":1,"transition":"failed","at":"1970-01-01T00:00:03.000Z"}`),
	} {
		must(t, v.takeLive(m))
	}
	for _, m := range [][]byte{
		message("a", 1, "01.000", "01.000", "x"), message("a", 2, "02.000", "01.000", "y"), message("c", 1, "01.500", "01.500", "x"), message("d", 1, "04.000", "04.000", "x"),
		message("e", 1, "09.000", "09.000", "x"), message("old", 3, "02.000", "00.050", "other"),
	} {
		if p, compared := v.read(m); compared {
			v.replayed = append(v.replayed, p)
		}
	}
	got := strings.Join(v.compare(5000), "\n")
	want := `1970-01-01T00:00:02.000Z  a.2  updated: live has other reason
1970-01-01T00:00:03.000Z  b.1  updated: only live tells it
1970-01-01T00:00:04.000Z  d.1  updated: only the replay tells it`
	if got != want || v.same != 2 {
		t.Errorf("%d are the same, and\n%s\nexpected 2 and\n%s", v.same, got, want)
	}
}
