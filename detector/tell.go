package detector

import (
	"cmp"
	"fmt"
	"slices"

	"sevwatch/rules"
)

// news is what a revision is to tell, and why.
type news struct {
	transition Transition
	tier       int    // that the reason is about, where the signal is the reason
	why        string // the reason, where it is not
	act        *Act   // of the person whose word is the reason
}

// tell makes the revision for what is new of the group's incident, and the recovery messages that go with it.
func (d *domain) tell(g *group, m rules.Measure, v rules.Verdict, n news, edge int64) []Output {
	transition := n.transition
	if g.life.Incident == nil {
		severity := g.rule.Severities[n.tier].Severity
		g.life.reopen(d.file.RespondBy(severity, edge), d.silencedUntil(g))
		g.life.Incident.Suppressed = d.suppression(g, severity, edge)
	}
	o := g.life.Incident
	o.Revision++
	o.Told = edge
	previous := o.Severity
	if held := g.life.held(); held < len(g.rule.Severities) {
		o.Severity = g.rule.Severities[held].Severity
	}
	switch {
	case transition == Opened:
		previous, o.Peak = o.Severity, o.Severity
		o.RespondBy, o.Edges = d.file.RespondBy(o.Severity, edge), []int64{edge}
	case transition == Reopened:
	case transition == Overdue:
		for s := o.Severity; s <= rules.Sev4; s++ { // milder ones too: that it gets better is no new call
			o.Overdue |= 1 << s
		}
	case o.Severity < previous && (transition == Escalated || transition == Flapping):
		o.RespondBy, o.SilencedUntil = d.file.RespondBy(o.Severity, edge), 0
	}
	o.Peak = min(o.Peak, o.Severity)
	o.unsuppress()
	over := phaseAfter(transition, PhaseOpen) != PhaseOpen
	if over {
		o.HeldBack = nil
	}

	incident := d.describe(g, m, v, transition, edge)
	switch incident.Reason = n.why; {
	case n.act != nil:
		incident.Reason = n.act.words()
		incident.Word = &Word{Act: n.act.Act, By: n.act.By, Comment: n.act.Comment, Cause: n.act.Cause}
	case n.why == "":
		incident.Reason = d.reason(g, m, v, transition, n.tier)
	}
	if s := o.Suppressed; s != nil && (transition == Opened || transition == Reopened) {
		incident.Reason += "; " + s.Why
	}
	if previous != o.Severity {
		incident.PreviousSeverity = previous
	}
	if len(incident.Contributors) > 0 && transition == Resolved {
		incident.Contributors = nil
	}
	o.About = about{incident.Labels, incident.Signal.Name, incident.Signal.Unit, incident.Signal.Threshold, int64(g.rule.Window)}

	d.told[o.ID] = append(d.told[o.ID], &incident)
	out := []Output{{Incident: &incident}}
	switch transition {
	case Deescalated:
		out = append(out, d.settle(g, true, incident.Reason, edge)...)
	case Resolved, Expired, Superseded:
		out = append(out, d.settle(g, transition == Resolved && n.act == nil, incident.Reason, edge)...)
	}
	d.texts(o, &incident) // which say what became of the actions
	if over {
		g.life.reset()
		if byHand := n.act != nil; transition == Resolved && (byHand || g.rule.ReopenFor > 0) {
			o.Closed, o.ByHand, o.Flapping = edge, byHand, false
			g.life.Past = o
		}
	}
	return out
}

// open begins an incident at the tier that was reached. It is not told yet.
func (d *domain) open(g *group, tier int, edge int64) {
	severity := g.rule.Severities[tier].Severity
	g.life.Incident = &ongoing{
		ID:            incidentID(g.rule.Alert, d.name, g.labels, g.life.RunStart),
		Phase:         PhaseOpen,
		Severity:      severity,
		Peak:          severity,
		StartedAt:     g.life.RunStart,
		Change:        d.changeBefore(g),
		SilencedUntil: d.silencedUntil(g),
		Suppressed:    d.suppression(g, severity, edge),
	}
}

// describe fills in everything that is not a sentence.
func (d *domain) describe(g *group, m rules.Measure, v rules.Verdict, transition Transition, edge int64) Incident {
	o, r := g.life.Incident, g.rule
	playbook := r.Annotations["playbook"]
	incident := Incident{
		ID: o.ID, Revision: o.Revision, Transition: transition,
		Severity: o.Severity, PeakSeverity: o.Peak,
		Status: Status{
			Phase: phaseAfter(transition, o.Phase), Acknowledged: o.AcknowledgedBy != "", AcknowledgedBy: o.AcknowledgedBy,
			Silenced: o.quiet(edge) && (o.Suppressed != nil || phaseAfter(transition, PhaseOpen) == PhaseOpen), // who was called before a silence has to hear of the end
		},
		Suppressed: o.Suppressed,
		Rule:       RuleRef{Name: r.Alert, FileHash: d.file.Hash, Playbook: playbook, Runbook: d.file.Link(playbook)},
		Labels:     d.labels(g),
		Signal:     signalOf(r, m, v, o.Severity, edge),
		StartedAt:  Millis(o.StartedAt), At: Millis(edge), RespondBy: Millis(o.RespondBy),
		Impact:       Impact{Events: affected(r, m), Sentence: "No data in the window."},
		Contributors: d.contributors(g, m, edge),
		Change:       o.Change,
		Parent:       o.Parent,
		Children:     o.Children, ChildrenCount: o.Joined,
		Channel:  d.file.Channel(o.StartedAt),
		Contacts: d.file.Contacts[o.Severity],
		HeldBack: o.HeldBack,
	}
	if transition == Resolved {
		incident.ResolvedAt = Millis(edge)
	}
	if incident.Status.Silenced {
		incident.Status.SilencedUntil = Millis(o.SilencedUntil)
		if s := o.Suppressed; s != nil {
			incident.Status.SilencedUntil = max(incident.Status.SilencedUntil, s.Until)
		}
	}
	if v.Evidence != rules.Nothing && !v.Blind {
		m.Sessions = d.touched(g, edge)
		incident.Impact.Sessions, incident.Impact.Sentence = m.Sessions.N, r.Impact(m)
	}
	if v.Evidence == rules.Enough && !v.Blind {
		if whole := max(m.Num, m.Den); whole > 0 && len(r.Signal.Den) > 0 {
			share := Num(float64(incident.Impact.Events) / float64(whole))
			incident.Impact.Share = &share
		}
	}
	measured := v.Evidence == rules.Enough && !v.Blind && transition != Resolved
	if measured {
		incident.VersionSplit = d.split(g, m, edge)
	}
	if p, ok := d.file.Playbooks[playbook]; ok {
		incident.Playbook = &Playbook{Name: playbook, Title: p.Title, Steps: p.Steps}
		if measured {
			incident.Playbook.Answers = d.answers(g, m, &p, incident.VersionSplit, edge)
		}
	}
	return incident
}

func phaseAfter(t Transition, phase Phase) Phase {
	switch t {
	case Resolved:
		return PhaseResolved
	case Expired:
		return PhaseExpired
	case Superseded:
		return PhaseSuperseded
	default:
		return phase
	}
}

// affected is how many events in the window went wrong.
func affected(r *ruleState, m rules.Measure) int64 {
	switch {
	case r.Signal.Type == rules.SignalCompletion:
		return max(m.Num, m.Den) - m.Num
	case r.hist:
		return r.Wrong(m.Dist, m)
	default:
		return m.Num
	}
}

// labels are the group's, the rule's and the domain's.
func (d *domain) labels(g *group) map[string]string {
	labels := map[string]string{}
	for _, name := range SortedKeys(g.rule.Labels) {
		labels[name] = g.rule.Labels[name]
	}
	for _, l := range g.labels {
		labels[l.Name] = l.Value
	}
	if d.cfg.Domain != "" && d.name != "" {
		labels[d.cfg.Domain] = d.name
	}
	return labels
}

func signalOf(r *ruleState, m rules.Measure, v rules.Verdict, severity rules.Severity, edge int64) Signal {
	s := Signal{
		Name: r.Signal.Type, Unit: r.Signal.Unit,
		Numerator: m.Num, Samples: r.Samples(m),
		Window: Window{Start: Millis(edge - int64(r.Window)), End: Millis(edge)},
	}
	if len(r.Signal.Den) > 0 {
		s.Denominator = &m.Den
	}
	if v.Evidence == rules.Enough && !v.Blind {
		observed := Num(v.Value)
		s.Observed = &observed
	}
	if m.Learned {
		usual := Num(m.Usual)
		s.Expected = &usual
	}
	if b := r.Signal.Deviation; r.Signal.Distance() {
		s.Measured, s.Direction = b.Measured, b.Direction
	}
	for i, t := range r.Severities {
		if t.Severity == severity {
			s.Threshold = Num(r.Threshold(i))
		}
	}
	return s
}

// reason is the sentence that says why.
func (d *domain) reason(g *group, m rules.Measure, v rules.Verdict, transition Transition, tier int) string {
	r := g.rule
	switch transition {
	case Opened, Escalated, Reopened:
		return r.Breach(m, tier)
	case Deescalated, Resolved:
		return r.Recovery(m, tier)
	case Flapping:
		return fmt.Sprintf("more than %d changes within %s: told again when it has been calm for as long, or is worse than ever", *r.FlapLimit, r.FlapWindow)
	case NoData:
		return fmt.Sprintf("no data in the last %s: the incident stays open until there is evidence of recovery", r.Window)
	case Expired:
		return fmt.Sprintf("no data for %s: nothing is expected of these labels any more", r.NoDataAfter)
	default:
		if v.Blind {
			return r.Breach(m, tier)
		}
		if v.Evidence != rules.Enough && r.Whole() {
			return fmt.Sprintf("data are back, but not yet for the whole of the last %s", r.Window)
		}
		if v.Evidence != rules.Enough {
			return fmt.Sprintf("data are back, but too few to judge: %d in the last %s", r.Samples(m), r.Window)
		}
		return "data are back: " + r.Signal.Print(v.Value) + " over " + r.Window.String()
	}
}

// texts renders the runbook's templates.
func (d *domain) texts(o *ongoing, i *Incident) {
	story := rules.Story{
		Severity: i.Severity, Impact: i.Impact.Sentence, Channel: i.Channel,
		Status:    fmt.Sprintf("%s, %s: %s", i.Severity, i.Status.Phase, i.Reason),
		RespondBy: int64(i.RespondBy), Started: int64(i.StartedAt), Resolved: int64(i.ResolvedAt), First: i.Revision == 1,
		Actions: o.taken(),
	}
	if i.Word != nil {
		story.Cause = oneLine(i.Word.Cause)
	}
	if i.Playbook != nil {
		story.NextSteps = i.Playbook.Steps
	}
	i.Messages = story.Render()
}

// maxContributors bounds the list in a message.
const maxContributors = 5

// contributors are the label values, other than the group's own, that hold at least half of the events that went wrong.
func (d *domain) contributors(g *group, m rules.Measure, edge int64) []Contributor {
	if g.rule.Signal.Type == rules.SignalAbsence || g.rule.Signal.Type == rules.SignalCompletion {
		return nil
	}
	counts := map[Label]int64{}
	var whole int64
	d.wrong(g, m, edge, func(s *series, n int64) {
		whole += n
		for _, l := range s.labels {
			if !slices.Contains(g.rule.By, l.Name) {
				counts[l] += n
			}
		}
	})
	var out []Contributor
	for _, l := range sortedLabels(counts) {
		if n := counts[l]; n*2 >= whole && n > 0 {
			out = append(out, Contributor{Label: l.Name, Value: l.Value, Events: n, Share: Num(float64(n) / float64(whole))})
		}
	}
	slices.SortStableFunc(out, func(x, y Contributor) int { return cmp.Compare(y.Events, x.Events) })
	return out[:min(len(out), maxContributors)]
}

// wrong calls f with every series of the group's window and how many of its events in a pane went wrong. Of a completion that is who
// did not complete; where there are too few events, those that did come explain nothing.
func (d *domain) wrong(g *group, m rules.Measure, edge int64, f func(s *series, n int64)) {
	completion := g.rule.Signal.Type == rules.SignalCompletion
	if g.rule.TooFew(m) {
		return
	}
	for s, c := range d.cellsSince(edge - int64(g.rule.Window)) {
		num, den := d.partIn(g, s)
		if !num && (!completion || !den) {
			continue
		}
		n := g.rule.counted(c)
		switch {
		case g.rule.hist:
			n = g.rule.Wrong(c.Buckets, m)
		case completion && num && den:
			n = 0
		case completion && num:
			n = -n
		}
		f(s, n)
	}
}

// changeBefore is the last change of the same service (or of any, if the group has none) before the incident began: the last deploy or rollback where there was
// one, because breakers open and configurations change in answer to those.
func (d *domain) changeBefore(g *group) (last *Change) {
	for _, c := range slices.Backward(d.changes) {
		if !c.concerns(g) || int64(c.At) > g.life.RunStart || g.life.RunStart-int64(c.At) > changeMemory {
			continue
		}
		if c.Change == "deploy" || c.Change == "rollback" {
			return &c
		}
		if last == nil {
			last = &c
		}
	}
	return last
}
