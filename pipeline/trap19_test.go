package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
)

// A poison record, a huge one and more label values than may be counted apart, amidst an outage, live: the neighbours are counted, the messages
// about the outage are those of a replay without all that, and the limit is told of. A million values are TestTrap19AMillionLabelValues in
// detector.
func TestTrap19PoisonHugeRecordAndManyLabelValues(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	trap19(t, newPipeline(t, addr, smallLimits), 900_000)
}

func TestRealTrap19PoisonHugeRecordAndManyLabelValues(t *testing.T) {
	p := newPipeline(t, kafkatest.Shared(t).Addr(), smallLimits)
	alter(t, p, p.cfg.Sources[3].Topic, "max.message.bytes", "20000000")
	trap19(t, p, 10<<20)
}

func smallLimits(c *Config) { c.Limits.Series = 1000 }

func trap19(t *testing.T, p *testPipeline, large int) {
	s := &story{}
	s.normal(0, 600, func(second int) bool { return second > 100 && second < 300 })
	told, sum := p.replayed(s.lines)
	p.load(s.lines)
	at := partition{p.cfg.Sources[3].Topic, 0}
	p.writeLines(at, "\x00\xff poison", `{"time":`, `{"time":1793534400000,"kind":"error","message":"`+strings.Repeat("x", large)+`"}`)
	const values = 50_000
	var flood []kafka.Record
	for n := range values {
		flood = append(flood, kafka.Record{Value: kafka.NewBytes(fmt.Appendf(nil, `{"time":%d,"kind":"resource","service":"other","name":"n%d","value":1}`,
			simStart+200_000+n, n))})
	}
	for len(flood) > 0 {
		n := min(len(flood), 5000)
		p.write(at, flood[:n]...)
		flood = flood[n:]
	}
	w, stop := p.start()
	defer stop()
	want := detector.Totals{Counted: int64(len(s.lines)) + values, Rejected: 3}
	p.until("everything accounted for", func() bool { return w.Totals() == want })
	p.judged(sum.Edge, w)
	var rest []string
	limited := false
	for _, line := range p.outputs(sum.Edge) {
		var i struct{ Rule struct{ Name string } }
		check(t, json.Unmarshal([]byte(line), &i))
		if i.Rule.Name == "PipelineSeriesOverflow" {
			limited = true
			continue
		}
		rest = append(rest, line)
	}
	same(t, "live", told, rest)
	if !limited || len(told) < 2 {
		t.Errorf("the limit is told of: %v; beside it there are %d messages", limited, len(told))
	}
	if got := p.rejectedBy(); len(got["not_json"]) != 2 || len(got["too_large"]) != 1 {
		t.Errorf("rejected: %v", got)
	}
	var metrics bytes.Buffer
	w.metrics.set.WritePrometheus(&metrics)
	if !strings.Contains(metrics.String(), `sevwatch_series{task="0"} 1000`) {
		t.Errorf("the metrics are\n%s", metrics.String())
	}
	replayed, again := p.replayedTopics(sum.Edge, nil)
	if again.Totals != want {
		t.Errorf("a replay of the topics has the accounts %+v, expected %+v", again.Totals, want)
	}
	same(t, "replay of the topics against live", p.outputs(sum.Edge), replayed)
}
