package detector

import (
	"fmt"
	"math/rand"
	"reflect"
	"runtime"
	"slices"
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

// TestClosedIsPartOfAFlush: what closed panes gained may be handed over before the flush that tells of it; all together is the same, and nothing of it
// waits any more.
func TestClosedIsPartOfAFlush(t *testing.T) {
	cfg := DefaultConfig()
	cfg.CountSessions = map[string]bool{"events": true}
	handed := 0
	run := func(early bool) (cells map[string]Cell, events map[int64]int64) {
		cells, events = map[string]Cell{}, map[int64]int64{}
		r := rand.New(rand.NewSource(7))
		agg := NewAggregator(cfg, 0, 1)
		agg.SetPartitions(PartitionSet{Version: 1, Topics: map[string]int{"events": 2}})
		parts := []*Partition{agg.Add(Source{"events", 0}, 0, NewPartitionState()), agg.Add(Source{"events", 1}, 0, NewPartitionState())}
		take := func(deltas []Delta) {
			for _, d := range deltas {
				for _, s := range d.Series {
					key := fmt.Sprint(d.Pane, d.Domain, seriesKey(s.Kind, s.Labels))
					c := cells[key]
					c.Buckets, c.Sessions = slices.Clone(c.Buckets), united(nil, c.Sessions)
					c.Merge(&s.Cell)
					cells[key] = c
				}
			}
		}
		for n := range int64(20_000) {
			p := parts[r.Intn(2)]
			e := taleEvent{
				kind: rules.KindLatency, time: 1793984400000 + n*50 + r.Int63n(5000), labels: map[string]string{"service": strconv.Itoa(r.Intn(50))},
				session: strconv.Itoa(r.Intn(400)), value: r.Int63n(1e9), hasValue: true,
			}
			agg.Count(p, p.Offset(), e.of(&cfg))
			if early && n%97 == 0 {
				deltas := agg.Closed()
				for i := range deltas {
					handed += len(deltas[i].Series)
					if deltas[i].Pane+cfg.Pane > agg.Edge() {
						t.Fatalf("the pane at %d was handed over before all partitions had closed it", deltas[i].Pane)
					}
				}
				take(deltas)
			}
			if n%1000 == 0 {
				agg.Happened(Happening{Source: p.Source, Name: "stalled", Pane: max(p.Edge(), 0), Count: 1}) // maybe in a pane that was handed over
			}
			if n%5000 == 4999 {
				deltas, progress := agg.Flush()
				take(deltas)
				for i, e := range progress.Events {
					if i > 0 && progress.Events[i-1].Pane >= e.Pane {
						t.Fatalf("the panes %v are not in order", progress.Events)
					}
					events[e.Pane] += e.Events
				}
				if agg.Pending() != 0 {
					t.Fatalf("after the flush %d are pending", agg.Pending())
				}
			}
		}
		return cells, events
	}
	cells, events := run(false)
	earlyCells, earlyEvents := run(true)
	if handed < 1000 {
		t.Fatalf("%d cells were handed over early, expected 1000 at least", handed)
	}
	if !reflect.DeepEqual(cells, earlyCells) || !reflect.DeepEqual(events, earlyEvents) {
		t.Errorf("%d cells and events %v, expected %d and %v", len(earlyCells), earlyEvents, len(cells), events)
	}
}

// TestPendingKnowsOfIndexes: however many panes are open and series known, what finds their cells is bounded.
func TestPendingKnowsOfIndexes(t *testing.T) {
	const known, cells = 50_000, 50_000
	cfg := DefaultConfig()
	agg := NewAggregator(cfg, 0, 1)
	agg.SetPartitions(PartitionSet{Version: 1, Topics: map[string]int{"events": 2}})
	p := agg.Add(Source{"events", 0}, 0, NewPartitionState())
	agg.Add(Source{"events", 1}, 0, NewPartitionState()) // says nothing, so that no pane closes
	count := func(time int64, series int) {
		e := taleEvent{kind: rules.KindLatency, time: time, labels: map[string]string{"endpoint": strconv.Itoa(series)}}
		agg.Count(p, p.Offset(), e.of(&cfg))
	}
	for i := range known {
		count(1793984400000, i)
	}
	agg.Flush()
	panes := 0
	for ; agg.Pending() <= cells && panes < 1000; panes++ {
		count(1793984400000+int64(panes)*cfg.Pane, known-1)
	}
	numbers := 0
	for _, p := range agg.panes {
		numbers += len(p.index)
	}
	if numbers != agg.indexed || numbers > indexedFree+indexedACell*cells+known {
		t.Errorf("%d panes have indexes of %d numbers, %d are known, expected %d at most", panes, numbers, agg.indexed, indexedFree+indexedACell*cells+known)
	}
	for range 3 {
		agg.Flush()
		if agg.indexed != 0 || agg.Pending() != 0 {
			t.Errorf("after a flush indexes of %d numbers are known, and %d cells pending", agg.indexed, agg.Pending())
		}
		count(1793984400000+int64(panes)*cfg.Pane, 0)
	}
}
