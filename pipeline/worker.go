package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/registry"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// Worker is one process of a pipeline: it takes part in both stages. Start more of them to scale.
type Worker struct {
	name    string // in the heartbeat and in /healthz
	cfg     *Config
	rules   *rules.File
	client  *kafka.Client
	broker  broker
	now     func() time.Time // only to decide when to write something, never what
	log     *zap.Logger
	metrics *workerMetrics
	hints   *hints
	schemas *registry.Client // nil without a registry
	onTell  func(detector.Output)
	hangup  <-chan os.Signal

	watchEvery time.Duration    // how often it is looked whether topics have other partitions
	outputs    map[string][]int // partitions of all topics

	mu       sync.Mutex
	health   map[stageTask]wire.HealthTask // of this worker's tasks
	totals   detector.Totals
	inForce  wire.HealthRules
	settings []string            // in what those of tasks differ
	missing  map[string][]string // topics, by stage

	seen atomic.Pointer[map[string]int] // partitions of what the first stage reads, as it has seen them last; nil: it has not
}

type stageTask struct {
	stage string
	task  int
}

// WorkerOptions are what a worker is made of.
type WorkerOptions struct {
	Config *Config
	Rules  *rules.File
	Client *kafka.Client
	Log    *zap.Logger
	// Tell, where given, is called with every message after it was committed. It must not block.
	Tell func(detector.Output)
	// Hangup, where given, tells the worker to put its rule file in force, although it may not have changed.
	Hangup <-chan os.Signal
}

// NewWorker makes a worker; Run works.
func NewWorker(o WorkerOptions) *Worker {
	if o.Tell == nil {
		o.Tell = func(detector.Output) {}
	}
	w := &Worker{
		name: workerName(), cfg: o.Config, rules: o.Rules, client: o.Client, log: o.Log, onTell: o.Tell, hangup: o.Hangup, hints: newHints(), metrics: newMetrics(), now: time.Now, watchEvery: 5 * time.Second,
		health: map[stageTask]wire.HealthTask{}, missing: map[string][]string{},
	}
	w.broker = &kafkaBroker{cfg: o.Config, client: o.Client, fetch: fetch.Config{
		Dialer: o.Config.newDialer(), Brokers: o.Config.Brokers, Isolation: kafka.ReadCommitted,
		OnError: seldom(func(err error) { o.Log.Warn("reading goes on after an error", zap.Error(err)) }),
	}}
	if r := o.Config.Registry; r.URL != "" {
		w.schemas = registry.New(registry.Config{
			URL: r.URL, User: r.User, Password: r.Password,
			OnError: func(err error) { o.Log.Warn("records wait for their schema", zap.Error(err)) },
		})
	}
	return w
}

// Run works until ctx is done, which is no error. It refuses to begin when a topic is missing or has another number of partitions than tasks.
func (w *Worker) Run(ctx context.Context) error {
	w.log.Info("worker starts", zap.String("worker", w.name), zap.String("version", Version), zap.String("pipeline", w.cfg.Pipeline), zap.Strings("brokers", w.cfg.Brokers),
		zap.Strings("sources", w.sourceTopics()), zap.String("http", w.cfg.HTTP.Listen))
	defer context.AfterFunc(ctx, func() { w.log.Info("told to stop: what is being committed is finished first") })()
	err := ignoreCancelled(w.work(ctx))
	if err == nil {
		w.log.Info("worker has stopped")
	}
	return err
}

// sourceTopics are the topics of the sources.
func (w *Worker) sourceTopics() (topics []string) {
	for _, s := range w.cfg.Sources {
		topics = append(topics, s.Topic)
	}
	return topics
}

// work is what Run does.
func (w *Worker) work(ctx context.Context) error {
	if err := w.verify(ctx); err != nil {
		return err
	}
	// Before anything that others notice: a worker that cannot have its address is not to put rules in force, or to take tasks.
	listener, err := w.listen(ctx)
	if err != nil {
		return err
	}
	keeper, err := w.keepRules(ctx)
	if err != nil {
		if listener != nil {
			_ = listener.Close()
		}
		return err
	}
	aggregate := &stage{
		name: "aggregate", group: w.groupID("aggregate"), tasks: w.cfg.Tasks.Aggregate, run: w.runAggregate, broker: w.broker, log: w.log, every: w.watchEvery, failed: w.failed("aggregate"), missed: w.missed("aggregate"), looked: func(found map[string]int) { w.seen.Store(&found) },
		topics: append([]string{w.cfg.Topics.Marks}, w.sourceTopics()...),
	}
	judge := &stage{
		name: "judge", group: w.groupID("judge"), tasks: w.cfg.Tasks.Judge, run: w.runJudge, broker: w.broker, log: w.log, every: w.watchEvery, failed: w.failed("judge"), missed: w.missed("judge"), looked: func(map[string]int) {},
		topics: []string{w.cfg.Topics.Panes},
	}
	return together(ctx,
		func(ctx context.Context) error { return aggregate.serve(ctx, w.cfg, w.client) },
		func(ctx context.Context) error { return judge.serve(ctx, w.cfg, w.client) },
		w.readHints,
		func(ctx context.Context) error { return w.serveHTTP(ctx, listener) },
		w.heartbeat,
		w.askRegistry,
		func(ctx context.Context) error { return keeper.run(ctx, w.hangup) },
	)
}

// askRegistry asks for schemas until ctx is done.
func (w *Worker) askRegistry(ctx context.Context) error {
	if w.schemas == nil {
		return nil
	}
	return w.schemas.Run(ctx)
}

// verify looks at the topics. The one of a source that was read is allowed to be missing: a worker that comes back would else stop what the others go on with.
func (w *Worker) verify(ctx context.Context) error {
	states, err := w.cfg.VerifyTopics(ctx, w.client, false)
	if err != nil {
		return err
	}
	var problems, missing []TopicState
	w.outputs = map[string][]int{}
	for _, s := range states {
		if s.Warning != "" {
			w.log.Warn(s.Warning)
		}
		switch {
		case s.Problem != "" && s.Partitions == 0 && slices.Contains(w.sourceTopics(), s.Topic):
			missing = append(missing, s)
		case s.Problem != "":
			problems = append(problems, s)
		}
		for p := range s.Partitions {
			w.outputs[s.Topic] = append(w.outputs[s.Topic], p)
		}
	}
	read := map[string]bool{}
	if len(problems) == 0 && len(missing) > 0 {
		if read, err = w.wereRead(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, s := range append(problems, missing...) {
		if read[s.Topic] {
			w.log.Error("a source is missing: nothing is read of it; what is made anew under its name is another topic", zap.String("topic", s.Topic))
		} else {
			errs = append(errs, errors.New(s.Problem))
		}
	}
	if len(errs) > 0 {
		return &TopicError{errors.Join(errs...)}
	}
	return nil
}

// wereRead are the topics that tasks have told to be sources.
func (w *Worker) wereRead(ctx context.Context) (map[string]bool, error) {
	topics := map[string]bool{}
	_, err := w.readControl(ctx, 0, func(r *fetch.Record) {
		if c, err := wire.DecodeControl(r.Value, w.cfg.RuleOptions()); err == nil && c.Settings != nil {
			for topic := range c.Settings.Sources {
				topics[topic] = true
			}
		}
	})
	return topics, err
}

// TopicError says which topics are not as they have to be.
type TopicError struct{ error }

func (e *TopicError) Unwrap() error { return e.error }

// together runs all functions until they have ended; the first error ends the others.
func together(ctx context.Context, run ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(run))
	for _, f := range run {
		go func() { errs <- f(ctx) }()
	}
	var first error
	for range run {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

func (w *Worker) groupID(stage string) string { return "sevwatch." + w.cfg.Pipeline + "." + stage }

func (w *Worker) transactionalID(stage string, task int) string {
	return fmt.Sprintf("sevwatch.%s.%s.%d", w.cfg.Pipeline, stage, task)
}

// isolation is how a topic is read: our own topics read committed, a source as it is configured.
func (w *Worker) isolation(topic string) kafka.IsolationLevel {
	for _, s := range w.cfg.Sources {
		if s.Topic == topic {
			return s.Isolation.level()
		}
	}
	return kafka.ReadCommitted
}

// partitionSet is which source partitions there are in all. Partitions are only ever added, so their number is the version of the set.
func partitionSet(sources map[string]int) detector.PartitionSet {
	set := detector.PartitionSet{Topics: sources}
	for _, n := range set.Topics {
		set.Version += n
	}
	return set
}

// message makes a record ready to be sent; the partition is that of its key, as Kafka's own producers choose it.
func (w *Worker) message(topic string, r wire.Record) kafka.Message {
	m := kafka.Message{Topic: topic, Key: r.Key, Value: r.Value, Time: time.UnixMilli(max(r.Time, 0))}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
	}
	if partitions := w.outputs[topic]; len(partitions) > 1 {
		m.Partition = kafka.Murmur2Balancer{Consistent: true}.Balance(m, partitions...)
	}
	return m
}

// judgeOf is the judge task that a domain belongs to.
func (w *Worker) judgeOf(domain string) int { return judgeOf(domain, w.outputs[w.cfg.Topics.Panes]) }

// judgeOf is that of all judge tasks, in their order.
func judgeOf(domain string, judges []int) int {
	return kafka.Murmur2Balancer{Consistent: true}.Balance(kafka.Message{Key: []byte(domain)}, judges...)
}

// tell says what was committed.
func (w *Worker) tell(o detector.Output) {
	if i := o.Incident; i != nil {
		w.metrics.incident(string(i.Transition), strings.ToLower(i.Severity.String()))
		w.log.Info("incident", zap.String("incident", i.ID), zap.Int("revision", i.Revision), zap.String("transition", string(i.Transition)),
			zap.Stringer("severity", i.Severity), zap.String("rule", i.Rule.Name), zap.String("reason", i.Reason))
	}
	w.onTell(o)
}

// Edge is the event time, in epoch ms, up to which all judge tasks of this worker have closed panes.
func (w *Worker) Edge() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	edge := noLow
	for key, h := range w.health {
		if key.stage == "judge" && (h.Edge == nil || int64(*h.Edge) < edge) {
			edge = unknown
			if h.Edge != nil {
				edge = int64(*h.Edge)
			}
		}
	}
	if edge == noLow {
		return unknown
	}
	return edge
}

// Totals are the accounts of all source partitions, as this worker's judge tasks have last heard them.
func (w *Worker) Totals() detector.Totals {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.totals
}

// report keeps the latest word of a task for the heartbeat.
func (w *Worker) report(stage string, h wire.HealthTask) {
	w.metrics.task(&h)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health[stageTask{stage, h.Task}] = h
}

// retire forgets a task that this worker no longer has.
func (w *Worker) retire(stage string, task int) {
	w.metrics.retire(stage, task)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.health, stageTask{stage, task})
}

// failed keeps why a task of a stage begins again, until it is at work.
func (w *Worker) failed(stage string) func(task int, err error) {
	return func(task int, err error) {
		if err == nil {
			w.retire(stage, task)
			return
		}
		w.metrics.failures(stage).Inc()
		w.report(stage, wire.HealthTask{Task: task, Problem: err.Error()})
	}
}

// missed keeps which topics of a stage are missing.
func (w *Worker) missed(stage string) func(topics []string) {
	return func(topics []string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.missing[stage] = topics
		n := 0
		for _, topics := range w.missing {
			n += len(topics)
		}
		w.metrics.missing(n)
	}
}

// setRules keeps which rules are in force, and in what the settings differ, for the heartbeat.
func (w *Worker) setRules(r wire.HealthRules, settings []string) {
	w.metrics.differ(r.Problem != "", len(settings) > 0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inForce, w.settings = r, settings
}

// account keeps the accounts that a judge task has heard. Every judge hears those of all partitions; the one that is furthest counts.
func (w *Worker) account(t detector.Totals) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.totals.Before(t) {
		w.totals = t
	}
}
