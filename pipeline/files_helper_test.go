package pipeline

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/kafkatest"
)

// writeLines writes a file of its own.
func writeLines(t testing.TB, lines [][]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	check(t, os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600))
	return path
}

// readAll reads one partition to its end, read committed: while a transaction is being ended, it waits for that.
func readAll(ctx context.Context, c *Config, client *kafka.Client, topic string, id int) (out []kafkatest.Record, err error) {
	spans, err := ends(ctx, client, topic, []int{id}, kafka.ReadUncommitted)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := fetch.New(fetch.Config{Dialer: c.newDialer(), Brokers: c.Brokers, Isolation: kafka.ReadCommitted},
		[]fetch.Start{{Topic: topic, Partition: id, Offset: spans[id].first}})
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, ignoreCancelled(<-done))
	}()
	var walker fetch.Walker
	for next := spans[id].first; next < spans[id].end; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case res := <-f.Responses():
			for i := range res.Chunks {
				for walker.Reset(&res.Chunks[i], next); walker.Next(); {
					r := walker.Record()
					if r.Control {
						continue
					}
					k := kafkatest.Record{
						Partition: id, Offset: r.Offset, TimestampMs: r.Time, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value),
					}
					headers, err := r.Headers()
					if err != nil {
						return nil, err
					}
					for _, h := range headers {
						k.Headers = append(k.Headers, kafka.Header{Key: h.Key, Value: slices.Clone(h.Value)})
					}
					out = append(out, k)
				}
				if err := walker.Err(); err != nil {
					return nil, err
				}
				next = walker.Position()
			}
			res.Release()
		}
	}
	return out, nil
}
