package main

import (
	"errors"
	"testing"

	"sevwatch/bench/convert/sets"
	"sevwatch/bench/played"
	"sevwatch/detector"
	"sevwatch/rules"
)

func TestImpactIsTheWorseOfItsMeasures(t *testing.T) {
	f := func(requests, failed int, p95, usual float64, want rules.Severity) {
		t.Helper()
		if got := impact(sets.Row{Requests: requests, Errors: failed, P95Ms: p95}, usual); got != want {
			t.Errorf("%d of %d failed, p95 %v, usually %v: %s, expected %s", failed, requests, p95, usual, text(got), text(want))
		}
	}
	f(1000, 500, 10, 10, rules.Sev1)
	f(1000, 499, 10, 10, rules.Sev2)
	f(1000, 20, 10, 10, rules.Sev3)
	f(1000, 19, 10, 10, rules.Sev4)
	f(1000, 4, 12.9, 10, none)
	f(1000, 4, 13, 10, rules.Sev4)
	f(1000, 20, 100, 10, rules.Sev1)
	f(1000, 0, 100, 0, none) // what is usual is not known
	f(0, 3, 0, 10, rules.Sev1)
}

// TestMatch: what was in force when a fault began counts, what was told after its tail does not.
func TestMatch(t *testing.T) {
	fault := sets.Fault{StartMs: 600_000, EndMs: 900_000}
	rows := &table{rows: map[string][]sets.Row{"a": {{Service: "a", StartMs: 600_000, EndMs: 660_000, Requests: 100, Errors: 3, P95Ms: 1}}}}
	told := func(at int64, id string, s rules.Severity, tr detector.Transition, p detector.Phase) *detector.Incident {
		return &detector.Incident{ID: id, At: detector.Millis(at), Severity: s, Transition: tr, Status: detector.Status{Phase: p}, Labels: map[string]string{"service": "a"}}
	}
	f := func(ours rules.Severity, open, opened bool, incidents ...*detector.Incident) {
		t.Helper()
		c := rows.match(fault, "a", incidents)
		if c.Expected != rules.Sev3 || c.Ours != ours || c.Open != open || (c.Told != nil) != opened {
			t.Errorf("got expected %s, ours %s, open already %v, told %v", text(c.Expected), text(c.Ours), c.Open, c.Told != nil)
		}
	}
	f(none, false, false)
	f(rules.Sev2, false, true, told(700_000, "x", rules.Sev2, detector.Opened, detector.PhaseOpen))
	f(none, false, false, told(900_000+tail.Milliseconds()+1, "x", rules.Sev2, detector.Opened, detector.PhaseOpen))
	f(rules.Sev4, true, false, told(500_000, "x", rules.Sev4, detector.Opened, detector.PhaseOpen))
	f(none, false, false, told(500_000, "x", rules.Sev4, detector.Opened, detector.PhaseOpen), told(590_000, "x", rules.Sev4, detector.Resolved, detector.PhaseResolved))
	f(rules.Sev1, true, true, told(500_000, "x", rules.Sev4, detector.Opened, detector.PhaseOpen), told(620_000, "x", rules.Sev1, detector.Escalated, detector.PhaseOpen))
}

// TestSeverityAgreement holds what docs/detection.md says of OnlineBoutique and PetShop.
func TestSeverityAgreement(t *testing.T) {
	fsys, err := sets.Open()
	if errors.Is(err, sets.ErrNoData) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := played.Rules("")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		Count
		claims, wrong int
	}{
		{Count{Same: 10, Milder: 5, Worse: 2, Missed: 2, Extra: 3, Silent: 2}, 6, 0},
		{Count{Same: 7, Milder: 7, Missed: 12}, 7, 0},
		{Count{Same: 10, Milder: 5, Worse: 1, Missed: 9, Silent: 1}, 7, 0},
		{Count{}, 20, 0},
	}
	for i, v := range views {
		r, err := Agree(t.Context(), fsys, v.set, file, v.place)
		if err != nil {
			t.Fatal(err)
		}
		nothing := 0
		for _, c := range r.Claims {
			if c.Measured == none {
				nothing++
			}
		}
		if got := r.Count(); got != want[i].Count || len(r.Claims) != want[i].claims || nothing != want[i].wrong {
			t.Errorf("%s: %+v, %d incidents without a fault, %d of them without a deviation; expected %+v", v.title, got, len(r.Claims), nothing, want[i])
		}
	}
}
