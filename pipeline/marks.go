package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
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
			if s.added { // records that are held have to be read again before
				if err := t.resume(s); err != nil {
					return err
				}
			}
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
			return cannotRead(c)
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
