package sets

import (
	"slices"
	"strings"
	"testing"
)

// latencies is a sample of n requests of one duration, some of them failed.
func latencies(n, errors int, durationMs float64) Sample {
	return Sample{Requests: n, Errors: errors, DurationsMs: slices.Repeat([]float64{durationMs}, n)}
}

func TestRuleOfVisibility(t *testing.T) {
	f := func(before, after Sample, visible, judged bool, why string) {
		t.Helper()
		got := Compare(before, after)
		if got.Visible != visible || got.Judged != judged || !strings.HasPrefix(got.Why, why) {
			t.Errorf("%+v, want visible=%v judged=%v %q", got, visible, judged, why)
		}
	}
	f(latencies(100, 5, 10), latencies(100, 10, 10), true, true, "error share doubled") // exactly doubled counts
	f(latencies(100, 6, 10), latencies(100, 11, 10), false, true, "neither doubled")
	f(latencies(100, 0, 10), latencies(100, 4, 10), false, true, "neither doubled") // zero before: minErrors wanted
	f(latencies(100, 0, 10), latencies(100, 5, 10), true, true, "error share doubled")
	f(latencies(100, 1, 10), latencies(100, 4, 10), false, true, "neither doubled") // fourfold, but four errors
	f(latencies(100, 0, 10), latencies(100, 0, 20), true, true, "p95 doubled")
	f(latencies(100, 0, 10), latencies(100, 0, 19.9), false, true, "neither doubled")
	f(latencies(100, 0, 10), latencies(100, 9, 20), true, true, "both doubled")
	f(latencies(9, 0, 10), latencies(100, 50, 90), false, false, "not judged")
	f(latencies(100, 0, 10), latencies(9, 9, 90), false, false, "not judged")
	f(latencies(19, 0, 10), latencies(100, 0, 90), false, true, "neither doubled") // too few for a p95
	f(latencies(100, 2, 10), Sample{Errors: 12}, true, true, "error share doubled")
	f(Sample{}, Sample{}, false, false, "not judged")
}

func TestP95IsNearestRank(t *testing.T) {
	var s Sample
	for i := 100; i > 0; i-- {
		s.add(Event{Kind: Latency, DurationMs: float64(i)})
	}
	if got := s.p95(); got != 95 {
		t.Errorf("p95 of 1..100 is %v", got)
	}
}
