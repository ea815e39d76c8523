package pipeline

import (
	"time"

	"go.uber.org/zap"

	"sevwatch/detector"
)

// stalledEvery is how often a partition that holds others back is told of, in event time.
const stalledEvery = int64(minute)

// skew stops reading the partitions that are more than max_skew ahead of the slowest one of all tasks, and goes on with those that no longer
// are: what they gain can only wait in memory until the slowest has come there. The slowest itself is told of, in its own open pane: a pane
// of the ones that wait is judged when the wait is over.
func (t *aggregateTask) skew() {
	low, high := t.clock.span(t)
	allLow, allHigh, known := t.w.hints.all(t.a.task, t.w.cfg.Tasks.Aggregate, low, high)
	limit, waiting := int64(t.w.cfg.MaxSkew), 0
	t.apart = limit
	if known && t.crowded(allLow) {
		t.apart = min(limit, t.settle)
	}
	for _, s := range t.order {
		if s.began == unknown {
			s.began = s.Clock()
		}
		slowest := allLow
		if !known || allLow == unknown {
			slowest = s.began // somebody was not heard of yet, and may be anywhere
		}
		ahead := s.Clock() != unknown && slowest != noLow && s.Clock()-slowest > t.apart
		if ahead != s.ahead {
			s.ahead = ahead
			s.caughtUp = s.caughtUp && !ahead // nobody asks any more
			t.pauseSource(s)
		}
		if ahead {
			waiting++
		}
		// What is read to its end is moved on by marks.
		if known && s.lag > 0 && allHigh != unknown && s.Clock() != unknown && allHigh-s.Clock() > limit {
			t.stalled(s, allHigh)
		} else {
			s.behind = time.Time{}
		}
	}
	t.w.metrics.waiting(t.a.task, waiting)
}

// crowded says whether so many series were handed over for panes that the slowest partition will not come to soon that the judges, who cannot tell
// yet which of them are known, may hold more than the limit of series. Then partitions may be less far apart: no result depends on that.
func (t *aggregateTask) crowded(slowest int64) bool {
	waiting := 0
	for pane, cells := range t.handed {
		if slowest != noLow && slowest != unknown && pane < slowest {
			delete(t.handed, pane)
		} else if pane > slowest+t.settle {
			waiting += cells
		}
	}
	return slowest != noLow && slowest != unknown && waiting > t.w.cfg.Limits.Series
}

// stalled tells that others have waited for the partition for stalled_after, by this machine's clock, which decides only when it is written
// down: while a backlog is read, everybody waits for somebody now and then. It is not told again a moment later.
func (t *aggregateTask) stalled(s *source, high int64) {
	if s.behind.IsZero() {
		s.behind = t.w.now()
	}
	if t.w.now().Sub(s.behind) < millis(t.w.cfg.StalledAfter) || s.stalled != unknown && s.Edge() < s.stalled+stalledEvery {
		return
	}
	if s.stalled == unknown {
		t.w.log.Warn("a partition is far behind the others, which wait for it", zap.String("topic", s.Topic), zap.Int("partition", s.Source.Partition),
			zap.Stringer("at", detector.Millis(s.Watermark())), zap.Stringer("others", detector.Millis(high)))
	}
	s.stalled = s.Edge()
	t.happened = append(t.happened, detector.Happening{Source: s.Source, Name: "stalled", Pane: s.stalled, Count: 1})
}
