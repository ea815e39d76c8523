package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// premade is a record batch that is written again and again, of other times: to make it each time would take more than to read it does.
type premade struct {
	data   []byte   // its size and the batch
	values [][]byte // of the records, in data
	step   time.Duration

	replaced map[int][]byte // what was in the places of others
}

// Places of a batch's fields behind its size (Kafka documentation, "Record Batch").
const (
	sizeOfSize   = 4
	atLength     = sizeOfSize + 8
	atCRC        = sizeOfSize + 17
	atAttributes = sizeOfSize + 21 // the checksum is of all from here on
	atBase       = sizeOfSize + 27
	atMax        = sizeOfSize + 35
	atRecords    = sizeOfSize + 61
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
		at := 0
		for i := range size {
			value := values[(k*size+i)%len(values)]
			begin := bytes.Index(p.data[at:], value)
			if begin < 0 {
				return nil, errors.New("an event is not where it should be")
			}
			at += begin + len(value)
			p.values = append(p.values, p.data[at-len(value):at])
		}
		out = append(out, p)
	}
	return out, nil
}

// timed is how an event begins, up to its time.
const timed = `{"time":"`

// at makes the batch one whose first record is of a time, with other records in the places of some, which may be no longer. It holds until the next
// call.
func (p *premade) at(first time.Time, others map[int]string) []byte {
	for i, value := range p.replaced {
		copy(p.values[i], value)
	}
	p.replaced = map[int][]byte{}
	for i, text := range others {
		value := p.values[i]
		p.replaced[i] = bytes.Clone(value)
		text = strings.TrimSuffix(text, "}")
		copy(value, text+strings.Repeat(" ", len(value)-len(text)-1)+"}")
	}
	at := first.UTC()
	var text []byte
	printed := int64(-1)
	for _, value := range p.values {
		if ms := at.UnixMilli(); ms != printed { // to print a time takes longer than all the rest
			text, printed = at.AppendFormat(text[:0], timeLayout), ms
		}
		copy(value[len(timed):], text)
		at = at.Add(p.step)
	}
	binary.BigEndian.PutUint64(p.data[atBase:], uint64(first.UnixMilli()))
	binary.BigEndian.PutUint64(p.data[atMax:], uint64(at.Add(-p.step).UnixMilli()))
	return sealed(p.data)
}

// sealed writes the batch's checksum.
func sealed(batch []byte) []byte {
	binary.BigEndian.PutUint32(batch[atCRC:], crc32.Checksum(batch[atAttributes:], castagnoli))
	return batch
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// compressed is a batch like that with its records compressed.
func compressed(batch []byte, codec kafka.Compression) ([]byte, error) {
	var out bytes.Buffer
	out.Write(batch[:atRecords])
	w := codec.Codec().NewWriter(&out)
	_, err := w.Write(batch[atRecords:])
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	b := out.Bytes()
	binary.BigEndian.PutUint32(b, uint32(len(b)-sizeOfSize))
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-atLength-sizeOfSize))
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(codec))
	return sealed(b), nil
}

// produceRaw writes a batch, its size before it.
func produceRaw(ctx context.Context, client *kafka.Client, topic string, partition int, batch []byte) error {
	return patiently(ctx, func() error {
		res, err := client.RawProduce(ctx, &kafka.RawProduceRequest{
			Topic: topic, Partition: partition, RequiredAcks: kafka.RequireOne, RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(batch)},
		})
		if err == nil {
			err = res.Error
		}
		return err
	})
}
