package detector

import "sevwatch/rules"

// Judgement is what one rule said of one group's window: an incident's story is made of them. It is not part of any message.
type Judgement struct {
	Rule     *rules.Rule
	Domain   string
	Labels   []Label // the group's
	Start    int64   // the window, [Start, End)
	End      int64
	Measure  rules.Measure
	Verdict  rules.Verdict
	Held     rules.Severity // of the worst tier that holds now; 0: none
	Incident string         // that is open, or was resolved by this window; "": none
}

// Watch lets f see every judgement, in the order in which panes close and, within a pane, of domains and groups. It has to be called before
// anything is judged. What f is given holds only until it returns.
func (j *Judge) Watch(f func(*Judgement)) { j.watch = f }

// watched tells who watches of one judgement; before is the incident that was open until now.
func (d *domain) watched(g *group, m rules.Measure, v rules.Verdict, before *ongoing, edge int64) {
	if d.watch == nil {
		return
	}
	w := Judgement{
		Rule: g.rule.Rule, Domain: d.name, Labels: g.labels, Start: edge - int64(g.rule.Window), End: edge, Measure: m, Verdict: v,
	}
	if held := g.life.held(); held < len(g.rule.Severities) {
		w.Held = g.rule.Severities[held].Severity
	}
	switch now := g.life.Incident; {
	case now != nil && !now.untold():
		w.Incident = now.ID
	case now == nil && before != nil && !before.untold():
		w.Incident = before.ID
	}
	d.watch(&w)
}
