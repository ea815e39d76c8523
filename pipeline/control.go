package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// controlReader is how far a judge task has read the control topic.
type controlReader struct {
	next   int64
	walker fetch.Walker
}

// openControl lets the judge hear what is in the control topic by now, before it takes a delta or judges: words that are in the log already are
// applied where the log says, and rules find all that they need in the deltas. Then it begins to read on.
func (t *judgeTask) openControl(ctx context.Context, starts []fetch.Start) (_ []fetch.Start, err error) {
	if t.control.next, err = t.w.readControl(ctx, t.judge.Heard(), t.hear); err != nil {
		return nil, err
	}
	return append(starts, fetch.Start{Topic: t.w.cfg.Topics.Control, Offset: t.control.next}), nil
}

// readControl hands over the records of the control topic from an offset on, and returns where it ends.
func (w *Worker) readControl(ctx context.Context, from int64, take func(*fetch.Record)) (end int64, err error) {
	topic := w.cfg.Topics.Control
	spans, err := w.broker.ends(ctx, topic, []int{0}, kafka.ReadCommitted)
	if err != nil {
		return from, err
	}
	start := fetch.Start{Topic: topic, Offset: max(from, spans[0].first)}
	err = readRange(ctx, w.broker.read, start, spans[0].end, func(r *fetch.Record) error {
		take(r)
		return nil
	})
	if err != nil {
		return from, err
	}
	return max(start.Offset, spans[0].end), nil
}

// readControl lets the judge hear what has come.
func (t *judgeTask) readControl(c *fetch.Chunk) error {
	w := &t.control.walker
	for w.Reset(c, t.control.next); w.Next(); {
		if r := w.Record(); !r.Control {
			t.hear(r)
		}
	}
	if err := w.Err(); err != nil {
		return fmt.Errorf("cannot read %s/%d: %w", c.Topic, c.Partition, err)
	}
	t.control.next = w.Position()
	return nil
}

// hear lets the judge hear one record. One that cannot be read says nothing, to no judge.
func (t *judgeTask) hear(r *fetch.Record) {
	control, err := wire.DecodeControl(r.Value, t.w.cfg.RuleOptions())
	if err != nil {
		t.w.log.Warn("a control record is passed over", zap.String("topic", t.w.cfg.Topics.Control), zap.Int64("offset", r.Offset), zap.Error(err))
		t.judge.Hear(r.Offset, nil, 0)
		return
	}
	if control.Rules != nil {
		t.w.log.Info("rules heard", zap.Int("task", t.a.task), zap.String("rules", control.Hash), zap.Int64("offset", r.Offset), due(control.Time))
	}
	hear(t.judge, t.a.task, r.Offset, control)
}

// ControlRecord is a record of the control topic and its offset.
type ControlRecord struct {
	Offset  int64
	Control *wire.Control
}

// ReadControl reads a file of control records, one a line; their offsets count the lines from 0. Every mistake is told at once. Rules are checked
// as opt says.
func ReadControl(name string, opt rules.Options) (out []ControlRecord, err error) {
	lines, err := openLines(name, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lines.close()) }()
	var mistakes []error
	for {
		line, number, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		c, err := wire.DecodeControl(line, opt)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s:%d: %w", name, number+1, err))
			continue
		}
		out = append(out, ControlRecord{number, c})
	}
	return out, errors.Join(mistakes...)
}

// hear lets a judge hear one control record, in order of their offsets.
func hear(j *detector.Judge, task int, offset int64, c *wire.Control) {
	switch c.Act.Act {
	case wire.ActApplied:
		j.Hear(offset, nil, 0)
		if *c.Judge == task {
			j.HearApplied(detector.Applied{Offset: *c.Offset, Edge: int64(c.Edge)})
		}
	case wire.ActSettings:
		j.Hear(offset, nil, 0)
	default:
		j.Hear(offset, &c.Act, 0)
	}
}

// applied are the records that say at which edges acts were applied, where their time does not.
func (t *judgeTask) applied() (messages []kafka.Message) {
	for _, a := range t.judge.Applied() {
		messages = append(messages, t.w.message(t.w.cfg.Topics.Control, wire.Applied(t.a.task, a)))
	}
	return messages
}

// Say writes a control record and returns its offset.
func Say(ctx context.Context, c *Config, client *kafka.Client, control wire.Control, headers ...kafka.Header) (int64, error) {
	res, err := client.Produce(ctx, &kafka.ProduceRequest{
		Topic: c.Topics.Control, Partition: 0, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes(wire.JSON(control)), Headers: headers}),
	})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return 0, fmt.Errorf("cannot write to %s/0: %w", c.Topics.Control, err)
	}
	return res.BaseOffset, nil
}

// onlooker is a worker that reads for somebody who waits for it, and gives up when nothing comes.
func onlooker(c *Config, client *kafka.Client) *Worker {
	w := NewWorker(WorkerOptions{Config: c, Client: client, Log: zap.NewNop()})
	w.broker.(*kafkaBroker).patience = Patience
	return w
}

// ReadEdge is the event time up to which all judges of the pipeline have told everything, the smallest int64 where one has told nothing yet.
func ReadEdge(ctx context.Context, c *Config, client *kafka.Client) (int64, error) {
	edge := noLow
	if _, err := c.there(ctx, c.Topics.State); err != nil {
		return edge, err
	}
	w := onlooker(c, client)
	for task := range c.Tasks.Judge {
		records, _, err := w.readState(ctx, task)
		if err != nil {
			return edge, err
		}
		at, err := detector.EdgeOf(records)
		if err != nil {
			return edge, err
		}
		edge = min(edge, at)
	}
	return edge, nil
}

// there is how many partitions topics have that somebody wants to read. One that is missing is an error: that there is nothing on it would be no answer.
func (c *Config) there(ctx context.Context, topics ...string) (map[string]int, error) {
	found, err := c.partitionsOf(ctx, topics)
	if err != nil {
		return nil, err
	}
	var missing []error
	for _, topic := range topics {
		if found[topic] == 0 {
			missing = append(missing, fmt.Errorf("topic %s is missing: sevwatch topics --create makes it", topic))
		}
	}
	if len(missing) > 0 {
		return nil, &TopicError{errors.Join(missing...)}
	}
	return found, nil
}

// ReadPublished calls take with the value of every message that the pipeline has put on the alerts and recovery topics, in no order. edge is that of
// ReadEdge before that; cut says that the oldest messages are gone. It waits
// until transactions are over that are open now.
func ReadPublished(ctx context.Context, c *Config, client *kafka.Client, take func(value []byte) error) (edge int64, cut bool, err error) {
	found, err := c.there(ctx, c.Topics.Alerts, c.Topics.Recovery)
	if err != nil {
		return edge, cut, err
	}
	if edge, err = ReadEdge(ctx, c, client); err != nil {
		return edge, cut, err
	}
	w := onlooker(c, client)
	for _, topic := range []string{c.Topics.Alerts, c.Topics.Recovery} {
		for id := range found[topic] {
			spans, err := w.broker.ends(ctx, topic, []int{id}, kafka.ReadUncommitted) // behind what is open now may be what is committed
			if err != nil {
				return edge, cut, err
			}
			cut = cut || spans[id].first > 0
			err = readRange(ctx, w.broker.read, fetch.Start{Topic: topic, Partition: id, Offset: spans[id].first}, spans[id].end, func(r *fetch.Record) error {
				headers, err := r.Headers()
				ours := func(h fetch.Header) bool {
					return h.Key == wire.HeaderSource && string(h.Value) == wire.SourceOf(c.Pipeline)
				}
				if err == nil && slices.ContainsFunc(headers, ours) {
					err = take(r.Value)
				}
				return err
			})
			if err != nil {
				return edge, cut, err
			}
		}
	}
	return edge, cut, nil
}

// ReadMessages calls take with the value of every message on the alerts and recovery topics as they are now.
func ReadMessages(ctx context.Context, c *Config, client *kafka.Client, take func(value []byte) error) error {
	w := onlooker(c, client)
	topics := []string{c.Topics.Alerts, c.Topics.Recovery}
	found, err := c.there(ctx, topics...)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		for id := range found[topic] {
			if err := w.scan(ctx, topic, id, 0, func(r *fetch.Record) error { return take(r.Value) }); err != nil {
				return err
			}
		}
	}
	return nil
}
