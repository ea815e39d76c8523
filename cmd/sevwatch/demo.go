package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"

	"sevwatch/cmd/sevwatch/demo"
	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/rules"
)

type demoCmd struct {
	Seed  uint64  `help:"Of the visitors' arrivals and choices." default:"1"`
	Scale float64 `help:"Stretches the script, 170 s long at 1." default:"1"`
}

// demoSpeed is how much shorter the runbook's windows are in the demo.
const demoSpeed = 10

// Run plays the whole main job: an embedded broker, a service with a crowd and faults, and sevwatch watching them.
func (c *demoCmd) Run(w world) error {
	if c.Scale == 0 { // which the world takes for its default
		return exit{exitUsage, errors.New("--scale is 0, expected more: at 0.5 the script takes half the time")}
	}
	cfg, broker, err := demoBroker()
	if err != nil {
		return exit{exitWorld, err}
	}
	defer broker.Close()
	client, err := demoTopics(w.ctx, cfg)
	if err != nil {
		return exit{exitWorld, err}
	}
	name, data := rules.Runbook()
	file, err := rules.Parse(name, data, cfg.RuleOptions())
	if err != nil {
		return exit{exitUsage, err}
	}
	sink := newKafkaSink(cfg)
	screen := newScreen(w.stdout, file)
	people, err := demo.New(demo.Options{Seed: c.Seed, Scale: c.Scale, Sink: sink, OnFault: screen.fault})
	if err != nil {
		return exit{exitUsage, err}
	}
	operator := newOperator(cfg, client, people, screen)
	worker := pipeline.NewWorker(pipeline.WorkerOptions{
		Config: cfg, Rules: demoRules(file), Client: client, Log: newLogger(w, false, zap.WarnLevel), Tell: screen.tell,
	})
	screen.begin(people.Length())
	err = c.play(w.ctx, people, sink, worker, operator)
	if err != nil {
		return exit{exitWorld, err}
	}
	if w.ctx.Err() != nil {
		return nil
	}
	if !screen.end(people, worker.Totals(), sink.refused()) {
		return exit{exitFound, errQuiet}
	}
	return nil
}

// play runs the world to its end and the worker until it has judged everything that happened.
func (c *demoCmd) play(ctx context.Context, people *demo.World, sink *kafkaSink, worker *pipeline.Worker, on *operator) error {
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	calls.Go(func() { on.run(ctx) })
	defer calls.Wait()
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	if err := people.Run(ctx); err != nil {
		return errors.Join(err, sink.close())
	}
	if err := sink.close(); err != nil {
		return fmt.Errorf("cannot write the demo's events: %w", err)
	}
	last := time.Now().UnixMilli()
	for ticker := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if worker.Edge() < last {
				continue
			}
			ticker.Stop()
			cancel()
			return <-done
		}
	}
}

// demoBroker starts the embedded broker on a free port, and says how a pipeline on it is configured.
func demoBroker() (*pipeline.Config, *kfake.Cluster, error) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot start the embedded broker: %w", err)
	}
	text := fmt.Sprintf("{pipeline: demo, brokers: [%q], pane: 1s, lateness: 1s, tasks: {aggregate: 2}, topics: {replication: 1}, http: {listen: none}}",
		broker.ListenAddrs()[0])
	cfg, err := pipeline.ParseConfig("demo.yaml", []byte(text))
	if err != nil {
		broker.Close()
		return nil, nil, err
	}
	for i := range cfg.Sources {
		cfg.Sources[i].CountSessions = true
	}
	return cfg, broker, nil
}

func demoTopics(ctx context.Context, cfg *pipeline.Config) (*kafka.Client, error) {
	client, err := cfg.Connect(ctx, pipeline.Patience)
	if err != nil {
		return nil, err
	}
	states, err := cfg.VerifyTopics(ctx, client, true)
	for _, s := range states {
		if s.Problem != "" {
			err = errors.Join(err, errors.New(s.Problem))
		}
	}
	return client, err
}

// demoRules are the runbook's with all times demoSpeed times shorter, so that a demo takes minutes. Shares and milliseconds stay.
func demoRules(file *rules.File) *rules.File {
	shorter := func(d rules.Duration) rules.Duration {
		return max(d/demoSpeed/1000, min(1, d)) * 1000
	}
	file.Text = nil // no file says what these are
	file.Correlate.Within = shorter(file.Correlate.Within)
	for _, r := range file.Rules() {
		r.Window = shorter(r.Window)
		r.FlapWindow = shorter(r.FlapWindow)
		keep := shorter(*r.Recover.KeepFiringFor)
		r.Recover.KeepFiringFor = &keep
		for i := range r.Severities {
			t := &r.Severities[i]
			t.For = shorter(t.For)
			if r.Signal.Type == rules.SignalAbsence && t.Above != nil {
				silence := *t.Above / demoSpeed
				t.Above = &silence
			}
		}
	}
	return file
}

// kafkaSink writes the demo's events to the broker, in the background.
type kafkaSink struct {
	writer *kafka.Writer
	mu     sync.Mutex
	err    error
	lost   int64
}

func newKafkaSink(cfg *pipeline.Config) *kafkaSink {
	s := &kafkaSink{}
	s.writer = &kafka.Writer{
		Addr: kafka.TCP(cfg.Brokers...), Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll, Async: true,
		BatchTimeout: 20 * time.Millisecond, BatchSize: 1000,
		Completion: func(messages []kafka.Message, err error) {
			if err != nil {
				s.mu.Lock()
				s.err, s.lost = err, s.lost+int64(len(messages))
				s.mu.Unlock()
			}
		},
	}
	return s
}

// Emit takes one event of the world (demo.Sink).
func (s *kafkaSink) Emit(topic string, key, value []byte) {
	_ = s.writer.WriteMessages(context.Background(), kafka.Message{Topic: topic, Key: key, Value: value})
}

// close waits until everything is written.
func (s *kafkaSink) close() error {
	err := s.writer.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.err)
}

// refused is how many events the broker did not take.
func (s *kafkaSink) refused() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// told is an incident as the demo remembers it.
type told struct {
	incident *detector.Incident // its last revision
	peak     rules.Severity
	sessions int64     // the most that it touched
	opened   time.Time // when the first revision was published
	resolved time.Time // and the last one, once it is over
}
