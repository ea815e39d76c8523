package detector

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sevwatch/rules"
)

// tale is one log as the engine may meet it: rules, and steps of several source partitions in the order in which they happened.
// Only the order within a partition, and the order of all against a grow, mean anything.
type tale struct {
	seed    uint64
	cfg     Config
	yaml    string
	file    *rules.File
	sources []Source // those that grow adds are the last ones
	there   int      // how many of them are there from the start
	steps   []taleStep
	acts    []taleAct // in the order in which they were written
}

// taleAct is a person's word: about one incident, or a silence about a rule or a service.
type taleAct struct {
	time           int64 // 0: at once
	act            ActKind
	id, about      string // the same incident, as the engine and as the model name it
	alert, service string
	until          int64
	action         string
}

// of is the act as the engine takes it.
func (a *taleAct) of() *Act {
	out := &Act{Time: Millis(a.time), Act: a.act, IncidentID: a.id, Until: Millis(a.until), Action: a.action, By: "maria"}
	matchers := ""
	switch {
	case a.alert != "":
		matchers = fmt.Sprintf("{alert=%q}", a.alert)
	case a.service != "":
		matchers = fmt.Sprintf("{service=%q}", a.service)
	}
	if matchers != "" {
		if err := out.Matchers.UnmarshalText([]byte(matchers)); err != nil {
			panic(err)
		}
	}
	return out
}

// speak makes up what people say of the incidents that would be told if nobody said anything.
func (t *tale) speak(outputs []Output) {
	g := rand.New(rand.NewPCG(t.seed, 0xac7))
	pane := t.cfg.Pane
	for _, o := range outputs {
		i := o.Incident
		if i == nil || i.Transition == Resolved || g.IntN(5) > 0 || len(t.acts) > 40 {
			continue
		}
		a := taleAct{
			time: int64(i.At) + g.Int64N(10*pane) - 2*pane, act: pick(g, ActAcknowledge, ActSilence, ActResolve, ActApprove),
			id: i.ID, about: aboutOf(t.cfg, t.file, i),
		}
		for _, h := range i.HeldBack { // where somebody is asked for a word, they mostly say it
			if h.Rail == RailApproval && g.IntN(4) > 0 {
				a.act = ActApprove
			}
		}
		switch a.act {
		case ActSilence:
			a.until = a.time + g.Int64N(30*pane) - pane
			if n := g.IntN(4); n < 2 {
				a.id, a.about = "", ""
				a.alert, a.service = []string{i.Rule.Name, ""}[n], []string{"", "api"}[n]
			}
		case ActApprove:
			a.action = pick(g, "rollback", "scale")
		}
		if g.IntN(6) == 0 {
			a.time = 0
		}
		t.acts = append(t.acts, a)
	}
	g.Shuffle(len(t.acts), func(i, j int) { t.acts[i], t.acts[j] = t.acts[j], t.acts[i] })
}

type taleStep struct {
	what    stepKind
	source  int
	event   taleEvent
	to      int64 // of a mark: event time
	silent  bool  // of a mark: nothing came anywhere in the time that has passed
	arrival int64 // what the steps are ordered by
}

type stepKind int

const (
	stepEvent stepKind = iota
	stepMark
	stepReject  // a record that could not be decoded
	stepControl // a transaction's marker
	stepSkip    // offsets without a record
	stepGrow    // a partition more, from where the slowest of all is now
)

type taleEvent struct {
	time     int64
	kind     rules.Kind
	labels   map[string]string
	value    int64
	hasValue bool
	session  string
}

// of is the event as the engine takes it.
func (e *taleEvent) of(cfg *Config) *Event {
	out := &Event{Time: e.time, Kind: e.kind, Value: e.value, HasValue: e.hasValue, Session: []byte(e.session)}
	for _, name := range cfg.Labels {
		out.Labels = append(out.Labels, []byte(e.labels[name]))
	}
	return out
}

// set is the partition set when n of the sources are there.
func (t *tale) set(n int) PartitionSet {
	set := PartitionSet{Version: 1 + n - t.there, Topics: map[string]int{}}
	for _, s := range t.sources[:n] {
		set.Topics[s.Topic]++
	}
	return set
}

// teller makes up a tale.
type teller struct {
	*rand.Rand
	*tale
	punctual bool // nothing is late
	marks    bool // there are marks of silence
	now      int64
	steps    []taleStep
	busy     []bool // which partitions get events at present
	services []string
	versions []string
	badShare float64
	slow     float64
	people   *rand.Rand // whose sessions the events come from
	crowd    int        // how many sessions there are
}

// newTale makes up the tale of that seed. A punctual one has nothing late in it; one without silences leaves every gap unexplained.
func newTale(tb testing.TB, seed uint64, punctual, silences bool) *tale {
	tb.Helper()
	g := &teller{Rand: rand.New(rand.NewPCG(seed, 0x5e77a7c4)), punctual: punctual, marks: silences}
	pane := pick[int64](g, 1000, 5000, 10_000, 10_000)
	g.tale = &tale{
		seed: seed,
		cfg: Config{
			Labels: rules.DefaultLabels(), Domain: pick(g, "", "", "", "region"), Pane: pane,
			Lateness: pick(g, 0, pane/2, pane, pane, pane*3/2, 3*pane),
			MaxAhead: pick(g, 0, 4*pane, 8*pane, 30*pane), Agree: 1 + g.IntN(6),
		},
	}
	g.Shuffle(len(g.cfg.Labels), func(i, j int) {
		g.cfg.Labels[i], g.cfg.Labels[j] = g.cfg.Labels[j], g.cfg.Labels[i]
	})
	g.partitions()
	if seed%3 == 0 { // a source with a lateness of its own
		own := rand.New(rand.NewPCG(seed, 0x1a7e))
		g.cfg.LatenessOf = map[string]int64{"topic1": pick(own, 0, pane/2, 2*pane, 5*pane)}
	}
	g.people = rand.New(rand.NewPCG(seed, 0x5e55))
	g.crowd = pick(g.people, 3, 40, 1_000_000)
	if seed%3 > 0 { // sessions are counted, in one topic or in both
		g.cfg.CountSessions = map[string]bool{"topic0": true, "topic1": seed%7 > 0}
	}
	g.yaml = randomRules(g.Rand, pane)
	file, err := rules.Parse(fmt.Sprintf("seed%d.yaml", seed), []byte(g.yaml), rules.Options{Pane: rules.Duration(pane)})
	if err != nil {
		tb.Fatalf("seed %d made up rules that do not parse:\n%s\n%v", seed, g.yaml, err)
	}
	g.file = file
	g.tell()
	return g.tale
}

func pick[T any](g interface{ IntN(int) int }, from ...T) T { return from[g.IntN(len(from))] }

func (g *teller) partitions() {
	topics := 1 + g.IntN(2)
	for topic := range topics {
		for n := range 1 + g.IntN(3) {
			g.sources = append(g.sources, Source{fmt.Sprintf("topic%d", topic), n})
		}
	}
	g.there = len(g.sources)
	g.busy = make([]bool, g.there)
}

// tell goes from phase to phase.
func (g *teller) tell() {
	g.now = time.Date(2026, 11, 6, 15, 0, 0, 0, time.UTC).UnixMilli() + g.Int64N(7200)*g.cfg.Pane/10
	g.services = []string{"api", "web"}[:1+g.IntN(2)]
	g.versions = []string{"1"}
	for panes := 20 + g.IntN(100); panes > 0; {
		length := 1 + g.IntN(20)
		panes -= length
		g.phase(length)
		if g.IntN(8) == 0 {
			g.grow()
		}
	}
	end := g.now + g.cfg.Pane*g.Int64N(40)
	for i := range g.sources {
		g.steps = append(g.steps, taleStep{what: stepMark, source: i, to: end, silent: g.marks && g.IntN(2) == 0, arrival: g.now + 1e9})
	}
	slices.SortStableFunc(g.steps, func(x, y taleStep) int { return cmp.Compare(x.arrival, y.arrival) })
	g.tale.steps = g.steps
}

// phase is a stretch of one mood.
func (g *teller) phase(panes int) {
	for i := range g.busy {
		g.busy[i] = g.IntN(5) > 0
	}
	g.busy[g.IntN(len(g.busy))] = true
	g.badShare, g.slow = pick(g, 0, 0, 0.02, 0.2, 0.7, 1), pick(g, 1.0, 1, 1, 3, 40)
	if g.IntN(5) == 0 {
		g.services = pick(g, []string{"api"}, []string{"web"}, []string{"api", "web"}, []string{"new"})
	}
	if g.IntN(4) == 0 {
		g.deploy()
	}
	if g.IntN(25) == 0 {
		g.now += g.cfg.Pane * g.Int64N(500)
	}
	mood := g.IntN(10)
	rate := pick(g, 3, 8, 8, 20)
	for n := range panes {
		switch {
		case mood == 0: // a gap: nothing comes and nobody says why
		case mood == 1 && g.marks: // silence, on record
			if n%(1+panes%3) == 0 {
				g.silence()
			}
		case mood == 2: // low traffic
			g.events(g.IntN(2))
		case mood == 3 && n == panes-1: // a burst
			g.events(pick(g.people, 60, 60, 60, 400))
		default:
			g.events(g.IntN(2*rate + 1))
		}
		g.now += g.cfg.Pane
		if g.IntN(4) == 0 {
			g.idle()
		}
	}
}

func (g *teller) deploy() {
	from := g.versions[len(g.versions)-1]
	g.versions = []string{from, fmt.Sprint(len(g.steps))}[g.IntN(2):]
	to := g.versions[len(g.versions)-1]
	for range 1 + g.IntN(3) { // several at once: which is the last must not depend on arrival
		g.put(taleEvent{time: g.now, kind: rules.KindChange, labels: map[string]string{
			"change": pick(g, "deploy", "deploy", "config"), "version": to, "previous_version": from, "service": pick(g, "api", "api", "web", ""),
		}})
	}
}

// grow adds a partition.
func (g *teller) grow() {
	last := g.sources[len(g.sources)-1]
	g.sources = append(g.sources, Source{last.Topic, last.Partition + 1})
	g.busy = append(g.busy, true)
	g.steps = append(g.steps, taleStep{what: stepGrow, source: len(g.sources) - 1, arrival: g.now})
}

// lateness is that of a source.
func (t *tale) lateness(source int) int64 { return t.cfg.latenessOf(t.sources[source].Topic) }

// idle moves some partition on; in a tale that is not punctual perhaps too far.
func (g *teller) idle() {
	to := g.now
	if !g.punctual {
		to += g.Int64N(4*g.cfg.Pane) - 2*g.cfg.Pane
	}
	source := g.IntN(len(g.busy))
	g.steps = append(g.steps, taleStep{
		what: stepMark, source: source, to: to - g.lateness(source), silent: !g.punctual && g.marks && g.IntN(6) == 0, arrival: g.now,
	})
}

func (g *teller) silence() {
	for i := range g.busy {
		g.steps = append(g.steps, taleStep{what: stepMark, source: i, to: g.now - g.lateness(i), silent: true, arrival: g.now})
	}
}

func (g *teller) events(n int) {
	for range n {
		g.put(g.event(g.now + g.Int64N(g.cfg.Pane)))
	}
}

// put sends an event to a partition, where it comes a little late, or too late.
func (g *teller) put(e taleEvent) {
	if n := g.people.IntN(g.crowd); n%5 > 0 {
		e.session = fmt.Sprint(n)
	}
	source := g.IntN(len(g.busy))
	for !g.busy[source] {
		source = g.IntN(len(g.busy))
	}
	delay := int64(0)
	switch n := g.IntN(100); {
	case n < 40:
		delay = g.Int64N(g.lateness(source) + 1)
	case n < 43 && !g.punctual:
		delay = g.Int64N(6*g.lateness(source) + 5*g.cfg.Pane)
	}
	arrival := e.time + delay
	if !g.punctual && g.IntN(60) == 0 { // a clock that is wrong, or several that are wrong alike
		wrong := g.cfg.Pane * g.Int64N(100)
		for range 1 + g.IntN(3) {
			ahead := e
			ahead.time += wrong + g.Int64N(g.cfg.Pane)
			g.steps = append(g.steps, taleStep{what: stepEvent, source: source, event: ahead, arrival: arrival})
		}
	}
	g.steps = append(g.steps, taleStep{what: stepEvent, source: source, event: e, arrival: arrival})
	if n := g.IntN(60); n < 3 {
		g.steps = append(g.steps, taleStep{what: stepReject + stepKind(n), source: source, arrival: arrival})
	}
}

// event is something that happened at that time.
func (g *teller) event(at int64) taleEvent {
	e := taleEvent{time: at, labels: map[string]string{
		"service": pick(g, g.services...), "endpoint": pick(g, "/a", "/a", "/b", ""), "region": pick(g, "eu", "eu", "us\x1fof\x1e1"),
		"version": pick(g, g.versions...), "step": pick(g, "s1", "s2"),
	}}
	bad := g.Float64() < g.badShare
	switch g.IntN(12) {
	case 0, 1, 2, 3, 4:
		e.kind, e.labels["status_class"] = rules.KindLatency, "2xx"
		if bad {
			e.labels["status_class"] = "5xx"
		}
		e.measured(g.duration())
	case 5, 6:
		e.kind, e.labels["category"] = rules.KindError, pick(g, "minor", "minor", "security")
		if !bad && g.IntN(4) > 0 {
			e.kind = rules.KindLatency
			e.measured(g.duration())
		}
	case 7, 8, 9:
		e.kind, e.labels["action"] = rules.KindStep, "enter"
		if g.IntN(3) > 0 {
			e.labels["action"] = "complete"
			if bad {
				e.labels["action"] = "abandon"
			}
			if g.IntN(4) > 0 {
				e.measured(g.duration())
			}
		}
	case 10:
		e.kind, e.labels["name"] = rules.KindVital, pick(g, "LCP", "CLS")
		e.measured(g.duration() - 50e6)
	default:
		e.kind = rules.KindSatisfaction
		e.measured((1 + g.Int64N(5)) * 1e6)
	}
	return e
}

func (e *taleEvent) measured(v int64) { e.value, e.hasValue = v, true }

// duration is in millionths: sometimes one of a few round values, so that the exact bucket bounds are met.
func (g *teller) duration() int64 {
	if g.IntN(3) == 0 {
		return pick[int64](g, 0, 1, 1e6, 2e6, 64e6, 100e6, 128e6, 1024e6)
	}
	return int64(g.slow * math.Exp(3+2*g.Float64()) * 1e6)
}

// randomRules makes up a rule file: one to six rules of any signal.
func randomRules(g *rand.Rand, pane int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, `calendar: {timezone: UTC, hours: "09:00-17:00", days: [mon, tue, wed, thu, fri]}
actions:
  rollback: {after_change: deploy, apply: undo, expires: %s, target: {thing: "%d"}}
  scale: {apply: more, parameters: {replicas: 10}, expires: %s, target: {thing: "%d"}, attempts: %d, cooldown: %s, budget_per_hour: %d}
renotify: {sev%d: %s}
`, panes(pane, 3+g.IntN(20)), g.IntN(2), panes(pane, 1+g.IntN(40)), g.IntN(2), 1+g.IntN(3), panes(pane, g.IntN(40)), 1+g.IntN(6), 1+g.IntN(4),
		panes(pane, 1+g.IntN(30)))
	if g.IntN(3) > 0 {
		fmt.Fprintf(&b, "correlate: {within: %s, storm: %d, depends_on: {web: [api], api: [new]}}\n", panes(pane, 1+g.IntN(30)), 1+g.IntN(4))
	}
	b.WriteString("groups:\n  - name: made-up\n    rules:\n")
	for i := range 1 + g.IntN(6) {
		randomRule(g, &b, fmt.Sprintf("R%d", i), pane)
	}
	return b.String()
}

func panes(pane int64, n int) string { return rules.Duration(pane * int64(n)).String() }

// madeUp is a signal that a random rule may have, and thresholds that make sense for it, in rising order.
type madeUp struct {
	signal     string
	thresholds []float64
	below      bool // thresholds may be read the other way too
	wilson     int  // 0 no, 1 yes, 2 only above
	sample     bool
}

var (
	shares = []float64{0, 0.005, 0.02, 0.1, 0.25, 0.3, 0.5, 0.9}
	counts = []float64{0, 1, 2, 5, 12, 30}
	rates  = []float64{0, 0.05, 0.1, 0.21, 0.5, 1.3, 3}
	burns  = []float64{0, 0.4, 1, 2, 5, 7.5}
	times  = []float64{20, 47.3, 100, 128, 333, 900, 2500}
)

var signals = []madeUp{
	{"{ratio: {errors: error, total: latency}}", shares, false, 1, true},
	{`{ratio: {errors: 'latency{status_class="5xx"}', total: latency}}`, shares, false, 1, true},
	{`{count: 'error{category="security"}'}`, counts, false, 0, false},
	{`{count: 'latency{endpoint=~"/.*"}'}`, counts, true, 0, false},
	{"{distinct: error}", counts, false, 0, false},
	{`{distinct: 'latency{endpoint=~"/.*"}'}`, append(counts, 100, 300), true, 0, false},
	{"{distinct: step}", append(counts, 100, 300), true, 0, false},
	{"{rate: latency}", rates, true, 0, false},
	{"{rate: error}", rates, false, 0, false},
	{"{quantile: {of: latency, q: 0.95}}", times, true, 2, true},
	{`{quantile: {of: 'latency{status_class!="5xx"}', q: 0.5}}`, times, true, 2, true},
	{"{quantile: {of: step, q: 0.9}}", times, true, 2, true},
	{`{quantile: {of: 'vital{name="LCP"}', q: 0.75}}`, times, true, 2, true},
	{"{quantile: {of: satisfaction, q: 0.5}}", []float64{1.5, 2.5, 3.5, 4.5}, true, 2, true},
	{`{mean: 'latency{status_class!="5xx"}'}`, times, true, 0, true},
	{"{mean: step}", times, true, 0, true},
	{"{mean: vital}", []float64{-40, -10, 0, 20, 64, 300}, false, 0, true},
	{"{mean: satisfaction}", []float64{1.5, 2.5, 3, 3.5, 4.5}, true, 0, true},
	{"{burn_rate: {errors: error, total: latency, objective: 0.9, short: SHORT}}", burns, false, 1, true},
	{`{burn_rate: {errors: 'latency{status_class="5xx"}', total: latency, objective: 0.875, short: SHORT}}`, burns, false, 1, true},
	{"{max: latency}", times, true, 0, true},
	{`{max: 'vital{name="LCP"}'}`, []float64{-40, 0, 14, 64, 300}, false, 0, true},
	{"{absence: latency}", []float64{3, 10, 20, 30, 60, 120}, false, 0, true},
	{`{absence: 'latency{service="api"}'}`, []float64{3, 10, 20, 30, 60, 120}, false, 0, true},
	{"{completion: {steps: step}}", shares, true, 1, true},
	{"{completion: {steps: step, against: enters}}", shares, true, 1, true},
	{`{completion: {start: 'step{step="s1",action="enter"}', finish: 'step{step="s2",action="complete"}'}}`, shares, true, 1, true},
	{"{abandonment: {steps: step}}", shares, false, 1, true},
	{"{deviation: {quantile: {of: latency, q: 0.95}, panes: 12}}", []float64{1.13, 1.7, 2.9, 8.3}, true, 2, true},
	{"{deviation: {quantile: {of: latency, q: 0.5}, panes: 4, floor: 60}}", []float64{1.13, 1.7, 2.9, 8.3}, true, 2, true},
	{`{deviation: {quantile: {of: 'vital{name="LCP"}', q: 0.9}, panes: 20}}`, []float64{1.13, 1.7, 2.9, 8.3}, false, 2, true},
	{"{deviation: {quantile: {of: latency, q: 0.9}, panes: 9, measured: absolute}}", []float64{7.7, 40.1, 130.3, 700.7}, false, 1, true},
	{"{deviation: {quantile: {of: latency, q: 0.9}, windows: 6, measured: sigmas, floor: 30}}", []float64{0.37, 1.13, 3.3, 5.9}, false, 1, true},
	{"{deviation: {quantile: {of: step, q: 0.5}, windows: 5, measured: sigmas, direction: down}}", []float64{0.37, 1.13, 3.3, 5.9}, false, 0, true},
	{"{deviation: {quantile: {of: latency, q: 0.5}, panes: 8, direction: both}}", []float64{1.13, 1.7, 2.9, 8.3}, false, 0, true},
	{"{deviation: {rate: latency, windows: 6, direction: down}}", []float64{1.13, 1.7, 2.9, 8.3}, false, 0, false},
	{"{deviation: {rate: latency, windows: 3, direction: both, floor: 0.11}}", []float64{1.13, 1.7, 2.9, 8.3}, false, 0, false},
	{"{deviation: {rate: error, windows: 8, measured: sigmas, floor: 0.07}}", []float64{0.37, 1.13, 3.3, 5.9}, false, 0, false},
	{"{deviation: {rate: error, windows: 4, measured: absolute, direction: both}}", []float64{0.0137, 0.0573, 0.211, 0.77}, false, 0, false},
	{"{deviation: {ratio: {errors: error, total: latency}, windows: 5, measured: absolute, direction: up}}", []float64{0.0137, 0.0573, 0.211, 0.47}, false, 0, true},
	{"{deviation: {ratio: {errors: error, total: latency}, windows: 5, measured: sigmas, direction: both, floor: 0.03}}", []float64{0.37, 1.13, 3.3, 5.9}, false, 0, true},
	{"{deviation: {ratio: {errors: error, total: latency}, windows: 5}}", []float64{1.13, 1.7, 2.9, 8.3}, true, 0, true},
	{"{deviation: {mean: satisfaction, windows: 4, measured: absolute, direction: down}}", []float64{0.137, 0.37, 0.9, 1.7}, false, 0, true},
	{"{deviation: {rate: latency, season: SEASON, windows: 2, direction: both, floor: 0.07}}", []float64{1.13, 1.7, 2.9, 8.3}, false, 0, false},
	{"{deviation: {mean: latency, season: SEASON, windows: 5, measured: sigmas, direction: both}}", []float64{0.37, 1.13, 3.3, 5.9}, false, 0, true},
	{"{deviation: {quantile: {of: latency, q: 0.5}, season: SEASON, windows: 1}}", []float64{1.13, 1.7, 2.9, 8.3}, false, 1, true},
	{"{deviation: {mean: vital, windows: 7, measured: sigmas, direction: both}}", []float64{0.37, 1.13, 3.3, 5.9}, false, 0, true},
}

func randomRule(g *rand.Rand, b *strings.Builder, name string, pane int64) {
	s := signals[g.IntN(len(signals))]
	below := s.below && g.IntN(2) == 0
	window := 1 + g.IntN(12)
	if strings.Contains(s.signal, "SHORT") {
		window++
		s.signal = strings.ReplaceAll(s.signal, "SHORT", panes(pane, 1+g.IntN(window-1)))
	}
	s.signal = strings.ReplaceAll(s.signal, "SEASON", panes(pane, window*(4+g.IntN(3))))
	fmt.Fprintf(b, "      - alert: %s\n        signal: %s\n        window: %s\n", name, s.signal, panes(pane, window))
	by := pick(g, "", "service", "service", "service, endpoint", "version", "step, service", "region")
	if strings.Contains(s.signal, "{start:") {
		by = strings.TrimPrefix(by, "step, ")
	}
	fmt.Fprintf(b, "        by: [%s]\n", by)
	if s.sample {
		confidence := pick(g, "", "", "0.8", "0.95", "0.999")
		if s.wilson == 0 || s.wilson == 2 && below {
			confidence = ""
		}
		if confidence != "" {
			confidence = ", wilson_lower: " + confidence
		}
		fmt.Fprintf(b, "        sample: {min: %d%s}\n", pick(g, 0, 1, 3, 10, 25), confidence)
	}
	b.WriteString("        severities:\n")
	floor := ""
	if strings.Contains(s.signal, "{deviation") && !below && g.IntN(2) == 0 {
		floor = pick(g, ", floor: 90", ", floor: 200")
	}
	mildest := randomLadder(g, b, s.thresholds, below, strings.HasPrefix(s.signal, "{completion") || strings.HasPrefix(s.signal, "{ratio"), floor, pane)
	fmt.Fprintf(b, "        recover: {threshold_share: %v, keep_firing_for: %s}\n", pick(g, 0.5, 0.8, 0.8, 1), panes(pane, g.IntN(7)))
	if g.IntN(4) == 0 {
		b.WriteString("        no_data: fire\n")
	}
	if g.IntN(2) == 0 && !strings.Contains(s.signal, "absence") && !strings.Contains(s.signal, "season") {
		fmt.Fprintf(b, "        no_data_timeout: %s\n", panes(pane, window+1+g.IntN(40)))
	}
	if g.IntN(5) == 0 {
		b.WriteString("        alone: true\n")
	}
	if g.IntN(2) == 0 {
		fmt.Fprintf(b, "        reopen_within: %s\n", panes(pane, 1+g.IntN(30)))
	}
	if g.IntN(2) == 0 {
		fmt.Fprintf(b, "        flap_limit: %d\n        flap_window: %s\n", pick(g, 0, 2, 2, 3, 5), panes(pane, 1+g.IntN(30)))
	}
	if g.IntN(2) == 0 {
		bar := ""
		if mildest > 1 && g.IntN(2) == 0 {
			bar = fmt.Sprintf(", bar: sev%d", 1+g.IntN(mildest-1))
		}
		fmt.Fprintf(b, "        after_deploy: {for: %s%s}\n", panes(pane, 1+g.IntN(min(60, int(3600_000/pane)))), bar)
	}
	if g.IntN(2) == 0 {
		fmt.Fprintf(b, "        recovery: [{action: rollback, severity: sev%d}, {action: scale, severity: sev%d, automatic: true}]\n",
			1+g.IntN(4), 1+g.IntN(4))
	}
}

// randomLadder writes one to four tiers, worst first; the first has the floor. It returns the mildest severity.
func randomLadder(g *rand.Rand, b *strings.Builder, thresholds []float64, below, share bool, floor string, pane int64) (mildest int) {
	direction, order := "above", slices.Clone(thresholds)
	slices.Reverse(order)
	if below {
		direction = "below"
		slices.Reverse(order)
		for order[0] == 0 { // nothing is below zero
			order = order[1:]
		}
		if share {
			order = append(order, 1) // anything less than all
		}
	}
	var severities []int
	for s := 1; s <= 4; s++ {
		if g.IntN(3) > 0 {
			severities = append(severities, s)
		}
	}
	if len(severities) == 0 {
		severities = []int{1 + g.IntN(4)}
	}
	at, hold := g.IntN(len(order)), g.IntN(5)
	for _, s := range severities {
		fmt.Fprintf(b, "          - {severity: sev%d, %s: %v, for: %s%s}\n", s, direction, order[at], panes(pane, hold), floor)
		floor, mildest = "", s
		if step := g.IntN(3); step == 0 && hold > 0 { // the same threshold, sooner
			hold = g.IntN(hold)
		} else {
			if at++; at >= len(order) {
				break
			}
			hold = g.IntN(5)
		}
	}
	return mildest
}
