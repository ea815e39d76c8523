package history

import (
	"cmp"
	"slices"
)

// Change is how one incident differs between two histories of the same input. Before and After are the incident there, nil where it is not.
type Change struct {
	Before, After *Incident
	Opened        bool  // only after
	Closed        bool  // only before
	Severity      bool  // its peak is another
	Earlier       int64 // ms by which it opens earlier; below 0: later
	Longer        int64 // ms by which it ends later, not counting an incident that never ends in either; below 0: earlier
}

// Same says that nothing differs.
func (c Change) Same() bool {
	return !c.Opened && !c.Closed && !c.Severity && c.Earlier == 0 && c.Longer == 0
}

// Diff pairs the incidents of two histories: those of the same rule and labels whose times overlap are one incident. What was over in both before
// from is left out, and until is where both end, in epoch ms.
func Diff(before, after *History, from, until int64) []Change {
	var out []Change
	used := map[*Incident]bool{}
	for _, b := range sorted(before.Incidents) {
		var pair *Incident
		for _, a := range sorted(after.Incidents) {
			if !used[a] && a.Subject == b.Subject && a.Started < b.End(until) && b.Started < a.End(until) {
				pair = a
				break
			}
		}
		if pair == nil {
			out = append(out, Change{Before: b, Closed: true})
			continue
		}
		used[pair] = true
		out = append(out, Change{
			Before: b, After: pair, Severity: b.Peak != pair.Peak, Earlier: b.Opened - pair.Opened, Longer: pair.End(until) - b.End(until),
		})
	}
	for _, a := range sorted(after.Incidents) {
		if !used[a] {
			out = append(out, Change{After: a, Opened: true})
		}
	}
	out = slices.DeleteFunc(out, func(c Change) bool {
		return (c.Before == nil || !c.Before.within(from, until)) && (c.After == nil || !c.After.within(from, until))
	})
	slices.SortStableFunc(out, func(x, y Change) int { return cmp.Compare(x.at(), y.at()) })
	return out
}

// at is when the incident opens first.
func (c Change) at() int64 {
	switch {
	case c.Before == nil:
		return c.After.Opened
	case c.After == nil:
		return c.Before.Opened
	default:
		return min(c.Before.Opened, c.After.Opened)
	}
}
