package detector

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sevwatch/rules"
)

// Records of several events give the deltas that records of one give, as long as none is late, and are one record each in the accounts.
func TestCountAllIsCountOfEach(t *testing.T) {
	seeds(t, 200, func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		cfg := Config{Labels: []string{"service"}, Pane: 10_000, Lateness: 10_000}
		one, many := NewAggregator(cfg, 0, 1), NewAggregator(cfg, 0, 1)
		p := one.Add(Source{"t", 0}, 0, NewPartitionState())
		q := many.Add(Source{"t", 0}, 0, NewPartitionState())
		offset, at := int64(0), int64(1_000_000)
		for record := range int64(20) {
			events := make([]Event, r.IntN(5))
			for i := range events {
				events[i] = Event{
					Time: at + r.Int64N(5000), Kind: rules.KindLatency, Labels: [][]byte{{byte('a' + r.IntN(3))}}, Value: r.Int64N(1e9), HasValue: true,
				}
				if late := one.Count(p, offset, &events[i]).LateMs; late > 0 {
					t.Fatalf("%d ms late", late)
				}
				offset++
			}
			if late := many.CountAll(q, record, events).LateMs; late > 0 {
				t.Fatalf("%d ms late", late)
			}
			at += r.Int64N(4000)
		}
		if p.Watermark() != q.Watermark() || q.State().Totals != (Totals{Counted: 20}) || p.State().Totals != (Totals{Counted: offset}) {
			t.Errorf("the watermarks are %d and %d, the accounts %+v and %+v", p.Watermark(), q.Watermark(), p.State().Totals, q.State().Totals)
		}
		wantDeltas, want := one.Flush()
		gotDeltas, got := many.Flush()
		if diff := cmp.Diff(wantDeltas, gotDeltas, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("-one +many:\n%s", diff)
		}
		if diff := cmp.Diff(want.Events, got.Events); diff != "" {
			t.Errorf("-one +many:\n%s", diff)
		}
	})
}

// A record is as late as its oldest event, and then nothing of it counts; the watermark is that from before the record.
func TestCountAllIsAllOrNothing(t *testing.T) {
	a := NewAggregator(Config{Pane: 10_000, Lateness: 10_000}, 0, 1)
	p := a.Add(Source{"t", 0}, 0, NewPartitionState())
	f := func(offset int64, late int64, want Totals, times ...int64) {
		t.Helper()
		var events []Event
		for _, at := range times {
			events = append(events, Event{Time: at, Kind: rules.KindError})
		}
		if got := a.CountAll(p, offset, events).LateMs; got != late {
			t.Errorf("record %d is %d ms late, expected %d", offset, got, late)
		}
		if got := p.State().Totals; got != want {
			t.Errorf("after record %d the accounts are %+v, expected %+v", offset, got, want)
		}
	}
	f(0, 0, Totals{Counted: 1}, 100_000, 5_000) // the second is older than the first allows, but not late when they come together
	f(1, 0, Totals{Counted: 2})
	f(2, 5_000, Totals{Counted: 2, Late: 1}, 200_000, 85_000, 89_999)
	f(3, 0, Totals{Counted: 3, Late: 1}, 90_000)
	if p.Watermark() != 90_000 {
		t.Errorf("the watermark is %d: a late record moved it", p.Watermark())
	}
	_, progress := a.Flush()
	if diff := cmp.Diff([]PaneEvents{{0, 1}, {90_000, 1}, {100_000, 1}}, progress.Events); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
