// Package history makes incidents out of their revisions, and says how good a set of them is: against windows that are known to have been
// incidents, and against the incidents of other rules. It is pure: it knows no clock and no files.
package history

import (
	"cmp"
	"slices"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Incident is one incident, from its first revision to its last.
type Incident struct {
	ID      string
	Rule    string
	Subject string // rule and labels
	Labels  map[string]string
	Started int64 // epoch ms of event time: the start of the run that led to it
	Opened  int64 // when it was told first
	Ended   int64 // when it was told to be over; 0: it is not
	Peak    rules.Severity
	Told    []*detector.Incident // its revisions
}

// End is where it ended, or until where there is more to know of.
func (i *Incident) End(until int64) int64 {
	if i.Ended != 0 {
		return i.Ended
	}
	return max(until, i.Opened)
}

// within says whether the incident was not over before from, where anything was judged from then on: that was done up to until.
func (i *Incident) within(from, until int64) bool {
	return from <= until && (i.Ended == 0 || i.Ended >= from)
}

// History is the incidents of one replay.
type History struct {
	Incidents  []*Incident // by opening, then id
	Recoveries []*detector.Recovery

	file *rules.File
	byID map[string]*Incident
}

// New is a history of nothing yet, under these rules.
func New(file *rules.File) *History { return &History{file: file, byID: map[string]*Incident{}} }

// Add takes a message, in the order of outputs.
func (h *History) Add(o detector.Output) {
	if o.Incident == nil {
		h.Recoveries = append(h.Recoveries, o.Recovery)
		return
	}
	i := h.byID[o.Incident.ID]
	if i == nil {
		i = &Incident{
			ID: o.Incident.ID, Rule: o.Incident.Rule.Name, Subject: o.Incident.Subject(h.file), Labels: o.Incident.Labels,
			Started: int64(o.Incident.StartedAt), Opened: int64(o.Incident.At),
		}
		h.byID[i.ID] = i
		h.Incidents = append(h.Incidents, i)
	}
	i.Told = append(i.Told, o.Incident)
	i.Peak = o.Incident.PeakSeverity
	i.Ended = 0
	switch o.Incident.Status.Phase {
	case detector.PhaseResolved, detector.PhaseExpired, detector.PhaseSuperseded:
		i.Ended = int64(o.Incident.At)
	}
}

// Since is the history without the incidents that were over before from; each of the others has all that was told of it. until is where the history
// ends, in epoch ms: if that is before from, nothing is left. Messages are added before, not to what this gives.
func (h *History) Since(from, until int64) *History {
	return &History{Incidents: only(h.Incidents, func(i *Incident) bool { return i.within(from, until) }), Recoveries: h.Recoveries, file: h.file}
}

// Find is the incident whose id begins with prefix, nil if there is none; many says that there are several.
func (h *History) Find(prefix string) (found *Incident, many bool) {
	for _, i := range h.Incidents {
		if len(prefix) > 0 && len(i.ID) >= len(prefix) && i.ID[:len(prefix)] == prefix {
			if found != nil {
				return nil, true
			}
			found = i
		}
	}
	return found, false
}

// Severities are the stretches of event time in which the incident was of one severity, [From, To).
func (i *Incident) Severities(until int64) []Stretch {
	var out []Stretch
	for n, r := range i.Told {
		end := i.End(until)
		if n+1 < len(i.Told) {
			end = int64(i.Told[n+1].At)
		}
		from := int64(r.At)
		if last := len(out) - 1; last >= 0 && out[last].Severity == r.Severity && out[last].To == from {
			out[last].To = end
		} else if end > from {
			out = append(out, Stretch{r.Severity, from, end})
		}
	}
	return out
}

// Stretch is a stretch of event time in epoch ms with one severity.
type Stretch struct {
	Severity rules.Severity
	From, To int64
}

// sorted are incidents by opening and id.
func sorted(in []*Incident) []*Incident {
	out := slices.Clone(in)
	slices.SortFunc(out, func(x, y *Incident) int { return cmp.Or(cmp.Compare(x.Opened, y.Opened), cmp.Compare(x.ID, y.ID)) })
	return out
}
