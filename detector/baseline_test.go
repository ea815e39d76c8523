package detector

import (
	"testing"

	"sevwatch/rules"
)

// TestInSeason: a window that lies between two that were learned is usual where it is between theirs; the spread is that of three windows, each about its own median.
func TestInSeason(t *testing.T) {
	const minute = 60_000
	file, err := rules.Parse("season.yaml", []byte("groups: [{name: g, rules: [{alert: A, signal: {deviation: {rate: latency, season: 1h, windows: 5}}, "+
		"window: 10m, severities: [{severity: sev1, above: 2}]}]}]"), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &baseline{Seasons: map[int64][]float64{
		5: {70, 71, 72, 73, 74, 99}, // the first is one too many
		0: {10, 12, 14, 16, 30},
		1: {20, 20, 20, 20, 20},
		2: {40, 40, 41, 41}, // one too few
	}}
	f := func(start int64, low, high, spread float64, known bool) {
		t.Helper()
		l, h, s, k := b.inSeason(file.Rules()[0], 500*60*minute+start)
		if l != low || h != high || s != spread || k != known {
			t.Errorf("%d ms into the season: usually %v to %v, spread %v, known %t; expected %v to %v, %v, %t", start, l, h, s, k, low, high, spread, known)
		}
	}
	f(0, 14, 14, 1.4826, true) // apart are 2 1 0 1 26 of the one before, 4 2 0 2 16, and 0 five times
	f(1, 14, 20, 1.4826, true)
	f(10*minute, 20, 20, 0, true)
	f(10*minute+1, 0, 0, 0, false)
	f(20*minute, 0, 0, 0, false)
	f(50*minute, 73, 73, 2*1.4826, true) // none before
	f(55*minute, 14, 73, 2*1.4826, true)
}
