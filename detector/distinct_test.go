package detector

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sevwatch/rules"
)

// hashesOf are those of n different sessions.
func hashesOf(seed uint64, n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = SessionHash(fmt.Appendf(nil, "session %d of %d", i, seed))
	}
	return out
}

func distinctOf(hashes []uint64) *Distinct {
	d := &Distinct{}
	for _, h := range hashes {
		d.Add(h)
	}
	return d
}

var anyEmpty = cmpopts.EquateEmpty()

// TestDistinctIsOfTheSetAlone: in every order and grouping, and with everything twice, the same sessions are the same bytes.
func TestDistinctIsOfTheSetAlone(t *testing.T) {
	seeds(t, 100, func(t *testing.T, seed uint64) {
		g := rand.New(rand.NewPCG(seed, 0xd157))
		all := hashesOf(seed, pick(g, 0, 1, 7, MaxFew-1, MaxFew, MaxFew+1, MaxFew+2, 700, 3000))
		want := distinctOf(all)
		var parts []*Distinct
		for range 1 + g.IntN(6) {
			parts = append(parts, &Distinct{})
		}
		many := append(slices.Clone(all), all...)
		g.Shuffle(len(many), func(i, j int) { many[i], many[j] = many[j], many[i] })
		for _, h := range many {
			parts[g.IntN(len(parts))].Add(h)
		}
		for len(parts) > 1 { // any two of them, one of which may be there again later
			i, j := g.IntN(len(parts)), g.IntN(len(parts))
			before := parts[j].clone()
			parts[i].Union(parts[j])
			if diff := cmp.Diff(before, parts[j], anyEmpty); i != j && diff != "" {
				t.Fatalf("a union has changed its second set:\n%s", diff)
			}
			if g.IntN(3) > 0 && i != j {
				parts = slices.Delete(parts, j, j+1)
			}
		}
		if diff := cmp.Diff(want, parts[0], anyEmpty); diff != "" {
			t.Errorf("seed %d: %d sessions (-one by one +united):\n%s", seed, len(all), diff)
		}
		if few := len(all) <= MaxFew; few != (want.Many == nil) || few && want.count(1<<40) != (rules.Sessions{N: int64(len(all))}) {
			t.Errorf("seed %d: %d sessions are counted as %v", seed, len(all), want.count(1<<40))
		}
		var back Distinct
		if err := json.Unmarshal(encode(want), &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, &back, anyEmpty); diff != "" {
			t.Errorf("seed %d: it comes back as another:\n%s", seed, diff)
		}
	})
}

// TestRegistersAreThoseOfTheSet compares registers with what they are by definition.
func TestRegistersAreThoseOfTheSet(t *testing.T) {
	hashes := hashesOf(1, 3000)
	hashes = append(hashes, 0, 1, 1<<52, 1<<53-1, math.MaxUint64, 1<<63, 5<<53)
	want := make([]byte, Registers)
	for _, h := range hashes {
		text := fmt.Sprintf("%064b", h)
		index, err := strconv.ParseUint(text[:indexBits], 2, 64)
		if err != nil {
			t.Fatal(err)
		}
		rank := 1
		for _, bit := range text[indexBits:] {
			if bit == '1' {
				break
			}
			rank++
		}
		want[index] = max(want[index], byte(rank))
	}
	if diff := cmp.Diff(want, distinctOf(hashes).Many); diff != "" {
		t.Error(diff)
	}
	if want[0] != MaxRank {
		t.Errorf("the largest rank is %d, expected %d", want[0], MaxRank)
	}
}

// TestLargest compares eight at a time with one at a time.
func TestLargest(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		a, b, want := make([]byte, 64), make([]byte, 64), make([]byte, 64)
		for i := range a {
			a[i], b[i] = byte(g.IntN(128)), byte(g.IntN(128))
			want[i] = max(a[i], b[i])
		}
		if largest(a, b); !slices.Equal(a, want) {
			t.Fatalf("%v, expected %v", a, want)
		}
	}
}

// TestDistinctAccuracy: over 200 sets of each size the error is the standard error of 2048 registers, and they are neither too many nor too
// few on the whole. The sets are the same in every run, so these are not chances.
func TestDistinctAccuracy(t *testing.T) {
	const sets, standard = 200, 1.04 / 45.2548 // square root of 2048
	for _, n := range []int{MaxFew + 1, 400, 1000, 3000, 10_000, 30_000, 100_000} {
		var squares, errs, worst float64
		for seed := range uint64(sets) {
			g := rand.New(rand.NewPCG(seed, uint64(n)))
			d := &Distinct{}
			for range n {
				d.Add(g.Uint64())
			}
			e := d.estimate()/float64(n) - 1
			squares, errs, worst = squares+e*e, errs+e, max(worst, math.Abs(e))
		}
		rms, bias := math.Sqrt(squares/sets), errs/sets
		t.Logf("%d sessions: standard error %.2f %%, bias %+.2f %%, at worst %.1f %%", n, rms*100, bias*100, worst*100)
		if rms > standard*1.1 || math.Abs(bias) > 3*standard/math.Sqrt(sets) || worst > 4*standard {
			t.Errorf("%d sessions: standard error %.4f, bias %.4f, at worst %.4f, expected about %.4f", n, rms, bias, worst, standard)
		}
	}
}

// TestDistinctCount: what is known for sure is not contradicted by an estimate, and the number of a fixed set is the same everywhere.
func TestDistinctCount(t *testing.T) {
	f := func(n int, events int64, want string) {
		t.Helper()
		if got := distinctOf(hashesOf(7, n)).count(events).String(); got != want {
			t.Errorf("%d sessions of %d events are %q, expected %q", n, events, got, want)
		}
	}
	f(0, 0, "0 sessions")
	f(1, 9, "1 session")
	f(256, 256, "256 sessions")
	f(257, 257, "about 257 sessions")
	f(900, 850, "about 850 sessions")
	f(900, 1<<40, "about 913 sessions")
	f(1_000_000, 1<<40, "about 1010000 sessions")
	low := &Distinct{Many: make([]byte, Registers)}
	low.Many[3] = 1
	if got := low.count(1 << 40); got != (rules.Sessions{N: MaxFew + 1, About: true}) {
		t.Errorf("registers that look like few say %v", got)
	}
	full := &Distinct{Many: slices.Repeat([]byte{MaxRank}, Registers)}
	if got := full.count(1 << 40); got.N != 1<<40 {
		t.Errorf("full registers say %v", got)
	}
	if got := math.Float64bits(distinctOf(hashesOf(7, 12_345)).estimate()); got != 0x40c8684cf3bf8b43 {
		t.Errorf("the estimate has the bits %#x", got)
	}
}
