package fetch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"sevwatch/pipeline/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

// log is a topic of two partitions on a broker.
type log struct {
	t      *testing.T
	ctx    context.Context
	addr   string
	topic  string
	client *kafka.Client
}

func newLog(t *testing.T, addr string) *log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	l := &log{t: t, ctx: ctx, addr: addr, topic: kafkatest.Topic(t), client: &kafka.Client{Addr: kafka.TCP(addr)}}
	res, err := l.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: l.topic, NumPartitions: 2, ReplicationFactor: 1,
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "-1"}},
	}}})
	l.check(err)
	l.check(res.Errors[l.topic])
	return l
}

func (l *log) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) write(partition int, c kafka.Compression, records ...kafka.Record) {
	l.t.Helper()
	for {
		for _, r := range records {
			if b, ok := r.Value.(io.Seeker); ok {
				_, err := b.Seek(0, io.SeekStart)
				l.check(err)
			}
		}
		res, err := l.client.Produce(l.ctx, &kafka.ProduceRequest{
			Topic: l.topic, Partition: partition, RequiredAcks: kafka.RequireAll, Compression: c, Records: kafka.NewRecordReader(records...),
		})
		if err == nil {
			err = res.Error
		}
		if errors.Is(err, kafka.NotLeaderForPartition) || errors.Is(err, kafka.UnknownTopicOrPartition) {
			continue // the topic is younger than the broker's view of it
		}
		l.check(err)
		return
	}
}

// open starts a fetcher; it is stopped when the test ends.
func (l *log) open(starts ...Start) *Fetcher { return l.openAsking(0, 0, starts...) }

// openAsking is open with PartitionBytes and ResponseBytes.
func (l *log) openAsking(bytes, response int, starts ...Start) *Fetcher {
	ctx, cancel := context.WithCancel(l.ctx)
	f := New(Config{
		Dialer: kafka.DefaultDialer, Brokers: []string{l.addr}, Isolation: kafka.ReadCommitted, MaxWait: 50 * time.Millisecond, PartitionBytes: bytes, ResponseBytes: response,
		OnError: func(err error) { l.t.Logf("retried: %v", err) },
	}, starts)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			l.t.Errorf("Run ended with %v", err)
		}
	})
	return f
}

// read reads n records of the partitions.
func (l *log) read(f *Fetcher, n int, from map[int]int64) (out []string) {
	l.t.Helper()
	walkers := map[int]*Walker{0: {}, 1: {}}
	for len(out) < n {
		select {
		case <-l.ctx.Done():
			l.t.Fatalf("%d records came, expected %d", len(out), n)
		case res := <-f.Responses():
			for i := range res.Chunks {
				c := &res.Chunks[i]
				l.check(c.Err)
				w := walkers[c.Partition]
				for w.Reset(c, from[c.Partition]); w.Next(); {
					out = append(out, describe(l.t, c.Partition, w.Record()))
				}
				l.check(w.Err())
				from[c.Partition] = w.Position()
			}
			res.Release()
		}
	}
	return out
}

func describe(t *testing.T, partition int, r *Record) string {
	t.Helper()
	headers, err := r.Headers()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%d/%d at %d: %q=%q", partition, r.Offset, r.Time, r.Key, r.Value)
	if r.Key == nil {
		text += " null key"
	}
	for _, h := range headers {
		text += fmt.Sprintf(" %s:%q", h.Key, h.Value)
	}
	return text
}

// each runs a test on kfake and on a real Kafka.
func each(t *testing.T, test func(*testing.T, *log)) {
	t.Run("kfake", func(t *testing.T) {
		addr, _ := kafkatest.Fake(t)
		test(t, newLog(t, addr))
	})
	t.Run("Real", func(t *testing.T) { test(t, newLog(t, kafkatest.Shared(t).Addr())) })
}

func TestEveryCompression(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		var want []string
		for i, c := range []kafka.Compression{0, compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
			at := time.UnixMilli(1793534400000 + int64(i))
			value := strings.Repeat(fmt.Sprint("value ", i, " "), 1000)
			l.write(0, c,
				kafka.Record{
					Time: at, Key: kafka.NewBytes([]byte("k")), Value: kafka.NewBytes([]byte(value)),
					Headers: []kafka.Header{{Key: "a", Value: []byte{0xff}}, {Key: "a", Value: []byte("2")}},
				},
				kafka.Record{Time: at.Add(time.Second), Value: kafka.NewBytes([]byte{})})
			want = append(want,
				fmt.Sprintf("0/%d at %d: %q=%q a:%q a:%q", 2*i, at.UnixMilli(), "k", value, "\xff", "2"),
				fmt.Sprintf("0/%d at %d: %q=%q null key", 2*i+1, at.UnixMilli()+1000, "", ""))
		}
		got := l.read(l.open(Start{Topic: l.topic}), len(want), map[int]int64{})
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("record %d is %.200s, expected %.200s", i, got[i], want[i])
			}
		}
	})
}

// A batch may begin before the offset that was asked for.
func TestBeginsWithinABatch(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		var records []kafka.Record
		for i := range 10 {
			records = append(records, kafka.Record{Time: time.UnixMilli(1000), Value: kafka.NewBytes(fmt.Append(nil, i))})
		}
		l.write(1, 0, records...)
		got := l.read(l.open(Start{Topic: l.topic, Partition: 1, Offset: 7}), 3, map[int]int64{1: 7})
		if len(got) != 3 || !strings.Contains(got[0], `1/7 at 1000: ""="7"`) {
			t.Errorf("read %q", got)
		}
	})
}

func TestReadsOnAsRecordsCome(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		f := l.open(Start{Topic: l.topic}, Start{Topic: l.topic, Partition: 1})
		from := map[int]int64{}
		for i := range 20 {
			l.write(i%2, 0, kafka.Record{Time: time.UnixMilli(1), Value: kafka.NewBytes(fmt.Append(nil, i))})
			if got := l.read(f, 1, from); len(got) != 1 || !strings.Contains(got[0], fmt.Sprintf("%q", fmt.Sprint(i))) {
				t.Fatalf("read %q, expected record %d alone", got, i)
			}
		}
	})
}

func TestOffsetOutOfRangeIsTold(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		l.write(0, 0, kafka.Record{Time: time.UnixMilli(1), Value: kafka.NewBytes([]byte("x"))})
		res := <-l.open(Start{Topic: l.topic, Offset: 100}).Responses()
		if len(res.Chunks) != 1 || !errors.Is(res.Chunks[0].Err, kafka.OffsetOutOfRange) {
			t.Errorf("the response is %+v, expected offset out of range", res.Chunks)
		}
		res.Release()
	})
}

func TestPausedPartitionIsNotRead(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		f := l.open(Start{Topic: l.topic}, Start{Topic: l.topic, Partition: 1})
		f.Pause(l.topic, 0, true)
		res := <-f.Responses() // was on its way
		res.Release()
		l.write(0, 0, kafka.Record{Time: time.UnixMilli(1), Value: kafka.NewBytes([]byte("paused"))})
		l.write(1, 0, kafka.Record{Time: time.UnixMilli(1), Value: kafka.NewBytes([]byte("read"))})
		from := map[int]int64{}
		if got := l.read(f, 1, from); !strings.Contains(got[0], "read") {
			t.Errorf("read %q of a paused partition", got)
		}
		f.Pause(l.topic, 0, false)
		if got := l.read(f, 1, from); !strings.Contains(got[0], "paused") {
			t.Errorf("read %q, expected what waited", got)
		}
	})
}

// batchOf is a record batch as a broker stores it.
func batchOf(t testing.TB, base int64, values ...string) []byte {
	t.Helper()
	var records []protocol.Record
	for _, v := range values {
		records = append(records, protocol.Record{Time: time.UnixMilli(5), Value: protocol.NewBytes([]byte(v))})
	}
	var buf bytes.Buffer
	set := protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(records...)}
	if _, err := set.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	b := buf.Bytes()[4:]
	binary.BigEndian.PutUint64(b, uint64(base))
	return b
}

// sign marks a batch as a producer's transactional one, or as its marker, and corrects the checksum.
func sign(b []byte, producer int64, attributes uint16) []byte {
	binary.BigEndian.PutUint16(b[21:], attributes)
	binary.BigEndian.PutUint64(b[43:], uint64(producer))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

const (
	transactional = 1 << 4
	control       = 1 << 5
)

// Records of an aborted transaction are passed over until its marker, in whatever responses they come.
func TestWalkerPassesOverAbortedTransactions(t *testing.T) {
	log := [][]byte{
		batchOf(t, 0, "plain"),
		sign(batchOf(t, 1, "aborted", "aborted"), 7, transactional),
		sign(batchOf(t, 3, "other producer"), 8, transactional),
		sign(batchOf(t, 4, "aborted too"), 7, transactional),
		sign(batchOf(t, 5, "\x00\x00"), 7, transactional|control),
		sign(batchOf(t, 6, "committed"), 7, transactional),
		sign(batchOf(t, 7, "\x00\x01"), 7, transactional|control),
	}
	aborted := []Aborted{{Producer: 7, First: 1}}
	for cut := range len(log) {
		var w Walker
		var got []string
		position := int64(0)
		for _, part := range [][][]byte{log[:cut], log[cut:]} {
			c := Chunk{Batches: bytes.Join(part, nil)}
			if cut < 5 || position == 0 {
				c.Aborted = aborted // the broker names a transaction while the range overlaps it
			}
			for w.Reset(&c, position); w.Next(); {
				if r := w.Record(); !r.Control {
					got = append(got, fmt.Sprintf("%d %s", r.Offset, r.Value))
				}
			}
			if w.Err() != nil {
				t.Fatal(w.Err())
			}
			position = w.Position()
		}
		if want := "[0 plain 3 other producer 6 committed]"; fmt.Sprint(got) != want || position != 8 {
			t.Errorf("cut at %d: read %v up to %d, expected %s up to 8", cut, got, position, want)
		}
	}
}

func TestWalkerTellsOfDamage(t *testing.T) {
	good := batchOf(t, 10, "a", "b")
	f := func(what, want string, change func(b []byte) []byte) {
		t.Helper()
		var w Walker
		w.Reset(&Chunk{Batches: change(bytes.Clone(good))}, 10)
		for w.Next() {
		}
		if w.Err() == nil || !strings.Contains(w.Err().Error(), want) {
			t.Errorf("%s: the error is %v, expected %q", what, w.Err(), want)
		}
	}
	f("a flipped bit", "checksum", func(b []byte) []byte { b[70] ^= 1; return b })
	f("an old format", "format 1", func(b []byte) []byte { b[16] = 1; return b })
	f("more records than there are", "ends early", func(b []byte) []byte {
		binary.BigEndian.PutUint32(b[57:], 3)
		return sign(b, -1, 0)
	})
	f("a compression that nobody knows", "compression 7", func(b []byte) []byte { return sign(b, -1, 7) })
	var w Walker
	w.Reset(&Chunk{Batches: good[:len(good)-1]}, 10)
	if w.Next() || w.Err() != nil || w.Position() != 10 {
		t.Errorf("a cut batch gave a record, an error (%v) or moved on to %d", w.Err(), w.Position())
	}
}

// packed is a batch whose records are compressed, as the codec does it.
func packed(t testing.TB, kind compress.Compression, values ...string) []byte {
	t.Helper()
	batch := batchOf(t, 0, values...)
	var body bytes.Buffer
	w := kind.Codec().NewWriter(&body)
	if _, err := w.Write(batch[headerSize:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return withBody(batch, kind, body.Bytes())
}

// withBody is the batch with another body in its place, said to be compressed.
func withBody(batch []byte, kind compress.Compression, body []byte) []byte {
	batch = append(bytes.Clone(batch[:headerSize]), body...)
	binary.BigEndian.PutUint32(batch[8:], uint32(len(batch)-12))
	return sign(batch, -1, uint16(kind))
}

// TestWalkerBoundsWhatItUnpacks: a small batch cannot take much memory, neither by what is in it nor by what it says of itself.
func TestWalkerBoundsWhatItUnpacks(t *testing.T) {
	kinds := []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd}
	read := func(limit int, batch []byte) (records int, err error) {
		w := Walker{MaxUnpacked: limit}
		for w.Reset(&Chunk{Batches: batch}, 0); w.Next(); records++ {
		}
		return records, w.Err()
	}
	long := strings.Repeat("a", 500_000)
	for _, kind := range kinds {
		batch := packed(t, kind, long, long)
		if n, err := read(0, batch); n != 2 || err != nil {
			t.Errorf("%v: %d records, %v, expected 2", kind, n, err)
		}
		if n, err := read(16<<20, batch); n != 2 || err != nil { // zstd needs room for its window
			t.Errorf("%v: %d records, %v, expected the 2 that fit", kind, n, err)
		}
		if n, err := read(999_999, batch); n != 0 || err == nil || !strings.Contains(err.Error(), "more than 999999 bytes") {
			t.Errorf("%v: %d records, %v, expected that they are too many bytes", kind, n, err)
		}
	}
	for _, kind := range kinds { // nor does a partition keep what one batch took
		var w Walker
		for _, batch := range [][]byte{packed(t, kind, strings.Repeat("a", 2*maxKept)), packed(t, kind, "a")} {
			for w.Reset(&Chunk{Batches: batch}, 0); w.Next(); {
			}
		}
		if w.Err() != nil || cap(w.unpacked) > maxKept {
			t.Errorf("%v: %d bytes are kept, expected %d at most; %v", kind, cap(w.unpacked), maxKept, w.Err())
		}
	}
	lies := map[string][]byte{
		"a snappy block of 4 GB":  withBody(batchOf(t, 0, "a"), compress.Snappy, []byte("\xff\xff\xff\xff\x0f\x00a")),
		"a xerial block of 4 GB":  withBody(batchOf(t, 0, "a"), compress.Snappy, []byte(xerial+"\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff\xff\xf0abc")),
		"a cut xerial block":      withBody(batchOf(t, 0, "a"), compress.Snappy, []byte(xerial+"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00")),
		"a zstd frame of 60 GB":   withBody(batchOf(t, 0, "a"), compress.Zstd, []byte("\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x0f\x00\x00\x00\x01\x00\x00")),
		"a zstd window of 200 GB": withBody(batchOf(t, 0, "a"), compress.Zstd, []byte("\x28\xb5\x2f\xfd\x00\xd8\x01\x00\x00")),
	}
	for what, batch := range lies {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, err := read(0, batch)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; n != 0 || err == nil || took > 4<<20 {
			t.Errorf("%s: %d records, %v, and %d bytes taken, expected an error and 4 MB at most", what, n, err, took)
		}
	}
}

func FuzzWalker(f *testing.F) {
	for _, kind := range []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		f.Add(packed(f, kind, "a", strings.Repeat("b", 100)), int64(0))
	}
	f.Add(batchOf(f, 0, "a", "b"), int64(0))
	f.Add(append(batchOf(f, 0, "a"), sign(batchOf(f, 1, "b"), 7, transactional)...), int64(1))
	f.Fuzz(func(t *testing.T, data []byte, position int64) {
		w := Walker{MaxUnpacked: 1 << 20}
		for i := 0; i+61 <= len(data); { // make the checksums right, so that what is behind them is read
			size, whole := batchSize(data[i:])
			if !whole {
				break
			}
			binary.BigEndian.PutUint32(data[i+17:], crc32.Checksum(data[i+21:i+size], castagnoli))
			i += size
		}
		n := 0
		for w.Reset(&Chunk{Batches: data, Aborted: []Aborted{{7, 0}}}, position); w.Next(); n++ {
			if _, err := w.Record().Headers(); err == nil && w.Record().Offset >= w.Position() {
				t.Fatalf("record %d is not before position %d", w.Record().Offset, w.Position())
			}
			if n > 10*len(data)+1_000_000 {
				t.Fatal("no end")
			}
		}
	})
}

// TestLargeBatches: batches that are larger than what is asked for starve no partition, and little is read that has to be read again.
func TestLargeBatches(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		const batches, size = 30, 8000
		for range batches {
			for p := range 2 {
				l.write(p, 0, kafka.Record{Time: time.UnixMilli(5), Value: protocol.NewBytes(make([]byte, size))})
			}
		}
		for _, asked := range []int{1000, 10_000, 50_000} {
			f := l.openAsking(asked, 0, Start{Topic: l.topic, Partition: 0}, Start{Topic: l.topic, Partition: 1})
			var came, whole int
			read := [2]int{}
			for read[0] < batches || read[1] < batches {
				select {
				case <-l.ctx.Done():
					t.Fatalf("asked for %d bytes: %v batches came, expected %d of each", asked, read, batches)
				case res := <-f.Responses():
					for i := range res.Chunks {
						c := &res.Chunks[i]
						n, size := wholeIn(c.Batches)
						came, whole = came+len(c.Batches), whole+size
						read[c.Partition] += n
					}
					res.Release()
				}
				if apart := max(read[0], read[1]) - min(read[0], read[1]); apart > 2+asked/size {
					t.Fatalf("asked for %d bytes: %v batches came, expected of both", asked, read)
				}
			}
			if came > whole+whole/10 {
				t.Errorf("asked for %d bytes: %d bytes came, %d of them in whole batches", asked, came, whole)
			}
		}
	})
}

// wholeIn is how many batches are there as a whole, and how many bytes they are.
func wholeIn(in []byte) (n, size int) {
	for {
		next, ok := batchSize(in[size:])
		if !ok {
			return n, size
		}
		n, size = n+1, size+next
	}
}

// TestPartitionsGoOnTogether: where a response has no room for as much of each partition as may be asked for at once, it has less of each; where it has
// room for one only, they take turns.
func TestPartitionsGoOnTogether(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		const batches, size = 60, 8000
		for range batches {
			for p := range 2 {
				l.write(p, 0, kafka.Record{Time: time.UnixMilli(5), Value: protocol.NewBytes(make([]byte, size))})
			}
		}
		for _, response := range []int{100_000, 10_000} {
			f := l.openAsking(response, response, Start{Topic: l.topic, Partition: 0}, Start{Topic: l.topic, Partition: 1})
			for read := [2]int{}; read[0] < batches || read[1] < batches; {
				select {
				case <-l.ctx.Done():
					t.Fatalf("responses of %d bytes: %v batches came, expected %d of each", response, read, batches)
				case res := <-f.Responses():
					for i := range res.Chunks {
						c := &res.Chunks[i]
						n, _ := wholeIn(c.Batches)
						read[c.Partition] += n
					}
					res.Release()
				}
				if apart := max(read[0], read[1]) - min(read[0], read[1]); apart > 2+response/size/2 {
					t.Fatalf("responses of %d bytes: %v batches came, expected %d apart at most", response, read, 2+response/size/2)
				}
			}
		}
	})
}

// turns is a broker as KIP-74 has it, with batches of all partitions: it sends no batch that does not fit, but for the first partition that has one.
type turns struct {
	positions []*position
	batches   func(partition int) int // bytes of a partition's next batch
	next      []int
	last      []int // the last response that had something of a partition
	longest   int   // responses between two that had
	response  int
	room      int // of a response
}

func newTurns(n int, batches func(partition int) int) *turns {
	s := &turns{room: 16 << 20, batches: batches, next: make([]int, n), last: make([]int, n)}
	for p := range n {
		s.positions = append(s.positions, &position{Start: Start{Partition: p}})
		s.next[p] = batches(p)
	}
	return s
}

func (s *turns) ask() {
	cfg := Config{PartitionBytes: 2 << 20, ResponseBytes: 16 << 20}
	want := slices.Clone(s.positions)
	inTurn(want)
	each, guess := shares(&cfg, want)
	left := s.room
	s.response++
	got := make([]int, len(want))
	biggest, behind := make([]int, len(want)), 0
	for i, p := range want {
		id := p.Partition
		p.asked = wholeBatches(each, cmp.Or(p.largest, guess))
		for limit := min(p.asked, left); got[i]+s.next[id] <= limit || left == s.room && got[i] == 0; s.next[id] = s.batches(id) {
			got[i] += s.next[id]
			biggest[i] = max(biggest[i], s.next[id])
		}
		left = max(0, left-got[i])
		behind += got[i]
	}
	for i, p := range want {
		behind -= got[i]
		switch {
		case got[i] > 0:
			p.took(got[i], biggest[i], time.UnixMilli(int64(s.response)))
			s.longest = max(s.longest, s.response-s.last[p.Partition])
			s.last[p.Partition] = s.response
		case p.asked <= behind:
			p.tooLittle(0)
		}
	}
}

// TestTurns: of however many partitions with however large batches each has its turn, and none gets far ahead of the others.
func TestTurns(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for _, size := range []int{1000, 100 << 10, 500_000, 820_000, 1 << 20, 4 << 20} {
		for _, n := range []int{2, 10, 32, 80, 200} {
			s := newTurns(n, func(int) int { return size - r.Intn(size/10) })
			for range 40 + 2*n { // sizes are not known at first
				s.ask()
			}
			s.longest = 0
			for range 4 * n {
				s.ask()
			}
			least, most := int64(math.MaxInt64), int64(0)
			for i, p := range s.positions {
				s.longest = max(s.longest, s.response-s.last[i])
				least, most = min(least, p.read), max(most, p.read)
			}
			if bound := 3 + 2*n*size/(16<<20); s.longest > bound {
				t.Errorf("%d partitions with batches of %d bytes: one waited for %d responses, expected %d at most", n, size, s.longest, bound)
			}
			if 4*least < 3*most {
				t.Errorf("%d partitions with batches of %d bytes: %d bytes came of one and %d of another", n, size, least, most)
			}
		}
	}
}

// TestLargeBatchOfTheBusiest: a batch that is larger than what is asked for comes soon, also of the partition of which most has come.
func TestLargeBatchOfTheBusiest(t *testing.T) {
	for _, n := range []int{2, 10, 50, 100, 400} {
		const large = 3 << 20
		left := 500
		s := newTurns(n, func(id int) int {
			if id > 0 {
				return 1000
			}
			if left--; left < 0 {
				return large
			}
			return 20_000
		})
		for left >= 0 {
			s.ask()
		}
		s.longest = 0
		for range 20 {
			s.ask()
		}
		if s.longest > 3 || s.response-s.last[0] > 3 {
			t.Errorf("of %d partitions the busiest waited for %d responses for a large batch", n, max(s.longest, s.response-s.last[0]))
		}
	}
}

// TestBatchesThatHadNoRoom: that nothing came of a partition because a response was full says nothing of how large its batches are.
func TestBatchesThatHadNoRoom(t *testing.T) {
	f := New(Config{Isolation: kafka.ReadCommitted}, []Start{{Topic: "t"}})
	p := f.positions[0]
	p.next, p.largest = 7, 800_000
	c := &conn{asked: []*position{p}}
	p.asked = 812_500
	for range 100 {
		other := Chunk{Topic: "other", Batches: make([]byte, 812_500)}
		f.advance(c, &Response{Chunks: []Chunk{other, {Topic: "t", HighWatermark: 1000, LastStable: 1000}}}) // before it: there may be no room left
		f.advance(c, &Response{Chunks: []Chunk{{Topic: "t", HighWatermark: 1000, LastStable: 7}, other}})    // an open transaction
		f.advance(c, &Response{Chunks: []Chunk{{Topic: "t", HighWatermark: 7, LastStable: 7}, other}})       // nothing there
	}
	if p.next != 7 || p.largest != 800_000 {
		t.Errorf("after responses without a batch it is at offset %d, with batches of %d bytes, expected 7 and 800000", p.next, p.largest)
	}
	f.advance(c, &Response{Chunks: []Chunk{{Topic: "t", HighWatermark: 1000, LastStable: 1000}, {Topic: "other", Batches: make([]byte, 812_500)}}})
	if want := 812_500 * 3 / 2; p.largest != want {
		t.Errorf("of a batch that was left out for its size %d bytes are asked for, expected %d", p.largest, want)
	}
}
