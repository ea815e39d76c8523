package fetch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// broker answers as much of Kafka's protocol as a fetcher asks for: the topic t has some partitions, each of them with batches of ten records up to an end.
type broker struct {
	net.Listener
	t       *testing.T
	id      TopicID
	end     int64
	leaders []int32       // by partition; -1: none
	asked   chan int64    // offset of the first partition of each fetch request
	hold    chan struct{} // where it is made, answers wait until it is closed
	refuses kafka.Error   // with which it answers each fetch
	unknown kafka.Error   // with which it answers who asks for leaders
	missing string        // a topic that it does not know
}

func newBroker(t *testing.T, end int64, leaders ...int32) *broker {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{Listener: l, t: t, id: TopicID{1}, end: end, leaders: leaders, asked: make(chan int64, 1000)}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return b
}

func (b *broker) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		request := body
		out := append(make([]byte, 4), body[4:8]...)
		out = append(out, noTags)
		if body = body[8+2+len(clientID)+1:]; binary.BigEndian.Uint16(request) == apiMetadata {
			out = append(out, b.metadata(body)...)
		} else {
			out = append(out, b.fetch(body)...)
		}
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

var (
	u16 = binary.BigEndian.AppendUint16
	u32 = binary.BigEndian.AppendUint32
	u64 = binary.BigEndian.AppendUint64
)

// metadata is the answer to who asks for topics: each of them is as this one.
func (b *broker) metadata(request []byte) []byte {
	at := b.Addr().(*net.TCPAddr)
	out := u32(appendCount(u32(nil, 0), 1), 1)
	out = u32(appendCompact(out, at.IP.String()), uint32(at.Port))
	out = u32(append(out, 0, noTags, 0), 1) // no rack, no name
	r := reader{in: request}
	names := r.count(1)
	out = appendCount(out, names)
	for range names {
		r.take(len(TopicID{}))
		name, code := r.compact(), b.unknown
		if name == b.missing {
			code = kafka.UnknownTopicOrPartition
		}
		out = appendCompact(u16(out, uint16(code)), name)
		r.tags()
		out = appendCount(append(append(out, b.id[:]...), 0), len(b.leaders))
		for p, leader := range b.leaders {
			var code kafka.Error
			if leader < 0 {
				code = kafka.LeaderNotAvailable
			}
			out = u32(u32(u32(u16(out, uint16(code)), uint32(p)), uint32(leader)), 0)
			out = append(out, 1, 1, 1, noTags)
		}
		out = append(u32(out, 0), noTags)
	}
	return append(out, noTags)
}

// fetch is the answer to a request: the next batch of its first partition.
func (b *broker) fetch(request []byte) []byte {
	in := request[4+4+4+4+1+4+4+1:] // up to the first topic
	var topic TopicID
	in = in[copy(topic[:], in)+1:]
	partition, offset := binary.BigEndian.Uint32(in), int64(binary.BigEndian.Uint64(in[8:]))
	b.asked <- offset
	if b.hold != nil {
		<-b.hold
	}
	var batch []byte
	if offset < b.end {
		batch = make([]byte, headerSize)
		binary.BigEndian.PutUint64(batch, uint64(offset))
		binary.BigEndian.PutUint32(batch[8:], headerSize-batchHead)
		binary.BigEndian.PutUint32(batch[23:], 9) // the last record's offset, from the first one
	} else {
		time.Sleep(10 * time.Millisecond) // as one that waits for records
	}
	out := appendCount(u32(u16(u32(nil, 0), 0), 0), 1)
	out = appendCount(append(out, topic[:]...), 1)
	out = u16(u32(out, partition), uint16(b.refuses))
	out = u64(u64(u64(out, uint64(b.end)), uint64(b.end)), 0)
	out = appendCount(u32(append(out, 1), 0xffffffff), len(batch)) // nothing aborted, no other replica
	return append(append(out, batch...), noTags, noTags, noTags)
}

// open reads partitions of the topic until the test ends.
func (b *broker) open(dialer *kafka.Dialer, partitions int) *Fetcher {
	ctx, cancel := context.WithCancel(b.t.Context())
	var starts []Start
	for p := range partitions {
		starts = append(starts, Start{Topic: "t", Partition: p})
	}
	f := New(Config{Dialer: dialer, Brokers: []string{b.Addr().String()}}, starts)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// resetting is a connection that breaks when a second fetch request is written to it.
type resetting struct {
	net.Conn
	requests int
}

func (r *resetting) Write(b []byte) (int, error) {
	if len(b) > 6 && binary.BigEndian.Uint16(b[4:]) == apiFetch {
		if r.requests++; r.requests == 2 {
			_ = r.Close()
			return 0, errors.New("connection reset by peer")
		}
	}
	return r.Conn.Write(b)
}

// TestResponseBeforeABrokenConnection: what has come is handed on also when the next request cannot be sent, because reading goes on behind it.
func TestResponseBeforeABrokenConnection(t *testing.T) {
	const end = 200
	b := newBroker(t, end, 1)
	dialer := *kafka.DefaultDialer
	dialer.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &resetting{Conn: c}, err
	}
	f := b.open(&dialer, 1)
	for read := int64(0); read < end; {
		select {
		case <-time.After(30 * time.Second):
			t.Fatalf("offsets up to %d came, expected %d", read, end)
		case res := <-f.Responses():
			for i := range res.Chunks {
				c := &res.Chunks[i]
				if len(c.Batches) > 0 && c.Position != read {
					t.Fatalf("the offsets %d to %d never came", read, c.Position-1)
				}
				read, _ = ahead(c.Batches, c.Position)
			}
			res.Release()
		}
	}
}

// TestPartitionWithoutALeader: the others are read all the same, and it is asked for again and again.
func TestPartitionWithoutALeader(t *testing.T) {
	b := newBroker(t, 1_000_000, 1, -1)
	f := b.open(kafka.DefaultDialer, 2)
	for range 3 {
		select {
		case <-time.After(30 * time.Second):
			t.Fatal("nothing came of the partition that has a leader")
		case res := <-f.Responses():
			if c := &res.Chunks[0]; c.Partition != 0 || len(c.Batches) == 0 {
				t.Fatalf("%d bytes came of partition %d, expected some of partition 0", len(c.Batches), c.Partition)
			}
			res.Release()
		}
	}
}

// TestPauseWithholdsNothing: what is on its way when all partitions are paused still comes.
func TestPauseWithholdsNothing(t *testing.T) {
	b := newBroker(t, 1000, 1)
	b.hold = make(chan struct{})
	f := b.open(kafka.DefaultDialer, 1)
	<-b.asked
	f.Pause("t", 0, true)
	close(b.hold)
	for position := int64(0); position < 30; position += 10 {
		select {
		case <-time.After(30 * time.Second):
			t.Fatalf("what was asked for from offset %d on before the pause did not come", position)
		case res := <-f.Responses():
			if c := &res.Chunks[0]; c.Position != position {
				t.Fatalf("offset %d came, expected %d", c.Position, position)
			}
			res.Release()
		}
		f.Pause("t", 0, false)
		<-b.asked
		f.Pause("t", 0, true)
	}
}

// TestResponsesOfAnyRoom: a broker may have room for less in a response than it is asked for. Each partition has its turn all the same, with as much as
// there is room for.
func TestResponsesOfAnyRoom(t *testing.T) {
	const n = 30
	for _, room := range []int{16 << 20, 10 << 20, 5 << 20} {
		for _, size := range []int{50_000, 500_000} {
			t.Run(fmt.Sprintf("%d of %d", size, room), func(t *testing.T) {
				s := newTurns(n, func(int) int { return size })
				s.room = room
				for range 300 {
					s.ask()
				}
				s.longest = 0
				for range 200 {
					s.ask()
				}
				for _, p := range s.positions {
					if most := wholeBatches(16<<20/n, size); p.asked > most+most/2 {
						t.Fatalf("of partition %d %d bytes are asked for, expected about %d", p.Partition, p.asked, most)
					}
				}
				if most := 2 + n*600_000/room; s.longest > most {
					t.Errorf("one waited for %d responses, expected %d at most", s.longest, most)
				}
			})
		}
	}
}

// TestShares: what a response has room for is shared by the partitions that have something to read.
func TestShares(t *testing.T) {
	cfg := New(Config{}, nil).cfg
	for _, c := range []struct{ all, busy, each int }{{1, 1, 2 << 20}, {2000, 1, 2 << 20}, {2000, 0, 2 << 20}, {8, 8, 2 << 20}, {32, 32, 512 << 10}, {400, 100, 16 << 20 / 100}} {
		var positions []*position
		for i := range c.all {
			positions = append(positions, &position{idle: i >= c.busy, largest: 17 << 20})
		}
		if each, guess := shares(&cfg, positions); each != c.each || guess > each {
			t.Errorf("%d of %d have something to read: %d bytes of each and batches of %d, expected %d and not more", c.busy, c.all, each, guess, c.each)
		}
	}
}

// A broker that refuses a partition, which by the metadata it still has, is left alone for a while before it is asked again.
func TestRefusedPartitionIsAskedForAgainAfterAPause(t *testing.T) {
	b := newBroker(t, 100, 1)
	b.refuses = kafka.NotLeaderForPartition
	f := b.open(kafka.DefaultDialer, 1)
	end := time.After(time.Second)
	for n := 0; ; {
		select {
		case <-b.asked:
			n++
		case res := <-f.Responses():
			res.Release()
		case <-end:
			if most := 2 * int(time.Second/reconnectAfter); n < 2 || n > most {
				t.Errorf("it was asked %d times in a second, expected twice at least, %d times at most", n, most)
			}
			return
		}
	}
}

// A broker of the list that does not answer is not asked first again, and one connection is enough for all topics.
func TestLeadersAreAskedOfWhoAnswered(t *testing.T) {
	b := newBroker(t, 0, 1)
	var dialled []string
	dialer := &kafka.Dialer{DialFunc: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		if address == "gone:1" {
			return nil, errors.New("nobody is there")
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	here := b.Addr().String()
	f := New(Config{Dialer: dialer, Brokers: []string{"gone:1", here}}, []Start{{Topic: "t"}, {Topic: "u"}})
	_ = f.askLeaders(t.Context(), f.positions)
	for _, p := range f.positions {
		if p.leader != here {
			t.Errorf("the leader of %s is %q, expected %s", p.Topic, p.leader, here)
		}
		p.leader = ""
	}
	if err := f.askLeaders(t.Context(), f.positions); err != nil {
		t.Error(err)
	}
	if want := []string{"gone:1", here, here}; !slices.Equal(dialled, want) {
		t.Errorf("dialled %v, expected %v", dialled, want)
	}
}

// Who has a leader is read from it already: another broker, asked for what the first one did not know, does not give it another one, nor says that it is gone.
func TestLeaderIsThatOfTheFirstWhoKnows(t *testing.T) {
	first, second := newBroker(t, 0, 1), newBroker(t, 0, 1)
	first.missing, second.missing = "u", "u"
	for _, id := range []TopicID{first.id, {9}} {
		second.id = id
		f := New(Config{Dialer: kafka.DefaultDialer, Brokers: []string{first.Addr().String(), second.Addr().String()}}, []Start{{Topic: "t"}, {Topic: "u"}})
		err := f.askLeaders(t.Context(), f.positions)
		if p := f.positions[0]; p.leader != first.Addr().String() || p.stopped || !errors.Is(err, kafka.UnknownTopicOrPartition) {
			t.Errorf("the leader is %q, stopped: %t, %v; expected %s and that u is unknown", p.leader, p.stopped, err, first.Addr())
		}
	}
}

// One broker that has yet to hear of the topic that is meant does not make it another one.
func TestTopicIsAnotherWhereNobodyKnowsTheOneThatIsMeant(t *testing.T) {
	stale, good := newBroker(t, 0, 1), newBroker(t, 0, 1)
	stale.id = TopicID{9}
	for _, known := range []bool{true, false} {
		id := good.id
		if !known {
			id = TopicID{7}
		}
		f := New(Config{Dialer: kafka.DefaultDialer, Brokers: []string{stale.Addr().String(), good.Addr().String()}}, []Start{{Topic: "t", ID: id}})
		_ = f.askLeaders(t.Context(), f.positions)
		if p := f.positions[0]; p.stopped == known || (p.leader == good.Addr().String()) != known {
			t.Errorf("known: %t; the leader is %q, stopped: %t", known, p.leader, p.stopped)
		}
		if !known {
			if res := <-f.Responses(); !errors.Is(res.Chunks[0].Err, ErrAnotherTopic) {
				t.Errorf("the response is %+v", res)
			}
		}
	}
	good.leaders = []int32{-1}
	f := New(Config{Dialer: kafka.DefaultDialer, Brokers: []string{stale.Addr().String(), good.Addr().String()}}, []Start{{Topic: "t", ID: good.id}})
	if _ = f.askLeaders(t.Context(), f.positions); f.positions[0].stopped {
		t.Error("a topic that has no leader was taken for another one")
	}
}

// A broker that does not know the topic, because it has only just begun, is not the only one that is asked.
func TestLeadersAreAskedOfWhoKnows(t *testing.T) {
	fresh, old := newBroker(t, 0, 1), newBroker(t, 0, 1)
	fresh.unknown = kafka.UnknownTopicOrPartition
	f := New(Config{Dialer: kafka.DefaultDialer, Brokers: []string{fresh.Addr().String(), old.Addr().String()}}, []Start{{Topic: "t"}})
	if _ = f.askLeaders(t.Context(), f.positions); f.positions[0].leader != old.Addr().String() {
		t.Errorf("the leader is %q, expected %s", f.positions[0].leader, old.Addr())
	}
}
