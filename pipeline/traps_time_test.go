package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/rules"
)

// The traps about time, each in replay, over kfake and over a real Kafka. Their stories without a Kafka are in detector/testdata.

// story is a stream in the order of arrival: events at seconds after simStart.
type story struct{ lines [][]byte }

func (s *story) latency(second int) { s.add(second, "latency", `"status":200,"duration_ms":3`) }
func (s *story) failure(second int) { s.add(second, "error", `"error_type":"boom"`) }

func (s *story) add(second int, kind, more string) {
	s.lines = append(s.lines, fmt.Appendf(nil, `{"time":%d,"kind":%q,"service":"api",%s}`, simStart+int64(second)*1000, kind, more))
}

// normal is so many seconds of four answers each; in the bad ones, all requests fail.
func (s *story) normal(from, to int, bad func(second int) bool) {
	for second := from; second < to; second++ {
		for range 4 {
			s.latency(second)
			if bad(second) {
				s.failure(second)
			}
		}
	}
}

const tomorrow = 24 * 3600

// take puts the pipeline under rules of a test's own: those of one group.
func (p *testPipeline) take(text string) {
	p.t.Helper()
	file, err := rules.Parse("test.yaml", []byte("groups:\n  - name: test\n    rules:\n"+text), p.cfg.RuleOptions())
	check(p.t, err)
	p.rules = file
}

// told is what messages tell of incidents.
func told(t *testing.T, messages []string) (out []detector.Incident) {
	t.Helper()
	for _, m := range messages {
		var i detector.Incident
		check(t, json.Unmarshal([]byte(m), &i))
		out = append(out, i)
	}
	return out
}

// toldAs are incidents as rule, transition and second after simStart.
func toldAs(incidents []detector.Incident) (out []string) {
	for _, i := range incidents {
		out = append(out, fmt.Sprintf("%s %s %d", i.Rule.Name, i.Transition, (int64(i.At)-simStart)/1000))
	}
	return out
}

// everyWay tells a story in a replay, over kfake and over a real Kafka: the same, byte for byte, and look says whether it is right.
func (s *story) everyWay(t *testing.T, ruleText string, look func(t *testing.T, told []detector.Incident)) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		p.take(ruleText)
		want, sum := p.replayed(s.lines)
		if sum.Totals.Counted != int64(len(s.lines)) {
			t.Fatalf("the replay has the accounts %+v of %d events", sum.Totals, len(s.lines))
		}
		look(t, told(t, want))
		live(t, "live", p, s.lines, want, sum, 1)
	})
}

// rejectedBy are the reasons on the rejected topic, with the topic, partition and offset of each record.
func (p *testPipeline) rejectedBy() map[string][]string {
	p.t.Helper()
	out := map[string][]string{}
	for _, r := range p.read(p.cfg.Topics.Rejected) {
		h := map[string]string{}
		for _, x := range r.Headers {
			h[x.Key] = string(x.Value)
		}
		out[h["sevwatch_reason"]] = append(out[h["sevwatch_reason"]], h["sevwatch_topic"]+"/"+h["sevwatch_partition"]+"/"+h["sevwatch_offset"])
	}
	return out
}

// One event dated tomorrow closes everything: here it closes nothing. The next ten minutes are all counted, and it is rejected, once.
func TestTrap04OneEventDatedTomorrow(t *testing.T) {
	s := &story{}
	s.normal(0, 120, func(int) bool { return false })
	s.latency(tomorrow)
	s.normal(120, 720, func(second int) bool { return second > 200 && second < 500 })
	want := detector.Totals{Counted: int64(len(s.lines)) - 1, Rejected: 1}
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		told, sum := p.replayed(s.lines)
		if sum.Totals != want || len(told) < 2 {
			t.Fatalf("the replay has the accounts %+v, expected %+v, and %d messages", sum.Totals, want, len(told))
		}
		p.load(s.lines)
		w, stop := p.start()
		defer stop()
		p.judged(sum.Edge, w)
		p.until("everything decided", func() bool { return w.Totals() == want })
		same(t, "live", told, p.outputs(sum.Edge))
		if got := p.rejectedBy(); len(got) != 1 || len(got["future"]) != 1 {
			t.Errorf("rejected: %v, expected one, future", got)
		}
	})
}

// What is held survives its worker: the next one reads it again, counts nothing twice, and rejects it when the stream goes on as before.
func TestHeldEventsSurviveAWorker(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		at := partition{p.topicOf(rules.KindLatency), 2}
		p.writeLines(at, latencyAt(0), latencyAt(tomorrow), "no event", latencyAt(-3600), latencyAt(tomorrow+1), "no event")
		w, stop := p.start()
		want := detector.Totals{Counted: 1, Late: 1, Rejected: 2, Held: 2}
		p.until("all to be read", func() bool { return w.Totals() == want })
		stop()
		for range 2 { // the second time nothing has moved in between
			w, stop = p.start()
			p.until("the judge to be back", func() bool { return w.Totals() == want })
			stop()
		}
		p.writeLines(at, latencyAt(1))
		w, stop = p.start()
		defer stop()
		want = detector.Totals{Counted: 2, Late: 1, Rejected: 4}
		p.until("all to be decided", func() bool { return w.Totals() == want })
		got := p.rejectedBy()
		if name := fmt.Sprintf("%s/2/", at.topic); strings.Join(got["future"], " ") != name+"1 "+name+"4" || len(got["not_json"]) != 2 {
			t.Errorf("rejected: %v", got)
		}
	})
}

// A whole stream that jumps by a day goes on there, and nothing of it is lost.
func TestJumpOfTheWholeStream(t *testing.T) {
	s := &story{}
	s.normal(0, 120, func(int) bool { return false })
	s.normal(tomorrow, tomorrow+300, func(second int) bool { return second > tomorrow+60 && second < tomorrow+200 })
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		told, sum := p.replayed(s.lines)
		want := detector.Totals{Counted: int64(len(s.lines))}
		if sum.Totals != want || len(told) < 2 {
			t.Fatalf("the replay has the accounts %+v, expected %+v, and %d messages", sum.Totals, want, len(told))
		}
		p.load(s.lines)
		w, stop := p.start()
		defer stop()
		p.judged(sum.Edge, w)
		p.until("everything decided", func() bool { return w.Totals() == want })
		same(t, "live", told, p.outputs(sum.Edge))
	})
}

// Input stops, so the last window never closes: a Sev1 burst, then silence on all partitions. Without marks nothing is told of it, as nothing
// says that it is over; live the broker's time goes on, and the incident is out in the pane in which the burst was Sev1 for long enough.
func TestTrap01InputStops(t *testing.T) {
	s := &story{}
	s.normal(0, 2, func(int) bool { return true })
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, func(c *Config) {
			c.Pane, c.Lateness, c.IdleAfter = second, 2*second, 300*millisecond
			for i := range c.Sources {
				c.Sources[i].Lateness = c.Lateness
			}
		})
		p.take(`
      - alert: Errors
        signal: {ratio: {errors: error, total: latency}}
        window: 2s
        sample: {min: 5}
        severities: [{severity: sev1, above: 0.5, for: 1s}]
`)
		if messages, _ := p.replayed(s.lines); len(messages) > 0 {
			t.Fatalf("what follows proves nothing: the lines alone tell %s", messages)
		}
		p.load(s.lines)
		w, stop := p.start()
		defer stop()
		p.judged(simStart+2_000, w)
		edge := w.Edge()
		got := p.outputs(edge)
		first := told(t, got)[0]
		if first.Transition != detector.Opened || first.Severity != rules.Sev1 || int64(first.At) > simStart+2_000 {
			t.Errorf("the first message is %s", got[0])
		}
		replayed, _ := p.replayedTopics(edge, nil)
		same(t, "the topics and marks replayed", got, replayed)
	})
}

const noHigh = int64(1<<63 - 1)

// An idle, an empty and a never-written partition stall the watermark: of eight partitions one is never written, one stops. Windows close as if
// they were not there. A worker to which no partition is assigned tells nothing.
func TestTrap02PartitionsThatSayNothing(t *testing.T) {
	var parts [][][]byte
	total := 0
	for id := range 7 {
		s := &story{}
		end := 300
		if id == 6 {
			end = 30
		}
		s.normal(0, end, func(second int) bool { return second > 60 && second < 200 })
		parts = append(parts, s.lines)
		total += len(s.lines)
	}
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, func(c *Config) {
			c.Sources = []SourceConfig{c.Sources[3]}
			c.Sources[0].Partitions, c.Tasks = 8, Tasks{Aggregate: 1, Judge: 1}
		})
		want, sum := p.replayed(parts...)
		if len(want) < 2 {
			t.Fatalf("the replay tells only %s", want)
		}
		for id, lines := range parts {
			p.writeAll(partition{p.cfg.Sources[0].Topic, id}, lines)
		}
		w, stop := p.start()
		defer stop()
		p.judged(sum.Edge, w)
		idle, stopIdle := p.startWith(func(w *Worker) {
			w.onTell = func(o detector.Output) { t.Errorf("a worker without a partition has told %s", o.EventID()) }
		})
		defer stopIdle()
		p.until("the second worker to be a member", func() bool { return p.members(idle.groupID("judge")) == 2 })
		same(t, "live", want, p.outputs(sum.Edge))
		if got := w.Totals(); got != (detector.Totals{Counted: int64(total)}) {
			t.Errorf("the accounts are %+v, expected %d counted", got, total)
		}
		if edge := idle.Edge(); edge != unknown {
			t.Errorf("the worker without a partition has judged up to %s", detector.Millis(edge))
		}
	})
}

// Missing data sends a recovery: firing, then many empty windows give no resolve, the status is no_data; healthy data give exactly one.
func TestTrap05MissingData(t *testing.T) {
	s := &story{}
	for second := range 900 {
		s.add(second, "latency", `"status":200,"region":"other","duration_ms":3`) // time goes on
		if second < 120 || second >= 480 {
			s.normal(second, second+1, func(second int) bool { return second < 120 })
		}
	}
	s.everyWay(t, `
      - alert: Errors
        signal: {ratio: {errors: 'error{region=""}', total: 'latency{region=""}'}}
        window: 30s
        sample: {min: 20}
        severities: [{severity: sev2, above: 0.25, for: 20s}]
        recover: {keep_firing_for: 1m}
`, func(t *testing.T, told []detector.Incident) {
		want := []string{"Errors opened 20", "Errors no_data 150", "Errors updated 490", "Errors resolved 540"}
		if got := toldAs(told); !slices.Equal(got, want) {
			t.Errorf("told %q, expected %q", got, want)
		}
	})
}

// A partial window judged as low: a start in the middle and a step that is new are no lack and no silence before a full window. What then falls
// is told.
func TestTrap09PartialWindow(t *testing.T) {
	s := &story{}
	step := func(name string, second, n int) {
		for range n {
			s.add(second, "step", fmt.Sprintf(`"step":%q,"action":"enter","session":"s"`, name))
		}
	}
	for second := 7; second < 600; second++ {
		step("first", second, 4)
		if second >= 205 && second < 400 || second%4 == 0 && second >= 400 {
			step("second", second, 1)
		}
	}
	s.everyWay(t, `
      - alert: TooFew
        signal: {rate: step}
        by: [step]
        window: 1m
        severities: [{severity: sev2, below: 0.5}]
      - alert: Silent
        signal: {absence: step}
        by: [step]
        window: 1m
        severities: [{severity: sev2, above: 60}]
`, func(t *testing.T, told []detector.Incident) {
		if got, want := toldAs(told), []string{"TooFew opened 450"}; !slices.Equal(got, want) {
			t.Errorf("told %q, expected %q", got, want)
		}
	})
}

// 0/0 and the quantile of nothing are an insufficient sample: they open nothing, end nothing, and are never printed.
func TestTrap10NothingOfNothing(t *testing.T) {
	s := &story{}
	for second := range 600 {
		s.add(second, "latency", `"status":200,"endpoint":"/other","duration_ms":3`)
		dwell := ""
		switch {
		case second < 120:
			s.add(second, "latency", `"status":500,"endpoint":"/a","duration_ms":3`)
			dwell = `,"dwell_ms":900`
		case second >= 480:
			s.add(second, "latency", `"status":200,"endpoint":"/a","duration_ms":3`)
		}
		s.add(second, "step", `"step":"first","action":"complete"`+dwell)
	}
	s.everyWay(t, `
      - alert: Share
        signal: {ratio: {errors: 'latency{endpoint="/a",status_class="5xx"}', total: 'latency{endpoint="/a"}'}}
        window: 30s
        severities: [{severity: sev2, above: 0.5}]
        recover: {keep_firing_for: 30s}
      - alert: Slow
        signal: {quantile: {of: step, q: 0.9}}
        window: 30s
        severities: [{severity: sev2, above: 500}]
        recover: {keep_firing_for: 30s}
`, func(t *testing.T, told []detector.Incident) {
		want := []string{"Share opened 10", "Slow opened 10", "Share no_data 150", "Slow no_data 150", "Share updated 490", "Share resolved 510"}
		got := toldAs(told)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("told %q, expected %q", got, want)
		}
		for _, i := range told {
			if text := fmt.Sprintf("%+v", i); i.Transition == detector.NoData && (i.Signal.Observed != nil || strings.Contains(text, "NaN")) {
				t.Errorf("a window without data shows %s", text)
			}
		}
	})
}

// Edges: an event on a window's end lands in exactly one window, a threshold met exactly is no breach, and the machines' clocks, which stamp the
// records, change nothing when they are set back an hour.
func TestTrap15Edges(t *testing.T) {
	s := &story{}
	failures := func(second, n int) {
		for range n {
			s.failure(second)
		}
	}
	s.normal(0, 30, func(int) bool { return false })
	failures(30, 3) // on the edge: of [30, 40) alone
	s.normal(31, 60, func(int) bool { return false })
	failures(60, 2) // as many as the threshold
	s.normal(61, 79, func(int) bool { return false })
	failures(79, 2) // three, and an edge between them
	failures(80, 1)
	s.normal(81, 120, func(int) bool { return false })
	const text = `
      - alert: Count
        signal: {count: error}
        window: 10s
        severities: [{severity: sev4, above: 2}]
        recover: {keep_firing_for: 0s}
`
	look := func(t *testing.T, told []detector.Incident) {
		if got, want := toldAs(told), []string{"Count opened 40", "Count resolved 50"}; !slices.Equal(got, want) {
			t.Errorf("told %q, expected %q", got, want)
		}
	}
	s.everyWay(t, text, look)
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, nil)
		p.take(text)
		want, sum := p.replayed(s.lines)
		for i, line := range s.lines {
			stamp := time.UnixMilli(timeOf(line))
			if i > len(s.lines)/3 {
				stamp = stamp.Add(-time.Hour)
			}
			at := partition{p.cfg.Sources[3].Topic, i % 4}
			p.write(at, kafka.Record{Time: stamp, Value: kafka.NewBytes(line)})
		}
		w, stop := p.start()
		defer stop()
		p.judged(sum.Edge, w)
		same(t, "with the clocks set back", want, p.outputs(sum.Edge))
		if got := w.Totals(); got.Counted != int64(len(s.lines)) {
			t.Errorf("the accounts are %+v, expected %d counted", got, len(s.lines))
		}
	})
}
