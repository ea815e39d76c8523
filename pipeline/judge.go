package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// judgeTask is one task of the second stage: it reads its partition of the panes topic, and people's words, and commits incidents, recoveries, what changed in
// its state, and its offset in one transaction. The offset is that of the earliest delta that its windows still need: a restart reads
// from there again, up to where the state had come, without judging. One goroutine owns it.
type judgeTask struct {
	w       *Worker
	a       assignment
	seat    *seat
	commits commits
	judge   *detector.Judge
	reader  reader
	walker  fetch.Walker
	deltas  wire.DeltaDecoder
	control controlReader
	rules   *rules.File // in force

	loading bool // reading again what the state already knows
	at      atWork
	noted   string          // beside its offset: a hash of what it was at work with last
	known   int64           // offset up to which progress is in the state
	next    int64           // offset to read next
	first   map[int64]int64 // pane -> offset of its first delta
	edge    int64           // that was flushed
	unsent  *verdicts       // flushed, and not committed yet
	ahead   int             // responses that were taken since
}

// verdicts is what one transaction of a judge task commits.
type verdicts struct {
	messages []kafka.Message
	offset   int64
	outputs  []detector.Output
	totals   detector.Totals
}

// maxAheadOfCommit is how many responses a judge task takes beside a transaction that is under way, so that a slow one does not make memory grow.
const maxAheadOfCommit = 4

// keyNext is the state record that says up to which offset progress is in the state.
const keyNext = "next"

// runJudge runs one judge task until ctx is done or something fails.
func (w *Worker) runJudge(ctx context.Context, a assignment, seat *seat) error {
	t, err := w.openJudge(ctx, a, seat)
	if err != nil {
		return err
	}
	defer w.retire("judge", a.task)
	t.report(t.judge.Totals())
	return reading(ctx, t.reader, t.loop)
}

// openJudge takes over a task and restores its judge.
func (w *Worker) openJudge(ctx context.Context, a assignment, seat *seat) (*judgeTask, error) {
	t := &judgeTask{w: w, a: a, seat: seat, judge: detector.NewJudge(w.cfg.Engine(), w.rules), first: map[int64]int64{}}
	t.deltas.Known = t.judge.Known
	p, err := w.broker.takeOver(ctx, w.transactionalID("judge", a.task))
	if err != nil {
		return nil, err
	}
	t.commits = newCommits(w, p, seat)
	return t, t.restore(ctx)
}

// restore reads the state and begins to read deltas where the last owner still needed them.
func (t *judgeTask) restore(ctx context.Context) error {
	group := t.w.groupID("judge")
	offsets, err := t.w.broker.committed(ctx, group, t.a.partitions)
	if err != nil {
		return err
	}
	topic := t.w.cfg.Topics.Panes
	spans, err := t.w.broker.ends(ctx, topic, []int{t.a.task}, kafka.ReadCommitted)
	if err != nil {
		return err
	}
	t.next = spans[t.a.task].first
	at, found := offsets[partition{topic, t.a.task}]
	if found {
		t.next, t.noted = at.CommittedOffset, at.Metadata
	}
	start := t.w.now()
	records, size, err := t.w.readState(ctx, t.a.task)
	if err != nil {
		return err
	}
	t.known = t.next
	i := slices.IndexFunc(records, func(r detector.Record) bool { return r.Key == keyNext })
	if i < 0 && found {
		return fmt.Errorf("cannot restore judge %d: the group %s has an offset in %s, but %s/%d is empty", t.a.task, group, topic,
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
	if err := t.judge.Unread(); err != nil {
		t.w.log.Error("rules in the state can no longer be read: judging goes on under those of the rule file", zap.Int("task", t.a.task), zap.Error(err))
	}
	t.loading, t.edge, t.rules = true, t.judge.Edge(), t.judge.Rules()
	t.at = newAtWork(t.w.cfg.judging(), t.edge)
	t.w.log.Info("judge's state restored", zap.Int("task", t.a.task), zap.Int("records", len(records)), zap.Int("bytes", size),
		zap.Duration("took", t.w.now().Sub(start)), zap.Int64("panes_to_read", t.known-t.next))
	starts := []fetch.Start{{Topic: topic, Partition: t.a.task, Offset: t.next}}
	if starts, err = t.openControl(ctx, starts); err != nil {
		return err
	}
	t.reader = t.w.broker.read(starts)
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

func (t *judgeTask) loop(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, t.commits.finish(t.ended)) }()
	for {
		responses := t.reader.Responses()
		if t.full() {
			responses = nil
		}
		var res *fetch.Response
		select {
		case <-ctx.Done():
			return nil
		case r := <-responses:
			res = &r
		case e := <-t.commits.ended:
			if err := t.ended(e); err != nil {
				return err
			}
		case <-t.commits.changed:
		}
		err := t.step(ctx, res)
		if res != nil {
			res.Release()
		}
		if err != nil {
			return err
		}
	}
}

// full says whether nothing more is to be taken before what was flushed is committed.
func (t *judgeTask) full() bool { return t.unsent != nil && t.ahead >= maxAheadOfCommit }

// step takes what a broker sent, if anything, and begins to commit what there is to tell. What comes meanwhile is taken into panes, none of which is
// closed before the end of the transaction.
func (t *judgeTask) step(ctx context.Context, res *fetch.Response) error {
	if res != nil {
		t.ahead++
		if err := t.response(res); err != nil {
			return err
		}
	}
	if t.unsent == nil && !t.loading {
		t.advance()
	}
	switch {
	case t.unsent != nil:
		t.commits.begin(ctx, t.unsent.messages, map[string][]kafka.TxnOffsetCommit{t.w.cfg.Topics.Panes: {{Partition: t.a.task, Offset: t.unsent.offset, Metadata: t.noted}}})
	case t.judge.Stale():
		return errRulesChanged
	}
	return nil
}

// errRulesChanged ends a task whose judge has to be restored under new rules.
var errRulesChanged = errors.New("the rules have changed, and the windows are read again for the new ones")

func (t *judgeTask) response(res *fetch.Response) error {
	for i := range res.Chunks {
		c := &res.Chunks[i]
		if c.Err != nil {
			return cannotRead(c)
		}
		if c.Topic == t.w.cfg.Topics.Control {
			if err := t.readControl(c); err != nil {
				return err
			}
			continue
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
	kind, err := paneType(r)
	if err != nil {
		return err
	}
	switch kind {
	case wire.TypeDelta:
		d, err := t.deltas.Decode(string(r.Key), r.Value)
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

// advance closes the panes that can be closed. If any were, or a change of the rules ended incidents, what there is to tell, the state that changed and the offset are to be
// committed.
func (t *judgeTask) advance() {
	outputs := t.judge.Advance()
	if t.judge.Edge() == t.edge && len(outputs) == 0 {
		return
	}
	t.edge = t.judge.Edge()
	v := &verdicts{outputs: outputs, offset: t.needed(), totals: t.judge.Totals()}
	for _, o := range outputs {
		topic := t.w.cfg.Topics.Alerts
		if o.Recovery != nil {
			topic = t.w.cfg.Topics.Recovery
		}
		v.messages = append(v.messages, t.w.message(topic, wire.Message(t.w.cfg.Pipeline, o)))
	}
	v.messages = append(append(v.messages, t.applied()...), t.begins()...)
	for _, r := range append(t.judge.Changes(), detector.Record{Key: keyNext, Value: strconv.AppendInt(nil, t.next, 10)}) {
		m := t.w.message(t.w.cfg.Topics.State, wire.Record{Key: []byte(r.Key), Value: r.Value})
		m.Partition = t.a.task
		v.messages = append(v.messages, m)
	}
	t.unsent, t.ahead = v, 0
}

// begins tells what the judge is at work with, where it is something else than last.
func (t *judgeTask) begins() []kafka.Message {
	if t.at.hash == t.noted {
		return nil
	}
	t.noted = t.at.hash
	return []kafka.Message{t.at.tell(t.w, wire.Control{Judge: &t.a.task})}
}

// needed is the offset of the first delta that the windows still need.
func (t *judgeTask) needed() int64 {
	offset := t.next
	for pane, first := range t.first {
		if pane < t.judge.Needs() {
			delete(t.first, pane)
			continue
		}
		offset = min(offset, first)
	}
	return offset
}

// ended goes on after a transaction.
func (t *judgeTask) ended(e ended) error {
	committed, err := t.commits.end(e)
	if !committed {
		return err
	}
	v := t.unsent
	t.unsent = nil
	t.w.metrics.commit("judge", t.commits.took)
	for _, o := range v.outputs {
		t.w.tell(o)
	}
	if file := t.judge.Rules(); file != t.rules {
		t.rules = file
		t.w.log.Info("rules changed", zap.Int("task", t.a.task), zap.String("rules", file.Hash), zap.Stringer("edge", detector.Millis(t.edge)))
	}
	t.report(v.totals)
	return nil
}

// report tells the worker's health how far the task is.
func (t *judgeTask) report(totals detector.Totals) {
	h := wire.HealthTask{Task: t.a.task, Open: new(int)}
	*h.Open = t.judge.Open()
	h.Edge = known(t.judge.Edge())
	t.w.report("judge", h)
	t.w.account(totals)
	t.w.metrics.lost(t.a.task, t.judge.Lost())
	t.w.metrics.kept(t.a.task, t.judge)
}
