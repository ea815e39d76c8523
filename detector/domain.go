package detector

import (
	"cmp"
	"slices"
	"strings"

	"sevwatch/rules"
)

// domain judges the series of one tenant, apart from all others.
type domain struct {
	name   string
	cfg    *Config
	file   *rules.File
	rules  []*ruleState
	series map[string]*series
	groups map[string]*group
	order  []*group // every group once, for walking
	panes  []*pane  // by start: closed ones that a window still needs, then open ones
	closed int      // how many of panes are closed
	heads  []int    // for each window: the first of panes that is inside it

	changes []Change  // of the last changeMemory, oldest first
	gone    *[]string // keys of state records to be forgotten
	longest int64     // ms, of the windows
}

// changeMemory is how long before an incident a change can be its cause.
const changeMemory = int64(3600_000)

// series is a kind and its labels, and the groups that count it.
type series struct {
	kind     rules.Kind
	labels   []Label
	key      string
	bindings []binding
	hist     bool // some group needs the distribution
	panes    int  // how many panes hold a cell of it
}

// binding is the part that a series plays in a group.
type binding struct {
	group    *group
	num, den bool
}

// pane is a slice of event time. While it is open, index finds a series' cell.
type pane struct {
	start int64
	cells []seriesCell
	index map[*series]int
}

type seriesCell struct {
	series *series
	Cell
}

func newDomain(name string, cfg *Config, file *rules.File, states []*ruleState, windows []*windowCount) *domain {
	d := &domain{
		name: name, cfg: cfg, file: file, rules: states,
		series: map[string]*series{}, groups: map[string]*group{}, heads: make([]int, len(windows)),
	}
	for _, w := range windows {
		d.longest = max(d.longest, w.length)
	}
	return d
}

// merge takes a delta into its open pane.
func (d *domain) merge(delta *Delta) {
	p := d.pane(delta.Pane)
	for i := range delta.Series {
		s := d.seriesOf(&delta.Series[i])
		n, found := p.index[s]
		if !found {
			n = len(p.cells)
			p.index[s] = n
			p.cells = append(p.cells, seriesCell{series: s})
			s.panes++
		}
		cell := delta.Series[i].Cell
		if !s.hist {
			cell.Buckets = nil
		}
		p.cells[n].merge(&cell)
	}
}

func (d *domain) pane(start int64) *pane {
	i, found := slices.BinarySearchFunc(d.panes, start, func(p *pane, t int64) int { return cmp.Compare(p.start, t) })
	if !found {
		d.panes = slices.Insert(d.panes, i, &pane{start: start, index: map[*series]int{}})
	}
	return d.panes[i]
}

// seriesOf finds the series of a delta, or makes it and binds it to the groups of all rules that select it.
func (d *domain) seriesOf(sd *SeriesDelta) *series {
	key := seriesKey(sd.Kind, sd.Labels)
	if s := d.series[key]; s != nil {
		return s
	}
	s := &series{kind: sd.Kind, labels: sd.Labels, key: key}
	d.series[key] = s
	for _, r := range d.rules {
		b := binding{num: matchesAny(r.Signal.Num, s), den: matchesAny(r.Signal.Den, s)}
		if b.num || b.den {
			b.group = d.groupOf(r, s)
			b.group.refs++
			s.bindings = append(s.bindings, b)
			s.hist = s.hist || r.hist && b.num
		}
	}
	return s
}

func seriesKey(kind rules.Kind, labels []Label) string {
	var b strings.Builder
	b.WriteByte(byte(kind))
	for _, l := range labels {
		b.WriteString(l.Name)
		b.WriteByte(0xff)
		b.WriteString(l.Value)
		b.WriteByte(0xff)
	}
	return b.String()
}

func (s *series) value(name string) string {
	for _, l := range s.labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

func matchesAny(selectors []rules.Selector, s *series) bool {
	return slices.ContainsFunc(selectors, func(sel rules.Selector) bool { return sel.Matches(s.kind, s.value) })
}

func (d *domain) groupOf(r *ruleState, s *series) *group {
	var labels []Label
	for _, name := range r.By {
		if v := s.value(name); v != "" {
			labels = append(labels, Label{name, v})
		}
	}
	slices.SortFunc(labels, func(x, y Label) int { return strings.Compare(x.Name, y.Name) })
	return d.groupFor(r, labels)
}

func (d *domain) groupFor(r *ruleState, labels []Label) *group {
	key := r.identity + seriesKey(0, labels)
	g := d.groups[key]
	if g == nil {
		g = &group{
			rule: r, labels: labels, key: key, first: never, last: never,
			life: newLife(r.Rule),
		}
		if r.Signal.Deviation != nil {
			g.usual = &baseline{}
		}
		d.groups[key] = g
		d.order = append(d.order, g)
	}
	return g
}

// close closes the pane [start, edge), judges every group, and returns what there is to tell, in no particular order.
func (d *domain) close(start, edge int64, windows []*windowCount, observed bool) []Output {
	var entered *pane
	if d.closed < len(d.panes) && d.panes[d.closed].start == start {
		entered = d.panes[d.closed]
		d.enter(entered)
		d.closed++
	}
	d.leave(edge, windows)
	if entered != nil {
		d.hear(entered, edge)
	}
	var out []Output
	forgot := false
	for _, g := range d.order {
		if g.first == never {
			continue
		}
		if g.usual != nil {
			g.usual.close(g.rule.Signal.Deviation, start, edge-int64(g.rule.Window))
		}
		if g.last < edge {
			g.quiet(edge-start, observed)
		}
		m := g.measure(edge, windows[g.rule.window], observed)
		out = append(out, d.judge(g, m, edge)...)
		forgot = forgot || g.first == never
	}
	d.prune(edge, forgot)
	return out
}

// enter adds a pane that closes to the windows of the groups that count its series.
func (d *domain) enter(p *pane) {
	p.index = nil
	for i := range p.cells {
		c := &p.cells[i]
		for j := range c.series.bindings {
			b := &c.series.bindings[j]
			b.group.move(b, &c.Cell, 1)
		}
		if c.series.kind == rules.KindChange {
			d.noteChange(c.series, p.start)
		}
	}
}

// hear tells the groups which of them had data in a pane that closed, when their windows have moved on to edge.
func (d *domain) hear(p *pane, edge int64) {
	for i := range p.cells {
		for _, b := range p.cells[i].series.bindings {
			if b.group.concerns(&p.cells[i].Cell) {
				b.group.heard(p.start, edge)
			}
		}
	}
}

// leave drops the panes that are older than a window from the groups that have it.
func (d *domain) leave(edge int64, windows []*windowCount) {
	for w, count := range windows {
		for d.heads[w] < d.closed && d.panes[d.heads[w]].start < edge-count.length {
			cells := d.panes[d.heads[w]].cells
			for i := range cells {
				for j := range cells[i].series.bindings {
					if b := &cells[i].series.bindings[j]; b.group.rule.window == w {
						b.group.move(b, &cells[i].Cell, -1)
					}
				}
			}
			d.heads[w]++
		}
	}
}

// judge asks the rule about one group and tells what changed.
func (d *domain) judge(g *group, m rules.Measure, edge int64) []Output {
	v := g.rule.Judge(m)
	transition, tier := g.life.step(g.rule.Rule, v, d.cfg.Pane, edge)
	if g.usual != nil && !g.life.clean() {
		g.usual.spoil()
	}
	if transition == "" && g.life.Incident != nil && g.gone(edge) {
		transition, tier = Expired, g.life.held()
	}
	var out []Output
	if transition != "" {
		out = d.tell(g, m, v, transition, tier, edge)
	}
	if g.life.Incident != nil {
		out = append(out, d.expireRequests(g, edge)...)
	}
	switch {
	case transition == Expired, g.life.Incident == nil && g.gone(edge):
		g.forget()
	case g.cells == 0 && g.life.clean() && !g.missed():
		g.forget()
	}
	return out
}

// prune lets go of panes that no window needs, of series that no pane holds, and of groups that nobody knows any more.
func (d *domain) prune(edge int64, forgot bool) {
	n := 0
	for n < d.closed && d.panes[n].start < edge-d.longest {
		for _, c := range d.panes[n].cells {
			if c.series.panes--; c.series.panes == 0 {
				delete(d.series, c.series.key)
				for _, b := range c.series.bindings {
					b.group.refs--
				}
			}
		}
		n++
	}
	if n > 0 {
		d.panes = slices.Delete(d.panes, 0, n)
		d.closed -= n
		for w := range d.heads {
			d.heads[w] -= n
		}
	}
	if n > 0 || forgot {
		d.dropGroups()
	}
	d.pruneChanges(edge)
}

// pruneChanges lets go of changes that no incident can follow any more: one that is still pending may have begun long ago.
func (d *domain) pruneChanges(edge int64) {
	if len(d.changes) == 0 || int64(d.changes[0].At) >= edge-changeMemory {
		return
	}
	earliest := edge
	for _, g := range d.order {
		if g.life.Incident == nil && g.life.RunStart != 0 {
			earliest = min(earliest, g.life.RunStart)
		}
	}
	for len(d.changes) > 0 && int64(d.changes[0].At) < earliest-changeMemory {
		d.changes = d.changes[1:]
	}
}

// dropGroups removes the groups that are unknown and have no series left.
func (d *domain) dropGroups() {
	d.order = slices.DeleteFunc(d.order, func(g *group) bool {
		drop := g.first == never && g.refs == 0
		if drop {
			delete(d.groups, g.key)
			*d.gone = append(*d.gone, d.stateKey(g))
		}
		return drop
	})
}

// idle says whether closing empty panes up to edge would change nothing: no data, no group, and no window to slide.
func (d *domain) idle() bool { return d.closed == 0 && len(d.order) == 0 }

// noteChange remembers a change, in an order that does not depend on arrival.
func (d *domain) noteChange(s *series, start int64) {
	c := Change{
		Change: s.value("change"), Service: s.value("service"), Version: s.value("version"),
		PreviousVersion: s.value("previous_version"), State: s.value("state"), At: Millis(start),
	}
	i, _ := slices.BinarySearchFunc(d.changes, c, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Service, y.Service), cmp.Compare(x.Change, y.Change),
			cmp.Compare(x.Version, y.Version), cmp.Compare(x.PreviousVersion, y.PreviousVersion), cmp.Compare(x.State, y.State))
	})
	d.changes = slices.Insert(d.changes, i, c)
}
