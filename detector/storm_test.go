package detector

import (
	"fmt"
	"strings"
	"testing"

	"sevwatch/rules"
)

// Ten thousand series deviate in one window: one incident is told, with all others counted in it; restarted, the judge tells no more of
// them; and no message is larger than what CloudEvents recommends to stay below.
func TestStorm(t *testing.T) {
	const series = 10_000
	file, err := rules.Parse("storm.yaml", []byte(`
actions:
  scale: {target: {deployment: a}, apply: more}
correlate: {}
groups:
  - name: storm
    rules:
      - alert: Errors
        signal: {ratio: {errors: error, total: latency}}
        by: [service]
        window: 20s
        severities: [{severity: sev1, above: 0.5}]
        recover: {keep_firing_for: 20s}
        recovery: [{action: scale, severity: sev1}]
`), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tale := &tale{cfg: DefaultConfig(), file: file, sources: []Source{{"events", 0}}, there: 1}
	tell := func(restart bool) []Output {
		e := newEngine(tale, 1, 1)
		for pane := range int64(12) {
			for n := range series {
				event := taleEvent{time: 1793534400000 + pane*10_000, kind: rules.KindError, labels: map[string]string{"service": fmt.Sprint("s", n)}}
				if pane > 4 {
					event.kind = rules.KindLatency
				}
				e.step(&taleStep{what: stepEvent, event: event})
			}
			e.settle()
			if restart {
				e.judge = restored(tale, e.judge.Snapshot())
			}
		}
		return e.out
	}
	told := tell(false)
	var got []string
	for _, o := range told {
		if n := len(encode(o)); n > 64<<10 {
			t.Errorf("a message of %d bytes", n)
		}
		line := o.Type()
		if i := o.Incident; i != nil {
			line += fmt.Sprintf(" %d %d", i.ChildrenCount, len(i.Children))
		}
		got = append(got, line)
	}
	const want = `sevwatch.incident.opened.v1 9999 20
sevwatch.recovery.requested.v1
sevwatch.incident.resolved.v1 9999 20
sevwatch.recovery.cancelled.v1`
	if lines := strings.Join(got, "\n"); lines != want {
		t.Errorf("a storm was told as\n%s\nexpected\n%s", lines, want)
	}
	if again := tell(true); lines(again) != lines(told) {
		t.Errorf("restarted, the judge has told\n%s\nexpected\n%s", lines(again), lines(told))
	}
}
