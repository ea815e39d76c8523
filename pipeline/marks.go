package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// markReader reads a task's own partition of the marks topic.
type markReader struct {
	source detector.Source
	next   int64 // offset
	end    int64 // of the log when the task began: marks before it come before any source record
	known  bool  // the task has committed before
	walker fetch.Walker
}

func newMarkReader(s detector.Source, start, end int64, known bool) *markReader {
	return &markReader{source: s, next: start, end: end, known: known}
}

// ready says whether all marks from before the task began are read.
func (r *markReader) ready() bool { return r.next >= r.end }

// readMarks takes marks that have come back from the log: each line goes to its partition, to be applied before its offset.
func (t *aggregateTask) readMarks(c *fetch.Chunk) error {
	wasReady := t.marks.ready()
	w := &t.marks.walker
	w.Reset(c, t.marks.next)
	for w.Next() {
		r := w.Record()
		if r.Control {
			continue
		}
		m, err := wire.DecodeMark(r.Value)
		if err != nil {
			return fmt.Errorf("cannot read the mark at %s/%d offset %d: %w", c.Topic, c.Partition, r.Offset, err)
		}
		if err := t.readMark(m, r); err != nil {
			return err
		}
	}
	if err := w.Err(); err != nil {
		return fmt.Errorf("cannot read %s/%d: %w", c.Topic, c.Partition, err)
	}
	t.marks.next = w.Position()
	if !wasReady && t.marks.ready() {
		t.begin()
	}
	return nil
}

// begin begins with the sources, when all marks from before the task began have been applied.
func (t *aggregateTask) begin() {
	for _, s := range t.order {
		if s.void != nil {
			t.w.log.Warn("the open attempts of sessions are void: records are lost, or the topic has more partitions, or the timeouts were others, or nobody was followed",
				zap.String("topic", s.Topic), zap.Int("partition", s.Source.Partition), zap.Int64("before", s.void.Before))
			t.agg.Void(s.Partition, s.void.Resume)
			t.voids = append(t.voids, *s.void)
			s.void = nil
		}
		t.pauseSource(s)
	}
}

// readMark gives each line of a mark to its partition. Where the partition stands at that very offset, the line applies at once.
func (t *aggregateTask) readMark(m *wire.Mark, r *fetch.Record) error {
	if m.Tells() {
		return nil // it was counted when it was written
	}
	t.clock.readBack(m, r.Time)
	for _, line := range m.Idle {
		s := t.sources[line.Source]
		if s == nil || line.Before < s.Offset() {
			continue // decided before the offsets that were committed: its effect is in them
		}
		pending := newPendingMark(line, r.Time)
		pending.mark = r.Offset
		s.idle = append(s.idle, pending)
		if line.Before > s.Position() {
			continue
		}
		s.applyMarks(t.agg, s.Offset())
		s.forget()
		if err := t.resume(s); err != nil {
			return err
		}
	}
	return nil
}

// sent notes that nothing behind the mark may be taken until it has come back.
func (t *aggregateTask) sent(m *wire.Mark) {
	for _, line := range m.Idle {
		s := t.sources[line.Source]
		s.waiting = true
		t.pauseSource(s)
	}
}

// needed is the offset of the first mark of which a line is not applied yet: a restart has to read it again.
func (t *aggregateTask) needed() int64 {
	next := t.marks.next
	for _, s := range t.order {
		for _, pending := range s.idle {
			next = min(next, pending.mark)
		}
	}
	return next
}

// resume goes on with a partition whose mark has come back, beginning with what came meanwhile.
func (t *aggregateTask) resume(s *source) error {
	if !s.waiting {
		return nil
	}
	s.waiting, s.added = false, false
	held := s.held
	s.held = nil
	for i := range held {
		if err := t.chunk(s, &held[i]); err != nil {
			return err
		}
	}
	t.pauseSource(s)
	return nil
}

// clock decides when event time has to go on although nothing comes. What it decides is written as a mark and acted upon only when the
// mark comes back: this machine's time is used to decide when to ask, never what the answer is.
type clock struct {
	hints *hints
	task  int
	tasks int
	pane  int64
	idle  time.Duration

	low, high int64 // as told last
	told      bool
	lows      history   // how far the active partitions were
	highs     history   // how far the furthest partition was, or would be if it had gone on as time does since all are silent
	furthest  int64     // how far the furthest partition of all tasks was
	furthered time.Time // when that was learned
	silent    *instant  // the furthest partition when the silence of all began; nil: there is none
	far       int64     // ms: more than that beyond what time has passed is a jump
	fast      bool      // event time has jumped within idle_after
	jumped    time.Time // when all were waited for last because of that
	settled   time.Time // when no idle partition was left behind last
	on        *base     // all partitions of all tasks are idle
	logged    int64     // how far sources were by the log, perhaps such as are no more, where that was asked
	waiting   bool      // a mark is on its way
	asked     time.Time // when it was written
}

// instant is how far event time was at a time of this machine's clock.
type instant struct {
	at    time.Time
	event int64
}

// passed is how far it is now, if it has gone on as time does.
func (i instant) passed(now time.Time) int64 { return i.event + now.Sub(i.at).Milliseconds() }

// history is how far event time was when, oldest first: of the last second every sixty-fourth of it, and of what was longer ago one in an eighth of
// how long ago it was.
type history []instant

// maxHistory bounds it. It reaches back for more than an hour.
const maxHistory = 256

func (h *history) learn(event int64, now time.Time) {
	all := *h
	if n := len(all); n > 0 && (all[n-1].event == event || now.Sub(all[n-1].at) < time.Second/64) {
		return
	}
	all = append(all, instant{now, event})
	for i := len(all) - 2; i > 0; i-- {
		if all[i+1].at.Sub(all[i-1].at) < now.Sub(all[i-1].at)/8-time.Second/8 {
			all = slices.Delete(all, i, i+1)
		}
	}
	*h = all[max(0, len(all)-maxHistory):]
}

// before is the newest that is not after a time.
func (h history) before(at time.Time) (instant, bool) {
	for _, x := range slices.Backward(h) {
		if !x.at.After(at) {
			return x, true
		}
	}
	return instant{}, false
}

// base is event time To at broker time Since; from there it goes on as the broker's does.
type base struct {
	to    int64
	since int64 // 0 until the mark that begins it has come back
	began time.Time
}

func newClock(h *hints, task int, c *Config, told map[detector.Source]detector.PartitionProgress) *clock {
	k := &clock{
		hints: h, task: task, tasks: c.Tasks.Aggregate, pane: int64(c.Pane), idle: millis(c.IdleAfter), furthest: unknown,
		far: int64(c.Lateness) + maxAsked.Milliseconds(), logged: unknown,
	}
	for _, progress := range told {
		k.logged = max(k.logged, progress.Watermark)
	}
	return k
}

// at is event time now; unknown before it goes on.
func (b *base) at(now time.Time) int64 {
	if b == nil || b.since == 0 {
		return unknown
	}
	return b.to + now.Sub(b.began).Milliseconds()
}

const (
	unknown = int64(-1 << 63)
	noLow   = int64(1<<63 - 1) // no partition is active
)

// decide is the mark to be written now, or nil.
func (c *clock) decide(t *aggregateTask) *wire.Mark {
	if c.waiting || !t.marks.ready() {
		return nil
	}
	now := t.w.now()
	low, high := c.span(t)
	mark := &wire.Mark{V: 1, Task: c.task}
	allLow, allHigh, known := c.hints.all(c.task, c.tasks, low, high)
	if allHigh == unknown {
		allHigh = c.logged
	}
	if known && c.jumps(allLow, allHigh, now) {
		low, _ = c.span(t)
		allLow, _, _ = c.hints.all(c.task, c.tasks, low, high)
	}
	if known {
		c.advance(mark, t, allLow, allHigh, now)
	}
	if len(mark.Idle) == 0 && !c.news(t, low) {
		return nil
	}
	if low != noLow {
		mark.Low = &low
	}
	if high != unknown {
		mark.High = &high
	}
	c.low, c.high, c.told = low, high, true
	c.waiting, c.asked = true, now
	return mark
}

// span is how far the task's slowest active partition is, and its furthest one of all.
func (c *clock) span(t *aggregateTask) (low, high int64) {
	now := t.w.now()
	low, high = noLow, unknown
	for _, s := range t.order {
		high = max(high, s.Clock())
		if !c.isIdle(s, now) && !s.added {
			low = min(low, s.Clock())
		}
	}
	return low, high
}

// news says whether the other tasks need to hear how far this one is. In a backlog they do not hear of every pane, because a mark is a
// transaction; only with what is flushed anyway, and before one of them could be so far ahead of what it has heard that it waits.
func (c *clock) news(t *aggregateTask, low int64) bool {
	switch {
	case c.tasks == 1:
		return false
	case !c.told || (low == noLow) != (c.low == noLow):
		return true
	case low == noLow || pane(low, c.pane) <= pane(c.low, c.pane):
		return false
	default:
		return t.due() || t.rested() || c.low == unknown || low-c.low > t.apart/4
	}
}

func pane(t, length int64) int64 {
	if t == unknown {
		return unknown
	}
	return t / length
}

// isIdle says whether the partition is read to its end and has been silent for long enough.
func (c *clock) isIdle(s *source, now time.Time) bool {
	return s.added || s.caughtUp && !s.waiting && len(s.held) == 0 && now.Sub(s.active) >= c.idle && !c.waitsForAll(now)
}

// waitsForAll says whether no partition is idle because event time has jumped.
func (c *clock) waitsForAll(now time.Time) bool { return now.Sub(c.jumped) < c.idle }

// jumps says whether event time has just begun to go on by more than the lateness beyond what time has passed: a file is written to the topics, one
// partition behind the other, or producers send what they had kept. Then all partitions are waited for once more, for idle_after: what is written
// to them next must not become late. While it goes on like that, as where a backlog is read, nobody is waited for again, and not before idle ones
// were moved on, for which there are once more idle_after.
func (c *clock) jumps(allLow, allHigh int64, now time.Time) bool {
	if allHigh == unknown {
		return false
	}
	level := allHigh
	switch {
	case allLow != noLow:
		c.silent = nil
	case c.silent == nil && allHigh > c.furthest:
		c.silent = &instant{now, allHigh}
	case c.silent == nil:
		c.silent = &instant{c.furthered, c.furthest}
	}
	if c.silent != nil { // marks move it on, but later than it went on where nobody heard of it
		level = c.silent.passed(now)
	}
	then, known := c.highs.before(now.Add(-c.idle))
	if !known && len(c.highs) > 0 {
		then, known = c.highs[0], true
	}
	fast := !known || level-then.passed(now) > c.far
	c.highs.learn(level, now)
	begins := fast && !c.fast && (c.jumped.IsZero() || c.settled.After(c.jumped))
	if c.fast = fast; begins {
		c.jumped = now
	}
	return begins
}

// advance puts into the mark how far the idle partitions are to go: to where the active ones are or, when all are idle, on from the
// largest watermark as the broker's time goes on.
func (c *clock) advance(mark *wire.Mark, t *aggregateTask, allLow, allHigh int64, now time.Time) {
	line := func(s *source, to, since int64) {
		mark.Idle = append(mark.Idle, detector.Idle{Source: s.Source, Before: s.Offset(), To: s.WatermarkAt(to), Since: since})
	}
	if allHigh > c.furthest {
		c.furthest, c.furthered = allHigh, now
	}
	if allLow != noLow {
		c.on = nil
		behind := c.waitsForAll(now)
		if !behind {
			c.lows.learn(allLow, now)
		}
		for _, s := range t.order {
			to := c.knownBefore(s.asked)
			if s.added {
				to = allLow
			}
			switch {
			case !c.isIdle(s, now):
			case to != unknown && c.movesOn(s, to):
				line(s, to, 0)
			case c.movesOn(s, allLow):
				behind = true // it has to be asked once more
			}
		}
		if !behind {
			c.settled = now
		}
		return
	}
	if allHigh == unknown { // nothing was ever heard: there is no event time to go on from, and none at which an added partition would begin
		for _, s := range t.order {
			if s.added {
				s.added, s.waiting = false, false
				t.pauseSource(s)
			}
		}
		return
	}
	if slices.ContainsFunc(t.order, func(s *source) bool {
		return !s.added && (!s.asked.After(c.furthered) || now.Sub(s.asked) > max(maxAsked, millis(rules.Duration(s.Lateness()/2))))
	}) {
		return // it may hold what was written when the furthest records were, or while nobody asked
	}
	// What came and was silent again before this task looked moved the others on: time goes on from there.
	if c.on == nil || c.on.to < allHigh && (c.on.since == 0 || allHigh-c.on.at(now) > c.far) {
		c.on = &base{to: allHigh, began: now}
		for _, s := range t.order {
			line(s, allHigh, 0)
		}
		return
	}
	if c.on.since == 0 {
		return
	}
	to := c.on.at(now)
	for _, s := range t.order {
		if c.movesOn(s, to) {
			line(s, c.on.to, c.on.since)
		}
	}
	c.settled = now
}

// movesOn says whether a partition closes a pane when its clock is there.
func (c *clock) movesOn(s *source, to int64) bool {
	return pane(s.WatermarkAt(to), c.pane) > pane(s.Watermark(), c.pane)
}

// maxAsked, or half the lateness if that is longer, is how long ago a partition may have been asked and had nothing, for time to go on there: what was
// written since then must not become late. It is asked four times a second, unless this task stood still or the broker is far.
const maxAsked = time.Second

// knownBefore is how far the active partitions were known to be before a partition was asked and had nothing. What was written to it at
// the same time as their newest records, and has not been read yet, must not become late.
func (c *clock) knownBefore(asked time.Time) int64 {
	if then, known := c.lows.before(asked.Add(-1)); known {
		return then.event
	}
	return unknown
}

// readBack notes that a mark of this task has come back from the log.
func (c *clock) readBack(m *wire.Mark, written int64) {
	if !c.waiting {
		return // from before the task began
	}
	c.waiting = false
	if c.on == nil || len(m.Idle) == 0 {
		return
	}
	if c.on.since == 0 {
		c.on.since, c.on.began = written, c.asked
	}
	// The broker wrote the mark when it had been asked to, or later: where the first one was on its way for long, time began later than that was asked for.
	if began := c.asked.Add(-time.Duration(written-c.on.since) * time.Millisecond); began.After(c.on.began) {
		c.on.began = began
	}
}

// hints are what the tasks have told on the marks topic of how far they are. They only help to decide what to write; being old they are
// merely cautious.
type hints struct {
	mu    sync.Mutex
	tasks map[int]hint
}

type hint struct{ low, high int64 }

func newHints() *hints { return &hints{tasks: map[int]hint{}} }

func (h *hints) put(m *wire.Mark) {
	if m.Tells() {
		return // says nothing of how far the task is
	}
	x := hint{noLow, unknown}
	if m.Low != nil {
		x.low = *m.Low
	}
	if m.High != nil {
		x.high = *m.High
	}
	h.mu.Lock()
	h.tasks[m.Task] = x
	h.mu.Unlock()
}

// hintsBack is how many offsets before the end a worker begins to listen: the last record is a transaction's marker, the mark right before it. A
// task that is not found there, because of aborted transactions, is heard of when it moves on, which it can: nobody is more than max_skew
// ahead of where this worker's partitions begin, and they go that far without having heard of it.
const hintsBack = 10

// all is the least watermark of the active partitions and the largest of all partitions, of all tasks; known only if every task was heard.
func (h *hints) all(task, tasks int, low, high int64) (allLow, allHigh int64, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range tasks {
		if k == task {
			continue
		}
		x, heard := h.tasks[k]
		if !heard {
			return 0, 0, false
		}
		low, high = min(low, x.low), max(high, x.high)
	}
	return low, high, true
}

// readHints follows the marks of all tasks, beginning with the last ones, and begins again where that fails.
func (w *Worker) readHints(ctx context.Context) error {
	if w.cfg.Tasks.Aggregate == 1 {
		return nil
	}
	for ctx.Err() == nil {
		if err := w.followHints(ctx); ctx.Err() == nil {
			w.log.Warn("following the marks of other tasks begins again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(followAgain):
		}
	}
	return nil
}

const followAgain = time.Second

func (w *Worker) followHints(ctx context.Context) error {
	var all []int
	for k := range w.cfg.Tasks.Aggregate {
		all = append(all, k)
	}
	spans, err := w.broker.ends(ctx, w.cfg.Topics.Marks, all, kafka.ReadCommitted)
	if err != nil {
		return err
	}
	var starts []fetch.Start
	for _, k := range all {
		starts = append(starts, fetch.Start{Topic: w.cfg.Topics.Marks, Partition: k, Offset: max(spans[k].first, spans[k].end-hintsBack)})
	}
	r := w.broker.read(starts)
	walkers := make([]fetch.Walker, len(all))
	return reading(ctx, r, func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case res := <-r.Responses():
				err := w.takeHints(&res, walkers)
				res.Release()
				if err != nil {
					return err
				}
			}
		}
	})
}

func (w *Worker) takeHints(res *fetch.Response, walkers []fetch.Walker) error {
	for i := range res.Chunks {
		c := &res.Chunks[i]
		if c.Err != nil {
			return fmt.Errorf("cannot read %s/%d at offset %d (the log begins at %d): %w", c.Topic, c.Partition, c.Position, c.LogStart, c.Err)
		}
		walker := &walkers[c.Partition]
		for walker.Reset(c, c.Position); walker.Next(); {
			if m, err := wire.DecodeMark(walker.Record().Value); err == nil && !walker.Record().Control {
				w.hints.put(m)
			}
		}
		if err := walker.Err(); err != nil {
			return fmt.Errorf("cannot read %s/%d: %w", c.Topic, c.Partition, err)
		}
	}
	return nil
}

func compareSources(x, y detector.Source) int {
	return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
}
