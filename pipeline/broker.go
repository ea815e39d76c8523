package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/txn"
)

// broker is what a task needs of Kafka. The simulation has one of its own, in memory.
type broker interface {
	// takeOver makes this process the only one that can commit under the transactional id.
	takeOver(ctx context.Context, id string) (producer, error)
	// member says whether the group still counts this membership.
	member(ctx context.Context, m membership) (bool, error)
	// committed are the group's offsets of the partitions, with what was kept beside them; what has none is not in the answer.
	committed(ctx context.Context, group string, partitions map[string][]int) (map[partition]kafka.OffsetFetchPartition, error)
	// ends are where partitions begin and end; under read committed, the end is before the first transaction that is open.
	ends(ctx context.Context, topic string, partitions []int, isolation kafka.IsolationLevel) (map[int]span, error)
	// topics are what is known of them; one that is missing is not in the answer.
	topics(ctx context.Context, names []string) (map[string]fetch.Topic, error)
	// read reads partitions from their starts on.
	read(starts []fetch.Start) reader
}

// producer commits records and offsets in one transaction (txn.Producer).
type producer interface {
	Commit(ctx context.Context, messages []kafka.Message, offsets *txn.Offsets) error
}

// reader delivers what is read (fetch.Fetcher).
type reader interface {
	Run(ctx context.Context) error
	Responses() <-chan fetch.Response
	Pause(topic string, partition int, paused bool)
}

// partition names one partition of a topic.
type partition struct {
	topic string
	id    int
}

// span is where a partition begins and ends.
type span struct{ first, end int64 }

// askPatience is how long a question is asked again while a broker is busy or away, before the task that asks begins anew.
const askPatience = 30 * time.Second

// kafkaBroker is the real one.
type kafkaBroker struct {
	cfg      *Config
	client   *kafka.Client
	fetch    fetch.Config
	patience time.Duration // how long nothing may come while something is to be read; 0: for ever
}

func (b *kafkaBroker) takeOver(ctx context.Context, id string) (producer, error) {
	return txn.TakeOver(ctx, txn.Config{Client: b.client, ID: id})
}

// member asks the group's coordinator. kafka-go sends a heartbeat to any broker, and takes the two fields of the answer for each other: the code lies in
// the lower half of the throttle time.
func (b *kafkaBroker) member(ctx context.Context, m membership) (member bool, err error) {
	err = txn.Retry(ctx, askPatience, func() error {
		at, err := b.client.FindCoordinator(ctx, &kafka.FindCoordinatorRequest{Key: m.group, KeyType: kafka.CoordinatorKeyTypeConsumer})
		if err == nil {
			err = at.Error
		}
		if err != nil {
			return fmt.Errorf("cannot find the coordinator of group %s: %w", m.group, err)
		}
		res, err := b.client.Heartbeat(ctx, &kafka.HeartbeatRequest{
			Addr: kafka.TCP(net.JoinHostPort(at.Coordinator.Host, strconv.Itoa(at.Coordinator.Port))), GroupID: m.group, GenerationID: int32(m.generation), MemberID: m.member,
		})
		if err != nil {
			return fmt.Errorf("cannot ask the group %s: %w", m.group, err)
		}
		switch code := kafka.Error(int16(res.Throttle.Milliseconds())); code {
		case 0:
			member = true
			return nil
		case kafka.UnknownMemberId, kafka.IllegalGeneration, kafka.RebalanceInProgress, kafka.FencedInstanceID:
			return nil
		default:
			return fmt.Errorf("cannot ask the group %s: %w", m.group, code)
		}
	})
	return member, err
}

func (b *kafkaBroker) committed(ctx context.Context, group string, partitions map[string][]int) (map[partition]kafka.OffsetFetchPartition, error) {
	out := map[partition]kafka.OffsetFetchPartition{}
	err := txn.Retry(ctx, askPatience, func() error {
		res, err := b.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: partitions})
		if err == nil {
			err = res.Error
		}
		if errors.Is(err, kafka.GroupIdNotFound) {
			return nil // nobody was ever in it
		}
		if err != nil {
			return fmt.Errorf("cannot fetch the offsets of group %s: %w", group, err)
		}
		for topic, found := range res.Topics {
			for _, p := range found {
				if p.Error != nil {
					return fmt.Errorf("cannot fetch the offset of group %s in %s/%d: %w", group, topic, p.Partition, p.Error)
				}
				if p.CommittedOffset >= 0 {
					out[partition{topic, p.Partition}] = p
				}
			}
		}
		return nil
	})
	return out, err
}

func (b *kafkaBroker) ends(ctx context.Context, topic string, partitions []int, isolation kafka.IsolationLevel) (map[int]span, error) {
	return ends(ctx, b.client, topic, partitions, isolation)
}

func ends(ctx context.Context, client *kafka.Client, topic string, partitions []int, isolation kafka.IsolationLevel) (map[int]span, error) {
	out := map[int]span{}
	for some := range slices.Chunk(partitions, askedAtOnce) {
		if err := txn.Retry(ctx, askPatience, func() error { return askEnds(ctx, client, topic, some, isolation, out) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// askedAtOnce is of how many partitions the ends are asked for at once: kafka-go takes a request, and a connection, for each.
const askedAtOnce = 16

func askEnds(ctx context.Context, client *kafka.Client, topic string, partitions []int, isolation kafka.IsolationLevel, out map[int]span) error {
	for _, which := range []func(int) kafka.OffsetRequest{kafka.FirstOffsetOf, kafka.LastOffsetOf} {
		var ask []kafka.OffsetRequest
		for _, id := range partitions {
			ask = append(ask, which(id))
		}
		res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
			Topics: map[string][]kafka.OffsetRequest{topic: ask}, IsolationLevel: isolation,
		})
		if err != nil {
			return fmt.Errorf("cannot ask for the ends of %s: %w", topic, err)
		}
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return fmt.Errorf("cannot ask for the ends of %s/%d: %w", topic, p.Partition, p.Error)
			}
			s := out[p.Partition]
			s.first, s.end = max(s.first, p.FirstOffset), max(s.end, p.LastOffset)
			out[p.Partition] = s
		}
	}
	return nil
}

func (b *kafkaBroker) topics(ctx context.Context, names []string) (map[string]fetch.Topic, error) {
	return b.cfg.topicsOf(ctx, names)
}

func (b *kafkaBroker) read(starts []fetch.Start) reader {
	if b.patience > 0 {
		return &impatient{fetch.New(b.fetch, starts), make(chan fetch.Response), b.patience}
	}
	return fetch.New(b.fetch, starts)
}
