package detector

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"sevwatch/rules"
)

// guarded is a partition of an aggregator whose guard believes three events.
func guarded() (*Aggregator, *Partition) {
	cfg := DefaultConfig()
	cfg.Agree = 3
	a := NewAggregator(cfg, 0, 1)
	return a, a.Add(Source{"t", 0}, 0, NewPartitionState())
}

const nine = int64(1_793_600_000_000)

// TestFirstEventIsComparedWithItsRecord: a partition without a time has only the record's own timestamp, which the broker has checked.
func TestFirstEventIsComparedWithItsRecord(t *testing.T) {
	f := func(time, recorded int64, held bool) {
		t.Helper()
		a, p := guarded()
		out := a.Count(p, 0, &Event{Time: time, Kind: rules.KindError, Recorded: recorded})
		if out.Held != held || p.Holds(0) != held || (p.Watermark() == never) != held {
			t.Errorf("an event of %d in a record of %d: %+v, expected held: %v", time, recorded, out, held)
		}
	}
	f(nine, nine, false)
	f(nine, nine-300_000, false)
	f(nine, nine-300_001, true)
	f(nine-86_400_000, nine, false) // yesterday's data run today
	f(nine, 0, false)               // a file's line has no timestamp
	f(nine, -1, false)

	// The next event is not so far ahead of its own record: the first one was wrong.
	a, p := guarded()
	a.Count(p, 0, &Event{Time: nine + 86_400_000, Kind: rules.KindError, Recorded: nine})
	if out := a.Count(p, 1, &Event{Time: nine, Kind: rules.KindError, Recorded: nine}); len(out.Future) != 1 || out.Future[0] != 0 || out.Held {
		t.Errorf("the next event made %+v of the first", out)
	}
	// A wrong record timestamp does not help once the partition has a time.
	if out := a.Count(p, 2, &Event{Time: nine + 86_400_000, Kind: rules.KindError, Recorded: nine + 86_400_000}); !out.Held {
		t.Errorf("an event whose record lies as well is not held: %+v", out)
	}
	// Three that agree are right after all.
	a.Count(p, 3, &Event{Time: nine + 86_400_100, Kind: rules.KindError})
	if out := a.Count(p, 4, &Event{Time: nine + 86_400_050, Kind: rules.KindError}); !out.Held || p.Holds(4) || p.State().Totals.Counted != 4 {
		t.Errorf("the third that agrees: %+v, accounts %+v", out, p.State().Totals)
	}
}

// TestGuardForASparsePartition: events hours apart, read at once, agree with each other in their order; the newest wait for a mark.
func TestGuardForASparsePartition(t *testing.T) {
	a, p := guarded()
	for n := range int64(10) {
		a.Count(p, n, &Event{Time: nine + n*3_600_000, Kind: rules.KindChange})
	}
	if got := p.State().Totals; got.Counted != 8 || got.Held != 2 || got.Rejected+got.Late != 0 {
		t.Errorf("ten events an hour apart: %+v, expected 8 counted and 2 held", got)
	}
	a.Advance(p, nine+20*3_600_000, false)
	if got := p.State().Totals; got.Counted != 10 || p.Watermark() != nine+20*3_600_000 {
		t.Errorf("behind the mark: %+v at %d", got, p.Watermark())
	}
}

// TestHeldEventsAreReadAgain: what is kept beside the offset leads a new owner to the held events, to each once, and to nothing between.
func TestHeldEventsAreReadAgain(t *testing.T) {
	tomorrow := nine + 86_400_000
	a, p := guarded()
	a.Count(p, 0, &Event{Time: nine, Kind: rules.KindError})
	a.Count(p, 1, &Event{Time: tomorrow, Kind: rules.KindError})
	p.Reject(2)
	a.Count(p, 3, &Event{Time: nine - 60_000, Kind: rules.KindError}) // late: it contradicts nothing
	a.Count(p, 4, &Event{Time: tomorrow, Kind: rules.KindError})
	p.Control(5)
	if p.Commit() != 1 || p.Offset() != 6 {
		t.Fatalf("committed at %d, accounted for up to %d, expected 1 and 6", p.Commit(), p.Offset())
	}
	state, err := json.Marshal(p.State())
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, read func(a *Aggregator, p *Partition)) {
		t.Helper()
		var s PartitionState
		if err := json.Unmarshal(state, &s); err != nil {
			t.Fatal(err)
		}
		a, _ := guarded()
		p := a.Add(Source{"other", 0}, 1, s)
		read(a, p)
		got := p.State()
		if text := fmt.Sprintf("%d/%d %+v", p.Commit(), p.Position(), got.Totals); text != want || got.Totals.Sum() != p.Offset() {
			t.Errorf("\n got %s\nwant %s", text, want)
		}
	}
	again := func(a *Aggregator, p *Partition, offset int64) {
		if p.Known(offset) {
			t.Errorf("offset %d is known, expected it to be read again", offset)
		}
		a.Count(p, offset, &Event{Time: tomorrow, Kind: rules.KindError})
	}
	f("1/1 {Counted:1 Late:1 Rejected:1 Duplicate:0 Control:1 Aborted:0 Held:2}", func(*Aggregator, *Partition) {})
	f("1/3 {Counted:1 Late:1 Rejected:1 Duplicate:0 Control:1 Aborted:0 Held:2}", func(a *Aggregator, p *Partition) {
		again(a, p, 1)
		if !p.Known(2) {
			t.Errorf("offset 2 is to be read again")
		}
		p.Skip(3)
	})
	f("6/6 {Counted:3 Late:1 Rejected:1 Duplicate:0 Control:1 Aborted:0 Held:0}", func(a *Aggregator, p *Partition) {
		again(a, p, 1)
		again(a, p, 4)
		if p.Position() != 6 || !p.Known(5) || p.Known(6) {
			t.Errorf("behind the last held one the position is %d, expected 6", p.Position())
		}
		a.Advance(p, tomorrow, false)
	})
	// The log no longer has the first one; the second is no event by the configuration of today.
	f("6/6 {Counted:1 Late:1 Rejected:2 Duplicate:0 Control:1 Aborted:1 Held:0}", func(_ *Aggregator, p *Partition) {
		p.Skip(3)
		if !p.Known(3) || p.Known(4) {
			t.Errorf("offset 3 is to be read again, or 4 is not")
		}
		p.Reject(4)
	})
}

// TestStateBesideTheOffsetIsSmall: a kilobyte is what may be kept beside an offset.
func TestStateBesideTheOffsetIsSmall(t *testing.T) {
	s := PartitionState{
		Watermark: math.MinInt64 + 1, SilentAt: math.MinInt64, Read: math.MaxInt64,
		Totals: Totals{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, MaxAgree},
	}
	for range MaxAgree - 1 {
		s.Held = append(s.Held, 99_999_999_999_999_999) // 18 digits: a thousand years at three million records a second
	}
	if n := len(encode(s)); n > 1024 {
		t.Errorf("the state of a partition takes %d bytes, expected 1024 at most", n)
	}
}

// TestBeginWhereTheLogBegins: retention has taken some of what was to be read again, or more than that.
func TestBeginWhereTheLogBegins(t *testing.T) {
	f := func(first int64, want string) {
		t.Helper()
		s := PartitionState{Read: 120, Held: []int64{0, 4, 15}, Totals: Totals{Counted: 117, Held: 3}}
		start, next := s.Begin(100, first)
		got := fmt.Sprintf("read from %d, known up to %d, held %v of %d, %d held, %d gone", start, next, s.Held, s.Read, s.Totals.Held, s.Totals.Aborted)
		if got != want || s.Totals.Sum() != 120 {
			t.Errorf("the log begins at %d:\n got %s\nwant %s", first, got, want)
		}
	}
	f(0, "read from 100, known up to 120, held [0 4 15] of 120, 3 held, 0 gone")
	f(101, "read from 104, known up to 120, held [0 11] of 120, 2 held, 1 gone")
	f(115, "read from 115, known up to 120, held [0] of 120, 1 held, 2 gone")
	f(116, "read from 120, known up to 120, held [] of 0, 0 held, 3 gone")
	f(130, "read from 130, known up to 120, held [] of 0, 0 held, 3 gone")
	s := PartitionState{Totals: Totals{Counted: 7}}
	if start, next := s.Begin(7, 0); start != 7 || next != 7 {
		t.Errorf("without held records it begins at %d, known up to %d, expected 7", start, next)
	}
}

// TestRecordOfManyEventsIsHeldAsOne: its newest event counts, and it is counted or rejected whole.
func TestRecordOfManyEventsIsHeldAsOne(t *testing.T) {
	tomorrow := nine + 86_400_000
	a, p := guarded()
	f := func(want string, times ...int64) {
		t.Helper()
		var events []Event
		for _, at := range times {
			events = append(events, Event{Time: at, Kind: rules.KindError})
		}
		out := a.CountAll(p, p.Offset(), events)
		if got := fmt.Sprintf("held %v %v, counted %d, rejected %d", out.Held, out.Future, p.totals.Counted, p.totals.Rejected); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	f("held false [], counted 1, rejected 0", nine, nine+1)
	f("held true [], counted 1, rejected 0", nine+2, tomorrow)
	f("held false [], counted 2, rejected 0") // a record without events says nothing
	f("held false [1], counted 3, rejected 1", nine+3)
	f("held true [], counted 3, rejected 1", tomorrow, tomorrow+1)
	f("held true [], counted 3, rejected 1", tomorrow+2)
	f("held true [], counted 6, rejected 1", nine+4, tomorrow+3)
	_, progress := a.Flush()
	var n int64
	for _, pane := range progress.Events {
		n += pane.Events
	}
	if n != 2+1+2+1+2 {
		t.Errorf("%d events are in panes, expected 8", n)
	}
}
