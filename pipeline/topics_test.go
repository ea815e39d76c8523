package pipeline

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sevwatch/pipeline/kafkatest"
)

// verified is what is found of a topic.
func (p *testPipeline) verified(topic string, create bool) TopicState {
	p.t.Helper()
	states, err := p.cfg.VerifyTopics(p.ctx, p.client, create)
	check(p.t, err)
	i := slices.IndexFunc(states, func(s TopicState) bool { return s.Topic == topic })
	return states[i]
}

// asMade fails unless all topics are as they have to be.
func (p *testPipeline) asMade() {
	p.t.Helper()
	states, err := p.cfg.VerifyTopics(p.ctx, p.client, false)
	check(p.t, err)
	for _, s := range states {
		if s.Problem+s.Warning != "" {
			p.t.Errorf("%+v", s)
		}
	}
}

// dated writes a record that carries a time of its own.
func (p *testPipeline) dated(topic string, at time.Time) error {
	res, err := p.client.Produce(p.ctx, &kafka.ProduceRequest{
		Topic: topic, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Time: at, Key: kafka.NewBytes([]byte("k")), Value: kafka.NewBytes([]byte("v"))}),
	})
	if err == nil {
		err = res.Error
	}
	return err
}

// What is published carries event time, which may be hours ahead of the broker's clock or years behind it.
func TestRealTopicsTakeAnyEventTime(t *testing.T) {
	p := newPipeline(t, kafkatest.Shared(t).Addr(), nil)
	p.asMade()
	topics := &p.cfg.Topics
	for _, topic := range []string{topics.Alerts, topics.Recovery, topics.Rejected, topics.Late} {
		for _, at := range []time.Duration{3 * time.Hour, 30 * 24 * time.Hour, -20 * 365 * 24 * time.Hour} {
			if err := p.dated(topic, time.Now().Add(at)); err != nil {
				t.Errorf("%s: a record %s from now: %v", topic, at, err)
			}
		}
	}
}

// A topic that was made without the settings refuses such a record. That is told, and --create mends it.
func TestRealTopicThatRefusesEventTimeIsMended(t *testing.T) {
	p := newPipeline(t, kafkatest.Shared(t).Addr(), nil)
	topic := p.cfg.Topics.Alerts + ".by-hand"
	p.cfg.Topics.Alerts = topic
	p.makeTopic(topic, 1)
	ahead := func() error { return p.dated(topic, time.Now().Add(3*time.Hour)) }
	p.until("the topic to refuse what is far ahead", func() bool { return errors.Is(ahead(), kafka.InvalidTimestamp) })
	want := "topic " + topic + " has message.timestamp.after.max.ms 3600000, expected 9223372036854775807: set it with `sevwatch topics --create`"
	if got := p.verified(topic, false); got.Problem != want {
		t.Errorf("it is told as %+v, expected %s", got, want)
	}
	wantSet := []string{"topic " + topic + " had message.timestamp.after.max.ms 3600000: it is 9223372036854775807 now"}
	if got := p.verified(topic, true); got.Problem != "" || !cmp.Equal(got.Set, wantSet) {
		t.Errorf("it is mended as %+v, expected %s", got, wantSet)
	}
	p.until("the topic to take it", func() bool { return ahead() == nil })
	p.asMade()
}

// Topics of the pipeline itself that somebody made with Kafka's defaults.
func TestRealTopicsOfDefaultsAreMended(t *testing.T) {
	p := newPipeline(t, kafkatest.Shared(t).Addr(), nil)
	f := func(name *string, partitions int, want ...string) {
		t.Helper()
		*name += ".by-hand"
		p.makeTopic(*name, partitions)
		for i := range want {
			want[i] = "topic " + *name + " has " + want[i] + ": set it with `sevwatch topics --create`"
		}
		if got := p.verified(*name, false); got.Problem != strings.Join(want, "\n") {
			t.Errorf("got %+v, expected %q", got, want)
		}
		if got := p.verified(*name, true); got.Problem != "" || len(got.Set) != len(want) {
			t.Errorf("with create: %+v", got)
		}
		p.until("the settings of "+*name, func() bool { return p.verified(*name, false).Problem == "" })
	}
	const appended = "message.timestamp.type CreateTime, expected LogAppendTime"
	f(&p.cfg.Topics.Panes, 1, appended)
	f(&p.cfg.Topics.State, 1, appended, "cleanup.policy delete, expected compact")
	f(&p.cfg.Topics.Control, 1, appended, "retention.ms 604800000, expected -1")
}

// A topic that was made otherwise than the design needs is told, and --create sets what can be set without a loss.
func TestTopicSettings(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	topics := &p.cfg.Topics
	const create, tools = "`sevwatch topics --create`", "Kafka's own tools, and first a retention.ms that keeps what is there"
	f := func(name *string, setting, has, expected, how string) {
		t.Helper()
		before := *name
		defer func() { *name = before }()
		partitions := p.verified(*name, false).Partitions
		*name += strings.ReplaceAll("."+setting+"."+has, ",", "-")
		entries := p.madeWith(*name)
		for i, e := range entries {
			if e.ConfigName == setting {
				entries[i].ConfigValue = has
			}
		}
		if !slices.ContainsFunc(entries, func(e kafka.ConfigEntry) bool { return e.ConfigName == setting }) {
			entries = append(entries, kafka.ConfigEntry{ConfigName: setting, ConfigValue: has})
		}
		p.makeTopic(*name, partitions, entries...)
		said := "topic " + *name + " has " + setting + " " + has + ", expected " + expected
		want := TopicState{Topic: *name, Partitions: partitions}
		switch how {
		case create, tools:
			want.Problem = said + ": set it with " + how
		case "":
		default:
			want.Warning = said + ": " + how
		}
		if diff := cmp.Diff(want, p.verified(*name, false)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if how == create {
			want.Problem, want.Set = "", []string{"topic " + *name + " had " + setting + " " + has + ": it is " + expected + " now"}
		}
		if diff := cmp.Diff(want, p.verified(*name, true)); diff != "" {
			t.Errorf("with create, -want +got:\n%s", diff)
		}
		want.Set = nil
		if diff := cmp.Diff(want, p.verified(*name, false)); diff != "" {
			t.Errorf("after create, -want +got:\n%s", diff)
		}
	}
	f(&topics.State, "cleanup.policy", "delete", "compact", create)
	f(&topics.State, "cleanup.policy", "compact,delete", "compact", create)
	f(&topics.State, "retention.ms", "1000", "", "") // nothing is deleted by it
	for _, name := range []*string{&topics.Panes, &topics.Marks, &topics.Control, &topics.Alerts, &topics.Recovery, &topics.Rejected, &topics.Late} {
		f(name, "cleanup.policy", "compact", "delete", tools)
	}
	f(&topics.Alerts, "cleanup.policy", "compact,delete", "delete", tools)
	for _, name := range []*string{&topics.Panes, &topics.Marks, &topics.Control, &topics.State} {
		f(name, "message.timestamp.type", "CreateTime", "LogAppendTime", create)
	}
	f(&topics.Alerts, "message.timestamp.type", "LogAppendTime", "", "")
	for _, name := range []*string{&topics.Alerts, &topics.Recovery, &topics.Rejected, &topics.Late} {
		f(name, "message.timestamp.after.max.ms", "3600000", endless, create)
		f(name, "message.timestamp.before.max.ms", "86400000", endless, create)
		f(name, "retention.ms", "86400000", "", "") // as people like it
	}
	f(&topics.Panes, "retention.ms", "86399999", "604800000", create)
	f(&topics.Panes, "retention.ms", "604799999", "604800000", "it has to be longer than the longest window, and than any time in which nobody judges")
	f(&topics.Panes, "retention.ms", "604800001", "", "")
	f(&topics.Panes, "retention.ms", "-1", "", "")
	f(&topics.Marks, "retention.ms", "86399999", "-1", create)
	f(&topics.Marks, "retention.ms", "2592000000", "-1", "what is older cannot be replayed exactly")
	f(&topics.Marks, "retention.bytes", "1000000", "-1", "what is gone cannot be replayed exactly")
	f(&topics.Control, "retention.ms", "2592000000", "-1", create)
	f(&topics.Control, "retention.bytes", "1000000", "-1", create)
	f(&topics.Alerts, "unclean.leader.election.enable", "true", "false", "a leader that is behind may lose records")
	f(&topics.Health, "cleanup.policy", "compact", "", "")
}

// What a broker does not say, or lets nobody ask, is no reason to refuse.
func TestTopicSettingsThatABrokerDoesNotSay(t *testing.T) {
	addr, cluster := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	topic := p.cfg.Topics.Alerts + ".unsaid"
	p.cfg.Topics.Alerts = topic
	p.makeTopic(topic, 4) // kfake says nothing of the bounds on time
	if got := p.verified(topic, false); got.Problem+got.Warning != "" {
		t.Errorf("unsaid: %+v", got)
	}
	cluster.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		res := kmsg.NewPtrDescribeConfigsResponse()
		for _, r := range req.(*kmsg.DescribeConfigsRequest).Resources {
			denied := kmsg.NewDescribeConfigsResponseResource()
			denied.ResourceType, denied.ResourceName, denied.ErrorCode = r.ResourceType, r.ResourceName, int16(kafka.TopicAuthorizationFailed)
			res.Resources = append(res.Resources, denied)
		}
		res.SetVersion(req.GetVersion())
		return res, nil, true
	})
	want := "cannot look at the settings of topic " + topic + ": "
	if got := p.verified(topic, false); got.Problem != "" || !strings.HasPrefix(got.Warning, want) {
		t.Errorf("denied: %+v, expected the warning %s", got, want)
	}
	if got := p.verified(topic, true); got.Problem != "" || got.Set != nil {
		t.Errorf("denied, with create: %+v", got)
	}
}

// madeWith is what a topic would be made with.
func (p *testPipeline) madeWith(topic string) []kafka.ConfigEntry {
	specs := p.cfg.specs()
	return specs[slices.IndexFunc(specs, func(s topicSpec) bool { return s.name == topic })].entries
}
