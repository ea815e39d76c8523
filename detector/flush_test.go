package detector

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"sevwatch/rules"
)

// TestFlushAllocatesLittle: what a flush hands over lies where that of the last one lay, and so do the cells.
func TestFlushAllocatesLittle(t *testing.T) {
	const series, values, pane, flushes = 1000, fewCodes, int64(10_000), 20
	a := NewAggregator(Config{Labels: []string{"a"}, Pane: pane}, 0, 1)
	p := a.Add(Source{"t", 0}, 0, NewPartitionState())
	events := make([]Event, series)
	for i := range events {
		events[i] = Event{Kind: rules.KindLatency, Labels: [][]byte{fmt.Appendf(nil, "series %d", i)}, HasValue: true}
	}
	cells := uint64(0)
	flush := func() {
		for i := range series * values {
			e := &events[i%series]
			e.Time, e.Value = e.Time+pane/values, int64(1+i)*1000
			a.Count(p, p.Offset(), e)
		}
		deltas, _ := a.Flush()
		for i := range deltas {
			cells += uint64(len(deltas[i].Series))
		}
	}
	flush()
	flush()
	cells = 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range flushes {
		flush()
	}
	runtime.ReadMemStats(&after)
	if cells < series*flushes {
		t.Fatalf("%d cells were handed over, expected %d at least", cells, series*flushes)
	}
	if n := (after.TotalAlloc - before.TotalAlloc) / cells; n > 10 {
		t.Errorf("a cell takes %d bytes, expected 10 at most", n)
	} else {
		t.Logf("a cell takes %d bytes", n)
	}
}

// TestPendingKnowsOfSessions: what waits for a flush is measured with the sessions that cells have listed.
func TestPendingKnowsOfSessions(t *testing.T) {
	cfg := DefaultConfig()
	cfg.CountSessions = map[string]bool{"events": true}
	agg := NewAggregator(cfg, 0, 1)
	agg.SetPartitions(PartitionSet{Version: 1, Topics: map[string]int{"events": 1}})
	p := agg.Add(Source{"events", 0}, 0, NewPartitionState())
	for n := range int64(1000) {
		e := taleEvent{kind: rules.KindLatency, time: 1793984400000, labels: map[string]string{"service": "api"}, session: strconv.FormatInt(n%500, 10)}
		agg.Count(p, n, e.of(&cfg))
	}
	if got, most := agg.Pending(), 1+MaxFew/listedACell; got != most {
		t.Errorf("one cell of 500 sessions counts as %d, expected %d", got, most)
	}
	if agg.Flush(); agg.Pending() != 0 {
		t.Errorf("after the flush %d are pending", agg.Pending())
	}
}
