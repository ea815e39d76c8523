package detector

import (
	"cmp"
	"slices"

	"sevwatch/rules"
)

// Limits bound what a judge keeps of each domain; 0: no bound.
//
// What is kept is decided when a pane closes, and depends on what the panes hold and on nothing else, however their deltas arrived. A series
// is known to a pane when one of the panes that are kept and ended Config.Settle before it, or earlier, counts it apart; known series are
// always counted apart. All others are looked at in the order of their hashes: from the first on that would be one series or one group too
// many, they are counted together, in the overflow series of their kind. docs/adr/0063-limits.md argues for it.
type Limits struct {
	Series    int // that are counted apart in the panes that are kept
	Groups    int // of a rule and values of its labels
	Incidents int // that are open
}

// Names of what happens to the pipeline at a limit, as events of kind pipeline: so many events were counted in overflow series, so many
// incidents could not be opened.
const (
	SeriesOverflow   = "series_overflow"
	IncidentsRefused = "incidents_refused"
)

// OverflowLabel marks an overflow series; no label of an event can have its name.
const OverflowLabel = "overflow"

// overflowKeeps are the labels that an overflow series has of those that it stands for. They have few values.
var overflowKeeps = []string{"action", "status_class"}

// AtLimits is what happened at the limits, of all domains since the judge began.
type AtLimits struct {
	Overflow int64 // events that were counted in overflow series
	Refused  int64 // incidents that could not be opened at a pane's edge
}

// Settle is how long, in ms, before a pane begins a series must have been counted to be known to it: by then everything before has been closed,
// unless a partition is far ahead.
func (c *Config) Settle() int64 { return ceil(c.MaxLateness(), c.Pane) + 2*c.Pane }

// kept is how long panes are kept that no window needs any more, to know which series are known.
func (c *Config) kept() int64 {
	if c.Limits.Series == 0 && c.Limits.Groups == 0 {
		return 0
	}
	return 2 * c.Settle()
}

// Waiting is how many series the open panes hold, each counted once a pane.
func (j *Judge) Waiting() int {
	n := 0
	for _, name := range SortedKeys(j.domains) {
		d := j.domains[name]
		for _, p := range d.panes[d.closed:] {
			n += len(p.cells)
		}
	}
	return n
}

// AtLimits is what happened at the limits.
func (j *Judge) AtLimits() AtLimits { return j.atLimits }

// Live is how many series are counted apart in closed panes, and how many groups there are.
func (j *Judge) Live() (series, groups int) {
	for _, name := range SortedKeys(j.domains) {
		d := j.domains[name]
		series, groups = series+d.live, groups+len(d.groups)
	}
	return series, groups
}

// noLimit is beyond every hash.
const noLimit = uint64(1) << 63

// hashOf orders series: every machine has the same order, and labels that are like each other are far apart in it.
func hashOf(key []byte) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return mix(h^prime0, prime1) % noLimit
}

// isOverflow says whether labels are those of an overflow series.
func isOverflow(labels []Label) bool { return slices.Contains(labels, Label{OverflowLabel, "true"}) }

// overflowOf is the overflow series that stands for a series.
func (d *domain) overflowOf(kind rules.Kind, labels []Label) *series {
	kept := []Label{{OverflowLabel, "true"}}
	for _, l := range labels {
		if slices.Contains(overflowKeeps, l.Name) {
			kept = append(kept, l)
		}
	}
	sortLabels(kept)
	return d.seriesOf(&SeriesDelta{Kind: kind, Labels: kept})
}

// knowsAll says whether a selector asks only for labels that overflow series have. Where it asks for others it does not pick them: nobody
// knows which of their events it would.
func knowsAll(sel rules.Selector) bool {
	for _, m := range sel.Matchers {
		if !slices.Contains(overflowKeeps, m.Name) {
			return false
		}
	}
	return true
}

// overflows says whether a series that has no cell in the pane yet has to be counted in its overflow series. What is known to the pane is not
// certain before it closes; whatever may be is kept until then.
func (p *pane) overflows(hash uint64, live bool) bool {
	if p.limit == noLimit || hash < p.limit || live {
		return false
	}
	_, exact := slices.BinarySearch(p.exact, hash)
	return !exact
}

// unknown are the series of the pane that are not known to it, as far as can be told now: all that are not in the end.
func (d *domain) unknown(p *pane) []*series {
	recent := func(by int32) {
		for _, q := range slices.Backward(d.panes[:d.closed]) {
			if q.start < p.start-d.ripe {
				break
			}
			for i := range q.cells {
				d.of(&q.cells[i]).recent += by
			}
		}
	}
	recent(1)
	var out []*series
	for i := range p.cells {
		if s := d.of(&p.cells[i]); !s.own && s.closed == s.recent {
			out = append(out, s)
		}
	}
	recent(-1)
	slices.SortFunc(out, func(x, y *series) int { return cmp.Compare(x.hash, y.hash) })
	return out
}

// shed makes an open pane smaller that has grown far beyond what can be counted apart of it. It only looks when everything before settle is
// closed: who is not known to the pane then never will be.
func (d *domain) shed(p *pane) {
	limit := d.cfg.Limits.Series
	if limit == 0 || len(p.cells) <= max(p.looked, limit) || *d.edge == never || *d.edge < p.start-d.ripe {
		return
	}
	if unknown := d.unknown(p); len(unknown) > limit {
		d.overflow(p, unknown, unknown[limit].hash)
	}
	p.looked = len(p.cells) + limit/4
}

// overflow counts the unknown series of a pane from a hash on together.
func (d *domain) overflow(p *pane, unknown []*series, from uint64) {
	p.limit = min(p.limit, from)
	leaves := map[*series]bool{}
	for _, s := range unknown {
		if s.hash >= p.limit {
			leaves[s] = true
		}
	}
	cells, dists := p.cells, p.dists
	p.cells, p.dists = make([]seriesCell, 0, len(cells)-len(leaves)+1), packed{}
	clear(p.index)
	var room Cell
	old := pane{dists: dists}
	for i := range cells {
		s := d.of(&cells[i])
		if leaves[s] {
			continue
		}
		c := cells[i]
		if c.dist > 0 {
			dists.cell(int(c.dist-1), &room)
			c.dist = int32(p.dists.add(&room) + 1)
		}
		p.cells = append(p.cells, c)
		p.index[s.number] = int32(len(p.cells))
	}
	for i := range cells {
		if s := d.of(&cells[i]); leaves[s] {
			d.add(p, d.overflowOf(s.kind, s.labels), old.cell(&cells[i], &room))
			d.leaves(s)
		}
	}
}

// leaves lets a series go from a pane.
func (d *domain) leaves(s *series) {
	if s.panes--; s.panes == 0 {
		delete(d.series, s.key)
		d.by[s.number] = nil
		d.spare = append(d.spare, s.number)
	}
}

// admit decides which of the series of the pane that closes are counted apart, and binds those to their groups.
func (d *domain) admit(p *pane) {
	fresh := 0
	for i := range p.cells {
		if s := d.of(&p.cells[i]); s.closed == 0 && !s.own {
			fresh++
		}
	}
	if p.limit < noLimit || d.tooMany(fresh) {
		d.fit(p)
	}
	d.atLimits.Overflow += d.settled(p)
}

// settled binds the series of a pane of which it is decided what is counted apart, and says how many events are counted together.
func (d *domain) settled(p *pane) int64 {
	var overflow int64
	var room Cell
	for i := range p.cells {
		if d.of(&p.cells[i]).overflow {
			overflow += p.cell(&p.cells[i], &room).Count
		}
	}
	if overflow > 0 {
		d.happened(p, SeriesOverflow, overflow)
	}
	for i := range p.cells {
		s := d.of(&p.cells[i])
		d.bind(s)
		s.closed++
	}
	return overflow
}

// tooMany says whether so many more series may be too many, or too many groups.
func (d *domain) tooMany(fresh int) bool {
	l := d.cfg.Limits
	return l.Series > 0 && d.live+fresh > l.Series || l.Groups > 0 && fresh > 0 && len(d.groups)+fresh*len(d.rules) > l.Groups
}

// fit counts together what does not fit.
func (d *domain) fit(p *pane) {
	unknown := d.unknown(p)
	n := 0
	for n < len(unknown) && unknown[n].hash < p.limit && d.fits(unknown[n]) {
		n++
	}
	if n == len(unknown) {
		return
	}
	from := min(p.limit, unknown[n].hash)
	for _, s := range unknown[:n] {
		if s.hash >= from && s.closed == 0 {
			d.unbind(s)
		}
	}
	d.overflow(p, unknown, from)
}

// beyond are the hashes beyond the limit of the pane that are counted apart all the same, sorted: of known series or, while it is open, of
// those that may be.
func (d *domain) beyond(p *pane) (out []uint64) {
	for i := range p.cells {
		if s := d.of(&p.cells[i]); !s.own && s.hash >= p.limit {
			out = append(out, s.hash)
		}
	}
	slices.Sort(out)
	return out
}

// fits binds a series to its groups, unless that is one series or one group too many. One that is counted apart already always fits.
func (d *domain) fits(s *series) bool {
	l := d.cfg.Limits
	if s.closed > 0 {
		return true
	}
	if l.Series > 0 && d.live >= l.Series {
		return false
	}
	before := len(d.order)
	d.bind(s)
	if l.Groups == 0 || len(d.groups) <= l.Groups || len(d.order) == before {
		return true
	}
	d.unbind(s)
	for _, g := range d.order[before:] {
		delete(d.groups, g.key)
	}
	d.order = d.order[:before]
	return false
}

// happened counts in a pane what happened to the pipeline in the judge itself.
func (d *domain) happened(p *pane, name string, n int64) {
	s := d.seriesOf(&SeriesDelta{Kind: rules.KindPipeline, Labels: []Label{{"name", name}}})
	s.made = true
	d.add(p, s, &Cell{Count: n})
}

// opening is an incident that could be opened at this edge.
type opening struct {
	turn
	tier int
}

// openSome opens incidents, the worst first and of those the oldest, as long as there are not too many. The rest are looked at again at the next
// edge; that they were refused is told as what happened in the pane that begins here.
func (d *domain) openSome(live []turn, edge int64) []turn {
	room := d.cfg.Limits.Incidents
	for i := range live {
		if !live[i].rule.own {
			room--
		}
	}
	slices.SortFunc(d.opening, func(x, y opening) int {
		return cmp.Or(cmp.Compare(x.rule.Severities[x.tier].Severity, y.rule.Severities[y.tier].Severity),
			cmp.Compare(x.life.RunStart, y.life.RunStart), cmp.Compare(x.key, y.key))
	})
	var refused int64
	for _, o := range d.opening {
		switch {
		case o.rule.own || d.cfg.Limits.Incidents == 0:
		case room <= 0:
			refused++
			continue
		default:
			room--
		}
		d.open(o.group, o.tier, edge)
		live = append(live, o.turn)
	}
	if refused > 0 {
		d.refused = append(d.refused, PaneEvents{edge, refused})
		d.atLimits.Refused += refused
	}
	return live
}

// tellRefused counts in a pane how many incidents were refused at its start.
func (d *domain) tellRefused(start int64) {
	for _, r := range d.refused {
		if r.Pane == start {
			d.happened(d.pane(start), IncidentsRefused, r.Events)
		}
	}
}
