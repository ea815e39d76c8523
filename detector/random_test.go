package detector

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// tales are the random streams of a test: every mixture of late or punctual, with or without recorded silence.
func talesOf(t *testing.T, n int, f func(t *testing.T, tale *tale)) {
	t.Helper()
	seeds(t, n, func(t *testing.T, seed uint64) { f(t, newTale(t, seed, seed%4 == 0, seed%5 != 0)) })
}

// TestModel lets the engine and the model tell the same random tales.
func TestModel(t *testing.T) {
	told := map[string]bool{}
	var guarded Totals
	talesOf(t, 300, func(t *testing.T, tale *tale) {
		tale.speak(newEngine(tale, 1, 1).run())
		e := newEngine(tale, 1+int(tale.seed%4), tale.seed)
		outputs := e.run()
		m := newModel(tale)
		m.acts = e.actsOf()
		for i := range tale.steps {
			m.hear(&tale.steps[i])
		}
		differ(t, tale, "engine against model", rowsOf(tale.cfg, tale.file, outputs), m.judge())
		obeyed(t, fmt.Sprintf("seed %d", tale.seed), outputs)
		accounted(t, e, m)
		same(t, tale, "replayed with what was logged of people's words", e.replayed().run(), outputs)
		guarded.Rejected += m.future
		guarded.Held += e.judge.Totals().Held
		for _, o := range outputs {
			told[o.Type()] = true
			if o.Incident != nil {
				told[strings.TrimSpace(fmt.Sprint(o.Incident.Signal.Name, " ", o.Incident.Signal.Measured, " ", o.Incident.Signal.Direction))] = true
				told["parent"] = told["parent"] || o.Incident.Parent != ""
				told["children"] = told["children"] || o.Incident.ChildrenCount > 1
				told["sessions"] = told["sessions"] || o.Incident.Impact.Sessions > MaxFew
				told["suppressed"] = told["suppressed"] || o.Incident.Suppressed != nil
				for _, h := range o.Incident.HeldBack {
					told["held back by "+string(h.Rail)] = true
				}
			}
		}
	})
	const expected = "abandonment absence burn_rate children completion count deviation " +
		"deviation absolute both deviation absolute down deviation absolute up deviation relative both deviation relative down " +
		"deviation sigmas both deviation sigmas down deviation sigmas up distinct " +
		"held back by after_deploy held back by approval held back by attempts held back by budget_per_hour held back by cooldown held back by expiry held back by one_at_a_time " +
		"max mean parent quantile rate ratio sessions " +
		"sevwatch.incident.acknowledged.v1 sevwatch.incident.deescalated.v1 sevwatch.incident.escalated.v1 sevwatch.incident.expired.v1 sevwatch.incident.flapping.v1 sevwatch.incident.no_data.v1 " +
		"sevwatch.incident.opened.v1 sevwatch.incident.overdue.v1 sevwatch.incident.reopened.v1 sevwatch.incident.resolved.v1 " +
		"sevwatch.incident.silenced.v1 sevwatch.incident.updated.v1 sevwatch.recovery.approved.v1 sevwatch.recovery.cancelled.v1 sevwatch.recovery.expired.v1 sevwatch.recovery.failed.v1 " +
		"sevwatch.recovery.requested.v1 sevwatch.recovery.verified.v1 suppressed"
	if (guarded.Rejected == 0 || guarded.Held == 0) && *flagSeed == 0 && !testing.Short() {
		t.Errorf("the guard has rejected %d and held %d at the end, expected some of both", guarded.Rejected, guarded.Held)
	}
	if got := strings.Join(SortedKeys(told), " "); got != expected && *flagSeed == 0 && !testing.Short() {
		t.Errorf("the random tales have told only of %s", got)
	}
}

// accounted checks that every offset is accounted for, in every partition.
func accounted(t *testing.T, e *engine, m *model) {
	t.Helper()
	var held int64
	for _, h := range m.held {
		held += int64(len(h))
	}
	got := e.judge.Totals()
	want := Totals{
		Counted: int64(len(m.events)), Late: m.late, Rejected: m.bad, Held: held, Control: got.Control, Aborted: got.Aborted,
	}
	if got != want {
		t.Errorf("seed %d: the accounts are %+v, expected %+v", e.t.seed, got, want)
	}
	if e.judge.Late() != 0 || e.judge.Lost() != 0 {
		t.Errorf("seed %d: the judge says that %d events were late and %d offsets lost", e.t.seed, e.judge.Late(), e.judge.Lost())
	}
	for _, w := range e.judge.windows {
		var stream, observed int64
		for pane := e.judge.Edge() - w.length; pane < e.judge.Edge(); pane += e.t.cfg.Pane {
			stream += int64(len(m.byPane[pane]))
			if len(m.events) > 0 && pane >= slices.Min(SortedKeys(m.byPane)) && m.observed(pane) {
				observed++
			}
		}
		if len(m.events) > 0 && (w.stream != stream || w.observed != observed) {
			t.Errorf("seed %d: the last %d ms have %d events in %d observed panes, expected %d in %d",
				e.t.seed, w.length, w.stream, w.observed, stream, observed)
		}
	}
	for _, task := range e.tasks {
		for _, p := range task.agg.Partitions() {
			if p.State().Totals.Sum() != p.Offset() {
				t.Errorf("seed %d: %v accounts for %d of %d offsets", e.t.seed, p.Source, p.State().Totals.Sum(), p.Offset())
			}
		}
	}
}

// TestSameBytes runs the same log with other numbers of tasks, other flush times, other interleavings and other owners.
func TestSameBytes(t *testing.T) {
	talesOf(t, 60, func(t *testing.T, tale *tale) {
		want := newEngine(tale, 1, 1).run()
		same(t, tale, "again", newEngine(tale, 1, 1).run(), want)
		everyWay(t, tale, want, tale.seed%6 == 1)
	})
}

// everyWay tells the tale in every other way that must not matter; restored adds the one that takes a hundred times as long.
func everyWay(t *testing.T, tale *tale, want []Output, restored bool) {
	t.Helper()
	f := func(name string, tasks int, seed uint64, change func(e *engine)) {
		t.Helper()
		e := newEngine(tale, tasks, seed)
		change(e)
		same(t, tale, name, e.run(), want)
	}
	f("other flushes and interleaving", 1, 2, func(*engine) {})
	f("4 tasks", 4, 3, func(*engine) {})
	f("a flush after each record", 2, 4, func(e *engine) { e.flushEvery = 1 })
	f("one flush at the end", 3, 5, func(e *engine) { e.flushEvery = 1 << 30 })
	f("a new owner at each flush", 2, 6, func(e *engine) { e.handOver, e.flushEvery = true, 4 })
	if restored {
		f("judge restored after each step", 2, 7, func(e *engine) { e.restore, e.flushEvery = true, 60 })
	}
}

// TestShuffled lets the records of punctual tales come in another order within the lateness.
func TestShuffled(t *testing.T) {
	seeds(t, 60, func(t *testing.T, seed uint64) {
		tale := newTale(t, seed, true, seed%2 == 0)
		want := newEngine(tale, 1, 1).run()
		shuffle(tale, rand.New(rand.NewPCG(seed, 9)))
		e := newEngine(tale, 2, seed)
		same(t, tale, "shuffled", e.run(), want)
		if late := e.judge.Totals().Late; late > 0 {
			t.Errorf("seed %d: %d late, expected a punctual tale", seed, late)
		}
	})
}

// shuffle gives each event another delay within the lateness; events stay between the marks that they were between.
func shuffle(t *tale, g *rand.Rand) {
	of := make([][]*taleStep, len(t.sources))
	settle := func(source int) {
		steps := of[source]
		of[source] = nil
		events := make([]taleEvent, len(steps))
		for i, s := range steps {
			events[i] = s.event
		}
		arrival := map[int]int64{}
		order := make([]int, len(events))
		for i := range events {
			order[i], arrival[i] = i, events[i].time+g.Int64N(t.lateness(source)+1)
		}
		slices.SortFunc(order, func(x, y int) int { return cmp.Or(cmp.Compare(arrival[x], arrival[y]), cmp.Compare(x, y)) })
		for i, n := range order {
			steps[i].event = events[n]
		}
	}
	for i := range t.steps {
		switch s := &t.steps[i]; s.what {
		case stepEvent:
			of[s.source] = append(of[s.source], s)
		case stepMark:
			settle(s.source)
		case stepGrow:
			for source := range of {
				settle(source)
			}
		}
	}
	for source := range of {
		settle(source)
	}
}

// TestRepartitioned lets the records of punctual tales come from other partitions. Without marks of silence that changes nothing.
func TestRepartitioned(t *testing.T) {
	seeds(t, 60, func(t *testing.T, seed uint64) {
		tale := newTale(t, seed, true, false)
		want := newEngine(tale, 1, 1).run()
		repartition(tale, rand.New(rand.NewPCG(seed, 11)))
		same(t, tale, "repartitioned", newEngine(tale, 3, seed).run(), want)
	})
}

// repartition deals the events out to other partitions, which are all there from the start, and keeps only the marks at the end.
func repartition(t *tale, g *rand.Rand) {
	end := t.steps[len(t.steps)-1]
	n := 1 + g.IntN(6)
	for i := range t.steps {
		if s := &t.steps[i]; s.what == stepEvent && !t.cfg.CountSessions[t.sources[s.source].Topic] {
			s.event.session = ""
		}
	}
	t.cfg.CountSessions = map[string]bool{"other": true}
	t.sources, t.cfg.Lateness = nil, t.cfg.MaxLateness()
	for i := range n {
		t.sources = append(t.sources, Source{"other", i})
	}
	t.there = n
	t.steps = slices.DeleteFunc(t.steps, func(s taleStep) bool { return s.what != stepEvent })
	for i := range t.steps {
		t.steps[i].source = g.IntN(n)
	}
	for i := range n {
		end.source = i
		t.steps = append(t.steps, end)
	}
}
