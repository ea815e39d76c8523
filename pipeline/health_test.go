package pipeline

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/pipeline/wire/schema"
	"sevwatch/rules"
)

// TestHealthz: what a worker answers is a message as it writes them to the health topic, under the same name.
func TestHealthz(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	free := listener.Addr().String()
	check(t, listener.Close())
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, func(c *Config) { c.HTTP.Listen = free })
	_, stop := p.start()
	defer stop()
	var answer []byte
	p.until("an answer", func() bool {
		req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, "http://"+free+"/healthz", nil)
		check(t, err)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		answer, err = io.ReadAll(res.Body)
		return err == nil
	})
	if err := schema.Validate("health.v1", answer); err != nil {
		t.Errorf("%s: %v", answer, err)
	}
	name := func(message []byte) string {
		var h wire.Health
		check(t, json.Unmarshal(message, &h))
		return h.Worker
	}
	p.until("a heartbeat", func() bool { return len(p.read(p.cfg.Topics.Health)) > 0 })
	if on := p.read(p.cfg.Topics.Health)[0]; name(on.Value) != name(answer) || string(on.Key) != name(answer) {
		t.Errorf("the heartbeat is of %q under the key %q, the answer of %q", name(on.Value), on.Key, name(answer))
	}
}

// What a task tells of itself is at /metrics as long as the worker has it.
func TestTaskMetrics(t *testing.T) {
	w := NewWorker(WorkerOptions{Config: &Config{}, Rules: &rules.File{}, Log: zap.NewNop()})
	lag, at := int64(7), detector.Millis(1_793_534_409_500)
	names := []string{`sevwatch_lag_records{task="3"} 7`, `sevwatch_watermark_timestamp_seconds{task="3"} 1.7935344095e+09`, `sevwatch_edge_timestamp_seconds{task="2"} 1.7935344095e+09`}
	told := func() string {
		var out strings.Builder
		w.metrics.set.WritePrometheus(&out)
		return out.String()
	}
	w.report("aggregate", wire.HealthTask{Task: 3, Lag: &lag, Watermark: &at})
	w.report("judge", wire.HealthTask{Task: 2, Edge: &at})
	for _, name := range names {
		if !strings.Contains(told(), name+"\n") {
			t.Errorf("the metrics lack %s:\n%s", name, told())
		}
	}
	w.metrics.waiting(3, 1)
	w.metrics.lost(2, 1)
	w.retire("aggregate", 3)
	w.retire("judge", 2)
	if strings.Contains(told(), "task=") {
		t.Errorf("the worker has no task, and tells\n%s", told())
	}
}

// The partition that others wait for is named: of those that are as far behind, one that was not read to its end.
func TestSlowest(t *testing.T) {
	agg := detector.NewAggregator(detector.DefaultConfig(), 0, 1)
	task := &aggregateTask{}
	add := func(topic string, watermark int64, caughtUp bool) {
		state := detector.NewPartitionState()
		state.Watermark = watermark
		task.order = append(task.order, &source{Partition: agg.Add(detector.Source{Topic: topic}, 0, state), caughtUp: caughtUp})
	}
	f := func(want string) {
		t.Helper()
		if got := task.slowest(); got == nil || got.Topic != want {
			t.Errorf("the slowest is %v, expected %s", got, want)
		}
	}
	if got := task.slowest(); got != nil {
		t.Errorf("without partitions %v is the slowest", got.Source)
	}
	add("a", 200, true)
	f("a")
	add("b", 100, true)
	add("c", 100, false)
	add("d", 300, false)
	f("c")
	add("e", unknown, true)
	f("e")
}
