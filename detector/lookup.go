package detector

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
)

// lookup finds the series of an event by its raw label values, without allocating: open addressing over hashes of the values. The secret
// makes hashes differ from process to process, so that nobody can choose labels that collide; no result depends on them.
type lookup struct {
	secret uint64
	slots  []slot // a power of two of them, at most half in use
	all    []*aggregate
	prints []uint64 // of all series, one behind the other: so a look-up touches little memory
	print  []uint64 // of the event that is looked for, and more
}

// slot is where a series is found: the place of its print, and one more than its number, 0 of an empty slot.
type slot struct {
	hash   uint64
	from   uint32
	number int32
}

func newLookup() lookup {
	return lookup{secret: maphash.String(maphash.MakeSeed(), ""), slots: make([]slot, 256)}
}

// find is the number of the event's series, or -1 and the hash under which to put it.
func (l *lookup) find(e *Event) (number int32, hash uint64) {
	hash = l.hash(e)
	mask := uint64(len(l.slots) - 1)
	for i := hash & mask; l.slots[i].number != 0; i = (i + 1) & mask {
		if x := &l.slots[i]; x.hash == hash && l.printed(x.from) {
			return x.number - 1, hash
		}
	}
	return -1, hash
}

// printed says whether the print of the event is the one that begins there. Prints tell their own length.
func (l *lookup) printed(from uint32) bool {
	there, print := l.prints[from:], l.print[:l.print[0]]
	return len(there) >= len(print) && slices.Equal(there[:len(print)], print)
}

// put adds the series that find did not find just now.
func (l *lookup) put(s *aggregate, hash uint64) {
	s.number = int32(len(l.all))
	x := slot{hash, uint32(len(l.prints)), s.number + 1}
	l.all, l.prints = append(l.all, s), append(l.prints, l.print[:l.print[0]]...)
	if 2*len(l.all) <= len(l.slots) {
		l.place(x)
		return
	}
	old := l.slots
	l.slots = make([]slot, 2*len(old))
	for _, y := range old {
		if y.number != 0 {
			l.place(y)
		}
	}
	l.place(x)
}

func (l *lookup) place(x slot) {
	mask := uint64(len(l.slots) - 1)
	i := x.hash & mask
	for l.slots[i].number != 0 {
		i = (i + 1) & mask
	}
	l.slots[i] = x
}

// Odd numbers with half of their bits set, as good hashes are made of.
const (
	prime0 = 0xa0761d6478bd642f
	prime1 = 0xe7037ed1a0b428db
)

func mix(x, y uint64) uint64 {
	high, low := bits.Mul64(x, y)
	return high ^ low
}

// hash writes the event's print, which is all that is told of its kind and its labels as words, behind their number, and returns the hash
// of it.
func (l *lookup) hash(e *Event) uint64 {
	p, n, labels := l.print, 2, e.Labels
	if most := n + 3*len(labels); len(p) < most {
		p = slices.Grow(p, most)[:most]
	}
	h := l.secret ^ uint64(e.Kind)*prime1
	for i := range labels {
		v := labels[i]
		if len(v) == 0 {
			continue
		}
		place := uint64(i)<<32 | uint64(len(v))
		for ; len(v) > 16; v = v[8:] {
			p[n] = binary.LittleEndian.Uint64(v)
			h = mix(h^p[n], prime0)
			if n++; len(p) < n+3*(len(labels)-i) { // there is always room for three words a label
				p = append(p, 0)
			}
		}
		var first, last uint64
		switch {
		case len(v) >= 8:
			first, last = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[len(v)-8:])
		case cap(v) >= 8: // what lies behind it is there to be read
			first = binary.LittleEndian.Uint64(v[:8]) & (1<<(8*len(v)) - 1)
		default:
			first = short(v)
		}
		word := p[n : n+3]
		word[0], word[1], word[2] = place, first, last
		h = mix(h^place^first, last^prime1)
		n += 3
	}
	p[0], p[1] = uint64(n), uint64(e.Kind)
	l.print = p
	return h
}

// short are fewer than eight bytes as a word.
func short(v []byte) (word uint64) {
	for i, b := range v {
		word |= uint64(b) << (8 * i)
	}
	return word
}

// ordered brings order, which has the series that there were before, up to date: all series by domain and key.
func (l *lookup) ordered(order []*aggregate) []*aggregate {
	fresh := slices.Clone(l.all[len(order):])
	if len(fresh) == 0 {
		return order
	}
	slices.SortFunc(fresh, compareSeries)
	merged := make([]*aggregate, 0, len(l.all))
	for len(order) > 0 && len(fresh) > 0 {
		from := &order
		if compareSeries(fresh[0], order[0]) < 0 {
			from = &fresh
		}
		merged = append(merged, (*from)[0])
		*from = (*from)[1:]
	}
	merged = append(append(merged, order...), fresh...)
	for i, s := range merged {
		s.rank = int32(i)
	}
	return merged
}

func compareSeries(x, y *aggregate) int {
	if c := strings.Compare(x.domain, y.domain); c != 0 {
		return c
	}
	return strings.Compare(x.key, y.key)
}
