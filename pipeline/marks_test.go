package pipeline

import (
	"testing"
	"time"

	"sevwatch/detector"
)

// TestNewsWaitsInABacklog: while there is more to be read the other tasks hear how far this one is with its flushes, and before one of them
// could wait for it; else of every pane.
func TestNewsWaitsInABacklog(t *testing.T) {
	const told, quarter = 50_000, 900_000
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	s := &source{}
	task := &aggregateTask{
		w: &Worker{now: func() time.Time { return now }}, order: []*source{s}, apart: 4 * quarter, marks: &markReader{},
		agg: detector.NewAggregator(detector.DefaultConfig(), 0, 1), edge: noLow,
	}
	f := func(name string, lag int64, flushed time.Duration, from, low int64, want bool) {
		t.Helper()
		s.lag, task.flushed = lag, now.Add(-flushed)
		if got := (&clock{tasks: 2, pane: 10_000, low: from, told: true}).news(task, low); got != want {
			t.Errorf("%s: news is %v, expected %v", name, got, want)
		}
	}
	f("the same pane", 0, time.Hour, told, told+9_999, false)
	f("a pane further, all read", 0, 0, told, told+10_000, true)
	f("a pane further, more to be read", 1, 0, told, told+10_000, false)
	f("a pane further, the last flush long ago", 1, flushBacklog+1, told, told+10_000, true)
	f("just not so far that others wait", 1, 0, told, told+quarter, false)
	f("soon so far that others wait", 1, 0, told, told+quarter+1, true)
	f("the first time", 1, 0, unknown, told, true)
	f("nothing active any more", 1, 0, told, noLow, true)
	f("active again", 1, 0, noLow, told, true)
}
