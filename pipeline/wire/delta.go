package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"sevwatch/detector"
	"sevwatch/rules"
)

// deltaVersion is the first byte of every delta.
const deltaVersion = 1

// MaxDelta is the size that AppendDeltas keeps a delta under, in bytes. One series alone is never larger than MaxSeries.
const (
	MaxDelta  = 256 << 10
	MaxSeries = 64 << 10
)

// Flags of an entry.
const (
	flagValues = 1 << iota
	flagBuckets
	flagSessions
)

// EncodeDelta writes a delta as one or more values of at most MaxDelta + MaxSeries bytes each. docs/messages.md has the layout.
func EncodeDelta(d *detector.Delta) [][]byte { return new(DeltaEncoder).Encode(d) }

// DeltaEncoder writes many deltas: what one needs while it is written is memory for the next. It is not safe for concurrent use.
type DeltaEncoder struct {
	index   map[string]uint64
	table   []byte
	entries []byte
	last    []detector.Label // of the entry before, and its texts' numbers: neighbours have most labels in common
	numbers []uint64
}

// fewTexts is up to how many texts the index is cleared rather than made anew: clearing takes as long as the most texts did that it had.
const fewTexts = 1 << 10

// Encode does what EncodeDelta does.
func (w *DeltaEncoder) Encode(d *detector.Delta) (out [][]byte) {
	for from := 0; from < len(d.Series); {
		if w.index == nil || len(w.index) > fewTexts {
			w.index = map[string]uint64{}
		}
		clear(w.index)
		w.table, w.entries, w.last = w.table[:0], w.entries[:0], nil
		to := from
		for ; to < len(d.Series) && len(w.entries)+len(w.table) < MaxDelta; to++ {
			w.entry(&d.Series[to])
		}
		head := binary.AppendVarint([]byte{deltaVersion}, d.Pane)
		head = binary.AppendUvarint(head, uint64(len(w.index)))
		count := binary.AppendUvarint(nil, uint64(to-from))
		out = append(out, slices.Concat(head, w.table, count, w.entries))
		from = to
	}
	return out
}

// labels writes an entry's labels.
func (w *DeltaEncoder) labels(labels []detector.Label) {
	w.entries = binary.AppendUvarint(w.entries, uint64(len(labels)))
	for len(w.numbers) < 2*len(labels) {
		w.numbers = append(w.numbers, 0)
	}
	for i, l := range labels {
		if i >= len(w.last) || w.last[i].Name != l.Name {
			w.numbers[2*i] = w.text(l.Name)
		}
		if i >= len(w.last) || w.last[i].Value != l.Value {
			w.numbers[2*i+1] = w.text(l.Value)
		}
		w.entries = binary.AppendUvarint(w.entries, w.numbers[2*i])
		w.entries = binary.AppendUvarint(w.entries, w.numbers[2*i+1])
	}
	w.last = labels
}

// text is a text's number in the table.
func (w *DeltaEncoder) text(s string) uint64 {
	i, known := w.index[s]
	if !known {
		i = uint64(len(w.index))
		w.index[s] = i
		w.table = binary.AppendUvarint(w.table, uint64(len(s)))
		w.table = append(w.table, s...)
	}
	return i
}

func (w *DeltaEncoder) entry(s *detector.SeriesDelta) {
	w.entries = append(w.entries, byte(s.Kind))
	w.labels(s.Labels)
	w.entries = binary.AppendUvarint(w.entries, uint64(s.Count))
	var flags byte
	if s.Valued > 0 {
		flags |= flagValues
	}
	if len(s.Buckets) > 0 {
		flags |= flagBuckets
	}
	if s.Sessions != nil {
		flags |= flagSessions
	}
	w.entries = append(w.entries, flags)
	if flags&flagValues != 0 {
		w.entries = binary.AppendUvarint(w.entries, uint64(s.Valued))
		w.entries = binary.AppendVarint(w.entries, s.Sum.Hi)
		w.entries = binary.AppendUvarint(w.entries, s.Sum.Lo)
		w.entries = binary.AppendVarint(w.entries, s.Max)
	}
	if flags&flagBuckets != 0 {
		w.entries = binary.AppendUvarint(w.entries, uint64(len(s.Buckets)))
		last := int32(0)
		for _, b := range s.Buckets {
			w.entries = binary.AppendVarint(w.entries, int64(b.Code-last))
			w.entries = binary.AppendUvarint(w.entries, uint64(b.N))
			last = b.Code
		}
	}
	if flags&flagSessions != 0 {
		w.entries = binary.AppendUvarint(w.entries, uint64(s.Sessioned))
		w.entries = binary.AppendUvarint(w.entries, uint64(len(s.Sessions.Few)))
		for _, hash := range s.Sessions.Few {
			w.entries = binary.BigEndian.AppendUint64(w.entries, hash)
		}
		w.entries = append(w.entries, s.Sessions.Many...)
	}
}

// DecodeDelta reads what EncodeDelta wrote. The domain is the record's key.
func DecodeDelta(domain string, value []byte) (*detector.Delta, error) {
	return (&DeltaDecoder{}).Decode(domain, value)
}

// DeltaDecoder reads many deltas. It is not safe for concurrent use.
type DeltaDecoder struct {
	// Known, where given, says which series there are already, so that their labels need not be made anew (detector.Judge.Known).
	Known func(domain string, key []byte, s *detector.SeriesDelta) bool

	delta   detector.Delta
	buckets detector.Buckets // of all entries
	texts   [][]byte
	entry   []uint64 // the numbers of an entry's texts
	key     []byte
	shared  detector.Texts // of labels, which many series have in common

	tables map[string]*deltaTable // by domain and texts: a task's deltas mostly have the same
	table  *deltaTable            // of the delta that is read; nil: nothing is remembered
	last   *deltaSeries           // the entry before
	kept   int                    // series, in all tables
}

// deltaTable is what is known of entries whose numbers mean the same texts.
type deltaTable struct {
	series map[string]*deltaSeries // by how an entry begins: its kind and the numbers of its labels
	first  deltaSeries             // stands before the first entry
}

// deltaSeries is a series by its numbers, and what came behind it last: deltas are sorted, so that is tried first.
type deltaSeries struct {
	begin string
	known *detector.KnownSeries
	next  *deltaSeries
}

// Bounds of what is remembered: beyond them remembering begins anew, and larger tables are not remembered.
const (
	maxTables      = 64
	maxTableSize   = 16 << 10
	maxTableSeries = 1 << 16
)

// remembered is what is known of entries of the domain with such a table of texts; nil if there has been no such table lately: what comes only once is
// not worth it.
func (dd *DeltaDecoder) remembered(domain string, texts []byte) *deltaTable {
	if dd.Known == nil || len(texts) > maxTableSize {
		return nil
	}
	dd.key = append(append(append(dd.key[:0], domain...), detector.SeriesKeyEnd), texts...)
	t, again := dd.tables[string(dd.key)]
	switch {
	case !again:
		if dd.tables == nil || len(dd.tables) >= maxTables || dd.kept >= maxTableSeries {
			dd.tables, dd.kept = map[string]*deltaTable{}, 0
		}
		dd.tables[string(dd.key)] = nil
	case t == nil:
		t = &deltaTable{series: map[string]*deltaSeries{}}
		dd.tables[string(dd.key)] = t
	}
	return t
}

// Decode reads what EncodeDelta wrote. The delta holds until the next call, but for its labels, which stay.
func (dd *DeltaDecoder) Decode(domain string, value []byte) (*detector.Delta, error) {
	if len(value) == 0 || value[0] != deltaVersion {
		return nil, errors.New("cannot read the delta: it is not of version 1")
	}
	r := deltaReader{in: value[1:], DeltaDecoder: dd}
	d := &dd.delta
	d.Domain, d.Pane = domain, r.signed()
	dd.texts, dd.buckets = dd.texts[:0], dd.buckets[:0]
	texts := r.in
	for range r.count(1) {
		dd.texts = append(dd.texts, r.bytes(r.count(1)))
	}
	dd.table = nil
	if r.err == nil {
		if dd.table = dd.remembered(domain, texts[:len(texts)-len(r.in)]); dd.table != nil {
			dd.last = &dd.table.first
		}
	}
	n := r.count(4)
	d.Series = slices.Grow(d.Series[:0], n)[:n]
	for i := range d.Series {
		d.Series[i] = detector.SeriesDelta{}
		r.series(&d.Series[i])
	}
	if r.err == nil && len(r.in) > 0 {
		r.fail("%d bytes are left over", len(r.in))
	}
	if r.err != nil {
		return nil, r.err
	}
	return d, nil
}

func abs(x int32) int32 { return max(x, -x) }

// deltaReader reads on until something is wrong; then every method gives zeroes.
type deltaReader struct {
	*DeltaDecoder
	in  []byte
	err error
}

func (r *deltaReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("cannot read the delta: "+format, args...)
	}
	r.in = nil
}

func (r *deltaReader) unsigned() uint64 {
	v, n := binary.Uvarint(r.in)
	if n <= 0 {
		r.fail("it ends within a number")
		return 0
	}
	r.in = r.in[n:]
	return v
}

func (r *deltaReader) signed() int64 {
	v, n := binary.Varint(r.in)
	if n <= 0 {
		r.fail("it ends within a number")
		return 0
	}
	r.in = r.in[n:]
	return v
}

// count reads how many things of at least size bytes follow, and refuses more than there can be.
func (r *deltaReader) count(size int) int {
	n := r.unsigned()
	if n > uint64(len(r.in)/size) {
		r.fail("%d things of %d bytes do not fit in %d bytes", n, size, len(r.in))
		return 0
	}
	return int(n)
}

func (r *deltaReader) bytes(n int) []byte {
	if n > len(r.in) {
		r.fail("it ends within a text")
		return nil
	}
	b := r.in[:n]
	r.in = r.in[n:]
	return b
}

func (r *deltaReader) byte() byte {
	b := r.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// positive reads a count of events.
func (r *deltaReader) positive() int64 {
	v := r.unsigned()
	if v == 0 || v > 1<<62 {
		r.fail("%d is no count", v)
		return 0
	}
	return int64(v)
}

// begin reads an entry's kind and labels.
func (r *deltaReader) begin(s *detector.SeriesDelta) {
	if r.table != nil {
		if e := r.last.next; e != nil && len(r.in) > len(e.begin) && string(r.in[:len(e.begin)]) == e.begin && e.known.Fill(s) {
			r.in, r.last = r.in[len(e.begin):], e
			return
		}
	}
	in := r.in
	s.Kind = rules.Kind(r.byte())
	if !s.Kind.Known() {
		r.fail("kind %d is unknown", s.Kind)
	}
	n := r.count(2)
	r.entry = r.entry[:0]
	for range 2 * n {
		i := r.unsigned()
		if i >= uint64(len(r.texts)) {
			r.fail("text %d of %d", i, len(r.texts))
			return
		}
		r.entry = append(r.entry, i)
	}
	if r.err != nil {
		return
	}
	if begin := in[:len(in)-len(r.in)]; r.Known == nil || !r.known(begin, s) {
		s.Labels = make([]detector.Label, n)
		for i := range s.Labels {
			s.Labels[i] = detector.Label{Name: r.shared.String(r.texts[r.entry[2*i]]), Value: r.shared.String(r.texts[r.entry[2*i+1]])}
			if i > 0 && s.Labels[i-1].Name >= s.Labels[i].Name {
				r.fail("the labels %v are not in order", s.Labels[:i+1])
			}
		}
	}
}

// known fills in the series that an entry begins with, if there is one already, and remembers it.
func (r *deltaReader) known(begin []byte, s *detector.SeriesDelta) bool {
	var e *deltaSeries
	if r.table != nil {
		e = r.table.series[string(begin)]
	}
	if e == nil || !e.known.Fill(s) {
		r.key = append(r.key[:0], byte(s.Kind))
		for _, i := range r.entry {
			r.key = append(append(r.key, r.texts[i]...), detector.SeriesKeyEnd)
		}
		if !r.Known(r.delta.Domain, r.key, s) {
			return false
		}
	}
	if r.table == nil {
		return true
	}
	if e == nil {
		if r.kept >= maxTableSeries {
			return true
		}
		e = &deltaSeries{begin: string(begin)}
		r.table.series[e.begin] = e
		r.kept++
	}
	e.known = s.Known
	r.last.next, r.last = e, e
	return true
}

func (r *deltaReader) series(s *detector.SeriesDelta) {
	r.begin(s)
	s.Count = r.positive()
	flags := r.byte()
	if flags > flagValues|flagBuckets|flagSessions {
		r.fail("flags %d are unknown: a newer version has written it, let the workers that judge be of that first", flags)
	}
	if flags&flagValues != 0 {
		s.Valued = r.positive()
		s.Sum.Hi, s.Sum.Lo, s.Max = r.signed(), r.unsigned(), r.signed()
	}
	if flags&flagBuckets != 0 {
		from, last := len(r.buckets), int32(0)
		for i := range r.count(2) {
			step := r.signed()
			if i > 0 && step <= 0 || step < -2*detector.MaxCode || step > 2*detector.MaxCode || abs(last+int32(step)) > detector.MaxCode {
				r.fail("the buckets are not in order, or one is of code %d + %d", last, step)
				return
			}
			last += int32(step)
			r.buckets = append(r.buckets, detector.Bucket{Code: last, N: r.positive()})
		}
		s.Buckets = r.buckets[from:len(r.buckets):len(r.buckets)]
	}
	if flags&flagSessions != 0 {
		s.Sessioned, s.Sessions = r.positive(), r.sessions()
		if few, many := int64(len(s.Sessions.Few)), s.Sessions.Many != nil; r.err == nil && (s.Sessioned > s.Count || s.Sessioned < few || many && s.Sessioned <= detector.MaxFew) {
			r.fail("%d of %d events are said to come of %d sessions (0: of more than can be listed)", s.Sessioned, s.Count, few)
		}
	}
}

// sessions reads a set of sessions: their hashes or, where none is listed, the registers of more than can be.
func (r *deltaReader) sessions() *detector.Distinct {
	set := &detector.Distinct{}
	n := r.count(8)
	for range min(n, detector.MaxFew+1) {
		set.Few = append(set.Few, binary.BigEndian.Uint64(r.bytes(8)))
	}
	if n == 0 {
		set.Many = r.bytes(detector.Registers)
	}
	if r.err != nil {
		return set
	}
	if err := set.Check(); err != nil {
		r.fail("%w", err)
	}
	return set
}
