package pipeline

import (
	"context"
	"slices"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// keeps says whether some source has events remembered, so that the tasks of the first stage need a partition of the state topic each.
func (c *Config) keeps() bool {
	for i := range c.Sources {
		if c.Sources[i].Duplicates.Horizon > 0 {
			return true
		}
	}
	return c.follows()
}

// follows says whether the sessions of some source are followed.
func (c *Config) follows() bool {
	for i := range c.Sources {
		if s := c.Sources[i].sessions(); s.On() {
			return true
		}
	}
	return false
}

// countAttempts adds the attempts at steps that a pane gained to those so far, by how they ended.
func countAttempts(d *detector.Delta, sum map[string]int64) {
	for i := range d.Series {
		s := &d.Series[i]
		if s.Kind != rules.KindAttempt {
			continue
		}
		if n := slices.IndexFunc(s.Labels, func(l detector.Label) bool { return l.Name == "action" }); n >= 0 {
			sum[s.Labels[n].Value] += s.Count
		}
	}
}

// keptPartition is the partition of the state topic that an aggregate task's changelog is in: behind those of the judges, which so read
// nothing of it.
func (c *Config) keptPartition(task int) int { return c.Tasks.Judge + task }

// restoreKept takes up what was kept of the partitions' events where each of them stands; next is how far each was accounted for. What was
// kept up to another offset is of no use: it was written before the feature was turned off, or the group's offsets were moved. It is
// forgotten.
func (t *aggregateTask) restoreKept(ctx context.Context, next map[detector.Source]int64) error {
	if !t.w.cfg.keeps() {
		return nil
	}
	start := t.w.now()
	records, size, err := t.w.readState(ctx, t.w.cfg.keptPartition(t.a.task))
	if err != nil {
		return err
	}
	kept, err := wire.DecodeKept(records)
	if err != nil {
		return err
	}
	for _, s := range t.order {
		k := kept[s.Source]
		if k == nil || !s.Keeps() || k.To != next[s.Source] {
			continue
		}
		delete(kept, s.Source)
		if err := s.Restore(k.Kept); err != nil {
			return err
		}
	}
	for s, k := range kept {
		t.w.log.Warn("what was kept of a partition's events is of no use any more and is forgotten", zap.String("topic", s.Topic),
			zap.Int("partition", s.Partition), zap.Int64("up_to", k.To), zap.Int64("taken_up_at", next[s]))
		for _, key := range k.Keys {
			t.forgotten = append(t.forgotten, wire.Record{Key: []byte(key)})
		}
	}
	t.w.log.Info("what was kept of events is restored", zap.Int("task", t.a.task), zap.Int("records", len(records)), zap.Int("bytes", size),
		zap.Duration("took", t.w.now().Sub(start)))
	return nil
}

// keptMessages are the changes since the last flush of what is kept of the partitions that moved.
func (t *aggregateTask) keptMessages() []kafka.Message {
	records := t.forgotten
	t.forgotten = nil
	for _, s := range t.order {
		if s.Keeps() && s.Moved() {
			changes := s.Changes()
			records = append(records, wire.EncodeKept(s.Source, s.Offset(), &changes)...)
		}
	}
	var out []kafka.Message
	for _, r := range records {
		m := t.w.message(t.w.cfg.Topics.State, r)
		m.Partition = t.w.cfg.keptPartition(t.a.task)
		out = append(out, m)
	}
	return out
}
