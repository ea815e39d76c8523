package pipeline

import (
	"slices"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

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
	hurried   time.Time // when event time had jumped within idle_after last
	jumped    time.Time // when all were waited for last because of that
	settled   time.Time // when no idle partition was left behind last
	on        *base     // all partitions of all tasks are idle
	logged    int64     // how far sources were by the log, perhaps such as are no more, where that was asked
	waiting   bool      // a mark is on its way
	asked     time.Time // when it was written
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
// to them next must not become late. While it goes on like that, as where a backlog is read, and for twice idle_after nobody is waited for again, and not before
// idle ones were moved on.
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
	begins := fast && now.Sub(c.hurried) >= 2*c.idle && (c.jumped.IsZero() || c.settled.After(c.jumped))
	if fast {
		c.hurried = now
	}
	if begins {
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
