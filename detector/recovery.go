package detector

import (
	"fmt"

	"sevwatch/rules"
)

// explains is the share of the events gone wrong that has to carry a new version before it is to blame.
const explains = 0.8

// request asks for the actions that the rule names for the incident's severity and that were not asked for yet.
func (d *domain) request(g *group, m rules.Measure, edge int64) []Output {
	o := g.life.Incident
	var out []Output
	for _, want := range g.rule.Actions {
		if o.Severity > want.Severity || o.asked(want.Action) {
			continue
		}
		action := d.file.Actions[want.Action]
		r := outstanding{
			Action: want.Action, Attempt: 1, Automatic: want.Automatic, ExpiresAt: edge + int64(action.Expires),
			Evidence: fmt.Sprintf("%s is %s", g.rule.Alert, o.Severity),
		}
		if action.AfterOnly != "" {
			c := o.Change
			if c == nil || c.Change != action.AfterOnly {
				continue
			}
			share, blamed := d.blame(g, m, c.Version, edge)
			if !blamed {
				continue
			}
			r.Versions = &Versions{From: c.Version, To: c.PreviousVersion}
			r.Evidence = fmt.Sprintf("%s of %s at %s precedes the incident; %.1f %% of its events carry that version",
				c.Change, c.Version, c.At, share*100)
		}
		o.Requests = append(o.Requests, r)
		out = append(out, d.recovery(o, r, RecoveryRequested, edge))
	}
	return out
}

func (o *ongoing) asked(action string) bool {
	for _, r := range o.Requests {
		if r.Action == action {
			return true
		}
	}
	return false
}

// blame is the share of the events gone wrong that carry the version, and whether that explains the deviation.
func (d *domain) blame(g *group, m rules.Measure, version string, edge int64) (share float64, blamed bool) {
	var whole, carry int64
	d.wrong(g, m, edge, func(s *series, n int64) {
		whole += n
		if s.value("version") == version {
			carry += n
		}
	})
	if whole <= 0 || version == "" {
		return 0, false
	}
	share = min(1, float64(carry)/float64(whole))
	return share, share >= explains
}

// expireRequests tells of requests whose time is over.
func (d *domain) expireRequests(g *group, edge int64) []Output {
	return d.withdraw(g.life.Incident, edge, RecoveryExpired, func(r outstanding) bool { return edge >= r.ExpiresAt })
}

// withdraw ends the requests that when picks.
func (d *domain) withdraw(o *ongoing, edge int64, t RecoveryTransition, when func(outstanding) bool) []Output {
	var out []Output
	for i := range o.Requests {
		r := &o.Requests[i]
		if r.ExpiresAt != 0 && when(*r) {
			out = append(out, d.recovery(o, *r, t, edge))
			r.ExpiresAt = 0
		}
	}
	return out
}

func (d *domain) recovery(o *ongoing, r outstanding, t RecoveryTransition, edge int64) Output {
	action := d.file.Actions[r.Action]
	mode := "needs_approval"
	if r.Automatic {
		mode = "automatic"
	}
	evidence := r.Evidence
	switch t {
	case RecoveryCancelled:
		evidence = "the incident is over"
	case RecoveryExpired:
		evidence = "nobody reported it done in time"
	}
	return Output{Recovery: &Recovery{
		IncidentID: o.ID, Revision: o.Revision, Transition: t, Action: r.Action,
		Target: orEmpty(action.Target), Parameters: orEmptyNumbers(action.Parameters), Versions: r.Versions,
		Commands: Commands{Inspect: action.Inspect, Apply: action.Apply, Verify: action.Verify},
		Mode:     mode, Attempt: r.Attempt, At: Millis(edge), ExpiresAt: Millis(r.ExpiresAt), Severity: o.Severity, Evidence: evidence,
	}}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func orEmptyNumbers(m map[string]rules.Number) map[string]rules.Number {
	if m == nil {
		return map[string]rules.Number{}
	}
	return m
}
