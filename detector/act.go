package detector

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sevwatch/rules"
)

// Act is a person's word or a change of the rules, as a record of the control topic carries it. docs/messages.md says which fields go with
// which act.
type Act struct {
	Time       Millis         `json:"time,omitzero"` // event time; 0: as soon as it is read
	Act        ActKind        `json:"act"`
	IncidentID string         `json:"incident_id,omitempty"`
	Matchers   rules.Matchers `json:"matchers,omitempty"` // silence: of the incident's labels, and alert
	Until      Millis         `json:"until,omitzero"`     // silence
	Action     string         `json:"action,omitempty"`   // approve
	By         string         `json:"by,omitempty"`
	Comment    string         `json:"comment,omitempty"`
	Cause      string         `json:"cause,omitempty"` // resolve
	Rules      *rules.File    `json:"-"`               // rules
}

// ActKind is what a person did.
type ActKind string

// The acts.
const (
	ActAcknowledge ActKind = "acknowledge"
	ActSilence     ActKind = "silence"
	ActResolve     ActKind = "resolve"
	ActApprove     ActKind = "approve"
	ActRules       ActKind = "rules"
)

// dueAct is an act that waits for its edge. Offset is its place in the log and puts acts of one edge in order.
type dueAct struct {
	Offset int64 `json:"offset"`
	Due    int64 `json:"due"` // the edge at which it is applied; never: the first one that is closed
	Log    bool  `json:"log,omitempty"`
	Act
}

// Applied says at which edge an act was applied, where its time alone does not say it: it was read too late, or has no time. It has to
// be logged together with what followed from it, so that a replay applies the act at the same edge.
type Applied struct {
	Offset int64
	Edge   int64
}

// silence keeps quiet about what it matches, also about incidents that open later.
type silence struct {
	Matchers rules.Matchers `json:"matchers"`
	Until    int64          `json:"until"`
}

// words are what people have said: acts that wait for their edge, and silences that last.
type words struct {
	Next     int64     `json:"next"` // offset behind the last one heard
	Due      []dueAct  `json:"due,omitempty"`
	Silences []silence `json:"silences,omitempty"`

	applied []Applied // not yet given out
	rules   []dueAct  // due now
}

// Limits on what people say. An act more than that is applied at once instead of waiting for its time; the silence that would end first
// gives way.
const (
	maxDueActs  = 1000
	maxSilences = 1000
)

// Hear takes in the record at that offset of the control log, in order; act is nil for one that says nothing to a judge. edge is where
// the log says that the act was applied, 0 if it says nothing.
func (j *Judge) Hear(offset int64, act *Act, edge int64) {
	if offset < j.words.Next {
		return
	}
	j.words.Next = offset + 1
	if act == nil {
		return
	}
	due := dueAct{Offset: offset, Due: ceil(int64(act.Time), j.cfg.Pane), Act: *act}
	switch {
	case edge != 0:
		due.Due = edge
	case act.Time == 0, due.Due <= j.edge, len(j.words.Due) >= maxDueActs:
		due.Due, due.Log = never, true
		if j.edge != never {
			due.Due = j.edge + j.cfg.Pane
		}
	}
	j.words.Due = append(j.words.Due, due)
	if act.Rules != nil {
		j.expect(act.Rules)
		j.short = j.short || j.holdsSeries()
	}
}

// HearApplied takes in that the log says at which edge the act at offset was applied.
func (j *Judge) HearApplied(a Applied) {
	for i := range j.words.Due {
		if d := &j.words.Due[i]; d.Offset == a.Offset {
			d.Due, d.Log = a.Edge, false
		}
	}
}

// ForgetUnapplied lets go of what people have said without a time and of which the log does not say at which edge it was applied: it was not yet.
func (j *Judge) ForgetUnapplied() {
	j.words.Due = slices.DeleteFunc(j.words.Due, func(d dueAct) bool { return d.Log && d.Rules == nil })
}

// Heard is the offset of the control log behind the last record that was heard.
func (j *Judge) Heard() int64 { return j.words.Next }

// Applied are the acts that were applied since it was last asked, and whose edge has to be logged.
func (j *Judge) Applied() []Applied {
	out := j.words.applied
	j.words.applied = nil
	return out
}

// due takes out the acts that are applied at edge, in order of their offsets, and begins the silences among them. Changes of the rules are put
// aside.
func (w *words) due(edge int64) []Act {
	w.Silences = slices.DeleteFunc(w.Silences, func(s silence) bool { return s.Until <= edge })
	if len(w.Due) == 0 {
		return nil
	}
	slices.SortFunc(w.Due, func(x, y dueAct) int { return cmp.Compare(x.Offset, y.Offset) })
	var acts []Act
	w.Due = slices.DeleteFunc(w.Due, func(d dueAct) bool {
		if d.Due > edge {
			return false
		}
		if d.Log {
			w.applied = append(w.applied, Applied{d.Offset, edge})
		}
		if d.Rules != nil {
			w.rules = append(w.rules, d)
			return true
		}
		acts = append(acts, d.Act)
		if d.Act.Act == ActSilence && len(d.Matchers) > 0 && int64(d.Until) > edge {
			w.silence(silence{d.Matchers, int64(d.Until)})
		}
		return true
	})
	return acts
}

// begin puts the changes of the rules aside that are due when the first pane begins: they say by which rules it is judged.
func (w *words) begin(first int64) {
	w.Due = slices.DeleteFunc(w.Due, func(d dueAct) bool {
		if d.Rules == nil || d.Due > first {
			return false
		}
		w.rules = append(w.rules, d)
		return true
	})
}

// nextRules is the first edge, from the given one on, at which the rules change.
func (w *words) nextRules(from int64) int64 {
	next := int64(1<<63 - 1)
	for _, d := range w.Due {
		if d.Rules != nil {
			next = min(next, max(d.Due, from))
		}
	}
	return next
}

// rulesKey is the key of the state record that holds the rules while they wait for their edge.
func (d *dueAct) rulesKey() string { return key(keyRules, strconv.FormatInt(d.Offset, 10)) }

func (w *words) silence(s silence) {
	w.Silences = append(w.Silences, s)
	if len(w.Silences) <= maxSilences {
		return
	}
	first := 0
	for i, s := range w.Silences {
		if s.Until < w.Silences[first].Until {
			first = i
		}
	}
	w.Silences = slices.Delete(w.Silences, first, first+1)
}

// ceil is the first edge at or after t.
func ceil(t, step int64) int64 { return floor(t+step-1, step) }

// about says whether an act concerns the group's incident.
func (d *domain) about(g *group, a *Act) bool {
	if a.IncidentID != "" {
		return a.IncidentID == g.life.Incident.ID
	}
	return len(a.Matchers) > 0 && d.matches(g, a.Matchers)
}

func (d *domain) matches(g *group, m rules.Matchers) bool {
	labels := d.labels(g)
	labels["alert"] = g.rule.Alert
	return m.Match(func(name string) string { return labels[name] })
}

// obey applies what people said to the group's incident, and tells what came of it.
func (d *domain) obey(g *group, m rules.Measure, v rules.Verdict, edge int64) (out []Output) {
	for i := range d.said {
		a := &d.said[i]
		o := g.life.Incident
		if o == nil || !d.about(g, a) {
			continue
		}
		tell := func(t Transition) { out = append(out, d.tell(g, m, v, news{transition: t, act: a}, edge)...) }
		switch {
		case !o.untold():
		case a.Act == ActSilence: // should it be told one day
			o.SilencedUntil = max(o.SilencedUntil, int64(a.Until))
			continue
		default:
			continue
		}
		switch a.Act {
		case ActAcknowledge:
			if o.AcknowledgedBy == "" {
				o.AcknowledgedBy = cmp.Or(a.By, "somebody")
				tell(Acknowledged)
			}
		case ActSilence:
			if int64(a.Until) > max(edge, o.SilencedUntil) {
				o.SilencedUntil = int64(a.Until)
				tell(Silenced)
			}
		case ActResolve:
			tell(Resolved)
		case ActApprove:
			out = append(out, d.approve(g, a, edge)...)
		}
	}
	return out
}

// silencedUntil is how long the silences that last keep quiet about the group; 0 if none does.
func (d *domain) silencedUntil(g *group) (until int64) {
	for _, s := range d.silences {
		if s.Until > until && d.matches(g, s.Matchers) {
			until = s.Until
		}
	}
	return until
}

// words is what an act says, as a sentence.
func (a *Act) words() string {
	did := map[ActKind]string{
		ActAcknowledge: "acknowledged", ActSilence: "silenced until " + a.Until.String(), ActResolve: "resolved by hand", ActApprove: "approved",
	}[a.Act]
	text := fmt.Sprintf("%s by %s", did, cmp.Or(a.By, "somebody"))
	if a.Cause != "" {
		text += ", cause: " + oneLine(a.Cause)
	}
	if a.Comment != "" {
		text += ": " + oneLine(a.Comment)
	}
	return text
}

// oneLine is a text as part of a sentence.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
