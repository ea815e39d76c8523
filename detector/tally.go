package detector

import "slices"

// tally counts values by bucket code. The first few codes are kept as they come; many are counted.
type tally struct {
	few [fewCodes]int16
	n   int // of few
	dense
}

// dense has a counter for every code between the smallest and the largest, so that adding is one addition.
type dense struct {
	counts []int64
	low    int // place of counts[0]
}

const fewCodes = 20

// Between the code 0 and that of the smallest value that can be measured, a millionth, are no codes: leastCode and its negative are the
// places 1 and -1.
const leastCode = codeZero - 19*(1<<Schema) - 31

func placeOf(code int32) int {
	switch {
	case code > 0:
		return int(code) - leastCode + 1
	case code < 0:
		return int(code) + leastCode - 1
	default:
		return 0
	}
}

func codeAt(place int) int32 {
	switch {
	case place > 0:
		return int32(place + leastCode - 1)
	case place < 0:
		return int32(place - leastCode + 1)
	default:
		return 0
	}
}

// add counts one value.
func (t *tally) add(code int32) {
	if t.counts == nil {
		if t.n < fewCodes {
			t.few[t.n] = int16(code)
			t.n++
			return
		}
		t.grow(placeOf(int32(slices.Min(t.few[:]))), placeOf(int32(slices.Max(t.few[:]))))
		for _, c := range t.few {
			t.count(int32(c), 1)
		}
	}
	t.count(code, 1)
}

// count adds n to a code's counter.
func (d *dense) count(code int32, n int64) {
	i := placeOf(code) - d.low
	if uint(i) >= uint(len(d.counts)) {
		d.grow(placeOf(code), placeOf(code))
		i = placeOf(code) - d.low
	}
	d.counts[i] += n
}

// grow makes room for the places from least to most: whole octaves.
func (d *dense) grow(least, most int) {
	const octave = 1 << Schema
	low, high := least&^(octave-1), most&^(octave-1)+octave
	if d.counts == nil {
		d.counts, d.low = make([]int64, high-low), low
		return
	}
	low, high = min(low, d.low), max(high, d.low+len(d.counts))
	counts := make([]int64, high-low)
	copy(counts[d.low-low:], d.counts)
	d.counts, d.low = counts, low
}

// appendTo appends the buckets, in ascending order.
func (d *dense) appendTo(b Buckets) Buckets {
	for i, n := range d.counts {
		if n != 0 {
			b = append(b, Bucket{codeAt(d.low + i), n})
		}
	}
	return b
}

// merge adds all buckets, sign times.
func (d *dense) merge(b Buckets, sign int64) {
	for _, x := range b {
		d.count(x.Code, sign*x.N)
	}
}

// addAll adds all that another one has, sign times.
func (d *dense) addAll(o *dense, sign int64) {
	from, to := 0, len(o.counts)
	for from < to && o.counts[from] == 0 {
		from++
	}
	for from < to && o.counts[to-1] == 0 {
		to--
	}
	if from == to {
		return
	}
	if low, most := o.low+from, o.low+to-1; d.counts == nil || low < d.low || most >= d.low+len(d.counts) {
		d.grow(low, most)
	}
	counts := d.counts[o.low+from-d.low:]
	for i, n := range o.counts[from:to] {
		counts[i] += sign * n
	}
}

// appendTo appends the buckets, in ascending order.
func (t *tally) appendTo(b Buckets) Buckets {
	if t.counts != nil {
		return t.dense.appendTo(b)
	}
	few := t.few[:t.n]
	for i := 1; i < len(few); i++ { // few: insertion is the fastest sort
		for k := i; k > 0 && few[k-1] > few[k]; k-- {
			few[k-1], few[k] = few[k], few[k-1]
		}
	}
	from := len(b)
	for _, code := range few {
		if n := len(b); n > from && b[n-1].Code == int32(code) {
			b[n-1].N++
			continue
		}
		b = append(b, Bucket{int32(code), 1})
	}
	return b
}
