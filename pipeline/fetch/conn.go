package fetch

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
)

// conn is a connection that kafka-go's Dialer has opened and authenticated, and on which we speak Fetch ourselves.
type conn struct {
	net   net.Conn
	keep  *kafka.Conn // owns the connection; not used, not to be collected
	out   []byte
	id    int32
	asked []*position // of the request on its way, in its order
	sent  time.Time   // when it was sent
}

// Kafka's protocol: Fetch, version 13, which names topics by their ids and which every broker of Kafka 4.0 or newer knows.
const (
	apiFetch     = 1
	fetchVersion = 13
	clientID     = "sevwatch"
	maxResponse  = 256 << 20
)

// dialPatience is how long a broker may take until a connection can be used.
const dialPatience = 20 * time.Second

func dial(ctx context.Context, dialer *kafka.Dialer, address string) (*conn, error) {
	c := &conn{}
	d := *dialer
	open := d.DialFunc
	if open == nil {
		open = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	// kafka-go authenticates without a deadline, and takes away one that was set: a broker that accepts the connection and hangs would hold it for ever.
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	stop := func() bool { return true }
	d.DialFunc = func(inner context.Context, network, address string) (net.Conn, error) {
		nc, err := open(inner, network, address)
		if c.net = nc; err == nil {
			stop = context.AfterFunc(ctx, func() { _ = nc.Close() })
		}
		return nc, err
	}
	var err error
	c.keep, err = d.DialContext(ctx, "tcp", address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot connect to broker %s: %w", address, err)
	}
	return c, nil
}

func (c *conn) close() error { return c.keep.Close() }

// patience gives the broker time from now on.
func (c *conn) patience(cfg *Config) error {
	return c.net.SetDeadline(time.Now().Add(cfg.MaxWait + 15*time.Second))
}

// shares is about how much to ask for of each partition, so that a response has room for as much of all that have something to read, and of how large batches
// those may be of which nothing is known: one that is larger comes when its partition is the first.
func shares(cfg *Config, positions []*position) (each, guess int) {
	busy := 0
	for _, p := range positions {
		if !p.idle {
			busy++
		}
		guess = max(guess, p.largest)
	}
	each = min(cfg.PartitionBytes, cfg.ResponseBytes/max(1, busy))
	return each, min(guess, each)
}

// send asks for records of the partitions from their positions on.
func (c *conn) send(cfg *Config, isolation kafka.IsolationLevel, positions []*position) error {
	b := c.request(apiFetch, fetchVersion)
	b = binary.BigEndian.AppendUint32(b, 0xffffffff) // replica: none, a consumer
	b = binary.BigEndian.AppendUint32(b, uint32(cfg.MaxWait.Milliseconds()))
	b = binary.BigEndian.AppendUint32(b, 1) // bytes at least
	b = binary.BigEndian.AppendUint32(b, uint32(cfg.ResponseBytes))
	b = append(b, byte(isolation))
	b = binary.BigEndian.AppendUint32(b, 0)          // no fetch session
	b = binary.BigEndian.AppendUint32(b, 0xffffffff) // final epoch
	c.asked = positions
	each, guess := shares(cfg, positions)
	b = appendCount(b, topics(positions))
	for i, p := range positions {
		if i == 0 || positions[i-1].Topic != p.Topic {
			b = append(b, p.ID[:]...)
			b = appendCount(b, sameTopic(positions[i:]))
		}
		b = binary.BigEndian.AppendUint32(b, uint32(p.Partition))
		b = binary.BigEndian.AppendUint32(b, 0xffffffff) // leader epoch unknown
		b = binary.BigEndian.AppendUint64(b, uint64(p.next))
		b = binary.BigEndian.AppendUint32(b, 0xffffffff)         // epoch of the record before: only followers
		b = binary.BigEndian.AppendUint64(b, 0xffffffffffffffff) // log start: only followers
		p.asked = wholeBatches(each, cmp.Or(p.largest, guess))
		b = binary.BigEndian.AppendUint32(b, uint32(p.asked))
		b = append(b, noTags)
		if i+1 == len(positions) || positions[i+1].Topic != p.Topic {
			b = append(b, noTags)
		}
	}
	b = appendCount(b, 0)    // forgotten topics
	b = appendCompact(b, "") // rack
	b = append(b, noTags)
	c.sent = time.Now()
	if err := c.patience(cfg); err != nil {
		return err
	}
	return c.write(b)
}

// request begins one; write sends it.
func (c *conn) request(api, version uint16) []byte {
	c.id++
	b := c.out[:0]
	b = append(b, 0, 0, 0, 0) // its size
	b = binary.BigEndian.AppendUint16(b, api)
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(c.id))
	b = binary.BigEndian.AppendUint16(b, uint16(len(clientID)))
	b = append(b, clientID...)
	return append(b, noTags)
}

func (c *conn) write(b []byte) error {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	c.out = b
	_, err := c.net.Write(b)
	return err
}

// topics counts how often the topic changes in positions.
func topics(positions []*position) int {
	n := 0
	for i, p := range positions {
		if i == 0 || positions[i-1].Topic != p.Topic {
			n++
		}
	}
	return n
}

func sameTopic(positions []*position) int {
	n := 0
	for n < len(positions) && positions[n].Topic == positions[0].Topic {
		n++
	}
	return n
}

// receive reads the response to the last fetch request into buf, growing it as needed.
func (c *conn) receive(buf []byte) (Response, []byte, error) {
	r, buf, err := c.read(buf)
	if err != nil {
		return Response{}, buf, err
	}
	res := r.response()
	return res, buf, r.err
}

// read reads the response to the last request into buf, growing it as needed.
func (c *conn) read(buf []byte) (reader, []byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.net, size[:]); err != nil {
		return reader{}, buf, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if n > maxResponse {
		return reader{}, buf, fmt.Errorf("a response of %d bytes, expected %d at most", n, maxResponse)
	}
	if cap(buf) < n {
		buf = make([]byte, n+n/4)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(c.net, buf); err != nil {
		return reader{}, buf, err
	}
	r := reader{in: buf}
	if id := r.int32(); id != c.id {
		return r, buf, fmt.Errorf("a response to request %d, expected %d", id, c.id)
	}
	r.tags()
	return r, buf, r.err
}

// reader reads a response's fields. Where one does not fit nothing more is read of it.
type reader struct {
	in  []byte
	err error
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.in) {
		if r.err == nil {
			r.err = fmt.Errorf("a response ends early: %d bytes left, %d expected", len(r.in), n)
		}
		r.in = nil
		return make([]byte, max(0, min(n, 8)))
	}
	b := r.in[:n:n]
	r.in = r.in[n:]
	return b
}

func (r *reader) int16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }
func (r *reader) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }
func (r *reader) int64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.in)
	if n <= 0 {
		if r.err == nil {
			r.err = fmt.Errorf("a response has no number where one is expected, %d bytes before its end", len(r.in))
		}
		r.in = nil
		return 0
	}
	r.in = r.in[n:]
	return v
}

// count reads how many things of so many bytes at least follow; null is 0. What cannot fit is an error.
func (r *reader) count(size int) int {
	n := max(r.uvarint(), 1) - 1
	if n > uint64(len(r.in)/size) {
		if r.err == nil {
			r.err = fmt.Errorf("a response tells of %d things in %d bytes", n, len(r.in))
		}
		r.in = nil
		return 0
	}
	return int(n)
}

func (r *reader) compact() string { return string(r.take(r.count(1))) }

// tags passes over tagged fields.
func (r *reader) tags() {
	for range r.uvarint() {
		if r.uvarint(); r.err != nil {
			return
		}
		r.take(int(min(r.uvarint(), maxResponse)))
	}
}

func (r *reader) response() Response {
	var res Response
	r.int32() // throttle time: brokers hold the connection back themselves
	if code := r.int16(); code != 0 && r.err == nil {
		r.err = kafka.Error(code)
	}
	r.int32() // session
	for range r.count(18) {
		var topic TopicID
		copy(topic[:], r.take(len(topic)))
		for range r.count(37) {
			c := Chunk{topic: topic, Partition: int(r.int32())}
			if code := r.int16(); code != 0 {
				c.Err = kafka.Error(code)
			}
			c.HighWatermark, c.LastStable, c.LogStart = r.int64(), r.int64(), r.int64()
			for range r.count(17) {
				c.Aborted = append(c.Aborted, Aborted{Producer: r.int64(), First: r.int64()})
				r.tags()
			}
			r.int32() // preferred replica
			if n := r.count(1); n > 0 {
				c.Batches = r.take(n)
			}
			r.tags()
			res.Chunks = append(res.Chunks, c)
		}
		r.tags()
	}
	return res
}
