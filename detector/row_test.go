package detector

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sevwatch/rules"
)

// row is a revision as the engine and the model are compared.
type row struct {
	at                       int64
	about                    string
	revision                 int
	transition, phase        string
	severity, previous, peak rules.Severity
	started, respondBy       int64
	num, den, affected       int64
	sessions                 int64
	observed                 float64 // NaN: absent
	threshold, expected      float64
	contributors, change     string
	acknowledged             bool
	silenced                 int64 // for how long still
	suppressed               int64 // until, 0: it is not
	parent                   string
	children                 int
	held                     string // back, by guard rails
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("02T15:04:05") }

func (r row) String() string {
	return fmt.Sprintf("%s %s r%d %s %s %s<%s peak %s, %d/%d = %.6g of %.6g usually %.6g, %d affected in %d sessions [%s] respond by %s after %q acknowledged=%v silent for %d suppressed until %d parent %s children %d held back %s",
		clock(r.at), r.about, r.revision, r.transition, r.phase, r.severity, r.previous, r.peak, r.num, r.den, r.observed, r.threshold,
		r.expected, r.affected, r.sessions, r.contributors, clock(r.respondBy), r.change, r.acknowledged, r.silenced, r.suppressed, r.parent, r.children, r.held)
}

// rowsOf are the engine's outputs as lines, those of one edge in the order of the lines.
func rowsOf(cfg Config, file *rules.File, outputs []Output) (rows []string) {
	from := 0
	about := map[string]string{}
	for i, o := range outputs {
		if o.Incident != nil {
			about[o.ID()] = aboutOf(cfg, file, o.Incident)
		}
		if i > 0 && o.At() != outputs[from].At() {
			slices.Sort(rows[from:])
			from = i
		}
		rows = append(rows, rowOf(file, about[o.ID()], o))
	}
	slices.Sort(rows[from:])
	return rows
}

// aboutOf is what the incident's id stands for.
func aboutOf(cfg Config, file *rules.File, i *Incident) string {
	r := file.Rules()[slices.IndexFunc(file.Rules(), func(r *rules.Rule) bool { return r.Alert == i.Rule.Name })]
	var labels []string
	for _, name := range slices.Sorted(slices.Values(r.By)) {
		if v := i.Labels[name]; v != "" {
			labels = append(labels, name+"="+v)
		}
	}
	return fmt.Sprintf("%s %s{%s} since %s", r.Alert, i.Labels[cfg.Domain], strings.Join(labels, " "), clock(int64(i.StartedAt)))
}

func rowOf(file *rules.File, about string, o Output) string {
	if r := o.Recovery; r != nil {
		versions := ""
		if r.Versions != nil {
			versions = r.Versions.From + ">" + r.Versions.To
		}
		return fmt.Sprintf("%s %s r%d recovery %s %d %s automatic=%v %s until %s versions %q", clock(int64(r.At)), about, r.Revision, r.Action, r.Attempt,
			r.Transition, r.Mode == "automatic", r.Severity, clock(int64(r.ExpiresAt)), versions)
	}
	i := o.Incident
	out := row{
		at: int64(i.At), about: about, revision: i.Revision, transition: string(i.Transition), phase: string(i.Status.Phase),
		severity: i.Severity, previous: i.PreviousSeverity, peak: i.PeakSeverity, started: int64(i.StartedAt),
		respondBy: int64(i.RespondBy), num: i.Signal.Numerator, affected: i.Impact.Events, sessions: i.Impact.Sessions,
		observed: math.NaN(), threshold: float64(i.Signal.Threshold),
		acknowledged: i.Status.Acknowledged, parent: i.Parent, children: i.ChildrenCount,
	}
	if i.Suppressed != nil {
		out.suppressed = int64(i.Suppressed.Until)
	}
	if i.Status.Silenced {
		out.silenced = int64(i.Status.SilencedUntil - i.At)
	}
	var held []modelHeld
	for _, h := range i.HeldBack {
		held = append(held, modelHeld{h.Action, string(h.Rail), int64(h.Until)})
	}
	out.held = fmt.Sprint(held)
	if i.Signal.Denominator != nil {
		out.den = *i.Signal.Denominator
	}
	if out.previous == 0 {
		out.previous = out.severity
	}
	if i.Signal.Observed != nil {
		out.observed = float64(*i.Signal.Observed)
	}
	if i.Signal.Expected != nil {
		out.expected = float64(*i.Signal.Expected)
	}
	var contributors []string
	for _, c := range i.Contributors {
		contributors = append(contributors, fmt.Sprintf("%s=%s:%d", c.Label, c.Value, c.Events))
	}
	out.contributors = strings.Join(contributors, ",")
	if c := i.Change; c != nil {
		out.change = fmt.Sprintf("%d|%s|%s|%s|%s", c.At, c.Service, c.Change, c.Version, c.PreviousVersion)
	}
	return out.String()
}
