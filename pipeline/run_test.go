package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/kafkatest"
	"sevwatch/rules"
)

// The real day gives the same messages, byte for byte: replayed twice, with arrival shuffled within the lateness, and live over four
// partitions a topic with one worker and with four.
func TestReplayTrainTicketIsTheSameBytes(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	lines := trainTicket(t)
	p := newPipeline(t, addr, nil)
	want, sum := p.replayed(lines)
	if len(want) < 100 || sum.Totals.Late != 0 || sum.Totals.Counted != int64(len(lines)) {
		t.Fatalf("the replay gave %d messages of %+v", len(want), sum.Totals)
	}
	again, _ := p.replayed(lines)
	same(t, "replayed again", want, again)
	for seed := range uint64(3) {
		mixed, sum := p.replayed(shuffled(t, lines, int64(p.cfg.Lateness), seed))
		if sum.Totals.Late != 0 {
			t.Fatalf("shuffled: %d late", sum.Totals.Late)
		}
		same(t, fmt.Sprintf("shuffled with seed %d", seed), want, mixed)
	}
	live(t, "one worker over kfake", p, lines, want, sum, 1)
}

func TestRealReplayTrainTicketWithFourWorkers(t *testing.T) {
	broker := kafkatest.Shared(t)
	lines := trainTicket(t)
	p := newPipeline(t, broker.Addr(), nil)
	want, sum := p.replayed(lines)
	live(t, "four workers over Kafka", p, lines, want, sum, 4)
	var got []outputRow
	for _, topic := range []string{p.cfg.Topics.Alerts, p.cfg.Topics.Recovery} {
		for _, r := range kafkatest.Consume(t, broker.Addr(), topic) {
			row := outputRow{at: r.TimestampMs, id: string(r.Key), value: string(r.Value)}
			for _, h := range r.Headers {
				switch h.Key {
				case "ce_type":
					row.kind = string(h.Value)
				case "ce_id":
					row.event = string(h.Value)
				}
			}
			if row.at <= sum.Edge {
				got = append(got, row)
			}
		}
	}
	same(t, "as kcat reads it", want, rowValues(got))
}

// live runs workers over the lines and compares what they publish.
func live(t *testing.T, what string, p *testPipeline, lines [][]byte, want []string, sum Summary, n int) {
	t.Helper()
	p.load(lines)
	var workers []*Worker
	for range n {
		w, stop := p.start()
		defer stop()
		workers = append(workers, w)
	}
	p.judged(sum.Edge, workers...)
	same(t, what, want, p.outputs(sum.Edge))
	var totals int64
	for _, w := range workers {
		totals = max(totals, w.Totals().Counted)
	}
	if totals != int64(len(lines)) {
		t.Errorf("%s: %d events counted, expected %d", what, totals, len(lines))
	}
}

// Bad input ends on the rejected topic with its reason; the neighbours are counted.
func TestBadInputIsRejected(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	badInput(t, newPipeline(t, addr, nil), 900_000)
}

func TestRealBadInputIsRejected(t *testing.T) {
	p := newPipeline(t, kafkatest.Shared(t).Addr(), nil)
	alter(t, p, p.topicOf(rules.KindLatency), "max.message.bytes", "20000000")
	badInput(t, p, 10<<20)
}

func alter(t *testing.T, p *testPipeline, topic, name, value string) {
	t.Helper()
	res, err := p.client.IncrementalAlterConfigs(p.ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
		}},
	})
	check(t, err)
	for _, r := range res.Resources {
		check(t, r.Error)
	}
}

func badInput(t *testing.T, p *testPipeline, large int) {
	good := `{"time":"2026-11-01T12:00:01Z","service":"api","endpoint":"/","status":200,"duration_ms":3}`
	cases := []struct{ reason, value string }{
		{"", good},
		{"not_json", `duration_ms=3`},
		{"not_json", `{"service":"api","duration_ms":NaN}`},
		{"wrong_type", `{"time":"2026-11-01T12:00:01Z","service":7,"duration_ms":3}`},
		{"", good},
		{"out_of_range", `{"time":"2026-11-01T12:00:01Z","service":"api","duration_ms":-3}`},
		{"bad_time", `{"time":"yesterday","service":"api","duration_ms":3}`},
		{"too_large", `{"service":"` + strings.Repeat("x", large) + `"}`},
		{"not_an_object", `[]`},
		{"missing", `{"time":"2026-11-01T12:00:01Z","service":"api"}`},
		{"", good},
	}
	at := partition{p.topicOf(rules.KindLatency), 1}
	want := map[string]string{}
	for i, c := range cases {
		p.write(at, kafka.Record{
			Time: time.UnixMilli(1793534400000), Key: kafka.NewBytes(fmt.Appendf(nil, "key %d", i)), Value: kafka.NewBytes([]byte(c.value)),
			Headers: []kafka.Header{{Key: "trace", Value: []byte{0xff, byte(i)}}},
		})
		if c.reason != "" {
			want[fmt.Sprint(i)] = c.reason
		}
	}
	w, stop := p.start()
	defer stop()
	p.until("everything accounted for", func() bool { return w.Totals().Sum() == int64(len(cases)) })
	if got := w.Totals(); got.Counted != 3 || got.Rejected != int64(len(want)) {
		t.Errorf("the accounts are %+v, expected 3 counted and %d rejected", got, len(want))
	}
	rejected := p.read(p.cfg.Topics.Rejected)
	if len(rejected) != len(want) {
		t.Errorf("%d rejected records, expected %d", len(rejected), len(want))
	}
	for _, r := range rejected {
		h := map[string]string{}
		for _, x := range r.Headers {
			h[x.Key] = string(x.Value)
		}
		i := h["sevwatch_offset"]
		var n int
		fmt.Sscan(i, &n)
		value := cases[n].value
		if len(value) > 512<<10 {
			value = value[:64<<10]
		}
		if h["sevwatch_reason"] != want[i] || string(r.Value) != value || string(r.Key) != "key "+i || h["trace"] != string([]byte{0xff, byte(n)}) ||
			h["sevwatch_topic"] != at.topic || h["sevwatch_partition"] != "1" {
			t.Errorf("record %s was rejected as %.300v with %d bytes, expected %s with %d bytes", i, h, len(r.Value), want[i], len(value))
		}
	}
}
