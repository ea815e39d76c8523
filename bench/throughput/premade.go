package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// premade is a record batch that is written again and again, of other times: to make it each time would take more than to read it does.
type premade struct {
	data  []byte // its size and the batch
	times []int  // where the time of each record is
	step  time.Duration
}

// Places of a batch's fields behind its size (Kafka documentation, "Record Batch").
const (
	sizeOfSize = 4
	atCRC      = sizeOfSize + 17
	atCRCBegin = sizeOfSize + 21
	atBase     = sizeOfSize + 27
	atMax      = sizeOfSize + 35
)

// premadeOf are batches of so many of the values, one step from one to the next.
func premadeOf(values [][]byte, size int, step time.Duration) (out []*premade, err error) {
	for k := 0; k < max(1, len(values)/size); k++ {
		var records []protocol.Record
		for i := range size {
			value := values[(k*size+i)%len(values)]
			records = append(records, protocol.Record{Time: begin.Add(time.Duration(i) * step), Value: protocol.NewBytes(value)})
		}
		var buf bytes.Buffer
		set := protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(records...)}
		if _, err := set.WriteTo(&buf); err != nil {
			return nil, err
		}
		p := &premade{data: buf.Bytes(), step: step}
		key := []byte(`{"time":"`)
		for at := bytes.Index(p.data, key); at >= 0; {
			at += len(key)
			p.times = append(p.times, at)
			next := bytes.Index(p.data[at:], key)
			if next < 0 {
				break
			}
			at += next
		}
		if len(p.times) != size {
			return nil, errors.New("an event without a time")
		}
		out = append(out, p)
	}
	return out, nil
}

// produce writes the batch as if its first record were of a time.
func (p *premade) produce(ctx context.Context, client *kafka.Client, topic string, partition int, first time.Time) error {
	at := first.UTC()
	for _, i := range p.times {
		at.AppendFormat(p.data[i:i], timeLayout)
		at = at.Add(p.step)
	}
	binary.BigEndian.PutUint64(p.data[atBase:], uint64(first.UnixMilli()))
	binary.BigEndian.PutUint64(p.data[atMax:], uint64(at.Add(-p.step).UnixMilli()))
	binary.BigEndian.PutUint32(p.data[atCRC:], crc32.Checksum(p.data[atCRCBegin:], crc32.MakeTable(crc32.Castagnoli)))
	return patiently(ctx, func() error {
		res, err := client.RawProduce(ctx, &kafka.RawProduceRequest{
			Topic: topic, Partition: partition, RequiredAcks: kafka.RequireOne, RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(p.data)},
		})
		if err == nil {
			err = res.Error
		}
		return err
	})
}
