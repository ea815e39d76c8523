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
	prints []byte   // of all series, one behind the other: so a look-up touches little memory
	print  []byte   // of the event that is looked for
	padded [16]byte // a label of which nothing more may be read
}

// slot is where a series is found: the place of its print, and one more than its number, 0 of an empty slot.
type slot struct {
	hash   uint64
	from   uint32 // in words of eight bytes
	number int32
}

func newLookup() lookup {
	return lookup{secret: maphash.String(maphash.MakeSeed(), ""), slots: make([]slot, 256), print: make([]byte, 512)}
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
	there, n := l.prints[8*int(from):], len(l.print)
	return len(there) >= n && string(there[:n]) == string(l.print)
}

// put adds the series that find did not find just now.
func (l *lookup) put(s *aggregate, hash uint64) {
	s.number = int32(len(l.all))
	x := slot{hash, uint32(len(l.prints) / 8), s.number + 1}
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
	p, n, labels := l.print[:cap(l.print)], printHead, e.Labels
	h := l.secret ^ uint64(e.Kind)*prime1
	for i := range labels {
		v := labels[i]
		if len(v) == 0 {
			continue
		}
		if len(p)-n < len(v)+printLabel {
			p = append(p, make([]byte, len(v)+printLabel)...)
		}
		place := uint64(i)<<32 | uint64(len(v))
		for ; len(v) > 16; v = v[8:] {
			word := binary.LittleEndian.Uint64(v)
			h = mix(h^word, prime0)
			binary.LittleEndian.PutUint64(p[n:], word)
			n += 8
		}
		var padded []byte
		if cap(v) >= 16 {
			padded = v[:16] // what lies behind it is there to be read
		} else {
			padded = append(l.padded[:0], v...)[:16]
		}
		of := &ofLength[len(v)]
		first, second := binary.LittleEndian.Uint64(padded)&of.first, binary.LittleEndian.Uint64(padded[8:])&of.second
		words := p[n : n+printLabel]
		binary.LittleEndian.PutUint64(words, place)
		binary.LittleEndian.PutUint64(words[8:], first)
		binary.LittleEndian.PutUint64(words[16:], second)
		h = mix(h^bits.RotateLeft64(of.secret, i)^first, second^prime1)
		n += printLabel
	}
	binary.LittleEndian.PutUint64(p, uint64(n))
	p[8] = byte(e.Kind)
	l.print = p[:n]
	return h
}

// A print has its own length and the kind before all labels; a label of sixteen bytes or fewer has three words, its place and length, and the
// text. A longer one has one more for every eight bytes before the last nine to sixteen.
const (
	printHead  = 16
	printLabel = 24
)

// ofLength is of texts of so many bytes, up to sixteen: the bits that they have in two words, and a secret word, which tells lengths and places apart: no
// text can make up for it.
var ofLength = func() (all [17]struct{ first, second, secret uint64 }) {
	seed := maphash.MakeSeed()
	for n := range all {
		all[n].first, all[n].second, all[n].secret = 1<<(8*min(n, 8))-1, 1<<(8*max(n-8, 0))-1, maphash.Comparable(seed, n)
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
