package detector

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"sevwatch/rules"
)

// model is the engine as docs/messages.md and design.md tell it, without any of its cleverness: it keeps every event, and at every
// pane's edge it counts every window of every rule anew. It is read beside the contract, not beside the engine.
type model struct {
	t      *tale
	clocks []int64        // watermark of each source
	held   [][]*taleEvent // of each source: too far ahead, and nobody knows yet
	there  int
	late   int64
	bad    int64         // rejected
	future int64         // of them by the guard
	events []*modelEvent // all that were not late
	spans  []Span        // silence on record

	byPane map[int64][]*modelEvent
	groups map[string]*modelGroup
	acts   []modelAct
	asked  map[string][]int64 // by domain and action: when
	rows   []string
}

// modelAct is a person's word, and the edge at which it counts.
type modelAct struct {
	taleAct
	edge int64
}

type modelEvent struct {
	taleEvent
	domain string
	plays  []modelPart // one a rule
}

// modelPart is what an event is to a rule.
type modelPart struct {
	num, den bool
	picked   bool   // for the numerator, whether or not it counts there
	group    string // the values of the rule's `by` labels
}

// newModel has heard nothing yet.
func newModel(t *tale) *model {
	m := &model{t: t, there: t.there, held: make([][]*taleEvent, len(t.sources)), byPane: map[int64][]*modelEvent{}, groups: map[string]*modelGroup{}, asked: map[string][]int64{}}
	for range t.sources {
		m.clocks = append(m.clocks, math.MinInt64)
	}
	return m
}

// hear takes the next step of the log.
func (m *model) hear(s *taleStep) {
	switch s.what {
	case stepGrow:
		m.clocks[s.source] = m.minimum()
		m.there++
	case stepMark:
		if s.to > m.clocks[s.source] {
			m.near(s.source, s.to+m.t.lateness(s.source))
		}
		if s.to <= m.clocks[s.source] {
			return
		}
		if s.silent && m.clocks[s.source] != math.MinInt64 {
			m.spans = append(m.spans, Span{m.clocks[s.source], s.to})
		}
		m.clocks[s.source] = s.to
	case stepEvent:
		if clock := m.clocks[s.source]; clock != math.MinInt64 && s.event.time < m.edgeBefore(clock) {
			m.late++
			return
		}
		m.guard(s.source, &s.event)
	case stepReject:
		m.bad++
	}
}

// guard counts an event that is not late, or holds it back.
func (m *model) guard(source int, e *taleEvent) {
	clock, ahead := m.clocks[source], m.t.cfg.MaxAhead
	var agreeing []*taleEvent
	for _, h := range m.held[source] {
		if h.time-e.time > ahead {
			m.bad++
			m.future++
		} else {
			agreeing = append(agreeing, h)
		}
	}
	m.held[source] = agreeing
	if ahead == 0 || clock == math.MinInt64 || e.time-m.t.lateness(source)-clock <= ahead {
		for _, h := range agreeing {
			m.count(source, h)
		}
		m.held[source] = nil
		m.count(source, e)
		return
	}
	m.held[source] = append(agreeing, e)
	if len(m.held[source]) == m.t.cfg.Agree {
		first := m.held[source][0]
		m.held[source] = m.held[source][1:]
		m.count(source, first)
		m.near(source, first.time)
	}
}

// near counts what is held and is not too far from newest, and then what is not too far from that.
func (m *model) near(source int, newest int64) {
	for i, h := range m.held[source] {
		if h.time-newest <= m.t.cfg.MaxAhead {
			m.held[source] = slices.Delete(slices.Clone(m.held[source]), i, i+1)
			m.count(source, h)
			m.near(source, max(newest, h.time))
			return
		}
	}
}

func (m *model) count(source int, counted *taleEvent) {
	m.clocks[source] = max(m.clocks[source], counted.time-m.t.lateness(source))
	e := &modelEvent{taleEvent: *counted, domain: counted.labels[m.t.cfg.Domain]}
	if !m.t.cfg.CountSessions[m.t.sources[source].Topic] {
		e.session = ""
	}
	for _, r := range m.t.file.Rules() {
		e.plays = append(e.plays, partOf(r, e))
	}
	m.events = append(m.events, e)
	pane := m.edgeBefore(e.time)
	m.byPane[pane] = append(m.byPane[pane], e)
}

// minimum is the watermark of the slowest partition.
func (m *model) minimum() int64 { return slices.Min(m.clocks[:m.there]) }

// edgeBefore is the last pane's edge at or before t.
func (m *model) edgeBefore(t int64) int64 { return t / m.t.cfg.Pane * m.t.cfg.Pane }

// valued says whether the rule is about the values of events.
func valued(r *rules.Rule) bool {
	d := r.Signal.Deviation
	return r.Signal.Quantile != nil || r.Signal.Mean != nil || r.Signal.Max != nil || d != nil && (d.Quantile != nil || d.Mean != nil)
}

func partOf(r *rules.Rule, e *modelEvent) modelPart {
	picks := func(s rules.Selector) bool {
		return s.Matches(e.kind, func(name string) string { return e.labels[name] })
	}
	part := modelPart{num: slices.ContainsFunc(r.Signal.Num, picks), den: slices.ContainsFunc(r.Signal.Den, picks)}
	by := slices.Sorted(slices.Values(r.By))
	for _, name := range by {
		if v := e.labels[name]; v != "" {
			part.group += name + "=" + v + " "
		}
	}
	// A quantile is made of values: an event without one says nothing.
	part.picked = part.num
	if valued(r) && !e.hasValue || r.Signal.Distinct != nil && e.session == "" {
		part.num = false
	}
	return part
}

// judge tells every revision up to the slowest watermark, a line each.
func (m *model) judge() []string {
	low := m.minimum()
	if low == math.MinInt64 || len(m.events) == 0 {
		return nil
	}
	edge := slices.Min(slices.Collect(maps.Keys(m.byPane)))
	for edge += m.t.cfg.Pane; edge <= m.edgeBefore(low); edge += m.t.cfg.Pane {
		m.close(edge)
	}
	return m.rows
}

// close judges every group of every rule at the edge.
func (m *model) close(edge int64) {
	for i, r := range m.t.file.Rules() {
		for _, e := range m.byPane[edge-m.t.cfg.Pane] {
			if p := e.plays[i]; p.num || p.den {
				m.group(i, r, e.domain, p.group)
			}
		}
	}
	var rows []string
	domains := map[string][]*modelGroup{}
	for _, key := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[key]
		rows = append(rows, g.close(edge)...)
		if g.incident != nil {
			domains[g.domain] = append(domains[g.domain], g)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(domains)) {
		rows = append(rows, m.correlate(edge, domains[name])...)
		rows = m.act(edge, domains[name], rows)
	}
	slices.Sort(rows)
	m.rows = append(m.rows, rows...)
}

func (m *model) group(i int, r *rules.Rule, domain, labels string) {
	key := fmt.Sprintf("%d|%s|%s", i, domain, labels)
	if m.groups[key] == nil {
		m.groups[key] = &modelGroup{m: m, index: i, r: r, domain: domain, labels: labels}
	}
}

// observed says whether a pane was looked at: something came, or it is on record that nothing did.
func (m *model) observed(pane int64) bool {
	if len(m.byPane[pane]) > 0 {
		return true
	}
	covered := pane
	for range m.spans { // each pass may join one more
		for _, s := range m.spans {
			if s.From <= covered && s.To > covered {
				covered = s.To
			}
		}
		if covered >= pane+m.t.cfg.Pane {
			return true
		}
	}
	return false
}

// modelGroup is one rule for one value of its labels.
type modelGroup struct {
	m              *model
	index          int
	r              *rules.Rule
	domain, labels string

	known       bool
	first, last int64 // start of the first pane with data, end of the last
	silent      int64
	alive       bool
	judged      []modelVerdict // every judged pane since the last incident was over
	incident    *modelIncident
	f           facts // at this edge
	k           knowledge
	past        *modelIncident // resolved, and not forgotten
	spoiled     map[int64]bool // panes that were in a window that deviated
}

type modelVerdict struct {
	edge           int64
	worst, healthy int
}

type modelIncident struct {
	tier      int // the worst one held
	revision  int
	noData    bool
	severity  rules.Severity
	peak      rules.Severity
	started   int64
	respondBy int64
	change    string
	requests  []modelRequest
	held      []modelHeld
	now       []modelRow // of the last edge

	answered      bool
	silencedUntil int64
	suppressed    int64 // until, 0: it is not
	overdue       map[rules.Severity]bool
	edges         []int64 // of all changes for better or worse
	flapping      bool
	told          int64
	closed        int64
	byHand        bool

	parent   string // an id
	children int
	storm    bool
}

type modelRequest struct {
	action    string
	severity  rules.Severity
	attempt   int
	tries     int
	automatic bool
	expires   int64
	over      bool
	ended     string
	versions  string
}

type modelRow = row // which a local variable hides

// modelHeld is an action that a guard rail holds back; until 0: for good.
type modelHeld struct {
	action, rail string
	until        int64
}

// window calls f with every event that the rule picks for the group in [edge-length, edge).
func (g *modelGroup) window(edge, length int64, f func(e *modelEvent, p modelPart)) {
	for pane := edge - length; pane < edge; pane += g.m.t.cfg.Pane {
		for _, e := range g.m.byPane[pane] {
			p := e.plays[g.index]
			if e.domain == g.domain && p.group == g.labels && (p.num || p.den) {
				f(e, p)
			}
		}
	}
}

// facts are the numbers of the group's window, counted anew.
type facts struct {
	any      int64 // events of any kind that the rule picks
	num, den int64
	short    [2]int64 // num and den of a burn rate's short window
	values   []int64
	stream   int64
	full     bool
	observed bool
	learned  bool
	usual    float64
	spread   float64
	sessions int64 // that are touched
}

func (g *modelGroup) facts(edge int64) facts {
	f := g.numbers(edge)
	if g.r.Signal.Deviation != nil {
		var high float64
		f.usual, high, f.spread, f.learned = g.usual(edge)
		if f.learned && high > f.usual && g.worth(f) == enough {
			f.usual = math.Min(math.Max(g.deviating(f), f.usual), high)
		}
	}
	f.sessions = g.sessions(edge)
	return f
}

// numbers are the facts that need nothing from before the window.
func (g *modelGroup) numbers(edge int64) facts {
	pane, length := g.m.t.cfg.Pane, int64(g.r.Window)
	f := facts{full: g.first <= edge-length, observed: g.m.observed(edge - pane)}
	g.window(edge, length, func(e *modelEvent, p modelPart) {
		f.any++
		if p.num {
			f.num++
			f.values = append(f.values, e.value)
		}
		if p.den {
			f.den++
		}
	})
	if b := g.r.Signal.Burn; b != nil {
		g.window(edge, int64(b.Short), func(_ *modelEvent, p modelPart) {
			if p.num {
				f.short[0]++
			}
			if p.den {
				f.short[1]++
			}
		})
	}
	for at := edge - length; at < edge; at += pane {
		f.stream += int64(len(g.m.byPane[at]))
		f.full = f.full && g.m.observed(at)
	}
	return f
}

// sessions is how many sessions the window's events touch: of a value or an entering nobody knows whether it went wrong, so all of them.
func (g *modelGroup) sessions(edge int64) int64 {
	s := &g.r.Signal
	hashes, events := map[uint64]bool{}, int64(0)
	for pane := edge - int64(g.r.Window); pane < edge; pane += g.m.t.cfg.Pane {
		for _, e := range g.m.byPane[pane] {
			p := e.plays[g.index]
			touched := p.picked
			switch {
			case s.Absence != nil:
				touched = false
			case s.Completion != nil && (s.Completion.Start != nil || s.Completion.Against == rules.Enters):
				touched = p.picked || p.den
			case s.Completion != nil:
				touched = p.den && !p.picked
			}
			if touched && e.session != "" && e.domain == g.domain && p.group == g.labels {
				hashes[SessionHash([]byte(e.session))] = true
				events++
			}
		}
	}
	if len(hashes) <= 256 {
		return int64(len(hashes))
	}
	return distinctOf(slices.Collect(maps.Keys(hashes))).count(events).N
}

// usual is the lower median of what was learned, and 1.4826 times that of the distances from it: of the values of the last panes with data, or of the
// last whole windows, that lie before the window and never were, nor was a part of them, in a window that deviated. Not ok while they are too few.
func (g *modelGroup) usual(edge int64) (low, high, spread float64, ok bool) {
	d, pane, length := g.r.Signal.Deviation, g.m.t.cfg.Pane, int64(g.r.Window)
	var learned []float64
	if d.Panes > 0 {
		for at := g.first; at < edge-length; at += pane {
			var values []int64
			g.window(at+pane, pane, func(e *modelEvent, p modelPart) {
				if p.num {
					values = append(values, e.value)
				}
			})
			if len(values) > 0 && !g.spoiled[at] {
				learned = append(learned, nearestRank(values, d.Quantile.Q))
			}
		}
	}
	seasons := map[int64][]float64{} // by how far into the season a window begins
	if d.Windows > 0 {
		for end := g.first/length*length + length; end <= edge-length; end += length {
			f, spoiled := g.numbers(end), false
			for at := end - length; at < end; at += pane {
				spoiled = spoiled || g.spoiled[at]
			}
			if g.worth(f) == enough && !spoiled {
				learned = append(learned, g.deviating(f))
				if d.Season > 0 {
					into := (end - length) % int64(d.Season)
					seasons[into] = append(seasons[into], g.deviating(f))
				}
			}
		}
	}
	size := max(d.Panes, d.Windows)
	learned = learned[max(0, len(learned)-size):]
	if d.Season > 0 {
		return g.inSeason(edge-length, seasons)
	}
	if len(learned) < min(5, size) {
		return 0, 0, 0, false
	}
	usual := lowerMedian(learned)
	var distances []float64
	for _, v := range learned {
		distances = append(distances, math.Abs(v-usual))
	}
	return usual, usual, lowerMedian(distances) * 1.4826, true
}

// inSeason is what is usual of the last window of the season that began by start, and of the one behind it.
func (g *modelGroup) inSeason(start int64, seasons map[int64][]float64) (low, high, spread float64, ok bool) {
	d, length := g.r.Signal.Deviation, int64(g.r.Window)
	season := int64(d.Season)
	over := start % length
	of := func(begin int64) []float64 {
		values := seasons[(begin+season)%season]
		return values[max(0, len(values)-d.Windows):]
	}
	before, this, behind := of(start-over-length), of(start-over), of(start-over+length)
	if few := min(5, d.Windows); len(this) < few || over > 0 && len(behind) < few {
		return 0, 0, 0, false
	}
	ends := []float64{lowerMedian(this)}
	if over > 0 {
		ends = append(ends, lowerMedian(behind))
	}
	var apart []float64
	for _, values := range [][]float64{before, this, behind} {
		for _, v := range values {
			apart = append(apart, math.Abs(v-lowerMedian(values)))
		}
	}
	return slices.Min(ends), slices.Max(ends), lowerMedian(apart) * 1.4826, true
}

func lowerMedian(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[(len(values)-1)/2]
}

// deviating is the value that a deviation is of.
func (g *modelGroup) deviating(f facts) float64 {
	switch d := g.r.Signal.Deviation; {
	case d.Rate != nil:
		return float64(f.num) / (float64(g.r.Window) / 1000)
	case d.Ratio != nil:
		return float64(f.num) / float64(max(f.num, f.den))
	case d.Mean != nil:
		return meanOf(f.values)
	default:
		return nearestRank(f.values, d.Quantile.Q)
	}
}

// sigma is at least a twentieth of what is usual, or of the floor.
func (g *modelGroup) sigma(f facts) float64 {
	return max(f.spread, 0.05*math.Abs(f.usual), 0.05*g.r.Signal.Deviation.Floor)
}

// distance is how far the value lies from the usual on the side that the rule looks at, or on either.
func (g *modelGroup) distance(f facts) float64 {
	d, v := g.r.Signal.Deviation, g.deviating(f)
	over := v - f.usual
	switch d.Measured {
	case rules.Sigmas:
		over /= g.sigma(f)
	case rules.Relative:
		times, fewer := v/f.usual, 1e6
		if v > 0 && f.usual/v < fewer {
			fewer = f.usual / v
		}
		return map[rules.Direction]float64{rules.Up: times, rules.Down: fewer, rules.Both: max(times, fewer)}[d.Direction]
	}
	return map[rules.Direction]float64{rules.Up: max(over, 0), rules.Down: max(-over, 0), rules.Both: math.Abs(over)}[d.Direction]
}

// floor is what nobody has written where it is 0.
func (g *modelGroup) floor(t rules.Tier) float64 {
	if floor := max(g.r.Signal.Deviation.Floor, t.Floor); floor > 0 {
		return floor
	}
	return math.Inf(-1)
}

// concern is what has to be above the floor.
func (g *modelGroup) concern(f facts) float64 {
	v := g.deviating(f)
	return map[rules.Direction]float64{rules.Up: v, rules.Down: f.usual, rules.Both: max(v, f.usual)}[g.r.Signal.Deviation.Direction]
}

// fewer says whether what is wrong is too little.
func (g *modelGroup) fewer(f facts) bool {
	if d := g.r.Signal.Deviation; d != nil && (d.Direction == rules.Down || d.Direction == rules.Both && g.deviating(f) < f.usual) {
		return true
	}
	return g.r.Severities[0].Below != nil
}

func meanOf(values []int64) float64 {
	sum := new(big.Int)
	for _, v := range values {
		sum.Add(sum, big.NewInt(v))
	}
	mean, _ := new(big.Rat).SetFrac(sum, big.NewInt(1e6*int64(len(values)))).Float64()
	return mean
}

// nearestRank is the middle of the bucket in which the value of rank ceil(q*n) lies.
func nearestRank(values []int64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	rank := max(1, int(math.Ceil(q*float64(len(sorted)))))
	low, high := bucketOf(sorted[rank-1])
	return (low + high) / 2
}

// aboveBy and belowBy count the values whose whole bucket lies beyond the bound: ]low, high] of positive values, [low, high[ of
// negative ones, and 0 alone.
func aboveBy(values []int64, bound float64) (n int64) {
	for _, v := range values {
		if low, _ := bucketOf(v); low > bound || low == bound && v > 0 {
			n++
		}
	}
	return n
}

func belowBy(values []int64, bound float64) (n int64) {
	for _, v := range values {
		if _, high := bucketOf(v); high < bound || high == bound && v < 0 {
			n++
		}
	}
	return n
}

var bucketMemo = map[int64][2]float64{}

// bucketOf is the bucket of Prometheus' schema 5 that v millionths lie in, by its definition: 2^((i-1)/32) < v <= 2^(i/32), in whole
// numbers (v^32 against 2^i), with the bounds from square roots.
func bucketOf(v int64) (low, high float64) {
	if v == 0 {
		return 0, 0
	}
	if v < 0 {
		low, high = bucketOf(-v)
		return -high, -low
	}
	if b, ok := bucketMemo[v]; ok {
		return b[0], b[1]
	}
	above := func(i int) bool { // v/1e6 > 2^(i/32)
		x := new(big.Int).Exp(big.NewInt(v), big.NewInt(32), nil)
		y := new(big.Int).Exp(big.NewInt(1e6), big.NewInt(32), nil)
		if i >= 0 {
			y.Lsh(y, uint(i))
		} else {
			x.Lsh(x, uint(-i))
		}
		return x.Cmp(y) > 0
	}
	i := int(math.Floor(32 * math.Log2(float64(v)/1e6)))
	for i -= 2; above(i); i++ {
	}
	bucketMemo[v] = [2]float64{powerOfTwo(i - 1), powerOfTwo(i)}
	return bucketOf(v)
}

// powerOfTwo is 2^(i/32), rounded once.
func powerOfTwo(i int) float64 {
	whole := int(math.Floor(float64(i) / 32))
	x := new(big.Float).SetPrec(400).SetInt64(1)
	root := new(big.Float).SetPrec(400).SetInt64(2)
	for bit := 16; bit > 0; bit /= 2 { // 2^(1/2), 2^(1/4), ... 2^(1/32)
		root.Sqrt(root)
		if (i-whole*32)&bit != 0 {
			x.Mul(x, root)
		}
	}
	f, _ := x.SetMantExp(x, whole).Float64()
	return f
}

// close is the group's turn at the edge.
func (g *modelGroup) close(edge int64) []string {
	pane := g.m.t.cfg.Pane
	data := false
	g.window(edge, pane, func(*modelEvent, modelPart) { data = true })
	if !g.known && !data {
		return nil
	}
	if !g.known {
		*g = modelGroup{m: g.m, index: g.index, r: g.r, domain: g.domain, labels: g.labels, known: true, first: edge - pane, spoiled: map[int64]bool{}}
	}
	f := g.facts(edge)
	switch {
	case data:
		g.last, g.silent = edge, 0
		if g.incident == nil {
			g.alive = f.num >= max(1, g.r.Sample.Min) && g.first <= edge-int64(g.r.Window)
		}
	case f.observed:
		g.silent += pane
	case g.incident == nil:
		g.silent = 0
	}
	rows, deviates := g.live(edge, f)
	if deviates {
		for at := edge - int64(g.r.Window); at < edge; at += pane {
			g.spoiled[at] = true
		}
	}
	gone := edge-g.last >= int64(g.r.NoDataAfter)
	nothing := f.any == 0 && g.runStart() == 0 && g.past == nil && !g.missed()
	if g.incident == nil && (gone || nothing) {
		g.known = false
	}
	return rows
}

// counts says whether the rule is about how many events or sessions there are.
func (g *modelGroup) counts() bool {
	s := g.r.Signal
	return s.Count != nil || s.Rate != nil || s.Distinct != nil || s.Deviation != nil && s.Deviation.Rate != nil
}

// missed says whether an empty window means something to the rule: then the group is known until it is gone for good.
func (g *modelGroup) missed() bool {
	s := g.r.Signal
	tooFew := g.counts() && g.r.Severities[0].Below != nil
	return s.Absence != nil && g.alive || s.Deviation != nil || g.r.NoData == rules.NoDataFire || tooFew
}

// runStart is the start of the first of the judged panes up to now in all of which some tier breached, 0 if there is none.
func (g *modelGroup) runStart() (start int64) {
	for _, v := range slices.Backward(g.judged) {
		if v.worst == len(g.r.Severities) {
			break
		}
		start = v.edge - g.m.t.cfg.Pane
	}
	return start
}

// streak is for how long, in judged panes up to now, is has been so.
func (g *modelGroup) streak(is func(v modelVerdict) bool) (ms int64) {
	for _, v := range slices.Backward(g.judged) {
		if !is(v) {
			break
		}
		ms += g.m.t.cfg.Pane
	}
	return ms
}

type knowledge int

const (
	empty knowledge = iota
	small
	enough
)

// live is what the pane's evidence, people's words and time itself mean to the incident, and whether the group deviates.
func (g *modelGroup) live(edge int64, f facts) (rows []string, deviates bool) {
	k := g.knowledge(f)
	for _, a := range g.m.acts {
		switch {
		case a.edge != edge || g.incident == nil || !g.concerned(a):
		case g.incident.revision == 0:
			if a.act == ActSilence {
				g.incident.silencedUntil = max(g.incident.silencedUntil, a.until)
			}
		default:
			rows = append(rows, g.obey(edge, f, k, a)...)
		}
	}
	if p := g.past; p != nil && !p.byHand && edge-p.closed >= int64(g.r.ReopenFor) {
		g.past = nil
	}
	deviated := g.incident != nil
	transition := g.temper(edge, f, k, g.revise(edge, f, k))
	deviates = deviated || g.runStart() != 0 && (g.past == nil || !g.past.byHand)
	if transition == "" && g.incident != nil && edge-g.last >= int64(g.r.NoDataAfter) {
		transition = "expired"
	}
	g.f, g.k = f, k
	switch o := g.incident; {
	case transition == "opened":
	case o != nil && o.revision == 0 && (transition == "resolved" || transition == "expired"):
		g.incident, g.judged = nil, nil
	case o != nil && o.revision == 0:
		if o.tier < len(g.r.Severities) {
			o.severity = g.r.Severities[o.tier].Severity
		}
		if o.suppressed <= edge || g.pastBar(o.severity) {
			o.suppressed = 0
		}
	case transition != "":
		rows = append(rows, g.tell(edge, f, k, transition)...)
	}
	if o := g.incident; o != nil && o.revision > 0 {
		rows = append(rows, g.remind(edge, f, k)...)
		for i := range o.requests {
			switch r := &o.requests[i]; {
			case r.over || r.expires > edge:
			case r.automatic:
				rows = append(rows, g.endRequest(edge, r, "failed"))
			default:
				rows = append(rows, g.endRequest(edge, r, "expired"))
			}
		}
	}
	return rows, deviates
}

// revise is one row of the state table.
func (g *modelGroup) revise(edge int64, f facts, k knowledge) string {
	o := g.incident
	blind := k == empty && g.r.NoData == rules.NoDataFire && f.full
	switch {
	case k == empty && !blind:
		if o != nil && !o.noData {
			o.noData = true
			return "no_data"
		}
		return ""
	case k == small:
		if o != nil && o.noData {
			o.noData = false
			return "updated"
		}
		return ""
	}
	v := modelVerdict{edge: edge}
	if !blind {
		v.worst, v.healthy = g.ladder(f)
	}
	g.judged = append(g.judged, v)
	if g.past != nil && g.past.byHand {
		worse := false
		for i, t := range g.r.Severities {
			long := g.streak(func(v modelVerdict) bool { return v.worst <= i })
			worse = worse || t.Severity < g.past.severity && long > 0 && long >= int64(t.For)
		}
		if worse || v.healthy == len(g.r.Severities) {
			g.past.byHand = false
		}
		if !worse {
			return ""
		}
	}
	return g.move(edge)
}

// move changes the tier that is held, and says what that is called.
func (g *modelGroup) move(edge int64) string {
	tiers := len(g.r.Severities)
	reached := tiers
	for i := tiers - 1; i >= 0; i-- {
		long := g.streak(func(v modelVerdict) bool { return v.worst <= i })
		if long > 0 && long >= int64(g.r.Severities[i].For) {
			reached = i
		}
	}
	switch {
	case g.incident == nil && reached == tiers:
		return ""
	case g.incident == nil && g.past != nil:
		g.incident, g.past = g.past, nil
		g.incident.tier, g.incident.noData = reached, false
		g.incident.answered, g.incident.overdue = false, map[rules.Severity]bool{}
		for i := range g.incident.requests {
			g.incident.requests[i].tries = 0
		}
		g.incident.respondBy = deadline(g.r.Severities[reached].Severity, edge)
		g.incident.silencedUntil = g.silenced(edge)
		g.incident.suppressed = g.suppression(edge, g.r.Severities[reached].Severity)
		return "reopened"
	case g.incident == nil:
		g.incident = &modelIncident{
			tier: reached, started: g.runStart(), severity: g.r.Severities[reached].Severity, peak: rules.Sev4, overdue: map[rules.Severity]bool{},
		}
		g.incident.change = g.change()
		g.incident.silencedUntil = g.silenced(edge)
		g.incident.suppressed = g.suppression(edge, g.incident.severity)
		return "opened"
	}
	o := g.incident
	before := o.tier
	if reached < o.tier {
		o.tier = reached
	} else {
		for o.tier < tiers {
			healthy := g.streak(func(v modelVerdict) bool { return v.healthy > o.tier })
			if healthy == 0 || healthy < int64(*g.r.Recover.KeepFiringFor) {
				break
			}
			o.tier++
		}
	}
	awake := o.noData
	o.noData = false
	switch {
	case o.tier == tiers && before == tiers && o.flapping:
	case o.tier == tiers:
		return "resolved"
	case o.tier < before:
		return "escalated"
	case o.tier > before:
		return "deescalated"
	}
	if awake {
		return "updated"
	}
	return ""
}

// temper tells flapping once, and then nothing until there was no change for as long, but for what is worse than ever.
func (g *modelGroup) temper(edge int64, f facts, k knowledge, transition string) string {
	o, limit := g.incident, *g.r.FlapLimit
	if o == nil {
		o = g.past
	}
	if o == nil || limit == 0 || o.revision == 0 {
		return transition
	}
	if slices.Contains([]string{"opened", "reopened", "escalated", "deescalated", "no_data", "resolved"}, transition) {
		o.edges = append(o.edges, edge)
	}
	recent := 0
	for _, at := range o.edges {
		if at > edge-int64(g.r.FlapWindow) {
			recent++
		}
	}
	held := o.tier < len(g.r.Severities)
	change := len(o.edges) > 0 && o.edges[len(o.edges)-1] == edge && transition != "" && transition != "updated" && transition != "opened"
	switch {
	case held && g.r.Severities[o.tier].Severity < o.peak && (transition == "escalated" || transition == "reopened"):
		return transition
	case !o.flapping && change && recent > limit:
		o.flapping = true
		return "flapping"
	case !o.flapping:
		return transition
	case recent > 0 || !held && k != enough:
		return ""
	}
	o.flapping = false
	switch {
	case !held:
		return "resolved"
	case o.noData:
		return "no_data"
	}
	return "updated"
}

// concerned says whether an act is about the group's incident.
func (g *modelGroup) concerned(a modelAct) bool {
	if a.about != "" {
		return a.about == g.about()
	}
	return g.matched(a)
}

// matched says whether a silence is about the group. Made-up silences name a rule or a service.
func (g *modelGroup) matched(a modelAct) bool {
	return a.alert == g.r.Alert || a.service != "" && strings.Contains(" "+g.labels, " service="+a.service+" ")
}

func (g *modelGroup) obey(edge int64, f facts, k knowledge, a modelAct) (rows []string) {
	o := g.incident
	switch a.act {
	case ActAcknowledge:
		if !o.answered {
			o.answered = true
			return g.tell(edge, f, k, "acknowledged")
		}
	case ActSilence:
		if a.until > edge && a.until > o.silencedUntil {
			o.silencedUntil = a.until
			return g.tell(edge, f, k, "silenced")
		}
	case ActResolve:
		o.byHand = true
		return g.tell(edge, f, k, "resolved")
	case ActApprove:
		for i := range o.requests {
			if r := &o.requests[i]; r.action == a.action && !r.over && !r.automatic {
				r.automatic = true
				r.expires = edge + int64(g.m.t.file.Actions[r.action].Expires)
				rows = append(rows, g.recovery(edge, *r, "approved"))
			}
		}
	}
	return rows
}

// silenced is until when people want to hear nothing of the group, 0 if they do.
func (g *modelGroup) silenced(edge int64) (until int64) {
	for _, a := range g.m.acts {
		if a.act == ActSilence && a.about == "" && a.edge <= edge && a.until > edge && g.matched(a) {
			until = max(until, a.until)
		}
	}
	return until
}

// suppression is until when an incident of that severity is suppressed whose run has begun after a deploy, 0 if it is not.
func (g *modelGroup) suppression(edge int64, severity rules.Severity) int64 {
	if g.r.AfterDeploy == nil || g.pastBar(severity) {
		return 0
	}
	last := int64(math.MinInt64)
	for pane, events := range g.m.byPane {
		for _, e := range events {
			about := g.service() == "" || e.labels["service"] == "" || e.labels["service"] == g.service()
			if e.kind == rules.KindChange && e.labels["change"] == "deploy" && e.domain == g.domain && about && pane <= g.runStart() {
				last = max(last, pane)
			}
		}
	}
	if last == math.MinInt64 || last+int64(g.r.AfterDeploy.For) <= edge {
		return 0
	}
	return last + int64(g.r.AfterDeploy.For)
}

func (g *modelGroup) pastBar(severity rules.Severity) bool {
	return g.r.AfterDeploy != nil && severity <= g.r.AfterDeploy.Bar
}

// remind is what time brings.
func (g *modelGroup) remind(edge int64, f facts, k knowledge) (rows []string) {
	o := g.incident
	if o.suppressed != 0 && o.suppressed <= edge {
		o.suppressed = 0
		rows = append(rows, g.tell(edge, f, k, "updated")...)
	}
	if o.silencedUntil != 0 && o.silencedUntil <= edge {
		o.silencedUntil = 0
		rows = append(rows, g.tell(edge, f, k, "updated")...)
	}
	severity := o.severity
	if o.tier < len(g.r.Severities) {
		severity = g.r.Severities[o.tier].Severity
	}
	if !o.answered && o.respondBy <= edge && !o.overdue[severity] {
		for s := o.severity; s <= rules.Sev4; s++ {
			o.overdue[s] = true
		}
		rows = append(rows, g.tell(edge, f, k, "overdue")...)
	}
	every := int64(g.m.t.file.Renotify[o.severity])
	if !o.answered && every > 0 && edge-o.told >= every && o.silencedUntil == 0 && o.suppressed == 0 && !o.flapping {
		rows = append(rows, g.tell(edge, f, k, "updated")...)
	}
	return rows
}

// deadline is the runbook's response time, with business days from Monday to Friday until five, in UTC.
func deadline(s rules.Severity, at int64) int64 {
	if s < rules.Sev4 {
		return at + []int64{0, 15, 60, 240}[s]*60_000
	}
	day := time.UnixMilli(at).UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.Add(24 * time.Hour)
	}
	return day.Add(17 * time.Hour).UnixMilli()
}

// knowledge is what the window is worth, and whether it is known what it is compared with.
func (g *modelGroup) knowledge(f facts) knowledge {
	k := g.worth(f)
	if d := g.r.Signal.Deviation; d != nil && k == enough &&
		(!f.learned || d.Measured == rules.Relative && f.usual <= 0 || d.Measured == rules.Sigmas && g.sigma(f) <= 0) {
		return small
	}
	return k
}

// worth is what the window is worth by itself.
func (g *modelGroup) worth(f facts) knowledge {
	typ := g.r.Signal.Type
	if d := g.r.Signal.Deviation; d != nil && d.Rate != nil {
		typ = rules.SignalRate
	}
	switch typ {
	case rules.SignalAbsence:
		if !f.observed || !g.alive {
			return small
		}
		return enough
	case rules.SignalCount, rules.SignalRate, rules.SignalDistinct:
		if f.stream == 0 && f.num == 0 {
			return empty
		}
		if (g.r.Severities[0].Below != nil || g.r.Signal.Deviation != nil) && !f.full {
			return small
		}
		return enough
	}
	n := max(f.num, f.den)
	switch {
	case n == 0:
		return empty
	case n < g.r.Sample.Min, g.r.Signal.Burn != nil && f.short == [2]int64{}:
		return small
	}
	return enough
}

// value is the number that is measured.
func (g *modelGroup) value(f facts) float64 {
	switch g.r.Signal.Type {
	case rules.SignalCount:
		return float64(f.num)
	case rules.SignalRate:
		return float64(f.num) / (float64(g.r.Window) / 1000)
	case rules.SignalDistinct:
		return float64(f.sessions)
	case rules.SignalAbsence:
		return float64(g.silent) / 1000
	case rules.SignalQuantile:
		return nearestRank(f.values, g.r.Signal.Quantile.Q)
	case rules.SignalBurn:
		objective, _ := new(big.Rat).SetString(fmt.Sprint(g.r.Signal.Burn.Objective))
		budget := new(big.Rat).Sub(big.NewRat(1, 1), objective)
		long, short := big.NewRat(f.num, max(f.num, f.den)), big.NewRat(f.short[0], max(f.short[0], f.short[1]))
		if short.Cmp(long) < 0 {
			long = short
		}
		burn, _ := long.Quo(long, budget).Float64()
		return burn
	case rules.SignalMean:
		return meanOf(f.values)
	case rules.SignalMax:
		return float64(slices.Max(f.values)) / 1e6
	case rules.SignalDeviation:
		return g.distance(f)
	default:
		return float64(f.num) / float64(max(f.num, f.den))
	}
}

// bound is the threshold in the unit of the events' values.
func (g *modelGroup) bound(t rules.Tier, f facts) float64 {
	d, x := g.r.Signal.Deviation, limit(t)
	if d == nil {
		return x
	}
	low := t.Above != nil && g.fewer(f)
	var b float64
	switch {
	case d.Measured == rules.Absolute && low:
		b = f.usual - x
	case d.Measured == rules.Absolute:
		b = f.usual + x
	case d.Measured == rules.Sigmas && low:
		b = f.usual - x*g.sigma(f)
	case d.Measured == rules.Sigmas:
		b = f.usual + x*g.sigma(f)
	case low:
		b = f.usual / x
	default:
		b = f.usual * x
	}
	if t.Above != nil && !low {
		b = max(b, g.floor(t))
	}
	return b
}

func limit(t rules.Tier) float64 {
	if t.Above != nil {
		return *t.Above
	}
	return *t.Below
}

// ladder is the worst tier breached, and the first that is not past its recovery bound.
func (g *modelGroup) ladder(f facts) (worst, healthy int) {
	worst = len(g.r.Severities)
	for i, t := range g.r.Severities {
		if g.breached(t, f) {
			worst = min(worst, i)
		}
	}
	for healthy < len(g.r.Severities) && g.recovered(g.r.Severities[healthy], f) {
		healthy++
	}
	return worst, healthy
}

func (g *modelGroup) breached(t rules.Tier, f facts) bool {
	value := g.value(f)
	z := map[float64]float64{0.8: 0.8416212335729143, 0.95: 1.6448536269514722, 0.999: 3.090232306167813}[g.r.Sample.Wilson]
	q := g.r.Signal.Distribution()
	switch {
	case q != nil && z > 0:
		lower, _ := scoreInterval(aboveBy(f.values, g.bound(t, f)), f.num, z)
		return lower > 1-q.Q
	case g.r.Signal.Deviation != nil && t.Above != nil:
		return g.distance(f) > *t.Above && g.concern(f) > g.floor(t)
	case q != nil && t.Above != nil:
		return nearestRank(f.values, q.Q) > g.bound(t, f)
	case z > 0 && g.r.Signal.Burn != nil:
		long, _ := scoreInterval(f.num, max(f.num, f.den), z)
		short, _ := scoreInterval(f.short[0], max(f.short[0], f.short[1]), z)
		return min(long, short) > *t.Above*(1-g.r.Signal.Burn.Objective)
	case z > 0:
		lower, upper := scoreInterval(f.num, max(f.num, f.den), z)
		return t.Above != nil && lower > *t.Above || t.Below != nil && upper < *t.Below
	default:
		return t.Above != nil && value > *t.Above || t.Below != nil && value < *t.Below
	}
}

// scoreInterval are the two solutions p of (k/n - p)^2 = z^2 p(1-p)/n.
func scoreInterval(k, n int64, z float64) (lower, upper float64) {
	kk, nn := float64(k), float64(n)
	root := z * math.Sqrt(z*z+4*kk*(1-kk/nn))
	lower, upper = (2*kk+z*z-root)/(2*(nn+z*z)), (2*kk+z*z+root)/(2*(nn+z*z))
	if k == 0 {
		lower = 0
	}
	if k == n {
		upper = 1
	}
	return lower, upper
}

// recovered says whether the value is past the bound on the way back.
func (g *modelGroup) recovered(t rules.Tier, f facts) bool {
	value, share := g.value(f), *g.r.Recover.ThresholdShare
	shares := g.r.Signal.Type == rules.SignalCompletion
	switch {
	case t.Above != nil && g.r.Signal.Deviation != nil && g.concern(f) <= g.floor(t):
		return true
	case t.Above != nil && g.r.Signal.Deviation != nil && g.r.Signal.Deviation.Measured == rules.Relative && g.r.Signal.Deviation.Direction != rules.Up:
		return value-1 < (*t.Above-1)*share
	case t.Above != nil && *t.Above < 0: // the good side of it is further down
		return value < *t.Above/share
	case t.Above != nil:
		return value < *t.Above*share || *t.Above == 0 && value == 0
	case shares:
		return value > 1-(1-*t.Below)*share || value == 1
	case g.r.Signal.Count != nil || g.r.Signal.Distinct != nil:
		return value >= max(*t.Below, math.Floor(*t.Below/share))
	default:
		return value > *t.Below/share
	}
}

// change is the last change of the service in the hour before the incident; of several in one pane the last by service, change, version.
func (g *modelGroup) change() string {
	service := ""
	for _, l := range strings.Fields(g.labels) {
		if v, ok := strings.CutPrefix(l, "service="); ok {
			service = v
		}
	}
	var found []string
	for pane, events := range g.m.byPane {
		started := g.incident.started
		if pane > started || started-pane > 3600_000 {
			continue
		}
		for _, e := range events {
			l := e.labels
			about := service == "" || l["service"] == "" || l["service"] == service
			if e.kind == rules.KindChange && e.domain == g.domain && about {
				found = append(found, fmt.Sprintf("%d\x00%s\x00%s\x00%s\x00%s", pane, l["service"], l["change"], l["version"], l["previous_version"]))
			}
		}
	}
	if len(found) == 0 {
		return ""
	}
	if deploys := slices.DeleteFunc(slices.Clone(found), func(c string) bool {
		return !strings.Contains(c, "\x00deploy\x00") && !strings.Contains(c, "\x00rollback\x00")
	}); len(deploys) > 0 {
		found = deploys
	}
	return strings.ReplaceAll(slices.Max(found), "\x00", "|")
}

// tell writes a revision down, and the recovery messages with it.
func (g *modelGroup) tell(edge int64, f facts, k knowledge, transition string) []string {
	o := g.incident
	if o.tier < len(g.r.Severities) && g.r.Severities[o.tier].Severity < o.severity && (transition == "escalated" || transition == "flapping") {
		o.respondBy, o.silencedUntil = deadline(g.r.Severities[o.tier].Severity, edge), 0
	}
	if transition == "opened" {
		o.respondBy = deadline(o.severity, edge)
		o.peak, o.edges = o.severity, []int64{edge}
	}
	o.revision++
	o.told = edge
	previous := o.severity
	if o.tier < len(g.r.Severities) {
		o.severity = g.r.Severities[o.tier].Severity
	}
	o.peak = min(o.peak, o.severity)
	if g.pastBar(o.severity) {
		o.suppressed = 0
	}
	phase := "open"
	switch {
	case transition == "resolved", transition == "expired":
		phase = transition
	case o.noData:
		phase = "no_data"
	}
	row := row{
		at: edge, about: g.about(), revision: o.revision, transition: transition, severity: o.severity, previous: previous, peak: o.peak,
		phase: phase, started: o.started, num: f.num, den: f.den, respondBy: o.respondBy, change: o.change,
		observed: math.NaN(), expected: f.usual, acknowledged: o.answered, silenced: max(edge, o.silencedUntil, o.suppressed) - edge, suppressed: o.suppressed,
	}
	if k == enough {
		row.observed = g.value(f)
	}
	if phase != "open" && phase != "no_data" && o.suppressed == 0 {
		row.silenced = 0
	}
	for _, t := range g.r.Severities {
		if t.Severity == o.severity {
			row.threshold = limit(t)
		}
	}
	row.affected, row.contributors = g.impact(edge, f)
	if k != empty {
		row.sessions = f.sessions
	}
	if transition == "resolved" {
		row.contributors = ""
	}
	row.parent, row.children = o.parent, o.children
	over := o.tier == len(g.r.Severities) || transition == "expired" || o.byHand
	if phase != "open" && phase != "no_data" {
		o.held = nil
	}
	row.held = fmt.Sprint(o.held)
	o.now = append(slices.DeleteFunc(o.now, func(x modelRow) bool { return x.at != edge }), row)
	rows := []string{row.String()}
	if transition == "deescalated" || transition == "resolved" || transition == "expired" {
		for i := range o.requests {
			switch r := &o.requests[i]; {
			case r.over || !over && o.severity <= r.severity:
			case r.automatic && transition != "expired" && !o.byHand:
				rows = append(rows, g.endRequest(edge, r, "verified"))
			default:
				rows = append(rows, g.endRequest(edge, r, "cancelled"))
			}
		}
	}
	if transition == "resolved" || transition == "expired" {
		g.incident, g.judged = nil, nil
		if transition == "resolved" && (o.byHand || g.r.ReopenFor > 0) {
			o.flapping, o.closed = false, edge
			g.past = o
		}
	}
	return rows
}

// id is the incident's.
func (g *modelGroup) id() string {
	var labels []Label
	for _, l := range strings.Fields(g.labels) {
		name, value, _ := strings.Cut(l, "=")
		labels = append(labels, Label{name, value})
	}
	return incidentID(g.r.Alert, g.domain, labels, g.incident.started)
}

func (g *modelGroup) service() string {
	for _, l := range strings.Fields(g.labels) {
		if v, ok := strings.CutPrefix(l, "service="); ok {
			return v
		}
	}
	return ""
}

// calls says whether one made-up service depends on another: web calls api, api calls new.
func calls(x, y string) bool {
	return x == "web" && (y == "api" || y == "new") || x == "api" && y == "new"
}

// correlate decides which incidents are told, and which are part of another one.
func (m *model) correlate(edge int64, live []*modelGroup) (rows []string) {
	c := m.t.file.Correlate
	rank := func(g *modelGroup) int {
		if c == nil {
			return 0
		}
		return map[string]int{"new": -2, "api": -1}[g.service()]
	}
	slices.SortFunc(live, func(x, y *modelGroup) int {
		return cmp.Or(cmp.Compare(x.incident.severity, y.incident.severity), rank(x)-rank(y),
			cmp.Compare(x.incident.started, y.incident.started), cmp.Compare(x.id(), y.id()))
	})
	for _, g := range live { // what they were part of is over
		if o := g.incident; o.revision > 0 && !slices.ContainsFunc(live, func(x *modelGroup) bool { return x.id() == o.parent }) {
			o.parent = ""
		}
	}
	goesOn := func(g *modelGroup) bool { return !g.incident.noData && g.incident.tier < len(g.r.Severities) }
	root := func(id string) *modelGroup {
		for _, g := range live {
			if g.incident.parent == "" && g.id() == id && (g.incident.revision == 0 || goesOn(g)) {
				return g
			}
		}
		return nil
	}
	stays := func(g *modelGroup) bool { // what it is part of may go on again, and it says nothing itself
		return !g.breaches(edge) && slices.ContainsFunc(live, func(x *modelGroup) bool { return x.id() == g.incident.parent })
	}
	var roots []*modelGroup
	fresh := map[*rules.Rule]int{}
	for _, g := range live {
		if g.incident.revision > 0 && g.incident.parent == "" && goesOn(g) {
			roots = append(roots, g)
		}
	}
	for _, g := range live {
		if r := root(g.incident.parent); g.incident.revision == 0 && (r == nil || r.incident.revision == 0) && !stays(g) {
			fresh[g.r]++
		}
	}
	more := map[*modelGroup]bool{}
	for _, g := range live {
		if r := root(g.incident.parent); g.incident.revision > 0 || r != nil && slices.Contains(roots, r) || stays(g) {
			continue
		}
		g.incident.parent = ""
		for _, r := range roots {
			if c != nil && related(edge, c, g, r, fresh[g.r] > c.Storm) {
				g.incident.parent = r.id()
				r.incident.children++
				more[r] = true
				break
			}
		}
		if g.incident.parent == "" && g.breaches(edge) {
			g.incident.storm = c != nil && fresh[g.r] > c.Storm
			roots = append(roots, g)
		}
	}
	for _, g := range live {
		o := g.incident
		r := root(o.parent)
		switch {
		case o.revision > 0 && more[g]:
			rows = append(rows, g.tell(edge, g.f, g.k, "updated")...)
		case o.revision > 0, !g.breaches(edge), r != nil && o.severity >= r.incident.severity && (r.incident.suppressed == 0 || o.suppressed > 0):
		default:
			rows = append(rows, g.tell(edge, g.f, g.k, "opened")...)
		}
	}
	return rows
}

// breaches says whether the window at the edge was judged and some tier breached.
func (g *modelGroup) breaches(edge int64) bool {
	n := len(g.judged)
	return n > 0 && g.judged[n-1].edge == edge && g.judged[n-1].worst < len(g.r.Severities)
}

// related says whether an incident that opens is part of a root.
func related(edge int64, c *rules.Correlate, g, root *modelGroup, storm bool) bool {
	if g.r.Alone || root.r.Alone {
		return false
	}
	o, r := g.incident, root.incident
	if (r.suppressed > 0 || r.silencedUntil > edge) && o.suppressed == 0 && o.silencedUntil <= edge {
		return false
	}
	if o.started-r.started > int64(c.Within) || r.started-o.started > int64(c.Within) {
		return false
	}
	x, y := g.service(), root.service()
	deploy := strings.Contains(o.change, "|deploy|") && o.change == r.change
	return x == "" || y == "" || x == y || calls(x, y) || calls(y, x) || deploy || g.r == root.r && (r.storm || storm)
}

// act asks for actions, the worst incidents first, and then says what is held back: in the row of this edge, if there is one.
func (m *model) act(edge int64, live []*modelGroup, rows []string) []string {
	parts := func(g *modelGroup) []*modelGroup {
		from := []*modelGroup{g}
		for _, x := range live {
			if x.incident.revision == 0 && x.incident.parent == g.id() {
				from = append(from, x)
			}
		}
		return from
	}
	told := slices.DeleteFunc(slices.Clone(live), func(g *modelGroup) bool { return g.incident.revision == 0 })
	for _, g := range told {
		for _, x := range parts(g) {
			rows = append(rows, g.request(edge, x, live)...)
		}
	}
	for _, g := range told {
		o := g.incident
		before := o.held
		o.held = nil
		for _, x := range parts(g) {
			g.hold(edge, x, before, live)
		}
		fresh := slices.ContainsFunc(o.held, func(h modelHeld) bool { return !slices.Contains(before, h) })
		switch {
		case o.told == edge:
			for n, r := range o.now {
				i := slices.Index(rows, r.String())
				o.now[n].held = fmt.Sprint(o.held)
				rows[i] = o.now[n].String()
			}
		case fresh && !o.flapping:
			rows = append(rows, g.tell(edge, g.f, g.k, "updated")...)
		}
	}
	return rows
}

// about is what an incident's id is made of.
func (g *modelGroup) about() string {
	return fmt.Sprintf("%s %s{%s} since %s", g.r.Alert, g.domain, strings.TrimSpace(g.labels), clock(g.incident.started))
}

// impact is how many events went wrong, and the label values that hold at least half of them.
func (g *modelGroup) impact(edge int64, f facts) (affected int64, contributors string) {
	mildest := g.r.Severities[len(g.r.Severities)-1]
	counts := map[string]int64{}
	g.window(edge, int64(g.r.Window), func(e *modelEvent, p modelPart) {
		if p.num && g.wrong(e, mildest, f) {
			affected++
			for name, value := range e.labels {
				if value != "" && !slices.Contains(g.r.By, name) {
					counts[name+"="+value]++
				}
			}
		}
	})
	var names []string
	for name, n := range counts {
		if 2*n >= affected {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(cmp.Compare(counts[y], counts[x]), cmp.Compare(x, y)) })
	var out []string
	for _, name := range names[:min(5, len(names))] {
		out = append(out, fmt.Sprintf("%s:%d", name, counts[name]))
	}
	switch {
	case g.r.Signal.Type == rules.SignalCompletion:
		return max(f.num, f.den) - f.num, ""
	case g.r.Signal.Type == rules.SignalAbsence, f.values == nil, g.counts() && g.fewer(f):
		return affected, ""
	}
	return affected, strings.Join(out, ",")
}

// wrong says whether an event of the numerator is one that the incident is about.
func (g *modelGroup) wrong(e *modelEvent, mildest rules.Tier, f facts) bool {
	if !valued(g.r) {
		return true
	}
	if g.fewer(f) {
		return belowBy([]int64{e.value}, g.bound(mildest, f)) > 0
	}
	return aboveBy([]int64{e.value}, g.bound(mildest, f)) > 0
}

// request asks for what the rule of from names.
func (g *modelGroup) request(edge int64, from *modelGroup, live []*modelGroup) (rows []string) {
	o := g.incident
	for _, want := range from.r.Actions {
		versions, wanted := from.wants(edge, want)
		if held, mayBe := g.held(edge, want.Action, live); !mayBe || held.rail != "" || !wanted {
			continue
		}
		r := modelRequest{
			action: want.Action, severity: want.Severity, automatic: want.Automatic, versions: versions,
			expires: edge + int64(g.m.t.file.Actions[want.Action].Expires), attempt: 1, tries: 1,
		}
		for i := range o.requests {
			if o.requests[i].action == r.action {
				r.attempt, r.tries = o.requests[i].attempt+1, o.requests[i].tries+1
				o.requests[i].action = "an older one"
			}
		}
		o.requests = append(o.requests, r)
		g.m.asked[g.domain+"|"+r.action] = append(g.m.asked[g.domain+"|"+r.action], edge)
		rows = append(rows, g.recovery(edge, r, "requested"))
	}
	return rows
}

// wants says whether the group's incident is a reason to ask for an action now.
func (g *modelGroup) wants(edge int64, want rules.Request) (versions string, wanted bool) {
	blind := g.k == empty && g.r.NoData == rules.NoDataFire && g.f.full
	if g.incident.noData || g.k != enough && !blind || g.incident.severity > want.Severity {
		return "", false
	}
	worst := 0
	if !blind {
		worst, _ = g.ladder(g.f)
	}
	if worst == len(g.r.Severities) || g.r.Severities[worst].Severity > want.Severity {
		return "", false
	}
	if want.Action != "rollback" {
		return "", true
	}
	change := strings.Split(g.incident.change, "|")
	if len(change) != 5 || change[2] != "deploy" || !g.blames(edge, g.f, change[3]) {
		return "", false
	}
	return change[3] + ">" + change[4], true
}

// hold notes which of the actions that the rule of from names are held back. What was, stays so until its time, as long as it is bad enough.
func (g *modelGroup) hold(edge int64, from *modelGroup, before []modelHeld, live []*modelGroup) {
	o := g.incident
	for _, want := range from.r.Actions {
		held, _ := g.held(edge, want.Action, live)
		_, wanted := from.wants(edge, want)
		switch {
		case held.rail == "" || from.incident.severity > want.Severity || slices.Contains(o.held, held):
		case wanted, held.rail == "approval", slices.Contains(before, held):
			o.held = append(o.held, held)
		}
	}
}

// held is which guard rail keeps the action from being asked for, of several the longest; not mayBe: it is under way.
func (g *modelGroup) held(edge int64, name string, live []*modelGroup) (held modelHeld, mayBe bool) {
	action := g.m.t.file.Actions[name]
	held.action = name
	longest := func(rail string, until int64) {
		if until > edge && until > held.until {
			held.rail, held.until = rail, until
		}
	}
	for _, r := range g.incident.requests {
		switch {
		case r.action != name:
		case !r.over && r.automatic:
			return held, false
		case !r.over:
			return modelHeld{name, "approval", r.expires}, true
		case r.tries >= action.Attempts && r.ended == "expired":
			return modelHeld{name, "expiry", 0}, true
		case r.tries >= action.Attempts:
			return modelHeld{name, "attempts", 0}, true
		}
	}
	longest("after_deploy", g.incident.suppressed)
	for _, x := range live {
		for _, r := range x.incident.requests {
			if !r.over && len(action.Target) > 0 && maps.Equal(action.Target, g.m.t.file.Actions[r.action].Target) {
				longest("one_at_a_time", r.expires)
			}
		}
	}
	all := g.m.asked[g.domain+"|"+name]
	for _, at := range all {
		longest("cooldown", at+int64(action.Cooldown))
	}
	if n := len(all) - action.Budget; action.Budget > 0 && n >= 0 {
		longest("budget_per_hour", all[n]+3600_000)
	}
	return held, true
}

// blames says whether four of five events gone wrong carry the version: of a completion, of those who did not complete.
func (g *modelGroup) blames(edge int64, f facts, version string) bool {
	var all, carry int
	g.window(edge, int64(g.r.Window), func(e *modelEvent, p modelPart) {
		n := 0
		switch {
		case g.r.Signal.Type == rules.SignalCompletion && p.den && !p.num:
			n = 1
		case g.r.Signal.Type == rules.SignalCompletion && p.num && !p.den:
			n = -1
		case g.r.Signal.Type != rules.SignalCompletion && p.num && g.wrong(e, g.r.Severities[len(g.r.Severities)-1], f):
			n = 1
		}
		all += n
		if e.labels["version"] == version {
			carry += n
		}
	})
	tooFew := g.counts() && g.fewer(f)
	return all > 0 && version != "" && carry*5 >= all*4 && !tooFew
}

// endRequest ends one.
func (g *modelGroup) endRequest(edge int64, r *modelRequest, how string) string {
	r.over, r.ended = true, how
	return g.recovery(edge, *r, how)
}

func (g *modelGroup) recovery(edge int64, r modelRequest, transition string) string {
	o := g.incident
	return fmt.Sprintf("%s %s r%d recovery %s %d %s automatic=%v %s until %s versions %q",
		clock(edge), g.about(), o.revision, r.action, r.attempt, transition, r.automatic, o.severity, clock(r.expires), r.versions)
}
