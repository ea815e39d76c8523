package pipeline

import (
	"errors"
	"fmt"
	"maps"
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
func (p *testPipeline) makeTopic(topic string, partitions int, entries ...kafka.ConfigEntry) {
	p.t.Helper()
	res, err := p.client.CreateTopics(p.ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: topic, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: entries,
	}}})
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
			return strings.Contains(e.ContextMap()["error"].(string), topic+"/0: it was read up to offset 60, while the topic's id was ")
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
	p := newPipeline(t, addr, func(c *Config) {
		for i := range c.Sources {
			if c.Sources[i].Kind.Kind == rules.KindStep {
				c.Sources[i].Partitions = 1 // the other tasks have nothing of it, and go on while it goes
			}
		}
	})
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
	p.judged(simStart+30_000, w)
	p.until("the health to name it", func() bool { return slices.Equal(w.beat().Missing, []string{missing}) })
	if n := generations(); n > 3 {
		t.Errorf("%d generations of the group, expected 2 or 3", n)
	}
	stop()
	w, stop = p.startWith(func(w *Worker) { w.log, w.watchEvery = zap.New(core), 200*time.Millisecond })
	defer stop()
	for second := range 60 {
		p.writeLines(partition{other, 0}, latencyAt(60+second))
	}
	p.until("the other source to be counted by a worker that began without the missing one", func() bool { return w.Totals().Counted == 120 })
	unread := *p.cfg
	unread.Sources = append(slices.Clone(p.cfg.Sources), SourceConfig{Topic: p.cfg.Pipeline + ".never", Kind: p.cfg.Sources[0].Kind})
	err := NewWorker(WorkerOptions{Config: &unread, Rules: p.rules, Client: p.client, Log: zap.NewNop()}).Run(p.ctx)
	if topics := (*TopicError)(nil); !errors.As(err, &topics) || !strings.Contains(err.Error(), ".never is missing") || strings.Contains(err.Error(), missing+" ") {
		t.Errorf("a worker with a source that was never there ended with %v", err)
	}
	p.makeTopic(missing, 1)
	p.until("the health not to name it any more", func() bool { return len(w.beat().Missing) == 0 })
	for second := range 60 {
		p.writeLines(partition{missing, 0}, strings.Replace(latencyAt(100+second), `"status":200,"duration_ms":3`, `"step":"a","action":"enter"`, 1))
		p.writeLines(partition{other, 0}, latencyAt(100+second))
	}
	p.until("the topic to be counted", func() bool { return w.Totals().Sum() == 240 })
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

// A partition is taken up where it was read to, and not at all where its name is that of another topic.
func TestWhereAPartitionIsTakenUp(t *testing.T) {
	s := detector.Source{Topic: "a"}
	read := detector.PartitionProgress{To: 500, Watermark: 7, Totals: detector.Totals{Counted: 400}}
	at := func(offset int64, topic string) *kafka.OffsetFetchPartition {
		return &kafka.OffsetFetchPartition{CommittedOffset: offset, Metadata: `{"w":9,"s":0,"t":{"counted":400}` + topic + `}`}
	}
	one, two := fetch.TopicID{1}, fetch.TopicID{2}
	noted := func(id fetch.TopicID) notes {
		n := notes{Sources: []string{noteOf("a")}}
		if id != (fetch.TopicID{}) {
			n.Topics = map[string]fetch.TopicID{noteOf("a"): id}
		}
		return n
	}
	away := notes{Sources: []string{}, Topics: map[string]fetch.TopicID{noteOf("a"): two}}
	f := func(what string, offset *kafka.OffsetFetchPartition, n notes, told detector.PartitionProgress, want int64, refused string) {
		t.Helper()
		k := taken{group: "g", offsets: map[partition]kafka.OffsetFetchPartition{}, told: map[detector.Source]detector.PartitionProgress{s: told}, notes: n}
		if offset != nil {
			k.offsets[partition{"a", 0}] = *offset
		}
		at, _, err := k.where(s, one, span{first: 100, end: 900})
		switch {
		case (err != nil) != (refused != ""), err != nil && !strings.Contains(err.Error(), refused):
			t.Errorf("%s: %v, expected %q", what, err, refused)
		case err == nil && (at.offset != want || at.state.Totals.Counted != told.Counted):
			t.Errorf("%s: got offset %d with %+v, expected %d and %d counted", what, at.offset, at.state.Totals, want, told.Counted)
		}
	}
	const anew = "What has its name now is another topic: "
	f("the group was forgotten", nil, notes{}, read, 500, "")
	f("the group was forgotten, but for the marks", nil, noted(one), read, 500, "")
	f("the offset alone was forgotten, by a task of before", nil, noted(fetch.TopicID{}), read, 0, anew)
	f("another topic", nil, noted(two), read, 0, anew)
	f("another topic of a source that was away", nil, away, read, 0, anew)
	f("all were rejected", nil, noted(fetch.TopicID{}), detector.PartitionProgress{To: 500, Watermark: unknown, Totals: detector.Totals{Rejected: 400}}, 0, anew)
	f("it was added", nil, noted(two), detector.PartitionProgress{To: 100, Watermark: unknown}, 100, "")
	f("it has its offset", at(600, ""), noted(one), read, 600, "")
	f("of that topic", at(600, `,"topic":"AQAAAAAAAAAAAAAAAAAAAA"`), noted(one), read, 600, "")
	f("of another topic", at(600, `,"topic":"AgAAAAAAAAAAAAAAAAAAAA"`), noted(two), read, 0, "commit offset 600 of it for the group g ")
	f("of another topic, while records are held", at(600, `,"r":650,"h":[0],"topic":"AgAAAAAAAAAAAAAAAAAAAA"`), noted(two), read, 0, "it was read up to offset 650")
	f("it has one that was committed by hand", &kafka.OffsetFetchPartition{CommittedOffset: 500}, noted(two), read, 500, "")
	f("too small a one", &kafka.OffsetFetchPartition{CommittedOffset: 499}, noted(one), read, 0, "it was read up to offset 500: commit that")
	f("behind the end", at(901, ""), noted(one), read, 0, "the log ends at 900")
	for _, k := range []taken{
		{offsets: map[partition]kafka.OffsetFetchPartition{{"a", 0}: *at(600, `,"topic":"AgAAAAAAAAAAAAAAAAAAAA"`)}},
		{told: map[detector.Source]detector.PartitionProgress{s: read}, notes: noted(one)},
		{told: map[detector.Source]detector.PartitionProgress{s: read}, notes: noted(fetch.TopicID{})},
	} {
		if _, _, err := k.where(s, fetch.TopicID{}, span{end: 900}); err == nil || !strings.Contains(err.Error(), "does not know the topic") {
			t.Errorf("of a topic that nobody knows: %v", err)
		}
	}
}

// What a task notes fits beside an offset, however many sources it has had.
func TestNotesAreBounded(t *testing.T) {
	ids := func(n int, id fetch.TopicID) map[string]fetch.TopicID {
		out := map[string]fetch.TopicID{}
		for i := range n {
			out[noteOf(fmt.Sprint(i))] = id
		}
		return out
	}
	for _, sources := range []int{0, 1, 50, 200, 340} {
		n := notes{Sources: []string{}, Settings: strings.Repeat("f", 32), Topics: map[string]fetch.TopicID{}}
		for i := range sources {
			n.Sources = append(n.Sources, noteOf(fmt.Sprint(i)))
		}
		n.keep(ids(sources, fetch.TopicID{1}))
		n.keep(ids(1000, fetch.TopicID{2}))
		if size := len(wire.JSON(n)); size > 4096 || sources < 300 && size < 3500 {
			t.Errorf("notes of %d sources have %d bytes, expected as many as fit into 4096", sources, size)
		}
		if sources > 0 && sources <= 50 && n.Topics[noteOf("0")] != (fetch.TopicID{1}) {
			t.Errorf("of %d sources, one that is there has not its own id", sources)
		}
	}
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

// A task takes in which partitions there are as the stage sees them, again and again; what it reads itself is there, whatever a broker says.
func TestTasksHearOfPartitions(t *testing.T) {
	w := NewWorker(WorkerOptions{Config: &Config{Sources: []SourceConfig{{Topic: "a"}, {Topic: "b"}}}, Rules: &rules.File{}, Log: zap.NewNop()})
	task := &aggregateTask{
		w: w, a: assignment{partitions: map[string][]int{"a": {0, 2}}}, topics: map[string]int{"a": 4, "b": 1}, agg: detector.NewAggregator(detector.DefaultConfig(), 0, 2),
	}
	f := func(seen, want map[string]int) {
		t.Helper()
		w.seen.Store(&seen)
		if err := task.grown(); err != nil || !maps.Equal(task.topics, want) {
			t.Errorf("seeing %v the task knows of %v, expected %v; %v", seen, task.topics, want, err)
		}
	}
	f(map[string]int{"a": 4, "b": 1, "marks": 4}, map[string]int{"a": 4, "b": 1})
	f(map[string]int{"a": 4}, map[string]int{"a": 4})
	f(map[string]int{"b": 1}, map[string]int{"a": 4, "b": 1})
	f(map[string]int{"a": 2, "b": 1}, map[string]int{"a": 4, "b": 1})
	f(map[string]int{"a": 6, "b": 2}, map[string]int{"a": 6, "b": 2})
	f(map[string]int{"a": 3}, map[string]int{"a": 3})
	w.cfg.Sources[0].Sessions.Timeout = 1000
	seen := map[string]int{"a": 5}
	w.seen.Store(&seen)
	if err := task.grown(); err == nil {
		t.Error("a task that follows sessions goes on with other partitions")
	}
}

// A broker that has only just begun and knows of no topics does not make them missing while another one knows them.
func TestTopicsAreAskedOfWhoKnows(t *testing.T) {
	fresh, _ := kafkatest.Fake(t)
	p := newPipeline(t, kafkatest.Shared(t).Addr(), nil)
	topic := p.topicOf(rules.KindLatency)
	cfg := *p.cfg
	cfg.Brokers = append([]string{fresh, "127.0.0.1:1"}, p.cfg.Brokers...)
	found, err := cfg.partitionsOf(p.ctx, []string{topic, p.cfg.Pipeline + ".nobody.knows.it"})
	if want := map[string]int{topic: 4}; err != nil || !maps.Equal(found, want) {
		t.Errorf("found %v and %v, expected %v", found, err, want)
	}
	cfg.Brokers = []string{"127.0.0.1:1"}
	if found, err = cfg.partitionsOf(p.ctx, []string{topic}); err == nil {
		t.Errorf("nobody answered, and %v was found", found)
	}
}
