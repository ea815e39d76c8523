package detector

import "slices"

// packed is what cells of a pane have beside a count, in little room: there is one for every series and pane of an hour, and most of their buckets
// hold few values.
type packed struct {
	heads []packedCell
	words []uint32 // of the histograms, one behind the other
	live  int      // words that are in use; others are of histograms that have become longer
}

// packedCell is a Cell whose histogram is so many of the words.
type packedCell struct {
	count, valued int64
	sum           Sum
	max           int64
	sessioned     int64
	sessions      *Distinct
	from, n       uint32
}

// A bucket is one word: its code, and how many values it holds if that is fewer than manyValues. Otherwise that follows in two words more.
const (
	codeShift  = 16
	manyValues = 1<<codeShift - 1
)

// MaxCode is beyond the code of every bucket that there is.
const MaxCode = 1<<15 - 1

// add packs one more cell. It returns its place.
func (p *packed) add(c *Cell) int {
	p.heads = append(p.heads, packedCell{})
	p.set(len(p.heads)-1, c)
	return len(p.heads) - 1
}

// merge adds to the cell at a place what another of the same series and pane has, as Cell.merge does.
func (p *packed) merge(i int, o *Cell) {
	h := &p.heads[i]
	end := len(p.words)
	p.words = slices.Grow(p.words, int(h.n)+len(o.Buckets))
	there := p.histogram(h)
	for _, x := range o.Buckets {
		for len(there) > 0 && int32(there[0])>>codeShift < x.Code {
			var y Bucket
			y, there = unpackOne(there)
			p.words = appendBucket(p.words, y)
		}
		if len(there) > 0 && int32(there[0])>>codeShift == x.Code {
			var y Bucket
			y, there = unpackOne(there)
			x.N += y.N
		}
		p.words = appendBucket(p.words, x)
	}
	p.words = append(p.words, there...)
	sum, other := h.rest(), *o
	other.Buckets = nil
	sum.Merge(&other)
	p.put(i, &sum, end)
}

// set packs the cell in place of the one that was there.
func (p *packed) set(i int, c *Cell) {
	end := len(p.words)
	p.words = appendPacked(p.words, c.Buckets)
	p.put(i, c, end)
}

// put takes the words from end on for the histogram of the cell at a place, and all else from c.
func (p *packed) put(i int, c *Cell, end int) {
	h := &p.heads[i]
	from, was, n := h.from, h.n, uint32(len(p.words)-end)
	if n <= was {
		copy(p.words[from:], p.words[end:])
		p.words = p.words[:end]
	} else {
		from = uint32(end)
	}
	p.live += int(n) - int(was)
	*h = packedCell{c.Count, c.Valued, c.Sum, c.Max, c.Sessioned, c.Sessions, from, n}
	if len(p.words) > 2*p.live+maxUnused {
		p.compact(p.live + p.live/2)
	}
}

// maxUnused is how many words may be unused besides as many as are used.
const maxUnused = 1 << 12

// compact leaves out the words that are not used, in memory for so many.
func (p *packed) compact(room int) {
	words := make([]uint32, 0, room)
	for i := range p.heads {
		h := &p.heads[i]
		from := uint32(len(words))
		words = append(words, p.histogram(h)...)
		h.from = from
	}
	p.words = words
}

// finish makes it as small as it can be: no more cells are added, and none is set. What it had until then is for others.
func (p *packed) finish(spare *spareRoom) {
	was := *p
	*p = packed{}
	if len(was.heads) > 0 {
		*p = packed{heads: append(make([]packedCell, 0, len(was.heads)), was.heads...), words: was.words, live: was.live}
		p.compact(p.live)
	}
	spare.give(was)
}

// spareRoom is memory that cells of open panes had, to be used again: it has grown to the size that the next panes need.
type spareRoom struct {
	all   []packed
	bytes int
}

// mostSpareRoom bounds it, in bytes.
const mostSpareRoom = 16 << 20

func (s *spareRoom) give(p packed) {
	if s == nil || cap(p.heads) == 0 || s.bytes+p.bytes() > mostSpareRoom {
		return
	}
	clear(p.heads)
	s.all = append(s.all, packed{heads: p.heads[:0], words: p.words[:0]})
	s.bytes += p.bytes()
}

func (s *spareRoom) take() (p packed) {
	if s == nil || len(s.all) == 0 {
		return packed{}
	}
	n := len(s.all) - 1
	p, s.all = s.all[n], s.all[:n]
	s.bytes -= p.bytes()
	return p
}

// bytes is what the memory takes.
func (p *packed) bytes() int {
	const cell, word = 64, 4
	return cell*cap(p.heads) + word*cap(p.words)
}

// cell unpacks a cell. What was in c is lost, but its memory is used.
func (p *packed) cell(i int, c *Cell) {
	h := &p.heads[i]
	buckets := unpack(c.Buckets[:0], p.histogram(h))
	*c = h.rest()
	c.Buckets = buckets
}

// rest is all of the cell but its histogram.
func (h *packedCell) rest() Cell {
	return Cell{Count: h.count, Valued: h.valued, Sum: h.sum, Max: h.max, Sessioned: h.sessioned, Sessions: h.sessions}
}

// histogram is the words of a cell.
func (p *packed) histogram(h *packedCell) []uint32 { return p.words[h.from:][:h.n] }

func appendPacked(words []uint32, b Buckets) []uint32 {
	words = slices.Grow(words, len(b))
	for _, x := range b {
		words = appendBucket(words, x)
	}
	return words
}

func appendBucket(words []uint32, x Bucket) []uint32 {
	word := uint32(x.Code) << codeShift
	if uint64(x.N) < manyValues {
		return append(words, word|uint32(x.N))
	}
	return append(words, word|manyValues, uint32(x.N), uint32(uint64(x.N)>>32))
}

func unpack(b Buckets, words []uint32) Buckets {
	b = slices.Grow(b, len(words))
	for len(words) > 0 {
		var x Bucket
		x, words = unpackOne(words)
		b = append(b, x)
	}
	return b
}

// unpackOne is the first bucket of the words, and those behind it.
func unpackOne(words []uint32) (Bucket, []uint32) {
	code, n := int32(words[0])>>codeShift, int64(words[0]&manyValues)
	if n == manyValues {
		return Bucket{code, int64(words[1]) | int64(words[2])<<32}, words[3:]
	}
	return Bucket{code, n}, words[1:]
}

// addPacked adds packed buckets, sign times.
func (d *dense) addPacked(words []uint32, sign int64) {
	for len(words) > 0 {
		var x Bucket
		x, words = unpackOne(words)
		d.count(x.Code, sign*x.N)
	}
}
