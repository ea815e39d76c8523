package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// What live has published is what a replay gives; what is not is told, message by message.
func TestVerify(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, _, stderr := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stderr)
	code, _, stderr = call(t, "", "verify", "--config", config)
	expect(t, "before anything", exitUsage, code, stderr, "there is nothing to compare yet: a judge has told nothing")

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

	code, _, stderr = call(t, "", "verify", "--config", config, "--from", "2026-11-02T00:00:00Z")
	expect(t, "what is to come", exitUsage, code, stderr, "there is nothing to compare: the judges have come to 2026-11-01T12:0", "--from is behind that")

	code, stdout, stderr = call(t, "", "silence", "--config", config, "--by", "maria", "--until", "2026-11-01T12:03:00Z", `{service="api"}`)
	expect(t, "a silence that is over already", exitUsage, code, stdout+stderr,
		"the silence would end at 2026-11-01T12:03:00.000Z, and live has judged up to 2026-11-01T12:0", " already; nothing was written\n")

	// What people have said, and no judge has heard yet, has changed nothing.
	cancel()
	must(t, <-ended)
	code, _, stderr = call(t, "", "silence", "--config", config, `{service="api"}`, "--until", "2036-01-01T00:00:00Z")
	expect(t, "a silence", exitDone, code, stderr)
	code, stdout, stderr = call(t, "", "verify", "--config", config)
	expect(t, "a word that nobody has heard", exitDone, code, stdout+stderr, " messages the same, 0 different")

	// A query of the topics sums up what one of the same events in a file does.
	_, want, _ := call(t, outage(), "query", "error", "--by", "service,error_type", "-")
	code, stdout, stderr = call(t, "", "query", "error", "--by", "service,error_type", "--config", config)
	expect(t, "a query", exitDone, code, stdout+stderr, want)
	code, stdout, stderr = call(t, "", "query", "latency", "--every", "10s", "--last", "30s", "--config", config)
	expect(t, "a query of the last seconds", exitDone, code, stdout+stderr, "2026-11-01T12:0")
	if n := strings.Count(stdout, "\n"); n < 2 || n > 4 {
		t.Errorf("a query of the last 30 s by 10 s has %d lines:\n%s%s", n, stdout, stderr)
	}

	publish(t, broker, cfg.Topics.Alerts, "somebody else's") // has no header of ours
	second := strings.Replace(messages[1], `"revision":2`, `"revision":77`, 1)
	res, err := client.Produce(t.Context(), &kafka.ProduceRequest{Topic: cfg.Topics.Alerts, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(
		kafka.Record{Value: kafka.NewBytes([]byte(messages[0])), Headers: []kafka.Header{{Key: "ce_source", Value: []byte("/sevwatch/assessment")}}},
		kafka.Record{Value: kafka.NewBytes([]byte(second)), Headers: []kafka.Header{{Key: "ce_source", Value: []byte("/sevwatch/assessment")}}},
		kafka.Record{Value: kafka.NewBytes([]byte(second)), Headers: []kafka.Header{{Key: "ce_source", Value: []byte("/sevwatch/other")}}},
	)})
	must(t, err)
	must(t, res.Error)
	code, stdout, _ = call(t, "", "verify", "--config", config)
	expect(t, "with what nobody told", exitFound, code, stdout, ".1  opened: live told it 2 times\n", ".77  ", ": only live tells it\n")
	if n := strings.Count(stdout, "\n"); n != 2 {
		t.Errorf("%d differences, expected 2:\n%s", n, stdout)
	}
	code, _, stderr = call(t, "", "status", "--config", config)
	expect(t, "the status beside somebody else's message", exitDone, code, stderr, "passed over: ")
	publish(t, broker, cfg.Topics.Alerts, `{"id":"zz1"}`, `{"id":"zz2"}`)
	code, _, stderr = call(t, "", "postmortem", "--config", config, "zz")
	expect(t, "the beginning of two ids", exitWorld, code, stderr, `"zz" is the beginning of several incidents' ids: zz1 and zz2`)
	var at struct{ At detector.Millis }
	must(t, json.Unmarshal([]byte(messages[0]), &at))
	code, stdout, stderr = call(t, "", "verify", "--config", config, "--to", (at.At - 10_000).String())
	expect(t, "what was told before", exitDone, code, stdout+stderr, "0 messages the same, 0 different")
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
	v := verification{from: 100, edge: 5000, live: map[string]*published{}, began: map[string]bool{}}
	message := func(id string, revision int, at, started, reason string) []byte {
		return fmt.Appendf(nil, `{"id":%q,"revision":%d,"transition":"updated","at":"1970-01-01T00:00:%sZ","started_at":"1970-01-01T00:00:%sZ","reason":%q}`, id, revision, at, started, reason)
	}
	for _, m := range [][]byte{
		message("a", 1, "01.000", "01.000", "x"), message("a", 2, "02.000", "01.000", "x"), message("b", 1, "03.000", "02.000", "x"), message("late", 1, "09.000", "08.000", "x"),
		message("old", 3, "02.000", "00.050", "x"), message("c", 1, "01.500", "01.500", "x"), message("moved", 1, "04.500", "04.000", "x"), message("f", 1, "05.000", "04.000", "x"),
		[]byte(`{"incident_id":"old","action":"scale","attempt":1,"transition":"failed","at":"1970-01-01T00:00:03.000Z"}`),
	} {
		must(t, v.takeLive(m))
	}
	at := func(seconds float64) detector.Millis { return detector.Millis(seconds * 1000) }
	for _, i := range []detector.Incident{
		{ID: "a", Revision: 1, At: at(1), StartedAt: at(1)},
		{ID: "d", Revision: 1, At: at(4), StartedAt: at(4)},
		{ID: "e", Revision: 1, At: at(9), StartedAt: at(9)},
		{ID: "old", Revision: 3, At: at(2), StartedAt: at(0.05)},
		{ID: "moved", Revision: 1, At: at(7), StartedAt: at(4)},
	} {
		if i.ID == "a" { // is the same, as live has told it
			v.live["a.1"].value = wire.Value(detector.Output{Incident: &i})
		}
		must(t, v.takeReplayed(detector.Output{Incident: &i}))
	}
	v.earlier(detector.Output{Incident: &detector.Incident{ID: "begun", Revision: 1, At: at(0.05), StartedAt: at(0.05)}})
	must(t, v.takeReplayed(detector.Output{Recovery: &detector.Recovery{IncidentID: "begun", Action: "scale", At: at(2)}}))
	var got []string
	for _, line := range v.found() {
		got = append(got, strings.Join(strings.Fields(line)[1:], " "))
	}
	want := []string{
		"c.1 updated: only live tells it", "a.2 updated: only live tells it", "b.1 updated: only live tells it", "d.1 : only the replay tells it",
		"moved.1 updated: live has other", "f.1 updated: only live tells it",
	}
	if len(got) != len(want) || v.same != 1 {
		t.Fatalf("%d are the same, and\n%s\nexpected 1 and\n%s", v.same, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%q, expected %q", got[i], want[i])
		}
	}
	if err := v.takeLive([]byte("<nothing>")); err == nil || !strings.Contains(err.Error(), `cannot read the published message "<nothing>"`) {
		t.Errorf("of what is no message: %v", err)
	}
}
