package detector

import (
	"bytes"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sevwatch/rules"
)

// stateV1At is how many events the judge had read that testdata/state.v1.json is a snapshot of, made by the last version that wrote 1.
const stateV1At = 1911

// TestUpgrade: a judge restored from a state of the version before, which counted no sessions, tells what a judge of this version does that was never
// restarted.
func TestUpgrade(t *testing.T) {
	old, err := os.ReadFile("testdata/state.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	file := goldenRules(t, func(yaml string) string { return yaml })
	want := lines(goldenRun(DefaultConfig(), file, nil))
	upgraded := false
	got := lines(goldenRun(DefaultConfig(), file, func(n int64, j *Judge) *Judge {
		if n != stateV1At {
			return j
		}
		next, err := Restore(DefaultConfig(), file, old)
		if err != nil {
			t.Fatal(err)
		}
		if next.Open() < 4 || next.Open() != j.Open() || next.Edge() != j.Edge() {
			t.Errorf("restored with %d open incidents at %d, expected %d (4 or more) at %d", next.Open(), next.Edge(), j.Open(), j.Edge())
		}
		upgraded = true
		return next
	}))
	if !upgraded {
		t.Fatalf("the golden stream has no %d events", stateV1At)
	}
	if got != want {
		t.Errorf("after the upgrade:\n%s", firstDifference([]byte(got), []byte(want)))
	}
}

// TestStateOfTheFuture: a state of a version that is not known is refused, not guessed at.
func TestStateOfTheFuture(t *testing.T) {
	file := goldenRules(t, func(yaml string) string { return yaml })
	err := NewJudge(DefaultConfig(), file).Load([]Record{{Key: keyEdge, Value: []byte(`{"v":3,"edge":0}`)}})
	if err == nil || !strings.Contains(err.Error(), "it is of version 3, expected 1 to 2") {
		t.Errorf("the error is %v", err)
	}
}

// withoutRule drops one rule of a tale's rules and puts a new one behind.
func withoutRule(t *testing.T, tale *tale, n int) *rules.File {
	t.Helper()
	return changedRules(t, tale, n, "{count: latency}")
}

// withoutActions has the tale's rules ask for nothing: what guard rails hold back depends on what other rules ask for.
func withoutActions(t *testing.T, tale *tale) {
	t.Helper()
	tale.yaml = regexp.MustCompile(` +recovery: .*\n`).ReplaceAllString(tale.yaml, "")
	file, err := rules.Parse("quiet.yaml", []byte(tale.yaml), rules.Options{Pane: rules.Duration(tale.cfg.Pane)})
	if err != nil {
		t.Fatal(err)
	}
	tale.file = file
}

func changedRules(t *testing.T, tale *tale, n int, signal string) *rules.File {
	t.Helper()
	parts := strings.Split(tale.yaml, "- alert:")
	if len(parts) > 2 {
		parts = slices.Delete(parts, 1+n%(len(parts)-1), 2+n%(len(parts)-1))
	}
	yaml := strings.TrimRight(strings.Join(parts, "- alert:"), " \n") + `
      - alert: New
        signal: ` + signal + `
        by: [service]
        window: 10m
        severities: [{severity: sev4, above: 0}]
        recover: {keep_firing_for: 0s}
`
	file, err := rules.Parse("changed.yaml", []byte(yaml), rules.Options{Pane: rules.Duration(tale.cfg.Pane)})
	if err != nil {
		t.Fatalf("seed %d: the changed rules do not parse: %v\n%s", tale.seed, err, yaml)
	}
	return file
}

// TestReload changes the rules at some edge: in memory, by a restart, and in memory with the judge killed at random before and behind.
// All tell the same. What rules tell that did not change is what they tell without the change.
func TestReload(t *testing.T) {
	superseded := 0
	talesOf(t, 120, func(t *testing.T, tale *tale) {
		g := rand.New(rand.NewPCG(tale.seed, 17))
		if tale.file.Correlate == nil {
			withoutActions(t, tale)
		}
		after := withoutRule(t, tale, g.IntN(100))
		log := record(tale, 2, tale.seed)
		cut := len(log)/3 + g.IntN(len(log)/3+1)
		tell := func(killEvery int, restart bool) []Output {
			told := *tale
			p := &topic{t: &told, log: log, judge: NewJudge(tale.cfg, tale.file), state: map[string][]byte{}}
			for p.next < len(p.log) {
				if p.next == cut && told.file == tale.file {
					p.reload(after, restart)
				}
				p.read(true, true)
				if g.IntN(max(1, killEvery)) == 1 {
					p.kill()
				}
			}
			return p.told
		}
		want := tell(0, false)
		same(t, tale, "by a restart", tell(0, true), want)
		same(t, tale, "killed at random", tell(20, false), want)
		superseded += keptAndSuperseded(t, tale, after, want)
	})
	if superseded < 20 {
		t.Errorf("only %d incidents were superseded: the tales are no test", superseded)
	}
}

// TestRulesChangeAtTheirEdge lets the log change the rules, to some that need distributions which the old ones did not: a judge that hears of it in
// time tells what a restart under the new rules at that edge tells, also when it is killed at random. Heard too late, it logs the edge, and a
// replay with that tells the same.
func TestRulesChangeAtTheirEdge(t *testing.T) {
	late, stale := 0, 0
	talesOf(t, 60, func(t *testing.T, tale *tale) {
		g := rand.New(rand.NewPCG(tale.seed, 19))
		after := changedRules(t, tale, g.IntN(100), "{quantile: {of: latency, q: 0.5}}")
		log := record(tale, 2, tale.seed)
		run := func(log []any, killEvery int, each func(p *topic)) *topic {
			told := *tale
			p := &topic{t: &told, log: log, judge: NewJudge(tale.cfg, tale.file), state: map[string][]byte{}}
			for kills := 60; p.next < len(p.log); {
				judge := p.judge
				p.read(true, g.IntN(3) > 0)
				if p.judge != judge {
					stale++
				}
				each(p)
				if g.IntN(killEvery) == 0 && kills > 0 {
					kills--
					p.kill()
				}
			}
			p.advance(true) // a change at the last edge
			p.complete(t)
			return p
		}
		const never = 1 << 40
		nothing := func(*topic) {}
		var edges []int64
		run(log, never, func(p *topic) {
			if e := p.judge.Edge(); e > 0 && (len(edges) == 0 || e > edges[len(edges)-1]) {
				edges = append(edges, e)
			}
		})
		edge := edges[len(edges)/3+g.IntN(len(edges)/3+1)]
		want := run(log, never, func(p *topic) {
			if p.judge.Edge() == edge && p.judge.Rules() == tale.file {
				p.reload(after, true)
			}
		}).told
		slices.SortFunc(want, Output.Compare) // what the restart ends is told with the next edge's messages

		heard := func(at int, act Act, edge int64) []any {
			return slices.Insert(slices.Clone(log), at, any(&spoken{act: &act, edge: edge}))
		}
		change := Act{Time: Millis(edge - g.Int64N(tale.cfg.Pane)), Act: ActRules, Rules: after}
		same(t, tale, "heard first", run(heard(0, change, 0), never, nothing).told, want)
		if edges[len(edges)/4] < edge {
			ahead := heard(g.IntN(len(log)/4), change, 0)
			same(t, tale, "heard ahead", run(ahead, never, nothing).told, want)
			same(t, tale, "heard ahead, killed at random", run(ahead, 20, nothing).told, want)
		}
		change.Time = 0
		p := run(heard(len(log)/3+g.IntN(len(log)/3+1), change, 0), never, nothing)
		for _, a := range p.logged {
			late++
			same(t, tale, "heard late, replayed", run(heard(0, change, a.Edge), 30, nothing).told, p.told)
		}
		if p.judge.Rules().Hash != after.Hash && len(p.judge.words.Due) == 0 { // a tale may end before they are due
			t.Errorf("seed %d: the rules have not changed", tale.seed)
		}
	})
	if late < 30 || stale < 60 {
		t.Errorf("%d changes were heard late, and %d judges restored for more of their panes: the tales are no test", late, stale)
	}
}

// TestFirstRules: rules that are heard before the first pane are those it is judged by, and no edge has to be logged. The same rules again, and
// rules that other ones replace at the same edge, change nothing.
func TestFirstRules(t *testing.T) {
	talesOf(t, 20, func(t *testing.T, tale *tale) {
		other := changedRules(t, tale, 0, "{count: latency}")
		log := record(tale, 2, tale.seed)
		start := int64(1 << 62)
		for _, r := range log {
			if d, ok := r.(*Delta); ok {
				start = min(start, d.Pane)
			}
		}
		first := []any{ // what is due when the first pane begins is due behind what has no time
			&spoken{offset: 3, act: &Act{Act: ActRules, Rules: other}},
			&spoken{offset: 4, act: &Act{Act: ActRules, Rules: tale.file, Time: Millis(start)}},
			&spoken{offset: 5, act: &Act{Act: ActRules, Rules: other}},
		}
		again := &spoken{offset: 6, act: &Act{Act: ActRules, Rules: tale.file}}
		p := &topic{t: tale, log: append(first, slices.Insert(slices.Clone(log), len(log)/2, any(again))...), state: map[string][]byte{}}
		p.judge = NewJudge(tale.cfg, other)
		for p.next < len(p.log) {
			p.read(true, true)
		}
		same(t, tale, "given other rules", p.told, newEngine(tale, 1, 1).run())
		for _, a := range p.logged {
			if a.Offset != again.offset {
				t.Errorf("seed %d: the act at %d is logged as applied at %d", tale.seed, a.Offset, a.Edge)
			}
		}
	})
}

// TestRulesChangeWhileNothingHappens: time that is passed over in one step, with nothing to judge, has its change of the rules at the same edge as
// time that passes pane by pane.
func TestRulesChangeWhileNothingHappens(t *testing.T) {
	const hour = 3600_000
	longer := *justErrors(t)
	longer.Text = []byte(strings.Replace(string(longer.Text), "window: 30s", "window: 10m", 1))
	file, err := rules.Parse("longer", longer.Text, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pass := func(step int64) []byte {
		j := NewJudge(DefaultConfig(), justErrors(t))
		j.Hear(0, &Act{Time: 20 * 60_000, Act: ActRules, Rules: file}, 0)
		for at := int64(10_000); at <= hour; at += step {
			p := oneOf(0, 0, at)
			p.Silent = []Span{{0, at}}
			if err := j.Progress(p); err != nil {
				t.Fatal(err)
			}
			j.Advance()
			if step == 10_000 && (j.Rules() == file) != (at >= 20*60_000) {
				t.Fatalf("at %d the judge is under the rules %s", at, j.Rules().Name)
			}
		}
		if j.Edge() != hour {
			t.Fatalf("the edge is %d", j.Edge())
		}
		return j.Snapshot()
	}
	if got, want := pass(hour-10_000), pass(10_000); !bytes.Equal(got, want) {
		t.Errorf("in one step:\n%s", firstDifference(got, want))
	}
}

// TestUnreadableRules: rules of the log that can no longer be read, because the pipeline has lost a label that they name, are not in the way of a
// judge that comes back: it goes on under those that it is given, and says so. Nor are those that wait for their edge.
func TestUnreadableRules(t *testing.T) {
	old := DefaultConfig()
	old.Labels = append(slices.Clone(old.Labels), "tenant")
	text := strings.Replace(string(justErrors(t).Text), "window: 30s", "by: [tenant], window: 30s", 1)
	file, err := rules.Parse("tenant", []byte(text), old.RuleOptions())
	if err != nil {
		t.Fatal(err)
	}
	later, err := rules.Parse("later", []byte(text+"# later"), old.RuleOptions())
	if err != nil {
		t.Fatal(err)
	}
	j := NewJudge(old, justErrors(t))
	j.Hear(0, &Act{Act: ActRules, Rules: file}, 0)
	j.Hear(1, &Act{Act: ActRules, Rules: later, Time: 90_000}, 0)
	if err := j.Progress(oneOf(0, 0, 50_000)); err != nil {
		t.Fatal(err)
	}
	if j.Advance(); j.Rules() != file {
		t.Fatalf("the rules are %s", j.Rules().Name)
	}
	snapshot := j.Snapshot()
	same, err := Restore(old, justErrors(t), snapshot)
	if err != nil || same.Rules().Hash != file.Hash || same.Unread() != nil {
		t.Errorf("restored under %s: %v, %v", same.Rules().Name, same.Unread(), err)
	}
	next, err := Restore(DefaultConfig(), justErrors(t), snapshot)
	if err != nil || next.Rules().Hash != justErrors(t).Hash || next.Unread() == nil || !strings.Contains(next.Unread().Error(), `unknown label "tenant"`) {
		t.Fatalf("restored under %s: %v, %v", next.Rules().Name, next.Unread(), err)
	}
	for _, judge := range []*Judge{same, next} {
		if err := judge.Progress(oneOf(0, 0, 100_000)); err != nil {
			t.Fatal(err)
		}
		judge.Advance()
	}
	if same.Rules().Hash != later.Hash || next.Rules().Hash != justErrors(t).Hash {
		t.Errorf("later the rules are %s, and without the label %s", same.Rules().Hash, next.Rules().Hash)
	}
}

// reload goes on under other rules, at the edge that is committed.
func (p *topic) reload(file *rules.File, restart bool) {
	p.pending = append(p.pending, p.judge.Advance()...)
	p.commit()
	p.t.file = file
	if restart {
		p.kill()
		return
	}
	p.judge.reload(file)
}

// keptAndSuperseded looks at what was told with a change of the rules, and returns how many incidents it ended.
func keptAndSuperseded(t *testing.T, tale *tale, after *rules.File, told []Output) (superseded int) {
	t.Helper()
	kept := map[string]bool{}
	for _, r := range tale.file.Rules() {
		kept[r.Alert] = slices.ContainsFunc(after.Rules(), func(x *rules.Rule) bool { return x.Identity() == r.Identity() })
	}
	strip := func(outputs []Output) []Output {
		var out []Output
		for _, o := range outputs {
			if i := o.Incident; i != nil && kept[i.Rule.Name] {
				x := *i
				x.Rule.FileHash = ""
				out = append(out, Output{Incident: &x})
			}
		}
		return out
	}
	if tale.file.Correlate == nil { // else what one rule tells depends on the others
		same(t, tale, "of rules that did not change", strip(told), strip(newEngine(tale, 1, 1).run()))
	}
	open := map[string]bool{}
	for _, o := range told {
		i := o.Incident
		if i == nil || kept[i.Rule.Name] || i.Rule.Name == "New" {
			continue
		}
		open[i.ID] = i.Status.Phase == PhaseOpen || i.Status.Phase == PhaseNoData
		if i.Transition == Superseded {
			superseded++
		}
	}
	for id, is := range open {
		if is {
			t.Errorf("seed %d: incident %s of a rule that is gone was never ended", tale.seed, id)
		}
	}
	return superseded
}
