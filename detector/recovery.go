package detector

import (
	"fmt"
	"strings"

	"sevwatch/rules"
)

// explains is the share of the events gone wrong that has to carry a new version before it is to blame.
const explains = 0.8

// asked is an action that was asked for in a domain: for cooldowns and budgets.
type asked struct {
	Action string `json:"action"`
	At     int64  `json:"at"`
}

const hour = int64(3600_000)

// act asks for the actions that the rules name for incidents as bad as these, and then tells what is held back. The worst incidents come first,
// in each the rules' order; what an incident that is not told would ask for, the one that it is part of asks for.
func (d *domain) act(live []turn, edge int64) (out []Output) {
	parts := map[string][]*turn{} // of what is told, itself first
	var busy []outstanding        // under way, or waiting for approval
	for i := range live {
		o := live[i].incident()
		for _, r := range o.Requests {
			if r.ExpiresAt != 0 {
				busy = append(busy, r)
			}
		}
		if !o.untold() {
			parts[o.ID] = append([]*turn{&live[i]}, parts[o.ID]...)
		} else {
			parts[o.Parent] = append(parts[o.Parent], &live[i])
		}
	}
	for i := range live {
		if o := live[i].incident(); !o.untold() {
			for _, from := range parts[o.ID] {
				out = append(out, d.request(o, from, &busy, edge)...)
			}
		}
	}
	for i := range live {
		if o := live[i].incident(); !o.untold() {
			out = append(out, d.holdBack(parts[o.ID], busy, edge)...)
		}
	}
	return out
}

// request asks for what the rule of from names, in the name of an incident.
func (d *domain) request(o *ongoing, from *turn, busy *[]outstanding, edge int64) (out []Output) {
	for i := range from.rule.Actions {
		want := &from.rule.Actions[i]
		if !from.asks(want.Severity) {
			continue
		}
		if _, free := d.rail(o, want.Action, *busy, edge); !free {
			continue
		}
		if r, wanted := d.wish(from, want, edge); wanted {
			o.ask(&r)
			*busy = append(*busy, r)
			d.asked = append(d.asked, asked{r.Action, edge})
			out = append(out, d.recovery(o, r, RecoveryRequested, edge))
		}
	}
	return out
}

// asks says whether the window at the edge is a reason to do what is done when it is that bad: an incident that only waits for its recovery is none.
func (t *turn) asks(severity rules.Severity) bool {
	return t.incident().Phase == PhaseOpen && t.incident().Severity <= severity && t.breaches() && t.rule.Severities[t.v.Worst].Severity <= severity
}

// wish is what a rule would ask for; false: the action is not for such an incident.
func (d *domain) wish(from *turn, want *rules.Request, edge int64) (r outstanding, wanted bool) {
	action := d.file.Actions[want.Action]
	r = outstanding{
		Action: want.Action, Severity: want.Severity, Attempt: 1, Automatic: want.Automatic, ExpiresAt: edge + int64(action.Expires),
		Evidence: fmt.Sprintf("%s is %s", from.rule.Alert, from.incident().Severity),
	}
	if action.AfterOnly == "" {
		return r, true
	}
	c := from.incident().Change
	if c == nil || c.Change != action.AfterOnly {
		return r, false
	}
	share, blamed := d.blame(from.group, from.m, c.Version, edge)
	r.Versions = &Versions{From: c.Version, To: c.PreviousVersion}
	r.Evidence = fmt.Sprintf("%s of %s at %s precedes the incident; %.1f %% of its events carry that version", c.Change, c.Version, c.At, share*100)
	return r, blamed
}

// ask notes a request, in the place of the last one for the same action.
func (o *ongoing) ask(r *outstanding) {
	for i := range o.Requests {
		if last := &o.Requests[i]; last.Action == r.Action {
			r.Attempt, r.Tries = last.Attempt+1, last.Tries+1
			*last = *r
			return
		}
	}
	r.Tries = 1
	o.Requests = append(o.Requests, *r)
}

// forgetAsked lets go of what no budget and no cooldown looks at any more.
func (d *domain) forgetAsked(edge int64) {
	n := 0
	for n < len(d.asked) && edge-d.asked[n].At >= max(hour, d.cooldown) {
		n++
	}
	d.asked = d.asked[n:]
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

// expireRequests ends the requests whose time is over: what might be carried out has not helped, what nobody approved was not done.
func (d *domain) expireRequests(g *group, m rules.Measure, v rules.Verdict, edge int64) (out []Output) {
	o := g.life.Incident
	for i := range o.Requests {
		r := &o.Requests[i]
		switch {
		case r.ExpiresAt == 0 || edge < r.ExpiresAt:
		case r.Automatic:
			why := "no data since"
			if v.Evidence == rules.Enough && !v.Blind {
				why = "still " + g.rule.Signal.Print(v.Value) + " over " + g.rule.Window.String()
			}
			out = append(out, d.end(o, r, RecoveryFailed, why, edge))
		default:
			out = append(out, d.end(o, r, RecoveryExpired, "nobody approved it in time", edge))
		}
	}
	return out
}

// settle ends the requests that the incident is no longer bad enough for, all if it is over. If that is because the signal has recovered,
// what was carried out has helped, as far as the engine can see.
func (d *domain) settle(g *group, recovered bool, why string, edge int64) (out []Output) {
	o := g.life.Incident
	over := g.life.held() == len(g.rule.Severities) || !recovered
	for i := range o.Requests {
		r := &o.Requests[i]
		switch {
		case r.ExpiresAt == 0 || !over && o.Severity <= r.Severity:
		case recovered && r.Automatic:
			out = append(out, d.end(o, r, RecoveryVerified, why, edge))
		case over:
			out = append(out, d.end(o, r, RecoveryCancelled, "the incident is over", edge))
		default:
			out = append(out, d.end(o, r, RecoveryCancelled, fmt.Sprintf("the incident is only %s now", o.Severity), edge))
		}
	}
	return out
}

// cancel ends all requests of an incident that is over.
func (d *domain) cancel(o *ongoing, edge int64) (out []Output) {
	for i := range o.Requests {
		if r := &o.Requests[i]; r.ExpiresAt != 0 {
			out = append(out, d.end(o, r, RecoveryCancelled, "the incident is over", edge))
		}
	}
	return out
}

// end tells how a request ended.
func (d *domain) end(o *ongoing, r *outstanding, t RecoveryTransition, why string, edge int64) Output {
	ended := *r
	ended.Evidence = why
	r.ExpiresAt, r.Ended = 0, t
	return d.recovery(o, ended, t, edge)
}

// taken is what became of the actions that were asked for, as a sentence's part; "" if none was.
func (o *ongoing) taken() string {
	var parts []string
	for _, r := range o.Requests {
		parts = append(parts, r.Action+" "+r.state())
	}
	for _, h := range o.HeldBack {
		if h.Rail != RailApproval {
			parts = append(parts, h.String())
		}
	}
	return strings.Join(parts, ", ")
}

// state is what became of a request, as a sentence's part.
func (r *outstanding) state() string {
	switch {
	case r.ExpiresAt == 0:
		return string(r.Ended)
	case r.Automatic:
		return "is under way"
	default:
		return "waits for approval"
	}
}

// approve lets an action that was asked for be carried out, with as much time as if it were asked for now.
func (d *domain) approve(g *group, a *Act, edge int64) (out []Output) {
	for i := range g.life.Incident.Requests {
		r := &g.life.Incident.Requests[i]
		if r.Action == a.Action && r.ExpiresAt != 0 && !r.Automatic {
			r.Automatic, r.ExpiresAt = true, edge+int64(d.file.Actions[r.Action].Expires)
			approved := *r
			approved.Evidence = a.words()
			out = append(out, d.recovery(g.life.Incident, approved, RecoveryApproved, edge))
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
	return Output{Recovery: &Recovery{
		IncidentID: o.ID, Revision: o.Revision, Transition: t, Action: r.Action,
		Target: orEmpty(action.Target), Parameters: orEmptyNumbers(action.Parameters), Versions: r.Versions,
		Commands: Commands{Inspect: action.Inspect, Apply: action.Apply, Verify: action.Verify},
		Mode:     mode, Attempt: r.Attempt, At: Millis(edge), ExpiresAt: Millis(r.ExpiresAt), Severity: o.Severity, Evidence: r.Evidence,
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
