package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
)

// workerMetrics are what a worker tells of itself at /metrics. Their names are for ever: docs/adr/0006-metrics.md lists them.
type workerMetrics struct {
	set            *metrics.Set
	counted        *metrics.Counter
	rejects, lates atomic.Int64

	mu      sync.Mutex
	sources map[string]*sourceLateness // by topic
}

// sourceLateness is how late the records of a source came that this worker has read.
type sourceLateness struct {
	late   int64
	behind detector.Behind
}

// keptPerMille is the share of a source's records that the lateness which we advise would have kept.
const keptPerMille = 999

func newMetrics() *workerMetrics {
	m := &workerMetrics{set: metrics.NewSet(), sources: map[string]*sourceLateness{}}
	m.counted = m.set.NewCounter("sevwatch_events_counted_total")
	for _, stage := range []string{"aggregate", "judge"} {
		m.failures(stage)
	}
	return m
}

func (m *workerMetrics) reject(topic, reason string) {
	m.rejects.Add(1)
	m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_events_rejected_total{topic=%q,reason=%q}", topic, reason)).Inc()
}

func (m *workerMetrics) late(topic string) {
	m.lates.Add(1)
	m.mu.Lock()
	m.source(topic).late++
	m.mu.Unlock()
	m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_events_late_total{topic=%q}", topic)).Inc()
}

// behind takes in how far records of a source came behind their partition.
func (m *workerMetrics) behind(topic string, b detector.Behind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.source(topic).behind.Add(b)
}

// source is what is kept of a topic. It has to be called under the lock.
func (m *workerMetrics) source(topic string) *sourceLateness {
	s := m.sources[topic]
	if s == nil {
		s = &sourceLateness{}
		m.sources[topic] = s
		m.set.NewGauge(fmt.Sprintf("sevwatch_needed_lateness_seconds{topic=%q}", topic), func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return float64(s.behind.Lateness(keptPerMille)) / 1000
		})
	}
	return s
}

// lateness is what the heartbeat tells of each source, by topic.
func (m *workerMetrics) lateness() []wire.HealthSource {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []wire.HealthSource
	for _, topic := range slices.Sorted(maps.Keys(m.sources)) {
		s := m.sources[topic]
		out = append(out, wire.HealthSource{Topic: topic, Late: s.late, NeededLatenessMs: s.behind.Lateness(keptPerMille)})
	}
	return out
}

func (m *workerMetrics) duplicate(topic string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_events_duplicate_total{topic=%q}", topic)).Inc()
}

// sessions tells how many visits a task remembers, and how attempts have ended that it has just committed.
func (m *workerMetrics) sessions(task, visits int, attempts map[string]int64) {
	m.set.GetOrCreateGauge(fmt.Sprintf("sevwatch_visits{task=\"%d\"}", task), nil).Set(float64(visits))
	for action, n := range attempts {
		m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_attempts_total{action=%q}", action)).Add(int(n))
	}
}

func (m *workerMetrics) commit(stage string, took time.Duration) {
	m.set.GetOrCreatePrometheusHistogram(fmt.Sprintf("sevwatch_commit_seconds{stage=%q}", stage)).Update(took.Seconds())
}

func (m *workerMetrics) failures(stage string) *metrics.Counter {
	return m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_task_failures_total{stage=%q}", stage))
}

func (m *workerMetrics) incident(transition, severity string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_incident_revisions_total{transition=%q,severity=%q}", transition, severity)).Inc()
}

func (m *workerMetrics) waiting(task, partitions int) {
	m.set.GetOrCreateGauge(fmt.Sprintf("sevwatch_waiting_partitions{task=\"%d\"}", task), nil).Set(float64(partitions))
}

// task tells how far a task is, until this worker no longer has it: where another has it, that one tells.
func (m *workerMetrics) task(h *wire.HealthTask) {
	at := func(name string, value float64) {
		m.set.GetOrCreateGauge(fmt.Sprintf(name, h.Task), nil).Set(value)
	}
	if h.Lag != nil {
		at(`sevwatch_lag_records{task="%d"}`, float64(*h.Lag))
	}
	if h.Watermark != nil {
		at(`sevwatch_watermark_timestamp_seconds{task="%d"}`, float64(*h.Watermark)/1000)
	}
	if h.Edge != nil {
		at(`sevwatch_edge_timestamp_seconds{task="%d"}`, float64(*h.Edge)/1000)
	}
}

// retire forgets what only the worker that has a task tells.
func (m *workerMetrics) retire(stage string, task int) {
	names := []string{
		`sevwatch_lag_records{task="%d"}`, `sevwatch_watermark_timestamp_seconds{task="%d"}`, `sevwatch_waiting_partitions{task="%d"}`, `sevwatch_visits{task="%d"}`,
	}
	if stage == "judge" {
		names = []string{
			`sevwatch_edge_timestamp_seconds{task="%d"}`, `sevwatch_series{task="%d"}`, `sevwatch_groups{task="%d"}`, `sevwatch_open_incidents{task="%d"}`,
			`sevwatch_overflow_events{task="%d"}`, `sevwatch_refused_incidents{task="%d"}`, `sevwatch_lost_offsets{task="%d"}`,
		}
	}
	for _, name := range names {
		m.set.UnregisterMetric(fmt.Sprintf(name, task))
	}
}

func (m *workerMetrics) lost(task int, offsets int64) {
	m.set.GetOrCreateGauge(fmt.Sprintf("sevwatch_lost_offsets{task=\"%d\"}", task), nil).Set(float64(offsets))
}

func (m *workerMetrics) missing(topics int) {
	m.set.GetOrCreateGauge("sevwatch_missing_topics", nil).Set(float64(topics))
}

// differ tells whether what a worker was given is not what runs.
func (m *workerMetrics) differ(rules, settings bool) {
	at := func(name string, differ bool) {
		value := 0.0
		if differ {
			value = 1
		}
		m.set.GetOrCreateGauge(name, nil).Set(value)
	}
	at("sevwatch_rules_differ", rules)
	at("sevwatch_settings_differ", settings)
}

// kept tells how much a judge task keeps, and what it met at its limits.
func (m *workerMetrics) kept(task int, j *detector.Judge) {
	set := func(name string, v float64) {
		m.set.GetOrCreateGauge(fmt.Sprintf("%s{task=\"%d\"}", name, task), nil).Set(v)
	}
	series, groups := j.Live()
	at := j.AtLimits()
	set("sevwatch_series", float64(series))
	set("sevwatch_groups", float64(groups))
	set("sevwatch_open_incidents", float64(j.Open()))
	set("sevwatch_overflow_events", float64(at.Overflow))
	set("sevwatch_refused_incidents", float64(at.Refused))
}

// totals are how many records this worker has rejected and found late.
func (m *workerMetrics) totals() (rejected, late int64) { return m.rejects.Load(), m.lates.Load() }
