package detector

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"

	"sevwatch/rules"
)

// fill makes a histogram of values in millionths.
func fill(values []int64) Buckets {
	var b Buckets
	for _, v := range values {
		b.add(codeOf(v), 1)
	}
	return b
}

// randomValues are n values of one of several shapes, some of them negative.
func randomValues(g *rand.Rand, n int) []int64 {
	shape := g.IntN(5)
	values := make([]int64, n)
	for i := range values {
		switch shape {
		case 0: // over all magnitudes
			values[i] = int64(math.Exp(g.Float64() * 43))
		case 1:
			values[i] = g.Int64N(1e9)
		case 2: // like latencies
			values[i] = int64(math.Exp(4+g.NormFloat64()) * 1e6)
		case 3: // few different ones
			values[i] = (1 + g.Int64N(5)) * 1e6
		default:
			values[i] = g.Int64N(2e9) - 1e9
		}
	}
	return values
}

// TestBucketsAreThoseOfTheDefinition compares each bucket with 2^((i-1)/32) < v <= 2^(i/32), computed in whole numbers. (The bounds in
// Prometheus' table are up to two units in the last place off the true ones.)
func TestBucketsAreThoseOfTheDefinition(t *testing.T) {
	close := func(x, y float64) bool { return math.Abs(x-y) <= 5e-16*math.Abs(y) }
	f := func(v int64) {
		t.Helper()
		low, high := bounds(codeOf(v))
		if wantLow, wantHigh := bucketOf(v); !close(low, wantLow) || !close(high, wantHigh) {
			t.Errorf("%d millionths are in the bucket from %v to %v, expected %v to %v", v, low, high, wantLow, wantHigh)
		}
	}
	for _, v := range []int64{0, 1, 2, 3, 999_999, 1e6, 1_000_001, 2e6, 4e6, 64e6, 1 << 40, math.MaxInt64} {
		f(v)
		f(-v)
	}
	for exp := range 43 { // the exact powers of two are upper bounds: the bucket below ends with them
		v := int64(1e6) << exp
		if v < 1<<53 { // beyond, a millionth more or less is not seen
			f(v - 1)
			f(v + 1)
		}
		f(v)
		if low, high := bounds(codeOf(v)); high != float64(v)/1e6 || low >= high {
			t.Errorf("%d millionths are in the bucket from %v to %v", v, low, high)
		}
	}
	g := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		for _, v := range randomValues(g, 5) {
			f(v)
		}
	}
}

func TestBucketsAreInTheOrderOfValues(t *testing.T) {
	g := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		v := randomValues(g, 2)
		slices.Sort(v)
		if codeOf(v[0]) > codeOf(v[1]) {
			t.Fatalf("%d has code %d, %d has code %d", v[0], codeOf(v[0]), v[1], codeOf(v[1]))
		}
	}
}

// TestQuantileError: at most 1.1 % off the exact nearest rank, and on the same side of zero.
func TestQuantileError(t *testing.T) {
	g := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		values := randomValues(g, 1+g.IntN(400))
		b := fill(values)
		slices.Sort(values)
		for _, q := range []float64{0.001, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999} {
			exact := float64(values[int(math.Ceil(q*float64(len(values))))-1]) / 1e6
			if got := b.Quantile(q); math.Abs(got-exact) > 0.011*math.Abs(exact) {
				t.Errorf("quantile %v of %d values is %v, exactly %v: %.2f %% off", q, len(values), got, exact, 100*(got/exact-1))
			}
		}
	}
	if got := Buckets(nil).Quantile(0.5); got != 0 {
		t.Errorf("the quantile of nothing is %v", got)
	}
}

// TestCounts: what is surely above or below a bound is so, and nothing is missed that is more than a bucket away.
func TestCounts(t *testing.T) {
	g := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		values := randomValues(g, g.IntN(60))
		b := fill(values)
		bound := float64(randomValues(g, 1)[0]) / 1e6
		if g.IntN(3) == 0 && len(values) > 0 { // met exactly
			bound = float64(values[0]) / 1e6
		}
		var above, farAbove, below, farBelow int64
		for _, v := range values {
			x := float64(v) / 1e6
			far := math.Abs(x-bound) > 0.0222*max(math.Abs(x), math.Abs(bound))
			switch {
			case x > bound:
				above++
				if far {
					farAbove++
				}
			case x < bound:
				below++
				if far {
					farBelow++
				}
			}
		}
		if got := b.CountAbove(bound); got > above || got < farAbove {
			t.Errorf("%d of %v are said to be above %v, expected %d to %d", got, values, bound, farAbove, above)
		}
		if got := b.CountBelow(bound); got > below || got < farBelow {
			t.Errorf("%d of %v are said to be below %v, expected %d to %d", got, values, bound, farBelow, below)
		}
	}
	f := func(b Buckets, bound float64, above, below int64) {
		t.Helper()
		if b.CountAbove(bound) != above || b.CountBelow(bound) != below {
			t.Errorf("%v: %d above and %d below %v, expected %d and %d", b, b.CountAbove(bound), b.CountBelow(bound), bound, above, below)
		}
	}
	zeros := fill([]int64{0, 0, 0})
	f(zeros, 0, 0, 0)
	f(zeros, -1, 3, 0)
	f(zeros, 1, 0, 3)
	f(fill([]int64{2e6}), 2, 0, 0) // the bound itself is neither
	f(fill([]int64{-2e6}), -2, 0, 0)
	f(fill([]int64{2_000_001}), 2, 1, 0)
	f(fill([]int64{-2_000_001}), -2, 0, 1)
	f(nil, 1, 0, 0)
}

// TestMergeIsAddition: merging and dropping panes in any order gives the histogram of what is left.
func TestMergeIsAddition(t *testing.T) {
	g := rand.New(rand.NewPCG(9, 10))
	for range 200 {
		var parts [][]int64
		var window Buckets
		for range 1 + g.IntN(8) {
			parts = append(parts, randomValues(g, g.IntN(30)))
			window.merge(fill(parts[len(parts)-1]), 1)
		}
		g.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		for len(parts) > 0 {
			if want := fill(slices.Concat(parts...)); !slices.Equal(window, want) {
				t.Fatalf("got %v, expected %v", window, want)
			}
			window.merge(fill(parts[0]), -1)
			parts = parts[1:]
		}
		if len(window) != 0 {
			t.Fatalf("%v is left of nothing", window)
		}
	}
}

// TestExport: Prometheus finds our histograms valid, and each value within the bounds of the bucket that Prometheus says it is in.
func TestExport(t *testing.T) {
	g := rand.New(rand.NewPCG(11, 12))
	f := func(values []int64) {
		t.Helper()
		sum := 0.0
		for _, v := range values {
			sum += float64(v) / 1e6
		}
		h := fill(values).Export(sum)
		if err := h.Validate(); err != nil {
			t.Fatalf("%v: %v", values, err)
		}
		if h.Count != uint64(len(values)) || h.Sum != sum || h.Schema != Schema {
			t.Errorf("%v: count %d, sum %v, schema %d", values, h.Count, h.Sum, h.Schema)
		}
		counted := 0.0
		for it := h.ToFloat(nil).AllBucketIterator(); it.Next(); {
			b := it.At()
			if n := within(values, b); float64(n) != b.Count {
				t.Errorf("Prometheus counts %v in %v, there are %d of %v", b.Count, b, n, values)
			}
			counted += b.Count
		}
		if counted != float64(len(values)) {
			t.Errorf("Prometheus finds %v values in its buckets, expected %d: %v", counted, len(values), values)
		}
	}
	f(nil)
	f([]int64{0, 0})
	f([]int64{1, 0, -1}) // the smallest that can be measured is not zero
	f([]int64{1e6, 1e6, 1e6 + 1})
	f([]int64{math.MaxInt64, math.MinInt64 + 1})
	for range 200 {
		f(randomValues(g, 1+g.IntN(50)))
	}
}

// within is how many of the values lie in a bucket of Prometheus.
func within(values []int64, b histogram.Bucket[float64]) (n int) {
	for _, v := range values {
		x := float64(v) / 1e6
		if (x > b.Lower || b.LowerInclusive && x == b.Lower) && (x < b.Upper || b.UpperInclusive && x == b.Upper) {
			n++
		}
	}
	return n
}

// TestImpactAgreesWithTheReason: values whose bucket holds the threshold are judged by its middle, and the impact does not say that none is beyond it.
func TestImpactAgreesWithTheReason(t *testing.T) {
	f := func(signal, tier string, value float64, want string) {
		t.Helper()
		file, err := rules.Parse("x.yaml", []byte("groups: [{name: g, rules: [{alert: A, window: 1m, signal: "+signal+", severities: [{severity: sev1, "+tier+"}]}]}]"), rules.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := file.Rules()[0]
		var b Buckets
		b.add(codeOf(int64(value*1e6)), 60)
		m := rules.Measure{Num: 60, Dist: b, Stream: 60}
		if r.Judge(m).Worst != 0 {
			t.Fatalf("%v is no breach of %s", value, tier)
		}
		if got := r.Impact(m); got != want {
			t.Errorf("got %q, expected %q", got, want)
		}
	}
	f("{quantile: {of: latency, q: 0.95}}", "above: 2500", 2520, "The p95 of 60 latency events was 2516 ms in the last 1m.")
	f("{quantile: {of: satisfaction, q: 0.5}}", "below: 3", 2.98, "The p50 of 60 satisfaction events was 2.986 in the last 1m.")
	f("{quantile: {of: latency, q: 0.95}}", "above: 2500", 9000, "60 of 60 latency events were above 2500 ms in the last 1m (100 %).")
}
