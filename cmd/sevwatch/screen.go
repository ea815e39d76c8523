package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fatih/color"

	"sevwatch/cmd/sevwatch/demo"
	"sevwatch/detector"
	"sevwatch/rules"
)

// screen shows the demo to a person: faults as they begin and end, incidents as they open, escalate and resolve, and a summary.
type screen struct {
	out   io.Writer
	rules *rules.File

	mu        sync.Mutex
	start     time.Time
	incidents map[string]*told
	order     []*told
	acted     []acted
}

// acted is what became of an action, and when that was known.
type acted struct {
	recovery *detector.Recovery
	at       time.Time
}

// width is how many columns the screen uses.
const width = 80

var (
	faint   = color.New(color.Faint)
	bold    = color.New(color.Bold)
	good    = color.New(color.FgGreen, color.Bold)
	bad     = color.New(color.FgRed, color.Bold)
	fault   = color.New(color.FgMagenta)
	colours = map[rules.Severity]*color.Color{
		rules.Sev1: color.New(color.FgWhite, color.BgRed, color.Bold),
		rules.Sev2: color.New(color.FgRed, color.Bold),
		rules.Sev3: color.New(color.FgYellow, color.Bold),
		rules.Sev4: color.New(color.FgCyan),
	}
)

func newScreen(out io.Writer, file *rules.File) *screen {
	return &screen{out: out, rules: file, start: time.Now(), incidents: map[string]*told{}}
}

func (s *screen) begin(length time.Duration) {
	s.start = time.Now()
	bold.Fprintln(s.out, "Sevwatch demo")
	s.wrap("", fmt.Sprintf("An assessment service with a few hundred visitors runs on this machine for %s. A script breaks it four times. "+
		"Sevwatch knows nothing of the script: it reads the service's events from an embedded Kafka and judges them by the runbook, "+
		"whose windows are %d times shorter here.", length.Round(time.Second), demoSpeed))
	fmt.Fprintln(s.out)
}

// clock is the time since the start.
func (s *screen) clock(t time.Time) string {
	d := t.Sub(s.start)
	return fmt.Sprintf("%2d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// fault shows that a fault of the script begins or ends.
func (s *screen) fault(f demo.Fault, started bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if started {
		fault.Fprintf(s.out, "%s  ▼ the script breaks something: %s\n", s.clock(now), f.Name)
		s.wrap("       ", f.Story)
		return
	}
	fault.Fprintf(s.out, "%s  ▲ mended: %s\n", s.clock(now), f.Name)
}

// tell shows a message that sevwatch has published.
func (s *screen) tell(o detector.Output) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if o.Recovery != nil {
		s.acted = append(s.acted, acted{o.Recovery, now})
		s.wrap("       ", fmt.Sprintf("recovery %s %s (%s): %s", o.Recovery.Action, o.Recovery.Transition, o.Recovery.Mode, o.Recovery.Evidence))
		return
	}
	i := o.Incident
	t := s.incidents[i.ID]
	if t == nil {
		t = &told{opened: now}
		s.incidents[i.ID] = t
		s.order = append(s.order, t)
	}
	t.incident, t.peak, t.sessions = i, i.PeakSeverity, max(t.sessions, i.Impact.Sessions)
	if i.Transition == detector.Resolved {
		t.resolved = now
	}
	fmt.Fprintf(s.out, "%s  %s  %-11s  %s %s\n", s.clock(now), colours[i.Severity].Sprint(i.Severity), i.Transition,
		bold.Sprint(i.Rule.Name), subject(i))
	s.wrap("       ", i.Reason)
	if i.Transition == detector.Opened || i.Transition == detector.Escalated {
		s.why(i)
	}
}

// note shows what somebody in the demo does.
func (s *screen) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fault.Fprintf(s.out, "%s  ▲ %s\n", s.clock(time.Now()), text)
}

// subject is what the incident is about.
func subject(i *detector.Incident) string {
	var parts []string
	for _, name := range []string{"service", "endpoint", "step"} {
		if v := i.Labels[name]; v != "" {
			parts = append(parts, v)
		}
	}
	return strings.Join(parts, " ")
}

// why shows what explains the deviation.
func (s *screen) why(i *detector.Incident) {
	var parts []string
	for _, c := range i.Contributors {
		if c.Label != "status_class" {
			parts = append(parts, fmt.Sprintf("%s=%s %.0f %%", c.Label, c.Value, float64(c.Share)*100))
		}
	}
	if i.Impact.Sessions > 0 {
		s.wrap("       ", "touches "+sessions(i.Impact.Sessions))
	}
	if len(parts) > 0 {
		s.wrap("       ", "mostly "+strings.Join(parts[:min(3, len(parts))], ", "))
	}
	if c := i.Change; c != nil {
		s.wrap("       ", fmt.Sprintf("follows the %s of %s %s", c.Change, c.Service, c.Version))
	}
}

// sessions is a number of sessions as people read it.
func sessions(n int64) string { return rules.Sessions{N: n, About: n > detector.MaxFew}.String() }

// wrap prints text in lines of at most width columns.
func (s *screen) wrap(indent, text string) {
	for line := range strings.SplitSeq(fold(indent+text, width, indent), "\n") {
		faint.Fprintln(s.out, line)
	}
}

// end shows the summary and says whether every fault was found, its action has helped, and nothing else was above Sev4.
func (s *screen) end(people *demo.World, t detector.Totals, refused int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	emitted := people.Totals().Events()
	fmt.Fprintln(s.out)
	bold.Fprintln(s.out, "Summary")
	fmt.Fprintf(s.out, "  events      %d emitted, %.0f a second\n", emitted, float64(emitted)/time.Since(s.start).Seconds())
	consumed := t.Counted + t.Late + t.Rejected + t.Duplicate
	balanced := consumed == emitted && refused == 0
	fmt.Fprintf(s.out, "  accounting  %d counted + %d late + %d rejected = %d consumed  %s\n", t.Counted, t.Late, t.Rejected, consumed, mark(balanced))
	fmt.Fprintf(s.out, "  incidents   %s\n", s.bySeverity())
	fmt.Fprintln(s.out)
	found := true
	for _, f := range people.Faults() {
		found = s.judge(f) && found
	}
	strays := s.strays(people.Faults())
	for _, t := range strays {
		bad.Fprintf(s.out, "  nobody broke this: %s %s %s\n", t.peak, t.incident.Rule.Name, subject(t.incident))
	}
	if found && len(strays) == 0 && balanced {
		good.Fprintln(s.out, "  every fault found, every action verified, nothing else above Sev4, every event accounted for")
	}
	return found && len(strays) == 0 && balanced
}

func mark(ok bool) string {
	if ok {
		return good.Sprint("✓")
	}
	return bad.Sprint("✗")
}

func (s *screen) bySeverity() string {
	var parts []string
	for _, severity := range []rules.Severity{rules.Sev1, rules.Sev2, rules.Sev3, rules.Sev4} {
		n := 0
		for _, t := range s.order {
			if t.peak == severity {
				n++
			}
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, severity))
	}
	return strings.Join(parts, ", ") + " (at their worst)"
}

// grace is how long behind a fault its consequences may open: visitors who are on their way, and the windows.
const grace = 20 * time.Second

// of says whether the incident opened while the fault lasted or in its wake.
func (t *told) of(f demo.Fault) bool {
	return t.opened.After(f.StartedAt) && t.opened.Before(f.EndedAt.Add(grace))
}

// judge shows how one fault was found, how fast, and how it was ended.
func (s *screen) judge(f demo.Fault) bool {
	for _, t := range s.order {
		if !t.of(f) || !slices.Contains(f.Expect, t.incident.Rule.Playbook) {
			continue
		}
		text, helped := s.remedy(f)
		fmt.Fprintf(s.out, "  %s %-16s found %4.1f s after it began, by %s (%s, %s)\n", mark(helped), f.Name,
			t.opened.Sub(f.StartedAt).Seconds(), t.incident.Rule.Name, t.peak, sessions(t.sessions))
		fmt.Fprintf(s.out, "    %-16s %s\n", "", cmp.Or(text, "the runbook has no action for it: "+s.ended(t)))
		return helped
	}
	fmt.Fprintf(s.out, "  %s %-16s not found\n", mark(false), f.Name)
	return false
}

// remedy says when the fault's action was asked for, approved and verified, and its incident resolved; "" if there is no action.
func (s *screen) remedy(f demo.Fault) (text string, verified bool) {
	if f.Action == "" {
		return "", true
	}
	text = f.Action
	id := ""
	for _, a := range s.acted {
		r := a.recovery
		if r.Action != f.Action || a.at.Before(f.StartedAt) || id != "" && id != r.IncidentID {
			continue
		}
		id = r.IncidentID
		text += fmt.Sprintf(" %s %s,", r.Transition, strings.TrimSpace(s.clock(a.at)))
		verified = verified || r.Transition == detector.RecoveryVerified
	}
	if id == "" {
		return f.Action + " was not asked for", false
	}
	return text + " " + s.ended(s.incidents[id]), verified
}

func (s *screen) ended(t *told) string {
	if t.resolved.IsZero() {
		return "still " + string(t.incident.Status.Phase)
	}
	return "resolved " + strings.TrimSpace(s.clock(t.resolved))
}

// strays are incidents above Sev4 that no fault explains.
func (s *screen) strays(faults []demo.Fault) []*told {
	var out []*told
	for _, t := range s.order {
		explained := slices.ContainsFunc(faults, func(f demo.Fault) bool {
			return t.of(f) && (slices.Contains(f.Expect, t.incident.Rule.Playbook) || slices.Contains(f.Follows, t.incident.Rule.Playbook))
		})
		if t.peak < rules.Sev4 && !explained {
			out = append(out, t)
		}
	}
	return out
}
