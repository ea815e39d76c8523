package detector

import (
	"sevwatch/rules"
)

// life is what a group remembers of its past judgements: timers, counted in panes that could be judged, and its incident.
type life struct {
	RunStart int64    `json:"run_start,omitempty"` // start of the unbroken run in which any tier breached; 0: none runs
	Tiers    []timer  `json:"tiers"`               // worst first, as in the rule
	Incident *ongoing `json:"incident,omitempty"`
}

// timer is the state of one tier. Panes without enough evidence leave it as it is.
type timer struct {
	Severity rules.Severity `json:"severity"`
	Breached int64          `json:"breached"` // panes in a row in which the tier breached
	Healthy  int64          `json:"healthy"`  // panes in a row past its recovery bound
	Held     bool           `json:"held"`     // the tier was reached and has not recovered
}

// ongoing is an incident that is not over.
type ongoing struct {
	ID        string         `json:"id"`
	Revision  int            `json:"revision"`
	Phase     Phase          `json:"phase"`
	Severity  rules.Severity `json:"severity"`
	Peak      rules.Severity `json:"peak"`
	StartedAt int64          `json:"started_at"`
	RespondBy int64          `json:"respond_by"`
	Change    *Change        `json:"change,omitempty"`
	Requests  []outstanding  `json:"requests,omitempty"`
	About     about          `json:"about"`
}

// about is what was last told of an incident: enough to tell its end when its rule is no longer there.
type about struct {
	Labels    map[string]string `json:"labels"`
	Signal    rules.SignalType  `json:"signal"`
	Unit      string            `json:"unit"`
	Threshold Num               `json:"threshold"`
	Window    int64             `json:"window"` // ms
}

// outstanding is a recovery action that was asked for.
type outstanding struct {
	Action    string    `json:"action"`
	Attempt   int       `json:"attempt"`
	Automatic bool      `json:"automatic"`
	ExpiresAt int64     `json:"expires_at"`
	Versions  *Versions `json:"versions,omitempty"`
	Evidence  string    `json:"evidence"`
}

// step moves the timers on by one judged pane that ends at edge, and says what that means: a transition, or "" for none; and the
// tier that the reason is about: the one that holds, or, on the way down, the one that was left.
func (l *life) step(r *rules.Rule, v rules.Verdict, pane, edge int64) (transition Transition, tier int) {
	switch v.Evidence {
	case rules.Nothing:
		if l.Incident != nil && l.Incident.Phase == PhaseOpen {
			l.Incident.Phase = PhaseNoData
			return NoData, l.held()
		}
		return "", 0
	case rules.TooSmall:
		return l.awake(), l.held()
	}
	l.count(v, pane, edge)
	before := l.held()
	l.hold(r, pane)
	now := l.held()
	switch {
	case l.Incident == nil && now < len(l.Tiers):
		return Opened, now
	case l.Incident == nil:
		return "", 0
	case now == len(l.Tiers):
		return Resolved, len(l.Tiers) - 1
	case now < before:
		l.Incident.Phase = PhaseOpen
		return Escalated, now
	case now > before:
		l.Incident.Phase = PhaseOpen
		return Deescalated, before
	default:
		return l.awake(), now
	}
}

// awake ends the phase no_data: data are back.
func (l *life) awake() Transition {
	if l.Incident == nil || l.Incident.Phase != PhaseNoData {
		return ""
	}
	l.Incident.Phase = PhaseOpen
	return Updated
}

// count moves the timers.
func (l *life) count(v rules.Verdict, pane, edge int64) {
	for i := range l.Tiers {
		t := &l.Tiers[i]
		t.Breached++
		if i < v.Worst {
			t.Breached = 0
		}
		t.Healthy++
		if i >= v.Healthy {
			t.Healthy = 0
		}
	}
	switch {
	case v.Worst == len(l.Tiers):
		l.RunStart = 0
	case l.RunStart == 0:
		l.RunStart = edge - pane
	}
}

// hold takes hold of every tier at or below the worst one that has breached for long enough, and lets go of those that have been
// healthy for long enough. Tiers are ordered, so those held are always the mildest ones.
func (l *life) hold(r *rules.Rule, pane int64) {
	for i := range l.Tiers {
		t := &l.Tiers[i]
		reached := t.Breached > 0 && t.Breached*pane >= int64(r.Severities[i].For)
		if reached || i > 0 && l.Tiers[i-1].Held && l.Tiers[i-1].Breached > 0 {
			t.Held = true
		}
		if t.Held && t.Healthy > 0 && t.Healthy*pane >= int64(*r.Recover.KeepFiringFor) {
			t.Held = false
		}
	}
}

// held is the index of the worst tier held; the number of tiers if none is.
func (l *life) held() int {
	for i, t := range l.Tiers {
		if t.Held {
			return i
		}
	}
	return len(l.Tiers)
}

// clean says whether nothing has to be remembered: no incident, no run.
func (l *life) clean() bool { return l.Incident == nil && l.RunStart == 0 }

// reset forgets everything.
func (l *life) reset() {
	tiers := make([]timer, len(l.Tiers))
	for i, t := range l.Tiers {
		tiers[i].Severity = t.Severity
	}
	*l = life{Tiers: tiers}
}

// newLife is that of a group that nobody has seen.
func newLife(r *rules.Rule) life {
	l := life{Tiers: make([]timer, len(r.Severities))}
	for i, t := range r.Severities {
		l.Tiers[i].Severity = t.Severity
	}
	return l
}
