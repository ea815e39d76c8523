package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

var (
	simSeed = flag.Uint64("simseed", 0, "first seed of the simulation; 0: 1")
	simRuns = flag.Int("simruns", 40, "how many schedules the simulation tries")
)

// A schedule of crashes at any operation, lost answers, rebalances, sleeping workers that wake up, and brokers that fail gives the same
// committed messages as a replay of the events, and every event is accounted for.
func TestSimulation(t *testing.T) {
	first := max(*simSeed, 1)
	words, applied, changed, touched, estimated := 0, 0, 0, 0, 0
	var duplicates, attempts int64
	for seed := first; seed < first+uint64(*simRuns); seed++ {
		s := newSimulation(seed)
		if err := s.run(t.Context()); err != nil {
			t.Fatalf("%v\nagain: go test ./pipeline -run '^TestSimulation$' -simseed=%d -simruns=1\n%s", err, seed, s.story())
		}
		words += s.words
		duplicates += s.totals.Duplicate
		attempts += s.attempts
		changed += s.changed
		touched += s.touched
		estimated += s.estimated
		for _, r := range s.broker.records(partition{s.cfg.Topics.Control, 0}) {
			if strings.Contains(string(r.value), `"act":"applied"`) {
				applied++
			}
		}
	}
	if *simRuns >= 40 && (duplicates == 0 || attempts < 500) {
		t.Errorf("the schedules had %d duplicates and %d attempts, expected some, and 500 at least", duplicates, attempts)
	}
	if *simRuns >= 40 && (touched < 100 || estimated == 0) {
		t.Errorf("%d messages say how many sessions are touched, %d of them about how many, expected 100 and 1 at least", touched, estimated)
	}
	if *simRuns >= 40 && (words == 0 || applied == 0 || changed < 100) {
		t.Errorf("people's words have led to %d messages, %d were logged as applied, and %d messages are by rules that came later: expected some, some, and 100 at least",
			words, applied, changed)
	}
}

// simRules are short, so that a schedule of some hundred steps sees whole lives; none needs silence to be on record.
const simRules = `
groups:
  - name: sim
    rules:
      - alert: Errors
        signal: {ratio: {errors: error, total: latency}}
        by: [service]
        window: 3s
        sample: {min: 3}
        severities: [{severity: sev1, above: 0.5, for: 1s}, {severity: sev3, above: 0.2}]
        recover: {keep_firing_for: 1s}
        no_data_timeout: 6s
        reopen_within: 4s
        flap_limit: 4
        flap_window: 5s
      - alert: Slow
        signal: {quantile: {of: latency, q: 0.9}}
        by: [service, region]
        window: 2s
        severities: [{severity: sev2, above: 80, for: 1s}]
        recover: {keep_firing_for: 2s}
      - alert: Many
        signal: {count: 'error{error_type="boom"}'}
        window: 1s
        severities: [{severity: sev4, above: 3}]
        recover: {keep_firing_for: 0s}
      - alert: Left
        signal: {abandonment: {steps: step, against: attempts}}
        by: [step, region]
        window: 2s
        severities: [{severity: sev2, above: 0.7}, {severity: sev3, above: 0.3}]
        recover: {keep_firing_for: 1s}
      - alert: Touched
        signal: {distinct: latency}
        by: [service]
        window: 4s
        severities: [{severity: sev2, above: 250}, {severity: sev3, above: 40, for: 1s}, {severity: sev4, above: 20}]
        recover: {keep_firing_for: 1s}
      - alert: Burning
        signal: {burn_rate: {errors: error, total: latency, objective: 0.9, short: 1s}}
        by: [service]
        window: 4s
        severities: [{severity: sev2, above: 6}, {severity: sev4, above: 2}]
        recover: {keep_firing_for: 1s}
      - alert: Slowest
        signal: {max: latency}
        by: [region]
        window: 3s
        severities: [{severity: sev4, above: 95}]
        recover: {keep_firing_for: 1s}
      - alert: SlowOnAverage
        signal: {mean: latency}
        by: [service]
        window: 2s
        severities: [{severity: sev3, above: 60}]
        recover: {keep_firing_for: 1s}
      - alert: TouchedByLeaving
        signal: {distinct: attempt}
        window: 3s
        severities: [{severity: sev4, above: 2}]
        recover: {keep_firing_for: 1s}
      - alert: NotFollowed
        signal: {count: 'pipeline{name="sessions_full"}'}
        window: 1s
        severities: [{severity: sev4, above: 0}]
        recover: {keep_firing_for: 1s}
`

// simChanges are what the rules can become: other thresholds, a rule less, a new one with a longer window that needs distributions where none did,
// and a file with a mistake.
func simChanges() []string {
	slow := strings.Index(simRules, "      - alert: Slow")
	many := strings.Index(simRules, "      - alert: Many")
	return []string{
		simRules,
		strings.NewReplacer("above: 0.5", "above: 0.6", "above: 80", "above: 90").Replace(simRules),
		simRules[:slow] + simRules[many:],
		simRules[:slow] + simRules[many:] + strings.NewReplacer("Slow", "Slower", "q: 0.9", "q: 0.7", "window: 2s", "window: 5s").Replace(simRules[slow:many]),
		strings.Replace(simRules, "flap_limit: 4", "flap_limit: -4", 1),
	}
}

type simulation struct {
	random    *rand.Rand
	people    *rand.Rand // whose sessions the events come from
	broker    *memory
	cfg       *Config
	rules     *rules.File
	files     []*rules.File // of simChanges, those without a mistake
	workers   []*simWorker
	lines     map[partition][][]byte // what is written to each source partition, in order
	waiting   map[partition]int      // how much of it is written
	gens      map[string]int
	future    map[string]bool // topic, partition and offset of the events that the guard has to reject
	heard     int64           // how far the judges were when they had heard everything
	sameRules bool            // the workers have the same, and the log names none at first
	totals    detector.Totals // what the accounts have to be in the end
	attempts  int64           // that were derived
	log       []string
	words     int        // messages that were told because of them
	changed   int        // messages by rules that came later
	touched   int        // messages that say how many sessions are touched
	estimated int        // of them, about how many
	zombies   []*simTask // tasks whose worker sleeps or does not know yet that they are somebody else's
}

// simWorker is one process.
type simWorker struct {
	*Worker
	name  string
	tasks map[string]*simTask
	from  map[int]int64 // offsets from which it listens to what tasks tell, by their partition of the marks topic
}

// simTask is a task at work; neither is set while it could not be opened.
type simTask struct {
	stage      string
	a          assignment
	seat       *seat
	worker     *simWorker
	aggregate  *aggregateTask
	judge      *judgeTask
	committing func() // a transaction that the broker has not heard of yet
}

const simStart = 1793534400000

func newSimulation(seed uint64) *simulation {
	random := rand.New(rand.NewPCG(seed, 7))
	s := &simulation{
		random: random, broker: newMemory(random, simStart), lines: map[partition][][]byte{}, waiting: map[partition]int{}, gens: map[string]int{},
		future: map[string]bool{},
	}
	text := fmt.Sprintf("{pipeline: sim, brokers: ['none:1'], pane: 1s, lateness: 1s, idle_after: 1s, max_skew: %s, stalled_after: 1s, tasks: {aggregate: %d, judge: %d}, domain: tenant, %s}",
		[]string{"2s", "5s", "1h"}[random.IntN(3)], 1+random.IntN(4), 1+random.IntN(2), simSources(random))
	var err error
	if s.cfg, err = ParseConfig("sim.yaml", []byte(text)); err != nil {
		panic(err)
	}
	s.cfg.Sources[0].Lateness = rules.Duration(1+2*(seed%2)) * second // of the errors
	if seed%6 == 0 {                                                  // more comes than may be kept
		s.cfg.Limits = Limits{Series: 1 + int(seed%5), Groups: 6, Incidents: 1}
	}
	s.people = rand.New(rand.NewPCG(seed, 0x5e55))
	counts := seed%2 == 0
	for i := range s.cfg.Sources {
		s.cfg.Sources[i].CountSessions = counts
	}
	for _, text := range simChanges() {
		if follows := s.cfg.source("assessment.steps").Sessions.Timeout > 0; !counts || !follows {
			text = strings.ReplaceAll(text, "distinct: attempt", "count: attempt")
		}
		if !counts {
			text = strings.ReplaceAll(text, "distinct: latency", "count: latency")
		}
		file, err := rules.Parse("sim.yaml", []byte(text), s.cfg.RuleOptions())
		if err != nil {
			file = &rules.File{Text: []byte(text), Hash: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))}
		}
		s.files = append(s.files, file)
	}
	s.rules = s.files[0]
	for _, spec := range s.cfg.specs() {
		s.broker.makeTopic(spec.name, spec.partitions)
	}
	s.sameRules = random.IntN(4) == 0
	if !s.sameRules { // the first worker has written its rules before it did anything else
		s.tellJudges(wire.JSON(wire.Rules(s.files[random.IntN(4)], 0, "w0")))
	}
	for i := range 2 + random.IntN(2) {
		s.workers = append(s.workers, s.newWorker(fmt.Sprint("w", i)))
	}
	s.invent()
	return s
}

// simSources are the sources, in half of the schedules with what is remembered of events.
func simSources(random *rand.Rand) string {
	duplicates := ""
	if random.IntN(2) == 0 {
		duplicates = fmt.Sprintf(", duplicates: {horizon: 10s, max_ids: %d}", []int{10, 1000}[random.IntN(2)])
	}
	sessions := ""
	if random.IntN(2) == 0 {
		sessions = fmt.Sprintf(", sessions: {timeout: 3s, timeouts: {pay: 1500ms}, max_visits: %d}", []int{5, 1000}[random.IntN(2)])
	}
	return fmt.Sprintf("sources: [{topic: assessment.errors, kind: error%s}, {topic: assessment.latency, kind: latency%s}, "+
		"{topic: assessment.steps, kind: step%s}, {topic: assessment.telemetry}, {topic: assessment.changes, kind: change}]", duplicates, duplicates, sessions)
}

func (s *simulation) newWorker(name string) *simWorker {
	file := s.rules
	if !s.sameRules {
		file = s.files[s.random.IntN(4)]
	}
	w := NewWorker(WorkerOptions{Config: s.cfg, Rules: file, Log: zap.NewNop()})
	w.broker = s.broker
	w.now = func() time.Time { return time.UnixMilli(s.broker.now) }
	w.outputs = map[string][]int{}
	for topic, n := range s.broker.counts {
		for p := range n {
			w.outputs[topic] = append(w.outputs[topic], p)
		}
	}
	from := map[int]int64{}
	for id := range s.cfg.Tasks.Aggregate { // sometimes there is nothing but aborted transactions at the end
		from[id] = s.broker.logs[partition{s.cfg.Topics.Marks, id}].end - int64(s.random.IntN(2)*hintsBack)
	}
	return &simWorker{w, name, map[string]*simTask{}, from}
}

// invent makes the events: some services over some seconds, bursts of errors and slowness, each partition in the order of time but for
// what stays within the lateness. Some clocks are wrong by an hour or two.
func (s *simulation) invent() {
	seconds := 10 + s.random.IntN(20)
	for second := range seconds {
		bad := s.random.IntN(3) == 0
		requests := 5 + s.random.IntN(30)
		if s.people.IntN(100) == 0 { // more sessions in a window than are counted exactly
			requests += 1500
		}
		for range requests {
			kind, topic := "latency", "assessment.latency"
			if bad && s.random.IntN(2) == 0 {
				kind, topic = "error", "assessment.errors"
			}
			at := simStart + int64(second)*1000 + s.random.Int64N(1000)
			e := map[string]any{
				"time": at, "kind": kind, "service": fmt.Sprint("s", s.random.IntN(2)), "region": fmt.Sprint("r", s.random.IntN(2)),
				"tenant": fmt.Sprint("t", s.random.IntN(2)), "id": fmt.Sprint(at, s.random.Int64()),
			}
			if n := s.people.IntN(2000); n%10 > 0 {
				e["session"] = fmt.Sprint("v", n)
			}
			if kind == "latency" {
				e["duration_ms"] = s.random.IntN(100)
			} else {
				e["error_type"] = "boom"
			}
			line, err := json.Marshal(e)
			if err != nil {
				panic(err)
			}
			at2 := partition{topic, s.random.IntN(s.broker.counts[topic])}
			s.lines[at2] = append(s.lines[at2], line)
		}
		s.visit(simStart + int64(second)*1000)
	}
	for _, at := range s.partitions() {
		lateness := int64(s.cfg.source(at.topic).Lateness)
		slices.SortStableFunc(s.lines[at], func(x, y []byte) int { return int(timeOf(x)/lateness - timeOf(y)/lateness) })
		for i := range s.lines[at] {
			if s.random.IntN(20) == 0 {
				liar := fmt.Appendf(nil, `{"time":%d,"kind":"error","error_type":"boom","id":"liar %d"}`, simTomorrow+s.random.Int64N(3_600_000), i)
				s.lines[at] = slices.Insert(s.lines[at], i, liar)
			}
		}
		if d := s.cfg.Engine().Duplicates[at.topic]; d.Horizon > 0 {
			s.repeat(at, d.Max)
		}
	}
}

// visit makes up what visitors do in a second. A visitor's events are in one partition.
func (s *simulation) visit(second int64) {
	for range s.random.IntN(12) {
		visitor := s.random.IntN(10)
		line := fmt.Appendf(nil, `{"time":%d,"session":"v%d","step":%q,"action":%q,"region":"r%d","tenant":"t%d","id":"v%d"}`, second+s.random.Int64N(1000), visitor,
			[]string{"form", "pay"}[s.random.IntN(2)], []string{"enter", "enter", "complete", "abandon"}[s.random.IntN(4)], visitor%2, visitor%2, s.random.Int64())
		at := partition{"assessment.steps", visitor % s.broker.counts["assessment.steps"]}
		s.lines[at] = append(s.lines[at], line)
	}
}

// repeat lets the producer send some events of a partition twice, the second time at once where few ids are remembered: what comes later
// could be late.
func (s *simulation) repeat(at partition, ids int) {
	for i := 0; i < len(s.lines[at]); i++ {
		if s.random.IntN(8) > 0 {
			continue
		}
		line, later := s.lines[at][i], i+1
		for ids > 100 && s.random.IntN(3) > 0 && later < len(s.lines[at]) && timeOf(s.lines[at][later]) < timeOf(line)+5000 {
			later++
		}
		s.lines[at] = slices.Insert(s.lines[at], later, line)
	}
}

// simTomorrow is when the events of wrong clocks begin.
const simTomorrow = simStart + 3_600_000

func timeOf(line []byte) int64 {
	var e struct{ Time int64 }
	if err := json.Unmarshal(line, &e); err != nil {
		panic(err)
	}
	return e.Time
}

func (s *simulation) say(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *simulation) story() string {
	out := ""
	for _, line := range s.log[max(0, len(s.log)-60):] {
		out += line + "\n"
	}
	return out
}

// run plays the schedule: first anything can go wrong, then nothing more does and the work is finished.
func (s *simulation) run(ctx context.Context) error {
	s.rebalance(ctx, "aggregate")
	s.rebalance(ctx, "judge")
	s.broker.faults = 0.02
	for range 400 + s.random.IntN(400) {
		if err := s.act(ctx); err != nil {
			return err
		}
	}
	s.broker.faults = 0
	s.write(1<<30, 1<<62)
	s.zombies = nil
	s.rebalance(ctx, "aggregate")
	s.rebalance(ctx, "judge")
	_, edge := s.expected(ctx)
	for n := 0; !s.done(edge); n++ {
		if n > 5000 {
			return fmt.Errorf("the work is not finished: edges %v, expected %d\n%s", s.edges(), edge, s.standing())
		}
		s.broker.now += 50
		for _, w := range s.workers {
			for _, t := range w.sorted() {
				if err := s.step(ctx, t); err != nil {
					return err
				}
			}
		}
	}
	want, _ := s.expected(ctx) // with what is in the log of people's words now
	return s.compare(want, edge)
}

// speak lets somebody say something about an incident that is known, at once or at a time that may be past or to come; or nonsense.
func (s *simulation) speak() {
	var ids []string
	for id := range s.broker.counts[s.cfg.Topics.Alerts] {
		for _, r := range s.broker.records(partition{s.cfg.Topics.Alerts, id}) {
			ids = append(ids, r.key)
		}
	}
	c := wire.Control{V: 1}
	c.By, c.Act.Act = "maria", []detector.ActKind{detector.ActAcknowledge, detector.ActSilence, detector.ActResolve}[s.random.IntN(3)]
	if s.random.IntN(2) == 0 {
		c.Time = detector.Millis(s.broker.now + s.random.Int64N(6000) - 4000)
	}
	change := s.random.IntN(3) == 0
	switch {
	case change:
		c = wire.Rules(s.files[s.random.IntN(len(s.files))], c.Time, "w")
		s.say("the rules become %s at %s", c.Hash, c.Time)
	case c.Act.Act == detector.ActSilence:
		c.Until = detector.Millis(s.broker.now + s.random.Int64N(5000))
		if err := c.Matchers.UnmarshalText([]byte(fmt.Sprintf("{service=~\"s%d|x\"}", s.random.IntN(2)))); err != nil {
			panic(err)
		}
	case len(ids) == 0:
		return
	default:
		c.IncidentID = ids[s.random.IntN(len(ids))]
		if c.Act.Act == detector.ActResolve {
			c.Cause = "a test"
		}
	}
	value := wire.JSON(c)
	if s.random.IntN(8) == 0 {
		value = value[1:]
	}
	s.tellJudges(value)
}

// tellJudges writes a control record.
func (s *simulation) tellJudges(value []byte) {
	s.broker.append(partition{s.cfg.Topics.Control, 0}, -1, 0, protocol.Record{Time: time.UnixMilli(s.broker.now), Value: protocol.NewBytes(value)})
}

// act does one random thing.
func (s *simulation) act(ctx context.Context) error {
	s.broker.now += s.random.Int64N(30)
	s.write(1<<30, s.broker.now-500) // producers are half a second behind at most: a record that is slower is late by right
	switch n := s.random.IntN(100); {
	case n < 2:
		s.speak()
	case n < 15:
		s.write(1+s.random.IntN(10), s.broker.now)
	case n < 88:
		w := s.workers[s.random.IntN(len(s.workers))]
		if tasks := w.sorted(); len(tasks) > 0 {
			return s.step(ctx, tasks[s.random.IntN(len(tasks))])
		}
	case n < 92 && len(s.zombies) > 0:
		z := s.zombies[s.random.IntN(len(s.zombies))]
		s.say("%s wakes up and goes on with %s/%d", z.worker.name, z.stage, z.a.task)
		return s.step(ctx, z)
	case n < 95:
		s.kill(ctx)
	case n < 98:
		s.rebalance(ctx, []string{"aggregate", "judge"}[s.random.IntN(2)])
	default:
		s.hold()
	}
	return nil
}

// write writes up to n of the events to the source topics, those with an event time of until or before.
func (s *simulation) write(n int, until int64) {
	for _, at := range s.partitions() {
		for ; n > 0 && s.waiting[at] < len(s.lines[at]); n-- {
			line := s.lines[at][s.waiting[at]]
			if at := timeOf(line); at > until && at < simTomorrow {
				break
			}
			s.waiting[at]++
			s.broker.append(at, -1, 0, protocol.Record{Time: time.UnixMilli(s.broker.now), Value: protocol.NewBytes(line)})
		}
	}
}

func (s *simulation) partitions() []partition {
	var out []partition
	for at := range s.lines {
		out = append(out, at)
	}
	slices.SortFunc(out, func(x, y partition) int {
		if x.topic != y.topic {
			return map[bool]int{true: -1, false: 1}[x.topic < y.topic]
		}
		return x.id - y.id
	})
	// Event time advances alike in all: the one that is furthest behind first.
	slices.SortStableFunc(out, func(x, y partition) int { return s.waiting[x] - s.waiting[y] })
	return out
}

func (w *simWorker) sorted() []*simTask {
	var out []*simTask
	for _, t := range w.tasks {
		out = append(out, t)
	}
	slices.SortFunc(out, func(x, y *simTask) int {
		if x.stage != y.stage {
			return map[bool]int{true: -1, false: 1}[x.stage < y.stage]
		}
		return x.a.task - y.a.task
	})
	return out
}

// step lets a task do its next piece of work. An error ends it; it is opened again later, if the group still counts its worker.
func (s *simulation) step(ctx context.Context, t *simTask) error {
	s.hint(t.worker)
	if t.aggregate == nil && t.judge == nil {
		return s.open(ctx, t)
	}
	err := s.settle(t)
	switch {
	case err != nil:
	case t.aggregate != nil:
		r := t.aggregate.reader.(*memoryReader)
		res := r.poll(s.random.IntN(8))
		if t.aggregate.full() {
			err = t.aggregate.step(ctx, nil)
		} else {
			err = t.aggregate.step(ctx, &res)
		}
	default:
		r := t.judge.reader.(*memoryReader)
		if t.judge.full() {
			err = t.judge.step(ctx, nil)
		} else {
			res := r.poll(s.random.IntN(8))
			err = t.judge.step(ctx, &res)
		}
	}
	if err != nil {
		t.commit() // which it waits for
		s.say("%s: %s/%d ends: %v", t.worker.name, t.stage, t.a.task, err)
		t.aggregate, t.judge = nil, nil
	}
	return nil
}

// commit lets the broker have the transaction that is under way, if it has not.
func (t *simTask) commit() {
	if t.committing != nil {
		t.committing()
		t.committing = nil
	}
}

// settle lets the broker have the transaction that is under way, or not yet, and the task hear of it, or not yet.
func (s *simulation) settle(t *simTask) error {
	if s.random.IntN(3) > 0 {
		t.commit()
	}
	hear := t.judge.ended
	if t.aggregate != nil {
		hear = t.aggregate.ended
	}
	if s.random.IntN(3) == 0 {
		return nil
	}
	select {
	case e := <-t.commits().ended:
		return hear(e)
	default:
		return nil
	}
}

func (t *simTask) commits() *commits {
	if t.aggregate != nil {
		return &t.aggregate.commits
	}
	return &t.judge.commits
}

func (s *simulation) open(ctx context.Context, t *simTask) error {
	m, free, _ := t.seat.get()
	if !free {
		return nil
	}
	if member, _ := s.broker.member(ctx, m); !member {
		t.seat.over(m)
		return nil
	}
	var err error
	if t.stage == "aggregate" {
		t.aggregate, err = t.worker.openAggregate(ctx, t.a, t.seat)
	} else {
		t.judge, err = t.worker.openJudge(ctx, t.a, t.seat)
	}
	s.say("%s opens %s/%d: %v", t.worker.name, t.stage, t.a.task, err)
	if err != nil {
		t.aggregate, t.judge = nil, nil
	} else {
		t.commits().beside = func(f func()) { t.committing = f }
	}
	return nil
}

// hint lets a worker hear what tasks have told on the marks topic, or not yet.
func (s *simulation) hint(w *simWorker) {
	if s.random.IntN(2) == 0 {
		return
	}
	for id := range s.cfg.Tasks.Aggregate {
		records := s.broker.records(partition{s.cfg.Topics.Marks, id})
		for _, r := range slices.Backward(records) {
			m, err := wire.DecodeMark(r.value)
			if err != nil {
				panic(err)
			}
			if r.offset < w.from[id] {
				break
			}
			if !m.Tells() { // the others say nothing of how far a task is
				w.hints.put(m)
				break
			}
		}
	}
}

// kill ends a worker without a word; another one takes its place, with nothing in memory. The group moves on later.
func (s *simulation) kill(ctx context.Context) {
	i := s.random.IntN(len(s.workers))
	s.say("%s is killed", s.workers[i].name)
	s.workers[i] = s.newWorker(s.workers[i].name + "'")
	s.rebalance(ctx, "aggregate")
	s.rebalance(ctx, "judge")
}

// hold lets a group begin to move on: nobody can commit until it has.
func (s *simulation) hold() {
	for _, w := range s.workers {
		for _, t := range w.sorted() {
			m, _, _ := t.seat.get()
			t.seat.over(m)
		}
	}
}

// rebalance begins a new generation with other owners. Whoever loses a task stops it, or sleeps and does not know; whoever keeps it keeps
// its memory.
func (s *simulation) rebalance(ctx context.Context, stage string) {
	s.gens[stage]++
	group := "sevwatch.sim." + stage
	g := s.broker.group(group)
	g.generation, g.members = s.gens[stage], map[string]bool{}
	tasks, topics := s.cfg.Tasks.Judge, []string{s.cfg.Topics.Panes}
	if stage == "aggregate" {
		tasks, topics = s.cfg.Tasks.Aggregate, []string{s.cfg.Topics.Marks}
		for _, src := range s.cfg.Sources {
			topics = append(topics, src.Topic)
		}
	}
	for k := range tasks {
		owner := s.workers[s.random.IntN(len(s.workers))]
		g.members[owner.name] = true
		key := fmt.Sprintf("%s/%d", stage, k)
		for _, w := range s.workers {
			if t := w.tasks[key]; t != nil && w != owner {
				delete(w.tasks, key)
				if s.random.IntN(3) == 0 {
					s.zombies = append(s.zombies, t)
				}
			}
		}
		m := membership{group: group, member: owner.name, generation: g.generation}
		if t := owner.tasks[key]; t != nil {
			t.seat.give(m)
			continue
		}
		a := assignment{task: k, partitions: map[string][]int{}}
		for _, topic := range topics {
			for p := range s.broker.counts[topic] {
				if p%tasks == k {
					a.partitions[topic] = append(a.partitions[topic], p)
				}
			}
		}
		owner.tasks[key] = &simTask{stage: stage, a: a, seat: newSeat(m), worker: owner}
	}
	s.say("%s: generation %d", stage, g.generation)
}

// edges are how far the judges are.
func (s *simulation) edges() []int64 {
	var out []int64
	for _, w := range s.workers {
		for _, t := range w.sorted() {
			if t.judge != nil && t.judge.unsent == nil {
				out = append(out, t.judge.judge.Edge())
			}
		}
	}
	return out
}

// done says whether the judges have closed panes up to edge and heard of every event, also of those in panes that are open.
func (s *simulation) done(edge int64) bool {
	edges := s.edges()
	if len(edges) < s.cfg.Tasks.Judge || slices.Min(edges) < edge {
		return false
	}
	for _, w := range s.workers {
		for _, t := range w.sorted() {
			if t.judge != nil && (t.judge.judge.Totals().Sum() < s.events() || t.judge.control.next < s.controlEnd()) {
				return false
			}
		}
	}
	if s.heard == 0 {
		s.heard = slices.Max(edges)
	}
	return slices.Min(edges) >= s.heard+2*int64(s.cfg.Pane) // words that were heard last are applied, and that is logged
}

func (s *simulation) events() int64 {
	n := int64(0)
	for _, lines := range s.lines {
		n += int64(len(lines))
	}
	return n
}

func (s *simulation) controlEnd() int64 {
	records := s.broker.records(partition{s.cfg.Topics.Control, 0})
	if len(records) == 0 {
		return 0
	}
	return records[len(records)-1].offset + 1
}

// expected is what the events, and what people said of them, give when the engine reads them at once.
func (s *simulation) expected(context.Context) (map[string]string, int64) {
	agg := detector.NewAggregator(s.cfg.Engine(), 0, 1)
	set := detector.PartitionSet{Version: 1, Topics: s.broker.counts}
	sources := map[string]int{}
	var newest int64
	for _, at := range s.partitions() {
		sources[at.topic] = max(sources[at.topic], at.id+1)
	}
	set.Topics = map[string]int{}
	var judges []*detector.Judge
	for k := range s.cfg.Tasks.Judge {
		judge := detector.NewJudge(s.cfg.Engine(), s.rules)
		for _, r := range s.broker.records(partition{s.cfg.Topics.Control, 0}) {
			if c, err := wire.DecodeControl(r.value, s.cfg.RuleOptions()); err == nil {
				hear(judge, k, r.offset, c)
			}
		}
		judges = append(judges, judge)
	}
	for topic, n := range sources {
		set.Topics[topic] = n
		for id := range n {
			p := agg.Add(detector.Source{Topic: topic, Partition: id}, 0, detector.NewPartitionState())
			cfg := s.cfg.source(topic)
			d := cfg.Decoder(s.cfg.Labels)
			var e detector.Event
			for i, line := range s.lines[partition{topic, id}] {
				if r := d.Decode(line, 0, &e); r != nil {
					panic(r)
				}
				e.Recorded = simStart
				out := agg.Count(p, int64(i), &e)
				if out.LateMs > 0 {
					panic("the invented events are late")
				}
				for _, offset := range out.Future {
					s.future[fmt.Sprintf("%s/%d/%d", topic, id, offset)] = true
				}
				if e.Time < simTomorrow {
					newest = max(newest, e.Time)
				}
			}
		}
	}
	agg.SetPartitions(set)
	engine := s.cfg.Engine()
	edge := newest - engine.MaxLateness()
	edge -= edge % int64(s.cfg.Pane)
	for _, p := range agg.Partitions() {
		agg.Advance(p, edge, false)
	}
	deltas, progress := agg.Flush()
	s.attempts = 0
	for i := range deltas {
		for _, series := range deltas[i].Series {
			if series.Kind == rules.KindAttempt {
				s.attempts += series.Count
			}
		}
		judges[s.workers[0].judgeOf(deltas[i].Domain)].Delta(&deltas[i])
	}
	out := map[string]string{}
	for _, judge := range judges {
		if err := judge.Progress(&progress); err != nil {
			panic(err)
		}
		s.totals = judge.Totals()
		for _, o := range judge.Advance() {
			if int64(o.At()) <= edge {
				out[o.EventID()] = string(wire.Value(o))
			}
		}
	}
	return out, edge
}

// compare looks at what a committed reader sees on the output topics, and at the accounts.
func (s *simulation) compare(want map[string]string, edge int64) error {
	got := map[string]string{}
	for _, topic := range []string{s.cfg.Topics.Alerts, s.cfg.Topics.Recovery} {
		for id := range s.broker.counts[topic] {
			for _, r := range s.broker.records(partition{topic, id}) {
				var at struct{ At detector.Millis }
				if err := json.Unmarshal(r.value, &at); err != nil {
					return err
				}
				if int64(at.At) > edge {
					continue
				}
				key := r.headers["ce_id"]
				if _, twice := got[key]; twice {
					return fmt.Errorf("%s was published twice: %s", key, r.value)
				}
				got[key] = string(r.value)
				if strings.Contains(got[key], `"impact":{"sessions":`) {
					s.touched++
				}
				if strings.Contains(got[key], ` in about `) {
					s.estimated++
				}
				if strings.Contains(got[key], `"word":`) {
					s.words++
				}
				if s.sameRules && strings.Contains(got[key], `"file_hash"`) && !strings.Contains(got[key], s.rules.Hash) {
					s.changed++
				}
				if want[key] != got[key] {
					return fmt.Errorf("%s is\n%s, expected\n%s", key, r.value, want[key])
				}
			}
		}
	}
	for key, value := range want {
		if got[key] == "" {
			return fmt.Errorf("%s was never published: %s", key, value)
		}
	}
	for id := range s.broker.counts[s.cfg.Topics.Late] {
		if r := s.broker.records(partition{s.cfg.Topics.Late, id}); len(r) > 0 {
			return fmt.Errorf("%d late records, expected none: %v", len(r), r[0].headers)
		}
	}
	if err := s.rejected(); err != nil {
		return err
	}
	return s.accounts()
}

// rejected checks that the events of wrong clocks were rejected, each once.
func (s *simulation) rejected() error {
	topic := s.cfg.Topics.Rejected
	for id := range s.broker.counts[topic] {
		for _, r := range s.broker.records(partition{topic, id}) {
			key := fmt.Sprintf("%s/%s/%s", r.headers["sevwatch_topic"], r.headers["sevwatch_partition"], r.headers["sevwatch_offset"])
			if !s.future[key] || r.headers["sevwatch_reason"] != "future" || timeOf(r.value) < simTomorrow {
				return fmt.Errorf("%s was rejected, and should not be, or not twice: %v", key, r.headers)
			}
			delete(s.future, key)
		}
	}
	if len(s.future) > 0 {
		return fmt.Errorf("of %d rejected events %v are not on the topic", s.totals.Rejected, s.future)
	}
	return nil
}

func (s *simulation) accounts() error {
	for _, w := range s.workers {
		for _, t := range w.sorted() {
			if t.judge == nil {
				continue
			}
			if got := t.judge.judge.Totals(); got != s.totals || t.judge.judge.Lost() != 0 || t.judge.judge.Late() != 0 {
				return fmt.Errorf("judge %d has the accounts %+v, lost %d, late %d, expected %+v", t.a.task, got, t.judge.judge.Lost(),
					t.judge.judge.Late(), s.totals)
			}
		}
	}
	return nil
}

// standing is where every source partition stands, for a schedule that does not end.
func (s *simulation) standing() string {
	var b strings.Builder
	for _, w := range s.workers {
		for _, t := range w.sorted() {
			if t.aggregate == nil {
				continue
			}
			a := t.aggregate
			low, high := a.clock.span(a)
			fmt.Fprintf(&b, "aggregate/%d of %s: low %d, high %d, as told %t %d; all by hints %v\n", t.a.task, w.name, low, high, a.clock.told, a.clock.low, w.hints.tasks)
			for _, x := range a.order {
				fmt.Fprintf(&b, "  %s/%d: clock %d, offset %d, position %d, lag %d, ahead %t, caught up %t, waiting %t, added %t, held %d, pending marks %d, asked %s\n",
					x.Topic, x.Source.Partition, x.Clock(), x.Offset(), x.Position(), x.lag, x.ahead, x.caughtUp, x.waiting, x.added, len(x.held), len(x.idle), x.asked)
			}
		}
	}
	return b.String()
}
