package detector

import (
	"slices"

	"sevwatch/rules"
)

// sessionPane are the sessions that a group's events in one pane came from.
type sessionPane struct {
	start int64
	set   *Distinct
	own   bool // nobody else has the set
}

// sessionWindow are the sessions of a group's window, a pane each. A session cannot be taken out of a set, so what the window has is united
// anew at each edge.
type sessionWindow []sessionPane

// add adds what a cell of a closed pane has. Panes come in order.
func (w *sessionWindow) add(start int64, set *Distinct) {
	n := len(*w)
	if n == 0 || (*w)[n-1].start != start {
		*w = append(*w, sessionPane{start: start, set: set})
		return
	}
	last := &(*w)[n-1]
	if !last.own {
		last.set, last.own = last.set.clone(), true
	}
	last.set.Union(set)
}

// since lets go of the panes before start and unites the others.
func (w *sessionWindow) since(start int64) *Distinct {
	n := 0
	for n < len(*w) && (*w)[n].start < start {
		n++
	}
	*w = slices.Delete(*w, 0, n)
	var all Distinct
	for i := range *w {
		all.Union((*w)[i].set)
	}
	return &all
}

// touched is how many sessions the group's incident touches: those of the window's events that rules.Rule.Touches tells.
func (d *domain) touched(g *group, edge int64) rules.Sessions {
	if len(d.cfg.CountSessions) == 0 {
		return rules.Sessions{}
	}
	var all Distinct
	var events int64
	for s, c := range d.cellsSince(edge - int64(g.rule.Window)) {
		num, den := d.partIn(g, s)
		if (num || den) && c.Sessions != nil && g.rule.Touches(num, den) {
			all.Union(c.Sessions)
			events += c.Sessioned
		}
	}
	return all.count(events)
}
