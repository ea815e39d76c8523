package detector

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"sevwatch/rules"
)

// stateV1At is how many events the judge had read that testdata/state.v1.json is a snapshot of, made by the last version that wrote 1.
const stateV1At = 1911

// TestUpgrade: a judge restored from a state of the version before tells what a judge of this version does that was never restarted.
func TestUpgrade(t *testing.T) {
	old, err := os.ReadFile("testdata/state.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	file := goldenRules(t, func(yaml string) string { return yaml })
	want := lines(goldenRun(file, nil))
	upgraded := false
	got := lines(goldenRun(file, func(n int64, j *Judge) *Judge {
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
	parts := strings.Split(tale.yaml, "- alert:")
	if len(parts) > 2 {
		parts = slices.Delete(parts, 1+n%(len(parts)-1), 2+n%(len(parts)-1))
	}
	yaml := strings.TrimRight(strings.Join(parts, "- alert:"), " \n") + `
      - alert: New
        signal: {count: latency}
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

// reload goes on under other rules, at the edge that is committed.
func (p *topic) reload(file *rules.File, restart bool) {
	p.pending = append(p.pending, p.judge.Advance()...)
	p.commit()
	p.t.file = file
	if restart {
		p.kill()
		return
	}
	j, err := p.judge.Reload(file)
	if err != nil {
		panic(err)
	}
	p.judge = j
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
				x.Rule.FileHash, x.Messages = "", rules.Texts{} // which actions were asked for depends on what other rules ask for
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
