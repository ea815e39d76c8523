package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/fetch"
)

// topicSpec is how a topic has to be.
type topicSpec struct {
	name       string
	partitions int
	exact      bool                // another number of partitions is refused: it records the number of tasks
	least      bool                // fewer are refused, and added where topics are made
	needs      []need              // looked at where the topic is there already
	entries    []kafka.ConfigEntry // what it is made with, its needs among them
}

// need is a setting without which the pipeline loses data or stops.
type need struct {
	kafka.ConfigEntry
	least string // with that much it does neither, but there is a warning; "" if there is nothing between
	but   string // what may happen then
}

// Settings of topics: Kafka's own names.
func setting(name, value string) kafka.ConfigEntry {
	return kafka.ConfigEntry{ConfigName: name, ConfigValue: value}
}

// endless is the largest number of milliseconds that a setting takes.
const endless = "9223372036854775807"

// specs are all topics of a pipeline. Records carry event time, which may be old: topics whose records do keep them by size or for ever,
// not by a retention that looks at their timestamps. What is internal is dated by the broker.
func (c *Config) specs() []topicSpec {
	forever := setting("retention.ms", "-1")
	week := setting("retention.ms", "604800000")
	const day = "86400000"
	appendTime := need{ConfigEntry: setting("message.timestamp.type", "LogAppendTime")}
	compact := need{ConfigEntry: setting("cleanup.policy", "compact")}
	whole := need{ConfigEntry: setting("cleanup.policy", "delete")}
	unclean := need{setting("unclean.leader.election.enable", "false"), "true", "a leader that is behind may lose records"}
	// What people said and which rules are in force nothing else knows. Marks count for a restart and a replay.
	said := []need{unclean, appendTime, whole, {ConfigEntry: forever}, {ConfigEntry: setting("retention.bytes", "-1")}}
	marks := []need{
		unclean, appendTime, whole,
		{forever, day, "what is older cannot be replayed exactly"},
		{setting("retention.bytes", "-1"), "0", "what is gone cannot be replayed exactly"},
	}
	// A broker refuses what is dated more than an hour ahead of its clock, and a batch that it refuses is sent for ever.
	anyTime := []need{
		unclean, whole, {ConfigEntry: setting("message.timestamp.before.max.ms", endless)}, {ConfigEntry: setting("message.timestamp.after.max.ms", endless)},
	}
	t := &c.Topics
	spec := func(name string, partitions int, exact bool, needs []need, more ...kafka.ConfigEntry) topicSpec {
		s := topicSpec{name: name, partitions: partitions, exact: exact, needs: needs, entries: more}
		for _, n := range needs {
			s.entries = append(s.entries, n.ConfigEntry)
		}
		return s
	}
	// Only what lies in closed segments is compacted, and all that lies there is read at a restart.
	state := spec(t.State, c.Tasks.Judge, false, []need{unclean, appendTime, compact}, setting("segment.bytes", "67108864"))
	if state.least = true; c.keeps() {
		state.partitions = c.keptPartition(c.Tasks.Aggregate)
	}
	out := []topicSpec{
		spec(t.Panes, c.Tasks.Judge, true, []need{unclean, appendTime, whole, {week, day, "it has to be longer than the longest window, and than any time in which nobody judges"}}),
		spec(t.Marks, c.Tasks.Aggregate, true, marks),
		state,
		spec(t.Alerts, t.Partitions, false, anyTime, forever),
		spec(t.Recovery, t.Partitions, false, anyTime, forever),
		spec(t.Rejected, t.Partitions, false, anyTime, forever),
		spec(t.Late, t.Partitions, false, anyTime, forever),
		spec(t.Control, 1, true, said),
		spec(t.Health, 1, false, nil, week),
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
	Partitions int      // that it has
	Made       bool     // it was missing and has been made
	Set        []string // settings that were not as needed and have been set, a sentence each
	Problem    string   // sentences, a line each; "" if it is as it has to be
	Warning    string   // sentences, a line each, about what stops nothing
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
	has, deaf := c.settingsOf(ctx, client, slices.Sorted(maps.Keys(found)))
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
		if found[s.name] > 0 && len(s.needs) > 0 {
			if err := deaf[s.name]; err != nil {
				state.Warning = fmt.Sprintf("cannot look at the settings of topic %s: %v", s.name, err)
			}
			c.settle(ctx, client, s, has[s.name], create, &state)
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

// settingsOf asks for the settings of topics. What a broker does not say is not in the answer; why it says nothing of a topic is in the errors.
func (c *Config) settingsOf(ctx context.Context, client *kafka.Client, names []string) (has map[string]map[string]string, deaf map[string]error) {
	has, deaf = map[string]map[string]string{}, map[string]error{}
	if len(names) == 0 {
		return has, deaf
	}
	req := &kafka.DescribeConfigsRequest{}
	for _, name := range names {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: name})
	}
	res, err := client.DescribeConfigs(ctx, req)
	if err != nil {
		for _, name := range names {
			deaf[name] = err
		}
		return has, deaf
	}
	for _, r := range res.Resources {
		has[r.ResourceName], deaf[r.ResourceName] = map[string]string{}, r.Error
		for _, e := range r.ConfigEntries {
			has[r.ResourceName][e.ConfigName] = e.ConfigValue
		}
	}
	return has, deaf
}

// settle compares what a topic has with what it needs, and sets what is otherwise where topics are made.
func (c *Config) settle(ctx context.Context, client *kafka.Client, s topicSpec, has map[string]string, create bool, state *TopicState) {
	var set []kafka.IncrementalAlterConfigsRequestConfig
	var done []string
	for _, want := range s.needs {
		name, value := want.ConfigName, has[want.ConfigName]
		text := fmt.Sprintf("topic %s has %s %s, expected %s", s.name, name, value, want.ConfigValue)
		switch {
		case enough(name, want.ConfigValue, value):
		case want.least != "" && enough(name, want.least, value):
			state.Warning = alongside(state.Warning, text+": "+want.but)
		case name == "cleanup.policy" && want.ConfigValue == "delete": // which deletes at once what is older than the retention that did not count so far
			state.Problem = alongside(state.Problem, text+": set it with Kafka's own tools, and first a retention.ms that keeps what is there")
		case !create:
			state.Problem = alongside(state.Problem, text+": set it with `sevwatch topics --create`")
		default:
			set = append(set, kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: want.ConfigValue})
			done = append(done, fmt.Sprintf("topic %s had %s %s: it is %s now", s.name, name, value, want.ConfigValue))
		}
	}
	if len(set) == 0 {
		return
	}
	if err := setOn(ctx, client, s.name, set); err != nil {
		state.Problem = alongside(state.Problem, err.Error())
		return
	}
	state.Set = done
}

// enough says whether a setting is as expected, or more than that: below zero is without end. What the broker does not say is enough.
func enough(name, want, has string) bool {
	if name == "cleanup.policy" && want == "delete" {
		return !strings.Contains(has, "compact")
	}
	least, err := strconv.ParseInt(want, 10, 64)
	n, bad := strconv.ParseInt(has, 10, 64)
	if err != nil || bad != nil {
		return has == "" || has == want
	}
	return n < 0 || least >= 0 && n >= least
}

// alongside adds a sentence to others.
func alongside(others, sentence string) string {
	return strings.TrimPrefix(others+"\n"+sentence, "\n")
}

// setOn changes settings of a topic, and no others.
func setOn(ctx context.Context, client *kafka.Client, topic string, set []kafka.IncrementalAlterConfigsRequestConfig) error {
	res, err := client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, Configs: set}},
	})
	if err == nil && len(res.Resources) > 0 {
		err = res.Resources[0].Error
	}
	if err != nil {
		return fmt.Errorf("cannot change the settings of topic %s: %w", topic, err)
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
