package pipeline

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// deleteTopic deletes a topic and waits until it is gone.
func (p *testPipeline) deleteTopic(topic string) {
	p.t.Helper()
	res, err := p.client.DeleteTopics(p.ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	check(p.t, err)
	check(p.t, res.Errors[topic])
	p.has(topic, 0)
}

// makeTopic makes a topic and waits until it is there.
func (p *testPipeline) makeTopic(topic string, partitions int) {
	p.t.Helper()
	res, err := p.client.CreateTopics(p.ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}}})
	check(p.t, err)
	check(p.t, res.Errors[topic])
	p.has(topic, partitions)
	p.client, err = p.cfg.Connect(p.ctx, patience) // the one before remembers the old one
	check(p.t, err)
}

// has waits until a topic has so many partitions.
func (p *testPipeline) has(topic string, partitions int) {
	p.t.Helper()
	p.until("the topic to be as asked", func() bool {
		found, err := p.cfg.partitionsOf(p.ctx, []string{topic})
		return err == nil && found[topic] == partitions
	})
}

// A source topic that was deleted and made anew while nobody was there is not taken for the old one, of which the log knows how far it was read: nothing
// of it is skipped without a word.
func TestTopicMadeAnewIsNotSkipped(t *testing.T) {
	p := newPipeline(t, kafkatest.Shared(t).Addr(), nil)
	topic := p.topicOf(rules.KindLatency)
	for second := range 60 {
		p.writeLines(partition{topic, 0}, latencyAt(second))
	}
	w, stop := p.start()
	p.until("the first records to be counted", func() bool { return w.Totals().Counted == 60 })
	stop()
	p.deleteTopic(topic)
	p.makeTopic(topic, 4)
	for second := range 100 {
		p.writeLines(partition{topic, 0}, latencyAt(100+second))
	}
	core, log := observer.New(zapcore.WarnLevel)
	w, stop = p.startWith(func(w *Worker) { w.log = zap.New(core) })
	defer stop()
	p.until("the worker to say that it cannot go on", func() bool {
		return slices.ContainsFunc(log.All(), func(e observer.LoggedEntry) bool {
			return strings.Contains(e.ContextMap()["error"].(string), topic+"/0: it was read up to offset 60, and the broker has let go of that offset alone")
		})
	})
	p.until("the worker's health to say it too", func() bool {
		return slices.ContainsFunc(w.beat().Aggregate, func(h wire.HealthTask) bool { return strings.Contains(h.Problem, "was read up to offset 60") })
	})
	if got := w.Totals(); got.Counted > 60 {
		t.Errorf("the accounts are %+v, expected 60 counted", got)
	}
}

// While one source topic is missing the others are read, without one rebalance after the other, and it is read when it is there again.
func TestMissingTopicStopsNoOther(t *testing.T) {
	overBoth(t, missingTopicStopsNoOther)
}

func missingTopicStopsNoOther(t *testing.T, addr string) {
	p := newPipeline(t, addr, nil)
	core, log := observer.New(zapcore.InfoLevel)
	w, stop := p.startWith(func(w *Worker) { w.log, w.watchEvery = zap.New(core), 200*time.Millisecond })
	defer stop()
	generations := func() int {
		return log.FilterMessage("tasks assigned").FilterField(zap.String("group", w.groupID("aggregate"))).Len()
	}
	p.until("tasks", func() bool { return generations() == 1 })
	missing, other := p.topicOf(rules.KindStep), p.topicOf(rules.KindLatency)
	p.deleteTopic(missing)
	p.until("it to be said", func() bool {
		return log.FilterMessageSnippet("topics are missing").FilterField(zap.Strings("topics", []string{missing})).Len() > 0
	})
	for second := range 60 {
		p.writeLines(partition{other, 0}, latencyAt(second))
	}
	p.until("the other source to be counted", func() bool { return w.Totals().Counted == 60 })
	if n := generations(); n > 3 {
		t.Errorf("%d generations of the group, expected 2 or 3", n)
	}
	p.makeTopic(missing, 4)
	for second := range 60 {
		p.writeLines(partition{missing, 0}, strings.Replace(latencyAt(100+second), `"status":200,"duration_ms":3`, `"step":"a","action":"enter"`, 1))
		p.writeLines(partition{other, 0}, latencyAt(100+second))
	}
	p.until("the topic to be counted", func() bool { return w.Totals().Sum() == 180 })
}

// Where kafka-go finds no partition because one topic is missing, those of the others are assigned all the same.
func TestTasksOfTheTopicsThatAreThere(t *testing.T) {
	core, log := observer.New(zapcore.InfoLevel)
	b := &wholeTasks{
		tasks: 2, owned: func() []int { return nil }, log: zap.New(core),
		partitions: func([]string) (map[string]int, error) { return map[string]int{"a": 3, "marks": 2}, nil },
	}
	members := []kafka.GroupMember{{ID: "x", Topics: []string{"a", "b", "marks"}}, {ID: "y", Topics: []string{"a", "b", "marks"}}}
	got := b.AssignGroups(members, nil)
	if n := len(got["x"]["a"]) + len(got["y"]["a"]); n != 3 || len(got["x"]["marks"]) != 1 || len(got["y"]["marks"]) != 1 {
		t.Errorf("got %v", got)
	}
	if log.Len() > 0 {
		t.Errorf("it said %v", log.All())
	}
	members[1].Topics = []string{"a", "marks"}
	b.AssignGroups(members, nil)
	if log.FilterMessageSnippet("workers have different sources").FilterField(zap.Strings("not_with_all", []string{"b"})).Len() != 1 {
		t.Errorf("it said %v", log.All())
	}
}

// Nor is one that was made anew while somebody was there: whether it was missing for long enough to be noticed, or not.
func TestTopicMadeAnewWhileRunning(t *testing.T) {
	f := func(every time.Duration, noticed bool) {
		t.Helper()
		p := newPipeline(t, kafkatest.Shared(t).Addr(), nil)
		topic, other := p.topicOf(rules.KindLatency), p.topicOf(rules.KindStep)
		core, log := observer.New(zapcore.WarnLevel)
		w, stop := p.startWith(func(w *Worker) { w.log, w.watchEvery = zap.New(core), every })
		defer stop()
		both := func(from int) {
			for second := range 60 {
				p.writeLines(partition{topic, 0}, latencyAt(from+second))
				p.writeLines(partition{other, 0}, strings.Replace(latencyAt(from+second), `"status":200,"duration_ms":3`, `"step":"a","action":"enter"`, 1))
			}
		}
		both(0)
		p.until("the first records to be counted", func() bool { return w.Totals().Counted == 120 })
		p.deleteTopic(topic)
		if noticed {
			p.until("it to be said", func() bool { return log.FilterMessageSnippet("topics are missing").Len() > 0 })
			for second := range 60 { // while it is missing the other one is committed
				p.writeLines(partition{other, 0}, strings.Replace(latencyAt(60+second), `"status":200,"duration_ms":3`, `"step":"a","action":"enter"`, 1))
			}
			p.until("the other source to be counted", func() bool { return w.Totals().Counted == 180 })
		}
		p.makeTopic(topic, 4)
		both(120)
		p.until("the worker to say that it cannot go on", func() bool {
			return slices.ContainsFunc(w.beat().Aggregate, func(h wire.HealthTask) bool {
				return strings.Contains(h.Problem, topic+"/0: it was read up to offset 60")
			})
		})
	}
	f(200*time.Millisecond, true)
	f(time.Hour, false)
}

// Only a partition that was read has lost its offset: one that was added, and told of before the mark that lets it begin, never had one.
func TestWhereAPartitionIsTakenUp(t *testing.T) {
	s := detector.Source{Topic: "a"}
	f := func(what string, offset *kafka.OffsetFetchPartition, noted bool, told detector.PartitionProgress, want int64, refused bool) {
		t.Helper()
		offsets := map[partition]kafka.OffsetFetchPartition{}
		if offset != nil {
			offsets[partition{"a", 0}] = *offset
		}
		at, _, err := where(s, offsets, map[detector.Source]detector.PartitionProgress{s: told}, fetch.TopicID{1}, span{first: 100, end: 900}, noted)
		if (err != nil) != refused || err == nil && at.offset != want {
			t.Errorf("%s: got offset %d and %v, expected %d, refused: %t", what, at.offset, err, want, refused)
		}
		if counted := told.Counted; !refused && at.state.Totals.Counted != counted {
			t.Errorf("%s: the accounts begin with %+v, expected %d counted", what, at.state.Totals, counted)
		}
	}
	read := detector.PartitionProgress{To: 500, Watermark: 7, Totals: detector.Totals{Counted: 400}}
	f("the group was forgotten", nil, false, read, 500, false)
	f("the offset alone was forgotten", nil, true, read, 0, true)
	f("all were rejected", nil, true, detector.PartitionProgress{To: 500, Watermark: unknown, Totals: detector.Totals{Rejected: 400}}, 0, true)
	f("it was added", nil, true, detector.PartitionProgress{To: 100, Watermark: unknown}, 100, false)
	f("it has its offset", &kafka.OffsetFetchPartition{CommittedOffset: 600, Metadata: `{"w":9,"s":0,"t":{"counted":400}}`}, true, read, 600, false)
	f("of that topic", &kafka.OffsetFetchPartition{CommittedOffset: 600, Metadata: `{"w":9,"s":0,"t":{"counted":400},"topic":"AQAAAAAAAAAAAAAAAAAAAA"}`}, true, read, 600, false)
	f("of another topic", &kafka.OffsetFetchPartition{CommittedOffset: 600, Metadata: `{"w":9,"s":0,"t":{"counted":400},"topic":"AgAAAAAAAAAAAAAAAAAAAA"}`}, true, read, 0, true)
	held := &kafka.OffsetFetchPartition{CommittedOffset: 600, Metadata: `{"w":9,"s":0,"t":{"counted":400},"r":650,"h":[0],"topic":"AgAAAAAAAAAAAAAAAAAAAA"}`}
	_, _, err := where(s, map[partition]kafka.OffsetFetchPartition{{"a", 0}: *held}, nil, fetch.TopicID{1}, span{first: 100, end: 900}, true)
	if err == nil || !strings.Contains(err.Error(), "it was read up to offset 650") || !strings.Contains(err.Error(), "commit offset 650") {
		t.Errorf("of another topic, while records are held: %v, expected offset 650", err)
	}
	_, _, err = where(s, map[partition]kafka.OffsetFetchPartition{{"a", 0}: *held}, nil, fetch.TopicID{}, span{first: 100, end: 900}, true)
	if err == nil || !strings.Contains(err.Error(), "does not know the topic") {
		t.Errorf("of a topic that nobody knows: %v", err)
	}
	f("it has one that was committed by hand", &kafka.OffsetFetchPartition{CommittedOffset: 500}, true, read, 500, false)
}

// A member whose tasks were given fewer partitions than there are asks for them.
func TestPartitionsThatWereNotAssigned(t *testing.T) {
	s := &stage{tasks: 3, seen: map[string]int{"a": 7, "marks": 3}}
	f := func(task int, a, marks int, lacks bool) {
		t.Helper()
		got := s.lacks(map[int]assignment{task: {task: task, partitions: map[string][]int{"a": make([]int, a), "marks": make([]int, marks)}}})
		if got != lacks {
			t.Errorf("task %d with %d and %d: got %t", task, a, marks, got)
		}
	}
	f(0, 3, 1, false) // 0, 3, 6
	f(0, 2, 1, true)
	f(1, 2, 1, false) // 1, 4
	f(2, 2, 1, false) // 2, 5
	f(2, 1, 1, true)
	f(2, 2, 0, true)
	s.seen = map[string]int{"a": 1}
	f(2, 0, 0, false)
	if s.lacks(nil) {
		t.Error("a member without tasks lacks something")
	}
}
