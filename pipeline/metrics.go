package pipeline

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// workerMetrics are what a worker tells of itself at /metrics. Their names are for ever: docs/adr/0006-metrics.md lists them.
type workerMetrics struct {
	set            *metrics.Set
	counted        *metrics.Counter
	rejects, lates atomic.Int64
}

func newMetrics() *workerMetrics {
	m := &workerMetrics{set: metrics.NewSet()}
	m.counted = m.set.NewCounter("sevwatch_events_counted_total")
	return m
}

func (m *workerMetrics) reject(topic, reason string) {
	m.rejects.Add(1)
	m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_events_rejected_total{topic=%q,reason=%q}", topic, reason)).Inc()
}

func (m *workerMetrics) late(topic string) {
	m.lates.Add(1)
	m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_events_late_total{topic=%q}", topic)).Inc()
}

func (m *workerMetrics) commit(stage string, took time.Duration) {
	m.set.GetOrCreatePrometheusHistogram(fmt.Sprintf("sevwatch_commit_seconds{stage=%q}", stage)).Update(took.Seconds())
}

func (m *workerMetrics) incident(transition, severity string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("sevwatch_incident_revisions_total{transition=%q,severity=%q}", transition, severity)).Inc()
}

func (m *workerMetrics) waiting(task, partitions int) {
	m.set.GetOrCreateGauge(fmt.Sprintf("sevwatch_waiting_partitions{task=\"%d\"}", task), nil).Set(float64(partitions))
}

func (m *workerMetrics) lost(task int, offsets int64) {
	m.set.GetOrCreateGauge(fmt.Sprintf("sevwatch_lost_offsets{task=\"%d\"}", task), nil).Set(float64(offsets))
}

// totals are how many records this worker has rejected and found late.
func (m *workerMetrics) totals() (rejected, late int64) { return m.rejects.Load(), m.lates.Load() }
