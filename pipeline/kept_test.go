package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/txn"
	"sevwatch/rules"
)

// killing ends a task at some of its commits, before the broker hears of it or after: in both cases the task's memory is gone.
type killing struct {
	broker
	on    *atomic.Bool
	kills *atomic.Int64
}

func (k *killing) takeOver(ctx context.Context, id string) (producer, error) {
	p, err := k.broker.takeOver(ctx, id)
	return &killingProducer{p, k}, err
}

type killingProducer struct {
	producer
	*killing
}

var errKilled = errors.New("the worker is killed")

func (p *killingProducer) Commit(ctx context.Context, messages []kafka.Message, offsets *txn.Offsets) error {
	dice := rand.IntN(8)
	if !p.on.Load() || dice > 1 {
		return p.producer.Commit(ctx, messages, offsets)
	}
	p.kills.Add(1)
	if dice == 0 {
		return errKilled
	}
	return errors.Join(p.producer.Commit(ctx, messages, offsets), errKilled)
}

// duplicated is a partition's stream of failures and successes, in which the producer sends every third event again: at once, a little later,
// or later than the lateness.
func duplicated(random *rand.Rand, seconds int) (lines []string, duplicates int64) {
	var later []string
	for second := range seconds {
		for i := range 4 {
			status := 200
			if second/150%2 == 1 && i%2 == 0 {
				status = 500
			}
			line := fmt.Sprintf(`{"time":%d,"service":"api","status":%d,"duration_ms":3,"id":"%d/%d/%d"}`,
				simStart+int64(second)*1000, status, second, i, random.Int64())
			lines = append(lines, line)
			switch random.IntN(3) {
			case 0:
				lines = append(lines, line)
				duplicates++
			case 1:
				later = append(later, line)
			}
		}
		for len(later) > 0 && random.IntN(2) == 0 || len(later) > 100 {
			lines, later = append(lines, later[0]), later[1:]
			duplicates++
		}
	}
	return append(lines, later...), duplicates + int64(len(later))
}

// Events that are sent twice count once, whatever becomes of the tasks that count them; live and replay agree on every message and on the
// accounts.
func TestDuplicatesAreCountedOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, func(c *Config) {
			for i := range c.Sources {
				c.Sources[i].Duplicates = DuplicatesConfig{Horizon: 10 * minute, MaxIDs: 100_000}
			}
		})
		var err error
		p.rules, err = rules.Parse("far.yaml", []byte(farRules), p.cfg.RuleOptions())
		check(t, err)
		random := rand.New(rand.NewPCG(1, 1))
		topic := p.topicOf(rules.KindLatency)
		var want detector.Totals
		write := func() {
			for id := range 4 {
				lines, duplicates := duplicated(random, 900)
				for n := 0; n < len(lines); n += 200 {
					p.writeLines(partition{topic, id}, lines[n:min(n+200, len(lines))]...)
				}
				want.Duplicate += duplicates
				want.Counted += int64(len(lines)) - duplicates
			}
		}
		write()
		var on atomic.Bool
		var kills atomic.Int64
		on.Store(true)
		killed := func(w *Worker) { w.broker = &killing{w.broker, &on, &kills} }
		w, stop := p.startWith(killed)
		p.until("some kills", func() bool { return kills.Load() >= 3 })
		v, stopV := p.startWith(killed) // takes half of the tasks
		defer stopV()
		p.until("more kills", func() bool { return kills.Load() >= 6 })
		stop() // and gives them back
		on.Store(false)
		p.until("everything accounted for", func() bool { return v.Totals() == want || w.Totals() == want })
		edge := int64(simStart + 880_000)
		p.judged(edge, v, w)
		stopV()
		live := p.outputs(edge)
		if len(live) < 4 {
			t.Fatalf("live told only %d messages", len(live))
		}
		got, sum := p.replayedTopics(edge, nil)
		same(t, "replayed from topics", live, got)
		if sum.Totals != want {
			t.Errorf("the replay has the accounts %+v, expected %+v", sum.Totals, want)
		}
	})
}

// Turned off for a while and on again, what was remembered before is forgotten: nobody knows what came meanwhile.
func TestKeptIsForgottenWhereItWasTurnedOff(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, func(c *Config) {
		c.Pane, c.Lateness = second, second
		c.Sources[1].Duplicates = DuplicatesConfig{Horizon: hour, MaxIDs: 10}
	})
	at := partition{p.topicOf(rules.KindLatency), 0}
	event := func(second int, id string) string {
		return strings.Replace(latencyAt(second), "{", fmt.Sprintf(`{"id":%q,`, id), 1)
	}
	run := func(counted, duplicate int64) {
		t.Helper()
		w, stop := p.start()
		defer stop()
		p.until(fmt.Sprintf("%d counted and %d duplicates", counted, duplicate), func() bool {
			return w.Totals() == detector.Totals{Counted: counted, Duplicate: duplicate}
		})
	}
	p.writeLines(at, event(0, "a"), event(0, "b"), event(0, "a"))
	run(2, 1)
	p.writeLines(at, event(60, "a"))
	run(2, 2)
	p.cfg.Sources[1].Duplicates.Horizon = 0
	p.writeLines(at, event(120, "c"))
	run(3, 2)
	p.cfg.Sources[1].Duplicates.Horizon = hour
	p.writeLines(at, event(180, "a"), event(180, "b"), event(181, "b"))
	run(5, 3)
	run(5, 3)
}

// A pipeline whose topics were made before anything was remembered gets the partitions of the state topic that it then needs.
func TestStateTopicIsWidened(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	p.cfg.Sources[1].Duplicates = DuplicatesConfig{Horizon: hour, MaxIDs: 10}
	state := func(create bool) TopicState {
		t.Helper()
		states, err := p.cfg.VerifyTopics(p.ctx, p.client, create)
		check(t, err)
		for _, s := range states {
			if s.Topic == p.cfg.Topics.State {
				return s
			}
		}
		panic("BUG: no state topic")
	}
	if got := state(false); !strings.Contains(got.Problem, "has 1 partition, expected 5 or more: add them with") {
		t.Errorf("the state topic: %+v", got)
	}
	if got := state(true); got.Problem != "" || got.Partitions != 5 {
		t.Errorf("the state topic, widened: %+v", got)
	}
	p.cfg.Sources[1].Duplicates.Horizon = 0
	if got := state(false); got.Problem != "" || got.Partitions != 5 {
		t.Errorf("the state topic, too wide: %+v", got)
	}
}
