package detector

import (
	"cmp"
	"fmt"
	"slices"

	"sevwatch/rules"
)

// turn is a group with an incident, and what its window says at the edge.
type turn struct {
	*group
	m rules.Measure
	v rules.Verdict
}

func (t *turn) incident() *ongoing { return t.life.Incident }

// breaches says whether the window at this edge does. An incident that only waits for its recovery is not news.
func (t *turn) breaches() bool {
	return t.v.Evidence == rules.Enough && t.v.Worst < len(t.rule.Severities)
}

// goesOn says whether it is known that the incident has not recovered: one without data, or that flaps and is calm, says nothing of what is part of it.
func (t *turn) goesOn() bool {
	return t.incident().Phase == PhaseOpen && t.life.held() < len(t.rule.Severities)
}

// service is what the group is about; "" if it is about the whole flow.
func (g *group) service() string {
	for _, l := range g.labels {
		if l.Name == "service" {
			return l.Value
		}
	}
	return ""
}

// maxChildren is how many of an incident's children are named; all are counted.
const maxChildren = 20

// follow moves an incident on that is not told: it is part of another one.
func (d *domain) follow(g *group, n news, edge int64) {
	switch o := g.life.Incident; n.transition {
	case Resolved, Expired, Superseded:
		g.life.reset()
	default:
		if held := g.life.held(); held < len(g.rule.Severities) {
			o.Severity = g.rule.Severities[held].Severity
		}
		if o.unsuppress(); o.Suppressed != nil && int64(o.Suppressed.Until) <= edge {
			o.Suppressed = nil
		}
	}
}

// correlate decides which of the incidents that were not told become part of one that is, and tells of the others. What is told does not
// depend on the order in which series came: the worst come first, of them what others depend on, then the oldest.
func (d *domain) correlate(live []turn, edge int64) (out []Output) {
	d.ranks = map[string]int{}
	orphans(live)
	slices.SortFunc(live, func(x, y turn) int {
		a, b := x.incident(), y.incident()
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), d.rank(y.group)-d.rank(x.group), cmp.Compare(a.StartedAt, b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	f := newFamily(live)
	for i := range live {
		if t := &live[i]; t.incident().untold() {
			d.place(f, t, edge)
		}
	}
	for i := range live {
		t := &live[i]
		o := t.incident()
		var n news
		switch root := f.roots[o.Parent]; {
		case !o.untold() && f.joined[o.ID] > 0:
			n = news{transition: Updated, why: joinedNow(f.joined[o.ID], o.Joined)}
		case !o.untold(), !t.breaches(), root != nil && root.incident().covers(o):
			continue
		default:
			n = news{transition: Opened, tier: max(t.life.held(), t.v.Worst)}
		}
		out = append(out, d.tell(t.group, t.m, t.v, n, edge)...)
	}
	return out
}

// orphans lets incidents that are told stand by themselves again when what they are part of is over.
func orphans(live []turn) {
	for i := range live {
		o := live[i].incident()
		if o.Parent != "" && !o.untold() && !slices.ContainsFunc(live, func(t turn) bool { return t.incident().ID == o.Parent }) {
			o.Parent = ""
		}
	}
}

// joinedNow says that n incidents became part of one, of which that makes all.
func joinedNow(n, all int) string {
	if n == 1 {
		return fmt.Sprintf("1 more incident is part of this one, %d in all", all)
	}
	return fmt.Sprintf("%d more incidents are part of this one, %d in all", n, all)
}

// family is the incidents of a domain at one edge.
type family struct {
	roots  map[string]*turn // those that are part of no other
	order  []*turn          // the roots, in the order in which they are looked at
	fresh  map[string]int   // by rule: how many are not told and part of none
	joined map[string]int   // how many became part of a root at this edge
	ids    map[string]bool  // of all
}

func newFamily(live []turn) *family {
	f := &family{roots: map[string]*turn{}, fresh: map[string]int{}, joined: map[string]int{}, ids: map[string]bool{}}
	for i := range live {
		f.ids[live[i].incident().ID] = true
		if o := live[i].incident(); !o.untold() && o.Parent == "" && live[i].goesOn() {
			f.roots[o.ID] = &live[i]
			f.order = append(f.order, &live[i])
		}
	}
	for i := range live {
		if o := live[i].incident(); o.untold() && !f.holds(&live[i]) {
			f.fresh[live[i].rule.Alert]++
		}
	}
	return f
}

// holds says whether an incident that is not told stays part of what it is part of: of a root or, while it does not breach, of one that may go on again.
func (f *family) holds(t *turn) bool {
	parent := t.incident().Parent
	return f.roots[parent] != nil || f.ids[parent] && !t.breaches()
}

// place makes an incident that is not told part of a root, if it is not yet, or a root.
func (d *domain) place(f *family, t *turn, edge int64) {
	o := t.incident()
	if f.holds(t) {
		return
	}
	o.Parent = ""
	if root := d.parent(t, f, edge); root != nil {
		r := root.incident()
		o.Parent = r.ID
		r.Joined++
		f.joined[r.ID]++
		if len(r.Children) < maxChildren {
			r.Children = append(slices.Clone(r.Children), o.ID)
		}
		return
	}
	if t.breaches() {
		o.Storm = d.file.Correlate != nil && f.fresh[t.rule.Alert] > d.file.Correlate.Storm
		f.roots[o.ID] = t
		f.order = append(f.order, t)
	}
}

// rank is how many services depend on the one that the group is about.
func (d *domain) rank(g *group) int {
	if d.file.Correlate == nil {
		return 0
	}
	service := g.service()
	n, known := d.ranks[service]
	if !known {
		n = d.file.Correlate.Callers(service)
		d.ranks[service] = n
	}
	return n
}

// parent is the incident that one that has opened is part of, nil if it stands by itself.
func (d *domain) parent(t *turn, f *family, edge int64) *turn {
	c := d.file.Correlate
	if c == nil || t.rule.Alone {
		return nil
	}
	o := t.incident()
	for _, root := range f.order {
		r := root.incident()
		apart := max(o.StartedAt-r.StartedAt, r.StartedAt-o.StartedAt)
		storm := root.rule == t.rule && (r.Storm || f.fresh[t.rule.Alert] > c.Storm)
		sameDeploy := o.Change != nil && r.Change != nil && *o.Change == *r.Change && o.Change.Change == "deploy"
		x, y := t.service(), root.service()
		linked := x == y || x == "" || y == "" || c.Calls(x, y) || c.Calls(y, x)
		if c.Apart && root.rule != t.rule {
			continue
		}
		aloud := r.quiet(edge) && !o.quiet(edge) // it would be hidden
		if !root.rule.Alone && !aloud && apart <= int64(c.Within) && (storm || sameDeploy || linked) {
			return root
		}
	}
	return nil
}
