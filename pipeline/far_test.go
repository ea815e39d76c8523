package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/txn"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

const farRules = `
groups:
  - name: far
    rules:
      - alert: Failing
        signal: {ratio: {errors: 'latency{status_class="5xx"}', total: latency}}
        window: 1m
        severities: [{severity: sev2, above: 0.2}]
        recover: {keep_firing_for: 1m}
      - alert: Stalled
        signal: {count: 'pipeline{name="stalled"}'}
        by: [topic, partition]
        window: 5m
        severities: [{severity: sev3, above: 0}]
`

// blocked is a sink that takes nothing until it is opened.
type blocked struct {
	broker
	open chan struct{}
}

func (b *blocked) takeOver(ctx context.Context, id string) (producer, error) {
	p, err := b.broker.takeOver(ctx, id)
	return &blockedProducer{p, b.open}, err
}

type blockedProducer struct {
	producer
	open chan struct{}
}

func (p *blockedProducer) Commit(ctx context.Context, messages []kafka.Message, offsets *txn.Offsets) error {
	<-p.open
	return p.producer.Commit(ctx, messages, offsets)
}

// Back-pressure taken for idleness, and more: one partition is a day behind the others, one has stopped, one was never written, and the sink takes
// nothing for longer than idle_after. Nothing is late, the counts and messages are those of a replay that never stalls, no partition runs more than
// max_skew and a response ahead, and the wait is told of.
func TestTrap03FarApartPartitionsAndAStalledSink(t *testing.T) {
	t.Run("kfake", func(t *testing.T) {
		addr, _ := kafkatest.Fake(t)
		farApart(t, addr, 3*time.Second)
	})
	t.Run("Real", func(t *testing.T) { farApart(t, kafkatest.Shared(t).Addr(), time.Minute) })
}

func farApart(t *testing.T, addr string, shut time.Duration) {
	p := newPipeline(t, addr, func(c *Config) { c.StalledAfter = 0 })
	var err error
	p.rules, err = rules.Parse("far.yaml", []byte(farRules), p.cfg.RuleOptions())
	check(t, err)
	topic := p.topicOf(rules.KindLatency)
	behind := answers(-tomorrow, 3600, 10, 1)
	ahead := answers(0, 3*3600, 1, 8)
	stopped := answers(0, 30, 10, 1)
	for id, lines := range [][][]byte{behind, ahead, stopped} {
		p.writeAll(partition{topic, id}, lines)
	}
	told, sum := p.replayed(behind, ahead, stopped)
	want := detector.Totals{Counted: int64(len(behind) + len(ahead) + len(stopped))}
	if len(told) < 10 || sum.Totals != want {
		t.Fatalf("the replay told %d messages of %+v, expected more of %+v", len(told), sum.Totals, want)
	}
	gate := make(chan struct{})
	w, stop := p.startWith(func(w *Worker) {
		w.broker.(*kafkaBroker).fetch.PartitionBytes = 64 << 10
		w.broker = &blocked{w.broker, gate}
	})
	defer stop()
	time.AfterFunc(shut, func() { close(gate) })
	p.until("everything counted", func() bool { return w.Totals() == want })
	p.judged(sum.Edge, w)
	var stalled int
	var got []string
	for _, line := range p.outputs(sum.Edge) {
		if strings.Contains(line, `"name":"Stalled"`) {
			stalled++
			if !strings.Contains(line, `"partition":"0"`) {
				t.Fatalf("a partition is told of that nobody waits for: %s", line)
			}
			continue
		}
		got = append(got, line)
	}
	same(t, "live", told, got)
	if stalled == 0 {
		t.Error("the wait was not told of")
	}
	if most := p.furthest(topic, behind); most > int64(p.cfg.MaxSkew)+int64(20*minute) {
		t.Errorf("a partition was %s ahead of the slowest, expected max_skew and what a response or two hold", rules.Duration(most))
	}
}

// answers is a partition with n events every so many seconds; in the first quarter of each hour, half of them fail.
func answers(from, to, every, n int) [][]byte {
	var lines [][]byte
	for second := from; second < to; second += every {
		for i := range n {
			status := 200
			if (second+tomorrow)%3600 < 900 && (second/every+i)%2 == 0 {
				status = 500
			}
			lines = append(lines, fmt.Appendf(nil, `{"time":%d,"kind":"latency","service":"api","status":%d,"duration_ms":3}`, simStart+int64(second)*1000, status))
		}
	}
	return lines
}

// writeAll writes lines to a partition, in batches that are small enough to be read apart.
func (p *testPipeline) writeAll(at partition, lines [][]byte) {
	p.t.Helper()
	for len(lines) > 0 {
		n := min(500, len(lines))
		var text []string
		for _, line := range lines[:n] {
			text = append(text, string(line))
		}
		p.writeLines(at, text...)
		lines = lines[n:]
	}
}

// furthest is by how much partition 1 was ahead of partition 0, or of where it began itself, as progress has told it, until partition 0 had
// come to its end.
func (p *testPipeline) furthest(topic string, behind [][]byte) (most int64) {
	p.t.Helper()
	end, slow := timeOf(behind[len(behind)-1])-int64(p.cfg.Lateness), int64(simStart)
	for _, r := range p.read(p.cfg.Topics.Panes) {
		if string(r.Headers[0].Value) != wire.TypeProgress {
			continue
		}
		progress, err := wire.DecodeProgress(r.Value)
		check(p.t, err)
		for _, next := range progress.Partitions {
			switch {
			case next.Topic != topic || slow >= end:
			case next.Partition == 0:
				slow = max(slow, next.Watermark)
			case next.Partition == 1 && next.Watermark != unknown:
				most = max(most, next.Watermark-slow)
			}
		}
	}
	return most
}
