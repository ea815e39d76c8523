package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/txn"
)

// commits commits a task's transactions, one at a time, beside what the task goes on with. All methods are for the task's goroutine.
type commits struct {
	producer producer
	seat     *seat
	now      func() time.Time
	beside   func(func()) // runs it on another goroutine

	member  membership      // that the transaction is committed as
	ended   chan ended      // what became of it
	changed <-chan struct{} // while the group is moving on: that it has
	took    time.Duration   // by the last one that was committed
}

// ended is what became of a transaction.
type ended struct {
	err  error
	took time.Duration
}

func newCommits(w *Worker, p producer, s *seat) commits {
	return commits{producer: p, seat: s, now: w.now, beside: func(f func()) { go f() }}
}

// begin begins a transaction, unless one is under way or the group is moving on. The messages and offsets are not to be changed until its end.
// One that has begun is finished, also when the worker is told to stop.
func (c *commits) begin(ctx context.Context, messages []kafka.Message, offsets map[string][]kafka.TxnOffsetCommit) {
	m, free, changed := c.seat.get()
	switch c.changed = nil; {
	case c.ended != nil:
		return
	case !free:
		c.changed = changed
		return
	}
	ctx, start := context.WithoutCancel(ctx), c.now()
	c.member, c.ended = m, make(chan ended, 1)
	c.beside(func() {
		err := c.producer.Commit(ctx, messages, &txn.Offsets{Group: m.group, Generation: m.generation, Member: m.member, Topics: offsets})
		c.ended <- ended{err, c.now().Sub(start)}
	})
}

// end takes what became of the transaction. committed is false if the group has moved on, so that it has to begin again.
func (c *commits) end(e ended) (committed bool, err error) {
	c.ended = nil
	switch {
	case errors.Is(e.err, txn.ErrNotMember), errors.Is(e.err, txn.ErrRebalancing):
		c.seat.over(c.member)
		return false, nil
	case e.err != nil:
		return false, e.err
	}
	c.took = e.took
	return true, nil
}

// finish waits for the transaction that is under way, if there is one, and hands over what became of it.
func (c *commits) finish(take func(ended) error) error {
	if c.ended == nil {
		return nil
	}
	return take(<-c.ended)
}
