package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/txn"
	"sevwatch/pipeline/wire"
)

// judgeTask is one task of the second stage: it reads its partition of the panes topic and commits incidents, recoveries, what changed in
// its state, and its offset in one transaction. The offset is that of the earliest delta that its windows still need: a restart reads
// from there again, up to where the state had come, without judging. One goroutine owns it.
type judgeTask struct {
	w        *Worker
	a        assignment
	producer *txn.Producer
	judge    *detector.Judge
	fetcher  *fetch.Fetcher
	walker   fetch.Walker

	loading bool            // reading again what the state already knows
	known   int64           // offset up to which progress is in the state
	next    int64           // offset to read next
	first   map[int64]int64 // pane -> offset of its first delta
	needed  int64           // offset that was committed
	edge    int64           // that was committed
}

// keyNext is the state record that says up to which offset progress is in the state.
const keyNext = "next"

// runJudge runs one judge task until ctx is done or something fails.
func (w *Worker) runJudge(ctx context.Context, a assignment) error {
	t := &judgeTask{w: w, a: a, judge: detector.NewJudge(w.cfg.Engine(), w.rules), first: map[int64]int64{}, needed: -1}
	var err error
	if t.producer, err = txn.TakeOver(ctx, txn.Config{Client: w.client, ID: w.transactionalID("judge", a.task)}); err != nil {
		return err
	}
	if err := t.restore(ctx); err != nil {
		return err
	}
	defer w.retire("judge", a.task)
	t.report()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- t.fetcher.Run(ctx) }()
	err = t.loop(ctx)
	cancel()
	return errors.Join(err, ignoreCancelled(<-done))
}

// restore reads the state and begins to read deltas where the last owner still needed them.
func (t *judgeTask) restore(ctx context.Context) error {
	offsets, err := committed(ctx, t.w.client, t.a)
	if err != nil {
		return err
	}
	topic := t.w.cfg.Topics.Panes
	spans, err := ends(ctx, t.w.client, topic, []int{t.a.task}, kafka.ReadCommitted)
	if err != nil {
		return err
	}
	t.next = spans[t.a.task].first
	at, found := offsets[topic][t.a.task]
	if found = found && at.CommittedOffset >= 0; found {
		t.next = at.CommittedOffset
	}
	start := time.Now()
	records, size, err := t.w.readState(ctx, t.a.task)
	if err != nil {
		return err
	}
	t.known = t.next
	i := slices.IndexFunc(records, func(r detector.Record) bool { return r.Key == keyNext })
	if i < 0 && found {
		return fmt.Errorf("cannot restore judge %d: the group %s has an offset in %s, but %s/%d is empty", t.a.task, t.a.group, topic,
			t.w.cfg.Topics.State, t.a.task)
	}
	if i >= 0 {
		if t.known, err = strconv.ParseInt(string(records[i].Value), 10, 64); err != nil {
			return fmt.Errorf("cannot read the state record %s: %w", keyNext, err)
		}
		records = slices.Delete(records, i, i+1)
	}
	if err := t.judge.Load(records); err != nil {
		return err
	}
	t.loading, t.edge = true, t.judge.Edge()
	t.w.log.Info("judge's state restored", zap.Int("task", t.a.task), zap.Int("records", len(records)), zap.Int("bytes", size),
		zap.Duration("took", time.Since(start)), zap.Int64("panes_to_read", t.known-t.next))
	t.fetcher = fetch.New(t.w.fetchConfig(), []fetch.Start{{Topic: topic, Partition: t.a.task, Offset: t.next}})
	return t.loaded()
}

// loaded ends the restoring when everything that the state knows was read again.
func (t *judgeTask) loaded() error {
	if !t.loading || t.next < t.known {
		return nil
	}
	t.loading = false
	return t.judge.Ready()
}

func (t *judgeTask) loop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case res := <-t.fetcher.Responses():
			err := t.response(&res)
			res.Release()
			if err != nil {
				return err
			}
			if err := t.advance(ctx); err != nil {
				return err
			}
		}
	}
}

func (t *judgeTask) response(res *fetch.Response) error {
	for i := range res.Chunks {
		c := &res.Chunks[i]
		if c.Err != nil {
			return fmt.Errorf("cannot read %s/%d at offset %d (the log begins at %d): %w", c.Topic, c.Partition, c.Position, c.LogStart, c.Err)
		}
		for t.walker.Reset(c, t.next); t.walker.Next(); {
			if r := t.walker.Record(); !r.Control {
				if err := t.record(r); err != nil {
					return fmt.Errorf("cannot take the record at %s/%d offset %d: %w", c.Topic, c.Partition, r.Offset, err)
				}
			}
			t.next = t.walker.Position()
			if err := t.loaded(); err != nil {
				return err
			}
		}
		if err := t.walker.Err(); err != nil {
			return fmt.Errorf("cannot read %s/%d: %w", c.Topic, c.Partition, err)
		}
		t.next = t.walker.Position()
		if err := t.loaded(); err != nil {
			return err
		}
	}
	return nil
}

// record takes a delta or a progress record.
func (t *judgeTask) record(r *fetch.Record) error {
	headers, err := r.Headers()
	if err != nil {
		return err
	}
	kind := ""
	for _, h := range headers {
		if h.Key == wire.HeaderType {
			kind = string(h.Value)
		}
	}
	switch kind {
	case wire.TypeDelta:
		d, err := wire.DecodeDelta(string(r.Key), r.Value)
		if err != nil {
			return err
		}
		if _, seen := t.first[d.Pane]; !seen {
			t.first[d.Pane] = r.Offset
		}
		t.judge.Delta(d)
		return nil
	case wire.TypeProgress:
		if t.loading {
			return nil // it is in the state
		}
		p, err := wire.DecodeProgress(r.Value)
		if err != nil {
			return err
		}
		return t.judge.Progress(p)
	default:
		return fmt.Errorf("its header %q is %q, expected %q or %q", wire.HeaderType, kind, wire.TypeDelta, wire.TypeProgress)
	}
}

// advance closes the panes that can be closed and commits what there is to tell, if any were.
func (t *judgeTask) advance(ctx context.Context) error {
	if t.loading {
		return nil
	}
	outputs := t.judge.Advance()
	if t.judge.Edge() == t.edge {
		return nil
	}
	var messages []kafka.Message
	for _, o := range outputs {
		topic := t.w.cfg.Topics.Alerts
		if o.Recovery != nil {
			topic = t.w.cfg.Topics.Recovery
		}
		messages = append(messages, t.w.message(topic, wire.Message(t.w.cfg.Pipeline, o)))
	}
	for _, r := range append(t.judge.Changes(), detector.Record{Key: keyNext, Value: strconv.AppendInt(nil, t.next, 10)}) {
		m := t.w.message(t.w.cfg.Topics.State, wire.Record{Key: []byte(r.Key), Value: r.Value})
		m.Partition = t.a.task
		messages = append(messages, m)
	}
	start := time.Now()
	// A commit that has begun is finished, also when the worker is told to stop.
	if err := t.producer.Commit(context.WithoutCancel(ctx), messages, t.offsets()); err != nil {
		return err
	}
	t.edge = t.judge.Edge()
	t.w.metrics.commit("judge", time.Since(start))
	for _, o := range outputs {
		t.w.tell(o)
	}
	t.report()
	return nil
}

// offsets is the offset of the first delta that the windows still need.
func (t *judgeTask) offsets() *txn.Offsets {
	t.needed = t.next
	for pane, offset := range t.first {
		if pane < t.judge.Needs() {
			delete(t.first, pane)
			continue
		}
		t.needed = min(t.needed, offset)
	}
	return &txn.Offsets{
		Group: t.a.group, Generation: t.a.generation, Member: t.a.member,
		Topics: map[string][]kafka.TxnOffsetCommit{t.w.cfg.Topics.Panes: {{Partition: t.a.task, Offset: t.needed}}},
	}
}

// report tells the worker's health how far the task is.
func (t *judgeTask) report() {
	h := wire.HealthTask{Task: t.a.task, Open: new(int)}
	*h.Open = t.judge.Open()
	if edge := t.judge.Edge(); edge != unknown {
		m := detector.Millis(edge)
		h.Edge = &m
	}
	t.w.report("judge", h)
	t.w.account(t.judge.Totals())
	t.w.metrics.lost(t.a.task, t.judge.Lost())
}

// readState reads one partition of the state topic to its end: the last value of each key.
func (w *Worker) readState(ctx context.Context, partition int) (records []detector.Record, size int, err error) {
	topic := w.cfg.Topics.State
	spans, err := ends(ctx, w.client, topic, []int{partition}, kafka.ReadCommitted)
	if err != nil {
		return nil, 0, err
	}
	s := spans[partition]
	latest := map[string][]byte{}
	ctx, cancel := context.WithCancel(ctx)
	f := fetch.New(w.fetchConfig(), []fetch.Start{{Topic: topic, Partition: partition, Offset: s.first}})
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, ignoreCancelled(<-done))
	}()
	var walker fetch.Walker
	for next := s.first; next < s.end; {
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case res := <-f.Responses():
			for i := range res.Chunks {
				if res.Chunks[i].Err != nil {
					return nil, 0, fmt.Errorf("cannot read %s/%d: %w", topic, partition, res.Chunks[i].Err)
				}
				for walker.Reset(&res.Chunks[i], next); walker.Next(); {
					if r := walker.Record(); !r.Control {
						latest[string(r.Key)] = slices.Clone(r.Value)
					}
				}
				if err := walker.Err(); err != nil {
					return nil, 0, err
				}
				next = walker.Position()
			}
			res.Release()
		}
	}
	for key, value := range latest {
		if len(value) > 0 {
			records = append(records, detector.Record{Key: key, Value: value})
			size += len(key) + len(value)
		}
	}
	slices.SortFunc(records, func(x, y detector.Record) int {
		if x.Key < y.Key {
			return -1
		}
		return 1
	})
	return records, size, nil
}
