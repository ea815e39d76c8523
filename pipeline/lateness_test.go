package pipeline

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sevwatch/detector"
	"sevwatch/rules"
)

// A source with an hour of lateness keeps it while it is idle and others go on, and when all are idle: only what is older is late. It is told
// what it would have needed, and a replay of the topics comes to the same.
func TestSourceKeepsItsLatenessWhileIdle(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, func(c *Config) { c.Sources[0].Lateness, c.MaxAhead = hour, 3*hour })
		errors := partition{p.topicOf(rules.KindError), 0}
		failureAt := func(second int) string {
			return fmt.Sprintf(`{"time":%d,"service":"api","error_type":"boom"}`, simStart+int64(second)*1000)
		}
		latencies := partition{p.topicOf(rules.KindLatency), 0}
		p.writeLines(errors, failureAt(0))
		p.writeLines(latencies, latencyAt(0), latencyAt(7200))
		w, stop := p.start()
		defer stop()
		p.judged(simStart+3600_000, w)
		p.writeLines(errors, failureAt(5400), failureAt(3000))
		want := detector.Totals{Counted: 4, Late: 1}
		p.until("all to be accounted for", func() bool { return w.Totals().Sum() == want.Sum() })
		if got := w.Totals(); got != want {
			t.Fatalf("the accounts are %+v, expected %+v", got, want)
		}
		_, sum := p.replayedTopics(simStart, nil)
		if sum.Totals != want || len(sum.Lateness) != 1 || sum.Lateness[0].Topic != errors.topic || sum.Lateness[0].Late != 1 {
			t.Errorf("a replay has the accounts %+v and tells %+v", sum.Totals, sum.Lateness)
		}
		var metrics bytes.Buffer
		w.metrics.set.WritePrometheus(&metrics)
		health := w.beat().Sources
		needed := int64(0)
		for _, s := range health {
			if s.Topic == errors.topic && s.Late == 1 {
				needed = s.NeededLatenessMs
			}
		}
		line := fmt.Sprintf("sevwatch_needed_lateness_seconds{topic=%q} %v\n", errors.topic, float64(needed)/1000)
		if needed < 4200_000 || needed > 4200_000*9/8+30_000 || !strings.Contains(metrics.String(), line) {
			t.Errorf("the heartbeat tells of %+v, the metrics are\n%s", health, metrics.String())
		}
	})
}

// Records that are put aside are told of in the log, at once and then once a minute.
func TestAsidesAreLogged(t *testing.T) {
	core, log := observer.New(zapcore.WarnLevel)
	two := newTwoTasks(t)
	two.w.log = zap.New(core)
	two.write(100)
	two.settle(2)
	for range 90 {
		two.writeTo(0, 5)
		two.settle(1)
	}
	two.settle(3)
	told := log.FilterMessageSnippet("records are not counted").All()
	if len(told) != 2 {
		t.Fatalf("it was told %d times in a minute and a half, expected twice", len(told))
	}
	if f := told[0].ContextMap(); f["topic"] != "web" || f["late"] != int64(1) || f["latest_by"].(time.Duration) < 94*time.Second {
		t.Errorf("the log says %v", f)
	}
}
