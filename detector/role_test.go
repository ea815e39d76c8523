package detector

import (
	"fmt"
	"math/rand"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"sevwatch/rules"
)

// roleRules are rules of which one asks for values and one for sessions.
const roleRules = `
groups:
  - name: test
    rules:
      - alert: Slow
        signal: {quantile: {of: latency, q: 0.95}}
        by: [service]
        window: 5m
        severities: [{severity: sev1, above: 1000}]
        annotations: {summary: slow}
      - alert: Touched
        signal: {distinct: latency}
        window: 5m
        severities: [{severity: sev1, above: 1000}]
        annotations: {summary: touched}
`

// TestSumsAgainstCells: the sums of roles are those of the cells of their series, few values or many, whoever has used their memory before.
func TestSumsAgainstCells(t *testing.T) {
	cfg := DefaultConfig()
	cfg.CountSessions = map[string]bool{"events": true}
	file, err := rules.Parse("rules.yaml", []byte(roleRules), cfg.RuleOptions())
	if err != nil {
		t.Fatal(err)
	}
	j := NewJudge(cfg, file)
	d := j.domain("")
	r := rand.New(rand.NewSource(5))
	few, many, shared := 0, 0, 0
	for round := range 80 {
		start := int64(round) * cfg.Pane
		p := d.pane(start)
		want, series := map[string]*Cell{}, map[string]*Cell{}
		groups := 1 + r.Intn(6)
		for range 1 + r.Intn(900) {
			labels := []Label{{"region", fmt.Sprint(r.Intn(40))}, {"service", fmt.Sprint(r.Intn(groups))}}
			cell := Cell{Count: 1 + r.Int63n(9)}
			span := int64(1) << (1 + r.Intn(40)) // some wide, some narrow
			for range r.Int63n(cell.Count + 1) {
				v := r.Int63n(span) - span/4
				if cell.Valued == 0 || v > cell.Max {
					cell.Max = v
				}
				cell.Valued++
				cell.Sum = cell.Sum.Add(sumOf(v))
				cell.Buckets.add(codeOf(v), 1)
			}
			for range r.Int63n(cell.Count + 1) {
				if cell.Sessions == nil {
					cell.Sessions = &Distinct{}
				}
				cell.Sessions.Add(SessionHash(fmt.Appendf(nil, "%d", r.Intn(1000))))
				cell.Sessioned++
			}
			sd := SeriesDelta{Kind: rules.KindLatency, Labels: labels, Cell: cell}
			d.add(p, d.seriesIn(p, &sd), &cell)
			for into, name := range map[*map[string]*Cell]string{&want: labels[1].Value, &series: seriesKey(sd.Kind, labels)} {
				if (*into)[name] == nil {
					(*into)[name] = &Cell{}
				}
				(*into)[name].Merge(&cell)
			}
		}
		d.settled(p)
		p.finish(d.spareRoom)
		got := map[string]*Cell{}
		d.sumUp(p, len(d.heads), func(r *role, sum *sum) {
			var once, twice dense
			sum.addTo(&once, 1)
			sum.addTo(&twice, 1)
			sum.addTo(&twice, 1)
			sum.addTo(&twice, -1)
			cell := sum.Cell
			cell.Buckets = once.appendTo(nil)
			cell.Sessions = united(nil, cell.Sessions)
			if again := twice.appendTo(nil); !gocmp.Equal(cell.Buckets, again) {
				t.Fatalf("round %d: added twice and taken away once it is %v, expected %v", round, again, cell.Buckets)
			}
			if sum.hist {
				many++
			} else {
				few++
			}
			if sum.own {
				shared++
			}
			got[r.groups[0].labels[0].Value] = &cell
		})
		if diff := gocmp.Diff(want, got, anyEmpty); diff != "" {
			t.Fatalf("round %d (-cells +sums):\n%s", round, diff)
		}
		for i := range p.cells {
			var room Cell
			s := d.of(&p.cells[i])
			if diff := gocmp.Diff(series[s.key], p.cell(&p.cells[i], &room), anyEmpty); diff != "" {
				t.Fatalf("round %d: afterwards the cell of %v is another one (-was +is):\n%s", round, s.labels, diff)
			}
		}
		d.closed++
		d.prune(start+cfg.Pane+d.longest+1, false)
	}
	if few < 20 || many < 20 || shared < 20 {
		t.Errorf("%d sums of few values, %d of many, %d of several sets of sessions: too few of some", few, many, shared)
	}
	if len(d.roles) > 40*6 || len(d.roleOf) > 0 {
		t.Errorf("%d numbers of series and %d roles are left", len(d.roles), len(d.roleOf))
	}
}

// TestRolesOfOneHash: roles whose hashes are the same are told apart by their groups, and can be let go of in any order.
func TestRolesOfOneHash(t *testing.T) {
	cfg := DefaultConfig()
	file, err := rules.Parse("rules.yaml", []byte(roleRules), cfg.RuleOptions())
	if err != nil {
		t.Fatal(err)
	}
	const services = 4
	for seed := range int64(50) {
		r := rand.New(rand.NewSource(seed))
		j := NewJudge(cfg, file)
		d := j.domain("")
		var all []*series
		for i := range 3 * services {
			s := d.seriesOf(&SeriesDelta{Kind: rules.KindLatency, Labels: []Label{{"region", fmt.Sprint(i)}, {"service", fmt.Sprint(i % services)}}})
			for _, c := range s.selection.rules {
				d.groupOf(c.rule, s).id = 7
			}
			all = append(all, s)
			d.bind(s)
		}
		if len(d.roleOf) != 1 {
			t.Fatalf("there are %d hashes, expected 1", len(d.roleOf))
		}
		for i, s := range all {
			for k, o := range all {
				same := i%services == k%services
				if got := d.roles[s.number] == d.roles[o.number]; got != same {
					t.Fatalf("series %d and %d play the same role: %t", i, k, got)
				}
				if num, den := d.partIn(d.roles[o.number].groups[0], s); num != same || den {
					t.Fatalf("series %d is part of the group of series %d: %t, %t, expected %t, false", i, k, num, den, same)
				}
			}
		}
		for n, i := range r.Perm(len(all)) {
			if d.unbind(all[i]); n == len(all)/2 {
				d.bind(all[i])
				d.unbind(all[i])
			}
		}
		if len(d.roleOf) != 0 || d.live != 0 {
			t.Fatalf("seed %d: %d roles and %d series are left", seed, len(d.roleOf), d.live)
		}
		for _, g := range d.order {
			if g.refs != 0 {
				t.Fatalf("seed %d: the group %v has %d series left", seed, g.labels, g.refs)
			}
		}
	}
}
