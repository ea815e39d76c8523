package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

// broker is a broker with a topic of three partitions.
type broker struct {
	t      *testing.T
	ctx    context.Context
	addr   string
	topic  string
	client *kafka.Client
}

func newBroker(t *testing.T, addr string) *broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	b := &broker{t: t, ctx: ctx, addr: addr, topic: kafkatest.Topic(t), client: &kafka.Client{Addr: kafka.TCP(addr)}}
	res, err := b.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: b.topic, NumPartitions: 3, ReplicationFactor: 1,
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "-1"}},
	}}})
	b.check(err)
	b.check(res.Errors[b.topic])
	return b
}

func (b *broker) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) takeOver() *Producer {
	b.t.Helper()
	p, err := TakeOver(b.ctx, Config{Client: b.client, ID: b.topic})
	b.check(err)
	return p
}

func (b *broker) messages(partition int, texts ...string) []kafka.Message {
	var out []kafka.Message
	for _, text := range texts {
		out = append(out, kafka.Message{
			Topic: b.topic, Partition: partition, Key: []byte("key of " + text), Value: []byte(text), Time: time.UnixMilli(1793534400123),
			Headers: []kafka.Header{{Key: "h", Value: []byte{0, 255}}},
		})
	}
	return out
}

// read is what a committed reader sees of a partition.
func (b *broker) read(partition int) []string {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.ctx)
	f := fetch.New(fetch.Config{Dialer: kafka.DefaultDialer, Brokers: []string{b.addr}, Isolation: kafka.ReadCommitted},
		[]fetch.Start{{Topic: b.topic, Partition: partition}})
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	var out []string
	var w fetch.Walker
	for position := int64(0); ; {
		res := <-f.Responses()
		c := res.Chunks[0]
		b.check(c.Err)
		for w.Reset(&c, position); w.Next(); {
			if r := w.Record(); !r.Control {
				out = append(out, string(r.Value))
			}
		}
		b.check(w.Err())
		position = w.Position()
		end := position == c.HighWatermark
		res.Release()
		if end {
			return out
		}
	}
}

func (b *broker) expect(what string, partition int, want ...string) {
	b.t.Helper()
	if got := b.read(partition); !slices.Equal(got, want) {
		b.t.Errorf("%s: partition %d has %q, expected %q", what, partition, got, want)
	}
}

func (b *broker) committed(group string) int64 {
	b.t.Helper()
	res, err := b.client.OffsetFetch(b.ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{b.topic: {0}}})
	b.check(err)
	b.check(res.Error)
	for _, p := range res.Topics[b.topic] {
		return p.CommittedOffset
	}
	return -1
}

func (b *broker) offsets(group string, offset int64) *Offsets {
	return &Offsets{Group: group, Generation: -1, Topics: map[string][]kafka.TxnOffsetCommit{
		b.topic: {{Partition: 0, Offset: offset, Metadata: "kept"}},
	}}
}

// each runs a test on kfake and on a real Kafka.
func each(t *testing.T, test func(*testing.T, *broker)) {
	t.Run("kfake", func(t *testing.T) {
		addr, _ := kafkatest.Fake(t)
		test(t, newBroker(t, addr))
	})
	t.Run("Real", func(t *testing.T) { test(t, newBroker(t, kafkatest.Shared(t).Addr())) })
}

func TestCommit(t *testing.T) {
	each(t, func(t *testing.T, b *broker) {
		p := b.takeOver()
		group := b.topic + "-group"
		b.check(p.Commit(b.ctx, slices.Concat(b.messages(0, "a", "b"), b.messages(2, "c")), b.offsets(group, 7)))
		b.check(p.Commit(b.ctx, b.messages(0, "d"), b.offsets(group, 8)))
		b.check(p.Commit(b.ctx, nil, b.offsets(group, 9)))
		b.check(p.Commit(b.ctx, nil, nil))
		b.expect("committed", 0, "a", "b", "d")
		b.expect("committed", 2, "c")
		if got := b.committed(group); got != 9 {
			t.Errorf("the committed offset is %d, expected 9", got)
		}
	})
}

func TestLargeCommitIsSplitIntoBatches(t *testing.T) {
	each(t, func(t *testing.T, b *broker) {
		p := b.takeOver()
		var want []string
		for i := range 40 {
			want = append(want, fmt.Sprintf("%03d%s", i, strings.Repeat("x", 100_000)))
		}
		b.check(p.Commit(b.ctx, b.messages(1, want...), nil))
		b.check(p.Commit(b.ctx, b.messages(1, "last"), nil))
		b.expect("split", 1, append(want, "last")...)
	})
}

// A new owner ends what the old one left open, and the old one cannot commit any more.
func TestTakeOver(t *testing.T) {
	each(t, func(t *testing.T, b *broker) {
		old := b.takeOver()
		b.check(old.Commit(b.ctx, b.messages(0, "old"), nil))
		batches := old.encode(b.messages(0, "left open"))
		b.check(old.addPartitions(b.ctx, batches))
		b.check(old.produce(b.ctx, batches[0]))

		young := b.takeOver()
		b.check(young.Commit(b.ctx, b.messages(0, "young"), nil))
		if err := old.end(b.ctx, true); err == nil {
			t.Error("the old owner has committed")
		}
		b.expect("after the take-over", 0, "old", "young")
		b.check(young.Commit(b.ctx, b.messages(0, "more"), nil))
		stale := &Producer{cfg: young.cfg, pid: old.pid, epoch: old.epoch, sequence: map[partition]int32{}}
		if err := stale.Commit(b.ctx, b.messages(0, "stale"), nil); !errors.Is(err, ErrFenced) {
			t.Errorf("the old owner's commit gave %v, expected %v", err, ErrFenced)
		}
		b.expect("after the stale commit", 0, "old", "young", "more")
	})
}

// A member that is not in the group's generation commits nothing.
func TestStrangerCommitsNothing(t *testing.T) {
	each(t, func(t *testing.T, b *broker) {
		p := b.takeOver()
		o := b.offsets(b.topic+"-group", 5)
		o.Generation, o.Member = 3, "somebody"
		err := p.Commit(b.ctx, b.messages(0, "a"), o)
		if !errors.Is(err, ErrNotMember) {
			t.Errorf("the stranger's commit gave %v, expected %v", err, ErrNotMember)
		}
		b.check(b.takeOver().Commit(b.ctx, b.messages(0, "b"), nil))
		b.expect("after the stranger", 0, "b")
	})
}

// What was refused leaves no gap in the sequence numbers: the same producer goes on.
func TestProducerGoesOnAfterARefusal(t *testing.T) {
	each(t, func(t *testing.T, b *broker) {
		p := b.takeOver()
		b.check(p.Commit(b.ctx, b.messages(0, "a"), nil))
		o := b.offsets(b.topic+"-group", 5)
		o.Generation, o.Member = 3, "somebody"
		for range 2 {
			if err := p.Commit(b.ctx, slices.Concat(b.messages(0, "b"), b.messages(1, "c")), o); !errors.Is(err, ErrNotMember) {
				t.Errorf("the stranger's commit gave %v, expected %v", err, ErrNotMember)
			}
		}
		b.check(p.Commit(b.ctx, slices.Concat(b.messages(0, "d"), b.messages(1, "e")), b.offsets(b.topic+"-group", 6)))
		b.expect("after the refusal", 0, "a", "d")
		b.expect("after the refusal", 1, "e")
	})
}

// Where one topic is missing it is named, and not those that were left alone because of it.
func TestMissingTopicIsNamed(t *testing.T) {
	each(t, func(t *testing.T, b *broker) {
		p := b.takeOver()
		p.cfg.Patience = 300 * time.Millisecond
		missing := b.messages(0, "a")
		missing[0].Topic = b.topic + "-missing"
		err := p.Commit(b.ctx, slices.Concat(b.messages(1, "b"), missing, b.messages(2, "c")), nil)
		if err == nil || !strings.Contains(err.Error(), b.topic+"-missing/0: ") || !errors.Is(err, kafka.UnknownTopicOrPartition) {
			t.Errorf("got %v", err)
		}
	})
}

// A repeated batch is taken once: the broker knows its sequence number.
func TestRepeatedBatchIsTakenOnce(t *testing.T) {
	each(t, func(t *testing.T, b *broker) {
		p := b.takeOver()
		batches := p.encode(b.messages(0, "once"))
		b.check(p.addPartitions(b.ctx, batches))
		for range 3 {
			b.check(p.produce(b.ctx, batches[0]))
		}
		b.check(p.end(b.ctx, true))
		b.expect("repeated", 0, "once")
	})
}

// The broker's own tool sees transactional batches.
func TestRealDumpShowsTransactionalBatches(t *testing.T) {
	cluster := kafkatest.Shared(t)
	b := newBroker(t, cluster.Addr())
	b.check(b.takeOver().Commit(b.ctx, b.messages(0, "a"), nil))
	b.expect("written", 0, "a")
	if dump := cluster.DumpLog(b.topic, 0); !strings.Contains(dump, "isTransactional: true") || strings.Contains(dump, "isTransactional: false") ||
		!strings.Contains(dump, "COMMIT") {
		t.Errorf("the log has no transactional batch with a commit marker:\n%s", dump)
	}
}

func TestTakeOverOfNobodyTellsWhere(t *testing.T) {
	client := &kafka.Client{Addr: kafka.TCP("127.0.0.1:1")}
	_, err := TakeOver(t.Context(), Config{Client: client, ID: "x", Patience: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "cannot take over the transactional id x") {
		t.Errorf("the error is %v", err)
	}
}
