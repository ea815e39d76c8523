package main

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"sevwatch/bench/convert/sets"
	"sevwatch/bench/played"
	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/rules"
)

// within is how soon after its start a fault has to be found.
const within = 3 * time.Minute

// Finding is one fault and what was told of it.
type Finding struct {
	Fault   sets.Fault
	Found   *detector.Incident // the first revision that opened or escalated an incident of the faulty service in time
	Already *detector.Incident // else: the last revision of an incident of that service that was open when the fault began
}

// Result is how a rule file did on a set.
type Result struct {
	Set      string
	Findings []Finding
	Opened   map[string]int // incidents by rule and severity at opening
	Summary  pipeline.Summary
}

// Detect replays the set and matches incidents with faults.
func Detect(ctx context.Context, fsys fs.FS, name string, file *rules.File) (*Result, error) {
	set, ok := sets.Find(name)
	if !ok {
		return nil, fmt.Errorf("there is no set %q", name)
	}
	if set.Faults == nil {
		return nil, fmt.Errorf("the set %q has no labels", name)
	}
	faults, err := set.Faults(fsys)
	if err != nil {
		return nil, err
	}
	incidents, sum, err := played.Incidents(ctx, fsys, set, file)
	if err != nil {
		return nil, err
	}
	r := &Result{Set: name, Opened: map[string]int{}, Summary: sum}
	for _, i := range incidents {
		if i.Transition == detector.Opened {
			r.Opened[fmt.Sprintf("%s %s", i.Rule.Name, i.Severity)]++
		}
	}
	for _, f := range faults {
		r.Findings = append(r.Findings, find(f, incidents))
	}
	return r, nil
}

// find looks for what was told of a fault.
func find(f sets.Fault, incidents []*detector.Incident) Finding {
	result := Finding{Fault: f}
	open := map[string]*detector.Incident{}
	for _, i := range incidents {
		at := int64(i.At)
		if i.Labels["service"] != f.Service || at > f.StartMs+within.Milliseconds() {
			continue
		}
		if at > f.StartMs && (i.Transition == detector.Opened || i.Transition == detector.Escalated) {
			result.Found = i
			return result
		}
		if at <= f.StartMs {
			open[i.ID] = i
		}
	}
	for _, i := range incidents {
		if o := open[i.ID]; o == i && (i.Status.Phase == detector.PhaseOpen || i.Status.Phase == detector.PhaseNoData) {
			result.Already = i
		}
	}
	return result
}

// Markdown is the result as a table.
func (r *Result) Markdown() string {
	var b strings.Builder
	found, already, visible := 0, 0, 0
	fmt.Fprintln(&b, "| start | service | fault | visible | found | how |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|")
	for _, x := range r.Findings {
		see := "no"
		if x.Fault.Seen.Visible {
			see = "yes"
			visible++
		}
		told, how := "no", x.Fault.Seen.Why
		switch {
		case x.Found != nil:
			told = fmt.Sprintf("%s after %d s", x.Found.Severity, (int64(x.Found.At)-x.Fault.StartMs)/1000)
			how = x.Found.Rule.Name + ": " + x.Found.Reason
		case x.Already != nil:
			told = "open already"
			how = fmt.Sprintf("%s since %s: %s", x.Already.Rule.Name, x.Already.StartedAt, x.Fault.Seen.Why)
		}
		if x.Fault.Seen.Visible && x.Found != nil {
			found++
		} else if x.Fault.Seen.Visible && x.Already != nil {
			already++
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", time.UnixMilli(x.Fault.StartMs).UTC().Format("15:04:05"), x.Fault.Service,
			x.Fault.Type, see, told, how)
	}
	opened := 0
	for _, n := range r.Opened {
		opened += n
	}
	fmt.Fprintf(&b, "\n%d faults, %d visible: %d found within %s, %d while an incident of the service was open already, %d missed. %d incidents opened.\n",
		len(r.Findings), visible, found, within, already, visible-found-already, opened)
	return b.String()
}
