package detector

import (
	"sevwatch/rules"
)

// group is one rule applied to one value of its `by` labels: the numbers of its window, and its life.
type group struct {
	rule   *ruleState
	labels []Label // those named by the rule's `by`, sorted
	key    string
	id     uint64 // among all groups that the domain has had
	refs   int    // series that count in it

	// The window, kept by adding the pane that closes and dropping the one that leaves.
	num, den int64
	short    rules.Pair    // burn_rate: of the short window
	values   *windowValues // of rules that ask for more than counts
	events   int64         // that the signal is made of, in the window; 0 means that it is empty

	first   int64 // start of the first pane that it was seen in; never while it is unknown
	last    int64 // end of the last pane that it had data in
	entered int64 // start of the last pane whose cells were added
	silent  int64 // absence: ms of observed panes since last
	alive   bool  // absence: before its silence the window was full enough
	life    life
	usual   *baseline // of rules that learn one

	known    bool // its state was told
	wasClean bool // and that was nothing but that it is known
}

// windowValues is what a window has beside counts.
type windowValues struct {
	hist     dense         // of rules that are made of values
	sum      Sum           // of these values
	sessions sessionWindow // of rules that count them
	largest  maxWindow     // of rules that ask for the largest value
}

// ruleState is a rule and where its windows are counted.
type ruleState struct {
	*rules.Rule
	window   int // index into the domain's windows
	short    int // likewise, of the short window; -1 without
	identity string
	hist     bool // the signal is made of values
	distinct bool // it counts sessions
	max      bool // it asks for the largest value
	own      bool // it is about the pipeline itself
}

// concerns says whether cells tell the group anything: where a signal is made of values, an event without one is nothing to it. Likewise with
// sessions.
func (g *group) concerns(s *sum) bool { return g.rule.counted(&s.Cell) > 0 }

// counted is how many events of a cell the signal is made of.
func (r *ruleState) counted(c *Cell) int64 {
	switch {
	case r.hist:
		return c.Valued
	case r.distinct:
		return c.Sessioned
	default:
		return c.Count
	}
}

// enter adds what the pane that begins at start has of a role, which concerns the group.
func (g *group) enter(c *selected, s *sum, start int64) {
	g.move(c, s, 1)
	if g.rule.short >= 0 {
		g.moveShort(c, s, 1)
	}
	if g.rule.distinct {
		g.values.sessions.add(start, s.Sessions)
	}
	if g.rule.max {
		g.values.largest.add(start, s.Max)
	}
}

// move adds (sign 1) or drops (sign -1) what a pane has of a role that concerns the group.
func (g *group) move(c *selected, s *sum, sign int64) {
	count := sign * g.rule.counted(&s.Cell)
	if c.num {
		g.num += count
	}
	if c.den {
		g.den += count
	}
	if g.rule.hist && c.num {
		s.addTo(&g.values.hist, sign)
		g.values.sum = g.values.sum.Add(s.Sum.times(sign))
		if sign > 0 && g.usual != nil && g.rule.Signal.Deviation.Panes > 0 {
			g.usual.hear(s)
		}
	}
	if g.events += count; g.events == 0 && g.values != nil {
		g.values.hist = dense{}
	}
}

// moveShort adds it to the short window, or drops it from there.
func (g *group) moveShort(c *selected, s *sum, sign int64) {
	count := sign * g.rule.counted(&s.Cell)
	if c.num {
		g.short.Num += count
	}
	if c.den {
		g.short.Den += count
	}
}

// heard notes that the group had data in the pane [start, end), after its cells were added.
func (g *group) heard(start, end int64) {
	if g.first == never {
		g.first = start
	}
	g.last, g.silent = end, 0
	if g.rule.Signal.Type == rules.SignalAbsence && g.life.Incident == nil {
		g.alive = g.num >= max(1, g.rule.Sample.Min) && g.first <= end-int64(g.rule.Window)
	}
}

// quiet notes a pane without data. Only silence that was observed without a break counts: a gap in the record proves nothing.
func (g *group) quiet(pane int64, observed bool) {
	switch {
	case observed:
		g.silent += pane
	case g.life.Incident == nil:
		g.silent = 0
	}
}

// measure is the window's numbers at the edge.
func (g *group) measure(edge int64, w *windowCount, observed bool) rules.Measure {
	m := rules.Measure{
		Num: g.num, Den: g.den, Short: g.short, Stream: w.stream, Observed: observed, Silent: g.silent, Alive: g.alive,
		Full: w.observed == w.panes && g.first <= edge-int64(g.rule.Window),
	}
	if g.rule.hist {
		m.Dist, m.Mean = g.values.hist.appendTo(nil), g.values.sum.mean(g.num)
	}
	if g.rule.max {
		m.Max = g.values.largest.since(edge - int64(g.rule.Window))
	}
	if g.rule.distinct {
		m.Sessions = g.values.sessions.since(edge - int64(g.rule.Window)).count(g.num)
	}
	return m
}

// missed says whether an empty window may still mean something to the rule: then the group stays known until it is gone.
func (g *group) missed() bool {
	return g.alive || g.usual != nil || g.rule.NoData == rules.NoDataFire || g.rule.Whole()
}

// gone says whether the group's labels have been away for so long that nothing is expected of them any more.
func (g *group) gone(edge int64) bool { return edge-g.last >= int64(g.rule.NoDataAfter) }

// forget returns to the state of a group that was never seen.
func (g *group) forget() {
	g.first, g.last, g.silent, g.alive, g.wasClean = never, never, 0, false, false
	g.life.reset()
	if g.usual != nil {
		*g.usual = baseline{}
	}
}

// windowCount is what came in at all during one length of window: whether an empty group means silence or just that nobody looked.
type windowCount struct {
	length   int64 // ms
	panes    int64 // how many panes it has
	stream   int64 // events of all series of all domains
	observed int64 // observed panes
	inside   []seen
}

// seen is one closed pane that was observed.
type seen struct {
	Start  int64 `json:"start"`
	Events int64 `json:"events"`
}

// slide moves the window's end to edge; s is the pane that closed, if it was observed.
func (w *windowCount) slide(edge int64, s seen, observed bool) {
	if observed {
		w.inside = append(w.inside, s)
		w.stream += s.Events
		w.observed++
	}
	n := 0
	for n < len(w.inside) && w.inside[n].Start < edge-w.length {
		w.stream -= w.inside[n].Events
		w.observed--
		n++
	}
	w.inside = w.inside[n:]
}
