package postmortem

import (
	"encoding/json"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/rules"
)

const start = detector.Millis(1793534400000) // 2026-11-01T12:00:00Z

func minutes(n int64) detector.Millis { return start + detector.Millis(n*60_000) }

// life is an incident that escalated, was answered late, flapped, and was resolved by hand after an action that did not help.
func life() (messages []any) {
	add := func(at int64, t detector.Transition, s rules.Severity, change func(i *detector.Incident)) {
		i := detector.Incident{
			ID: "9a1e62f0c7d34b58e201", Revision: len(messages) + 1, Transition: t, Severity: s, PeakSeverity: min(s, rules.Sev1), At: minutes(at),
			StartedAt: start, RespondBy: minutes(16), Reason: "because", Rule: detector.RuleRef{Name: "Errors"}, Labels: map[string]string{"service": "a|b"},
			Status: detector.Status{Phase: detector.PhaseOpen}, Impact: detector.Impact{Events: at, Sentence: "Many failed."},
		}
		if change != nil {
			change(&i)
		}
		messages = append(messages, i)
	}
	add(1, detector.Opened, rules.Sev3, func(i *detector.Incident) { i.PeakSeverity = rules.Sev3 })
	held := []detector.HeldBack{{Action: "rollback", Rail: detector.RailCooldown, Until: minutes(9), Why: "because it was"}}
	add(3, detector.Escalated, rules.Sev1, func(i *detector.Incident) { i.HeldBack = held })
	add(16, detector.Overdue, rules.Sev1, func(i *detector.Incident) { i.HeldBack = held })
	add(20, detector.Acknowledged, rules.Sev1, func(i *detector.Incident) { i.Status.AcknowledgedBy = "maria" })
	add(25, detector.Flapping, rules.Sev1, nil)
	add(40, detector.Resolved, rules.Sev1, func(i *detector.Incident) {
		i.Status.Phase, i.ResolvedAt = detector.PhaseResolved, i.At
		i.Word = &detector.Word{Act: detector.ActResolve, By: "maria", Cause: "a bad cache"}
	})
	return append(messages,
		detector.Recovery{IncidentID: "9a1e62f0c7d34b58e201", Transition: detector.RecoveryRequested, Action: "scale", Attempt: 1, At: minutes(3), Severity: rules.Sev1, Evidence: "Errors is Sev1"},
		detector.Recovery{IncidentID: "9a1e62f0c7d34b58e201", Transition: detector.RecoveryFailed, Action: "scale", Attempt: 1, At: minutes(18), Severity: rules.Sev1, Evidence: "still 60 %"},
		detector.Incident{ID: "0000000000000000000b", Severity: rules.Sev4, PeakSeverity: rules.Sev4},
	)
}

func TestWholeLife(t *testing.T) {
	var s Story
	for _, m := range life() {
		value, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Take("9a1e", value); err != nil {
			t.Fatal(err)
		}
	}
	text, err := s.Markdown()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Post-mortem: Errors, 1 November 2026\n", "Sev1 at its worst, resolved. service: a|b.", "resolved at 2026-11-01T12:40:00.000Z, 40m later",
		"- Detected 1m after it began.", "- Acknowledged by maria 19m after it was told, 4m later than the target.", "- Resolved 39m after it was told.",
		"| 2026-11-01T12:18:00.000Z | scale failed, attempt 1 | still 60 % |", "## Root cause\n\na bad cache.\n",
		"Implement preventive measures: scale did not help\n", "Sev1 was told 2m after Sev3 was", "it flapped", "it was overdue",
		"- 2026-11-01T12:03:00.000Z: rollback is held back until 2026-11-01T12:09:00.000Z (cooldown): because it was.\n- 2026-11-01T12:03:00.000Z: scale (attempt 1) requested",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the post-mortem lacks %q:\n%s", want, text)
		}
	}
	if strings.Count(text, "held back") != 1 {
		t.Error("what is held back is told again")
	}
	if strings.Index(text, "scale failed") < strings.Index(text, "overdue, Sev1") {
		t.Error("the timeline is not in the order of time")
	}
}

func TestTwoIncidentsBeginAlike(t *testing.T) {
	var s Story
	if err := s.Take("9a", []byte(`{"id":"9a01"}`)); err != nil {
		t.Fatal(err)
	}
	if err := s.Take("9a", []byte(`{"incident_id":"9a02"}`)); err == nil {
		t.Error("two incidents were taken for one")
	}
	if _, err := s.Markdown(); err == nil {
		t.Error("an incident without its beginning was told")
	}
}
