package detector

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"sevwatch/rules"
)

// limited gives a tale limits that it meets, and rules that tell of them.
func limited(t *testing.T, tale *tale) {
	t.Helper()
	g := rand.New(rand.NewPCG(tale.seed, 0x11417))
	tale.cfg.Limits = Limits{Series: pick(g, 0, 1, 3, 8, 20, 60), Groups: pick(g, 0, 0, 2, 5, 12), Incidents: pick(g, 0, 1, 1, 2, 4)}
	window := panes(tale.cfg.Pane, 1+g.IntN(8))
	for _, name := range []string{SeriesOverflow, IncidentsRefused} {
		tale.yaml += fmt.Sprintf(`      - alert: %s
        signal: {count: 'pipeline{name=%q}'}
        window: %s
        severities: [{severity: sev3, above: 0}]
        recover: {keep_firing_for: 0s}
        alone: true
`, name, name, window)
	}
	tale.yaml += fmt.Sprintf(`      - alert: Everything
        signal: {ratio: {errors: 'latency{status_class="5xx"}', total: latency}}
        window: %s
        severities: [{severity: sev2, above: 0.3}]
        recover: {keep_firing_for: 0s}
      - alert: Slow
        signal: {quantile: {of: latency, q: 0.9}}
        window: %s
        severities: [{severity: sev2, above: 47}]
        recover: {keep_firing_for: 0s}
`, window, window)
	file, err := rules.Parse("limited.yaml", []byte(tale.yaml), rules.Options{Pane: rules.Duration(tale.cfg.Pane)})
	if err != nil {
		t.Fatalf("%s\n%v", tale.yaml, err)
	}
	tale.file = file
}

// apart is what the rule of Limits makes of a domain, told by somebody who keeps everything and looks at each pane anew: which series each pane
// counts apart and how many of their events, and of all others together ("").
func apart(m *model, domain string, longest int64) map[int64]map[string]int64 {
	cfg := &m.t.cfg
	out := map[int64]map[string]int64{}
	for _, start := range SortedKeys(m.byPane) {
		if start >= m.edgeBefore(m.minimum()) {
			break
		}
		counts := map[string]int64{}
		for _, e := range m.byPane[start] {
			if e.domain == domain {
				counts[seriesOfEvent(cfg, e)]++
			}
		}
		live, known := map[string]bool{}, map[string]bool{}
		for q := start - longest; q < start; q += cfg.Pane {
			for s := range out[q] {
				live[s] = s != ""
				known[s] = known[s] || q < start-cfg.Settle()
			}
		}
		delete(live, "")
		var unknown []string
		for s := range counts {
			if !known[s] {
				unknown = append(unknown, s)
			}
		}
		slices.SortFunc(unknown, func(x, y string) int { return cmp.Compare(hashOf([]byte(x)), hashOf([]byte(y))) })
		room, full := cfg.Limits.Series-len(live), false
		for _, s := range unknown {
			if !live[s] {
				room--
			}
			if full = full || room < 0; full {
				counts[""] += counts[s]
				delete(counts, s)
			}
		}
		if len(counts) > 0 {
			out[start] = counts
		}
	}
	return out
}

func seriesOfEvent(cfg *Config, e *modelEvent) string {
	var labels []Label
	for _, name := range cfg.Labels {
		if v := e.labels[name]; v != "" {
			labels = append(labels, Label{name, v})
		}
	}
	sortLabels(labels)
	return seriesKey(e.kind, labels)
}

// The judge counts apart what the rule says, and no more.
func TestLimitsModel(t *testing.T) {
	talesOf(t, 200, func(t *testing.T, tale *tale) {
		limited(t, tale)
		tale.cfg.Limits = Limits{Series: 1 + int(tale.seed*7%40)}
		e := newEngine(tale, 1+int(tale.seed%3), tale.seed)
		e.run()
		m := newModel(tale)
		for i := range tale.steps {
			m.hear(&tale.steps[i])
		}
		longest := max(e.judge.longest().length, 2*tale.cfg.Settle())
		domains := map[string]bool{}
		for _, e := range m.events {
			domains[e.domain] = true
		}
		var overflow int64
		for _, name := range SortedKeys(domains) {
			want := apart(m, name, longest)
			for _, counts := range want {
				overflow += counts[""]
			}
			d := e.judge.domains[name]
			if d == nil {
				continue
			}
			for _, p := range d.panes[:d.closed] {
				got := map[string]int64{}
				var room Cell
				var sessions, all Distinct
				for i := range p.cells {
					if c := p.cell(&p.cells[i], &room); c.Sessions != nil {
						sessions.Union(c.Sessions)
					}
					switch s, c := d.of(&p.cells[i]), p.cell(&p.cells[i], &room); {
					case s.overflow:
						got[""] += c.Count
					case !s.made:
						got[s.key] += c.Count
					}
				}
				for _, e := range m.byPane[p.start] {
					if e.domain == name && e.session != "" {
						all.Add(SessionHash([]byte(e.session)))
					}
				}
				if diff := gocmp.Diff(all, sessions, anyEmpty); diff != "" {
					t.Fatalf("seed %d: the sessions of the pane %s (-those of its events +those of its cells):\n%s", tale.seed, Millis(p.start), diff)
				}
				if !maps.Equal(got, want[p.start]) {
					t.Fatalf("seed %d: of %d series the pane %s has\n%v\nexpected\n%v", tale.seed, tale.cfg.Limits.Series, Millis(p.start), got, want[p.start])
				}
			}
		}
		if got := e.judge.AtLimits().Overflow; got != overflow {
			t.Errorf("seed %d: %d events were counted together, expected %d", tale.seed, got, overflow)
		}
	})
}

// At the limits the same log gives the same bytes, whatever the tasks, the flushes, the interleaving of partitions, the owners and the restarts.
func TestLimitsSameBytes(t *testing.T) {
	var met AtLimits
	told := map[string]bool{}
	talesOf(t, 200, func(t *testing.T, tale *tale) {
		limited(t, tale)
		e := newEngine(tale, 1, 1)
		want := e.run()
		met.Overflow += e.judge.AtLimits().Overflow
		met.Refused += e.judge.AtLimits().Refused
		for _, o := range want {
			if o.Incident != nil {
				told[o.Incident.Rule.Name] = true
			}
		}
		everyWay(t, tale, want, tale.seed%10 == 1)
	})
	if *flagSeed == 0 && (met.Overflow == 0 || met.Refused == 0 || !told[SeriesOverflow] || !told[IncidentsRefused]) {
		t.Errorf("the random tales have met %+v and told %v", met, told)
	}
}

// Nor does the order of arrival matter.
func TestLimitsShuffled(t *testing.T) {
	seeds(t, 100, func(t *testing.T, seed uint64) {
		tale := newTale(t, seed, true, seed%2 == 0)
		limited(t, tale)
		want := newEngine(tale, 1, 1).run()
		shuffle(tale, rand.New(rand.NewPCG(seed, 9)))
		same(t, tale, "shuffled", newEngine(tale, 2, seed).run(), want)
	})
}

// A judge that is killed at random, between any two records, or takes up the rules anew, decides again as it had decided.
func TestLimitsKilled(t *testing.T) {
	talesOf(t, 100, func(t *testing.T, tale *tale) {
		limited(t, tale)
		killed(t, tale, func(g *rand.Rand, p *topic) {
			if g.IntN(4) == 0 && p.next == p.known {
				p.judge.reload(tale.file)
			}
		})
	})
}

// At the limit of incidents the worst is opened first, and the next when it is over; how many wait is told in each pane.
func TestWorstIncidentFirst(t *testing.T) {
	oneIncident(t, "0s", []map[string]int{
		{"mild": 15, "bad": 25, "worst": 35}, {"mild": 15, "bad": 25, "worst": 35}, {"mild": 15, "bad": 25, "worst": 1}, {"mild": 15, "bad": 1}, {"mild": 1},
	}, `10 Sev1 opened Errors worst 35 since 0
20 Sev4 opened Refused  2 since 10
30 Sev1 resolved Errors worst 1 since 0
30 Sev2 opened Errors bad 25 since 0
40 Sev3 opened Errors mild 15 since 0
40 Sev2 resolved Errors bad 1 since 0
50 Sev4 resolved Refused  0 since 10
50 Sev3 resolved Errors mild 1 since 0`)
}

// What was refused and is no longer so bad, or bad at all, is not opened for what it was: there is nothing to recover from.
func TestRefusedIncidentIsOpenedForWhatItIs(t *testing.T) {
	oneIncident(t, "20s", []map[string]int{
		{"first": 35, "second": 25}, {"first": 1, "second": 25}, {"first": 1, "second": 1}, {"second": 1}, // it was bad, and is not
		{"first": 35, "second": 25}, {"first": 1, "second": 25}, {"first": 1, "second": 12}, {"second": 1}, {"second": 1}, // it is not that bad
	}, `10 Sev1 opened Errors first 35 since 0
20 Sev4 opened Refused  1 since 10
30 Sev1 resolved Errors first 1 since 0
40 Sev4 resolved Refused  0 since 10
50 Sev1 opened Errors first 35 since 40
60 Sev4 opened Refused  1 since 50
70 Sev3 opened Errors second 12 since 40
70 Sev1 resolved Errors first 1 since 40
80 Sev4 resolved Refused  0 since 50
90 Sev3 resolved Errors second 1 since 40`)
}

// oneIncident tells what is told of errors of services, pane by pane, where only one incident may be open.
func oneIncident(t *testing.T, keepFiring string, panes []map[string]int, want string) {
	t.Helper()
	file, err := rules.Parse("worst.yaml", fmt.Appendf(nil, `
groups:
  - name: worst
    rules:
      - alert: Errors
        signal: {count: error}
        by: [service]
        window: 10s
        severities: [{severity: sev1, above: 30}, {severity: sev2, above: 20}, {severity: sev3, above: 10}]
        recover: {keep_firing_for: %s}
      - alert: Refused
        signal: {count: 'pipeline{name="incidents_refused"}'}
        window: 10s
        severities: [{severity: sev4, above: 0}]
        recover: {keep_firing_for: 0s}
`, keepFiring), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tale := &tale{cfg: DefaultConfig(), file: file, sources: []Source{{"events", 0}}, there: 1}
	tale.cfg.Limits.Incidents = 1
	const begin = 1_793_534_400_000
	e := newEngine(tale, 1, 1)
	for pane, counts := range panes {
		for _, service := range SortedKeys(counts) {
			for range counts[service] {
				e.step(&taleStep{what: stepEvent, event: taleEvent{time: begin + int64(pane)*10_000, kind: rules.KindError, labels: map[string]string{"service": service}}})
			}
		}
	}
	e.step(&taleStep{what: stepMark, to: begin + int64(len(panes)+1)*10_000})
	e.settle()
	var got []string
	for _, o := range e.out {
		i := o.Incident
		got = append(got, fmt.Sprint((int64(i.At)-begin)/1000, " ", i.Severity, " ", i.Transition, " ", i.Rule.Name, " ", i.Labels["service"], " ", i.Signal.Numerator, " since ", (int64(i.StartedAt)-begin)/1000))
	}
	if lines := strings.Join(got, "\n"); lines != want {
		t.Errorf("told\n%s\nexpected\n%s", lines, want)
	}
}
