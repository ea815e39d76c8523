package sets

import (
	"slices"
	"testing"
)

var someQuantiles = []quantile{{50, 44.5}, {90, 120}, {95, 295.25}, {99, 1031}}

// The quantiles of the events are those of the table, wherever few requests do not force two
// quantiles onto one rank; failed requests are as many as asked for.
func TestSpreadMatchesTheTable(t *testing.T) {
	for n := 1; n <= 700; n++ {
		for _, errors := range []int{0, 1, n / 3, n} {
			b := bulk{service: "a", startMs: 1000, endMs: 61_000, requests: n, errors: min(errors, n), quantiles: someQuantiles}
			checkBulk(t, b, b.spread(nil))
		}
	}
}

func checkBulk(t *testing.T, b bulk, events []Event) {
	t.Helper()
	var s Sample
	failed, lastMs := 0, b.startMs
	for _, e := range events {
		s.add(e)
		if e.Status == 500 {
			failed++
		}
		if e.TimeMs < lastMs || e.TimeMs >= b.endMs {
			t.Fatalf("n=%d: an event at %d, after %d and before %d", b.requests, e.TimeMs, lastMs, b.endMs)
		}
		lastMs = e.TimeMs
	}
	if s.Requests != b.requests || s.Errors != b.errors || failed != b.errors {
		t.Fatalf("requests %d, errors %d, status 500 %d; want %d, %d, %d",
			s.Requests, s.Errors, failed, b.requests, b.errors, b.errors)
	}
	sorted := slices.Sorted(slices.Values(s.DurationsMs))
	for i, q := range b.quantiles {
		at := rank(q.percent, b.requests)
		shared := i+1 < len(b.quantiles) && rank(b.quantiles[i+1].percent, b.requests) == at
		if got := sorted[at-1]; !shared && got != q.durationMs {
			t.Fatalf("n=%d p%d: %v, want %v", b.requests, q.percent, got, q.durationMs)
		}
	}
}

func TestSpreadKeepsTimeAndNothing(t *testing.T) {
	if got := (bulk{quantiles: someQuantiles}).spread(nil); len(got) != 0 {
		t.Errorf("%d events of no requests", len(got))
	}
	// Ten seconds of a minute look like the whole minute: no ramp inside a row.
	b := bulk{service: "a", endMs: 60_000, requests: 120, quantiles: someQuantiles}
	for fromMs := int64(0); fromMs < b.endMs; fromMs += 10_000 {
		slow := 0
		for _, e := range b.spread(nil) {
			if fromMs <= e.TimeMs && e.TimeMs < fromMs+10_000 && e.DurationMs > 44.5 {
				slow++
			}
		}
		if slow < 9 || slow > 11 {
			t.Errorf("from %d ms: %d of 20 above the median", fromMs, slow)
		}
	}
}

// Quantiles that fall (a histogram with few requests may tell so) are lifted, never crossed.
func TestDurationsNeverFall(t *testing.T) {
	b := bulk{requests: 100, quantiles: []quantile{{50, 10}, {90, 8}, {95, 20}, {99, 19}}}
	if got := b.durations(); !slices.IsSorted(got) {
		t.Errorf("not sorted: %v", got)
	}
}

func TestFailures(t *testing.T) {
	f := func(n int, availability float64, want int) {
		t.Helper()
		if got := failures(n, availability); got != want {
			t.Errorf("failures(%d, %v) = %d, want %d", n, availability, got, want)
		}
	}
	f(482, 99.79253112033195, 1)
	f(120, 49.586776859504134, 60)
	f(10, 0, 10)
	f(10, 100, 0)
	f(10, 100.0000001, 0)
}
