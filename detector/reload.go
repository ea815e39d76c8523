package detector

import (
	"fmt"
	"slices"
	"strings"

	"sevwatch/rules"
)

// Reload is the judge going on under other rules from its edge on: a rule that is still there, by its Identity, keeps its groups' lives
// whatever its thresholds are now; an incident whose rule is gone, or whose severity is no longer on the ladder, ends as superseded with
// the next Advance. It takes the way of a restart, so a restart changes nothing. The old judge must not be used any more.
//
// A new rule's window begins with the panes that the old rules needed: what is older is not there.
func (j *Judge) Reload(file *rules.File) (*Judge, error) {
	next, err := j.snapshot().restore(j.cfg, file)
	if err != nil {
		return nil, fmt.Errorf("cannot go on under the rules %s: %w", file.Hash, err)
	}
	// What was told, and not what the snapshot says, is what Changes compares with.
	next.saved, next.told = j.saved, j.told
	for _, name := range sortedKeys(next.domains) {
		d := next.domains[name]
		for _, g := range d.order {
			_, told := j.saved[d.stateKey(g)]
			g.known = g.known && told
		}
	}
	return next, nil
}

// rulesChanged notes, while a state is loaded, that it came about under other rules: the panes that they did not need are gone, and the
// observed panes are numbered anew.
func (j *Judge) rulesChanged(s edgeState) {
	if s.Edge != never {
		j.since = max(s.Since, s.Edge-s.Longest)
	}
	j.renumber = true
}

// successor is the group in which a restored state lives on, nil if its rule is gone or can no longer hold its incident.
func (d *domain) successor(s *groupState) *group {
	i := slices.IndexFunc(d.rules, func(r *ruleState) bool { return r.identity == s.RuleHash })
	if i < 0 {
		return nil
	}
	tiers, ok := s.ladder(d.rules[i].Severities)
	if !ok {
		return nil
	}
	s.Tiers = tiers
	return d.groupFor(d.rules[i], s.Labels)
}

// ladder brings the timers onto the rungs that the rule has now. It fails if the incident's severity is none of them.
func (s *groupState) ladder(rungs []rules.Tier) (tiers []timer, ok bool) {
	if s.V == 1 { // it has one timer for each rung of then
		for i := range min(len(s.Tiers), len(rungs)) {
			s.Tiers[i].Severity = rungs[i].Severity
		}
		ok = len(s.Tiers) == len(rungs)
	}
	if slices.EqualFunc(s.Tiers, rungs, func(t timer, rung rules.Tier) bool { return t.Severity == rung.Severity }) {
		return s.Tiers, true // while an incident flaps, what is held is not what was told
	}
	for _, rung := range rungs {
		t := timer{Severity: rung.Severity}
		for _, old := range s.Tiers {
			if old.Severity == rung.Severity {
				t = old
			}
		}
		if s.Incident != nil {
			t.Held = rung.Severity >= s.Incident.Severity
			ok = ok || rung.Severity == s.Incident.Severity
		}
		tiers = append(tiers, t)
	}
	return tiers, ok || s.Incident == nil
}

// supersede ends the incident, if there is one, of a group whose rule is gone.
func (d *domain) supersede(s *groupState, edge int64) ([]Output, error) {
	o := s.Incident
	switch {
	case o == nil || o.untold():
		return nil, nil
	case s.V == 1:
		return nil, fmt.Errorf("cannot end incident %s of rule %s, which is gone: its state is of version 1; start once under the rules of then", o.ID, s.Rule)
	}
	o.Revision++
	w := o.About
	i := Incident{
		ID: o.ID, Revision: o.Revision, Transition: Superseded, Severity: o.Severity, PeakSeverity: o.Peak,
		Status: Status{Phase: PhaseSuperseded},
		Reason: fmt.Sprintf("the rules have changed: %s no longer measures this, or has no %s", s.Rule, o.Severity),
		Rule:   RuleRef{Name: s.Rule, FileHash: d.file.Hash, Runbook: d.file.Link("")},
		Labels: w.Labels,
		Signal: Signal{
			Name: w.Signal, Unit: w.Unit, Threshold: w.Threshold,
			Window: Window{Start: Millis(edge - w.Window), End: Millis(edge)},
		},
		StartedAt: Millis(o.StartedAt), At: Millis(edge), RespondBy: Millis(o.RespondBy),
		Impact: Impact{Sentence: "No longer measured."}, Change: o.Change,
		Channel: d.file.Channel(o.StartedAt), Contacts: d.file.Contacts[o.Severity],
	}
	cancelled := d.cancel(o, edge)
	d.texts(o, &i)
	return append([]Output{{Incident: &i}}, cancelled...), nil
}

// renumbered are the keys of observed panes that were told under other rules: their numbers come round at another length.
func (j *Judge) renumbered() []string {
	var keys []string
	for _, k := range sortedKeys(j.saved) {
		if strings.HasPrefix(k, keySeen+keySeparator) {
			keys = append(keys, k)
		}
	}
	return keys
}
