package sets

import (
	"encoding/json"
	"strconv"
	"time"
)

// An Event is one line of an event file. Fields that its kind does not have are left zero and unwritten.
type Event struct {
	TimeMs     int64 // event time, milliseconds since 1970 in UTC
	Kind       Kind
	Service    string
	Endpoint   string
	Step       string
	Session    string
	ErrorType  string  // error
	Message    string  // error, at most maxMessageBytes
	Status     int     // latency; 0 where the source does not know it
	DurationMs float64 // latency
	Action     Action  // step
	DwellMs    int64   // step; 0 where the source does not tell
	Labels     []Label // further string labels; shared between events, so read only
}

// Kind is what an event tells about.
type Kind string

// The kinds that the public sets can fill.
const (
	Error   Kind = "error"
	Latency Kind = "latency"
	Step    Kind = "step"
)

// Action is what a session did with a step.
type Action string

// The actions of a step.
const (
	Enter    Action = "enter"
	Complete Action = "complete"
	Abandon  Action = "abandon"
)

// A Label is a further key of an event, or a further column of a fault.
type Label struct {
	Name, Value string
}

// timeLayout is RFC 3339 with exactly three digits of a second.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// syntheticTimes marks events whose time within their row or day is ours, not the source's.
var syntheticTimes = []Label{{Name: "synthetic_times", Value: "true"}}

// AppendJSON appends the event as one JSON object without a line end. The keys have one order and
// numbers one form, so the same events are the same bytes.
func (e Event) AppendJSON(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = appendTime(b, e.TimeMs)
	b = append(b, '"')
	b = appendString(b, "kind", string(e.Kind))
	b = appendString(b, "service", e.Service)
	b = appendString(b, "endpoint", e.Endpoint)
	b = appendString(b, "step", e.Step)
	b = appendString(b, "session", e.Session)
	b = appendString(b, "error_type", e.ErrorType)
	b = appendString(b, "message", e.Message)
	if e.Status != 0 {
		b = append(b, `,"status":`...)
		b = strconv.AppendInt(b, int64(e.Status), 10)
	}
	if e.Kind == Latency {
		b = append(b, `,"duration_ms":`...)
		b = strconv.AppendFloat(b, e.DurationMs, 'f', -1, 64)
	}
	b = appendString(b, "action", string(e.Action))
	if e.DwellMs != 0 {
		b = append(b, `,"dwell_ms":`...)
		b = strconv.AppendInt(b, e.DwellMs, 10)
	}
	for _, l := range e.Labels {
		b = appendString(b, l.Name, l.Value)
	}
	return append(b, '}')
}

func appendTime(b []byte, timeMs int64) []byte {
	return time.UnixMilli(timeMs).UTC().AppendFormat(b, timeLayout)
}

// appendString appends `,"key":"value"`, or nothing for an empty value.
func appendString(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	if isPlain(value) {
		b = append(b, '"')
		b = append(b, value...)
		return append(b, '"')
	}
	quoted, err := json.Marshal(value)
	if err != nil {
		panic("BUG: a string that is not JSON: " + err.Error())
	}
	return append(b, quoted...)
}

// isPlain tells whether a string is its own JSON form.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
