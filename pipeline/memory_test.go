package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/txn"
)

// memory is a Kafka in memory: logs with transactions, groups with generations, a clock that the test turns. It follows what kafka.md and
// Kafka's protocol say of fencing, of the last stable offset and of aborted transactions, and fails where the test's dice say so.
type memory struct {
	mu        sync.Mutex
	random    *rand.Rand
	faults    float64 // how likely each operation fails
	now       int64   // broker time, epoch ms
	logs      map[partition]*memoryLog
	counts    map[string]int
	groups    map[string]*memoryGroup
	producers map[string]*memoryProducer
	pids      int64
}

// memoryLog is one partition.
type memoryLog struct {
	batches [][]byte
	bases   []int64
	end     int64
	open    map[int64]int64 // producer -> first offset of its open transaction
	aborted []memoryAborted
}

type memoryAborted struct {
	fetch.Aborted
	last int64
}

type memoryGroup struct {
	generation int
	members    map[string]bool
	offsets    map[partition]kafka.OffsetFetchPartition
}

// memoryProducer is what the broker knows of a transactional id.
type memoryProducer struct {
	pid     int64
	epoch   int
	touched map[partition]bool
	group   string
	offsets map[string][]kafka.TxnOffsetCommit
}

var errBroken = errors.New("the connection broke")

func newMemory(random *rand.Rand, now int64) *memory {
	return &memory{
		random: random, now: now, logs: map[partition]*memoryLog{}, counts: map[string]int{}, groups: map[string]*memoryGroup{},
		producers: map[string]*memoryProducer{},
	}
}

func (m *memory) makeTopic(name string, partitions int) {
	m.counts[name] = partitions
	for id := range partitions {
		if m.logs[partition{name, id}] == nil {
			m.logs[partition{name, id}] = &memoryLog{open: map[int64]int64{}}
		}
	}
}

func (m *memory) group(id string) *memoryGroup {
	g := m.groups[id]
	if g == nil {
		g = &memoryGroup{members: map[string]bool{}, offsets: map[partition]kafka.OffsetFetchPartition{}}
		m.groups[id] = g
	}
	return g
}

// fails throws the dice.
func (m *memory) fails() bool { return m.random.Float64() < m.faults }

const (
	batchTransactional = 1 << 4
	batchControl       = 1 << 5
	batchAppendTime    = 1 << 3
)

var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

// append writes a batch as the broker stores it.
func (m *memory) append(at partition, pid int64, attributes uint16, records ...protocol.Record) {
	l := m.logs[at]
	var buf bytes.Buffer
	set := protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(records...)}
	if _, err := set.WriteTo(&buf); err != nil {
		panic(err)
	}
	b := buf.Bytes()[4:]
	binary.BigEndian.PutUint64(b, uint64(l.end))
	binary.BigEndian.PutUint16(b[21:], attributes|batchAppendTime)
	binary.BigEndian.PutUint64(b[35:], uint64(m.now))
	binary.BigEndian.PutUint64(b[43:], uint64(pid))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoliTable))
	if attributes&batchTransactional != 0 && attributes&batchControl == 0 {
		if _, open := l.open[pid]; !open {
			l.open[pid] = l.end
		}
	}
	l.batches, l.bases = append(l.batches, b), append(l.bases, l.end)
	l.end += int64(len(records))
}

// stable is the last stable offset.
func (l *memoryLog) stable() int64 {
	stable := l.end
	for _, first := range l.open {
		stable = min(stable, first)
	}
	return stable
}

// finish ends a producer's transaction: markers, and the offsets if it is committed.
func (m *memory) finish(p *memoryProducer, commit bool) {
	for at := range p.touched {
		l := m.logs[at]
		kind := byte(0)
		if commit {
			kind = 1
		}
		first, open := l.open[p.pid]
		m.append(at, p.pid, batchTransactional|batchControl, protocol.Record{
			Time: time.UnixMilli(m.now), Key: protocol.NewBytes([]byte{0, 0, 0, kind}), Value: protocol.NewBytes([]byte{0, 0, 0, 0, 0, 0}),
		})
		if open && !commit {
			l.aborted = append(l.aborted, memoryAborted{fetch.Aborted{Producer: p.pid, First: first}, l.end - 1})
		}
		delete(l.open, p.pid)
	}
	if commit && p.group != "" {
		g := m.group(p.group)
		for topic, offsets := range p.offsets {
			for _, o := range offsets {
				g.offsets[partition{topic, o.Partition}] = kafka.OffsetFetchPartition{
					Partition: o.Partition, CommittedOffset: o.Offset, Metadata: o.Metadata,
				}
			}
		}
	}
	p.touched, p.group, p.offsets = map[partition]bool{}, "", nil
}

func (m *memory) takeOver(_ context.Context, id string) (producer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails() {
		return nil, errBroken
	}
	p := m.producers[id]
	if p == nil {
		m.pids++
		p = &memoryProducer{pid: m.pids, touched: map[partition]bool{}}
		m.producers[id] = p
	}
	m.finish(p, false)
	p.epoch++
	return &memorySession{m, p, p.epoch, false}, nil
}

// memorySession is one owner's session of a transactional id.
type memorySession struct {
	m      *memory
	p      *memoryProducer
	epoch  int
	failed bool
}

// Commit does what txn.Producer does, step by step; between any two steps it may fail, and after the last one the answer may be lost.
func (s *memorySession) Commit(_ context.Context, messages []kafka.Message, offsets *txn.Offsets) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.failed {
		panic("Commit after a failed Commit")
	}
	err := s.commit(messages, offsets)
	s.failed = err != nil && !errors.Is(err, txn.ErrNotMember)
	return err
}

func (s *memorySession) commit(messages []kafka.Message, offsets *txn.Offsets) error {
	fenced := func() error {
		if s.p.epoch != s.epoch {
			return txn.ErrFenced
		}
		if s.m.fails() {
			return errBroken
		}
		return nil
	}
	if err := fenced(); err != nil {
		return err
	}
	if offsets != nil {
		g := s.m.group(offsets.Group)
		if g.generation != offsets.Generation || !g.members[offsets.Member] {
			s.m.finish(s.p, false)
			return txn.ErrNotMember
		}
		s.p.group, s.p.offsets = offsets.Group, offsets.Topics
	}
	for _, msg := range messages {
		if err := fenced(); err != nil {
			return err
		}
		at := partition{msg.Topic, msg.Partition}
		if s.m.logs[at] == nil {
			return fmt.Errorf("no partition %v", at)
		}
		s.p.touched[at] = true
		record := protocol.Record{Time: msg.Time, Headers: msg.Headers}
		if msg.Key != nil {
			record.Key = protocol.NewBytes(msg.Key)
		}
		if msg.Value != nil {
			record.Value = protocol.NewBytes(msg.Value)
		}
		s.m.append(at, s.p.pid, batchTransactional, record)
	}
	if err := fenced(); err != nil {
		return err
	}
	s.m.finish(s.p, true)
	if s.m.fails() {
		return errBroken // it is committed, and nobody has heard it
	}
	return nil
}

func (m *memory) member(_ context.Context, x membership) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.group(x.group)
	return g.generation == x.generation && g.members[x.member], nil
}

func (m *memory) committed(_ context.Context, group string, partitions map[string][]int) (map[partition]kafka.OffsetFetchPartition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[partition]kafka.OffsetFetchPartition{}
	for topic, ids := range partitions {
		for _, id := range ids {
			if o, ok := m.group(group).offsets[partition{topic, id}]; ok {
				out[partition{topic, id}] = o
			}
		}
	}
	return out, nil
}

func (m *memory) ends(_ context.Context, topic string, partitions []int, isolation kafka.IsolationLevel) (map[int]span, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails() {
		return nil, errBroken
	}
	out := map[int]span{}
	for _, id := range partitions {
		l := m.logs[partition{topic, id}]
		end := l.end
		if isolation == kafka.ReadCommitted {
			end = l.stable()
		}
		out[id] = span{0, end}
	}
	return out, nil
}

func (m *memory) topics(_ context.Context, names []string) (map[string]fetch.Topic, error) {
	out := map[string]fetch.Topic{}
	for _, name := range names {
		if n := m.counts[name]; n > 0 {
			t := fetch.Topic{Leaders: make([]string, n)}
			copy(t.ID[:], name)
			out[name] = t
		}
	}
	return out, nil
}

func (m *memory) read(starts []fetch.Start) reader {
	r := &memoryReader{m: m, out: make(chan fetch.Response)}
	for _, s := range starts {
		r.at = append(r.at, &memoryPosition{Start: s})
	}
	return r
}

// memoryReader reads like a fetcher. The simulation polls it; Run is for who reads on a channel.
type memoryReader struct {
	m   *memory
	at  []*memoryPosition
	out chan fetch.Response
}

type memoryPosition struct {
	fetch.Start
	paused bool
}

func (r *memoryReader) Responses() <-chan fetch.Response { return r.out }

func (r *memoryReader) Pause(topic string, id int, paused bool) {
	for _, p := range r.at {
		if p.Topic == topic && p.Partition == id {
			p.paused = paused
		}
	}
}

func (r *memoryReader) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r.out <- r.poll(1 << 20):
		}
	}
}

// poll is a response with at most n batches a partition.
func (r *memoryReader) poll(n int) fetch.Response {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	var res fetch.Response
	for _, p := range r.at {
		if p.paused {
			continue
		}
		l := r.m.logs[partition{p.Topic, p.Partition}]
		c := fetch.Chunk{
			Topic: p.Topic, Partition: p.Partition, Position: p.Offset, Asked: time.UnixMilli(r.m.now), HighWatermark: l.end, LastStable: l.stable(),
		}
		first := p.Offset
		for i, base := range l.bases {
			next := l.end
			if i+1 < len(l.bases) {
				next = l.bases[i+1]
			}
			if next <= p.Offset || base >= l.stable() || n <= 0 {
				continue
			}
			c.Batches = append(c.Batches, l.batches[i]...)
			p.Offset = next
			n--
		}
		for _, a := range l.aborted {
			if a.last >= first && a.First < p.Offset {
				c.Aborted = append(c.Aborted, a.Aborted)
			}
		}
		res.Chunks = append(res.Chunks, c)
	}
	return res.WithRelease(func() {})
}

// records are the committed records of a partition.
func (m *memory) records(at partition) []memoryRecord {
	var out []memoryRecord
	r := m.read([]fetch.Start{{Topic: at.topic, Partition: at.id}}).(*memoryReader)
	res := r.poll(1 << 30)
	var w fetch.Walker
	for w.Reset(&res.Chunks[0], 0); w.Next(); {
		if x := w.Record(); !x.Control {
			rec := memoryRecord{offset: x.Offset, time: x.Time, key: string(x.Key), value: slices.Clone(x.Value), headers: map[string]string{}}
			headers, err := x.Headers()
			if err != nil {
				panic(err)
			}
			for _, h := range headers {
				rec.headers[h.Key] = string(h.Value)
			}
			out = append(out, rec)
		}
	}
	if w.Err() != nil {
		panic(w.Err())
	}
	return out
}

type memoryRecord struct {
	offset, time int64
	key          string
	value        []byte
	headers      map[string]string
}
