package pipeline

import (
	"fmt"
	"strings"
	"testing"

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
