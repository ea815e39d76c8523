package pipeline

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
)

// heartbeatEvery is how often a worker says that it lives.
const heartbeatEvery = 10 * time.Second

// Version is the program's version, as the heartbeat tells it.
const Version = "0.1.0"

// heartbeat writes to the health topic until ctx is done. Whoever depends on us pages on its absence, so failing to write is logged and
// tried again at the next beat.
func (w *Worker) heartbeat(ctx context.Context) error {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		h := w.beat()
		res, err := w.client.Produce(ctx, &kafka.ProduceRequest{
			Topic: w.cfg.Topics.Health, Partition: 0, RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{
				Time: time.Now(), Key: kafka.NewBytes([]byte(h.Worker)), Value: kafka.NewBytes(wire.JSON(h)),
			}),
		})
		if err == nil {
			err = res.Error
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("writing the heartbeat", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// workerName names a process from its start to its end.
func workerName() string {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // which never fails
	return hex.EncodeToString(id)
}

// beat is the heartbeat's message, and what /healthz answers.
func (w *Worker) beat() wire.Health {
	h := wire.Health{
		V: 1, Pipeline: w.cfg.Pipeline, Worker: w.name, Time: detector.Millis(time.Now().UnixMilli()), Version: Version,
		Aggregate: []wire.HealthTask{}, Judge: []wire.HealthTask{},
	}
	h.Rejected, h.Late = w.metrics.totals()
	h.Sources = w.metrics.lateness()
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.inForce; r.InForce != "" {
		h.Rules = &r
	}
	h.Settings = w.settings
	for _, stage := range slices.Sorted(maps.Keys(w.missing)) {
		h.Missing = append(h.Missing, w.missing[stage]...)
	}
	for key, task := range w.health {
		if key.stage == "aggregate" {
			h.Aggregate = append(h.Aggregate, task)
		} else {
			h.Judge = append(h.Judge, task)
		}
	}
	byTask := func(x, y wire.HealthTask) int { return x.Task - y.Task }
	slices.SortFunc(h.Aggregate, byTask)
	slices.SortFunc(h.Judge, byTask)
	return h
}

// seldom says each error, by its text but for digits, at most once in sayEvery: ports are others each time.
func seldom(say func(error)) func(error) {
	var mu sync.Mutex
	said := map[string]time.Time{}
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		maps.DeleteFunc(said, func(_ string, at time.Time) bool { return time.Since(at) > sayEvery })
		text := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return '0'
			}
			return r
		}, err.Error())
		if _, ok := said[text]; !ok {
			said[text] = time.Now()
			say(err)
		}
	}
}

// known is a time, nil where it is not known.
func known(at int64) *detector.Millis {
	if at == unknown {
		return nil
	}
	return new(detector.Millis(at))
}

// listen takes the address that is served; nil where the configuration says none.
func (w *Worker) listen(ctx context.Context) (net.Listener, error) {
	if w.cfg.HTTP.Listen == "none" {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", w.cfg.HTTP.Listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", w.cfg.HTTP.Listen, err)
	}
	return listener, nil
}

// serveHTTP serves /metrics, /healthz and profiles until ctx is done, if there is a listener.
func (w *Worker) serveHTTP(ctx context.Context, listener net.Listener) error {
	if listener == nil {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.metrics.set.WritePrometheus(rw)
		metrics.WriteProcessMetrics(rw)
	})
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write(wire.JSON(w.beat()))
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve http: %w", err)
	}
	return nil
}
