package pipeline

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

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

// byHand makes a topic as somebody does who knows nothing of its settings.
func (p *testPipeline) byHand(topic string, partitions int, entries ...kafka.ConfigEntry) {
	p.t.Helper()
	res, err := p.client.CreateTopics(p.ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: topic, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: entries,
	}}})
	check(p.t, err)
	check(p.t, res.Errors[topic])
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
	p.byHand(topic, 1)
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
	if got := p.verified(topic, true); got.Problem != "" || got.Set != nil || got.Warning != "" {
		t.Errorf("once more: %+v", got)
	}
}
