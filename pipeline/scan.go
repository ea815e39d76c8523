package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
)

// scan hands over the records of a partition of one of our own topics from an offset on to its end.
func (w *Worker) scan(ctx context.Context, topic string, id int, from int64, take func(*fetch.Record) error) error {
	spans, err := w.broker.ends(ctx, topic, []int{id}, kafka.ReadCommitted)
	if err != nil {
		return err
	}
	start := fetch.Start{Topic: topic, Partition: id, Offset: max(from, spans[id].first)}
	return readRange(ctx, w.broker.read, start, spans[id].end, take)
}

// readRange hands over every record of one partition in [start, end), without transactions' markers. What record is given holds only until it
// returns.
func readRange(ctx context.Context, read func([]fetch.Start) reader, start fetch.Start, end int64, record func(*fetch.Record) error) error {
	if start.Offset >= end {
		return nil
	}
	f := read([]fetch.Start{start})
	return reading(ctx, f, func(ctx context.Context) error {
		var walker fetch.Walker
		for next := start.Offset; next < end; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case res := <-f.Responses():
				position, err := walkRange(&walker, &res, next, end, record)
				res.Release()
				if err != nil {
					return fmt.Errorf("cannot read %s/%d: %w", start.Topic, start.Partition, err)
				}
				next = position
			}
		}
		return nil
	})
}

// cannotRead is why nothing more comes of a partition.
func cannotRead(c *fetch.Chunk) error {
	if errors.Is(c.Err, fetch.ErrAnotherTopic) {
		return fmt.Errorf("cannot go on with %s/%d at offset %d: %w", c.Topic, c.Partition, c.Position, c.Err)
	}
	return fmt.Errorf("cannot read %s/%d at offset %d (the log begins at %d): %w", c.Topic, c.Partition, c.Position, c.LogStart, c.Err)
}

func walkRange(w *fetch.Walker, res *fetch.Response, next, end int64, record func(*fetch.Record) error) (int64, error) {
	for i := range res.Chunks {
		if err := res.Chunks[i].Err; err != nil {
			return next, err
		}
		for w.Reset(&res.Chunks[i], next); w.Next() && w.Record().Offset < end; {
			if w.Record().Control {
				continue
			}
			if err := record(w.Record()); err != nil {
				return next, err
			}
		}
		if err := w.Err(); err != nil {
			return next, err
		}
		next = w.Position()
	}
	return next, nil
}

// readState reads one partition of the state topic to its end: the last value of each key, in the order of keys.
func (w *Worker) readState(ctx context.Context, task int) (records []detector.Record, size int, err error) {
	latest := map[string][]byte{}
	err = w.scan(ctx, w.cfg.Topics.State, task, 0, func(r *fetch.Record) error {
		latest[string(r.Key)] = slices.Clone(r.Value)
		return nil
	})
	for key, value := range latest {
		if len(value) > 0 {
			records = append(records, detector.Record{Key: key, Value: value})
			size += len(key) + len(value)
		}
	}
	slices.SortFunc(records, func(x, y detector.Record) int { return strings.Compare(x.Key, y.Key) })
	return records, size, err
}

// told is what the log knows of each source partition, whatever the group has forgotten: the last progress that the first judge keeps in its
// state, or that it has yet to read.
func (w *Worker) told(ctx context.Context) (map[detector.Source]detector.PartitionProgress, error) {
	records, _, err := w.readState(ctx, 0)
	if err != nil {
		return nil, err
	}
	out := map[detector.Source]detector.PartitionProgress{}
	next := int64(0)
	for _, r := range records {
		if r.Key == keyNext {
			next, err = strconv.ParseInt(string(r.Value), 10, 64)
		} else if detector.IsSource(r.Key) {
			var p detector.PartitionProgress
			err = json.Unmarshal(r.Value, &p)
			out[p.Source] = p
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the state record %q: %w", r.Key, err)
		}
	}
	err = w.scan(ctx, w.cfg.Topics.Panes, 0, next, func(r *fetch.Record) error {
		if kind, err := paneType(r); err != nil || kind != wire.TypeProgress {
			return err
		}
		p, err := wire.DecodeProgress(r.Value)
		if err != nil {
			return err
		}
		for _, x := range p.Partitions {
			out[x.Source] = x
		}
		return nil
	})
	return out, err
}

// paneType says whether a record of the panes topic is a delta or a progress record.
func paneType(r *fetch.Record) (kind string, err error) {
	headers, err := r.Headers()
	for _, h := range headers {
		if h.Key == wire.HeaderType {
			kind = string(h.Value)
		}
	}
	return kind, err
}
