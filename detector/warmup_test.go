package detector

import (
	"testing"

	"sevwatch/rules"
)

func TestWarmUp(t *testing.T) {
	const minute = int64(60_000)
	cfg := Config{Pane: 10_000, Lateness: 30_000}
	f := func(rule string, want int64) {
		t.Helper()
		file, err := rules.Parse("r.yaml", []byte("groups: [{name: x, rules: [{alert: A, severities: [{severity: sev1, above: 5, for: 20m}], "+rule+"}]}]"), rules.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.WarmUp(file); got != want {
			t.Errorf("%s: %d ms, expected %d", rule, got, want)
		}
	}
	f("signal: {count: error}, window: 1m, flap_limit: 0", 60*minute+30_000) // what changed before
	f("signal: {count: error}, window: 2h, flap_limit: 0", 140*minute+30_000)
	f("signal: {count: error}, window: 2h, recover: {keep_firing_for: 1h}, flap_limit: 0", 180*minute+30_000)
	f("signal: {count: error}, window: 2h, reopen_within: 90m, flap_limit: 0", 210*minute+30_000)
	f("signal: {count: error}, window: 2h, flap_limit: 3, flap_window: 4h", 360*minute+30_000)
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}}}, window: 10m, flap_limit: 0", 60*minute+30_000)
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}, panes: 600}}, window: 10m, flap_limit: 0", 130*minute+30_000)
	f("signal: {deviation: {rate: latency, windows: 12}}, window: 10m, flap_limit: 0", 160*minute+30_000)
	f("signal: {deviation: {rate: latency, windows: 3, season: 1d}}, window: 15m, flap_limit: 0", (4*24*60+35)*minute+30_000)
	cfg.Duplicates = map[string]Duplicates{"a": {Horizon: 3 * minute}, "b": {}}
	f("signal: {count: error}, window: 2h, flap_limit: 0", 143*minute+30_000)
	cfg.Sessions = map[string]Sessions{"a": {Timeout: 20 * minute, Timeouts: map[string]int64{"payment": 40 * minute, "start": 0}}, "b": {Timeout: minute}}
	f("signal: {count: error}, window: 2h, flap_limit: 0", 180*minute+30_000+5*minute+10_000+30_000)
}
