package detector

import (
	"fmt"
	"slices"

	"sevwatch/rules"
)

// isEdge says whether the transition is one for better or worse: those are counted for flapping.
func (t Transition) isEdge() bool {
	switch t {
	case Opened, Reopened, Escalated, Deescalated, NoData, Resolved:
		return true
	default:
		return false
	}
}

// temper decides what is told of what is new: more edges within flap_window than flap_limit are told once, as flapping, and then nothing
// until it has been calm for as long; only a severity worse than any before is told all the same.
func (l *life) temper(r *rules.Rule, v rules.Verdict, n news, edge int64) news {
	o := l.Incident
	if o == nil {
		o = l.Past
	}
	if o == nil || o.untold() {
		return n
	}
	if *r.FlapLimit == 0 {
		o.Flapping = false // as it may be under rules of before
		return n
	}
	o.Edges = slices.DeleteFunc(o.Edges, func(at int64) bool { return at <= edge-int64(r.FlapWindow) })
	if n.transition.isEdge() {
		o.Edges = append(o.Edges, edge)
		o.Edges = o.Edges[max(0, len(o.Edges)-*r.FlapLimit-1):]
	}
	worse := l.held() < len(l.Tiers) && r.Severities[l.held()].Severity < o.Peak
	switch {
	case worse && (n.transition == Escalated || n.transition == Reopened):
		return n
	case o.Flapping:
		return l.quiet(r, v)
	case n.transition.isEdge() && len(o.Edges) > *r.FlapLimit:
		o.Flapping = true
		n.transition = Flapping
	}
	return n
}

// quiet is what is told while the incident is flapping: nothing, until it has been calm. Then it is told how it is.
func (l *life) quiet(r *rules.Rule, v rules.Verdict) news {
	o := l.Incident
	held := l.held() < len(l.Tiers)
	if len(o.Edges) > 0 || !held && (v.Evidence != rules.Enough || v.Blind) {
		return news{} // not calm, or there is no evidence that it is over
	}
	o.Flapping = false
	switch {
	case !held:
		return news{transition: Resolved, tier: len(l.Tiers) - 1}
	case o.Phase == PhaseNoData:
		return news{transition: NoData, tier: l.held()}
	default:
		return news{transition: Updated, why: fmt.Sprintf("calm for %s", r.FlapWindow)}
	}
}

// reopen goes on with the incident that was over, as one that nobody has answered yet.
func (l *life) reopen(respondBy, silencedUntil int64) {
	o := l.Past
	l.Incident, l.Past = o, nil
	o.Phase, o.Closed, o.AcknowledgedBy, o.Overdue = PhaseOpen, 0, "", 0
	o.RespondBy, o.SilencedUntil = respondBy, silencedUntil
	for i := range o.Requests {
		o.Requests[i].Tries = 0
	}
}

// remind tells what only time brings: a silence that is over, an answer that is overdue, and what nobody has answered for long.
func (d *domain) remind(g *group, m rules.Measure, v rules.Verdict, edge int64) (out []Output) {
	o := g.life.Incident
	tell := func(t Transition, why string) {
		out = append(out, d.tell(g, m, v, news{transition: t, why: why}, edge)...)
	}
	if s := o.Suppressed; s != nil && int64(s.Until) <= edge {
		o.Suppressed = nil
		tell(Updated, fmt.Sprintf("no longer suppressed: %s have passed since the deploy at %s", rules.Duration(s.Until-s.DeployedAt), s.DeployedAt))
	}
	if o.SilencedUntil != 0 && o.SilencedUntil <= edge {
		o.SilencedUntil = 0
		tell(Updated, "the silence is over")
	}
	if o.AcknowledgedBy != "" {
		return out
	}
	severity := o.Severity // or, while it is flapping, what was not told
	if held := g.life.held(); held < len(g.rule.Severities) {
		severity = g.rule.Severities[held].Severity
	}
	if o.RespondBy <= edge && o.Overdue&(1<<severity) == 0 {
		tell(Overdue, fmt.Sprintf("nobody has acknowledged it: a %s is to be answered by %s", severity, Millis(o.RespondBy)))
	}
	every := int64(d.file.Renotify[o.Severity])
	if every > 0 && edge-o.Told >= every && o.SilencedUntil == 0 && o.Suppressed == nil && !o.Flapping {
		tell(Updated, fmt.Sprintf("still %s after %s, and nobody has acknowledged it", o.Severity, rules.Duration(edge-o.StartedAt)))
	}
	return out
}
