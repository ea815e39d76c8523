package fetch

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// makeAnew makes the log's topic once more, after it was deleted.
func (l *log) makeAnew() {
	l.t.Helper()
	deleted, err := l.client.DeleteTopics(l.ctx, &kafka.DeleteTopicsRequest{Topics: []string{l.topic}})
	l.check(err)
	l.check(deleted.Errors[l.topic])
	for {
		res, err := l.client.CreateTopics(l.ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: l.topic, NumPartitions: 2, ReplicationFactor: 1}}})
		l.check(err)
		if err = res.Errors[l.topic]; errors.Is(err, kafka.TopicAlreadyExists) {
			continue // the broker has yet to hear that it is gone
		}
		l.check(err)
		l.client = &kafka.Client{Addr: kafka.TCP(l.addr)} // the one before remembers the old one
		return
	}
}

// A topic that was deleted and made anew is told, also where nobody asked for anything while it was away and the new one has as many records.
func TestTopicMadeAnew(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		record := kafka.Record{Time: time.UnixMilli(1), Value: kafka.NewBytes([]byte("x"))}
		l.write(0, 0, record, record)
		f := l.open(Start{Topic: l.topic})
		l.read(f, 2, map[int]int64{})
		f.Pause(l.topic, 0, true)
		res := <-f.Responses() // was on its way
		res.Release()
		l.makeAnew()
		l.write(0, 0, record, record, record)
		f.Pause(l.topic, 0, false)
		for {
			res := <-f.Responses()
			for _, c := range res.Chunks {
				if len(c.Batches) > 0 {
					t.Fatalf("%d bytes came of the topic that has its name, from offset %d on", len(c.Batches), c.Position)
				}
				if errors.Is(c.Err, ErrAnotherTopic) && c.Topic == l.topic && c.Position == 2 {
					return
				}
				l.check(c.Err)
			}
			res.Release()
		}
	})
}

// The id that reading begins with is that of the topic that was read before: another one is not read at all.
func TestAnotherTopicIsNotRead(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		l.write(0, 0, kafka.Record{Time: time.UnixMilli(1), Value: kafka.NewBytes([]byte("x"))})
		found, err := Topics(l.ctx, kafka.DefaultDialer, l.addr, []string{l.topic})
		l.check(err)
		id := found[l.topic].ID
		l.read(l.open(Start{Topic: l.topic, ID: id}), 1, map[int]int64{})
		id[3]++
		res := <-l.open(Start{Topic: l.topic, ID: id}).Responses()
		if len(res.Chunks) != 1 || !errors.Is(res.Chunks[0].Err, ErrAnotherTopic) {
			t.Errorf("the response is %+v, expected that it is another topic", res.Chunks)
		}
	})
}

// A topic that is away for a while, or that a broker has not heard of yet, is waited for.
func TestTopicThatIsAwayIsWaitedFor(t *testing.T) {
	b := newBroker(t, 1000, 1)
	b.unknown = kafka.UnknownTopicOrPartition
	told := make(chan error, 100)
	f := New(Config{Dialer: kafka.DefaultDialer, Brokers: []string{b.Addr().String()}, OnError: func(err error) { told <- err }}, []Start{{Topic: "t", ID: b.id}})
	if err := f.askLeaders(t.Context(), f.positions); !errors.Is(err, kafka.UnknownTopicOrPartition) || f.positions[0].stopped {
		t.Errorf("of a topic that nobody knows: %v, stopped: %t", err, f.positions[0].stopped)
	}
	b.unknown = 0
	if err := f.askLeaders(t.Context(), f.positions); err != nil || f.positions[0].leader == "" {
		t.Errorf("of one that is there again: %v, leader %q", err, f.positions[0].leader)
	}
}

func TestTopics(t *testing.T) {
	each(t, func(t *testing.T, l *log) {
		found, err := Topics(l.ctx, kafka.DefaultDialer, l.addr, []string{"nobody.knows.it", l.topic})
		l.check(err)
		got := found[l.topic]
		if len(found) != 1 || got.ID == (TopicID{}) || !slices.Equal(got.Leaders, []string{l.addr, l.addr}) {
			t.Errorf("got %v, expected the topic with two partitions at %s", found, l.addr)
		}
	})
	b := newBroker(t, 0, 1)
	b.unknown = kafka.TopicAuthorizationFailed
	if _, err := Topics(t.Context(), kafka.DefaultDialer, b.Addr().String(), []string{"t"}); !errors.Is(err, kafka.TopicAuthorizationFailed) {
		t.Errorf("of one that may not be looked at: %v", err)
	}
}

// The id of Kafka's own metadata topic is 1 as a 128-bit number, which Kafka's tools print as AAAAAAAAAAAAAAAAAAAAAQ.
func TestTopicIDIsWrittenAsKafkaDoes(t *testing.T) {
	id := TopicID{15: 1}
	text, err := json.Marshal(id)
	if string(text) != `"AAAAAAAAAAAAAAAAAAAAAQ"` || err != nil {
		t.Errorf("got %s and %v", text, err)
	}
	var back TopicID
	if err := json.Unmarshal(text, &back); err != nil || back != id {
		t.Errorf("read back as %v and %v", back, err)
	}
	for _, bad := range []string{`"AAAA"`, `"?"`, `"AAAAAAAAAAAAAAAAAAAAAQAA"`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was read as %v", bad, back)
		}
	}
}

// FuzzResponses: whatever a broker sends, reading it ends, and takes no more memory than what came could fill.
func FuzzResponses(f *testing.F) {
	b := &broker{id: TopicID{1}, end: 10, asked: make(chan int64, 1)}
	request := make([]byte, 200)
	f.Add(b.fetch(request))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := reader{in: data}
		res := r.response()
		if n := len(res.Chunks); n > len(data)/37 {
			t.Errorf("%d chunks in %d bytes, %v", n, len(data), r.err)
		}
		r = reader{in: data}
		if topics, err := r.topics(); len(topics) > len(data)/26 {
			t.Errorf("%d topics in %d bytes, %v", len(topics), len(data), err)
		}
	})
}
