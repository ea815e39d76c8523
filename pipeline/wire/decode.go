package wire

import (
	"slices"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Limits of one record. What is beyond them is rejected, never cut.
const (
	MaxRecord = 64 << 10 // bytes of a value, unless configured otherwise
	MaxLabel  = 256      // bytes of a label's value
)

// maxUnknown bounds how many names of unknown keys are counted apart; the others count as "other".
const maxUnknown = 100

// Decoder turns records of one source into events. It allocates nothing for a good record once its buffers have grown. It is not
// safe for concurrent use: have one a goroutine.
type Decoder struct {
	// MaxBytes is the largest value that is decoded. 0 means MaxRecord.
	MaxBytes int

	kind    rules.Kind // of records that do not name one; NoKind: they have to
	fields  map[string]field
	labels  int
	status  int // index of the label status_class, -1 without
	unknown map[string]int64

	// Of the present record:
	scan   scanner
	event  *detector.Event
	have   uint64 // bit set of the keys it had
	given  uint64 // and of those that were not null
	values [valueCount]int64
	words  [wordCount][]byte
}

// field is a known key: what its value is.
type field struct {
	bit   uint64
	id    fieldID
	label int     // index into Event.Labels, -1: none
	word  wordID  // of texts that a kind depends on
	value valueID // of numbers that are the event's value
}

type fieldID uint8

const (
	fieldText fieldID = iota
	fieldTime
	fieldKind
	fieldSession
	fieldStatus
	fieldNumber
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

// MaxLabels is how many labels a series can be made of.
const MaxLabels = 40

// NewDecoder makes a decoder for records whose kind, where they do not say it, is kind. labels are the labels that make a series, in
// the order of Event.Labels, MaxLabels at most.
func NewDecoder(kind rules.Kind, labels []string) *Decoder {
	d := &Decoder{kind: kind, labels: len(labels), status: slices.Index(labels, "status_class"), unknown: map[string]int64{}}
	d.fields = map[string]field{
		"time": {id: fieldTime}, "kind": {id: fieldKind}, "session": {id: fieldSession}, "message": {}, "status": {id: fieldStatus},
		"duration_ms": {id: fieldNumber, value: valueDuration}, "dwell_ms": {id: fieldNumber, value: valueDwell},
		"value": {id: fieldNumber, value: valueValue}, "score": {id: fieldNumber, value: valueScore},
		"step": {word: wordStep}, "action": {word: wordAction}, "name": {word: wordName}, "change": {word: wordChange},
	}
	// Keys of the contract are checked even where no label is made of them.
	for _, name := range slices.Concat(rules.DefaultLabels(), labels) {
		if _, known := d.fields[name]; !known && name != "status_class" {
			d.fields[name] = field{}
		}
	}
	bit := uint64(1)
	for name, f := range d.fields {
		f.label, f.bit = slices.Index(labels, name), bit
		d.fields[name] = f
		bit <<= 1
	}
	return d
}

// Unknown counts the keys that nobody knows, by name.
func (d *Decoder) Unknown() map[string]int64 { return d.unknown }

// Decode fills e from a record's value and timestamp (epoch ms; negative: it has none). The event's byte slices point into value or
// into the decoder and hold until the next call. On a reject e is of no use.
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
	s.members(d.member, '}')
	if s.err == nil && (s.peek() != 0 || s.pos < len(s.in)) {
		s.syntax()
	}
	if s.err == nil {
		d.complete()
	}
	return s.err
}

func (d *Decoder) reset(value []byte, timestamp int64, e *detector.Event) {
	d.scan.in, d.scan.pos, d.scan.err, d.scan.buf = value, 0, nil, d.scan.buf[:0]
	d.have, d.given, d.event, d.values, d.words = 0, 0, e, [valueCount]int64{}, [wordCount][]byte{}
	if cap(e.Labels) < d.labels {
		e.Labels = make([][]byte, d.labels)
	}
	e.Labels = e.Labels[:d.labels]
	clear(e.Labels)
	e.Time, e.Kind, e.Session, e.Value, e.HasValue = timestamp, d.kind, nil, 0, false
}

// member reads one key and its value.
func (d *Decoder) member() {
	s := &d.scan
	key := s.str()
	s.take(':')
	if s.err != nil {
		return
	}
	f, known := d.fields[string(key)]
	if !known {
		d.countUnknown(key)
		s.skip(1)
		return
	}
	if d.have&f.bit != 0 {
		s.fail(DuplicateKey, "the key %q is there twice", key)
		return
	}
	d.have |= f.bit
	if s.peek() == 'n' {
		s.literal("null") // the same as absent
		return
	}
	d.given |= f.bit
	d.read(f, key)
}

func (d *Decoder) countUnknown(key []byte) {
	if _, seen := d.unknown[string(key)]; !seen && len(d.unknown) >= maxUnknown {
		d.unknown["other"]++
		return
	}
	d.unknown[string(key)]++
}

func (d *Decoder) read(f field, key []byte) {
	s, e := &d.scan, d.event
	switch f.id {
	case fieldText:
		text := d.text(key)
		d.words[f.word] = text
		if f.label < 0 {
			return
		}
		if len(text) > MaxLabel {
			s.fail(OutOfRange, "%s has %d bytes, expected %d at most", key, len(text), MaxLabel)
		}
		e.Labels[f.label] = text
	case fieldTime:
		d.time()
	case fieldKind:
		if text := d.text(key); s.err == nil {
			if e.Kind = rules.KindOf(string(text)); e.Kind == rules.NoKind {
				s.fail(UnknownValue, "kind is %q, expected error, latency, step, vital, resource, satisfaction or change", clip(text))
			}
		}
	case fieldSession:
		e.Session = d.text(key)
	case fieldStatus:
		d.statusClass()
	case fieldNumber:
		d.number(f.value, key)
	}
}

// clip is a text short enough to be quoted in a detail.
func clip(text []byte) []byte { return text[:min(len(text), 64)] }

// text reads a string value.
func (d *Decoder) text(key []byte) []byte {
	s := &d.scan
	if s.peek() != '"' {
		d.wrongType(key, "text")
		return nil
	}
	return s.str()
}

// wrongType rejects the next value: after making sure that it is JSON at all.
func (d *Decoder) wrongType(key []byte, expected string) {
	s := &d.scan
	start := s.pos
	if s.skip(1); s.err == nil {
		s.fail(WrongType, "%s is %s, expected %s", key, clip(s.in[start:s.pos]), expected)
	}
}

// numeric reads a number's text.
func (d *Decoder) numeric(key []byte, expected string) []byte {
	s := &d.scan
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		d.wrongType(key, expected)
		return nil
	}
	return s.number()
}

var (
	keyStatus     = []byte("status")
	keyTime       = []byte("time")
	statusClasses = [...][]byte{1: []byte("1xx"), 2: []byte("2xx"), 3: []byte("3xx"), 4: []byte("4xx"), 5: []byte("5xx")}
)

func (d *Decoder) statusClass() {
	s := &d.scan
	text := d.numeric(keyStatus, "a whole number")
	if s.err != nil {
		return
	}
	v, ok := millionths(text)
	switch {
	case ok && v%1e6 != 0:
		s.fail(WrongType, "status is %s, expected a whole number", clip(text))
	case !ok || v < 100e6 || v > 599e6:
		s.fail(OutOfRange, "status is %s, expected 100 to 599", clip(text))
	case d.status >= 0:
		d.event.Labels[d.status] = statusClasses[v/100e6]
	}
}

// number reads a measured value.
func (d *Decoder) number(id valueID, key []byte) {
	s := &d.scan
	text := d.numeric(key, "a number")
	if s.err != nil {
		return
	}
	v, ok := millionths(text)
	switch {
	case (id == valueDuration || id == valueDwell) && text[0] == '-' && (v != 0 || !ok):
		s.fail(OutOfRange, "%s is %s, expected 0 or more", key, clip(text))
	case !ok:
		s.fail(OutOfRange, "%s is %s, expected less than 9.2e12 either way", key, clip(text))
	default:
		d.values[id] = v
	}
}

// time reads RFC 3339 or epoch milliseconds.
func (d *Decoder) time() {
	s, e := &d.scan, d.event
	switch c := s.peek(); {
	case c == '"':
		text := s.str()
		if s.err != nil {
			return
		}
		t, ok := parseTime(text)
		if !ok {
			s.fail(BadTime, "time is %q, expected RFC 3339 such as 2026-11-01T12:00:03.120Z", clip(text))
		}
		e.Time = t
	case c == '-' || c >= '0' && c <= '9':
		text := s.number()
		if s.err != nil {
			return
		}
		v, ok := epochMillis(text)
		if !ok {
			s.fail(BadTime, "time is %s, expected whole epoch milliseconds up to the year 9999", clip(text))
		}
		e.Time = v
	default:
		d.wrongType(keyTime, "RFC 3339 text or epoch milliseconds")
	}
}

// complete checks what only the whole record shows.
func (d *Decoder) complete() {
	s, e := &d.scan, d.event
	if e.Kind == rules.NoKind {
		s.fail(Missing, "kind is missing, and the topic has none of its own")
		return
	}
	if e.Time < 0 {
		s.fail(NoTime, "time is missing, and the record has no timestamp")
		return
	}
	need := needs[e.Kind]
	if need.value != noValue {
		e.HasValue = d.given&d.fields[need.name].bit != 0
		e.Value = d.values[need.value]
		if !e.HasValue && need.required {
			s.fail(Missing, "%s is missing, which events of kind %s have", need.name, e.Kind)
		}
	}
	for _, w := range need.words {
		if len(d.words[w.id]) == 0 {
			s.fail(Missing, "%s is missing, which events of kind %s have", w.name, e.Kind)
		} else if w.among != nil && !slices.Contains(w.among, string(d.words[w.id])) {
			s.fail(UnknownValue, "%s is %q, expected one of %v", w.name, clip(d.words[w.id]), w.among)
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
	rules.KindChange:       {words: []word{{wordChange, "change", []string{"deploy", "rollback", "config", "breaker"}}}},
}
