package detector

import (
	"cmp"
	"iter"
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
	by     []*series // by number
	roles  []*role   // of the series, by their numbers; nil while one is not bound
	spare  []int32   // numbers of series that are no more
	key    []byte    // of the series that is looked for

	selections map[string]*selection
	roleOf     map[uint64]*role // by hash: of those of one hash the first
	summed     []*role          // in the pane that is summed up
	sums       []*sum           // to be used again
	named      uint64           // groups that there were so far

	groups  map[string]*group
	order   []*group // every group once, for walking
	panes   []*pane  // by start: closed ones that a window still needs, then open ones
	closed  int      // how many of panes are closed
	heads   []int    // for each window: the first of panes that is inside it
	entered []*group // those that the pane that closes concerns

	changes []Change  // of the last changeMemory, oldest first
	gone    *[]string // keys of state records to be forgotten

	edge      *int64 // of the judge
	ripe      int64  // ms, Config.Settle
	live      int    // series that are counted apart in closed panes
	opening   []opening
	refused   []PaneEvents // incidents, at the start of panes that are kept
	atLimits  *AtLimits    // of the judge
	spareRoom *spareRoom   // likewise

	soon  *[]rules.Selector
	watch func(*Judgement)

	asked []asked                // actions, not long ago
	told  map[string][]*Incident // at the edge that closes, by id

	said     []Act     // by people, to be applied at the edge that closes
	silences []silence // that last at that edge
	longest  int64     // ms, for which closed panes are kept
	cooldown int64     // ms, the longest of the actions

	ranks map[string]int // of services, while incidents are correlated
}

// changeMemory is how long before an incident a change can be its cause.
const changeMemory = int64(3600_000)

// series is a kind and its labels, and the groups that count it.
type series struct {
	kind      rules.Kind
	labels    []Label
	key       string
	hash      uint64
	number    int32 // among the domain's series; free numbers are given again
	selection *selection
	own       bool  // no limit is for it: it is of the kind pipeline, or an overflow series
	overflow  bool  // it stands for series that were too many
	made      bool  // no delta has it: it is counted when a pane closes
	closed    int32 // how many closed panes hold a cell of it
	recent    int32 // and how many of those are recent, while it is asked
	hist      bool  // some group needs the distribution, or will
	panes     int   // how many panes hold a cell of it
}

// KnownSeries is a series as a judge knows it. Nobody else can look into it.
type KnownSeries = series

// Fill fills in the series that a delta is of; false if the judge has let go of it.
func (s *series) Fill(sd *SeriesDelta) bool {
	if s.panes == 0 {
		return false
	}
	sd.Kind, sd.Known, sd.Labels = s.kind, s, s.labels
	return true
}

// pane is a slice of event time. While it is open, index finds a series' cell by its number: one more than the cell's, 0 without.
type pane struct {
	start int64
	cells []seriesCell
	index []int32
	dists packed // of the cells of which more is kept than a count: the distribution, where some group needs it, and sessions

	limit  uint64   // series with such a hash or a larger one are counted together, unless they are known
	exact  []uint64 // while it is restored: hashes of those of them that were counted apart, sorted
	looked int      // while it is open: how many cells it may have until it is made smaller
	told   int      // how many records the state has of its limit
	final  bool     // they were made when it was closed
}

// seriesCell is what a series has in a pane. It is small and has no pointer, because there are many.
type seriesCell struct {
	number int32  // of the series
	dist   int32  // one more than the place in the pane's dists, 0 without
	count  uint32 // without; beyond mostCounted it has one
}

const mostCounted = 1<<32 - 1

// of is the series of a cell.
func (d *domain) of(c *seriesCell) *series { return d.by[c.number] }

// cell puts all that is kept of what a series counted into room, of which it uses the memory.
func (p *pane) cell(c *seriesCell, room *Cell) *Cell {
	if c.dist > 0 {
		p.dists.cell(int(c.dist-1), room)
	} else {
		*room = Cell{Count: int64(c.count), Buckets: room.Buckets[:0]}
	}
	return room
}

// cellsSince are the series of the closed panes that begin at start or later, with what each has in a pane. A cell is valid until the next one.
func (d *domain) cellsSince(start int64) iter.Seq2[*series, *Cell] {
	return func(yield func(*series, *Cell) bool) {
		var room Cell
		for _, p := range d.panes[:d.closed] {
			if p.start < start {
				continue
			}
			for i := range p.cells {
				if !yield(d.of(&p.cells[i]), p.cell(&p.cells[i], &room)) {
					return
				}
			}
		}
	}
}

func newDomain(name string, cfg *Config, file *rules.File, states []*ruleState, windows []*windowCount) *domain {
	d := &domain{
		name: name, cfg: cfg, file: file, rules: states,
		series: map[string]*series{}, selections: map[string]*selection{}, roleOf: map[uint64]*role{}, groups: map[string]*group{}, told: map[string][]*Incident{}, heads: make([]int, len(windows)),
	}
	for _, w := range windows {
		d.longest = max(d.longest, w.length)
	}
	d.longest, d.ripe = max(d.longest, cfg.kept()), cfg.Settle()
	for _, name := range SortedKeys(file.Actions) {
		d.cooldown = max(d.cooldown, int64(file.Actions[name].Cooldown))
	}
	return d
}

// merge takes a delta into its open pane.
func (d *domain) merge(delta *Delta) *pane {
	p := d.pane(delta.Pane)
	p.cells = slices.Grow(p.cells, max(0, len(delta.Series)-len(p.cells)))
	for i := range delta.Series {
		d.add(p, d.seriesIn(p, &delta.Series[i]), &delta.Series[i].Cell)
	}
	return p
}

// cellOf is the series' cell in an open pane.
func (d *domain) cellOf(p *pane, s *series) *seriesCell {
	if int(s.number) >= len(p.index) {
		p.index = append(p.index, make([]int32, max(int(s.number)+1, len(d.by))-len(p.index))...)
	}
	n := p.index[s.number]
	if n == 0 {
		p.cells = append(p.cells, seriesCell{number: s.number})
		n = int32(len(p.cells))
		p.index[s.number] = n
		s.panes++
	}
	return &p.cells[n-1]
}

// holds says whether an open pane has a cell of the series.
func (p *pane) holds(s *series) bool { return int(s.number) < len(p.index) && p.index[s.number] > 0 }

// add adds to the series' cell in an open pane what another of the same series and pane has.
func (d *domain) add(p *pane, s *series, o *Cell) {
	c := d.cellOf(p, s)
	kept := Cell{Count: o.Count, Sessioned: o.Sessioned, Sessions: o.Sessions}
	if s.hist {
		kept = *o
	}
	switch {
	case c.dist > 0:
		p.dists.merge(int(c.dist-1), &kept)
	case s.hist || kept.Sessions != nil || kept.Count > mostCounted-int64(c.count):
		kept.Count += int64(c.count)
		kept.Sessions = united(nil, kept.Sessions)
		c.dist = int32(p.dists.add(&kept) + 1)
	default:
		c.count += uint32(kept.Count)
	}
}

// finish makes the pane that closes as small as it can be.
func (p *pane) finish(spare *spareRoom) {
	p.index, p.exact = nil, nil
	p.dists.finish(spare)
}

func (d *domain) pane(start int64) *pane {
	i, found := slices.BinarySearchFunc(d.panes, start, func(p *pane, t int64) int { return cmp.Compare(p.start, t) })
	if !found {
		d.panes = slices.Insert(d.panes, i, &pane{start: start, limit: noLimit, dists: d.spareRoom.take()})
	}
	return d.panes[i]
}

// seriesIn is the series in which a delta counts in its pane: its own, or the overflow series that stands for it.
func (d *domain) seriesIn(p *pane, sd *SeriesDelta) *series {
	if p.limit == noLimit {
		return d.seriesOf(sd)
	}
	s := d.find(sd)
	switch {
	case s != nil && (s.own || p.holds(s) || !p.overflows(s.hash, s.closed > 0)):
		return s
	case s == nil && (sd.Kind == rules.KindPipeline || isOverflow(sd.Labels) || !p.overflows(hashOf(d.key), false)):
		return d.seriesOf(sd)
	default:
		return d.overflowOf(sd.Kind, sd.Labels)
	}
}

// find finds the series of a delta; nil: there is none, and d.key is what it would be called.
func (d *domain) find(sd *SeriesDelta) *series {
	if s := sd.Known; s != nil && int(s.number) < len(d.by) && d.by[s.number] == s {
		return s
	}
	d.key = AppendSeriesKey(d.key[:0], sd.Kind, sd.Labels)
	return d.series[string(d.key)]
}

// seriesOf finds the series of a delta, or makes it and notes which rules select it.
func (d *domain) seriesOf(sd *SeriesDelta) *series {
	if s := d.find(sd); s != nil {
		return s
	}
	s := &series{kind: sd.Kind, labels: sd.Labels, key: string(d.key), number: int32(len(d.by)), hash: hashOf(d.key), overflow: isOverflow(sd.Labels)}
	s.own = s.overflow || s.kind == rules.KindPipeline
	if n := len(d.spare); n > 0 {
		s.number, d.spare = d.spare[n-1], d.spare[:n-1]
		d.by[s.number] = s
	} else {
		d.by, d.roles = append(d.by, s), append(d.roles, nil)
	}
	d.series[s.key] = s
	s.selection = d.selectionOf(s)
	s.hist = s.picked(*d.soon) || s.selection.hist()
	return s
}

// seriesKey tells series apart.
func seriesKey(kind rules.Kind, labels []Label) string {
	return string(AppendSeriesKey(nil, kind, labels))
}

// AppendSeriesKey appends what tells a series apart from the others of its domain: its kind, and of each label the name, SeriesKeyEnd, the
// value, SeriesKeyEnd.
func AppendSeriesKey(b []byte, kind rules.Kind, labels []Label) []byte {
	b = append(b, byte(kind))
	for _, l := range labels {
		b = append(append(b, l.Name...), SeriesKeyEnd)
		b = append(append(b, l.Value...), SeriesKeyEnd)
	}
	return b
}

// SeriesKeyEnd is a byte that no text has.
const SeriesKeyEnd = 0xff

func (s *series) value(name string) string { return valueOf(s.labels, name) }

func valueOf(labels []Label, name string) string {
	for _, l := range labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

// picked says whether one of the selectors picks the series.
func (s *series) picked(selectors []rules.Selector) bool {
	return slices.ContainsFunc(selectors, func(sel rules.Selector) bool { return sel.Matches(s.kind, s.value) && (!s.overflow || knowsAll(sel)) })
}

func (d *domain) groupOf(r *ruleState, s *series) *group {
	var labels []Label
	for _, name := range r.By {
		if v := s.value(name); v != "" {
			labels = append(labels, Label{name, v})
		}
	}
	sortLabels(labels)
	return d.groupFor(r, labels)
}

func sortLabels(labels []Label) {
	slices.SortFunc(labels, func(x, y Label) int { return strings.Compare(x.Name, y.Name) })
}

func (d *domain) groupFor(r *ruleState, labels []Label) *group {
	key := r.identity + seriesKey(0, labels)
	g := d.groups[key]
	if g == nil {
		g = &group{
			rule: r, labels: labels, key: key, id: d.named, first: never, last: never, entered: never,
			life: newLife(r.Rule),
		}
		if r.Signal.Deviation != nil {
			g.usual = &baseline{}
		}
		if r.hist || r.distinct || r.max {
			g.values = &windowValues{}
		}
		d.named++
		d.groups[key] = g
		d.order = append(d.order, g)
	}
	return g
}

// close closes the pane [start, edge), judges every group, and returns what there is to tell, in no particular order.
func (d *domain) close(start, edge int64, windows []*windowCount, observed bool) []Output {
	var entered *pane
	clear(d.told)
	d.tellRefused(start)
	if d.closed < len(d.panes) && d.panes[d.closed].start == start {
		entered = d.panes[d.closed]
		d.admit(entered)
		d.enter(entered)
		d.closed++
	}
	d.leave(edge, windows)
	if entered != nil { // when their windows have moved on
		for _, g := range d.entered {
			g.heard(start, edge)
		}
	}
	var out []Output
	forgot := false
	var live []turn
	d.opening = d.opening[:0]
	for _, g := range d.order {
		if g.first == never {
			continue
		}
		if g.last < edge {
			g.quiet(edge-start, observed)
		}
		m := g.measure(edge, windows[g.rule.window], observed)
		if g.usual != nil {
			g.usual.close(g.rule.Rule, &m, start, edge)
		}
		out = append(out, d.judge(g, m, edge)...)
		forgot = forgot || g.first == never
		if g.life.Incident != nil {
			live = append(live, turn{g, m, g.rule.Judge(m)})
		}
	}
	live = d.openSome(live, edge)
	if len(live) > 0 {
		out = append(out, d.correlate(live, edge)...)
		out = append(out, d.act(live, edge)...)
	}
	d.forgetAsked(edge)
	d.prune(edge, forgot)
	return out
}

// enter adds a pane that closes to the windows of the groups that count its series, and notes which groups it concerns.
func (d *domain) enter(p *pane) {
	p.finish(d.spareRoom)
	d.entered = d.entered[:0]
	changes := false
	d.sumUp(p, len(d.heads), func(r *role, sum *sum) {
		for i, g := range r.groups {
			if !g.concerns(sum) {
				continue
			}
			g.enter(&r.rules[i], sum, p.start)
			if g.entered != p.start {
				g.entered = p.start
				d.entered = append(d.entered, g)
			}
		}
		changes = changes || r.kind == rules.KindChange
	})
	if changes {
		d.noteChanges(p)
	}
}

// leave drops the panes that are older than a window from the groups that have it.
func (d *domain) leave(edge int64, windows []*windowCount) {
	for w, count := range windows {
		for d.heads[w] < d.closed && d.panes[d.heads[w]].start < edge-count.length {
			d.sumUp(d.panes[d.heads[w]], w, func(r *role, sum *sum) {
				for i, g := range r.groups {
					switch {
					case g.rule.window != w && g.rule.short != w, !g.concerns(sum):
					case g.rule.window == w:
						g.move(&r.rules[i], sum, -1)
					default:
						g.moveShort(&r.rules[i], sum, -1)
					}
				}
			})
			d.heads[w]++
		}
	}
}

// judge asks the rule about one group and tells what changed.
func (d *domain) judge(g *group, m rules.Measure, edge int64) []Output {
	v := g.rule.Judge(m)
	before := g.life.Incident
	var out []Output
	if g.life.Incident != nil && len(d.said) > 0 {
		out = d.obey(g, m, v, edge)
	}
	g.life.past(g.rule.Rule, edge)
	n := g.life.temper(g.rule.Rule, v, g.life.step(g.rule.Rule, v, d.cfg.Pane, edge), edge)
	if g.usual != nil && g.life.deviates() {
		g.usual.spoil(g.rule.Signal.Deviation, edge)
	}
	if n.transition == "" && g.life.Incident != nil && g.gone(edge) {
		n = news{transition: Expired}
	}
	switch o := g.life.Incident; {
	case n.transition == Opened:
		d.opening = append(d.opening, opening{turn{g, m, v}, n.tier}) // correlate tells of it, or of what it is part of
	case o != nil && o.untold():
		d.follow(g, n, edge)
	case n.transition != "":
		out = append(out, d.tell(g, m, v, n, edge)...)
	}
	d.watched(g, m, v, before, edge)
	if o := g.life.Incident; o != nil && !o.untold() {
		out = append(out, d.remind(g, m, v, edge)...)
		out = append(out, d.expireRequests(g, m, v, edge)...)
	}
	switch {
	case n.transition == Opened:
	case n.transition == Expired, g.life.Incident == nil && g.gone(edge):
		g.forget()
	case g.events == 0 && g.life.clean() && !g.missed():
		g.forget()
	}
	return out
}

// prune lets go of panes that no window needs, of series that no pane holds, and of groups that nobody knows any more.
func (d *domain) prune(edge int64, forgot bool) {
	n := 0
	for n < d.closed && d.panes[n].start < edge-d.longest {
		for i := range d.panes[n].cells {
			s := d.of(&d.panes[n].cells[i])
			if s.closed--; s.closed == 0 {
				d.unbind(s)
			}
			d.leaves(s)
		}
		d.forgetLimit(d.panes[n])
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
	d.refused = slices.DeleteFunc(d.refused, func(r PaneEvents) bool { return r.Pane < edge-d.longest })
	for _, p := range d.panes[d.closed:] {
		d.shed(p)
	}
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

// noteChanges remembers the changes of a pane.
func (d *domain) noteChanges(p *pane) {
	for i := range p.cells {
		if c := &p.cells[i]; d.roles[c.number].kind == rules.KindChange {
			d.noteChange(d.of(c), p.start)
		}
	}
}

// stateOf is the last state that is remembered of the breaker of a change; "" without.
func (d *domain) stateOf(c *Change) string {
	for _, x := range slices.Backward(d.changes) {
		if x.Change == c.Change && x.Service == c.Service && x.At < c.At { // of its own pane nobody knows the order
			return x.State
		}
	}
	return ""
}

// noteChange remembers a change, in an order that does not depend on arrival.
func (d *domain) noteChange(s *series, start int64) {
	c := Change{
		Change: s.value("change"), Service: s.value("service"), Version: s.value("version"),
		PreviousVersion: s.value("previous_version"), State: s.value("state"), At: Millis(start),
	}
	if c.Change == "breaker" && d.stateOf(&c) == c.State {
		return // it tells again of the state that it is in
	}
	i, _ := slices.BinarySearchFunc(d.changes, c, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Service, y.Service), cmp.Compare(x.Change, y.Change),
			cmp.Compare(x.Version, y.Version), cmp.Compare(x.PreviousVersion, y.PreviousVersion), cmp.Compare(x.State, y.State))
	})
	d.changes = slices.Insert(d.changes, i, c)
}
