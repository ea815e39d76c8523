package detector

import (
	"sevwatch/rules"
)

// life is what a group remembers of its past judgements: timers, counted in panes that could be judged, and its incident.
type life struct {
	RunStart int64    `json:"run_start,omitempty"` // start of the unbroken run in which any tier breached; 0: none runs
	Tiers    []timer  `json:"tiers"`               // worst first, as in the rule
	Incident *ongoing `json:"incident,omitempty"`
	Past     *ongoing `json:"past,omitempty"` // resolved, and not forgotten: it may be reopened, or holds until the signal has recovered
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
	HeldBack  []HeldBack     `json:"held_back,omitempty"` // what people were told of

	AcknowledgedBy string      `json:"acknowledged_by,omitempty"`
	SilencedUntil  int64       `json:"silenced_until,omitempty"`
	Suppressed     *Suppressed `json:"suppressed,omitempty"` // nil once that is over
	Overdue        int         `json:"overdue,omitempty"`    // a bit for each severity that was told to be overdue
	Edges          []int64     `json:"edges,omitempty"`      // when it changed for better or worse, within flap_window
	Flapping       bool        `json:"flapping,omitempty"`
	Told           int64       `json:"told,omitempty"`   // when the last revision was
	Closed         int64       `json:"closed,omitempty"` // when it was resolved, while it is past
	ByHand         bool        `json:"by_hand,omitempty"`

	Parent   string   `json:"parent,omitempty"`   // the incident that it is part of; while that is told, this one is not
	Children []string `json:"children,omitempty"` // the first ones that became part of it
	Joined   int      `json:"joined,omitempty"`   // how many did
	Storm    bool     `json:"storm,omitempty"`    // so many of its rule opened at once that more of them are part of it

	About about `json:"about"`
}

// about is what was last told of an incident: enough to tell its end when its rule is no longer there.
type about struct {
	Labels    map[string]string `json:"labels"`
	Signal    rules.SignalType  `json:"signal"`
	Unit      string            `json:"unit"`
	Threshold Num               `json:"threshold"`
	Window    int64             `json:"window"` // ms
}

// untold says whether nothing was published of it: it is part of another incident.
func (o *ongoing) untold() bool { return o.Revision == 0 }

// outstanding is a recovery action that was asked for.
type outstanding struct {
	Action    string         `json:"action"`
	Attempt   int            `json:"attempt"`
	Tries     int            `json:"tries,omitempty"`    // as Attempt, since the incident opened or was reopened
	Severity  rules.Severity `json:"severity,omitempty"` // it is asked for when the incident is at least that bad
	Automatic bool           `json:"automatic"`          // it may be carried out: by the rule, or because a person approved
	ExpiresAt int64          `json:"expires_at"`         // 0: it has ended
	Versions  *Versions      `json:"versions,omitempty"`
	Evidence  string         `json:"evidence"`

	Ended RecoveryTransition `json:"ended,omitempty"` // how
}

// step moves the timers on by one judged pane that ends at edge, and says what that means, if anything: the tier is the one that holds or,
// on the way down, the one that was left.
func (l *life) step(r *rules.Rule, v rules.Verdict, pane, edge int64) news {
	switch v.Evidence {
	case rules.Nothing:
		if l.Incident != nil && l.Incident.Phase == PhaseOpen {
			l.Incident.Phase = PhaseNoData
			return news{transition: NoData, tier: l.held()}
		}
		return news{}
	case rules.TooSmall:
		return l.awake()
	}
	l.count(v, pane, edge)
	if l.Past != nil && l.Past.ByHand && !l.worse(r, pane) {
		l.Past.ByHand = v.Healthy < len(l.Tiers)
		return news{}
	}
	before := l.held()
	l.hold(r, pane)
	now := l.held()
	switch {
	case l.Incident == nil && now == len(l.Tiers):
		return news{}
	case l.Incident == nil && l.Past != nil:
		return news{transition: Reopened, tier: now}
	case l.Incident == nil:
		return news{transition: Opened, tier: now}
	case now == len(l.Tiers) && (before < now || !l.Incident.Flapping):
		l.Incident.Phase = PhaseOpen // until it is told: flapping keeps it open
		return news{transition: Resolved, tier: now - 1}
	case now < before:
		l.Incident.Phase = PhaseOpen
		return news{transition: Escalated, tier: now}
	case now > before:
		l.Incident.Phase = PhaseOpen
		return news{transition: Deescalated, tier: before}
	default:
		return l.awake()
	}
}

// worse ends that what somebody resolved is waited for to become healthy, where it has become worse than that was.
func (l *life) worse(r *rules.Rule, pane int64) bool {
	for i, t := range l.Tiers {
		if r.Severities[i].Severity < l.Past.Severity && t.reached(r.Severities[i], pane) {
			l.Past.ByHand = false
			return true
		}
	}
	return false
}

// awake ends the phase no_data: data are back.
func (l *life) awake() news {
	if l.Incident == nil || l.Incident.Phase != PhaseNoData {
		return news{}
	}
	l.Incident.Phase = PhaseOpen
	return news{transition: Updated, tier: l.held()}
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
// healthy for long enough. Tiers are ordered, so those held are always the mildest ones. Where no incident was opened, because there are too
// many, nothing was told that would have to recover: only what is breached now is held.
func (l *life) hold(r *rules.Rule, pane int64) {
	for i := range l.Tiers {
		t := &l.Tiers[i]
		t.Held = t.Held && l.Incident != nil
		if t.reached(r.Severities[i], pane) || i > 0 && l.Tiers[i-1].Held && l.Tiers[i-1].Breached > 0 {
			t.Held = true
		}
		if t.Held && t.Healthy > 0 && t.Healthy*pane >= int64(*r.Recover.KeepFiringFor) {
			t.Held = false
		}
	}
}

// reached says whether the tier has breached for long enough.
func (t *timer) reached(tier rules.Tier, pane int64) bool {
	return t.Breached > 0 && t.Breached*pane >= int64(tier.For)
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

// calm says whether nothing deviates: no incident, no run.
func (l *life) calm() bool { return l.Incident == nil && l.RunStart == 0 }

// deviates says whether what is measured is no part of what is usual: while it is bad, unless somebody has said that it is over.
func (l *life) deviates() bool {
	return l.Incident != nil || l.RunStart != 0 && (l.Past == nil || !l.Past.ByHand)
}

// clean says whether nothing has to be remembered.
func (l *life) clean() bool { return l.calm() && l.Past == nil }

// past keeps an incident that is over for as long as it may be reopened, or has to hold.
func (l *life) past(r *rules.Rule, edge int64) {
	if p := l.Past; p != nil && !p.ByHand && edge-p.Closed >= int64(r.ReopenFor) {
		l.Past = nil
	}
}

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
