package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Markdown is the result as tables and counts.
func (r *Result) Markdown() string {
	var b strings.Builder
	if len(r.Cases) > 0 {
		fmt.Fprintln(&b, "| start | service | fault | usual p95 | measured, by row | expected | ours | delay | how |")
		fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|")
		for _, c := range r.Cases {
			usual := r.UsualMs[c.Place]
			fmt.Fprintf(&b, "| %s | %s | %s | %.0f ms | %s | %s | %s | %s | %s |\n", clock(c.Fault.StartMs), c.Place, c.what(), usual,
				c.measured(usual), text(c.Expected), text(c.Ours), c.delay(), c.how())
		}
		fmt.Fprintf(&b, "\n%s\n", r.summary())
		fmt.Fprintf(&b, "Clean rows there, on the same scale: %s.\n", counts(r.Clean))
	}
	fmt.Fprintf(&b, "\n%s\n", r.apart())
	return b.String()
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("01-02 15:04:05") }

// what is the fault, and where it was made if that is elsewhere.
func (c *Case) what() string {
	if c.Fault.Service == c.Place {
		return c.Fault.Type
	}
	return c.Fault.Type + " of " + c.Fault.Service
}

// measured lists a row's failed share, if any, and its p95 as times of what is usual.
func (c *Case) measured(usualMs float64) string {
	var parts []string
	for _, r := range c.Rows {
		switch {
		case r.Requests < minRequests:
			parts = append(parts, fmt.Sprintf("(%d requests)", r.Requests))
		case r.Errors > 0:
			parts = append(parts, fmt.Sprintf("%.1f%% %.1fx", 100*float64(r.Errors)/float64(r.Requests), r.P95Ms/usualMs))
		default:
			parts = append(parts, fmt.Sprintf("%.1fx", r.P95Ms/usualMs))
		}
	}
	return strings.Join(parts, ", ")
}

func (c *Case) delay() string {
	if c.Told == nil {
		return ""
	}
	return fmt.Sprintf("%d s", (int64(c.Told.At)-c.Fault.StartMs)/1000)
}

func (c *Case) how() string {
	var parts []string
	if c.Open {
		parts = append(parts, "open already")
	}
	if c.Told != nil {
		parts = append(parts, c.Told.Rule.Name+": "+c.Told.Reason)
	}
	return strings.Join(parts, "; ")
}

// summary counts how far ours are from what is expected.
func (r *Result) summary() string {
	n := r.Count()
	return fmt.Sprintf("%d faults, %d show: %d of the same severity, %d milder, %d worse, %d missed. %d do not show: of %d nothing was told, of %d it was. "+
		"%d cannot be judged.", len(r.Cases), n.Same+n.Milder+n.Worse+n.Missed, n.Same, n.Milder, n.Worse, n.Missed,
		n.Silent+n.Extra, n.Silent, n.Extra, n.Unjudged)
}

// apart counts the incidents that opened where no fault is known.
func (r *Result) apart() string {
	by := map[string]int{}
	ok, milder, nothing := 0, 0, 0
	var list strings.Builder
	for _, c := range r.Claims {
		switch {
		case c.Measured <= c.Opened.Severity:
			ok++
			continue
		case c.Measured == none:
			nothing++
		default:
			milder++
		}
		by[c.Opened.Rule.Name+" "+text(c.Opened.Severity)]++
		fmt.Fprintf(&list, "- %s %s %s, measured %s: %s\n", clock(int64(c.Opened.At)), c.Opened.Labels["service"], text(c.Opened.Severity),
			text(c.Measured), c.Opened.Reason)
	}
	s := fmt.Sprintf("%.1f hours without a known fault: %d incidents opened. Of %d the rows are at least as bad, of %d they are bad but less so, "+
		"of %d they are not bad.\n", r.Hours, len(r.Claims), ok, milder, nothing)
	if list.Len() > 0 {
		s += "\n" + counts(by) + ":\n\n" + list.String()
	}
	return s
}

func counts(by map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%d %s", by[k], k))
	}
	return strings.Join(parts, ", ")
}
