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
	Format    Format     // "": FormatJSON
	Kind      rules.Kind // of records that do not name one
	Labels    []string   // that make a series
	MaxBytes  int        // of a record's value; 0: MaxRecord
	CutLong   bool       // labels of more than MaxLabel bytes are cut; else their records are rejected
	Mapping   *Mapping   // nil: the records have our own shape
	Endpoints *Endpoints // nil: endpoints stay as they are
	Schemas   Schemas    // of FormatConfluent
	Drop      []string   // labels that events do not have
	IDs       bool       // read the events' ids
}

// Input turns the records of one source into events, whatever their shape. In the end each is an object of our own shape that Decoder
// reads. It is not safe for concurrent use: have one a goroutine.
type Input struct {
	spec     InputSpec
	decoder  *Decoder
	endpoint int // index of the label endpoint; -1: it is none, or stays as it is

	spanReader *spanReader // FormatOTLP
	ends       []int       // of the objects in shaped

	schemaID uint32 // FormatConfluent: of the last record
	schema   Schema

	events   []detector.Event
	objects  [][]byte // of our own shape, one an event
	texts    []byte   // of events that are not the last
	envelope []byte   // a CloudEvent
	shaped   []byte   // the record in our own shape
	replaced []byte   // endpoints
	id       []byte   // of the CloudEvent; empty: it has none, or nobody asks for it
}

// NewInput makes an input.
func NewInput(spec InputSpec) *Input {
	in := &Input{spec: spec, decoder: NewDecoder(spec.Kind, spec.Labels), endpoint: -1}
	spec.MaxBytes = cmp.Or(spec.MaxBytes, MaxRecord)
	in.spec = spec
	// A record grows when it is written in our shape; how long a label may be is seen when its endpoint is known.
	in.decoder.MaxBytes, in.decoder.LabelBytes = math.MaxInt, math.MaxInt
	in.decoder.Drop(spec.Drop)
	if spec.IDs {
		in.decoder.ReadIDs()
	}
	if spec.Format == FormatOTLP {
		in.spanReader = newSpanReader(spec.Labels)
	}
	if spec.Endpoints != nil {
		in.endpoint = slices.Index(spec.Labels, "endpoint")
	}
	return in
}

// Headers says whether Read looks at a record's headers.
func (in *Input) Headers() bool { return in.spec.Format == FormatCloudEvents }

// Read gives the events of a record, whose Time may be negative: it has none. They hold until the next call. Most formats have one event a
// record.
func (in *Input) Read(r *Record) ([]detector.Event, *Reject) {
	if len(r.Value) > in.spec.MaxBytes {
		return nil, reject(TooLarge, "the record has %d bytes, at most %d are read", len(r.Value), in.spec.MaxBytes)
	}
	in.objects, in.replaced, in.texts = in.objects[:0], in.replaced[:0], in.texts[:0]
	timestamp, rejected := in.shape(r)
	if rejected != nil {
		return nil, rejected
	}
	for len(in.events) < len(in.objects) {
		in.events = append(in.events, detector.Event{})
	}
	for i, object := range in.objects {
		e := &in.events[i]
		rejected := in.decoder.Decode(object, timestamp, e)
		if rejected == nil {
			rejected = in.trim(e)
		}
		if len(in.id) > 0 && e.ID == (detector.ID{}) {
			e.ID = detector.IDOf(in.id)
		}
		if rejected != nil && len(in.objects) > 1 {
			return nil, reject(rejected.Reason, "event %d of %d: %s", i+1, len(in.objects), rejected.Detail)
		}
		if rejected != nil {
			return nil, rejected
		}
		if len(in.objects) > 1 {
			in.keep(e)
		}
	}
	return in.events[:len(in.objects)], nil
}

// keep copies what the decoder will overwrite with the next event.
func (in *Input) keep(e *detector.Event) {
	copied := func(text []byte) []byte {
		from := len(in.texts)
		in.texts = append(in.texts, text...)
		return in.texts[from:len(in.texts):len(in.texts)]
	}
	for i, label := range e.Labels {
		if len(label) > 0 {
			e.Labels[i] = copied(label)
		}
	}
	e.Session = copied(e.Session)
}

// shape notes the objects of our own shape that the record is made of, and gives the time of those that have none.
func (in *Input) shape(r *Record) (timestamp int64, rejected *Reject) {
	object, timestamp := r.Value, r.Time
	switch {
	case in.spec.Format == FormatOTLP:
		return timestamp, in.spans(r.Value)
	case in.spec.Format == FormatCloudEvents:
		c, rejected := in.openCloudEvent(r)
		if rejected != nil {
			return 0, rejected
		}
		if c.time >= 0 {
			timestamp = c.time
		}
		object = c.event
		in.identify(&c)
		if in.spec.Mapping == nil {
			if object = c.data; object == nil {
				return 0, reject(Missing, "data is missing or no JSON object, expected an event of our own shape: another needs fields")
			}
		}
	case in.spec.Format == FormatConfluent:
		if object, rejected = in.body(r.Value); rejected != nil {
			return 0, rejected
		}
		if in.spec.Mapping != nil {
			rejected = checkObject(object)
		}
	case in.spec.Mapping != nil:
		if rejected := checkObject(object); rejected != nil {
			return 0, rejected
		}
	}
	if in.spec.Mapping != nil && rejected == nil {
		in.shaped, rejected = in.spec.Mapping.appendEvent(in.shaped[:0], object)
		object = in.shaped
	}
	in.objects = append(in.objects, object)
	return timestamp, rejected
}

// checkObject says what is wrong with a JSON object, whatever it holds.
func checkObject(value []byte) *Reject {
	object, rejected := checkJSON(value)
	if rejected == nil && !object {
		return reject(NotAnObject, "the record is JSON but no object")
	}
	return rejected
}

// checkJSON says what is wrong with a JSON text, and whether it is an object.
func checkJSON(value []byte) (object bool, _ *Reject) {
	s := scanner{in: value}
	object = s.peek() == '{'
	s.skip(0)
	if s.err == nil && (s.peek() != 0 || s.pos < len(s.in)) {
		s.syntax()
	}
	return object, s.err
}

// trim takes away what an event has too much of.
func (in *Input) trim(e *detector.Event) *Reject {
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

// TakeUnknown is Decoder's.
func (in *Input) TakeUnknown(counts map[string]int64) { in.decoder.TakeUnknown(counts) }
