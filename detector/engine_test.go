package detector

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Flags of the random tests. Every failure prints the line that runs its seed again.
var (
	flagSeed    = flag.Uint64("seed", 0, "run the random tests from this seed on (0: from 1); without -streams only this one")
	flagStreams = flag.Int("streams", 0, "how many random streams each random test runs (0: as many as fit in a few seconds)")
)

// seeds calls f with every seed that a random test is to run: n of them unless the flags say otherwise.
func seeds(t *testing.T, n int, f func(t *testing.T, seed uint64)) {
	t.Helper()
	if *flagSeed != 0 {
		n = 1
	}
	if *flagStreams != 0 {
		n = *flagStreams
	}
	if testing.Short() {
		n = min(n, 20)
	}
	first := max(1, *flagSeed)
	for seed := first; seed < first+uint64(n) && !t.Failed(); seed++ {
		f(t, seed)
		if t.Failed() {
			t.Logf("again: go test ./detector -run '^%s$' -seed=%d", t.Name(), seed)
		}
	}
}

// engine runs a tale through both stages: several tasks, joined by queues as the panes topic joins them.
type engine struct {
	*rand.Rand
	t     *tale
	tasks []*engineTask
	judge *Judge
	out   []Output

	flushEvery int              // a task flushes after one of so many steps; 1: after each
	handOver   bool             // at each flush the task changes its owner
	restore    bool             // the judge is restored from a snapshot after each step of its own
	onRecord   func(r any)      // what the judge reads
	low        map[Source]int64 // the watermarks that the judge was told, and of which partitions
	set        PartitionSet

	spoken  int               // how many of the acts the judge has heard
	late    map[int64]bool    // those whose edge cannot be told from their time
	applied map[int64]Applied // what the judge wants to have logged
	pending map[int64]bool    // acts that were heard too late for their edge, and the next one was never closed
	logged  map[int64]Applied // what is in the log already: then all acts are read before anything else, as a replay does
}

type engineTask struct {
	agg     *Aggregator
	parts   map[int]*Partition // by index of the source
	offsets map[int]int64
	log     map[int]map[int64]*taleStep // events by offset, to be read again
	queue   []any                       // *Delta or *Progress, not yet read by the judge
}

// newEngine is an engine of so many tasks that takes its chances from the seed.
func newEngine(t *tale, tasks int, seed uint64) *engine {
	e := &engine{Rand: rand.New(rand.NewPCG(seed, 7)), t: t, judge: NewJudge(t.cfg, t.file), flushEvery: 20, low: map[Source]int64{}}
	e.late, e.applied = map[int64]bool{}, map[int64]Applied{}
	for n := range tasks {
		task := &engineTask{agg: NewAggregator(t.cfg, n, tasks), parts: map[int]*Partition{}, offsets: map[int]int64{}, log: map[int]map[int64]*taleStep{}}
		task.agg.SetPartitions(t.set(t.there))
		e.tasks = append(e.tasks, task)
	}
	for i := range t.there {
		e.add(i)
	}
	return e
}

func (e *engine) taskOf(source int) *engineTask { return e.tasks[source%len(e.tasks)] }

func (e *engine) add(source int) *Partition {
	task := e.taskOf(source)
	task.parts[source] = task.agg.Add(e.t.sources[source], 0, NewPartitionState())
	return task.parts[source]
}

// run takes all steps, in an order that differs between partitions, and returns everything that was told.
func (e *engine) run() []Output {
	there, steps := e.t.there, e.t.steps
	if e.logged != nil {
		e.speak(len(e.t.acts))
	}
	for len(steps) > 0 {
		n := slices.IndexFunc(steps, func(s taleStep) bool { return s.what == stepGrow })
		if n < 0 {
			n = len(steps)
		}
		e.segment(steps[:n])
		if steps = steps[n:]; len(steps) > 0 {
			there++
			e.grow(steps[0].source, there)
			steps = steps[1:]
		}
	}
	for n := range e.tasks {
		e.flush(n)
	}
	e.speak(len(e.t.acts))
	for n := range e.tasks {
		e.deliver(n, len(e.tasks[n].queue))
	}
	e.advance()
	return e.out
}

// speak lets the judge hear the next n acts.
func (e *engine) speak(n int) {
	for ; n > 0 && e.spoken < len(e.t.acts); n-- {
		a := &e.t.acts[e.spoken]
		offset := int64(e.spoken * 2) // a marker stands between them
		e.late[offset] = a.time == 0 || ceil(a.time, e.t.cfg.Pane) <= e.judge.Edge()
		act := a.of()
		if e.pending[offset] {
			act = nil
		}
		e.judge.Hear(offset, act, e.logged[offset].Edge)
		e.judge.Hear(offset+1, nil, 0)
		e.spoken++
		e.changed()
	}
}

// replayed is an engine that reads what another has logged.
func (e *engine) replayed() *engine {
	again := newEngine(e.t, 1, 1)
	again.logged, again.pending = e.applied, map[int64]bool{}
	for offset, late := range e.late {
		_, applied := e.applied[offset]
		again.pending[offset] = late && !applied
	}
	return again
}

// actsOf are the acts with the edges at which they were applied, for the model.
func (e *engine) actsOf() (acts []modelAct) {
	for i, a := range e.t.acts {
		offset := int64(i * 2)
		logged, ok := e.applied[offset]
		switch {
		case ok:
			acts = append(acts, modelAct{a, logged.Edge})
		case !e.late[offset]:
			acts = append(acts, modelAct{a, ceil(a.time, e.t.cfg.Pane)})
		}
	}
	return acts
}

// segment merges the partitions' steps in a random order.
func (e *engine) segment(steps []taleStep) {
	queues := make([][]*taleStep, len(e.t.sources))
	for i := range steps {
		queues[steps[i].source] = append(queues[steps[i].source], &steps[i])
	}
	for left := len(steps); left > 0; {
		source := e.IntN(len(queues))
		for n := 1 + e.IntN(20); n > 0 && len(queues[source]) > 0; n-- {
			e.step(queues[source][0])
			queues[source] = queues[source][1:]
			left--
			e.chance()
		}
	}
}

// grow adds a partition where the slowest of the others is: all tasks hear of it before they go on.
func (e *engine) grow(source, there int) {
	low := int64(1<<63 - 1)
	for _, task := range e.tasks {
		task.agg.SetPartitions(e.t.set(there))
		for _, p := range task.agg.Partitions() {
			low = min(low, p.Watermark())
		}
	}
	p := e.add(source)
	if there > 1 {
		e.taskOf(source).agg.Advance(p, low, false)
	}
}

func (e *engine) step(s *taleStep) {
	task := e.taskOf(s.source)
	task.reread(s.source, 1<<30)
	p, offset := task.parts[s.source], task.offsets[s.source]
	task.offsets[s.source]++
	switch s.what {
	case stepEvent:
		task.agg.Count(p, offset, s.event.of(&e.t.cfg))
		if p.Holds(offset) {
			if task.log[s.source] == nil {
				task.log[s.source] = map[int64]*taleStep{}
			}
			task.log[s.source][offset] = s
		}
	case stepMark:
		task.agg.Advance(p, s.to, s.silent)
		task.offsets[s.source]--
	case stepReject:
		p.Reject(offset)
	case stepControl:
		p.Control(offset)
	case stepSkip:
		task.offsets[s.source] = offset + 3
		if offset%2 == 0 {
			p.Skip(offset + 3) // otherwise the next record shows the gap
		}
	}
}

// chance flushes, delivers and advances now and then.
func (e *engine) chance() {
	if e.IntN(e.flushEvery) == 0 {
		e.flush(e.IntN(len(e.tasks)))
	}
	if n := e.IntN(len(e.tasks)); len(e.tasks[n].queue) > 0 && e.IntN(3) == 0 {
		e.deliver(n, 1+e.IntN(len(e.tasks[n].queue)))
	}
	if e.IntN(10) == 0 {
		e.advance()
	}
	if e.IntN(40) == 0 {
		e.speak(1)
	}
}

func (e *engine) flush(n int) {
	task := e.tasks[n]
	deltas, progress := task.agg.Flush()
	e.Shuffle(len(deltas), func(i, j int) { deltas[i], deltas[j] = deltas[j], deltas[i] })
	for i := range deltas {
		d := &deltas[i]
		d.Series = slices.Clone(d.Series) // they hold until the next flush only
		for n := range d.Series {
			d.Series[n].Buckets = slices.Clone(d.Series[n].Buckets)
		}
		task.queue = append(task.queue, d)
	}
	task.queue = append(task.queue, &progress)
	if !e.handOver {
		return
	}
	agg := NewAggregator(e.t.cfg, n, len(e.tasks))
	agg.SetPartitions(progress.Set)
	for source, old := range task.parts {
		var state PartitionState
		if err := json.Unmarshal(encode(old.State()), &state); err != nil {
			panic(err)
		}
		task.parts[source] = agg.Add(old.Source, old.Commit(), state)
	}
	task.agg = agg
	for source := range e.t.sources {
		if task.parts[source] != nil {
			task.reread(source, e.IntN(4))
		}
	}
}

// reread reads up to n records of a partition again that were read before the task changed its owner.
func (t *engineTask) reread(source, n int) {
	p := t.parts[source]
	for offset := p.Position(); offset < p.Offset() && p.Position() < p.Offset() && n > 0; offset++ {
		if p.Known(offset) {
			continue
		}
		if s := t.log[source][offset]; s != nil {
			t.agg.Count(p, offset, s.event.of(p.cfg))
		}
		n--
	}
}

// deliver lets the judge read the next n records of a task.
func (e *engine) deliver(n, records int) {
	task := e.tasks[n]
	for _, record := range task.queue[:records] {
		if e.onRecord != nil {
			e.onRecord(record)
		}
		switch r := record.(type) {
		case *Delta:
			e.judge.Delta(r)
		case *Progress:
			if err := e.judge.Progress(r); err != nil {
				panic(err)
			}
			if r.Set.Version > e.set.Version {
				e.set = r.Set
			}
			for _, p := range r.Partitions {
				e.low[p.Source] = p.Watermark
			}
		}
		e.changed()
	}
	task.queue = task.queue[records:]
}

// advance also holds the judge to its promise: it has closed what all partitions that there are have finished, no more and no less.
func (e *engine) advance() {
	before := e.judge.Edge()
	e.out = append(e.out, e.judge.Advance()...)
	for _, a := range e.judge.Applied() {
		e.applied[a.Offset] = a
	}
	want := e.finished()
	if want == math.MinInt64 {
		want = before
	}
	if e.judge.Edge() != want {
		panic(fmt.Sprintf("seed %d: the judge's edge is %d, all partitions have finished %d", e.t.seed, e.judge.Edge(), want))
	}
	e.changed()
}

// finished is the last pane's edge that all partitions are known to have passed, the smallest number if one was not heard of.
func (e *engine) finished() int64 {
	low := int64(math.MaxInt64)
	for topic, partitions := range e.set.Topics {
		for n := range partitions {
			told, ok := e.low[Source{topic, n}]
			if !ok || told == math.MinInt64 {
				return math.MinInt64
			}
			low = min(low, told)
		}
	}
	if len(e.low) == 0 {
		return math.MinInt64
	}
	return low / e.t.cfg.Pane * e.t.cfg.Pane
}

// changed follows every step of the judge.
func (e *engine) changed() {
	if e.restore {
		e.judge = restored(e.t, e.judge.Snapshot())
	}
}

func restored(t *tale, snapshot []byte) *Judge {
	j, err := Restore(t.cfg, t.file, snapshot)
	if err != nil {
		panic(err)
	}
	return j
}

// lines are outputs as they are published, a line each.
func lines(outputs []Output) string {
	var b strings.Builder
	for _, o := range outputs {
		b.Write(encode(o))
		b.WriteByte('\n')
	}
	return b.String()
}

// differ reports the first line in which two tellings differ, with what went before.
func differ(t *testing.T, tale *tale, name string, got, want []string) {
	t.Helper()
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	if n == len(got) && n == len(want) {
		return
	}
	at := func(lines []string) string {
		if n < len(lines) {
			return lines[n]
		}
		return "(nothing)"
	}
	before := strings.Join(got[max(0, n-6):n], "\n      ")
	t.Errorf("seed %d: %s: message %d differs\n  got %s\n want %s\nafter %s\nrules:\n%s", tale.seed, name, n+1, at(got), at(want), before, tale.yaml)
}

// same reports in what two tellings differ, which should be the same byte for byte.
func same(t *testing.T, tale *tale, name string, got, want []Output) {
	t.Helper()
	differ(t, tale, name, strings.Split(lines(got), "\n"), strings.Split(lines(want), "\n"))
}
