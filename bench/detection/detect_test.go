package main

import (
	"errors"
	"testing"

	"sevwatch/bench/convert/sets"
	"sevwatch/bench/played"
)

// Every visible fault of the TrainTicket day has an incident of its service within three minutes: opened, escalated, or open already.
func TestTrainTicketVisibleFaultsAreFound(t *testing.T) {
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
	r, err := Detect(t.Context(), fsys, "nezha-trainticket-2023-01-29", file)
	if err != nil {
		t.Fatal(err)
	}
	visible, found := 0, 0
	for _, x := range r.Findings {
		if !x.Fault.Seen.Visible {
			continue
		}
		visible++
		if x.Found != nil {
			found++
		} else if x.Already == nil {
			t.Errorf("the fault of %s at %d is visible (%s) and has no incident", x.Fault.Service, x.Fault.StartMs, x.Fault.Seen.Why)
		}
	}
	if visible != 11 || found < 8 {
		t.Errorf("%d visible faults, %d found anew, expected 11 and at least 8", visible, found)
	}
	for rule, n := range r.Opened {
		if rule == "SystemDown Sev1" || rule == "SystemDown Sev2" {
			t.Errorf("%d times %s: a gap in the record is no outage", n, rule)
		}
	}
}
