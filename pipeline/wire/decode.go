package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf8"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Limits of one record. What is beyond them is rejected, never cut.
const (
	MaxRecord = 64 << 10 // bytes of a value, unless configured otherwise
	MaxLabel  = 256      // bytes of a label's value
)

// Names of unknown keys are counted apart up to maxUnknown of them; the others, and names longer than MaxLabel, count as otherUnknown.
const (
	maxUnknown   = 100
	otherUnknown = "other"
)

// Decoder turns records of one source into events. It allocates nothing for a good record once its buffers have grown. It is not
// safe for concurrent use: have one a goroutine.
type Decoder struct {
	// MaxBytes is the largest value that is decoded. 0 means MaxRecord.
	MaxBytes int
	// LabelBytes is the longest value of a label that is taken. 0 means MaxLabel.
	LabelBytes int

	keeps   bool       // escaped texts hold until Forget
	kind    rules.Kind // of records that do not name one; NoKind: they have to
	fields  map[string]*field
	unknown map[string]*field
	begin   field // before the first key
	labels  int
	kept    uint64             // bits of the labels that its events have
	status  int                // index of the label status_class, -1 without
	bits    int                // that keys have: those of labels first, in their order
	valued  [len(needs)]uint64 // bit of the value that a kind has
	worded  [wordCount]uint64  // bit of a text that a kind depends on
	minute  minute
	named   struct { // the last kind that a record named
		text phrase // with the quote behind it
		kind rules.Kind
	}

	// Of the present record:
	limit   int // of a label's bytes
	scan    scanner
	refusal *Reject // why it is no event although it may be JSON
	event   *detector.Event
	have    uint64 // bit set of the keys it had
	given   uint64 // and of those that were not null: only their values and words, and their labels of the event, are of this record
	values  [valueCount]int64
	words   [wordCount][]byte
}

// field is a key: what its value is.
type field struct {
	link // to the key that came behind it last: records of a source are alike, so that is tried first

	bit   uint64 // 0 of unknown ones
	id    fieldID
	word  wordID  // of texts that a kind depends on
	value valueID // of numbers that are the event's value
	label int     // index into Event.Labels, -1: none

	name   string
	quoted string          // the key as it is mostly written: "name":
	texts  [len(gaps)]link // to it, where its value is a text
	others [len(gaps)]link // and where it is none
	seen   int64           // of unknown ones: how often
}

// link leads from a value to that of the next key, over what is between them, as it is mostly written: from the quote that ends a text, or what is
// behind another value, up to the next value, and over the quote that begins it if it is a text.
type link struct {
	next *field
	over phrase
	back int // how far over begins before the end of the value
}

// gaps are what a link begins with.
var gaps = [...]string{gapBegin: "{", gapText: `",`, gapOther: ","}

const (
	gapBegin = iota
	gapText
	gapOther
)

// linkOver makes the link to the field over a gap and its key, and quote if it is a text.
func (f *field) linkOver(gap int, quote string) link {
	l := link{next: f, over: newPhrase(gaps[gap] + f.quoted + quote)}
	if gap == gapText {
		l.back = 1
	}
	return l
}

// leads is where the next value begins if the link leads there from a place behind a value, else 0.
func (l *link) leads(in []byte, pos int) int {
	if pos -= l.back; l.over.at(in, pos) {
		return pos + l.over.size
	}
	return 0
}

type fieldID uint8

const (
	// Of these nothing is asked.
	fieldText fieldID = iota
	fieldSession
	// These have to be of a certain form, or are more than a text.
	fieldTime
	fieldKind
	fieldEventID
	// The others are mostly no text.
	fieldStatus
	fieldNumber
	fieldUnknown
)

type wordID uint8

const (
	noWord wordID = iota
	wordStep
	wordAction
	wordName
	wordChange
	wordCount
)

type valueID uint8

const (
	noValue valueID = iota
	valueDuration
	valueDwell
	valueValue
	valueScore
	valueCount
)

// NewDecoder makes a decoder for records whose kind, where they do not say it, is kind. labels are the labels that make a series, in
// the order of Event.Labels, detector.MaxLabels at most.
func NewDecoder(kind rules.Kind, labels []string) *Decoder {
	if len(labels) > detector.MaxLabels {
		panic(fmt.Sprintf("BUG: %d labels, at most %d fit", len(labels), detector.MaxLabels))
	}
	d := &Decoder{kind: kind, labels: len(labels), status: slices.Index(labels, "status_class"), unknown: map[string]*field{}}
	d.named.text = nowhere
	d.fields = map[string]*field{
		"time": {id: fieldTime}, "kind": {id: fieldKind}, "session": {id: fieldSession}, "message": {}, "status": {id: fieldStatus},
		"duration_ms": {id: fieldNumber, value: valueDuration}, "dwell_ms": {id: fieldNumber, value: valueDwell},
		"value": {id: fieldNumber, value: valueValue}, "score": {id: fieldNumber, value: valueScore},
		"step": {word: wordStep}, "action": {word: wordAction}, "name": {word: wordName}, "change": {word: wordChange},
	}
	// Keys of the contract are checked even where no label is made of them.
	for _, name := range slices.Concat(rules.DefaultLabels(), []string{"tenant"}, labels) {
		if _, known := d.fields[name]; !known && name != "status_class" {
			d.fields[name] = &field{}
		}
	}
	d.bits, d.kept = len(labels), 1<<len(labels)-1
	for name, f := range d.fields {
		f.named(name)
		f.label = slices.Index(labels, name)
		switch {
		case f.id == fieldText && f.label >= 0:
			f.bit = 1 << f.label
		case f.id == fieldStatus && d.status >= 0:
			f.bit = 1 << d.status
		default:
			f.bit = d.ownBit()
		}
	}
	for _, f := range d.fields {
		if f.word != noWord {
			d.worded[f.word] = f.bit
		}
	}
	for kind, need := range needs {
		if need.value != noValue {
			d.valued[kind] = d.fields[need.name].bit
		}
	}
	return d
}

// Drop lets the decoder leave labels out of its events: their texts may have any length, all else about them is checked as before. It is to be called
// before the first record.
func (d *Decoder) Drop(labels []string) {
	for _, name := range labels {
		if name == "status_class" && d.status >= 0 {
			d.kept &^= 1 << d.status
			d.status = -1
		} else if f := d.fields[name]; f != nil && f.label >= 0 {
			d.kept &^= 1 << f.label
			f.label = -1
		}
	}
}

// ReadIDs lets the decoder read the key id: what the producer calls the event. It is to be called before the first record.
func (d *Decoder) ReadIDs() {
	f := d.fields["id"]
	if f == nil {
		f = &field{label: -1, bit: d.ownBit()}
		d.fields["id"] = f
	}
	f.id = fieldEventID
	f.named("id")
}

// ownBit is a bit that no key has yet.
func (d *Decoder) ownBit() uint64 {
	d.bits++
	return 1 << (d.bits - 1)
}

// Keep lets what is decoded hold as long as its record's value does, and not only until the next call. Forget is to be called now and then.
func (d *Decoder) Keep() { d.keeps = true }

// Forget gives up the memory that Keep keeps: it belongs to the events from here on.
func (d *Decoder) Forget() { d.scan.buf = nil }

func (f *field) named(name string) {
	f.name, f.quoted, f.over = name, `"`+name+`":`, nowhere
	for gap := range gaps {
		f.texts[gap], f.others[gap] = f.linkOver(gap, `"`), f.linkOver(gap, "")
	}
}

// Unknown counts the keys that nobody knows, by name.
func (d *Decoder) Unknown() map[string]int64 {
	counts := make(map[string]int64, len(d.unknown))
	for name, f := range d.unknown {
		counts[name] = f.seen
	}
	return counts
}

// TakeUnknown adds to counts how often keys that nobody knows came since it was called last.
func (d *Decoder) TakeUnknown(counts map[string]int64) {
	for name, f := range d.unknown {
		if f.seen > 0 {
			counts[name] += f.seen
			f.seen = 0
		}
	}
}

// Decode fills e from a record's value and timestamp (epoch ms; negative: it has none). The event's byte slices point into value or
// into the decoder and hold until the next call. On a reject e is of no use. What is not JSON is rejected as such, whatever else is
// wrong with it; else the first thing wrong is told.
func (d *Decoder) Decode(value []byte, timestamp int64, e *detector.Event) *Reject {
	limit := d.MaxBytes
	if limit == 0 {
		limit = MaxRecord
	}
	if len(value) > limit {
		return reject(TooLarge, "the record has %d bytes, at most %d are read", len(value), limit)
	}
	d.reset(value, timestamp, e)
	s := &d.scan
	if c := s.peek(); c != '{' {
		s.skip(0)
		if s.err == nil && s.peek() == 0 && s.pos == len(s.in) {
			return reject(NotAnObject, "the record is JSON but no object")
		}
		s.syntax()
		return s.err
	}
	d.members()
	d.absent()
	if s.err == nil && (s.peek() != 0 || s.pos < len(s.in)) {
		s.syntax()
	}
	if s.err != nil {
		return s.err
	}
	d.complete()
	return d.refusal
}

// refuse notes what is wrong with a record that may be JSON, and lets the reading go on.
func (d *Decoder) refuse(reason Reason, format string, args ...any) {
	if d.refusal == nil {
		d.refusal = reject(reason, format, args...)
	}
}

func (d *Decoder) reset(value []byte, timestamp int64, e *detector.Event) {
	d.scan.in, d.scan.pos, d.scan.err = value, 0, nil
	if !d.keeps {
		d.scan.buf = d.scan.buf[:0]
	}
	if d.limit = d.LabelBytes; d.limit == 0 {
		d.limit = MaxLabel
	}
	d.refusal, d.have, d.given, d.event = nil, 0, 0, e
	if len(e.Labels) != d.labels {
		e.Labels, e.Present = make([][]byte, d.labels), 0
	}
	e.Time, e.Kind, e.Session, e.ID, e.Value, e.HasValue = timestamp, d.kind, nil, detector.ID{}, 0, false
}

// members reads all keys and their values, and the brackets around them.
func (d *Decoder) members() {
	s := &d.scan
	for f := &d.begin; s.err == nil; {
		if last := d.plainly(f); last != f {
			f = last
			continue
		}
		switch c := s.peek(); {
		case f == &d.begin:
			s.pos++
			if s.peek() == '}' {
				s.pos++
				return
			}
		case c == ',':
			s.pos++
		case c == '}':
			s.pos++
			return
		default:
			s.syntax()
			return
		}
		if f = d.key(f); s.err == nil {
			d.value(f)
		}
	}
}

// plainly reads members behind f as long as they are those that came last time, and plainly written, and returns the last of them. All else it
// leaves where it is, behind the last value.
func (d *Decoder) plainly(f *field) (last *field) {
	s := &d.scan
	for g := f.next; g != nil; g = f.next {
		if g.id <= fieldSession {
			if last = d.texts(f); last == f {
				break
			}
			f = last
			continue
		}
		start := f.leads(s.in, s.pos)
		if start == 0 || d.have&g.bit != 0 {
			break
		}
		end := d.plainValue(g, start)
		if end == 0 {
			break
		}
		f, s.pos, d.have, d.given = g, end, d.have|g.bit, d.given|g.bit
	}
	return f
}

// plainValue takes the value of a known key that begins at a place, behind its quote if it has one, and returns where it ends. End is 0 where it is not
// plain.
func (d *Decoder) plainValue(f *field, start int) (end int) {
	in := d.scan.in
	switch f.id {
	case fieldTime:
		if in[start-1] != '"' {
			t, end := plainWhole(in, start)
			if end > 0 {
				d.event.Time = t
			}
			return end
		}
		if t, ok := d.minute.again(in, start); ok {
			d.event.Time = t
			return start + minuteLength
		}
	case fieldKind:
		if d.named.text.at(in, start) {
			d.event.Kind = d.named.kind
			return start + d.named.text.size
		}
	case fieldStatus:
		class, end := plainStatus(in, start)
		if end > 0 && d.status >= 0 {
			d.event.Labels[d.status] = statusClasses[class]
		}
		return end
	case fieldNumber:
		v, end := plainNumber(in, start)
		d.values[f.value] = v
		return end
	case fieldUnknown:
		return 0
	}
	if end = plain(in, start); end == len(in) || in[end] != '"' {
		return 0
	}
	d.take(f, in[start:end])
	return end + 1
}

// texts reads plain texts of which nothing is asked, which is most of a record. It calls nothing, so that all it needs stays in registers.
func (d *Decoder) texts(f *field) (last *field) {
	in, pos, have, limit, e := d.scan.in, d.scan.pos, d.have, d.limit, d.event
	in = in[:len(in):len(in)]
members:
	for g := f.next; g != nil && g.id <= fieldSession && have&g.bit == 0; g = f.next {
		start := f.leads(in, pos)
		if start == 0 {
			break
		}
		var found uint64
		at := start
		for {
			if at < 0 || at > len(in)-9 {
				break members
			}
			if found = meaning(binary.LittleEndian.Uint64(in[at : at+8])); found != 0 {
				break
			}
			at += 8
		}
		end := at + bits.TrailingZeros64(found)>>3
		if in[end] != '"' {
			break
		}
		switch text := in[start:end]; {
		case g.id == fieldSession:
			e.Session = text
		case len(text) > limit:
			break members
		default:
			if g.word != noWord {
				d.words[g.word] = text
			}
			if g.label >= 0 {
				e.Labels[g.label] = text
			}
		}
		f, pos, have = g, end+1, have|g.bit
	}
	d.scan.pos, d.given, d.have = pos, d.given|have&^d.have, have
	return f
}

// key reads the key behind that of last, and the colon.
func (d *Decoder) key(last *field) *field {
	s := &d.scan
	gap := gapOther
	if last == &d.begin {
		gap = gapBegin
	} else if s.in[s.pos-2] == '"' {
		gap = gapText
	}
	if f := last.next; f != nil && bytes.HasPrefix(s.in[s.pos:], []byte(f.quoted)) {
		s.pos += len(f.quoted)
		last.follow(f, gap, s)
		return f
	}
	key := s.str()
	written := s.in[:s.pos]
	s.take(':')
	if s.err != nil {
		return nil
	}
	f := d.fields[string(key)]
	if f == nil {
		f = d.unknownField(key)
	}
	if bytes.HasSuffix(written, []byte(f.quoted[:len(f.quoted)-1])) { // else it was written with escapes, or is one of the others
		last.follow(f, gap, s)
	}
	return f
}

// follow notes that the next key came behind f; the scanner stands before its value. A time may be a text or none, each of the others is read plainly
// only as what it should be.
func (f *field) follow(next *field, gap int, s *scanner) {
	if next.id < fieldStatus && (next.id != fieldTime || s.peek() == '"') {
		f.link = next.texts[gap]
	} else {
		f.link = next.others[gap]
	}
}

func (d *Decoder) unknownField(key []byte) *field {
	f := d.unknown[string(key)]
	if f != nil {
		return f
	}
	name := otherUnknown
	if len(d.unknown) < maxUnknown && len(key) <= MaxLabel {
		name = string(key)
	}
	if f = d.unknown[name]; f == nil {
		f = &field{id: fieldUnknown}
		f.named(name)
		d.unknown[name] = f
	}
	return f
}

// value reads the value of a key.
func (d *Decoder) value(f *field) {
	s := &d.scan
	switch {
	case f.id == fieldUnknown:
		f.seen++
		s.skip(1)
	case d.have&f.bit != 0:
		d.refuse(DuplicateKey, "the key %q is there twice", f.name)
		s.skip(1)
	default:
		d.have |= f.bit
		if s.peek() == 'n' {
			s.literal("null") // the same as absent
			return
		}
		d.given |= f.bit
		d.read(f)
	}
}

// read reads the value of a known key.
func (d *Decoder) read(f *field) {
	s := &d.scan
	if f.id >= fieldStatus {
		if end := d.plainValue(f, s.pos); end > 0 {
			s.pos = end
			return
		}
	}
	switch {
	case f.id == fieldStatus:
		d.statusClass(f)
	case f.id == fieldNumber:
		d.number(f)
	case s.peek() == '"':
		if text := s.str(); s.err == nil {
			d.take(f, text)
		}
	case f.id == fieldTime:
		d.epoch()
	default:
		d.wrongType(f.name, "text")
	}
}

// take takes the text that is the value of a known key.
func (d *Decoder) take(f *field, text []byte) {
	e := d.event
	switch f.id {
	case fieldEventID:
		if len(text) > 0 {
			e.ID = detector.IDOf(text)
		}
		fallthrough // it may be a label besides
	case fieldText:
		d.words[f.word] = text // that of noWord is nobody's
		if f.label < 0 {
			return
		}
		if len(text) > d.limit {
			d.refuse(OutOfRange, "%s has %d bytes, expected %d at most", f.name, len(text), d.limit)
		}
		e.Labels[f.label] = text
	case fieldTime:
		t, ok := d.minute.time(text)
		if !ok {
			d.refuse(BadTime, "time is %q, expected RFC 3339 such as 2026-11-01T12:00:03.120Z, from 1970 to 9999", clip(text))
		}
		e.Time = t
	case fieldKind:
		d.takeKind(text)
	case fieldSession:
		e.Session = text
	}
}

func (d *Decoder) takeKind(text []byte) {
	e := d.event
	if e.Kind = rules.KindOf(string(text)); e.Kind == rules.NoKind {
		d.refuse(UnknownValue, "kind is %q, expected one of %v", clip(text), kinds)
		return
	}
	d.named.text, d.named.kind = newPhrase(e.Kind.String()+`"`), e.Kind
}

var kinds = rules.Kinds()

// clip is a text short enough to be quoted in a detail.
func clip(text []byte) []byte {
	return cut(text, 64)
}

// cut is at most so many bytes of a text, cut between two characters.
func cut(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// wrongType passes over the next value, which is not what was expected.
func (d *Decoder) wrongType(key, expected string) {
	s := &d.scan
	start := s.pos
	if s.skip(1); s.err != nil {
		return
	}
	found := bytes.Join(bytes.Fields(clip(s.in[start:s.pos])), []byte(" "))
	d.refuse(WrongType, "%s is %s, expected %s", key, found, expected)
}

// numeric reads a number's text; nil if there is none.
func (d *Decoder) numeric(key, expected string) []byte {
	s := &d.scan
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		d.wrongType(key, expected)
		return nil
	}
	return s.number()
}

var statusClasses = func() (texts [6][]byte) {
	for class := 1; class < len(texts); class++ {
		texts[class] = append(make([]byte, 0, 16), '0'+byte(class), 'x', 'x') // words of it are read at once
	}
	return texts
}()

func (d *Decoder) statusClass(f *field) {
	text := d.numeric(f.name, "a whole number")
	if text == nil {
		return
	}
	v, ok := millionths(text)
	switch {
	case ok && v%1e6 != 0:
		d.refuse(WrongType, "status is %s, expected a whole number", clip(text))
	case !ok || v < 100e6 || v > 599e6:
		d.refuse(OutOfRange, "status is %s, expected 100 to 599", clip(text))
	case d.status >= 0:
		d.event.Labels[d.status] = statusClasses[v/100e6]
	}
}

// number reads a measured value.
func (d *Decoder) number(f *field) {
	id, key := f.value, f.name
	text := d.numeric(key, "a number")
	if text == nil {
		return
	}
	v, ok := millionths(text)
	switch {
	case (id == valueDuration || id == valueDwell) && text[0] == '-' && (v != 0 || !ok):
		d.refuse(OutOfRange, "%s is %s, expected 0 or more", key, clip(text))
	case !ok:
		d.refuse(OutOfRange, "%s is %s, expected less than 9.2e12 either way", key, clip(text))
	default:
		d.values[id] = v
	}
}

// epoch reads a time that is no text: epoch milliseconds.
func (d *Decoder) epoch() {
	if v, end := plainWhole(d.scan.in, d.scan.pos); end > 0 {
		d.scan.pos, d.event.Time = end, v
		return
	}
	text := d.numeric("time", "RFC 3339 text or epoch milliseconds")
	if text == nil {
		return
	}
	v, ok := epochMillis(text)
	if !ok {
		d.refuse(BadTime, "time is %s, expected whole epoch milliseconds from 0 up to the year 9999", clip(text))
	}
	d.event.Time = v
}

// absent takes the labels that the record does not have out of the event, which may have those of the one before.
func (d *Decoder) absent() {
	e := d.event
	stale := e.Present
	if stale == 0 {
		stale = 1<<d.labels - 1
	}
	e.Present = d.given & d.kept
	for stale &^= e.Present; stale != 0; stale &= stale - 1 {
		e.Labels[bits.TrailingZeros64(stale)] = nil
	}
}

// complete checks what only the whole record shows.
func (d *Decoder) complete() {
	e := d.event
	if e.Kind == rules.NoKind {
		d.refuse(Missing, "kind is missing, and the topic has none of its own")
		return
	}
	if e.Time < 0 {
		d.refuse(NoTime, "time is missing, and the record has no timestamp")
		return
	}
	need := &needs[e.Kind]
	if need.value != noValue {
		if e.HasValue = d.given&d.valued[e.Kind] != 0; e.HasValue {
			e.Value = d.values[need.value]
		} else if need.required {
			d.refuse(Missing, "%s is missing, which events of kind %s have", need.name, e.Kind)
		}
	}
	for _, w := range need.words {
		text := d.words[w.id]
		if d.given&d.worded[w.id] == 0 || len(text) == 0 {
			d.refuse(Missing, "%s is missing, which events of kind %s have", w.name, e.Kind)
		} else if w.among != nil && !slices.Contains(w.among, string(text)) {
			d.refuse(UnknownValue, "%s is %q, expected one of %v", w.name, clip(text), w.among)
		}
	}
}

// need is what a kind depends on.
type need struct {
	value    valueID
	name     string // of the value
	required bool
	words    []word
}

type word struct {
	id    wordID
	name  string
	among []string
}

var needs = [...]need{
	rules.KindLatency: {value: valueDuration, name: "duration_ms", required: true},
	rules.KindStep: {value: valueDwell, name: "dwell_ms", words: []word{
		{id: wordStep, name: "step"}, {wordAction, "action", []string{"enter", "complete", "abandon"}},
	}},
	rules.KindVital:        {value: valueValue, name: "value", required: true, words: []word{{id: wordName, name: "name"}}},
	rules.KindResource:     {value: valueValue, name: "value", required: true, words: []word{{id: wordName, name: "name"}}},
	rules.KindSatisfaction: {value: valueScore, name: "score", required: true},
	rules.KindChange:       {words: []word{{wordChange, "change", rules.ChangeNames()}}},
}
