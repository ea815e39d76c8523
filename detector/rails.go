package detector

import (
	"fmt"
	"slices"
	"strings"
)

// HeldBack is an action that a rule would have carried out, and the guard rail that keeps it from being so.
type HeldBack struct {
	Action string `json:"action"`
	Rail   Rail   `json:"rail"`
	Until  Millis `json:"until,omitzero"` // the latest time up to which this rail holds; 0: as long as the incident lasts
	Why    string `json:"why"`
}

// Rail names what holds an action back.
type Rail string

// The guard rails of this engine.
const (
	RailApproval Rail = "approval"        // nobody has approved it yet
	RailExpiry   Rail = "expiry"          // nobody did in time
	RailAttempts Rail = "attempts"        // it was asked for as often as it may be in one incident
	RailTarget   Rail = "one_at_a_time"   // another action on the same target is asked for or under way
	RailCooldown Rail = "cooldown"        // it was asked for not long ago
	RailDeploy   Rail = "after_deploy"    // the incident is suppressed
	RailBudget   Rail = "budget_per_hour" // it was asked for as often as it may be within an hour
)

// String is a sentence's part.
func (h HeldBack) String() string {
	until := "as long as the incident lasts"
	if h.Until != 0 {
		until = "until " + h.Until.String()
	}
	if h.Rail == RailApproval {
		return h.Action + " waits for approval " + until
	}
	return fmt.Sprintf("%s is held back %s (%s): %s", h.Action, until, h.Rail, h.Why)
}

// rail says whether an action may be asked for in an incident now, or which guard rail holds it back: of several the one that lasts longest.
// Neither, while it is under way.
func (d *domain) rail(o *ongoing, name string, busy []outstanding, edge int64) (held HeldBack, free bool) {
	action := d.file.Actions[name]
	for _, r := range o.Requests {
		switch {
		case r.Action != name:
		case r.ExpiresAt != 0 && r.Automatic:
			return HeldBack{}, false
		case r.ExpiresAt != 0:
			return HeldBack{name, RailApproval, Millis(r.ExpiresAt), "nobody has approved it yet"}, false
		case r.Tries < action.Attempts:
		case r.Ended == RecoveryExpired:
			return HeldBack{name, RailExpiry, 0, "nobody approved it in time, and it is asked for at most " + often(action.Attempts) + " in one incident"}, false
		default:
			return HeldBack{name, RailAttempts, 0, "it was asked for " + often(r.Tries) + ", as often as it may be in one incident"}, false
		}
	}
	hold := func(rail Rail, until int64, why string) {
		if until > max(edge, int64(held.Until)) {
			held = HeldBack{name, rail, Millis(until), why}
		}
	}
	if s := o.Suppressed; s != nil {
		hold(RailDeploy, int64(s.Until), "the incident is suppressed")
	}
	for _, other := range busy {
		if b := d.file.Actions[other.Action]; action.SameTarget(&b) {
			hold(RailTarget, other.ExpiresAt, other.Action+" on the same target "+other.state())
		}
	}
	var spent []int64 // within an hour
	for _, a := range d.asked {
		if a.Action != name {
			continue
		}
		hold(RailCooldown, a.At+int64(action.Cooldown), fmt.Sprintf("it was asked for at %s, and %s have to pass", Millis(a.At), action.Cooldown))
		if edge-a.At < hour {
			spent = append(spent, a.At)
		}
	}
	if n := len(spent) - action.Budget; action.Budget > 0 && n >= 0 {
		hold(RailBudget, spent[n]+hour, "it was asked for "+often(len(spent))+" within an hour")
	}
	return held, held.Until == 0
}

func often(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprint(n, " times")
}

// holdBack notes what guard rails hold back of an incident and its parts, and tells it: in the revisions of this edge, if there are any. What was
// held back before is until its time, whatever the window says meanwhile. While the incident is flapping, its next revision says it.
func (d *domain) holdBack(parts []*turn, busy []outstanding, edge int64) []Output {
	t := parts[0]
	o := t.incident()
	before := o.HeldBack
	o.HeldBack = nil
	var fresh []string
	for _, from := range parts {
		for i := range from.rule.Actions {
			want := &from.rule.Actions[i]
			held, _ := d.rail(o, want.Action, busy, edge)
			known := slices.Contains(before, held)
			if held.Rail == "" || from.incident().Severity > want.Severity || slices.Contains(o.HeldBack, held) {
				continue
			}
			if !known && held.Rail != RailApproval {
				if _, wanted := d.wish(from, want, edge); !wanted || !from.asks(want.Severity) {
					continue
				}
			}
			o.HeldBack = append(o.HeldBack, held)
			if !known {
				fresh = append(fresh, held.String())
			}
		}
	}
	now := d.told[o.ID]
	switch {
	case slices.Equal(before, o.HeldBack):
	case len(now) > 0:
		for _, i := range now {
			i.HeldBack = o.HeldBack
			d.texts(o, i)
		}
	case len(fresh) > 0 && !o.Flapping:
		return d.tell(t.group, t.m, t.v, news{transition: Updated, why: strings.Join(fresh, "; ")}, edge)
	}
	return nil
}
