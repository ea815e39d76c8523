package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/fetch"
)

// topicSpec is how a topic has to be.
type topicSpec struct {
	name       string
	partitions int
	exact      bool // another number of partitions is refused: it records the number of tasks
	least      bool // fewer are refused, and added where topics are made
	entries    []kafka.ConfigEntry
}

// Settings of topics: Kafka's own names.
func setting(name, value string) kafka.ConfigEntry {
	return kafka.ConfigEntry{ConfigName: name, ConfigValue: value}
}

// specs are all topics of a pipeline. Records carry event time, which may be old: topics whose records do keep them by size or for ever,
// not by a retention that looks at their timestamps. What is internal is dated by the broker.
func (c *Config) specs() []topicSpec {
	appendTime := setting("message.timestamp.type", "LogAppendTime")
	forever := setting("retention.ms", "-1")
	week := setting("retention.ms", "604800000")
	compact := setting("cleanup.policy", "compact")
	unclean := setting("unclean.leader.election.enable", "false")
	t := &c.Topics
	spec := func(name string, partitions int, exact bool, entries ...kafka.ConfigEntry) topicSpec {
		return topicSpec{name: name, partitions: partitions, exact: exact, entries: entries}
	}
	// Only what lies in closed segments is compacted, and all that lies there is read at a restart.
	state := spec(t.State, c.Tasks.Judge, false, appendTime, compact, unclean, setting("segment.bytes", "67108864"))
	if state.least = true; c.keeps() {
		state.partitions = c.keptPartition(c.Tasks.Aggregate)
	}
	out := []topicSpec{
		spec(t.Panes, c.Tasks.Judge, true, appendTime, week, unclean),
		spec(t.Marks, c.Tasks.Aggregate, true, appendTime, forever, unclean),
		state,
		spec(t.Alerts, t.Partitions, false, forever, unclean),
		spec(t.Recovery, t.Partitions, false, forever, unclean),
		spec(t.Rejected, t.Partitions, false, forever, unclean),
		spec(t.Late, t.Partitions, false, forever, unclean),
		spec(t.Control, 1, true, appendTime, forever, unclean),
		spec(t.Health, 1, false, week),
	}
	if t.Replication >= 3 {
		for i := range out { // acks=all then means that two have it
			out[i].entries = append(out[i].entries, setting("min.insync.replicas", "2"))
		}
	}
	for _, s := range c.Sources {
		out = append(out, topicSpec{name: s.Topic, partitions: s.Partitions, entries: []kafka.ConfigEntry{forever}})
	}
	return out
}

// TopicState is what was found of one topic.
type TopicState struct {
	Topic      string
	Partitions int    // that it has
	Made       bool   // it was missing and has been made
	Problem    string // a sentence; "" if it is as it has to be
}

// Patience is how long a start waits for a broker that does not answer.
const Patience = 30 * time.Second

// Connect makes a client and waits until a broker answers, for as long as patience lasts.
func (c *Config) Connect(ctx context.Context, patience time.Duration) (*kafka.Client, error) {
	if err := c.Security.check(); err != nil {
		return nil, err
	}
	client := &kafka.Client{Addr: kafka.TCP(c.Brokers...), Timeout: 10 * time.Second, Transport: &kafka.Transport{
		ClientID: "sevwatch", DialTimeout: 5 * time.Second, MetadataTTL: 6 * time.Second, Dial: c.Security.dial, SASL: c.Security.mechanism(),
	}}
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(patience))
	err := backoff.Retry(func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := client.Metadata(ctx, &kafka.MetadataRequest{})
		return err
	}, backoff.WithContext(wait, ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot reach any of the brokers %v within %s: %w", c.Brokers, patience, err)
	}
	return client, nil
}

// topicsOf asks for topics, past the client's cache; one that no broker knows is not in the answer. One broker is enough that knows all of them: another one may have
// only just begun.
func (c *Config) topicsOf(ctx context.Context, names []string) (map[string]fetch.Topic, error) {
	var errs []error
	topics := map[string]fetch.Topic{}
	for _, broker := range c.Brokers {
		found, err := fetch.Topics(ctx, c.newDialer(), broker, names)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot ask broker %s for its topics: %w", broker, err))
			continue
		}
		maps.Copy(topics, found)
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := found[name]; return ok })
		if len(names) == 0 {
			break
		}
	}
	if len(errs) == len(c.Brokers) {
		return nil, errors.Join(errs...)
	}
	return topics, nil
}

// partitionsOf is how many partitions topics have (topicsOf).
func (c *Config) partitionsOf(ctx context.Context, names []string) (map[string]int, error) {
	found, err := c.topicsOf(ctx, names)
	return countOf(found), err
}

// countOf is how many partitions topics have.
func countOf(topics map[string]fetch.Topic) map[string]int {
	counts := map[string]int{}
	for name, t := range topics {
		if n := len(t.Leaders); n > 0 {
			counts[name] = n
		}
	}
	return counts
}

// VerifyTopics looks at every topic of the pipeline, and makes those that are missing if create is set; where there are too few brokers for that, it
// ends with the first of them.
func (c *Config) VerifyTopics(ctx context.Context, client *kafka.Client, create bool) ([]TopicState, error) {
	specs := c.specs()
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.name
	}
	found, err := c.partitionsOf(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []TopicState
	for _, s := range specs {
		state := TopicState{Topic: s.name, Partitions: found[s.name]}
		switch {
		case state.Partitions == 0 && create:
			err := c.create(ctx, client, s)
			if errors.Is(err, kafka.InvalidReplicationFactor) { // which all have: the others would be refused alike
				state.Problem = c.tooFewBrokers(ctx, client)
				return append(out, state), nil
			}
			if err != nil {
				state.Problem = err.Error()
			} else {
				state.Made, state.Partitions = true, s.partitions
			}
		case state.Partitions == 0:
			state.Problem = fmt.Sprintf("topic %s is missing: make it with `sevwatch topics --create`", s.name)
		case s.least && state.Partitions < s.partitions && create:
			if err := c.widen(ctx, client, s); err != nil {
				state.Problem = err.Error()
			} else {
				state.Partitions = s.partitions
			}
		case s.least && state.Partitions < s.partitions:
			state.Problem = fmt.Sprintf("topic %s has %s, expected %d or more: add them with `sevwatch topics --create`",
				s.name, partitionsText(state.Partitions), s.partitions)
		case s.exact && state.Partitions != s.partitions:
			state.Problem = fmt.Sprintf("topic %s has %s, expected %d: the number of tasks is fixed when the topics are made",
				s.name, partitionsText(state.Partitions), s.partitions)
		}
		out = append(out, state)
	}
	return out, nil
}

// tooFewBrokers says why topics cannot be made with the replication of the configuration.
func (c *Config) tooFewBrokers(ctx context.Context, client *kafka.Client) string {
	text := fmt.Sprintf("no topic can be made: topics.replication is %d, which is more than there are brokers", c.Topics.Replication)
	if res, err := client.Metadata(ctx, &kafka.MetadataRequest{}); err == nil {
		text += fmt.Sprintf(" (%d)", len(res.Brokers))
	}
	return text + ": make it smaller, or start more brokers"
}

func partitionsText(n int) string {
	if n == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%d partitions", n)
}

// widen adds partitions to a topic.
func (c *Config) widen(ctx context.Context, client *kafka.Client, s topicSpec) error {
	res, err := client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: s.name, Count: int32(s.partitions)}},
	})
	if err == nil {
		err = res.Errors[s.name]
	}
	if err != nil {
		return fmt.Errorf("cannot give topic %s %s: %w", s.name, partitionsText(s.partitions), err)
	}
	return nil
}

func (c *Config) create(ctx context.Context, client *kafka.Client, s topicSpec) error {
	res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: s.name, NumPartitions: s.partitions, ReplicationFactor: c.Topics.Replication, ConfigEntries: s.entries,
	}}})
	if err == nil {
		err = res.Errors[s.name]
	}
	if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
		return fmt.Errorf("cannot make topic %s with %s and replication %d: %w", s.name, partitionsText(s.partitions), c.Topics.Replication, err)
	}
	return nil
}
