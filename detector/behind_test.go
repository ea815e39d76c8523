package detector

import (
	"math/rand/v2"
	"slices"
	"testing"

	"sevwatch/rules"
)

// Every distance lies in a bucket whose bound is not below it and at most an eighth above it, and the buckets follow each other.
func TestBehindBuckets(t *testing.T) {
	for _, ms := range []int64{0, 1, 7, 8, 9, 15, 16, 17, 18, 999, 1000, 10_000, 86_400_000, 1<<40 - 1} {
		bound := behindBound(behindBucket(ms))
		if bound < ms || bound-ms > ms/8 {
			t.Errorf("%d ms lie in a bucket that ends at %d", ms, bound)
		}
	}
	for b := range behindBuckets - 1 {
		if got := behindBucket(behindBound(b)); got != b {
			t.Errorf("the bound of bucket %d lies in bucket %d", b, got)
		}
		if got := behindBucket(behindBound(b) + 1); got != b+1 {
			t.Errorf("what follows the bound of bucket %d lies in bucket %d", b, got)
		}
	}
	if got := behindBucket(1 << 62); got != behindBuckets-1 {
		t.Errorf("a huge distance lies in bucket %d", got)
	}
}

// The lateness that is advised keeps what it promises when the same records come again under it, whatever the first lateness was; one that
// is an eighth and a pane shorter does not.
func TestBehindKeeps(t *testing.T) {
	const pane, records = 1000, 20_000
	seeds(t, 20, func(t *testing.T, seed uint64) {
		g := rand.New(rand.NewPCG(seed, 21))
		type record struct{ time, arrival int64 }
		var log []record
		for i := range int64(records) {
			at, delay := 1_000_000_000+i*50, g.Int64N(2000)
			if g.IntN(100) == 0 {
				delay = g.Int64N(1 << (10 + g.IntN(8)))
			}
			log = append(log, record{at, at + delay})
		}
		slices.SortStableFunc(log, func(x, y record) int { return int(x.arrival - y.arrival) })
		run := func(lateness int64) (late int64, behind Behind) {
			a := NewAggregator(Config{Labels: []string{"service"}, Pane: pane, Lateness: 1 << 40, LatenessOf: map[string]int64{"a": lateness}}, 0, 1)
			p := a.Add(Source{"a", 0}, 0, NewPartitionState())
			for i, r := range log {
				if i%100 == 99 { // time also goes on by marks, as far as a partition of the source may go
					a.Advance(p, r.time-lateness, false)
				}
				a.Count(p, int64(i), &Event{Time: r.time, Kind: rules.KindError, Labels: [][]byte{[]byte("x")}})
			}
			return p.State().Totals.Late, p.TakeBehind()
		}
		for _, first := range []int64{0, 5000} {
			late, behind := run(first)
			if behind.Records() != records {
				t.Fatalf("seed %d: %d records were noted", seed, behind.Records())
			}
			if first == 0 && late < records/1000 {
				t.Fatalf("seed %d: only %d records are late without a lateness", seed, late)
			}
			needed := behind.Lateness(999)
			if late, _ := run(needed); late > records/1000 {
				t.Errorf("seed %d: a lateness of %d, advised under %d, has %d late of %d", seed, needed, first, late, records)
			}
			if shorter := needed - needed/8 - pane - 1; shorter >= 0 {
				if late, _ := run(shorter); late <= records/1000 {
					t.Errorf("seed %d: a lateness of %d would do, %d is advised", seed, shorter, needed)
				}
			}
		}
	})
	if got := (&Behind{}).Lateness(999); got != 0 {
		t.Errorf("no record needs a lateness of %d", got)
	}
}
