// Package postmortem writes what is known of one incident as a Markdown document, from its messages alone. It knows no Kafka and no
// clock: the same messages give the same document.
package postmortem

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sevwatch/detector"
	"sevwatch/rules"
)

// ErrSeveral says that the beginning of an id is that of more than one.
var ErrSeveral = errors.New("several incidents' ids")

// Story is one incident's messages.
type Story struct {
	ID         string
	incidents  []detector.Incident
	recoveries []detector.Recovery
}

// Take reads one message and keeps it if it is of an incident whose id begins with id.
func (s *Story) Take(id string, value []byte) error {
	var head struct {
		ID         string `json:"id"`
		IncidentID string `json:"incident_id"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return fmt.Errorf("cannot read the message: %w", err)
	}
	whose := cmp.Or(head.IncidentID, head.ID)
	switch {
	case whose == "" || !strings.HasPrefix(whose, id):
		return nil
	case s.ID != "" && s.ID != whose:
		return fmt.Errorf("%q is the beginning of %w: %s and %s", id, ErrSeveral, s.ID, whose)
	}
	s.ID = whose
	if head.IncidentID != "" {
		var r detector.Recovery
		err := json.Unmarshal(value, &r)
		s.recoveries = append(s.recoveries, r)
		return err
	}
	var i detector.Incident
	err := json.Unmarshal(value, &i)
	s.incidents = append(s.incidents, i)
	return err
}

// Markdown is the document. It fails when there is nothing to tell.
func (s *Story) Markdown() (string, error) {
	slices.SortStableFunc(s.incidents, func(x, y detector.Incident) int { return cmp.Compare(x.Revision, y.Revision) })
	slices.SortStableFunc(s.recoveries, func(x, y detector.Recovery) int { return cmp.Compare(x.At, y.At) })
	if len(s.incidents) == 0 || s.incidents[0].Revision != 1 {
		return "", fmt.Errorf("the messages do not hold the first revision of the incident")
	}
	var b strings.Builder
	s.summary(&b)
	s.impact(&b)
	s.timeline(&b)
	s.response(&b)
	s.actions(&b)
	s.cause(&b)
	s.tasks(&b)
	return b.String(), nil
}

func (s *Story) first() *detector.Incident { return &s.incidents[0] }
func (s *Story) last() *detector.Incident  { return &s.incidents[len(s.incidents)-1] }

// find is the first revision that tells the transition, nil if none does.
func (s *Story) find(t detector.Transition) *detector.Incident {
	for i := range s.incidents {
		if s.incidents[i].Transition == t {
			return &s.incidents[i]
		}
	}
	return nil
}

// between is the time from one moment to another.
func between(from, to detector.Millis) string { return rules.Duration(to - from).String() }

func (s *Story) summary(b *strings.Builder) {
	first, last := s.first(), s.last()
	title := first.Rule.Name
	if first.Playbook != nil {
		title = first.Playbook.Title
	}
	fmt.Fprintf(b, "# Post-mortem: %s, %s\n\n", title, time.UnixMilli(int64(first.StartedAt)).UTC().Format("2 January 2006"))
	fmt.Fprintf(b, "Incident `%s` of rule `%s`, %s at its worst, %s.", s.ID, first.Rule.Name, last.PeakSeverity, last.Status.Phase)
	for _, name := range slices.Sorted(keys(first.Labels)) {
		fmt.Fprintf(b, " %s: %s.", name, first.Labels[name])
	}
	b.WriteString("\n\n## Summary\n\n")
	fmt.Fprintf(b, "It began at %s: %s.", first.StartedAt, first.Reason)
	if last.ResolvedAt != 0 {
		fmt.Fprintf(b, " It was resolved at %s, %s later: %s.", last.ResolvedAt, between(first.StartedAt, last.ResolvedAt), last.Reason)
	} else {
		fmt.Fprintf(b, " When this was written it was %s, last told of at %s.", last.Status.Phase, last.At)
	}
	b.WriteString("\n\n")
}

func keys(m map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (s *Story) impact(b *strings.Builder) {
	worst := s.first()
	for i := range s.incidents {
		if s.incidents[i].Impact.Events > worst.Impact.Events {
			worst = &s.incidents[i]
		}
	}
	fmt.Fprintf(b, "## Impact\n\nAt the worst telling (%s): %s", worst.At, worst.Impact.Sentence)
	if n := s.last().ChildrenCount; n > 0 {
		fmt.Fprintf(b, " Incidents that were part of it: %d.", n)
	}
	b.WriteString("\n\n")
	if len(worst.Contributors) > 0 {
		b.WriteString("| who | events | share |\n|---|---|---|\n")
		for _, c := range worst.Contributors {
			fmt.Fprintf(b, "| %s = %s | %d | %.1f %% |\n", c.Label, cell(c.Value), c.Events, float64(c.Share)*100)
		}
		b.WriteString("\n")
	}
}

// cell keeps a text from breaking out of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ").Replace(text)
}

func (s *Story) timeline(b *strings.Builder) {
	type row struct {
		at   detector.Millis
		what string
		why  string
	}
	rows := []row{{s.first().StartedAt, "began", "start of the first pane that breached"}}
	if c := s.first().Change; c != nil {
		rows = append(rows, row{c.At, c.Change + " of " + cmp.Or(c.Service, "the flow"), "version " + cmp.Or(c.Version, "not named")})
	}
	for _, i := range s.incidents {
		rows = append(rows, row{i.At, fmt.Sprintf("%s, %s", i.Transition, i.Severity), i.Reason})
	}
	for _, r := range s.recoveries {
		rows = append(rows, row{r.At, fmt.Sprintf("%s %s, attempt %d", r.Action, r.Transition, r.Attempt), r.Evidence})
	}
	slices.SortStableFunc(rows, func(x, y row) int { return cmp.Compare(x.at, y.at) })
	b.WriteString("## Timeline\n\n| time (UTC) | what | why |\n|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %s | %s |\n", r.at, cell(r.what), cell(r.why))
	}
	b.WriteString("\n")
}

// response compares times with the runbook's targets.
func (s *Story) response(b *strings.Builder) {
	first, last := s.first(), s.last()
	fmt.Fprintf(b, "## Detection and response\n\n- Detected %s after it began.\n", between(first.StartedAt, first.At))
	switch ack := s.find(detector.Acknowledged); {
	case ack == nil:
		fmt.Fprintf(b, "- Nobody acknowledged it; an answer was due by %s.\n", last.RespondBy)
	case ack.At > ack.RespondBy:
		fmt.Fprintf(b, "- Acknowledged by %s %s after it was told, %s later than the target.\n",
			ack.Status.AcknowledgedBy, between(first.At, ack.At), between(ack.RespondBy, ack.At))
	default:
		fmt.Fprintf(b, "- Acknowledged by %s %s after it was told, within the target.\n", ack.Status.AcknowledgedBy, between(first.At, ack.At))
	}
	if last.ResolvedAt != 0 {
		fmt.Fprintf(b, "- Resolved %s after it was told.\n", between(first.At, last.ResolvedAt))
	}
	b.WriteString("\n")
}

func (s *Story) actions(b *strings.Builder) {
	b.WriteString("## Actions\n\n")
	type line struct {
		at   detector.Millis
		text string
	}
	var lines []line
	var before []detector.HeldBack
	for _, i := range s.incidents {
		for _, h := range i.HeldBack {
			if !slices.Contains(before, h) {
				lines = append(lines, line{i.At, h.String()})
			}
		}
		before = i.HeldBack
	}
	for _, r := range s.recoveries {
		lines = append(lines, line{r.At, fmt.Sprintf("%s (attempt %d) %s: %s", r.Action, r.Attempt, r.Transition, r.Evidence)})
	}
	slices.SortStableFunc(lines, func(x, y line) int { return cmp.Compare(x.at, y.at) })
	for _, l := range lines {
		fmt.Fprintf(b, "- %s: %s.\n", l.at, l.text)
	}
	if len(s.recoveries) == 0 {
		b.WriteString("None was asked for.\n")
	}
	b.WriteString("\n")
}

func (s *Story) cause(b *strings.Builder) {
	b.WriteString("## Root cause\n\n")
	cause := ""
	for _, i := range s.incidents {
		if i.Word != nil && i.Word.Cause != "" {
			cause = i.Word.Cause
		}
	}
	fmt.Fprintf(b, "%s.\n", cmp.Or(cause, "Not named yet"))
	if c := s.first().Change; c != nil {
		fmt.Fprintf(b, "It followed a %s of %s at %s.\n", c.Change, strings.TrimSpace(c.Service+" "+c.Version), c.At)
	}
	b.WriteString("\n")
}

// tasks are the runbook's post-incident tasks, with what the messages say to each.
func (s *Story) tasks(b *strings.Builder) {
	task := func(name, note string) {
		if note != "" {
			note = ": " + note
		}
		fmt.Fprintf(b, "- [ ] %s%s\n", name, note)
	}
	b.WriteString("## Post-incident tasks\n\n")
	task("Update runbook with lessons learned", "")
	failed := map[string]bool{}
	for _, r := range s.recoveries {
		if r.Transition == detector.RecoveryFailed {
			failed[r.Action] = true
		}
	}
	measures := ""
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range failed {
			if !yield(name) {
				return
			}
		}
	}) {
		measures += name + " did not help; "
	}
	task("Implement preventive measures", strings.TrimSuffix(measures, "; "))
	task("Update monitoring thresholds", s.thresholds())
	alerts := ""
	if s.find(detector.Overdue) != nil {
		alerts = "it was overdue: did the contacts of its severity hear of it?"
	}
	task("Review alert effectiveness", alerts)
	task("Schedule team training", "")
}

// thresholds says what the messages tell of the rule's numbers.
func (s *Story) thresholds() string {
	first, last := s.first(), s.last()
	var notes []string
	if first.Severity > last.PeakSeverity {
		for _, i := range s.incidents {
			if i.Severity == last.PeakSeverity {
				notes = append(notes, fmt.Sprintf("%s was told %s after %s was: is its `for` too long?", i.Severity, between(first.At, i.At), first.Severity))
				break
			}
		}
	}
	if s.find(detector.Flapping) != nil {
		notes = append(notes, "it flapped: a longer `keep_firing_for` or a lower `threshold_share` would have told less")
	}
	if s.find(detector.Reopened) != nil {
		notes = append(notes, "it came back after it was resolved: `keep_firing_for` was too short")
	}
	if s.find(detector.NoData) != nil {
		notes = append(notes, "data were missing meanwhile")
	}
	return strings.Join(notes, "; ")
}
