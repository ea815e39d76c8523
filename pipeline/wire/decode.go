package wire

import (
	"bytes"
	"cmp"
	"fmt"
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

	kind    rules.Kind // of records that do not name one; NoKind: they have to
	fields  map[string]field
	labels  int
	status  int // index of the label status_class, -1 without
	unknown map[string]*int64

	// Of the present record:
	scan    scanner
	refusal *Reject // why it is no event although it may be JSON
	event   *detector.Event
	have    uint64 // bit set of the keys it had
	given   uint64 // and of those that were not null
	values  [valueCount]int64
	words   [wordCount][]byte
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
	if len(labels) > MaxLabels {
		panic(fmt.Sprintf("BUG: %d labels, at most %d fit", len(labels), MaxLabels))
	}
	d := &Decoder{kind: kind, labels: len(labels), status: slices.Index(labels, "status_class"), unknown: map[string]*int64{}}
	d.fields = map[string]field{
		"time": {id: fieldTime}, "kind": {id: fieldKind}, "session": {id: fieldSession}, "message": {}, "status": {id: fieldStatus},
		"duration_ms": {id: fieldNumber, value: valueDuration}, "dwell_ms": {id: fieldNumber, value: valueDwell},
		"value": {id: fieldNumber, value: valueValue}, "score": {id: fieldNumber, value: valueScore},
		"step": {word: wordStep}, "action": {word: wordAction}, "name": {word: wordName}, "change": {word: wordChange},
	}
	// Keys of the contract are checked even where no label is made of them.
	for _, name := range slices.Concat(rules.DefaultLabels(), []string{"tenant"}, labels) {
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
func (d *Decoder) Unknown() map[string]int64 {
	counts := make(map[string]int64, len(d.unknown))
	for name, n := range d.unknown {
		counts[name] = *n
	}
	return counts
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
	s.members(d.member, '}')
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
	d.scan.in, d.scan.pos, d.scan.err, d.scan.buf = value, 0, nil, d.scan.buf[:0]
	d.refusal, d.have, d.given, d.event = nil, 0, 0, e
	d.values, d.words = [valueCount]int64{}, [wordCount][]byte{}
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
		d.refuse(DuplicateKey, "the key %q is there twice", key)
		s.skip(1)
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
	n := d.unknown[string(key)]
	if n == nil {
		name := otherUnknown
		if len(d.unknown) < maxUnknown && len(key) <= MaxLabel {
			name = string(key)
		}
		if n = d.unknown[name]; n == nil {
			n = new(int64)
			d.unknown[name] = n
		}
	}
	*n++
}

func (d *Decoder) read(f field, key []byte) {
	e := d.event
	switch f.id {
	case fieldText:
		text := d.text(key)
		d.words[f.word] = text
		if f.label < 0 {
			return
		}
		if limit := cmp.Or(d.LabelBytes, MaxLabel); len(text) > limit {
			d.refuse(OutOfRange, "%s has %d bytes, expected %d at most", key, len(text), limit)
		}
		e.Labels[f.label] = text
	case fieldTime:
		d.time()
	case fieldKind:
		text := d.text(key)
		if e.Kind = rules.KindOf(string(text)); e.Kind == rules.NoKind {
			d.refuse(UnknownValue, "kind is %q, expected one of %v", clip(text), kinds)
		}
	case fieldSession:
		e.Session = d.text(key)
	case fieldStatus:
		d.statusClass()
	case fieldNumber:
		d.number(f.value, key)
	}
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

// text reads a string value.
func (d *Decoder) text(key []byte) []byte {
	s := &d.scan
	if s.peek() != '"' {
		d.wrongType(key, "text")
		return nil
	}
	return s.str()
}

// wrongType passes over the next value, which is not what was expected.
func (d *Decoder) wrongType(key []byte, expected string) {
	s := &d.scan
	start := s.pos
	if s.skip(1); s.err != nil {
		return
	}
	found := bytes.Join(bytes.Fields(clip(s.in[start:s.pos])), []byte(" "))
	d.refuse(WrongType, "%s is %s, expected %s", key, found, expected)
}

// numeric reads a number's text; nil if there is none.
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
	text := d.numeric(keyStatus, "a whole number")
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
func (d *Decoder) number(id valueID, key []byte) {
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

// time reads RFC 3339 or epoch milliseconds.
func (d *Decoder) time() {
	s, e := &d.scan, d.event
	switch c := s.peek(); {
	case c == '"':
		text := s.str()
		t, ok := parseTime(text)
		if !ok {
			d.refuse(BadTime, "time is %q, expected RFC 3339 such as 2026-11-01T12:00:03.120Z, from 1970 to 9999", clip(text))
		}
		e.Time = t
	case c == '-' || c >= '0' && c <= '9':
		text := s.number()
		if text == nil {
			return
		}
		v, ok := epochMillis(text)
		if !ok {
			d.refuse(BadTime, "time is %s, expected whole epoch milliseconds from 0 up to the year 9999", clip(text))
		}
		e.Time = v
	default:
		d.wrongType(keyTime, "RFC 3339 text or epoch milliseconds")
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
	need := needs[e.Kind]
	if need.value != noValue {
		e.HasValue = d.given&d.fields[need.name].bit != 0
		e.Value = d.values[need.value]
		if !e.HasValue && need.required {
			d.refuse(Missing, "%s is missing, which events of kind %s have", need.name, e.Kind)
		}
	}
	for _, w := range need.words {
		if len(d.words[w.id]) == 0 {
			d.refuse(Missing, "%s is missing, which events of kind %s have", w.name, e.Kind)
		} else if w.among != nil && !slices.Contains(w.among, string(d.words[w.id])) {
			d.refuse(UnknownValue, "%s is %q, expected one of %v", w.name, clip(d.words[w.id]), w.among)
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
