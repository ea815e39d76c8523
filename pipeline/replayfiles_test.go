package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// silenceRules tell of silence, of errors, and of who does not come back.
const silenceRules = `
groups:
  - name: silence
    rules:
      - {alert: Silent, signal: {absence: error}, window: 1m, severities: [{severity: sev3, above: 60}, {severity: sev4, above: 30}]}
      - {alert: Errors, signal: {count: error}, window: 1m, severities: [{severity: sev2, above: 3}]}
      - {alert: Left, signal: {abandonment: {steps: step, against: attempts}}, window: 1m, severities: [{severity: sev3, above: 0.1}]}
`

// TestUntilInSteps: however many panes are judged at once up to Until, it is the same that is judged and told.
func TestUntilInSteps(t *testing.T) {
	file, err := rules.Parse("silence.yaml", []byte(silenceRules), rules.Options{})
	check(t, err)
	const start = 1_793_534_400_000
	f := func(step int64) []string {
		t.Helper()
		cfg := detector.DefaultConfig()
		cfg.Sessions = map[string]detector.Sessions{fileTopic: {Timeout: 600_000, Max: 1000}}
		r := Replay{Config: cfg, Rules: file, Until: start + 3600_000 + 4321}
		var told, judged []string
		r.Output = func(o detector.Output) error { told = append(told, string(wire.Value(o))); return nil }
		r.Watch = func(j *detector.Judgement) {
			judged = append(judged, fmt.Sprintf("%s %d %+v %v", j.Rule.Alert, j.End, j.Verdict, j.Held))
		}
		engine := r.engine(cfg)
		var parts []*detector.Partition
		for i := range 3 { // the last has nothing
			parts = append(parts, engine.Add(detector.Source{Topic: fileTopic, Partition: i}, 0, detector.NewPartitionState()))
		}
		engine.SetPartitions(detector.PartitionSet{Version: 1, Topics: map[string]int{fileTopic: len(parts)}})
		decoder := wire.NewDecoder(rules.NoKind, cfg.Labels)
		for i := range 60 {
			text := fmt.Sprintf(`{"time":%d,"kind":"error"}`, start+i*3000)
			if i%6 == 5 {
				text = fmt.Sprintf(`{"time":%d,"kind":"step","step":"pay","action":"enter","session":"s%d"}`, start+i*3000, i)
			}
			var e detector.Event
			if rejected := decoder.Decode([]byte(text), -1, &e); rejected != nil {
				t.Fatal(rejected)
			}
			engine.Count(parts[i%2], int64(i/2), &e)
		}
		check(t, errors.Join(r.complete(t.Context(), engine, step), r.settle(engine)))
		return append(told, judged...)
	}
	want := f(1 << 40)
	for _, alert := range []string{"Silent", "Errors", "Left"} {
		if !slices.ContainsFunc(want, func(text string) bool { return strings.Contains(text, "opened") && strings.Contains(text, alert) }) {
			t.Errorf("no incident of %s was told: the test proves nothing of it", alert)
		}
	}
	for _, step := range []int64{997, 7_000, 10_000, untilPanes * 10_000} {
		if got := f(step); !slices.Equal(got, want) {
			t.Errorf("in steps of %d ms: %d things are told, expected %d", step, len(got), len(want))
		}
	}
}

// TestUntilCanBeInterrupted: a replay that judges up to a time far ahead ends when it is told to.
func TestUntilCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := Replay{
		Config: detector.DefaultConfig(), Rules: runbook(t, &Config{Labels: rules.DefaultLabels(), Pane: 10_000}), Output: func(detector.Output) error { return nil },
		Files: []string{writeLines(t, [][]byte{[]byte(`{"time":1793534400000,"kind":"error","service":"api"}`)})}, Until: 1_793_534_400_000 + 86_400_000,
	}
	r.Watch = func(*detector.Judgement) { cancel() }
	sum, err := r.Run(ctx)
	if !errors.Is(err, context.Canceled) || sum.Edge > 1_793_534_400_000+2*untilPanes*10_000 {
		t.Errorf("it ends at %s with %v", detector.Millis(sum.Edge), err)
	}
}
