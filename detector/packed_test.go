package detector

import (
	"math"
	"math/rand"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// Cells are what they were, however often they are set, and however they become longer and shorter.
func TestPackedCells(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	counts := []int64{1, 2, manyValues - 1, manyValues, manyValues + 1, 1<<32 - 1, 1 << 32, math.MaxInt64}
	random := func() Cell {
		var b Buckets
		for range r.Intn(1 + r.Intn(40)) {
			code := int32(r.Intn(2*MaxCode+1)) - MaxCode
			if i, found := slices.BinarySearchFunc(b, code, func(x Bucket, c int32) int { return int(x.Code) - int(c) }); !found {
				b = slices.Insert(b, i, Bucket{code, counts[r.Intn(len(counts))]})
			}
		}
		return Cell{Count: r.Int63(), Valued: r.Int63(), Sum: Sum{r.Int63() - r.Int63(), r.Uint64()}, Max: r.Int63() - r.Int63(), Buckets: b, Sessioned: r.Int63()}
	}
	var p packed
	var want []Cell
	compare := func() {
		t.Helper()
		var room Cell
		for i := range want {
			p.cell(i, &room)
			if diff := gocmp.Diff(want[i], room, anyEmpty); diff != "" {
				t.Fatalf("cell %d of %d (-put +got):\n%s", i, len(want), diff)
			}
		}
	}
	longest := 0
	for n := range 20_000 {
		c := random()
		if i := r.Intn(400); i < len(want) && r.Intn(2) == 0 {
			for k := range c.Buckets { // sums have to fit in
				c.Buckets[k].N >>= 8
			}
			p.merge(i, &c)
			want[i].Buckets = slices.Clone(want[i].Buckets)
			want[i].Merge(&c)
		} else if i < len(want) {
			p.set(i, &c)
			want[i] = c
		} else if at := p.add(&c); at != len(want) {
			t.Fatalf("cell %d was put at %d", len(want), at)
		} else {
			want = append(want, c)
		}
		live := 0
		for _, h := range p.heads {
			live += int(h.n)
		}
		longest = max(longest, len(p.words))
		if p.live != live || len(p.words) > 2*live+maxUnused {
			t.Fatalf("%d words are in use, expected %d, of %d", p.live, live, len(p.words))
		}
		if n%1000 == 0 {
			compare()
		}
	}
	compare()
	if longest < 2*maxUnused {
		t.Errorf("there were %d words at most: too few to compact them", longest)
	}
	var spare spareRoom
	p.finish(&spare)
	next := spare.take()
	for range len(want) {
		c := random()
		next.add(&c)
	}
	compare()
	if cap(next.heads) < len(want) || spare.bytes != 0 || cap(spare.take().heads) > 0 {
		t.Errorf("the next cells have room for %d, expected %d, and %d bytes are left", cap(next.heads), len(want), spare.bytes)
	}
	if cap(p.words) > p.live+p.live/8 || cap(p.heads) > len(p.heads)+len(p.heads)/8 {
		t.Errorf("finished, %d words and %d cells take the room of %d and %d", p.live, len(p.heads), cap(p.words), cap(p.heads))
	}
}

// The codes of all values that there can be are within the bounds.
func TestMaxCode(t *testing.T) {
	for _, v := range []int64{math.MaxInt64, math.MinInt64, 1, -1, 0} {
		if c := codeOf(v); c > MaxCode || c < -MaxCode {
			t.Errorf("%d millionths are in bucket %d, beyond %d", v, c, MaxCode)
		}
	}
}
