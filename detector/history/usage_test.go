package history

import (
	"slices"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Rules that can be of no use are found, each with what to do; the one that does its work is not.
func TestUsage(t *testing.T) {
	file, err := rules.Parse("r.yaml", []byte(`
groups:
  - name: x
    rules:
      - {alert: Good, signal: {count: error}, window: 10s, severities: [{severity: sev1, above: 5}], recover: {keep_firing_for: 0s}}
      - {alert: Always, signal: {count: latency}, window: 10s, severities: [{severity: sev1, above: 1}]}
      - {alert: Never, signal: {count: latency}, window: 10s, severities: [{severity: sev1, above: 1000}, {severity: sev3, above: 500}]}
      - {alert: Typo, signal: {ratio: {errors: 'error{service="apo"}', total: latency}}, window: 10s, severities: [{severity: sev1, above: 0.5}]}
      - {alert: Grouped, signal: {count: error}, by: [region], window: 10s, severities: [{severity: sev1, above: 5}], recover: {keep_firing_for: 0s}}
      - {alert: Small, signal: {ratio: {errors: error, total: latency}}, window: 10s, sample: {min: 5000}, severities: [{severity: sev1, above: 0.5}]}
`), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	u := NewUsage(file, 10_000)
	engine := detector.NewLocal(detector.DefaultConfig(), file)
	engine.Judge.Watch(u.Judgement)
	engine.OnDelta = u.Delta
	part := engine.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
	engine.SetPartitions(detector.PartitionSet{Version: 1, Topics: map[string]int{"t": 1}})
	offset := int64(0)
	send := func(at int64, kind rules.Kind, n int) {
		for range n {
			e := detector.Event{Time: 1793534400000 + at*1000, Kind: kind, Labels: make([][]byte, len(rules.DefaultLabels()))}
			e.Labels[0] = []byte("api")
			engine.Count(part, offset, &e)
			offset++
		}
	}
	for pane := range int64(20) {
		send(pane*10, rules.KindLatency, 20)
		if pane == 7 {
			send(pane*10, rules.KindError, 9)
		}
	}
	if _, err := engine.Settle(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range u.Findings() {
		if f.Advice == "" {
			t.Errorf("%s has no advice", f.Problem)
		}
		got = append(got, f.Rule.Alert+": "+f.Problem)
	}
	want := []string{
		"Always: an incident of it was open for 100 % of the time",
		"Never: never fired in 18 judged windows: the value nearest to Sev3 was 20 events, its threshold is 500 events",
		`Typo: error{service="apo"} matches none of the 409 events`,
		`Grouped: none of the 9 events that it counts has the label "region", which it groups by`,
		"Small: no window had enough to be judged",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
