package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/txn"
	"sevwatch/pipeline/wire"
)

// Asides are the records of the rejected or late topic, for a person to look at and to send again.
type Asides struct {
	Config *Config
	Client *kafka.Client
	Topic  string
	// Match says which records are meant; nil: all.
	Match func(*wire.Aside) bool
	// Again says that copies which had been sent back and came here once more are sent, too.
	Again bool
}

// Place is where a record lies on the topic itself, and how often it had been sent back before it came there.
type Place struct {
	Partition int
	Offset    int64
	Resent    int
}

// resentHeader is added to what is sent back. The copy brings it along when it is late or rejected in its turn: without it nothing would tell
// the copy from a record that was never sent back, and the topic would double with every sending.
const resentHeader = "sevwatch_resent"

// resent is how often a record had been sent back. What is no number was not written by us.
func resent(r wire.Record) int {
	n, err := strconv.Atoi(string(r.Header(resentHeader)))
	if err != nil {
		return 0
	}
	return n
}

// Read calls each for every record there is now, partition by partition in their order, whose headers say where it came from. What it is
// given holds until the next call.
func (a *Asides) Read(ctx context.Context, each func(Place, *wire.Aside) error) (err error) {
	found, err := a.Config.there(ctx, a.Topic)
	if err != nil {
		return err
	}
	b := onlooker(a.Config, a.Client).broker
	for id := range found[a.Topic] {
		spans, err := b.ends(ctx, a.Topic, []int{id}, kafka.ReadCommitted)
		if err != nil {
			return err
		}
		start := fetch.Start{Topic: a.Topic, Partition: id, Offset: spans[id].first}
		err = readRange(ctx, b.read, start, spans[id].end, func(r *fetch.Record) error {
			record := whole(r)
			aside, err := wire.ReadAside(record)
			if err != nil || a.Match != nil && !a.Match(&aside) {
				return nil //nolint:nilerr // it is none of ours
			}
			return each(Place{id, r.Offset, resent(record)}, &aside)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Resent is what was sent again, and what was not.
type Resent struct {
	Sent    int64
	Before  int64 // had been sent again before
	Back    int64 // copies that had been sent again and came back, which only Again sends
	Cut     int64 // only a part of the record was kept
	Foreign int64 // came from a topic that is no source any more
}

// Bounds of what is sent again in one transaction.
const (
	resendRecords = 500
	resendBytes   = 4 << 20
)

// resender sends records of one source and reason again, and another one the copies of such records. How far it has come is kept as the offsets of a consumer group of their own, in
// the transaction that sends them: so none is sent twice, however often and with whichever filters it is asked for, as long as the broker keeps
// the offsets of a group without members (offsets.retention.minutes, 7 days by default).
type resender struct {
	group    string
	from     map[int]int64 // offsets that were sent before, by partition
	messages []kafka.Message
	size     int
	next     map[int]int64
}

// Resend sends the records back to where they came from: key, value, headers and timestamp are their own, and a header says that they were
// sent back.
func (a *Asides) Resend(ctx context.Context) (sum Resent, err error) {
	b := &kafkaBroker{cfg: a.Config, client: a.Client}
	name := "sevwatch." + a.Config.Pipeline + ".resend"
	producer, err := b.takeOver(ctx, name)
	if err != nil {
		return sum, err
	}
	resenders := map[string]*resender{}
	err = a.Read(ctx, func(at Place, r *wire.Aside) error {
		switch {
		case !a.isSource(r.Source.Topic):
			sum.Foreign++
			return nil
		case r.Cut:
			sum.Cut++
			return nil
		case at.Resent > 0 && !a.Again:
			sum.Back++
			return nil
		}
		group := name + "." + a.Topic + "." + r.Source.Topic + "." + r.Reason
		if at.Resent > 0 {
			group += ".again" // what is left out without Again must not count as sent when a record behind it is
		}
		s := resenders[group]
		if s == nil {
			if s, err = a.resender(ctx, b, group); err != nil {
				return err
			}
			resenders[group] = s
		}
		if at.Offset < s.from[at.Partition] {
			sum.Before++
			return nil
		}
		s.add(at, r)
		if len(s.messages) < resendRecords && s.size < resendBytes {
			return nil
		}
		return s.commit(ctx, producer, a.Topic, &sum)
	})
	for _, group := range slices.Sorted(maps.Keys(resenders)) {
		if err == nil {
			err = resenders[group].commit(ctx, producer, a.Topic, &sum)
		}
	}
	return sum, err
}

func (a *Asides) isSource(topic string) bool {
	return slices.ContainsFunc(a.Config.Sources, func(s SourceConfig) bool { return s.Topic == topic })
}

// resender takes up where the last one of that group stopped.
func (a *Asides) resender(ctx context.Context, b *kafkaBroker, group string) (*resender, error) {
	found, err := a.Config.partitionsOf(ctx, []string{a.Topic})
	if err != nil {
		return nil, err
	}
	ask := map[string][]int{}
	for id := range found[a.Topic] {
		ask[a.Topic] = append(ask[a.Topic], id)
	}
	committed, err := b.committed(ctx, group, ask)
	if err != nil && !errors.Is(err, kafka.GroupIdNotFound) { // nothing was sent yet
		return nil, err
	}
	s := &resender{group: group, from: map[int]int64{}, next: map[int]int64{}}
	for p, at := range committed {
		s.from[p.id] = at.CommittedOffset
	}
	return s, nil
}

func (s *resender) add(at Place, r *wire.Aside) {
	m := kafka.Message{
		Topic: r.Source.Topic, Partition: r.Source.Partition, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value), Time: time.UnixMilli(max(r.Time, 0)),
	}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	m.Headers = append(m.Headers, kafka.Header{Key: resentHeader, Value: strconv.AppendInt(nil, int64(at.Resent)+1, 10)})
	s.messages, s.size = append(s.messages, m), s.size+len(m.Key)+len(m.Value)
	s.next[at.Partition] = at.Offset + 1
}

func (s *resender) commit(ctx context.Context, p producer, topic string, sum *Resent) error {
	if len(s.messages) == 0 {
		return nil
	}
	offsets := &txn.Offsets{Group: s.group, Generation: -1, Topics: map[string][]kafka.TxnOffsetCommit{}}
	for _, id := range slices.Sorted(maps.Keys(s.next)) {
		offsets.Topics[topic] = append(offsets.Topics[topic], kafka.TxnOffsetCommit{Partition: id, Offset: s.next[id]})
	}
	if err := p.Commit(ctx, s.messages, offsets); err != nil {
		return errors.Join(fmt.Errorf("cannot send %d records again", len(s.messages)), err)
	}
	sum.Sent += int64(len(s.messages))
	s.messages, s.size, s.next = nil, 0, map[int]int64{}
	return nil
}
