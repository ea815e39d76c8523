package detector

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sevwatch/rules"
)

// laws are what has to hold of everything that is ever told, whatever the rules and the stream are.
type laws struct {
	t    *testing.T
	name string
	last map[string]*Incident
	asks map[string]RecoveryTransition // by incident, action and attempt

	flapped map[string]bool
}

// obeyed checks all outputs of one run against the laws.
func obeyed(t *testing.T, name string, outputs []Output) {
	t.Helper()
	l := &laws{t: t, name: name, last: map[string]*Incident{}, asks: map[string]RecoveryTransition{}, flapped: map[string]bool{}}
	if !slices.IsSortedFunc(outputs, Output.Compare) {
		l.broken("outputs are not in the order (at, id, revision, type)", outputs[0])
	}
	seen := map[string]bool{}
	about := map[string]string{}
	for _, o := range outputs {
		if seen[o.EventID()] {
			l.broken("the CloudEvents id "+o.EventID()+" is used twice", o)
		}
		seen[o.EventID()] = true
		l.sane(o)
		if o.Incident != nil {
			l.incident(o.Incident, o)
			what := fmt.Sprint(o.Incident.Rule.Name, o.Incident.Labels, o.Incident.StartedAt)
			if id, known := about[what]; known && id != o.ID() {
				l.broken("two ids for "+what, o)
			}
			about[what] = o.ID()
		} else {
			l.recovery(o.Recovery, o)
		}
	}
	if len(about) != len(l.last) {
		l.broken(fmt.Sprintf("%d incidents have %d ids", len(about), len(l.last)), Output{Recovery: &Recovery{}})
	}
}

func (l *laws) broken(what string, o Output) {
	l.t.Helper()
	l.t.Errorf("%s: %s:\n%s", l.name, what, encode(o))
}

var (
	idPattern = regexp.MustCompile(`^[0-9a-f]{20}$`)
	noNumber  = regexp.MustCompile(`NaN|Inf|null|%!`)
)

// sane is about the bytes.
func (l *laws) sane(o Output) {
	text := encode(Output{Incident: o.Incident})
	if o.Recovery != nil {
		text = encode(o.Recovery)
	}
	if noNumber.Match(text[len(`{"Incident":`) : len(text)-len(`"Recovery":null}`)]) {
		l.broken("NaN, Inf or null in a message", o)
	}
	if !idPattern.MatchString(o.ID()) {
		l.broken("id is not 20 hex digits", o)
	}
}

// incident is about one revision after another.
func (l *laws) incident(i *Incident, o Output) {
	before := l.last[i.ID]
	l.last[i.ID] = i
	check := func(ok bool, what string) {
		if !ok {
			l.broken(what, o)
		}
	}
	check((i.Transition == Opened) == (i.Revision == 1), "revision 1, and only it, is opened")
	check((before == nil) == (i.Revision == 1), "a revision is missing or told twice")
	check(i.At > i.StartedAt, "told before it began")
	check((i.Transition == Resolved) == (i.ResolvedAt != 0) && (i.ResolvedAt == 0 || i.ResolvedAt == i.At), "resolved_at goes with resolved")
	check(i.Signal.Window.End == i.At, "the window does not end where the pane does")
	check(i.Transition != NoData || i.Status.Phase == PhaseNoData, "no_data in another phase")
	check(i.Suppressed == nil || i.Status.Silenced && i.Status.SilencedUntil >= i.Suppressed.Until && i.Severity > i.Suppressed.Bar, "suppressed, and told aloud")
	check(len(i.Reason) > 0 && !strings.Contains(i.Reason, "NaN"), "no reason")
	share := i.Impact.Share
	check(share == nil || *share >= 0 && *share <= 1, "a share outside 0..1")
	check(i.Signal.Observed == nil || i.Signal.Unit != "share" || *i.Signal.Observed >= 0 && *i.Signal.Observed <= 1, "an observed share outside 0..1")
	check(i.Transition != Resolved || i.Signal.Observed != nil || i.Word != nil, "resolved without evidence")
	if before == nil {
		check(i.PreviousSeverity == 0 && i.PeakSeverity == i.Severity, "opened with a past")
		return
	}
	check(before.Revision+1 == i.Revision, "revisions do not count up")
	check(before.StartedAt == i.StartedAt && before.Rule == i.Rule, "an incident changed its beginning or its rule")
	final := []Phase{PhaseResolved, PhaseExpired, PhaseSuperseded}
	reopens := before.Status.Phase == PhaseResolved && (i.Transition == Reopened || i.Transition == Flapping)
	check(!slices.Contains(final, before.Status.Phase) || reopens, "told after it was over")
	check(i.Transition != Reopened || reopens, "reopened, and was not over")
	check(i.PeakSeverity == min(before.PeakSeverity, i.Severity), "the peak is not the worst so far")
	changed := map[bool]rules.Severity{true: before.Severity}[before.Severity != i.Severity]
	check(i.PreviousSeverity == changed, "previous_severity is not that of the revision before")
	if i.Transition == Flapping || i.Transition == Reopened {
		l.flapped[i.ID] = true // from here on a change may be told with another word, or later
	}
	again := i.Transition == Reopened || i.Transition == Flapping && before.Status.Phase == PhaseResolved
	check((i.Transition == Escalated) == (i.Severity < before.Severity) || l.flapped[i.ID], "escalated goes with a worse severity")
	check((i.Transition == Deescalated) == (i.Severity > before.Severity) || l.flapped[i.ID], "deescalated goes with a milder severity")
	check(i.Severity < before.Severity || again || i.RespondBy == before.RespondBy, "the deadline moved although it became no worse")
	check(i.Severity >= before.Severity || again || l.flapped[i.ID] && i.Transition != Escalated || !i.Status.Silenced || i.Suppressed != nil, "what became worse is silenced")
	check(i.Transition != Overdue || !i.Status.Acknowledged && i.At >= i.RespondBy, "overdue, and is not")
	check(again || !before.Status.Acknowledged || i.Status.Acknowledged, "an acknowledgement was lost")
	check((i.Transition == Acknowledged) == (i.Status.Acknowledged && (again || !before.Status.Acknowledged)), "acknowledged without a word")
}

// recovery is about one request after another.
func (l *laws) recovery(r *Recovery, o Output) {
	key := fmt.Sprint(r.IncidentID, r.Action, r.Attempt)
	before := l.asks[key]
	l.asks[key] = r.Transition
	i := l.last[r.IncidentID]
	switch {
	case i == nil || i.Revision != r.Revision || i.Severity != r.Severity:
		l.broken("a recovery that does not follow its incident's latest revision", o)
	case (r.Transition == RecoveryRequested) != (before == ""):
		l.broken("asked twice, or ended without being asked, or ended twice", o)
	case r.Transition != RecoveryRequested && before != RecoveryRequested && before != RecoveryApproved:
		l.broken("ended twice", o)
	case r.Transition == RecoveryRequested && r.ExpiresAt <= r.At, r.Transition == RecoveryExpired && r.ExpiresAt > r.At:
		l.broken("its time does not fit", o)
	case (r.Transition == RecoveryCancelled || r.Transition == RecoveryVerified) && i.Status.Phase != PhaseResolved && i.Status.Phase != PhaseExpired && i.Transition != Deescalated:
		l.broken("settled while the incident goes on as bad", o)
	case r.Attempt > 1 && l.asks[fmt.Sprint(r.IncidentID, r.Action, r.Attempt-1)] == RecoveryRequested:
		l.broken("asked again before the last attempt has ended", o)
	}
}
