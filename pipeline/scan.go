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

// scan reads a partition of one of our own topics from an offset on to its end, without transactions' markers. What take is given holds
// only until it returns.
func (w *Worker) scan(ctx context.Context, topic string, id int, from int64, take func(*fetch.Record) error) (err error) {
	spans, err := w.broker.ends(ctx, topic, []int{id}, kafka.ReadCommitted)
	if err != nil {
		return err
	}
	next, end := max(from, spans[id].first), spans[id].end
	ctx, cancel := context.WithCancel(ctx)
	f := w.broker.read([]fetch.Start{{Topic: topic, Partition: id, Offset: next}})
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, ignoreCancelled(<-done))
	}()
	var walker fetch.Walker
	for next < end {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case res := <-f.Responses():
			for i := range res.Chunks {
				if next, err = scanChunk(&walker, &res.Chunks[i], next, take); err != nil {
					return fmt.Errorf("cannot read %s/%d: %w", topic, id, err)
				}
			}
			res.Release()
		}
	}
	return nil
}

func scanChunk(walker *fetch.Walker, c *fetch.Chunk, next int64, take func(*fetch.Record) error) (int64, error) {
	if c.Err != nil {
		return next, c.Err
	}
	for walker.Reset(c, next); walker.Next(); {
		if r := walker.Record(); !r.Control {
			if err := take(r); err != nil {
				return next, err
			}
		}
	}
	return walker.Position(), walker.Err()
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
