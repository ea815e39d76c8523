package detector

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sevwatch/rules"
)

// changeRules goes on under the rules that are due now, if there are any. Of several, those count that are due last, and of these the last in the log:
// where the first pane begins is not the same for everybody.
func (j *Judge) changeRules() {
	due := j.words.rules
	if len(due) == 0 {
		return
	}
	j.words.rules, j.logged = nil, true
	for i := range due {
		j.gone = append(j.gone, due[i].rulesKey())
	}
	last := slices.MaxFunc(due, func(x, y dueAct) int { return cmp.Or(cmp.Compare(x.Due, y.Due), cmp.Compare(x.Offset, y.Offset)) })
	if file := last.Rules; file.Hash != j.file.Hash {
		j.reload(file)
		j.stale = j.short
	}
}

// expect has the distributions kept that coming rules need.
func (j *Judge) expect(file *rules.File) {
	for _, r := range file.Rules() {
		if r.Signal.Valued() {
			j.soon = append(j.soon, r.Signal.Num...)
		}
	}
}

// holdsSeries says whether deltas were taken in that are still needed.
func (j *Judge) holdsSeries() bool {
	for _, name := range SortedKeys(j.domains) {
		if len(j.domains[name].series) > 0 {
			return true
		}
	}
	return false
}

// reload is the judge going on under other rules from its edge on: a rule that is still there, by its Identity, keeps its groups' lives
// whatever its thresholds are now; an incident whose rule is gone, or whose severity is no longer on the ladder, ends as superseded: it is
// pending then. It takes the way of a restart, so a restart changes nothing.
//
// A new rule's window begins with the panes that the old rules needed: what is older is not there.
func (j *Judge) reload(file *rules.File) {
	s := j.snapshot()
	s.Records = slices.DeleteFunc(s.Records, func(r Record) bool { return r.Key == keyRules })
	next := NewJudge(j.cfg, file)
	next.watch = j.watch
	if err := s.restore(next); err != nil {
		panic(fmt.Sprintf("BUG: the judge cannot be restored from its own state: %v", err))
	}
	next.logged, next.short, next.words.applied = j.logged, j.short, j.words.applied
	next.saved, next.anew, next.atLimits = j.saved, true, j.atLimits // Changes compares with what was told, not with the snapshot
	for _, name := range SortedKeys(j.domains) {
		j.domains[name].letGo()
	}
	*j = *next
	for _, name := range SortedKeys(j.domains) {
		j.adopt(j.domains[name])
	}
}

// letGo tells whoever remembers a series of the domain that it is no more.
func (d *domain) letGo() {
	for _, s := range d.by {
		if s != nil {
			s.panes, s.selection = 0, nil
		}
	}
}

// loadRules takes up the rules that the log put in force, and returns those that wait for their edge, by the keys of their records. Rules that
// can no longer be read (the pipeline has other labels now) say nothing: the judge stays under those that it was given.
func (j *Judge) loadRules(records []Record) map[string]*rules.File {
	waiting := map[string]*rules.File{}
	var unread error
	for _, r := range records {
		if r.Key != keyRules && !strings.HasPrefix(r.Key, keyRules+keySeparator) || len(r.Value) == 0 {
			continue
		}
		file, err := rules.Parse(RulesName, r.Value, inForce(j.cfg.RuleOptions()))
		switch {
		case err != nil:
			unread = errors.Join(unread, err)
		case r.Key == keyRules:
			watch := j.watch
			*j = *NewJudge(j.cfg, file)
			j.watch, j.logged = watch, true
		default:
			waiting[r.Key] = file
		}
	}
	j.unread = unread
	return waiting
}

// inForce are the options for rules that the log or a state holds.
func inForce(opt rules.Options) rules.Options {
	opt.InForce = true
	return opt
}

// Unread is what is wrong with rules that a restored judge could no longer read, nil where there are none.
func (j *Judge) Unread() error { return j.unread }

// RulesName is what rules are called that come from the log.
const RulesName = "rules"

// rulesChanged notes, while a state is loaded, that it came about under other rules: the panes that they did not need are gone.
func (j *Judge) rulesChanged(s edgeState) {
	if s.Edge != never {
		j.since = max(s.Since, s.Edge-s.Longest)
	}
	j.anew = true
}

// forgetTold has Changes look at every record anew.
func (j *Judge) forgetTold() {
	j.gone = append(j.gone, SortedKeys(j.saved)...)
	j.seenUpTo, j.anew = never, false
	clear(j.told)
	for _, name := range SortedKeys(j.domains) {
		for _, g := range j.domains[name].order {
			g.known = false
		}
		for _, p := range j.domains[name].panes {
			p.told, p.final = 0, false
		}
	}
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
