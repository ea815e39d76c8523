package history

import (
	"fmt"
	"slices"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Usage watches what rules do over a history, to find those that can be of no use.
type Usage struct {
	rules  []*ruleUse
	events int64
	pane   int64 // ms
	first  int64 // start of the first pane that gained anything
	last   int64 // end of the last window that was judged
}

type ruleUse struct {
	*rules.Rule
	matched   []int64           // events, of each selector of Num, then Den
	labels    map[string]int64  // events among those matched that have the label of by
	judged    int64             // windows with enough to be judged
	held      int64             // panes at whose end a tier was held, in any group
	heldAt    int64             // the last of them
	incidents map[string]string // by id
	opened    int
	worst     float64 // the value nearest to, or furthest beyond, a threshold
	known     bool
}

// NewUsage watches the rules of a file, judged in panes of so many ms.
func NewUsage(file *rules.File, pane int64) *Usage {
	u := &Usage{pane: pane}
	for _, r := range file.Rules() {
		u.rules = append(u.rules, &ruleUse{
			Rule: r, matched: make([]int64, len(r.Signal.Num)+len(r.Signal.Den)), labels: map[string]int64{}, incidents: map[string]string{},
		})
	}
	return u
}

// Delta takes what a pane gained.
func (u *Usage) Delta(d *detector.Delta) {
	if u.first == 0 || d.Pane < u.first {
		u.first = d.Pane
	}
	for i := range d.Series {
		s := &d.Series[i]
		if s.Kind == rules.KindPipeline {
			continue
		}
		if s.Kind != rules.KindAttempt { // which is derived of events
			u.events += s.Count
		}
		value := func(name string) string {
			for _, l := range s.Labels {
				if l.Name == name {
					return l.Value
				}
			}
			return ""
		}
		for _, r := range u.rules {
			r.count(s, value)
		}
	}
}

func (r *ruleUse) count(s *detector.SeriesDelta, value func(string) string) {
	hit := false
	for n, selector := range slices.Concat(r.Signal.Num, r.Signal.Den) {
		if selector.Matches(s.Kind, value) {
			r.matched[n] += s.Count
			hit = true
		}
	}
	if !hit {
		return
	}
	for _, name := range r.By {
		if value(name) != "" {
			r.labels[name] += s.Count
		}
	}
}

// Judgement takes one judged window.
func (u *Usage) Judgement(j *detector.Judgement) {
	u.last = j.End
	for _, r := range u.rules {
		if r.Rule != j.Rule {
			continue
		}
		if j.Incident != "" && r.incidents[j.Incident] == "" {
			r.incidents[j.Incident] = j.Incident
			r.opened++
		}
		if j.Held != 0 && r.heldAt != j.End {
			r.held, r.heldAt = r.held+1, j.End
		}
		if j.Verdict.Evidence != rules.Enough || j.Verdict.Blind {
			return
		}
		r.judged++
		if v := j.Verdict.Value; !r.known || (v < r.worst) == r.Below() {
			r.worst, r.known = v, true
		}
	}
}

// Finding is something about a rule that somebody should look at, and what to do about it.
type Finding struct {
	Rule    *rules.Rule
	Problem string
	Advice  string
}

// alwaysFires is the share of the time from which on a rule says nothing any more by firing.
const alwaysFires = 0.5

// ofPipeline says whether the rule is about the pipeline itself, of which a history of events may hold nothing.
func (r *ruleUse) ofPipeline() bool {
	return slices.ContainsFunc(r.Signal.Num, func(s rules.Selector) bool { return s.Kind == rules.KindPipeline })
}

// Findings are what can be said of the rules after a history, in the order of the file.
func (u *Usage) Findings() []Finding {
	var out []Finding
	for _, r := range u.rules {
		add := func(advice, problem string, args ...any) {
			out = append(out, Finding{r.Rule, fmt.Sprintf(problem, args...), advice})
		}
		blind, said := false, map[string]bool{} // what completes is on both sides of a completion
		for n, selector := range slices.Concat(r.Signal.Num, r.Signal.Den) {
			if text := selector.String(); r.matched[n] == 0 && !said[text] && !r.ofPipeline() {
				said[text] = true
				advice := "look for a typing mistake in its labels; if such events are just rare, leave it"
				if selector.Kind == rules.KindAttempt {
					advice = "attempts are derived where a source follows sessions, by its configuration; if none does, leave it"
				}
				add(advice, "%s matches none of the %d events", selector, u.events)
				blind = true
			}
		}
		for _, name := range r.By {
			if whole := slices.Max(r.matched); whole > 0 && r.labels[name] == 0 {
				add("group by a label that the events have, or all of them are one group", "none of the %d events that it counts has the label %q, which it groups by", whole, name)
			}
		}
		switch {
		case blind, r.judged == 0 && r.ofPipeline():
		case r.judged == 0:
			add("lower sample.min, widen the window, or use a longer history", "no window had enough to be judged")
		case r.opened == 0:
			near := r.Severities[len(r.Severities)-1]
			add("fine if nothing was wrong in that time; else bring the mildest tier nearer", "never fired in %d judged windows: the value nearest to %s was %s, its threshold is %s",
				r.judged, near.Severity, r.Signal.Print(r.worst), r.Signal.Print(r.Threshold(len(r.Severities)-1)))
		case float64(r.held*u.pane) >= alwaysFires*float64(u.last-u.first):
			add("raise the threshold of the tier that is always held, or mend what is broken: nobody reads what always fires",
				"an incident of it was open for %.0f %% of the time", float64(r.held*u.pane)*100/float64(u.last-u.first))
		}
	}
	return out
}
