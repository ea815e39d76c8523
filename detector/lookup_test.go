package detector

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sevwatch/rules"
)

// TestLookupAgainstMap: series are told apart exactly as their kinds and label values are, also where those are cut differently.
func TestLookupAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		g := rand.New(rand.NewPCG(seed, 1))
		l, want := newLookup(), map[string]int32{}
		for range 3000 {
			e := Event{Kind: rules.Kind(1 + g.IntN(3)), Labels: make([][]byte, 4)}
			for i := range e.Labels {
				if text := strings.Repeat("ab", g.IntN(14)) + string(rune('a'+g.IntN(2))); g.IntN(3) > 0 {
					e.Labels[i] = []byte(text[g.IntN(2):])
				}
			}
			key := fmt.Sprintf("%v %q", e.Kind, e.Labels)
			number, hash := l.find(&e)
			known, found := want[key]
			switch {
			case !found && number >= 0:
				t.Fatalf("seed %d: %s is found as series %d, although it is new", seed, key, number)
			case found && number != known:
				t.Fatalf("seed %d: %s is found as series %d, expected %d", seed, key, number, known)
			case !found:
				want[key] = int32(len(want))
				l.put(&aggregate{}, hash)
			}
		}
		if most := 20; cap(l.print) > most {
			t.Fatalf("seed %d: a print has room for %d parts, expected %d at most", seed, cap(l.print), most)
		}
		if len(want) != len(l.all) {
			t.Fatalf("seed %d: %d series, expected %d", seed, len(l.all), len(want))
		}
	}
}

// TestLookupWithEqualHashes: series whose hashes collide are told apart by their labels.
func TestLookupWithEqualHashes(t *testing.T) {
	l := newLookup()
	for i := range 300 {
		e := Event{Kind: rules.KindError, Labels: [][]byte{fmt.Append(nil, i)}}
		l.hash(&e)
		l.put(&aggregate{}, 7)
		for _, x := range l.slots {
			if x.number > 0 && l.printed(x.from) != (int(x.number) == i+1) {
				t.Fatalf("series %d has the print of series %d", x.number-1, i)
			}
		}
	}
}

// TestLookupAgain: the print of an event takes no more memory than the longest one did.
func TestLookupAgain(t *testing.T) {
	l := newLookup()
	long := Event{Kind: rules.KindError, Labels: [][]byte{[]byte(strings.Repeat("a", 40)), []byte("b"), []byte(strings.Repeat("c", 256))}}
	short := Event{Kind: rules.KindError, Labels: [][]byte{[]byte("a"), nil, []byte(strings.Repeat("c", 20))}}
	l.hash(&long)
	room := cap(l.print)
	for range 100 {
		l.hash(&short)
		l.hash(&long)
	}
	if cap(l.print) != room {
		t.Errorf("a print takes %d bytes, at first %d", cap(l.print), room)
	}
}

// TestPrintsDiffer: different labels have different prints, also where the end of one looks like the place and the text of another.
func TestPrintsDiffer(t *testing.T) {
	l := newLookup()
	seen := map[string]string{}
	long := "\x01" + strings.Repeat("\x00", 7) + "x" + strings.Repeat("\x00", 15) + "abcdefghi"
	for _, labels := range [][]string{{"x", "abcdefghi"}, {"", long}, {long, ""}, {"a", ""}, {"a\x00", ""}, {"", "a"}, {"a", "a"}, {strings.Repeat("a", 17), ""}, {strings.Repeat("a", 25), ""}} {
		e := Event{Kind: rules.KindError}
		for _, v := range labels {
			e.Labels = append(e.Labels, []byte(v))
		}
		l.hash(&e)
		if other, found := seen[fmt.Sprint(l.print)]; found {
			t.Errorf("%q has the print of %s", labels, other)
		}
		seen[fmt.Sprint(l.print)] = fmt.Sprintf("%q", labels)
	}
}

// TestHashesCannotBeMadeEqual: a label's length and its text are not interchangeable, so nobody can make many series of one hash.
func TestHashesCannotBeMadeEqual(t *testing.T) {
	l := newLookup()
	seen := map[uint64]string{}
	for n := range 1 << 10 {
		e := Event{Kind: rules.KindError}
		for i := range 10 {
			length := 1 + 2*(n>>i&1)
			v := make([]byte, length)
			v[0] = 'a' ^ byte(1^length) // what the length adds, the text takes away
			e.Labels = append(e.Labels, v)
		}
		h := l.hash(&e)
		if other, found := seen[h]; found {
			t.Fatalf("%q has the hash of %s", e.Labels, other)
		}
		seen[h] = fmt.Sprintf("%q", e.Labels)
	}
}
