package demo

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"
)

// record is one event as the sink got it.
type record struct {
	topic, key string
	value      []byte
}

// memory is a sink that keeps everything. A test that waits for an event waits on its condition.
type memory struct {
	mu      sync.Mutex
	more    sync.Cond
	records []record
}

func newMemory() *memory {
	m := &memory{}
	m.more.L = &m.mu
	return m
}

func (m *memory) Emit(topic string, key, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, record{topic, string(key), value})
	m.more.Broadcast()
}

func (m *memory) all(t *testing.T) []event {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	events := make([]event, 0, len(m.records))
	for _, r := range m.records {
		events = append(events, parse(t, r))
	}
	return events
}

// await returns the first event that is wanted, however long it takes to come.
func (m *memory) await(t *testing.T, wanted func(event) bool) event {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for seen := 0; ; {
		for ; seen < len(m.records); seen++ {
			if e := parse(t, m.records[seen]); wanted(e) {
				return e
			}
		}
		m.more.Wait()
	}
}

// event is every key that the input format documents for these topics, and no other.
type event struct {
	Time            string   `json:"time"`
	Kind            string   `json:"kind"`
	Service         string   `json:"service"`
	Endpoint        string   `json:"endpoint"`
	Step            string   `json:"step"`
	Region          string   `json:"region"`
	Version         string   `json:"version"`
	Session         string   `json:"session"`
	ErrorType       string   `json:"error_type"`
	Category        string   `json:"category"`
	Message         string   `json:"message"`
	Status          *int     `json:"status"`
	DurationMs      *float64 `json:"duration_ms"`
	Action          string   `json:"action"`
	DwellMs         *float64 `json:"dwell_ms"`
	Change          string   `json:"change"`
	State           string   `json:"state"`
	PreviousVersion string   `json:"previous_version"`

	at time.Time
}

var eventTimeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

// parse reads a record strictly and checks what its topic requires.
func parse(t *testing.T, r record) event {
	t.Helper()
	var e event
	decoder := json.NewDecoder(bytes.NewReader(r.value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		t.Fatalf("%s: %v: %s", r.topic, err, r.value)
	}
	var err error
	if e.at, err = time.Parse(time.RFC3339Nano, e.Time); err != nil || !eventTimeForm.MatchString(e.Time) {
		t.Fatalf("%s: time %q is not RFC 3339 with milliseconds in UTC", r.topic, e.Time)
	}
	if wrong := missing(r, e); wrong != "" {
		t.Fatalf("%s: %s: %s", r.topic, wrong, r.value)
	}
	return e
}

func missing(r record, e event) string {
	if e.Service == "" || e.Version == "" && e.Change != "breaker" {
		return "no service or version"
	}
	if r.topic == TopicChanges {
		release := e.PreviousVersion != "" && slices.Contains([]string{"deploy", "rollback"}, e.Change)
		if e.Kind != "change" || !release && (e.Change != "breaker" || e.State == "") {
			return "not a change"
		}
		return ""
	}
	if e.Session == "" || r.key != e.Session || e.Step == "" || e.Region == "" {
		return "the key is not the session, or no step or region"
	}
	switch {
	case r.topic == TopicLatency && e.Kind == "latency":
		if e.Endpoint == "" || e.Status == nil || e.DurationMs == nil || *e.DurationMs < 0 {
			return "not a latency"
		}
	case r.topic == TopicErrors && e.Kind == "error":
		if e.ErrorType == "" || e.Message == "" {
			return "not an error"
		}
	case r.topic == TopicSteps && e.Kind == "step":
		leaves := e.Action == "complete" || e.Action == "abandon"
		if !leaves && e.Action != "enter" || leaves != (e.DwellMs != nil) {
			return "not a step"
		}
	default:
		return "the kind is not the topic's"
	}
	return ""
}
