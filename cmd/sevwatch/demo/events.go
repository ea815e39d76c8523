package demo

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"
)

// The topics that the world writes to.
const (
	TopicErrors  = "assessment.errors"
	TopicLatency = "assessment.latency"
	TopicSteps   = "assessment.steps"
	TopicChanges = "assessment.changes"
)

// Sink takes the world's events.
//
// Emit is called from many goroutines at once and on the path of a request, after its duration was
// measured but before its answer is on the wire: it must return within about a millisecond, or it slows
// the visitors and is itself the fault. So it buffers, and what it does when the buffer is full is its own
// affair; it can compare what it took with World.Totals. It may keep key and value: they are not used
// again.
type Sink interface {
	Emit(topic string, key, value []byte)
}

// eventTime is RFC 3339 with milliseconds, in UTC.
const eventTime = "2006-01-02T15:04:05.000Z07:00"

// labels are the keys that events of every kind share.
type labels struct {
	Time     string `json:"time"`
	Kind     string `json:"kind"`
	Service  string `json:"service"`
	Endpoint string `json:"endpoint,omitempty"`
	Step     string `json:"step,omitempty"`
	Region   string `json:"region,omitempty"`
	Version  string `json:"version,omitempty"`
	Session  string `json:"session,omitempty"`
}

type errorEvent struct {
	labels
	ErrorType string `json:"error_type"`
	Category  string `json:"category,omitempty"`
	Message   string `json:"message"`
}

type latencyEvent struct {
	labels
	Status     int     `json:"status"`
	DurationMs float64 `json:"duration_ms"`
}

// stepEvent carries the dwell when the visitor leaves the step, by either door.
type stepEvent struct {
	labels
	Action  string   `json:"action"`
	DwellMs *float64 `json:"dwell_ms,omitempty"`
}

type changeEvent struct {
	labels
	Change          string `json:"change"`
	PreviousVersion string `json:"previous_version,omitempty"`
	State           string `json:"state,omitempty"`
}

// emitter turns events into bytes for the sink, and counts them.
type emitter struct {
	sink                            Sink
	errors, latency, steps, changes atomic.Int64
}

func (e *emitter) failure(at time.Time, event errorEvent) {
	event.Kind, event.Time = "error", stamp(at)
	e.emit(TopicErrors, event.Session, event, &e.errors)
}

func (e *emitter) request(at time.Time, event latencyEvent) {
	event.Kind, event.Time = "latency", stamp(at)
	e.emit(TopicLatency, event.Session, event, &e.latency)
}

func (e *emitter) step(at time.Time, event stepEvent) {
	event.Kind, event.Time = "step", stamp(at)
	e.emit(TopicSteps, event.Session, event, &e.steps)
}

// change has no session; its key is the service.
func (e *emitter) change(at time.Time, event changeEvent) {
	event.Kind, event.Time = "change", stamp(at)
	e.emit(TopicChanges, event.Service, event, &e.changes)
}

func (e *emitter) emit(topic, key string, event any, count *atomic.Int64) {
	value, err := json.Marshal(event)
	if err != nil {
		panic(fmt.Sprintf("BUG: cannot encode %+v: %v", event, err))
	}
	count.Add(1)
	e.sink.Emit(topic, []byte(key), value)
}

func stamp(at time.Time) string {
	return at.UTC().Format(eventTime)
}

// milliseconds keeps microseconds: what loopback takes is often less than a millisecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
