package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// overBoth runs a test over the embedded broker and over a real Kafka.
func overBoth(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("kfake", func(t *testing.T) {
		addr, _ := kafkatest.Fake(t)
		test(t, addr)
	})
	t.Run("Real", func(t *testing.T) { test(t, kafkatest.Shared(t).Addr()) })
}

// foreign is a producer that is not ours, in a transaction.
type foreign struct {
	t      testing.TB
	client *kgo.Client
}

func newForeign(t testing.TB, addr, id string) *foreign {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.TransactionTimeout(time.Minute))
	check(t, err)
	t.Cleanup(client.Close)
	check(t, client.BeginTransaction())
	return &foreign{t, client}
}

func (f *foreign) write(at partition, lines ...string) {
	f.t.Helper()
	var records []*kgo.Record
	for _, line := range lines {
		records = append(records, &kgo.Record{Topic: at.topic, Partition: int32(at.id), Value: []byte(line)})
	}
	check(f.t, f.client.ProduceSync(f.t.Context(), records...).FirstErr())
}

func (f *foreign) end(how kgo.TransactionEndTry) {
	f.t.Helper()
	check(f.t, f.client.EndTransaction(f.t.Context(), how))
}

func latencyAt(second int) string {
	return fmt.Sprintf(`{"time":%d,"service":"api","status":200,"duration_ms":3}`, simStart+int64(second)*1000)
}

func repeat(n int, line string) []string { return slices.Repeat([]string{line}, n) }

// An aborted transaction in a source topic: nothing of it is counted, every offset of it is accounted for.
func TestAbortedTransactionsCountForNothing(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		at := partition{p.topicOf(rules.KindLatency), 0}
		aborted := newForeign(t, addr, p.cfg.Pipeline+"-aborted")
		aborted.write(at, repeat(40, latencyAt(1))...)
		aborted.end(kgo.TryAbort)
		committed := newForeign(t, addr, p.cfg.Pipeline+"-committed")
		committed.write(at, repeat(7, latencyAt(1))...)
		committed.end(kgo.TryCommit)
		w, stop := p.start()
		defer stop()
		want := detector.Totals{Counted: 7, Control: 2, Aborted: 40}
		p.until("everything accounted for", func() bool { return w.Totals().Sum() == want.Sum() })
		if got := w.Totals(); got != want {
			t.Errorf("the accounts are %+v, expected %+v", got, want)
		}
	})
}

// A source that is read uncommitted: what a transaction wrote is counted whatever became of it, and at once.
func TestReadUncommittedCountsEverything(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, func(c *Config) {
			for i := range c.Sources {
				c.Sources[i].Isolation = ReadUncommitted
			}
		})
		at := partition{p.topicOf(rules.KindLatency), 0}
		aborted := newForeign(t, addr, p.cfg.Pipeline+"-aborted")
		aborted.write(at, repeat(40, latencyAt(1))...)
		aborted.end(kgo.TryAbort)
		open := newForeign(t, addr, p.cfg.Pipeline+"-open")
		open.write(at, repeat(7, latencyAt(1))...)
		w, stop := p.start()
		defer stop()
		want := detector.Totals{Counted: 47, Control: 1}
		p.until("everything accounted for", func() bool { return w.Totals().Sum() == want.Sum() })
		if got := w.Totals(); got != want {
			t.Errorf("the accounts are %+v, expected %+v", got, want)
		}
		open.end(kgo.TryCommit)
	})
}

// A user's transaction left open in a source topic: its partition looks caught up and is not. Nobody moves its time on, so what it holds
// is not late when it is committed at last, live and in a replay of the topics.
func TestTrap22OpenTransactionIsNotIdle(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		topic := p.topicOf(rules.KindLatency)
		held := detector.Source{Topic: topic, Partition: 0}
		p.writeLines(partition{topic, 0}, latencyAt(0))
		open := newForeign(t, addr, p.cfg.Pipeline+"-open")
		open.write(partition{topic, 0}, repeat(5, latencyAt(1))...)
		w, stop := p.start()
		defer stop()
		// Another partition goes on for a minute of event time, far past what the open transaction holds.
		for second := range 60 {
			p.writeLines(partition{topic, 1}, latencyAt(second))
		}
		p.until("marks for the partitions that are idle", func() bool { return len(p.marked()) >= 4 })
		p.until("the moving partition to be counted", func() bool { return w.Totals().Counted == 61 })
		if lines := p.marked()[held]; len(lines) > 0 {
			t.Errorf("the partition with an open transaction was moved on by marks: %v", lines)
		}
		if edge := w.Edge(); edge > simStart {
			t.Errorf("panes were judged up to %s, expected none", detector.Millis(edge))
		}
		open.end(kgo.TryCommit)
		p.until("everything to be accounted for", func() bool { return w.Totals().Counted+w.Totals().Late >= 66 })
		if got := w.Totals(); got.Counted != 66 || got.Late != 0 {
			t.Errorf("the accounts are %+v, expected 66 counted and none late", got)
		}
		p.judged(simStart+30_000, w)
		if _, sum := p.replayedTopics(simStart, nil); sum.Totals.Counted != 66 || sum.Totals.Late != 0 {
			t.Errorf("a replay has the accounts %+v, expected 66 counted and none late", sum.Totals)
		}
	})
}

// writeLines writes records that are dated long ago, by our clock and by their own.
func (p *testPipeline) writeLines(at partition, lines ...string) {
	p.t.Helper()
	var records []kafka.Record
	for _, line := range lines {
		records = append(records, kafka.Record{Time: time.UnixMilli(simStart), Value: kafka.NewBytes([]byte(line))})
	}
	p.write(at, records...)
}

// marked are the lines of all marks by partition.
func (p *testPipeline) marked() map[detector.Source][]detector.Idle {
	p.t.Helper()
	out := map[detector.Source][]detector.Idle{}
	for _, r := range p.read(p.cfg.Topics.Marks) {
		m, err := wire.DecodeMark(r.Value)
		check(p.t, err)
		for _, line := range m.Idle {
			out[line.Source] = append(out[line.Source], line)
		}
	}
	return out
}

// Partitions are added to a source topic while workers run: what is written to them is counted and not late, and messages go on.
func TestPartitionsAreAddedWhileRunning(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		topic := p.topicOf(rules.KindLatency)
		w, stop := p.start()
		defer stop()
		write := func(id, from, to int) {
			for second := from; second < to; second++ {
				p.writeLines(partition{topic, id}, latencyAt(second))
			}
		}
		write(0, 0, 60)
		p.until("the first partition to be counted", func() bool { return w.Totals().Counted == 60 })
		res, err := p.client.CreatePartitions(p.ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 6}}})
		check(t, err)
		check(t, res.Errors[topic])
		p.until("the new partitions to be there", func() bool {
			found, err := p.cfg.partitionsOf(p.ctx, []string{topic})
			return err == nil && found[topic] == 6
		})
		p.client, err = p.cfg.Connect(p.ctx, patience) // the one before remembers how many there were
		check(t, err)
		// The old partition goes on to 120 s less the lateness; what the new ones hold is not older, though nobody reads them yet.
		write(4, 120, 126)
		write(0, 120, 126)
		write(5, 120, 126)
		p.until("all to be accounted for", func() bool { return w.Totals().Sum() == 78 })
		write(5, 130, 140)
		write(0, 130, 150)
		p.until("all to be accounted for", func() bool { return w.Totals().Sum() == 108 })
		if got := w.Totals(); got.Counted != 108 {
			t.Errorf("the accounts are %+v, expected 108 counted", got)
		}
		p.judged(simStart+120_000, w)
	})
}

// letGo makes a topic forget the records of a partition before an offset, as its retention does.
func letGo(t *testing.T, addr string, at partition, before int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	check(t, err)
	defer client.Close()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = int32(at.id), before
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic, topic.Partitions = at.topic, append(topic.Partitions, p)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = append(req.Topics, topic)
	res, err := req.RequestWith(t.Context(), client)
	check(t, err)
	check(t, kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode))
}

// A topic whose retention ran over us: the records that are gone are reported as lost, with their range, by an incident of its own, and the
// accounts show the gap.
func TestLostRecordsAreAnIncident(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		at := partition{p.topicOf(rules.KindLatency), 0}
		p.writeLines(at, repeat(30, latencyAt(0))...)
		w, stop := p.start()
		p.until("the first records to be counted", func() bool { return w.Totals().Counted == 30 })
		stop()
		p.writeLines(at, repeat(50, latencyAt(1))...)
		letGo(t, addr, at, 70)
		w, stop = p.start()
		defer stop()
		p.until("the rest to be counted", func() bool { return w.Totals().Counted == 40 })
		p.writeLines(at, latencyAt(100))
		var lost []*detector.Incident
		p.until("an incident", func() bool {
			lost = p.incidents("PipelineLostRecords")
			return len(lost) > 0
		})
		i := lost[0]
		if i.Transition != detector.Opened || i.Severity != rules.Sev2 || i.Signal.Numerator != 40 ||
			i.Labels["topic"] != at.topic || i.Labels["partition"] != "0" ||
			!slices.ContainsFunc(i.Contributors, func(c detector.Contributor) bool { return c.Label == "offsets" && c.Value == "30..69" }) {
			t.Errorf("the incident is %s", wire.JSON(i))
		}
	})
}

// incidents are the published revisions of a rule's incidents.
func (p *testPipeline) incidents(rule string) []*detector.Incident {
	p.t.Helper()
	var out []*detector.Incident
	for _, r := range p.read(p.cfg.Topics.Alerts) {
		var i detector.Incident
		check(p.t, json.Unmarshal(r.Value, &i))
		if i.Rule.Name == rule {
			out = append(out, &i)
		}
	}
	return out
}

// The group's offsets are gone, because it was away for longer than the broker remembers them: what the log knows of each partition is
// where it goes on, and nothing is counted twice or lost.
func TestForgottenOffsetsAreFoundInTheLog(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		at := partition{p.topicOf(rules.KindLatency), 0}
		for second := range 60 {
			p.writeLines(at, latencyAt(second))
		}
		w, stop := p.start()
		p.until("the first records to be counted", func() bool { return w.Totals().Counted == 60 })
		stop()
		for _, group := range []string{w.groupID("aggregate"), w.groupID("judge")} {
			res, err := p.client.DeleteGroups(p.ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
			check(t, err)
			check(t, res.Errors[group])
		}
		for second := range 60 {
			p.writeLines(at, latencyAt(100+second))
		}
		w, stop = p.start()
		defer stop()
		p.until("the rest to be counted", func() bool { return w.Totals().Sum() >= 120 })
		if got := w.Totals(); got.Counted != 120 || got.Sum() != 120 {
			t.Errorf("the accounts are %+v, expected 120 counted", got)
		}
		p.judged(simStart+140_000, w)
		if lost := p.incidents("PipelineLostRecords"); len(lost) > 0 {
			t.Errorf("records were told to be lost: %s", wire.JSON(lost[0]))
		}
	})
}

// SIGTERM (the context being done) finishes the commit in flight, leaves the groups, and takes less than two seconds.
func TestStopIsQuick(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		at := partition{p.topicOf(rules.KindLatency), 0}
		w, stop := p.start()
		for second := range 60 {
			p.writeLines(at, latencyAt(second))
		}
		p.until("the events to be counted", func() bool { return w.Totals().Counted > 0 })
		start := time.Now()
		stop()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("stopping took %s, expected 2 s at most", took)
		}
		res, err := p.client.DescribeGroups(p.ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{w.groupID("aggregate"), w.groupID("judge")}})
		check(t, err)
		for _, g := range res.Groups {
			if len(g.Members) > 0 {
				t.Errorf("the group %s still has %d members", g.GroupID, len(g.Members))
			}
		}
	})
}
