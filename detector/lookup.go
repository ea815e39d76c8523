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
	prints []part // of all series, one behind the other: so a look-up touches little memory
	print  []part // of the event that is looked for
}

// part is a part of a print: the first one says how many they are, and the kind; each of the others is a label, or so much of a long one that only
// shortLabel bytes or fewer are left for the next part: place and length of the label or of its rest, and two words of text.
type part [3]uint64

const shortLabel = 16

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

// hash writes the event's print, which is all that is told of its kind and its labels, and returns the hash of it.
func (l *lookup) hash(e *Event) uint64 {
	labels, n := e.Labels, 1
	l.print = slices.Grow(l.print[:0], n+len(labels))
	p := l.print[:cap(l.print)]
	h := l.secret ^ uint64(e.Kind)*prime1
	for present := e.present(); present != 0; present &= present - 1 {
		i := bits.TrailingZeros64(present)
		v := labels[i]
		if len(v) == 0 {
			continue
		}
		if len(v) > shortLabel || cap(v) < shortLabel {
			l.print = p[:n]
			h = l.long(h, i, v)
			l.print = slices.Grow(l.print, len(labels)-i)
			p, n = l.print[:cap(l.print)], len(l.print)
			continue
		}
		padded, of := v[:shortLabel:shortLabel], &ofLength[len(v)] // what lies behind the text is there to be read
		first, second := binary.LittleEndian.Uint64(padded)&of.first, binary.LittleEndian.Uint64(padded[8:])&of.second
		p[n] = part{uint64(i)<<32 | uint64(len(v)), first, second}
		h = mix(h^of.secret^ofPlace[i&63]^first, second^prime1)
		n++
	}
	p[0] = part{uint64(n), uint64(e.Kind)}
	l.print = p[:n]
	return h
}

// long is hash of a label of any length, behind which nothing may be read. It appends to the print.
func (l *lookup) long(h uint64, i int, v []byte) uint64 {
	for {
		var padded [shortLabel]byte
		n := copy(padded[:], v)
		first, second := binary.LittleEndian.Uint64(padded[:]), binary.LittleEndian.Uint64(padded[8:])
		l.print = append(l.print, part{uint64(i)<<32 | uint64(len(v)), first, second})
		h = mix(h^ofLength[n].secret^ofPlace[i&63]^first, second^prime1)
		if v = v[n:]; len(v) == 0 {
			return h
		}
	}
}

// ofLength is of texts of so many bytes: the bits that they have in two words, and a secret word, as ofPlace is of places. Secrets tell lengths
// and places apart: no text can make up for them.
var ofLength = func() (all [shortLabel + 1]struct{ first, second, secret uint64 }) {
	seed := maphash.MakeSeed()
	for n := range all {
		all[n].first, all[n].second, all[n].secret = 1<<(8*min(n, 8))-1, 1<<(8*max(n-8, 0))-1, maphash.Comparable(seed, n)
	}
	return all
}()

var ofPlace = func() (all [64]uint64) {
	seed := maphash.MakeSeed()
	for i := range all {
		all[i] = maphash.Comparable(seed, i)
	}
	return all
}()

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
