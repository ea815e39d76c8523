package pipeline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

const (
	ruleErrors = `
      - alert: Errors
        signal: {ratio: {errors: error, total: latency}}
        by: [service]
        window: 1m
        severities: [{severity: sev1, above: 0.5}, {severity: sev3, above: 0.1, for: 3m}]
        recover: {keep_firing_for: 1m}`
	ruleMany = `
      - alert: Many
        signal: {count: error}
        window: 1m
        severities: [{severity: sev2, above: 10}]`
	ruleSlow = `
      - alert: Slow
        signal: {quantile: {of: latency, q: 0.5}}
        window: 2m
        severities: [{severity: sev2, above: 1}]`
)

func rulesOf(all ...string) string {
	return "groups:\n  - name: g\n    rules:" + strings.Join(all, "") + "\n"
}

// ruleFile is a rule file as Kubernetes mounts it from a ConfigMap: a link to a link to a directory that is exchanged as a whole.
type ruleFile struct {
	t    *testing.T
	path string
	n    int
}

func newRuleFile(t *testing.T, p *testPipeline, text string) *ruleFile {
	t.Helper()
	f := &ruleFile{t: t, path: filepath.Join(t.TempDir(), "rules.yaml")}
	check(t, os.Symlink(filepath.Join("..data", "rules.yaml"), f.path))
	f.become(text)
	p.cfg.Rules = f.path
	p.rules = parsed(t, p, text)
	return f
}

func parsed(t *testing.T, p *testPipeline, text string) *rules.File {
	t.Helper()
	file, err := rules.Parse("rules.yaml", []byte(text), p.cfg.RuleOptions())
	check(t, err)
	return file
}

func (f *ruleFile) become(text string) {
	f.t.Helper()
	f.n++
	dir := filepath.Dir(f.path)
	version := fmt.Sprint("..version", f.n)
	check(f.t, os.Mkdir(filepath.Join(dir, version), 0o700))
	check(f.t, os.WriteFile(filepath.Join(dir, version, "rules.yaml"), []byte(text), 0o600))
	check(f.t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
	check(f.t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
}

// control is what is on the control topic, but for records that cannot be read.
func (p *testPipeline) control() (out []ControlRecord) {
	p.t.Helper()
	for _, r := range p.read(p.cfg.Topics.Control) {
		if c, err := wire.DecodeControl(r.Value, p.cfg.RuleOptions()); err == nil {
			out = append(out, ControlRecord{r.Offset, c})
		}
	}
	return out
}

// logged are the hashes of the rules on the control topic, in order.
func (p *testPipeline) logged() (hashes []string) {
	p.t.Helper()
	for _, c := range p.control() {
		if c.Control.Rules != nil {
			hashes = append(hashes, c.Control.Hash)
		}
	}
	return hashes
}

// replayedWith are the messages that a replay of the lines gives, up to edge, by the rules of the control topic.
func (p *testPipeline) replayedWith(given *rules.File, edge int64, lines [][]byte) []string {
	p.t.Helper()
	var rows []outputRow
	r := Replay{
		Config: p.cfg.Engine(), Rules: given, Files: []string{writeLines(p.t, lines)}, Control: p.control(),
		Output: func(o detector.Output) error {
			if int64(o.At()) <= edge {
				rows = append(rows, outputRow{int64(o.At()), o.ID(), o.Type(), o.EventID(), string(wire.Value(o))})
			}
			return nil
		},
	}
	_, err := r.Run(p.ctx)
	check(p.t, err)
	return rowValues(rows)
}

// patient gives a test that waits for something between two stretches of events, while marks move time on, half a minute before what comes
// next is late.
func patient(c *Config) {
	c.Lateness = 30_000
	for i := range c.Sources {
		c.Sources[i].Lateness = c.Lateness
	}
}

// noon is so many minutes and seconds after noon, on the day of the tests.
func noon(minute, second int) int64 {
	return time.Date(2026, 11, 1, 12, minute, second, 0, time.UTC).UnixMilli()
}

// incidents are the revisions of a rule's incidents among messages.
func incidents(t *testing.T, messages []string, rule string) (out []detector.Incident) {
	t.Helper()
	for _, m := range messages {
		var i detector.Incident
		check(t, json.Unmarshal([]byte(m), &i))
		if i.Rule.Name == rule {
			out = append(out, i)
		}
	}
	return out
}

// watched runs a worker whose log is kept; heard counts how often a judge has heard of rules.
func (p *testPipeline) watched() (w *Worker, heard func(hash string) int, stop func()) {
	core, log := observer.New(zapcore.InfoLevel)
	w, stop = p.startWith(func(w *Worker) {
		w.log = zap.New(zapcore.NewTee(w.log.Core(), core))
	})
	return w, func(hash string) int {
		return log.FilterMessage("rules heard").FilterField(zap.String("rules", hash)).Len()
	}, stop
}

// The rules change while a worker runs: a rule that did not change keeps its timers and its incident, one that is gone ends its incident, one that
// is new sees the panes that are there. A bad file changes nothing, and is told. The replay, with the control topic, is the same.
func TestTrap18ReloadKeepsStateAndIsWhole(t *testing.T) {
	overBoth(t, reloadKeepsState)
}

func reloadKeepsState(t *testing.T, addr string) {
	p := newPipeline(t, addr, patient)
	file := newRuleFile(t, p, rulesOf(ruleErrors, ruleMany))
	before := p.rules
	after := parsed(t, p, rulesOf(ruleErrors, ruleSlow))
	w, heard, stop := p.watched()
	defer stop()
	lines := minutes(0, 2, 20)
	p.load(lines)
	p.judged(noon(1, 30), w)

	file.become(string(after.Text))
	p.until("the change to be heard of", func() bool { return heard(after.Hash) == 1 })
	more := minutes(2, 6, 20)
	p.load(more)
	p.judged(noon(5, 30), w)

	file.become(rulesOf(ruleErrors, strings.Replace(ruleMany, "above", "over", 1)))
	p.until("the bad file to be told", func() bool { return strings.Contains(w.beat().Rules.Problem, "rules.yaml:13:") })
	var metrics bytes.Buffer
	w.metrics.set.WritePrometheus(&metrics)
	if !strings.Contains(metrics.String(), "sevwatch_rules_differ 1\n") {
		t.Errorf("the metrics do not say that the rule file is not what runs:\n%s", metrics.String())
	}
	last := minutes(6, 9, 20)
	p.load(last)
	p.judged(noon(8, 30), w)
	file.become(string(after.Text))
	p.until("the good file to be back", func() bool { return w.beat().Rules.Problem == "" })
	stop()

	if got := p.logged(); !slices.Equal(got, []string{before.Hash, after.Hash}) {
		t.Errorf("the rules on the log are %v, expected %s and %s", got, before.Hash, after.Hash)
	}
	lines = slices.Concat(lines, more, last)
	p.accounts(detector.Totals{Counted: int64(len(lines))}) // the replay of the lines has nothing that is late
	got := p.outputs(noon(8, 30))
	same(t, "live against the replay", p.replayedWith(after, noon(8, 30), lines), got)
	topics, sum := p.replayedTopics(noon(8, 30), func(r *Replay) { r.Rules = after })
	same(t, "live against the replay of the topics", topics, got)
	if sum.Rules != after.Hash {
		t.Errorf("the replay ends under the rules %s", sum.Rules)
	}
	edge := detector.Millis(0)
	for _, i := range incidents(t, got, "Many") {
		if i.Transition == detector.Superseded {
			edge = i.At
		}
	}
	kept, slow := incidents(t, got, "Errors"), incidents(t, got, "Slow")
	var at detector.Millis
	for _, c := range p.control() {
		if c.Control.Rules != nil {
			at = c.Control.Time
		}
	}
	if edge == 0 || edge < at || edge-at >= 10_000 {
		t.Errorf("the incident of the rule that is gone ended at %s, expected the first edge from %s on", edge, at)
	}
	// Its timer runs for three minutes, across the change: begun anew it would be longer.
	if len(kept) != 2 || kept[0].At != detector.Millis(noon(3, 0)) || kept[0].StartedAt != detector.Millis(noon(0, 0)) || kept[0].At <= edge {
		t.Errorf("the rule that did not change told %+v, expected one of each service at 12:03:00, after %s", kept, edge)
	}
	if len(slow) != 1 || slow[0].At != edge+10_000 || slow[0].Signal.Samples != 70*20 {
		t.Errorf("the new rule told %+v, expected one at the first pane after %s, with the minute of requests that the old rules needed, and ten seconds", slow, edge)
	}
}

// Several workers watch one file. Its change is written by one of them, or by several, and every judge takes it up at the same edge.
func TestRulesChangeEverywhereAtOneEdge(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, func(c *Config) {
		patient(c)
		withTenants(c)
	})
	file := newRuleFile(t, p, rulesOf(ruleErrors, ruleMany))
	before, after := p.rules, parsed(t, p, rulesOf(ruleErrors, ruleSlow))
	one, heardByOne, stopOne := p.watched()
	defer stopOne()
	two, heardByTwo, stopTwo := p.watched()
	defer stopTwo()
	judged := func(edge int64) {
		p.until("all judges", func() bool { return p.edgeOf(0) >= edge && p.edgeOf(1) >= edge })
	}
	lines := ofTenants(minutes(0, 3, 20))
	p.load(lines)
	judged(noon(2, 30))
	file.become(string(after.Text))
	p.until("both judges to hear of it", func() bool { return heardByOne(after.Hash)+heardByTwo(after.Hash) >= 2 })
	more := ofTenants(minutes(3, 7, 20))
	p.load(more)
	judged(noon(6, 30))
	p.until("both workers to agree", func() bool {
		return one.beat().Rules.InForce == after.Hash && two.beat().Rules.InForce == after.Hash &&
			one.beat().Rules.Problem == "" && two.beat().Rules.Problem == ""
	})
	stopOne()
	stopTwo()

	if got := slices.Compact(p.logged()); !slices.Equal(got, []string{before.Hash, after.Hash}) {
		t.Errorf("the rules on the log are %v, expected %s and %s", got, before.Hash, after.Hash)
	}
	for _, c := range p.control() {
		if c.Control.Act.Act == wire.ActApplied {
			t.Errorf("a judge was late for the change: %s", wire.JSON(c.Control))
		}
	}
	lines = slices.Concat(lines, more)
	p.accounts(detector.Totals{Counted: int64(len(lines))})
	got := p.outputs(noon(6, 30))
	same(t, "live against the replay", p.replayedWith(before, noon(6, 30), lines), got)
	edges := map[detector.Millis]int{}
	for _, i := range incidents(t, got, "Many") {
		if i.Transition == detector.Superseded {
			edges[i.At]++
		}
	}
	if len(edges) != 1 || len(incidents(t, got, "Slow")) != 7 {
		t.Errorf("incidents ended at the edges %v, expected one edge; %d tenants have the new rule, expected 7", edges, len(incidents(t, got, "Slow")))
	}
}

// edgeOf is how far a judge task is, as its state says.
func (p *testPipeline) edgeOf(task int) int64 {
	p.t.Helper()
	records, err := readAll(p.ctx, p.cfg, p.client, p.cfg.Topics.State, task)
	check(p.t, err)
	edge := unknown
	for _, r := range records {
		if string(r.Key) == "edge" {
			var state struct{ Edge int64 }
			check(p.t, json.Unmarshal(r.Value, &state))
			edge = state.Edge
		}
	}
	return edge
}

// A worker that starts with another file puts that in force; the one that is there does not take it back, but says that its file is not what
// runs, until it is told to. A worker that comes back goes on under the rules of the log, at the edge where they have changed.
func TestRulesOfANewWorker(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, patient)
	old, young := rulesOf(ruleErrors, ruleMany), rulesOf(ruleErrors, ruleSlow)
	newRuleFile(t, p, old)
	first := p.rules
	hangup := make(chan os.Signal)
	one, stopOne := p.startWith(func(w *Worker) { w.hangup = hangup })
	defer stopOne()
	lines := minutes(0, 3, 20)
	p.load(lines)
	p.judged(noon(2, 30), one)

	q := *p // the second worker has another file
	cfg := *p.cfg
	q.cfg = &cfg
	newRuleFile(t, &q, young)
	two, stopTwo := q.start()
	p.until("the first worker to see it", func() bool { return one.beat().Rules.Problem != "" })
	p.until("the second to run", func() bool { return two.beat().Rules != nil })
	if h := one.beat().Rules; h.InForce != q.rules.Hash || !strings.Contains(h.Problem, "is not what runs") && !strings.Contains(h.Problem, first.Hash) {
		t.Errorf("the first worker says %+v", h)
	}
	if h := two.beat().Rules; h.InForce != q.rules.Hash || h.Problem != "" {
		t.Errorf("the second worker says %+v", h)
	}
	more := minutes(3, 6, 20)
	p.load(more)
	p.judged(noon(5, 30), one, two)
	stopTwo() // and its judge, if it had it, goes on where it was

	hangup <- os.Interrupt // any signal: the channel says it
	p.until("the first worker to put its file in force", func() bool { return one.beat().Rules.Problem == "" })
	stopOne()
	last := minutes(6, 9, 20)
	p.load(last)
	one, stopOne = p.start()
	defer stopOne()
	p.judged(noon(8, 30), one)
	stopOne()
	if got := p.logged(); !slices.Equal(got, []string{first.Hash, q.rules.Hash, first.Hash}) {
		t.Errorf("the rules on the log are %v, expected %s, %s and %s", got, first.Hash, q.rules.Hash, first.Hash)
	}
	lines = slices.Concat(lines, more, last)
	p.accounts(detector.Totals{Counted: int64(len(lines))})
	got := p.outputs(noon(8, 30))
	same(t, "live against the replay", p.replayedWith(q.rules, noon(8, 30), lines), got)
	if n := len(incidents(t, got, "Many")); n != 3 { // opened, superseded, and opened again
		t.Errorf("the rule that was away told %d revisions, expected 3", n)
	}
	if slow := incidents(t, got, "Slow"); len(slow) != 2 || slow[1].Transition != detector.Superseded {
		t.Errorf("the rule that was there for a while told %+v, expected it to open and to be superseded", slow)
	}
}

// A file is offered when it has changed and nobody writes it any more, or when it is asked for; one that was away for a moment has not changed.
func TestRuleFileIsReadWhole(t *testing.T) {
	cfg, err := ParseConfig("test.yaml", []byte("brokers: [none:1]"))
	check(t, err)
	p := &testPipeline{t: t, cfg: cfg}
	file := newRuleFile(t, p, rulesOf(ruleErrors))
	k := &ruleKeeper{w: &Worker{cfg: cfg}, file: p.rules, data: p.rules.Text}
	f := func(what string, asked, offered bool, text, problem string) {
		t.Helper()
		k.offer = false
		k.read(asked)
		said := ""
		if err := cmp.Or(k.gone, k.wrong); err != nil {
			said = err.Error()
		}
		if k.offer != offered || string(k.file.Text) != text || !strings.Contains(said, problem) || (problem == "") != (said == "") {
			t.Errorf("%s: offered %t, expected %t; it is wrong with it: %q, expected %q; the rules are\n%s", what, k.offer, offered, said, problem, k.file.Text)
		}
	}
	one, half, two := rulesOf(ruleErrors), rulesOf(ruleMany), rulesOf(ruleMany, ruleSlow)
	f("as it was", false, false, one, "")
	f("as it was, again", false, false, one, "")
	file.become(half)
	f("half written", false, false, one, "")
	file.become(two)
	f("written", false, false, one, "")
	f("written, and quiet", false, true, two, "")
	f("known", false, false, two, "")
	f("asked for", true, true, two, "")
	check(t, os.Rename(file.path, file.path+"~"))
	f("away", false, false, two, "no such file")
	f("asked for while it is away", true, false, two, "no such file")
	check(t, os.Rename(file.path+"~", file.path))
	f("back", false, false, two, "")
	file.become("groups: 5\n")
	f("wrong, and perhaps not written", false, false, two, "")
	f("wrong", false, false, two, "rules.yaml:1:9: ")
	f("still wrong", false, false, two, "rules.yaml:1:9: ")
	f("wrong and asked for", true, false, two, "rules.yaml:1:9: ")
	file.become(two)
	f("mended", false, false, two, "rules.yaml:1:9: ")
	f("mended, and quiet", false, true, two, "")
}

// A worker that cannot share the topics with those that were there does not start, says why, and leaves nothing behind.
func TestTopicsOfAnotherPipeline(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, patient)
	newRuleFile(t, p, rulesOf(ruleErrors))
	p.load(minutes(0, 2, 20))
	w, stop := p.start()
	p.judged(noon(1, 30), w)
	stop()
	before := len(p.read(p.cfg.Topics.Control)) + len(p.read(p.cfg.Topics.Panes))
	for want, change := range map[string]func(c *Config){
		`whose pipeline is "` + p.cfg.Pipeline + `": it is "other" here`: func(c *Config) { c.Pipeline = "other" },
		`whose pane is "10s": it is "7s" here`:                           func(c *Config) { c.Pane = 7 * second },
		`whose domain is "": it is "service" here`:                       func(c *Config) { c.Domain = "service" },
	} {
		q := *p
		cfg := *p.cfg
		q.cfg = &cfg
		change(q.cfg)
		q.rules = parsed(t, &q, rulesOf(strings.Replace(ruleMany, "1m", fmt.Sprintf("%dms\n        recover: {keep_firing_for: 0s}", 6*int64(cfg.Pane)), 1)))
		w := NewWorker(WorkerOptions{Config: q.cfg, Rules: q.rules, Client: q.client, Log: testLog(t)})
		err := w.Run(p.ctx)
		if topics := (*TopicError)(nil); !errors.As(err, &topics) || !strings.Contains(err.Error(), want) {
			t.Errorf("the worker ended with %v, expected %s", err, want)
		}
	}
	if after := len(p.read(p.cfg.Topics.Control)) + len(p.read(p.cfg.Topics.Panes)); after != before {
		t.Errorf("%d records were written", after-before)
	}
}
