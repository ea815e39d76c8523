package detector

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// TestTallyAgainstBuckets: a tally holds what a plain histogram of the same values holds.
func TestTallyAgainstBuckets(t *testing.T) {
	for seed := range uint64(500) {
		g := rand.New(rand.NewPCG(seed, 1))
		values := randomValues(g, g.IntN(3*fewCodes))
		if g.IntN(2) == 0 {
			values = append(values, randomValues(g, 200)...)
		}
		var got tally
		for _, v := range values {
			got.add(codeOf(v))
		}
		if want := fill(values); !slices.Equal(got.appendTo(nil), want) {
			t.Fatalf("seed %d: of %v the tally has %v, expected %v", seed, values, got.appendTo(nil), want)
		}
	}
}

// TestPlaces: every code that there is has a place, and the places go by value without a gap.
func TestPlaces(t *testing.T) {
	last := placeOf(codeOf(math.MinInt64))
	for code := codeOf(math.MinInt64) + 1; code <= codeOf(math.MaxInt64); code++ {
		if code != 0 && max(code, -code) < leastCode {
			continue
		}
		if at := placeOf(code); at != last+1 || codeAt(at) != code {
			t.Fatalf("code %d is at %d, which is of code %d; the one before is at %d", code, at, codeAt(at), last)
		}
		last++
	}
	if least := codeOf(1); least < leastCode || codeOf(math.MaxInt64) > math.MaxInt16 {
		t.Errorf("the smallest code is %d, expected %d or more; the largest is %d", least, leastCode, codeOf(math.MaxInt64))
	}
}

// TestCodesAgainstSearch compares with a search over all bounds, at random and right at the bounds.
func TestCodesAgainstSearch(t *testing.T) {
	f := func(v int64) {
		t.Helper()
		frac, exp := math.Frexp(math.Abs(float64(v) / 1e6))
		want := int32(sort.SearchFloat64s(octave, frac) + (exp-1)*len(octave) + codeZero)
		if v < 0 {
			want = -want
		}
		if got := codeOf(v); got != want {
			t.Fatalf("%d millionths are in bucket %d, expected %d", v, got, want)
		}
	}
	for code := int32(leastCode); code < codeOf(math.MaxInt64); code++ {
		bound := int64(upperBound(code) * 1e6)
		for _, v := range []int64{bound - 1, bound, bound + 1} {
			if v > 0 {
				f(v)
				f(-v)
			}
		}
	}
	g := rand.New(rand.NewPCG(1, 1))
	for range 1_000_000 {
		f(1 + int64(g.Uint64()>>(1+g.IntN(62)))>>1)
	}
}
