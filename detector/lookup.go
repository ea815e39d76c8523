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
	print  []uint64 // of the event that is looked for
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
	there := l.prints[from:]
	return len(there) >= len(l.print) && slices.Equal(there[:len(l.print)], l.print)
}

// put adds the series that find did not find just now.
func (l *lookup) put(s *aggregate, hash uint64) {
	s.number = int32(len(l.all))
	x := slot{hash, uint32(len(l.prints)), s.number + 1}
	l.all, l.prints = append(l.all, s), append(l.prints, l.print...)
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
	l.print = append(l.print[:0], 0, uint64(e.Kind))
	p := l.print
	h := l.secret ^ uint64(e.Kind)*prime1
	for i, v := range e.Labels {
		if len(v) == 0 {
			continue
		}
		place := uint64(i)<<32 | uint64(len(v))
		h ^= place
		for ; len(v) > 16; v = v[8:] {
			word := binary.LittleEndian.Uint64(v)
			p = append(p, word)
			h = mix(h^prime0, word^prime1)
		}
		first, last := ends(v)
		p = append(p, place, first, last)
		h = mix(h^first^prime0, last^prime1)
	}
	p[0] = uint64(len(p))
	l.print = p
	return h
}

// ends are the first and the last eight of up to sixteen bytes; they overlap where there are fewer.
func ends(v []byte) (first, last uint64) {
	switch n := len(v); {
	case n >= 8:
		return binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[n-8:])
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(v)), uint64(binary.LittleEndian.Uint32(v[n-4:]))
	default:
		return uint64(v[0])<<16 | uint64(v[n/2])<<8 | uint64(v[n-1]), 0
	}
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
