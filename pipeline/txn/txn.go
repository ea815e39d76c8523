// Package txn writes records and consumer offsets to Kafka in one transaction, on kafka-go, which cannot do so by itself: its
// Client.Produce with a transactional id writes plain batches. It knows Kafka's protocol and nothing of what the records mean.
//
// One Producer is one transactional id. Whoever calls TakeOver owns the id from then on: the broker fences the owner before, aborts
// the transaction that it left open, and answers only when that is done. So the way of a consumer that must neither lose nor double is
//
//	producer := TakeOver(id)   // nobody else can commit any more
//	read the committed offsets // nothing of a dead owner is still under way
//	loop: read, then Commit(records, offsets)
//
// and after an error of Commit the same again from the top, with everything in memory thrown away. Commit never retries what could
// have happened already.
package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
)

// Errors of Commit. After ErrNotMember and ErrRebalancing the transaction was aborted and the Producer can be used again, with the
// membership of a later generation. After every other error take over from yourself: it may have been committed or not.
var (
	// ErrFenced: somebody else has taken over the transactional id. Whatever was in the transaction is aborted.
	ErrFenced = errors.New("another process has taken over the transactional id")
	// ErrNotMember: the group has moved on without this member, which owns its partitions no more. The transaction is aborted.
	ErrNotMember = errors.New("this member is no longer in the group's generation")
	// ErrRebalancing: the group is about to move on; this member may keep its partitions. The transaction is aborted.
	ErrRebalancing = errors.New("the group is rebalancing")
)

// Config says who writes where.
type Config struct {
	Client  *kafka.Client // its Addr is the bootstrap address
	ID      string        // transactional id
	Timeout time.Duration // after which the broker aborts a transaction that nobody ended; 0 means 10 s
	// BatchBytes bounds one record batch, before compression; the topics' max.message.bytes has to allow it. 0 means 900,000. A single
	// record may be larger.
	BatchBytes int
	// Patience bounds how long TakeOver waits for a broker that is busy or away. 0 means 30 s.
	Patience time.Duration
}

// Offsets is what a consumer group has read, to be committed with the records made of it.
type Offsets struct {
	Group      string
	Generation int
	Member     string
	Topics     map[string][]kafka.TxnOffsetCommit
}

// Producer is one owner's session of a transactional id. It is for one goroutine.
type Producer struct {
	cfg      Config
	pid      int
	epoch    int
	sequence map[partition]int32
	failed   bool
}

type partition struct {
	topic string
	id    int
}

// TakeOver makes this process the owner of the transactional id. It retries while the broker is busy ending what the owner before
// left, or is not to be reached, for up to Patience.
func TakeOver(ctx context.Context, cfg Config) (*Producer, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.BatchBytes == 0 {
		cfg.BatchBytes = 900_000
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	p := &Producer{cfg: cfg, sequence: map[partition]int32{}}
	err := Retry(ctx, cfg.Patience, func() error {
		res, err := cfg.Client.InitProducerID(ctx, &kafka.InitProducerIDRequest{
			TransactionalID: cfg.ID, TransactionTimeoutMs: int(cfg.Timeout.Milliseconds()), ProducerID: -1, ProducerEpoch: -1,
		})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			return err
		}
		p.pid, p.epoch = res.Producer.ProducerID, res.Producer.ProducerEpoch
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot take over the transactional id %s: %w", cfg.ID, err)
	}
	return p, nil
}

// Commit writes all messages (Topic, Partition, Key, Value, Headers and Time of each; those of a partition stay in order) and the
// offsets, and makes them visible together.
func (p *Producer) Commit(ctx context.Context, messages []kafka.Message, offsets *Offsets) error {
	if p.failed {
		panic("BUG: Commit after a failed Commit of " + p.cfg.ID)
	}
	err := p.commit(ctx, messages, offsets)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cannot commit the transaction of %s: %w", p.cfg.ID, classify(err))
	p.failed = true
	if errors.Is(err, ErrNotMember) || errors.Is(err, ErrRebalancing) {
		abortErr := p.end(ctx, false)
		if abortErr != nil {
			return fmt.Errorf("cannot abort the transaction of %s: %w", p.cfg.ID, classify(abortErr))
		}
		p.failed = false
	}
	return err
}

func (p *Producer) commit(ctx context.Context, messages []kafka.Message, offsets *Offsets) error {
	batches := p.encode(messages)
	if len(batches) == 0 && offsets == nil {
		return nil
	}
	// Offsets first: if the group has moved on, nothing is written for nothing.
	if offsets != nil {
		if err := p.commitOffsets(ctx, offsets); err != nil {
			return fmt.Errorf("writing offsets: %w", err)
		}
	}
	if err := p.addPartitions(ctx, batches); err != nil {
		return fmt.Errorf("adding partitions: %w", err)
	}
	if err := p.write(ctx, batches); err != nil {
		return err
	}
	if err := p.end(ctx, true); err != nil {
		return fmt.Errorf("ending: %w", err)
	}
	return nil
}

// classify gives errors that the caller has to tell apart their names.
func classify(err error) error {
	for _, known := range []struct {
		as    error
		codes []kafka.Error
	}{
		{ErrFenced, []kafka.Error{kafka.InvalidProducerEpoch, producerFenced, kafka.InvalidProducerIDMapping}},
		{ErrNotMember, []kafka.Error{kafka.IllegalGeneration, kafka.UnknownMemberId}},
		{ErrRebalancing, []kafka.Error{kafka.RebalanceInProgress}},
	} {
		for _, code := range known.codes {
			if errors.Is(err, code) {
				return fmt.Errorf("%w: %w", known.as, err)
			}
		}
	}
	return err
}

// producerFenced is Kafka's code 90, which kafka-go does not name.
const producerFenced = kafka.Error(90)

// busy are the errors after which the same request may be sent again: nothing has happened.
var busy = []kafka.Error{
	kafka.ConcurrentTransactions, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup, kafka.GroupLoadInProgress,
	kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.NotEnoughReplicas, kafka.UnknownTopicOrPartition,
}

func isBusy(err error) bool {
	for _, code := range busy {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// Retry calls do until it succeeds, fails for good, or patience is over. Kafka's own errors are final unless they say "busy", or only that
// something went wrong in a broker, as one says that is being killed; what is no answer of Kafka (a broken connection) is tried again. So do has
// to be a question, or what may be done twice.
func Retry(ctx context.Context, patience time.Duration, do func() error) error {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(250*time.Millisecond),
		backoff.WithMaxElapsedTime(patience))
	return backoff.Retry(func() error {
		err := do()
		var answer kafka.Error
		if err != nil && errors.As(err, &answer) && !isBusy(err) && answer != kafka.Unknown {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(wait, ctx))
}

// retryBusy is Retry for requests that must not be repeated after a broken connection: only an answer that says "busy" is.
func (p *Producer) retryBusy(ctx context.Context, do func() error) error {
	return Retry(ctx, p.cfg.Timeout, func() error {
		if err := do(); err != nil && !isBusy(err) {
			return backoff.Permanent(err)
		} else {
			return err
		}
	})
}

func (p *Producer) addPartitions(ctx context.Context, batches []batch) error {
	topics := map[string][]kafka.AddPartitionToTxn{}
	seen := map[partition]bool{}
	for _, b := range batches {
		if !seen[b.partition] {
			seen[b.partition] = true
			topics[b.topic] = append(topics[b.topic], kafka.AddPartitionToTxn{Partition: b.id})
		}
	}
	if len(topics) == 0 {
		return nil
	}
	return p.retryBusy(ctx, func() error {
		res, err := p.cfg.Client.AddPartitionsToTxn(ctx, &kafka.AddPartitionsToTxnRequest{
			TransactionalID: p.cfg.ID, ProducerID: p.pid, ProducerEpoch: p.epoch, Topics: topics,
		})
		if err != nil {
			return err
		}
		var refused error
		for _, topic := range slices.Sorted(maps.Keys(res.Topics)) {
			for _, x := range res.Topics[topic] {
				switch {
				case x.Error == nil:
				case errors.Is(x.Error, notAttempted):
					refused = cmp.Or(refused, fmt.Errorf("%s/%d was not tried for the sake of another", topic, x.Partition))
				default:
					return fmt.Errorf("%s/%d: %w", topic, x.Partition, x.Error)
				}
			}
		}
		return refused
	})
}

// notAttempted is Kafka's code 55, OPERATION_NOT_ATTEMPTED, to which kafka-go gives another name: what is told of the partitions beside one that is refused.
const notAttempted = kafka.Error(55)

// written is how far the writing of a partition came.
type written struct {
	partition
	next int32 // sequence number
	err  error
}

// write sends all batches, the partitions beside one another: each has a log of its own, and answers only when that is written.
func (p *Producer) write(ctx context.Context, batches []batch) error {
	by := map[partition][]batch{}
	for _, b := range batches {
		by[b.partition] = append(by[b.partition], b)
	}
	done := make(chan written, len(by))
	for at, list := range by {
		w := written{partition: at, next: p.sequence[at]}
		go func() {
			for i := 0; i < len(list) && w.err == nil; i++ {
				if w.err = p.produce(ctx, list[i]); w.err == nil {
					w.next = list[i].next
				}
			}
			done <- w
		}()
	}
	var errs []error
	for range by {
		w := <-done
		p.sequence[w.partition] = w.next // the broker counts on from it also when the transaction is aborted
		if w.err != nil {
			errs = append(errs, fmt.Errorf("writing to %s/%d: %w", w.topic, w.id, w.err))
		}
	}
	return errors.Join(errs...)
}

func (p *Producer) commitOffsets(ctx context.Context, o *Offsets) error {
	err := p.retryBusy(ctx, func() error {
		res, err := p.cfg.Client.AddOffsetsToTxn(ctx, &kafka.AddOffsetsToTxnRequest{
			TransactionalID: p.cfg.ID, ProducerID: p.pid, ProducerEpoch: p.epoch, GroupID: o.Group,
		})
		if err != nil {
			return err
		}
		return res.Error
	})
	if err != nil {
		return err
	}
	return p.retryBusy(ctx, func() error {
		res, err := p.cfg.Client.TxnOffsetCommit(ctx, &kafka.TxnOffsetCommitRequest{
			TransactionalID: p.cfg.ID, ProducerID: p.pid, ProducerEpoch: p.epoch,
			GroupID: o.Group, GenerationID: o.Generation, MemberID: o.Member, Topics: o.Topics,
		})
		if err != nil {
			return err
		}
		for topic, partitions := range res.Topics {
			for _, x := range partitions {
				if x.Error != nil {
					return fmt.Errorf("%s/%d: %w", topic, x.Partition, x.Error)
				}
			}
		}
		return nil
	})
}

func (p *Producer) end(ctx context.Context, commit bool) error {
	return p.retryBusy(ctx, func() error {
		res, err := p.cfg.Client.EndTxn(ctx, &kafka.EndTxnRequest{
			TransactionalID: p.cfg.ID, ProducerID: p.pid, ProducerEpoch: p.epoch, Committed: commit,
		})
		if err != nil {
			return err
		}
		return res.Error
	})
}
