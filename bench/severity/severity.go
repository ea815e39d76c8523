package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"sevwatch/bench/convert/sets"
	"sevwatch/bench/played"
	"sevwatch/detector"
	"sevwatch/rules"
)

const (
	// tail is how long after a fault's end a severity still counts as that of the fault: the longest window of the rules, and a `for`.
	tail = 3 * time.Minute
	// settle is how long after a fault's end rows are not yet taken as clean: effects outlast the assumed end (docs/data.md).
	settle = 5 * time.Minute
	// minRequests is wanted of a row: below it the 95th percentile is nothing but the largest value.
	minRequests = 20
)

// none is no severity: milder than Sev4.
const none = rules.Sev4 + 1

// scale is the agreed measure of impact, worst first: Sev1 to Sev4.
var scale = [4]struct{ share, times float64 }{{0.50, 10}, {0.10, 4}, {0.02, 2}, {0.005, 1.3}}

// impact is the severity of a row against what is usual, the worse of its two measures.
func impact(r sets.Row, usualMs float64) rules.Severity {
	share := float64(r.Errors) / float64(max(r.Requests, r.Errors, 1))
	for i, s := range scale {
		if share >= s.share || usualMs > 0 && r.P95Ms >= s.times*usualMs {
			return rules.Sev1 + rules.Severity(i)
		}
	}
	return none
}

// A Case is one fault: how bad it was measured to be where it is looked for, and what was told of that place.
type Case struct {
	Fault    sets.Fault
	Place    string // the service that is looked at
	Rows     []sets.Row
	Expected rules.Severity     // of the worst row; none also where no row can be judged
	Judged   int                // rows with enough requests
	Ours     rules.Severity     // the worst that was in force from the start to tail after the end
	Told     *detector.Incident // the first that opened or became worse; nil: none did
	Open     bool               // something was in force already when it began
}

// A Claim is an incident that opened while the source knows of no fault.
type Claim struct {
	Opened   *detector.Incident
	Measured rules.Severity // the worst of the rows that its window touches, on the same scale
}

// Result is how severities agree in one set.
type Result struct {
	Set     string
	Cases   []Case
	Claims  []Claim
	UsualMs map[string]float64 // p95 of clean rows, its median by service
	Clean   map[string]int     // the clean rows of the places that were looked at, by severity
	Hours   float64            // of clean time
}

// Count is how severities compare.
type Count struct {
	Same, Milder, Worse, Missed int // of the faults that show
	Extra, Silent               int // of those that do not: something was told, nothing was
	Unjudged                    int
}

// Count compares the cases.
func (r *Result) Count() (n Count) {
	for _, c := range r.Cases {
		switch {
		case c.Judged == 0:
			n.Unjudged++
		case c.Expected == none && c.Ours == none:
			n.Silent++
		case c.Expected == none:
			n.Extra++
		case c.Ours == none:
			n.Missed++
		case c.Ours == c.Expected:
			n.Same++
		case c.Ours > c.Expected:
			n.Milder++
		default:
			n.Worse++
		}
	}
	return n
}

// Agree replays a set and matches severities. place says where a fault is looked for.
func Agree(ctx context.Context, fsys fs.FS, name string, file *rules.File, place func(sets.Fault) string) (*Result, error) {
	set, ok := sets.Find(name)
	if !ok || set.Rows == nil {
		return nil, fmt.Errorf("there is no set %q with rows", name)
	}
	var faults []sets.Fault
	var err error
	if set.Faults != nil {
		if faults, err = set.Faults(fsys); err != nil {
			return nil, err
		}
	}
	t, err := read(set.Rows(fsys), faults)
	if err != nil {
		return nil, err
	}
	incidents, _, err := played.Incidents(ctx, fsys, set, file)
	if err != nil {
		return nil, err
	}
	r := &Result{Set: name, UsualMs: t.usualMs, Clean: map[string]int{}, Hours: t.cleanHours}
	places := map[string]bool{}
	for _, f := range faults {
		r.Cases = append(r.Cases, t.match(f, place(f), incidents))
		places[place(f)] = true
	}
	for p := range places {
		for _, row := range t.clean[p] {
			r.Clean[text(impact(row, t.usualMs[p]))]++
		}
	}
	r.Claims = t.claims(faults, incidents)
	return r, nil
}

// table is a set's rows by service, apart from and within faults.
type table struct {
	rows, clean map[string][]sets.Row
	usualMs     map[string]float64
	cleanHours  float64
}

func read(rows sets.RowSeq, faults []sets.Fault) (*table, error) {
	t := &table{rows: map[string][]sets.Row{}, clean: map[string][]sets.Row{}, usualMs: map[string]float64{}}
	stretches := map[[2]int64]bool{}
	for r, err := range rows {
		if err != nil {
			return nil, err
		}
		t.rows[r.Service] = append(t.rows[r.Service], r)
		if within(faults, r.StartMs, r.EndMs) {
			continue
		}
		stretches[[2]int64{r.StartMs, r.EndMs}] = true
		if r.Requests >= minRequests {
			t.clean[r.Service] = append(t.clean[r.Service], r)
		}
	}
	for s := range stretches {
		t.cleanHours += float64(s[1]-s[0]) / float64(time.Hour.Milliseconds())
	}
	for service, clean := range t.clean {
		var p95 []float64
		for _, r := range clean {
			p95 = append(p95, r.P95Ms)
		}
		slices.Sort(p95)
		t.usualMs[service] = p95[(len(p95)-1)/2]
	}
	return t, nil
}

// within says whether [fromMs, toMs) touches a fault or the time in which it settles.
func within(faults []sets.Fault, fromMs, toMs int64) bool {
	return slices.ContainsFunc(faults, func(f sets.Fault) bool { return fromMs < f.EndMs+settle.Milliseconds() && f.StartMs < toMs })
}

// worst is the worst row of a service that touches [fromMs, toMs), and the rows.
func (t *table) worst(service string, fromMs, toMs int64) (s rules.Severity, judged int, touched []sets.Row) {
	s = none
	for _, r := range t.rows[service] {
		if r.StartMs >= toMs || fromMs >= r.EndMs {
			continue
		}
		touched = append(touched, r)
		if r.Requests >= minRequests {
			judged++
			s = min(s, impact(r, t.usualMs[service]))
		}
	}
	return s, judged, touched
}

// match looks for what was told of a service while a fault lasted.
func (t *table) match(f sets.Fault, place string, incidents []*detector.Incident) Case {
	c := Case{Fault: f, Place: place, Ours: none}
	c.Expected, c.Judged, c.Rows = t.worst(place, f.StartMs, f.EndMs)
	before := map[string]*detector.Incident{}
	for _, i := range incidents {
		at := int64(i.At)
		switch {
		case i.Labels["service"] != place, at > f.EndMs+tail.Milliseconds():
		case at <= f.StartMs:
			before[i.ID] = i
		case i.Status.Phase == detector.PhaseOpen:
			news := i.Transition == detector.Opened || i.Transition == detector.Reopened || i.Transition == detector.Escalated
			if news && c.Told == nil {
				c.Told = i
			}
			c.Ours = min(c.Ours, i.Severity)
		}
	}
	for _, i := range before {
		if i.Status.Phase == detector.PhaseOpen || i.Status.Phase == detector.PhaseNoData {
			c.Open, c.Ours = true, min(c.Ours, i.Severity)
		}
	}
	return c
}

// claims are the incidents that opened apart from faults.
func (t *table) claims(faults []sets.Fault, incidents []*detector.Incident) []Claim {
	var out []Claim
	for _, i := range incidents {
		if i.Transition != detector.Opened || within(faults, int64(i.At)-1, int64(i.At)) {
			continue
		}
		measured, _, _ := t.worst(i.Labels["service"], int64(i.Signal.Window.Start), int64(i.At))
		out = append(out, Claim{Opened: i, Measured: measured})
	}
	slices.SortStableFunc(out, func(x, y Claim) int {
		return cmp.Or(cmp.Compare(x.Opened.At, y.Opened.At), cmp.Compare(x.Opened.ID, y.Opened.ID))
	})
	return out
}

// text is a severity as it is printed.
func text(s rules.Severity) string {
	if s == none {
		return "none"
	}
	return s.String()
}
