package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/fetch"
)

// perPartition runs read for every partition at once and returns how many records a second all of them together have read.
func perPartition(topic string, partitions int, read func(partition int) (int, error)) (float64, error) {
	type result struct {
		n   int
		err error
	}
	results := make(chan result, partitions)
	start := time.Now()
	for p := range partitions {
		go func() {
			n, err := read(p)
			results <- result{n, err}
		}()
	}
	total := 0
	var errs []error
	for range partitions {
		r := <-results
		total += r.n
		errs = append(errs, r.err)
	}
	if err := errors.Join(errs...); err != nil {
		return 0, fmt.Errorf("reading %s: %w", topic, err)
	}
	return float64(total) / time.Since(start).Seconds(), nil
}

// askedAtOnce are the sizes of responses that readBatches is tried with: how large they are matters, because each ends with a batch that is cut off.
var askedAtOnce = []int{1 << 20, 2 << 20, 4 << 20}

// readBatches is the fastest way that kafka-go has to read: Conn.ReadBatch and Batch.Read, a connection a partition. It sees neither
// timestamps nor headers.
func readBatches(ctx context.Context, broker, topic string, ends []int64, size int) (float64, error) {
	return perPartition(topic, len(ends), func(p int) (int, error) {
		conn, err := kafka.DialLeader(ctx, "tcp", broker, topic, p)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		buf := make([]byte, 64<<10)
		n := 0
		for n < int(ends[p]) {
			batch := conn.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: size, MaxWait: time.Second})
			for {
				if _, err = batch.Read(buf); err != nil {
					break
				}
				n++
			}
			if closed := batch.Close(); closed != nil {
				return n, closed
			}
			if !errors.Is(err, io.EOF) {
				return n, err
			}
		}
		return n, nil
	})
}

// readRaw is our own fetch alone, a fetcher a partition, every record looked at.
func readRaw(ctx context.Context, broker, topic string, ends []int64) (float64, error) {
	return perPartition(topic, len(ends), func(p int) (int, error) {
		n := 0
		var w fetch.Walker
		err := follow(ctx, broker, topic, p, func(c *fetch.Chunk) (bool, error) {
			for w.Reset(c, w.Position()); w.Next(); {
				if !w.Record().Control {
					n++
				}
			}
			return w.Position() >= ends[p], w.Err()
		})
		return n, err
	})
}

// follow reads a partition from its start on until take has had enough.
func follow(ctx context.Context, broker, topic string, partition int, take func(*fetch.Chunk) (bool, error)) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	f := fetch.New(fetch.Config{
		Dialer: &kafka.Dialer{Timeout: 10 * time.Second}, Brokers: []string{broker}, Isolation: kafka.ReadCommitted, MaxWait: 20 * time.Millisecond,
	}, []fetch.Start{{Topic: topic, Partition: partition}})
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	defer func() {
		cancel()
		if ran := <-ended; !errors.Is(ran, context.Canceled) {
			err = errors.Join(err, ran)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case res := <-f.Responses():
			for i := range res.Chunks {
				if res.Chunks[i].Err != nil {
					return res.Chunks[i].Err
				}
				if done, err := take(&res.Chunks[i]); done || err != nil {
					res.Release()
					return err
				}
			}
			res.Release()
		}
	}
}

// endsOf are the ends of a topic's partitions.
func endsOf(ctx context.Context, client *kafka.Client, topic string, partitions int) ([]int64, error) {
	ends := make([]int64, partitions)
	var ask []kafka.OffsetRequest
	for p := range partitions {
		ask = append(ask, kafka.LastOffsetOf(p))
	}
	res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: ask}, IsolationLevel: kafka.ReadCommitted,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		ends[p.Partition] = p.LastOffset
	}
	return ends, nil
}
