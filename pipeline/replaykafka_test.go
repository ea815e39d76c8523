package pipeline

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// replayedTopics are the messages that a replay of the pipeline's topics gives, up to edge.
func (p *testPipeline) replayedTopics(edge int64, change func(*Replay)) ([]string, Summary) {
	p.t.Helper()
	var rows []outputRow
	r := Replay{
		Config: p.cfg.Engine(), Rules: p.rules, Pipeline: p.cfg, Kafka: &KafkaInput{Client: p.client},
		Output: func(o detector.Output) error {
			if int64(o.At()) <= edge {
				rows = append(rows, outputRow{int64(o.At()), o.ID(), o.Type(), o.EventID(), string(wire.Value(o))})
			}
			return nil
		},
	}
	if change != nil {
		change(&r)
	}
	sum, err := r.Run(p.ctx)
	check(p.t, err)
	return rowValues(rows), sum
}

// allEnds are where all partitions of all topics end.
func (p *testPipeline) allEnds() map[partition]int64 {
	p.t.Helper()
	states, err := p.cfg.VerifyTopics(p.ctx, p.client, false)
	check(p.t, err)
	out := map[partition]int64{}
	for _, s := range states {
		for id := range s.Partitions {
			spans, err := ends(p.ctx, p.client, s.Topic, []int{id}, kafka.ReadUncommitted)
			check(p.t, err)
			out[partition{s.Topic, id}] = spans[id].end
		}
	}
	return out
}

// story writes an hour in which partitions are idle, come back with old records that are late only because of that, and fall silent.
func (p *testPipeline) story() {
	p.t.Helper()
	latency := func(id int, from, to int64, status int, every int64) {
		var records []kafka.Record
		for at := from; at < to; at += every {
			records = append(records, kafka.Record{Time: time.UnixMilli(at), Value: kafka.NewBytes(fmt.Appendf(nil,
				`{"time":%d,"service":"api","endpoint":"/","status":%d,"duration_ms":12}`, at, status))})
		}
		p.write(partition{p.topicOf(rules.KindLatency), id}, records...)
	}
	const start = int64(1793534400000)
	const minute = int64(60_000)
	for id := range 2 { // partitions 2 and 3, and all other topics, never get anything
		latency(id, start, start+8*minute, 200, 200)
	}
	w, stop := p.start()
	defer stop()
	p.judged(start+7*minute, w)
	latency(0, start+8*minute, start+20*minute, 500, 300)
	p.judged(start+19*minute, w)
	// Partition 1 was idle meanwhile, and time there went on by marks: minute nine is over.
	latency(1, start+9*minute, start+10*minute, 200, 500)
	latency(1, start+20*minute, start+30*minute, 200, 200)
	latency(0, start+20*minute, start+30*minute, 200, 200)
	p.judged(start+29*minute, w)
	p.until("everything accounted for", func() bool { return w.Totals().Late == 120 })
}

func kafkaReplayIsWhatRunPublished(t *testing.T, p *testPipeline) {
	p.story()
	w, stop := p.start() // one that only takes up, so that the end of what was judged is known
	p.until("taking up", func() bool { return w.Edge() != unknown })
	edge := w.Edge()
	stop()
	live := p.outputs(edge)
	if len(live) < 4 {
		t.Fatalf("live told only %d messages", len(live))
	}
	before := p.allEnds()
	got, sum := p.replayedTopics(edge, nil)
	same(t, "replayed from topics", live, got)
	again, _ := p.replayedTopics(edge, nil)
	same(t, "replayed once more", live, again)
	if sum.Totals.Late != 120 || len(sum.Doubts) != 0 || sum.LateHere != 0 {
		t.Errorf("the replay's summary is %+v, expected 120 late and no doubts", sum)
	}
	if after := p.allEnds(); !maps.Equal(before, after) {
		t.Errorf("the replay wrote to a topic:\n%v\n%v", before, after)
	}
	// The same without marks: what was late live is counted, and the summary says that this can be.
	blind, sum := p.replayedTopics(edge, func(r *Replay) {
		c := *p.cfg
		c.Topics.Marks = p.cfg.Topics.Rejected // nothing is there
		r.Pipeline = &c
	})
	if sum.Totals.Late != 0 || len(sum.Doubts) != 1 || !strings.Contains(sum.Doubts[0], "no marks in") {
		t.Errorf("without marks the summary is %+v", sum)
	}
	if strings.Join(blind, "") == strings.Join(live, "") {
		t.Error("without marks nothing changed: the test proves nothing")
	}
}

// Replay on the wall clock or into live topics: the same log, a month old or not, gives the same bytes, live and replayed twice, also where marks
// decided what was late; and no live topic has grown.
func TestTrap11ReplayOfTopicsIsWhatRunPublished(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	kafkaReplayIsWhatRunPublished(t, newPipeline(t, addr, nil))
}

func TestRealTrap11ReplayOfTopicsIsWhatRunPublished(t *testing.T) {
	kafkaReplayIsWhatRunPublished(t, newPipeline(t, kafkatest.Shared(t).Addr(), nil))
}

// A range begins where the records' timestamps say, less the warm-up, and ends when it is judged. What lies within is the same.
func TestReplayOfARange(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	const start, minute = int64(1793534400000), int64(60_000)
	var lines [][]byte
	for at := start; at < start+120*minute; at += 250 {
		status := 200
		if m := (at - start) / minute; m >= 20 && m < 25 || m >= 70 && m < 75 {
			status = 500
		}
		lines = append(lines, fmt.Appendf(nil, `{"time":%d,"kind":"latency","service":"api","endpoint":"/","status":%d,"duration_ms":12}`, at, status))
	}
	p.load(lines)
	all, whole := p.replayedTopics(noLow, nil)
	if len(whole.Doubts) != 2 {
		t.Errorf("nothing ever ran here, but the doubts are %q", whole.Doubts)
	}
	from, to := start+60*minute, start+80*minute
	var want []string
	for _, message := range all {
		var at detector.Millis
		_, text, _ := strings.Cut(message, `"at":"`)
		check(t, at.UnmarshalText([]byte(text[:24])))
		if int64(at) >= from && int64(at) <= to {
			want = append(want, message)
		}
	}
	got, sum := p.replayedTopics(noLow, func(r *Replay) { r.From, r.To, r.Kafka.WarmUp = from, to, 20*minute })
	same(t, "the range", want, got)
	if len(want) < 2 || sum.WarmUp != 0 {
		t.Errorf("%d messages in the range, %d before it", len(want), sum.WarmUp)
	}
	if n := sum.Totals.Sum(); n < 40*minute/250 || n > 90*minute/250 {
		t.Errorf("%d records were read for a range of 20 minutes with as much warm-up, of %d", n, len(lines))
	}
	// Warm-up messages are counted and told apart, not given out.
	var earlier []string
	got, sum = p.replayedTopics(noLow, func(r *Replay) {
		r.From, r.Kafka.WarmUp = from, 60*minute
		r.Earlier = func(o detector.Output) { earlier = append(earlier, string(wire.Value(o))) }
	})
	same(t, "what is told before the range and in it", all, append(earlier, got...))
	if sum.WarmUp < 2 || len(got)+int(sum.WarmUp) != len(all) {
		t.Errorf("%d messages, and %d before the range, of %d", len(got), sum.WarmUp, len(all))
	}
}

// What is read before a range is enough for the rules of the log, and for those that it is compared with, not only for those that are given.
func TestWarmUpIsEnoughForAllRules(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	const start, hour = int64(1793534400000), int64(3600_000)
	var lines [][]byte
	for at := start; at < start+4*hour; at += 2000 {
		line := fmt.Appendf(nil, `{"time":%d,"kind":"error","service":"api"}`, at)
		if lines = append(lines, line); at >= start+3*hour {
			lines = append(lines, line, line)
		}
	}
	p.load(lines)
	parse := func(window string, above int) *rules.File {
		f, err := rules.Parse("r.yaml", fmt.Appendf(nil, "groups: [{name: x, rules: [{alert: A, signal: {count: error}, window: %s, flap_limit: 0, severities: [{severity: sev1, above: %d}]}]}]", window, above), p.cfg.RuleOptions())
		check(t, err)
		return f
	}
	short, long := parse("1m", 1_000_000), parse("2h", 4000)
	f := func(what string, want int64, change func(*Replay)) (got []string) {
		t.Helper()
		got, sum := p.replayedTopics(noLow, func(r *Replay) { r.Rules, r.From, r.Kafka.WarmUp = short, start+3*hour, -1; change(r) })
		if sum.Before != want {
			t.Errorf("%s: %d ms are read before the range, expected %d", what, sum.Before, want)
		}
		return got
	}
	f("given", hour+10_000, func(*Replay) {})
	f("beside", 2*hour+5*60_000+10_000, func(r *Replay) { r.Kafka.Beside = []*rules.File{short, long} })
	_, err := Say(p.ctx, p.cfg, p.client, wire.Rules(long, detector.Millis(start), "maria"))
	check(t, err)
	whole, _ := p.replayedTopics(noLow, func(r *Replay) { r.Rules = short })
	same(t, "by the rules of the log", whole, f("of the log", 2*hour+5*60_000+10_000, func(*Replay) {}))
	if less := f("as it is said", hour, func(r *Replay) { r.Kafka.WarmUp = hour }); strings.Join(less, "") == strings.Join(whole, "") || len(whole) == 0 {
		t.Error("a shorter warm-up changes nothing: the test proves nothing")
	}
	f("not of the log", hour+10_000, func(r *Replay) { r.OnlyRules = true })
	_, err = Say(p.ctx, p.cfg, p.client, wire.Rules(short, detector.Millis(start+hour), "maria"))
	check(t, err)
	f("no more those of the log", hour+10_000, func(*Replay) {})
}
