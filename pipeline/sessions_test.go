package pipeline

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

const sessionRules = `
groups:
  - name: sessions
    rules:
      - alert: Left
        signal: {abandonment: {steps: step, against: attempts}}
        by: [step]
        window: 20s
        sample: {min: 10}
        severities: [{severity: sev1, above: 0.9}, {severity: sev3, above: 0.2}]
        recover: {keep_firing_for: 10s}
      - alert: Wrong
        signal: {count: 'attempt{action="abandon",region="completes"}'}
        window: 1s
        severities: [{severity: sev1, above: 0}]
      - alert: Visitors
        signal: {distinct: step}
        window: 20s
        severities: [{severity: sev4, above: 30}]
        recover: {keep_firing_for: 10s}
      - alert: Void
        signal: {count: 'pipeline{name="sessions_void"}'}
        by: [topic, partition]
        window: 1s
        severities: [{severity: sev4, above: 0}]
        recover: {keep_firing_for: 10s}
`

func newSessions(t *testing.T, addr string) *testPipeline {
	p := newPipeline(t, addr, func(c *Config) {
		c.Pane, c.Lateness = second, 5*second // while nothing is written, time goes on
		c.IdleAfter = 100 * millisecond
		c.Sources[2].CountSessions = true
		c.Sources[2].Sessions = SessionsConfig{Timeout: 20 * second, MaxVisits: 10_000}
	})
	var err error
	p.rules, err = rules.Parse("sessions.yaml", []byte(sessionRules), p.cfg.RuleOptions())
	check(t, err)
	return p
}

// visitors writes what visitors do between two seconds: in each, three enter of whom one leaves without a word, a third of the time all do; the
// others complete ten seconds later. The partition of a session is its number modulo partitions. All come in one transaction: written one behind
// the other, a partition whose turn is late would be idle, and its visits late.
func (p *testPipeline) visitors(from, to, partitions int) {
	p.t.Helper()
	lines := map[int][]string{}
	for at := from; at < to; at++ {
		add := func(session, entered int, action string) {
			region := "completes"
			if session%3 == 0 || entered/60%3 == 2 {
				region = "leaves"
			}
			if action == "complete" && region == "leaves" {
				return
			}
			id := session % partitions
			lines[id] = append(lines[id], fmt.Sprintf(`{"time":%d,"session":"v%d","step":"form","action":%q,"region":%q}`,
				simStart+int64(at)*1000, session, action, region))
		}
		for n := range 3 {
			add(3*at+n, at, "enter")
			if at >= 10 {
				add(3*(at-10)+n, at-10, "complete")
			}
		}
	}
	together := newForeign(p.t, p.cfg.Brokers[0], p.cfg.Pipeline+"-visitors")
	for id := range partitions {
		together.write(partition{p.topicOf(rules.KindStep), id}, lines[id]...)
	}
	together.end(kgo.TryCommit)
}

// voided are the lines of marks by which the open attempts of partitions became void.
func (p *testPipeline) voided() (out []detector.Void) {
	p.t.Helper()
	for _, r := range p.read(p.cfg.Topics.Marks) {
		m, err := wire.DecodeMark(r.Value)
		check(p.t, err)
		out = append(out, m.Void...)
	}
	return out
}

// Sessions are followed while tasks die and partitions are added, by which sessions move: no attempt is told that was not, the void is told, and
// live and replay agree on every message.
func TestSessionsOfAGrowingTopic(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newSessions(t, addr)
		topic := p.topicOf(rules.KindStep)
		var on atomic.Bool
		var kills atomic.Int64
		w, stop := p.startWith(func(w *Worker) { w.broker = &killing{w.broker, &on, &kills} })
		defer stop()
		for at := 0; at < 100; at += 50 {
			on.Store(at == 50)
			p.visitors(at, at+50, 4)
			p.judged(simStart+int64(at+40)*1000, w)
		}
		if voids := p.voided(); len(voids) > 0 {
			t.Fatalf("%v are void, expected none before anything happened", voids)
		}
		res, err := p.client.CreatePartitions(p.ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 6}}})
		check(t, err)
		check(t, res.Errors[topic])
		p.until("all partitions to be void", func() bool { return len(p.voided()) >= 6 })
		p.client, err = p.cfg.Connect(p.ctx, patience) // the one before remembers how many there were
		check(t, err)
		for at := 100; at < 700; at += 100 {
			on.Store(at == 500)
			p.visitors(at, at+100, 6)
			p.judged(simStart+int64(at+90)*1000, w)
		}
		edge := int64(simStart + 690_000)
		p.judged(edge, w)
		stop()
		if got := w.Totals(); got.Late > 0 {
			t.Errorf("%d visits were late, expected none", got.Late)
		}
		if kills.Load() < 3 {
			t.Errorf("there were %d kills: the test shows too little", kills.Load())
		}
		if wrong := p.incidents("Wrong"); len(wrong) > 0 {
			t.Errorf("visitors who completed are told to have left: %s", wire.JSON(wrong[0]))
		}
		if n := len(p.incidents("Void")); n < 4 {
			t.Errorf("%d messages tell of what is void, expected one of each partition at least", n)
		}
		for _, i := range p.incidents("Left") { // every session enters once
			if i.Impact.Sessions != i.Impact.Events {
				t.Errorf("%d attempts were abandoned in %d sessions: %s", i.Impact.Events, i.Impact.Sessions, i.Impact.Sentence)
			}
		}
		if v := p.incidents("Visitors"); len(v) == 0 || v[0].Impact.Sessions <= 30 || v[0].Impact.Sessions >= v[0].Impact.Events {
			t.Errorf("the visitors are told as %s", wire.JSON(v))
		}
		late := 0 // attempts are told again, after the void
		for _, i := range p.incidents("Left") {
			if int64(i.At) > simStart+500_000 {
				late++
			}
		}
		if late == 0 {
			t.Error("nothing is told of those who left after the void")
		}
		p.replayedAlike(edge, p.outputs(edge))
	})
}

// What makes a visit is known by its source's shape; what makes none is not part of it.
func TestShapeOfVisits(t *testing.T) {
	shape := func(domain, source string) string {
		c, err := ParseConfig("t.yaml", fmt.Appendf(nil, "{brokers: ['x:1'], domain: %s, sources: [{topic: a, %s}]}", domain, source))
		check(t, err)
		return c.Engine().Sessions["a"].Shape
	}
	const fields = "kind: step, fields: {session: {path: s}, step: {path: p}, action: {path: a, values: {in: enter}}, time: {path: t}, region: {path: r}, service: {path: x}}"
	base := shape("region", fields)
	f := func(same bool, domain, source string) {
		t.Helper()
		if got := shape(domain, source); (got == base) != same {
			t.Errorf("domain %s, %s: is the shape the same as before: %t", domain, source, !same)
		}
	}
	change := func(from, to string) string { return strings.Replace(fields, from, to, 1) }
	f(true, "region", change("path: x", "path: y"))
	f(true, "region", fields+", endpoints: {ids: true}, drop_labels: [version], max_bytes: 100, sessions: {timeout: 5m}")
	f(false, "service", fields)
	f(false, "region", change("path: s}", "path: z}"))
	f(false, "region", change("path: p", "path: z"))
	f(false, "region", change("in: enter", "in: complete"))
	f(false, "region", change("path: r", "path: z"))
	f(false, "region", "kind: step")
	base = shape("endpoint", "kind: step")
	f(false, "endpoint", "kind: step, endpoints: {ids: true}")
}

// A replay that begins behind a void follows nobody who was not followed live because of it.
func TestReplayBehindAVoid(t *testing.T) {
	c, err := ParseConfig("c.yaml", []byte(`{brokers: ["h:1"], max_ahead: 1h, sources: [{topic: web, kind: step, sessions: {timeout: 10s}}]}`))
	check(t, err)
	f := func(resume int64, want ...int64) {
		t.Helper()
		mark := wire.JSON(wire.Mark{V: 1, Void: []detector.Void{{Source: detector.Source{Topic: "web"}, Before: 3, Resume: resume}}})
		lines := [][]byte{fmt.Appendf(nil, `{"topic":%q,"partition":0,"offset":0,"ts":%d,"payload":%s}`, c.Topics.Marks, simStart, kcatText(bytes.TrimSpace(mark)))}
		for i := range int64(4) {
			at := simStart + i*1_000_000
			event := fmt.Appendf(nil, `{"time":%d,"session":"v","step":"form","action":"enter"}`, at)
			lines = append(lines, fmt.Appendf(nil, `{"topic":"web","partition":0,"offset":%d,"ts":%d,"payload":%s}`, 10+i, at, kcatText(event)))
		}
		var got []int64
		r := Replay{
			Config: c.Engine(), Rules: runbook(t, c), Pipeline: c, Files: []string{writeLines(t, lines)}, Output: func(detector.Output) error { return nil },
			Delta: func(d *detector.Delta) {
				ended := map[string]int64{}
				if countAttempts(d, ended); ended["abandon"] > 0 {
					got = append(got, (d.Pane-simStart)/1_000_000)
				}
			},
		}
		_, err := r.Run(t.Context())
		check(t, err)
		if !slices.Equal(got, want) {
			t.Errorf("until offset %d: who entered at %v is told to have left, expected %v", resume, got, want)
		}
	}
	f(5, 1, 2)
	f(12, 2)
}

// Records that are lost, other timeouts, and a time in which nobody was followed, make void what is open; a restart alone does not.
func TestSessionsBecomeVoid(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newSessions(t, addr)
	run := func(sum int64) {
		t.Helper()
		w, stop := p.start()
		defer stop()
		p.until(fmt.Sprintf("%d records", sum), func() bool { return w.Totals().Counted >= sum })
	}
	line := func(at int) string {
		return fmt.Sprintf(`{"time":%d,"session":"v%d","step":"form","action":"enter"}`, simStart+at*1000, at)
	}
	at := partition{p.topicOf(rules.KindStep), 0}
	voids := func(want int) {
		t.Helper()
		if got := p.voided(); len(got) != want {
			t.Errorf("%v are void, expected %d", got, want)
		}
	}
	p.writeLines(at, line(0), line(1))
	run(2)
	p.writeLines(at, line(2))
	run(3)
	voids(0)
	p.writeLines(at, line(3), line(4))
	letGo(t, addr, at, 4)
	run(4)
	voids(1)
	p.cfg.Sources[2].Sessions.Timeout = 30 * second
	p.writeLines(at, line(5))
	run(5)
	run(5)
	voids(5) // all partitions
	if got := fmt.Sprint(p.voided()[0]); !strings.HasSuffix(got, " 0} 4 6}") {
		t.Errorf("%s is void, expected what was open before offset 4 until 6", got)
	}
	p.cfg.Sources[2].Sessions.Timeout = 0
	p.writeLines(at, line(6))
	run(6)
	p.cfg.Sources[2].Sessions.Timeout = 30 * second
	p.writeLines(at, line(7))
	run(7)
	p.writeLines(at, line(8))
	run(8)
	voids(6)
}
