package rules

import (
	"math"
	"testing"
)

// TestWilsonPublished: R. G. Newcombe, "Two-sided confidence intervals for the single proportion: comparison of seven methods",
// Statistics in Medicine 17 (1998), 857-872, table I, method 3 (the score interval without continuity correction), 95 %: two-sided 95 %
// is one-sided 97.5 %.
func TestWilsonPublished(t *testing.T) {
	f := func(k, n int64, lower, upper float64) {
		t.Helper()
		z, ok := zFor(0.975)
		if !ok {
			t.Fatal("0.975 is not among the confidences")
		}
		gotLower, gotUpper := wilson(k, n, z)
		if math.Abs(gotLower-lower) > 0.00005 || math.Abs(gotUpper-upper) > 0.00005 {
			t.Errorf("%d of %d lies in %.4f to %.4f, published is %.4f to %.4f", k, n, gotLower, gotUpper, lower, upper)
		}
	}
	f(81, 263, 0.2553, 0.3662)
	f(15, 148, 0.0624, 0.1605)
	f(0, 20, 0.0000, 0.1611)
	f(1, 29, 0.0061, 0.1718)
}

// TestConfidences: each z is the quantile of the normal distribution, here from its error function.
func TestConfidences(t *testing.T) {
	for _, e := range zOf {
		if got := 0.5 * math.Erfc(-e.z/math.Sqrt2); math.Abs(got-e.confidence) > 1e-14 {
			t.Errorf("z %v leaves %v below, expected %v", e.z, got, e.confidence)
		}
	}
	if _, ok := zFor(0); ok {
		t.Error("no confidence has a z")
	}
	if _, ok := zFor(0.9501); ok {
		t.Error("0.9501 has a z")
	}
}

// TestWilsonSolves: the bounds solve the equation that defines them, contain the share, and shrink with n.
func TestWilsonSolves(t *testing.T) {
	for _, e := range zOf {
		for n := int64(1); n <= 3000; n = n*3/2 + 1 {
			for k := int64(0); k <= n; k += 1 + n/40 {
				lower, upper := wilson(k, n, e.z)
				share := float64(k) / float64(n)
				if lower > share || upper < share || lower < 0 || upper > 1 {
					t.Errorf("%d of %d at z %v lies in %v to %v", k, n, e.z, lower, upper)
				}
				for _, bound := range []float64{lower, upper} {
					off := math.Abs(share-bound) - e.z*math.Sqrt(bound*(1-bound)/float64(n))
					if math.Abs(off) > 1e-9 {
						t.Errorf("%d of %d at z %v: the bound %v is %v off", k, n, e.z, bound, off)
					}
				}
				if l, u := wilson(10*k, 10*n, e.z); l < lower || u > upper {
					t.Errorf("ten times %d of %d are less certain: %v to %v, %v to %v", k, n, l, u, lower, upper)
				}
			}
		}
	}
}

// TestWilsonEnds: none of any number is surely none or more, all is surely all or less, exactly: a threshold of 0 is not passed by rounding.
func TestWilsonEnds(t *testing.T) {
	for _, e := range zOf {
		for n := int64(1); n < 1e6; n = n*5/4 + 1 {
			if lower, upper := wilson(0, n, e.z); lower != 0 || upper <= 0 || upper >= 1 {
				t.Errorf("0 of %d at z %v lies in %v to %v", n, e.z, lower, upper)
			}
			if lower, upper := wilson(n, n, e.z); upper != 1 || lower <= 0 || lower >= 1 {
				t.Errorf("%d of %d at z %v lies in %v to %v", n, n, e.z, lower, upper)
			}
		}
		if lower, upper := wilson(0, 0, e.z); lower != 0 || upper != 1 {
			t.Errorf("nothing of nothing lies in %v to %v, expected anywhere", lower, upper)
		}
	}
}
