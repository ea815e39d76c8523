// Package fetch reads Kafka partitions over connections that kafka-go opens and authenticates, with fetch requests of its own: record
// timestamps, headers, transaction markers and the list of aborted transactions are all there, nothing is allocated for a record, and the
// next request is on its way before the last response is looked at. It knows Kafka's protocol and nothing of what the records mean.
package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
)

// Config says where and how to read.
type Config struct {
	Dialer    *kafka.Dialer
	Brokers   []string // host:port, to ask for the partitions' leaders
	Isolation kafka.IsolationLevel
	// MaxWait bounds how long the broker waits for records when there are none; 0 means 250 ms.
	MaxWait time.Duration
	// PartitionBytes and ResponseBytes are about what is asked for at once; a larger batch comes whole all the same. Of many partitions less is asked for
	// each. 0: 2 MiB, 16 MiB.
	PartitionBytes, ResponseBytes int
	// OnError, where given, is told of every error that is retried.
	OnError func(error)
}

// Start is a partition and the offset where reading begins.
type Start struct {
	Topic     string
	Partition int
	Offset    int64
	// Uncommitted also reads what a transaction has written that is still open or was aborted; Config.Isolation is for the others.
	Uncommitted bool
	// ID is the topic that is meant: one that has its name afterwards is not read (ErrAnotherTopic). Zero: that which has the name when it is looked for first.
	ID TopicID
}

// lane is a connection's worth of partitions: those of one leader that are read under one isolation level, which a request has only one of.
type lane struct {
	leader    string
	isolation kafka.IsolationLevel
}

func (f *Fetcher) lane(p *position) lane {
	l := lane{p.leader, f.cfg.Isolation}
	if p.Uncommitted {
		l.isolation = kafka.ReadUncommitted
	}
	return l
}

// Chunk is what one response has of one partition. Without batches it still tells where the log ends.
type Chunk struct {
	Topic         string
	topic         TopicID
	Partition     int
	Position      int64     // that was asked for
	Asked         time.Time // when
	HighWatermark int64
	LastStable    int64
	LogStart      int64
	Aborted       []Aborted
	Batches       []byte
	Err           error // kafka.OffsetOutOfRange or ErrAnotherTopic: nothing more comes of the partition; others are handled here
}

// ErrAnotherTopic says that a topic is gone, and that what has its name now is not the one that was read.
var ErrAnotherTopic = errors.New("the topic was deleted, and another one has its name")

// Response is what a broker sent at once. Release has to be called when its chunks are done with.
type Response struct {
	Chunks  []Chunk
	release func()
}

// WithRelease is the response with what Release is to do.
func (r Response) WithRelease(release func()) Response {
	r.release = release
	return r
}

// Release gives the buffer back to be read into again.
func (r *Response) Release() { r.release() }

// Fetcher reads a set of partitions.
type Fetcher struct {
	cfg  Config
	out  chan Response
	asks int            // which of the brokers is asked for leaders next
	work sync.WaitGroup // goroutines of Run

	mu        sync.Mutex
	positions []*position
	changed   chan struct{} // closed and made anew when positions change
}

// position is one partition's state. leader, paused, stopped, another and named are guarded by the fetcher's mutex; next to read belong to the goroutine that
// reads from the leader.
type position struct {
	Start
	next    int64
	largest int       // bytes of the largest batch that came lately, or has to; 0: nothing is known
	asked   int       // bytes
	idle    bool      // there was nothing more to read when it was asked for last
	came    time.Time // when that was asked for of which something came last
	read    int64     // bytes that came
	leader  string    // address; "" while it is not known
	paused  bool
	stopped bool
	another bool // a broker has named another topic of that name
	named   bool // a broker has named the one that is meant
}

// New makes a fetcher; Run reads.
func New(cfg Config, partitions []Start) *Fetcher {
	if cfg.MaxWait == 0 {
		cfg.MaxWait = 250 * time.Millisecond
	}
	if cfg.PartitionBytes == 0 {
		cfg.PartitionBytes = 2 << 20
	}
	if cfg.ResponseBytes == 0 {
		cfg.ResponseBytes = 16 << 20
	}
	if cfg.OnError == nil {
		cfg.OnError = func(error) {}
	}
	f := &Fetcher{cfg: cfg, out: make(chan Response), changed: make(chan struct{})}
	for _, p := range partitions {
		f.positions = append(f.positions, &position{Start: p, next: p.Offset})
	}
	slices.SortFunc(f.positions, func(x, y *position) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return f
}

// Responses is where Run delivers. Not to receive is to hold the brokers back.
func (f *Fetcher) Responses() <-chan Response { return f.out }

// Pause stops or resumes asking for a partition. What is on its way still comes.
func (f *Fetcher) Pause(topic string, partition int, paused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.positions {
		if p.Topic == topic && p.Partition == partition && p.paused != paused {
			p.paused = paused
			f.notify()
		}
	}
}

// notify wakes everybody who waits for a change; the mutex is held.
func (f *Fetcher) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Run reads until ctx is done: leaders are looked for, one goroutine each reads from them, and what has lost its leader is looked for
// again. It returns when all of them have ended.
func (f *Fetcher) Run(ctx context.Context) error {
	defer f.work.Wait()
	reading := map[lane]bool{}
	var mu sync.Mutex
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(0))
	var again <-chan time.Time // when leaders may be asked for; nil: at once
	for ctx.Err() == nil {
		lost, changed := f.leaderless()
		if len(lost) > 0 && again == nil {
			switch err := f.askLeaders(ctx, lost); {
			case err == nil: // which does not mean that they know of it
				wait.Reset()
				again = time.After(reconnectAfter)
			case ctx.Err() == nil: // those that have one are read meanwhile
				f.cfg.OnError(err)
				again = time.After(wait.NextBackOff())
			}
		}
		for _, l := range f.lanes() {
			mu.Lock()
			started := reading[l]
			reading[l] = true
			mu.Unlock()
			if started {
				continue
			}
			f.work.Go(func() {
				f.readFrom(ctx, l)
				mu.Lock()
				delete(reading, l)
				mu.Unlock()
				f.mu.Lock()
				f.notify()
				f.mu.Unlock()
			})
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-again:
			again = nil
		}
	}
	return ctx.Err()
}

// leaderless are the partitions whose leader has to be looked for, and what says that this may have changed.
func (f *Fetcher) leaderless() ([]*position, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lost []*position
	for _, p := range f.positions {
		if p.leader == "" && !p.stopped {
			lost = append(lost, p)
		}
	}
	return lost, f.changed
}

func (f *Fetcher) lanes() []lane {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []lane
	for _, p := range f.positions {
		if l := f.lane(p); l.leader != "" && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// askLeaders asks for the leaders of partitions that have none: one broker after the other until one knows all topics, beginning with the one that did last. Nobody
// else gives them one. A topic is another one where none of those who answered knows the one that is meant.
func (f *Fetcher) askLeaders(ctx context.Context, lost []*position) error {
	var errs []error
	for range f.cfg.Brokers {
		broker := f.cfg.Brokers[f.asks]
		answered, err := f.askBroker(ctx, broker, lost)
		if err != nil {
			errs = append(errs, fmt.Errorf("asking broker %s for leaders: %w", broker, err))
		}
		if answered {
			break
		}
		f.asks = (f.asks + 1) % len(f.cfg.Brokers)
	}
	f.tellGone(ctx, lost)
	return errors.Join(errs...)
}

// tellGone tells of the partitions whose topic has gone, and lets go of them.
func (f *Fetcher) tellGone(ctx context.Context, lost []*position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var gone []Chunk
	for _, p := range lost {
		if p.another && !p.named && p.leader == "" && !p.stopped {
			p.stopped = true
			gone = append(gone, Chunk{Topic: p.Topic, Partition: p.Partition, Position: p.next, Err: ErrAnotherTopic})
		}
		p.another, p.named = false, false
	}
	if len(gone) > 0 {
		f.work.Go(func() { f.deliver(ctx, Response{Chunks: gone, release: func() {}}) })
	}
}

// askBroker says whether the broker knew every topic, be it that a partition has no leader.
func (f *Fetcher) askBroker(ctx context.Context, broker string, lost []*position) (answered bool, err error) {
	var names []string
	for _, p := range lost {
		if len(names) == 0 || names[len(names)-1] != p.Topic {
			names = append(names, p.Topic)
		}
	}
	topics, err := Topics(ctx, f.cfg.Dialer, broker, names)
	errs := []error{err}
	for _, name := range names {
		if _, ok := topics[name]; !ok && err == nil { // perhaps another one knows it
			errs = append(errs, fmt.Errorf("the partitions of %s: %w", name, kafka.UnknownTopicOrPartition))
		}
	}
	answered = errors.Join(errs...) == nil
	err = f.found(topics, lost)
	return answered && !errors.Is(err, ErrAnotherTopic), errors.Join(append(errs, err)...)
}

// found gives partitions their leaders.
func (f *Fetcher) found(topics map[string]Topic, lost []*position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, p := range lost {
		t, ok := topics[p.Topic]
		if !ok || p.stopped || p.leader != "" { // it may be read already by who another broker has named
			continue
		}
		if p.ID == (TopicID{}) {
			p.ID = t.ID
		}
		p.named = p.named || p.ID == t.ID
		switch {
		case p.ID != t.ID:
			p.another = true
			errs = append(errs, fmt.Errorf("%s/%d: %w", p.Topic, p.Partition, ErrAnotherTopic))
		case p.Partition < len(t.Leaders) && t.Leaders[p.Partition] != "":
			p.leader = t.Leaders[p.Partition]
		default:
			errs = append(errs, fmt.Errorf("%s/%d has no leader", p.Topic, p.Partition))
		}
	}
	f.notify() // a goroutine that reads from a leader may be waiting for something to read
	return errors.Join(errs...)
}

// deliver hands a response to the consumer; it says false when ctx was done before.
func (f *Fetcher) deliver(ctx context.Context, res Response) bool {
	select {
	case f.out <- res:
		return true
	case <-ctx.Done():
		return false
	}
}

// askPatience is how long a broker may take to tell of leaders.
const askPatience = 10 * time.Second

// reconnectAfter is how long a broker that broke a connection is left alone.
const reconnectAfter = 100 * time.Millisecond

// readFrom reads all partitions of one lane until there are none, the connection breaks, or ctx is done.
func (f *Fetcher) readFrom(ctx context.Context, l lane) {
	if err := f.session(ctx, l); err != nil && ctx.Err() == nil {
		f.cfg.OnError(fmt.Errorf("reading from broker %s: %w", l.leader, err))
		select {
		case <-ctx.Done():
		case <-time.After(reconnectAfter):
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.positions {
		if f.lane(p) == l {
			p.leader = ""
		}
	}
}

func (f *Fetcher) session(ctx context.Context, l lane) error {
	c, err := dial(ctx, f.cfg.Dialer, l.leader)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		_ = c.close()
	}()
	free := make(chan []byte, 2)
	free <- nil
	free <- nil
	sent := false
	for {
		if !sent {
			if sent, err = f.ask(ctx, c, l, true); err != nil || !sent {
				return err
			}
		}
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.patience(&f.cfg); err != nil { // the consumer may have held it back for long
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		res, buf, err := c.receive(buf)
		if err != nil {
			return err
		}
		res = res.WithRelease(func() { free <- buf })
		f.advance(c, &res)
		// The next request is on its way before the response is looked at. Where it cannot be sent the response is handed on all the same: the positions are
		// behind it already.
		sent, err = f.ask(ctx, c, l, false)
		if !f.deliver(ctx, res) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// took notes that so many bytes came of what was asked for at a time, and how large the largest batch was.
func (p *position) took(bytes, largest int, sent time.Time) {
	p.came, p.read = sent, p.read+int64(bytes)
	p.largest = max(largest, p.largest-p.largest/16)
}

// tooLittle notes that nothing came although there is something and the response had room for what was asked for, since as much came of partitions that were
// asked for behind it: so the next batch is larger. How much room a response has only the broker knows. largest is how large it is, where the broker has sent a piece of it.
func (p *position) tooLittle(largest int) { p.largest = max(largest, p.largest, p.asked+p.asked/2) }

// readable is the offset up to which there is something to read.
func (p *position) readable(cfg *Config, c *Chunk) int64 {
	if p.Uncommitted || cfg.Isolation == kafka.ReadUncommitted {
		return c.HighWatermark
	}
	return c.LastStable
}

// wholeBatches is how much to ask for of a partition whose batches are so large, 0 of unknown ones: whole batches, because brokers leave out or cut a batch for
// which there is no room, and what is cut has to be read again. Only of the first partition of a request does a batch come that is larger.
func wholeBatches(about, largest int) int {
	if largest == 0 {
		return about
	}
	batches := max(1, (about+largest/2)/largest)
	return min(batches*(largest+largest/64), maxResponse/2)
}

// ask sends the next request. When there are no partitions left in the lane it says false; while all of them are paused it waits, if it is to wait, or says
// false too.
func (f *Fetcher) ask(ctx context.Context, c *conn, l lane, wait bool) (bool, error) {
	for {
		f.mu.Lock()
		var want []*position
		mine := 0
		for _, p := range f.positions {
			if f.lane(p) == l && !p.stopped {
				mine++
				if !p.paused {
					want = append(want, p)
				}
			}
		}
		changed := f.changed
		f.mu.Unlock()
		if len(want) > 0 {
			inTurn(want)
			err := c.send(&f.cfg, l.isolation, want)
			return err == nil, err
		}
		if mine == 0 || !wait {
			return false, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// inTurn sorts positions as they are to be asked for, since a response may be full before it has something of all: those come first of which nothing has come
// for longest. So each of them has its turn, and one with a batch that is larger than what is asked for is the first then and gets it. Of those that came
// together those come first of which less has come.
func inTurn(positions []*position) {
	slices.SortStableFunc(positions, func(x, y *position) int { return cmp.Or(x.came.Compare(y.came), cmp.Compare(x.read, y.read)) })
}

// moved are the errors that say: ask for the leader again. Kafka's own consumer also reads on after an error that the broker cannot name.
var moved = []kafka.Error{
	kafka.UnknownTopicOrPartition, kafka.UnknownTopicID, kafka.InconsistentTopicID, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.ReplicaNotAvailable,
	kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.KafkaStorageError, kafka.OffsetNotAvailable, kafka.Unknown,
}

// advance moves the positions on by what the response has, and lets go of partitions that have moved.
func (f *Fetcher) advance(c *conn, res *Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept, behind := res.Chunks[:0], 0 // bytes of the chunks behind one
	for i := range res.Chunks {
		behind += len(res.Chunks[i].Batches)
	}
	next := 0 // brokers answer in the order of the request, mostly
	for _, chunk := range res.Chunks {
		behind -= len(chunk.Batches)
		is := func(p *position) bool { return p.Partition == chunk.Partition && p.ID == chunk.topic }
		i := next
		if i == len(c.asked) || !is(c.asked[i]) {
			i = slices.IndexFunc(c.asked, is)
		}
		if i < 0 {
			continue
		}
		p := c.asked[i]
		next = i + 1
		chunk.Topic, chunk.Position, chunk.Asked = p.Topic, p.next, c.sent
		if slices.ContainsFunc(moved, func(e kafka.Error) bool { return errors.Is(chunk.Err, e) }) {
			f.cfg.OnError(fmt.Errorf("reading %s/%d: %w", p.Topic, p.Partition, chunk.Err))
			p.leader = ""
			f.notify()
			continue
		}
		if chunk.Err != nil {
			p.stopped = true
		}
		next, largest := ahead(chunk.Batches, p.next)
		p.idle = p.readable(&f.cfg, &chunk) <= p.next
		switch {
		case next > p.next:
			p.next = next
			p.took(len(chunk.Batches), largest, c.sent)
		case !p.idle && p.asked <= behind:
			p.tooLittle(largest)
		}
		kept = append(kept, chunk)
	}
	res.Chunks = kept
}
