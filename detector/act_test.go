package detector

import (
	"fmt"
	"testing"
)

// TestWordsAreOneLine: what people write stands in sentences, tables and blocks, which have no room for lines of their own.
func TestWordsAreOneLine(t *testing.T) {
	a := Act{Act: ActResolve, By: "maria", Cause: "a bad cache\nStatus: all green", Comment: "\tsee\r\n\r\nPR 17 "}
	if got, want := a.words(), "resolved by hand by maria, cause: a bad cache Status: all green: see PR 17"; got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
}

// TestBreakersInAnyOrder: what is remembered of breakers does not depend on which series of a pane came first; a state that is told again is no change.
func TestBreakersInAnyOrder(t *testing.T) {
	state := func(state string) *series {
		return &series{labels: []Label{{"change", "breaker"}, {"service", "api"}, {"state", state}}}
	}
	remembered := func(states ...string) string {
		d := &domain{}
		d.noteChange(state("open"), 0)
		for _, s := range states {
			d.noteChange(state(s), 10_000)
		}
		d.noteChange(state("open"), 20_000)
		text := ""
		for _, c := range d.changes {
			text += fmt.Sprint(c.State, "@", int64(c.At), " ")
		}
		return text
	}
	const want = "open@0 half_open@10000 open@20000 "
	for _, states := range [][]string{{"open", "half_open"}, {"half_open", "open"}, {"half_open"}} {
		if got := remembered(states...); got != want {
			t.Errorf("after %v: %q, expected %q", states, got, want)
		}
	}
	if got := remembered("open"); got != "open@0 " {
		t.Errorf("what is told again is a change: %q", got)
	}
}
