package detector

import (
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
)

// Schema is the resolution of all histograms: Prometheus' native schema 5, where each bucket is 2^(1/32) = 2.19 % wider than the
// one before, so a quantile is at most 1.1 % off.
const Schema = 5

// Bucket is how many values fell into one bucket. Code orders buckets by value: 0 holds exactly 0, index+codeZero the positive
// values of Prometheus' bucket of that index, and the negated code their negatives.
type Bucket struct {
	Code int32 `json:"code"`
	N    int64 `json:"n"`
}

const codeZero = 4096

// octave are the upper bounds of the buckets between 0.5 and 1, taken from Prometheus' own iterator, so that ours are the same by
// construction.
var octave = func() []float64 {
	n := 1 << Schema
	h := histogram.Histogram{
		Schema:          Schema,
		PositiveSpans:   []histogram.Span{{Offset: int32(-n), Length: uint32(n)}},
		PositiveBuckets: make([]int64, n),
	}
	var bounds []float64
	for it := h.PositiveBucketIterator(); it.Next(); {
		bounds = append(bounds, it.At().Upper)
	}
	return bounds
}()

// Fractions between 0.5 and 1 as the bits of a float64 have them: 52 bits behind the leading one, which is not written.
const (
	fractionBits = 52
	fractionMask = 1<<fractionBits - 1
	exponentHalf = 1022 // the exponent of a float64 between 0.5 and 1
	stepBits     = 7    // a step of 1/128 is narrower than any bucket, so that at most one bound lies within it
)

// octaveBits are the fractions of octave.
var octaveBits = func() []uint64 {
	var out []uint64
	for _, bound := range octave {
		out = append(out, math.Float64bits(bound)&fractionMask)
	}
	return append(out, fractionMask) // no fraction is beyond it
}()

// firstBound is, for each step of fractions, the first bound that is not before the step's begin.
var firstBound = func() (first [1 << stepBits]uint8) {
	for step := range first {
		begin := uint64(step) << (fractionBits - stepBits)
		for octaveBits[first[step]] < begin {
			first[step]++
		}
	}
	return first
}()

// codeOf is the bucket of v millionths. Dividing once and comparing with constants gives the same bucket on every machine.
func codeOf(v int64) int32 {
	if v == 0 {
		return 0
	}
	b := math.Float64bits(math.Abs(float64(v) / 1e6))
	fraction := b & fractionMask
	i := int32(firstBound[fraction>>(fractionBits-stepBits)])
	if fraction > octaveBits[i] {
		i++
	}
	code := i + (int32(b>>fractionBits)-exponentHalf-1)<<Schema + codeZero
	if v < 0 {
		return -code
	}
	return code
}

// upperBound is the largest absolute value in the bucket of a positive code.
func upperBound(code int32) float64 {
	n := int32(len(octave))
	index := code - codeZero
	octaves := index / n
	if index%n < 0 {
		octaves--
	}
	return math.Ldexp(octave[index-octaves*n], int(octaves)+1)
}

// bounds are the smallest and largest value that the bucket can hold.
func bounds(code int32) (low, high float64) {
	switch {
	case code == 0:
		return 0, 0
	case code < 0:
		low, high = bounds(-code)
		return -high, -low
	default:
		return upperBound(code - 1), upperBound(code)
	}
}

// Buckets is a histogram: buckets in ascending order, none of them empty.
type Buckets []Bucket

// check says what is wrong with buckets that were read.
func (b Buckets) check() error {
	for i, x := range b {
		if x.N <= 0 || x.Code < -MaxCode || x.Code > MaxCode || i > 0 && x.Code <= b[i-1].Code {
			return fmt.Errorf("bucket %d of %d is of code %d and holds %d, expected codes in order, from %d to %d, and 1 value at least", i, len(b), x.Code, x.N,
				-MaxCode, MaxCode)
		}
	}
	return nil
}

// add puts n values (or takes them away, if n is negative) into the bucket of that code.
func (b *Buckets) add(code int32, n int64) {
	i, found := slices.BinarySearchFunc(*b, code, func(x Bucket, c int32) int { return int(x.Code) - int(c) })
	if !found {
		*b = slices.Insert(*b, i, Bucket{Code: code, N: n})
		return
	}
	(*b)[i].N += n
	if (*b)[i].N == 0 {
		*b = slices.Delete(*b, i, i+1)
	}
}

// merge adds all of other, sign times: from the back, so that every bucket is moved once.
func (b *Buckets) merge(other Buckets, sign int64) {
	i, missing := 0, 0
	for _, x := range other {
		for i < len(*b) && (*b)[i].Code < x.Code {
			i++
		}
		if i == len(*b) || (*b)[i].Code != x.Code {
			missing++
		}
	}
	from := len(*b) - 1
	out := slices.Grow(*b, missing)[:len(*b)+missing]
	to := len(out) - 1
	for _, x := range slices.Backward(other) {
		for ; from >= 0 && out[from].Code > x.Code; from, to = from-1, to-1 {
			out[to] = out[from]
		}
		n := sign * x.N
		if from >= 0 && out[from].Code == x.Code {
			n += out[from].N
			from--
		}
		out[to] = Bucket{Code: x.Code, N: n}
		to--
	}
	if *b = out; sign < 0 {
		*b = slices.DeleteFunc(out, func(x Bucket) bool { return x.N == 0 })
	}
}

// Quantile is the middle of the bucket that holds the value of rank ceil(q*n), or 0 of nothing.
func (b Buckets) Quantile(q float64) float64 {
	var n int64
	for _, x := range b {
		n += x.N
	}
	rank := max(1, int64(math.Ceil(float64(q*float64(n)))))
	for _, x := range b {
		if rank -= x.N; rank <= 0 {
			low, high := bounds(x.Code)
			return (low + high) / 2
		}
	}
	return 0
}

// CountAbove is how many values lie in buckets wholly above v. A bucket of positive values does not hold its lower bound.
func (b Buckets) CountAbove(v float64) int64 {
	var n int64
	for _, x := range slices.Backward(b) {
		if low, _ := bounds(x.Code); low < v || low == v && x.Code <= 0 {
			break
		}
		n += x.N
	}
	return n
}

// CountBelow is how many values lie in buckets wholly below v. A bucket of negative values does not hold its upper bound.
func (b Buckets) CountBelow(v float64) int64 {
	var n int64
	for _, x := range b {
		if _, high := bounds(x.Code); high > v || high == v && x.Code >= 0 {
			break
		}
		n += x.N
	}
	return n
}

// zeroThreshold is a bucket's bound below the smallest value that can be measured, a millionth: only 0 itself counts as zero.
const zeroThreshold = 0x1p-20

// Export is the histogram as Prometheus' own type, for remote write and native histogram consumers.
func (b Buckets) Export(sum float64) *histogram.Histogram {
	h := &histogram.Histogram{Schema: Schema, Sum: sum, ZeroThreshold: zeroThreshold}
	var negative, positive []Bucket
	for _, x := range b {
		h.Count += uint64(x.N)
		switch {
		case x.Code == 0:
			h.ZeroCount = uint64(x.N)
		case x.Code < 0:
			negative = append(negative, Bucket{-x.Code - codeZero, x.N})
		default:
			positive = append(positive, Bucket{x.Code - codeZero, x.N})
		}
	}
	slices.Reverse(negative)
	h.PositiveSpans, h.PositiveBuckets = spans(positive)
	h.NegativeSpans, h.NegativeBuckets = spans(negative)
	return h
}

// spans writes buckets as Prometheus does: runs of indexes, and each count as the difference to the one before.
func spans(in []Bucket) (out []histogram.Span, deltas []int64) {
	var last int64
	for i, x := range in {
		gap := x.Code
		if i > 0 {
			gap = x.Code - in[i-1].Code - 1
		}
		if i == 0 || gap > 0 {
			out = append(out, histogram.Span{Offset: gap})
		}
		out[len(out)-1].Length++
		deltas = append(deltas, x.N-last)
		last = x.N
	}
	return out, deltas
}
