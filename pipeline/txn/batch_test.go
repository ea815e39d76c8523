package txn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// TestBatchAgainstKafkaGo: a batch is what kafka-go writes of the same records, but for what only a transaction has.
func TestBatchAgainstKafkaGo(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 2))
	text := func() []byte {
		switch n := g.IntN(8); n {
		case 0:
			return nil
		case 1:
			return []byte{}
		default:
			b := make([]byte, g.IntN(1<<(2*n)))
			for i := range b {
				b[i] = byte(g.Uint32())
			}
			return b
		}
	}
	boxed := func(b []byte) protocol.Bytes {
		if b == nil {
			return nil
		}
		return protocol.NewBytes(b)
	}
	for round := range 200 {
		var messages []kafka.Message
		var records []protocol.Record
		for range 1 + g.IntN(200) {
			m := kafka.Message{Topic: "t", Time: time.UnixMilli(1 + g.Int64N(1<<g.IntN(43))), Key: text(), Value: text()}
			for i := range g.IntN(4) {
				m.Headers = append(m.Headers, kafka.Header{Key: fmt.Sprint("header", i), Value: text()})
			}
			messages = append(messages, m)
			records = append(records, protocol.Record{Time: m.Time, Key: boxed(m.Key), Value: boxed(m.Value), Headers: m.Headers})
		}
		p := &Producer{cfg: Config{BatchBytes: 1 << 30}, pid: g.Int(), epoch: g.IntN(1 << 15), sequence: map[partition]int32{{"t", 0}: g.Int32()}}
		batches := p.encode(messages)
		if len(batches) != 1 {
			t.Fatalf("round %d: %d batches, expected 1", round, len(batches))
		}
		b := batches[0].data
		size := recordsBegin
		for i := range messages {
			size += recordSize(&messages[i])
		}
		if len(b) > size {
			t.Errorf("round %d: %d bytes, expected at most %d", round, len(b), size)
		}
		if pid, epoch := binary.BigEndian.Uint64(b[47:]), binary.BigEndian.Uint16(b[55:]); pid != uint64(p.pid) || epoch != uint16(p.epoch) {
			t.Errorf("round %d: producer %d, epoch %d, expected %d, %d", round, pid, epoch, p.pid, p.epoch)
		}
		if n := binary.BigEndian.Uint32(b[57:]); n != uint32(p.sequence[partition{"t", 0}]) {
			t.Errorf("round %d: sequence %d", round, n)
		}
		var theirs bytes.Buffer
		set := protocol.RecordSet{Version: 2, Attributes: protocol.Transactional, Records: protocol.NewRecordReader(records...)}
		if _, err := set.WriteTo(&theirs); err != nil {
			t.Fatal(err)
		}
		ours := bytes.Clone(b)
		want := theirs.Bytes()
		for _, x := range [][]byte{ours, want} {
			clear(x[atCRC:crcBegins])
			clear(x[crcBegins+22 : crcBegins+36]) // producer, epoch and sequence
		}
		if !bytes.Equal(ours, want) {
			i := 0
			for i < min(len(ours), len(want)) && ours[i] == want[i] {
				i++
			}
			t.Fatalf("round %d: %d bytes, expected %d; they differ from byte %d on:\n%x\n%x", round, len(ours), len(want), i, ours[i:min(i+40, len(ours))], want[i:min(i+40, len(want))])
		}
		var set2 protocol.RecordSet // which checks the checksum
		if _, err := set2.ReadFrom(bytes.NewReader(b)); err != nil {
			t.Fatalf("round %d: kafka-go cannot read it: %v", round, err)
		}
	}
}

// TestMessageWithoutATimeIsOfNow: a broker that keeps records for some days would let go at once of one that is of 1970.
func TestMessageWithoutATimeIsOfNow(t *testing.T) {
	before := time.Now().UnixMilli()
	p := &Producer{cfg: Config{BatchBytes: 1000}}
	for _, at := range []time.Time{{}, time.UnixMilli(0)} {
		b := p.encode([]kafka.Message{{Time: at}})[0].data
		for _, x := range [][]byte{b[crcBegins+6:], b[crcBegins+14:]} {
			if ms := int64(binary.BigEndian.Uint64(x)); ms < before || ms > time.Now().UnixMilli() {
				t.Errorf("a message of %v is of %d, expected now", at, ms)
			}
		}
	}
}
