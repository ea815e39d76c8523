package wire

import (
	"cmp"
	"math"
	"slices"

	"sevwatch/detector"
	"sevwatch/rules"
)

// InputSpec is how the records of a source are read.
type InputSpec struct {
	Kind       rules.Kind // of records that do not name one
	Labels     []string   // that make a series
	MaxBytes   int        // of a record's value; 0: MaxRecord
	CutLong    bool       // labels of more than MaxLabel bytes are cut; else their records are rejected
	Mapping    *Mapping   // nil: the records have our own shape
	Endpoints  *Endpoints // nil: endpoints stay as they are
	Keep, Drop []string   // labels that alone are kept, and that are not; an empty Keep keeps all
}

// Input turns the records of one source into events, whatever their shape. In the end each is an object of our own shape that Decoder
// reads. It is not safe for concurrent use: have one a goroutine.
type Input struct {
	spec     InputSpec
	decoder  *Decoder
	endpoint int   // index of the label endpoint; -1: it is none, or stays as it is
	dropped  []int // indexes of labels that are not kept

	event    detector.Event
	shaped   []byte // the record in our own shape
	replaced []byte // endpoints
}

// NewInput makes an input.
func NewInput(spec InputSpec) *Input {
	in := &Input{spec: spec, decoder: NewDecoder(spec.Kind, spec.Labels), endpoint: -1}
	spec.MaxBytes = cmp.Or(spec.MaxBytes, MaxRecord)
	in.spec = spec
	// A record grows when it is written in our shape; how long a label may be is seen when its endpoint is known.
	in.decoder.MaxBytes, in.decoder.LabelBytes = math.MaxInt, math.MaxInt
	if spec.Endpoints != nil {
		in.endpoint = slices.Index(spec.Labels, "endpoint")
	}
	for i, label := range spec.Labels {
		if slices.Contains(spec.Drop, label) || len(spec.Keep) > 0 && !slices.Contains(spec.Keep, label) {
			in.dropped = append(in.dropped, i)
		}
	}
	return in
}

// Read gives the event of a record; timestamp is as for Decode. It holds until the next call.
func (in *Input) Read(value []byte, timestamp int64) (*detector.Event, *Reject) {
	if len(value) > in.spec.MaxBytes {
		return nil, reject(TooLarge, "the record has %d bytes, at most %d are read", len(value), in.spec.MaxBytes)
	}
	in.replaced = in.replaced[:0]
	if in.spec.Mapping != nil {
		var rejected *Reject
		if value, rejected = in.mapped(value); rejected != nil {
			return nil, rejected
		}
	}
	e := &in.event
	if rejected := in.decoder.Decode(value, timestamp, e); rejected != nil {
		return nil, rejected
	}
	if rejected := in.trim(e); rejected != nil {
		return nil, rejected
	}
	return e, nil
}

// mapped is the record in our own shape.
func (in *Input) mapped(value []byte) ([]byte, *Reject) {
	if rejected := checkObject(value); rejected != nil {
		return nil, rejected
	}
	var rejected *Reject
	in.shaped, rejected = in.spec.Mapping.appendEvent(in.shaped[:0], value)
	return in.shaped, rejected
}

// checkObject says what is wrong with a JSON object, whatever it holds.
func checkObject(value []byte) *Reject {
	s := scanner{in: value}
	object := s.peek() == '{'
	s.skip(0)
	if s.err == nil && (s.peek() != 0 || s.pos < len(s.in)) {
		s.syntax()
	}
	if s.err == nil && !object {
		return reject(NotAnObject, "the record is JSON but no object")
	}
	return s.err
}

// trim takes away what an event has too much of.
func (in *Input) trim(e *detector.Event) *Reject {
	for _, i := range in.dropped {
		e.Labels[i] = nil
	}
	if in.endpoint >= 0 {
		e.Labels[in.endpoint], in.replaced = in.spec.Endpoints.Of(e.Labels[in.endpoint], in.replaced)
	}
	for i, label := range e.Labels {
		switch {
		case len(label) <= MaxLabel:
		case in.spec.CutLong:
			e.Labels[i] = cut(label, MaxLabel)
		default:
			return reject(OutOfRange, "%s has %d bytes, expected %d at most", in.spec.Labels[i], len(label), MaxLabel)
		}
	}
	return nil
}

// Unknown counts the keys that nobody knows, by name.
func (in *Input) Unknown() map[string]int64 { return in.decoder.Unknown() }
