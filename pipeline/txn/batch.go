package txn

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// batch is one record batch as it is sent.
type batch struct {
	partition
	data []byte // a 4-byte size, then the batch
	next int32  // sequence number behind it
}

// encode makes the batches of all messages, partition by partition in the order of their first message. Sequence numbers go on from
// what the broker has taken.
func (p *Producer) encode(messages []kafka.Message) ([]batch, error) {
	var order []partition
	by := map[partition][]protocol.Record{}
	for i := range messages {
		m := &messages[i]
		at := partition{m.Topic, m.Partition}
		if _, seen := by[at]; !seen {
			order = append(order, at)
		}
		by[at] = append(by[at], protocol.Record{
			Time: m.Time, Key: bytesOf(m.Key), Value: bytesOf(m.Value), Headers: m.Headers,
		})
	}
	var out []batch
	for _, at := range order {
		sequence := p.sequence[at]
		for records := by[at]; len(records) > 0; {
			n := fitting(records, p.cfg.BatchBytes)
			b, err := p.encodeBatch(at, records[:n], sequence)
			if err != nil {
				return nil, err
			}
			out = append(out, b)
			records, sequence = records[n:], b.next
		}
	}
	return out, nil
}

// bytesOf keeps null apart from empty.
func bytesOf(b []byte) protocol.Bytes {
	if b == nil {
		return nil
	}
	return protocol.NewBytes(b)
}

// fitting is how many of the records go into one batch: at least one.
func fitting(records []protocol.Record, limit int) int {
	size := 0
	for i, r := range records {
		size += recordSize(r)
		if i > 0 && size > limit {
			return i
		}
	}
	return len(records)
}

// recordSize is a bound for a record's encoded size.
func recordSize(r protocol.Record) int {
	size := 32
	for _, b := range []protocol.Bytes{r.Key, r.Value} {
		if b != nil {
			size += b.Len()
		}
	}
	for _, h := range r.Headers {
		size += 10 + len(h.Key) + len(h.Value)
	}
	return size
}

// Where the fields of a record batch lie, behind the 4-byte size (Kafka documentation, "Record Batch").
const (
	sizePrefix  = 4
	atCRC       = sizePrefix + 17
	atCRCBegins = sizePrefix + 21
	atProducer  = sizePrefix + 43
	atEpoch     = sizePrefix + 51
	atSequence  = sizePrefix + 53
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeBatch lets kafka-go encode the records and puts the producer's session into the header, which kafka-go leaves empty.
func (p *Producer) encodeBatch(at partition, records []protocol.Record, sequence int32) (batch, error) {
	var buf bytes.Buffer
	set := protocol.RecordSet{Version: 2, Attributes: protocol.Transactional, Records: protocol.NewRecordReader(records...)}
	if _, err := set.WriteTo(&buf); err != nil {
		return batch{}, fmt.Errorf("encoding %d records for %s/%d: %w", len(records), at.topic, at.id, err)
	}
	data := buf.Bytes()
	binary.BigEndian.PutUint64(data[atProducer:], uint64(p.pid))
	binary.BigEndian.PutUint16(data[atEpoch:], uint16(p.epoch))
	binary.BigEndian.PutUint32(data[atSequence:], uint32(sequence))
	binary.BigEndian.PutUint32(data[atCRC:], crc32.Checksum(data[atCRCBegins:], castagnoli))
	return batch{at, data, int32((int64(sequence) + int64(len(records))) & 0x7fffffff)}, nil
}

// produce sends one batch. A leader that moved is looked for again; the broker drops a repeated sequence, so that cannot double.
func (p *Producer) produce(ctx context.Context, b batch) error {
	return Retry(ctx, p.cfg.Timeout, func() error {
		res, err := p.cfg.Client.RawProduce(ctx, &kafka.RawProduceRequest{
			Topic: b.topic, Partition: b.id, RequiredAcks: kafka.RequireAll, TransactionalID: p.cfg.ID,
			RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(b.data)},
		})
		if err != nil {
			return err
		}
		return res.Error
	})
}
