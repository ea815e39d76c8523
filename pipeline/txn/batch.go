package txn

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"

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
func (p *Producer) encode(messages []kafka.Message) []batch {
	var order []partition
	by := map[partition][]*kafka.Message{}
	for i := range messages {
		at := partition{messages[i].Topic, messages[i].Partition}
		if _, seen := by[at]; !seen {
			order = append(order, at)
		}
		by[at] = append(by[at], &messages[i])
	}
	now := time.Now()
	var out []batch
	for _, at := range order {
		sequence := p.sequence[at]
		for records := by[at]; len(records) > 0; {
			n, size := fitting(records, p.cfg.BatchBytes)
			b := batch{at, p.encodeBatch(records[:n], size, sequence, now), int32((int64(sequence) + int64(n)) & 0x7fffffff)}
			out = append(out, b)
			records, sequence = records[n:], b.next
		}
	}
	return out
}

// fitting is how many of the records go into one batch, at least one, and a bound for what they take there.
func fitting(records []*kafka.Message, limit int) (n, size int) {
	for i, r := range records {
		s := recordSize(r)
		if i > 0 && size+s > limit {
			return i, size
		}
		size += s
	}
	return len(records), size
}

// recordSize is a bound for a record's encoded size: besides its texts it has a byte, a time of ten bytes at most, and five lengths and counts of five.
func recordSize(r *kafka.Message) int {
	size := 36 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += 10 + len(h.Key) + len(h.Value)
	}
	return size
}

// Where a record batch begins behind the 4-byte size, and its fields lie (Kafka documentation, "Record Batch").
const (
	batchBegins   = 4
	atLength      = batchBegins + 8
	atCRC         = batchBegins + 17
	crcBegins     = batchBegins + 21
	recordsBegin  = batchBegins + 61
	magic         = 2
	transactional = 1 << 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeBatch makes one batch of records, which take size bytes at most.
func (p *Producer) encodeBatch(records []*kafka.Message, size int, sequence int32, now time.Time) []byte {
	first, last := timeOf(records[0], now), int64(0)
	for _, r := range records {
		last = max(last, timeOf(r, now))
	}
	order := binary.BigEndian
	b := make([]byte, batchBegins+8+4, recordsBegin+size)
	b = order.AppendUint32(b, math.MaxUint32) // the leader's epoch: it is not known here
	b = append(b, magic, 0, 0, 0, 0)
	b = order.AppendUint16(b, transactional)
	b = order.AppendUint32(b, uint32(len(records)-1))
	b = order.AppendUint64(b, uint64(first))
	b = order.AppendUint64(b, uint64(last))
	b = order.AppendUint64(b, uint64(p.pid))
	b = order.AppendUint16(b, uint16(p.epoch))
	b = order.AppendUint32(b, uint32(sequence))
	b = order.AppendUint32(b, uint32(len(records)))
	var before, behind []byte // what a record has before its value, and behind it
	for i, r := range records {
		before = binary.AppendVarint(append(before[:0], 0), timeOf(r, now)-first)
		before = binary.AppendVarint(before, int64(i))
		before = append(appendLength(before, r.Key), r.Key...)
		before = appendLength(before, r.Value)
		behind = binary.AppendVarint(behind[:0], int64(len(r.Headers)))
		for _, h := range r.Headers {
			behind = append(binary.AppendVarint(behind, int64(len(h.Key))), h.Key...)
			behind = append(appendLength(behind, h.Value), h.Value...)
		}
		b = binary.AppendVarint(b, int64(len(before)+len(r.Value)+len(behind)))
		b = append(append(append(b, before...), r.Value...), behind...)
	}
	order.PutUint32(b, uint32(len(b)-batchBegins))
	order.PutUint32(b[atLength:], uint32(len(b)-atLength-4))
	order.PutUint32(b[atCRC:], crc32.Checksum(b[crcBegins:], castagnoli))
	return b
}

// timeOf is a message's time in epoch ms; one without was made now.
func timeOf(m *kafka.Message, now time.Time) int64 {
	if t := m.Time.UnixMilli(); t > 0 {
		return t
	}
	return now.UnixMilli()
}

// appendLength appends how many bytes a text has. It keeps null apart from empty.
func appendLength(b, text []byte) []byte {
	if text == nil {
		return binary.AppendVarint(b, -1)
	}
	return binary.AppendVarint(b, int64(len(text)))
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
