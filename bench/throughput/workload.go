package main

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"sevwatch/bench/minutes"
)

// workload is the events that are read: those of the comparison with other engines, one a millisecond of event time, spread over the
// partitions in turn, so that no partition has a series for itself.
type workload struct {
	events     int
	partitions int
	series     int // 10, 1000 or 100000, nearly: 10, 1008 and 100800
	codec      kafka.Compression
}

// begin is the time of the first event.
var begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// last is the time of the last event, in epoch ms. One more event a partition follows it, late enough to close its pane.
func (w *workload) last() int64 { return begin.UnixMilli() + int64(w.events) }

const timeLayout = "2006-01-02T15:04:05.000Z"

// tail is how long after the last event those come that close its pane: a pane and the lateness.
const tail = 20_001

var (
	endpoints = []string{"/v1/answers", "/v1/questions", "/v1/submit", "/v1/session", "/v1/score", "/v1/profile", "/v1/media", "/v1/progress"}
	steps     = []string{"welcome", "consent", "profile", "questions", "review", "submit", "result"}
	regions   = []string{"eu-west", "us-east", "ap-south"}
)

// each makes every event and what it counts as. The value holds until the next.
func (w *workload) each(take func(partition int, at time.Time, value []byte, e minutes.Event) error) error {
	r := rand.New(rand.NewSource(1))
	at := begin
	var value []byte
	for i := range w.events + w.partitions {
		if at = at.Add(time.Millisecond); i == w.events {
			at = at.Add(tail * time.Millisecond)
		}
		duration := 20 + r.ExpFloat64()*80
		status := 200
		if r.Float64() < 0.01 {
			status = 500
		}
		endpoint, step, region, version := endpoints[r.Intn(8)], steps[r.Intn(7)], regions[r.Intn(3)], r.Intn(3)+40
		session := r.Uint64()
		switch {
		case w.series <= 10:
			endpoint, step, region, version = endpoints[session%5], steps[0], regions[0], 40
		case w.series > 1008:
			endpoint = fmt.Sprintf("%s/%02d", endpoint[:8], session%100)
		}
		value = fmt.Appendf(value[:0], `{"time":"%s","kind":"latency","service":"assessment-api","endpoint":"%s","step":"%s","region":"%s",`+
			`"version":"1.%d.0","session":"%016x","status":%d,"duration_ms":`,
			at.Format(timeLayout), endpoint, step, region, version, session, status)
		value = append(strconv.AppendFloat(value, duration, 'f', 3, 64), '}')
		e := minutes.Event{Key: minutes.Key{Service: "assessment-api", Endpoint: endpoint}, Time: at.UnixMilli(), Failed: status >= 500, Duration: duration}
		if err := take(i%w.partitions, at, value, e); err != nil {
			return err
		}
	}
	return nil
}

// batchEvents is how many events a record batch has: some 900 kB.
const batchEvents = 3500

// produce writes a batch.
func produce(ctx context.Context, client *kafka.Client, topic string, partition int, codec kafka.Compression, records []kafka.Record) error {
	return patiently(ctx, func() error {
		for _, r := range records {
			if _, err := r.Value.(io.Seeker).Seek(0, io.SeekStart); err != nil {
				return backoff.Permanent(err)
			}
		}
		res, err := client.Produce(ctx, &kafka.ProduceRequest{
			Topic: topic, Partition: partition, RequiredAcks: kafka.RequireOne, Compression: codec, Records: protocol.NewRecordReader(records...),
		})
		if err == nil {
			err = res.Error
		}
		return err
	})
}

// patiently does what may fail because a topic is younger than the client's view of the cluster.
func patiently(ctx context.Context, do func() error) error {
	return backoff.Retry(do, backoff.WithContext(backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(30*time.Second)), ctx))
}

// write fills the topic and returns what is in it, counted without any of the code that is measured.
func (w *workload) write(ctx context.Context, client *kafka.Client, topic string) (*minutes.Truth, error) {
	truth := minutes.NewTruth()
	full := make([][]kafka.Record, w.partitions)
	send := func(p int) error {
		if len(full[p]) == 0 {
			return nil
		}
		if err := produce(ctx, client, topic, p, w.codec, full[p]); err != nil {
			return fmt.Errorf("cannot write to %s/%d: %w", topic, p, err)
		}
		full[p] = full[p][:0]
		return nil
	}
	err := w.each(func(p int, at time.Time, value []byte, e minutes.Event) error {
		truth.Add(e)
		full[p] = append(full[p], kafka.Record{Time: at, Value: kafka.NewBytes(append([]byte(nil), value...))})
		if len(full[p]) == batchEvents {
			return send(p)
		}
		return nil
	})
	for p := range full {
		if err == nil {
			err = send(p)
		}
	}
	return truth, err
}
