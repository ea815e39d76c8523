package detector

import (
	"fmt"
	"slices"
	"testing"
)

// A pane that gains more than a chunk holds is told in several, also what is larger than a chunk; forgotten, all of them are; a pane that comes
// again begins anew.
func TestChunks(t *testing.T) {
	size := func(n int) int { return n * 1000 }
	c := &chunks[int]{size: size}
	f := func(want string) {
		t.Helper()
		if got := fmt.Sprint(c.changes()); got != want {
			t.Errorf("the changes are %s, expected %s", got, want)
		}
	}
	for _, n := range []int{100, 31, 1, 200, 5} {
		c.add(20, n)
	}
	c.add(10, 1)
	f("[{10 0 [1]} {20 0 [100 31]} {20 1 [1]} {20 2 [200]} {20 3 [5]}]")
	f("[]")
	c.add(20, 7)
	f("[{20 4 [7]}]")
	kept := []Chunk[int]{{20, 1, []int{1}}, {10, 0, []int{1}}, {20, 0, []int{100, 31}}}
	again := &chunks[int]{size: size}
	var taken []int
	if err := again.restore(slices.Clone(kept), func(n int) error { taken = append(taken, n); return nil }); err != nil || !slices.Equal(taken, []int{1, 100, 31, 1}) {
		t.Errorf("taken are %v, %v", taken, err)
	}
	if got := fmt.Sprint(again.changes(), again.count); got != "[] 4" {
		t.Errorf("restored, the changes are %s", got)
	}
	if err := (&chunks[int]{size: size}).restore(kept[:2], func(int) error { return nil }); err == nil {
		t.Error("a pane whose first chunk is missing is taken up")
	}
	c.drop()
	dropped := c.drop()
	c.add(20, 9)
	if got := fmt.Sprint(dropped, c.count); got != "[100 31 1 200 5 7] 1" {
		t.Errorf("dropped are %s", got)
	}
	f("[{10 0 []} {20 0 []} {20 1 []} {20 2 []} {20 3 []} {20 4 []} {20 0 [9]}]")
}
