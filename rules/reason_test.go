package rules

import (
	"strings"
	"testing"
)

// TestReasons: the sentences that people read, of each signal: why the worst tier is reached, why it is left, and what people felt.
func TestReasons(t *testing.T) {
	f := func(rule string, m Measure, breach, recovery, impact string) {
		t.Helper()
		r := ruleOf(t, rule)
		if got := r.Breach(m, 0); got != breach {
			t.Errorf("%s\n  got %q\n want %q", rule, got, breach)
		}
		if got := r.Recovery(m, 0); got != recovery {
			t.Errorf("%s\n  got %q\n want %q", rule, got, recovery)
		}
		if got := r.Impact(m); got != impact {
			t.Errorf("%s\n  got %q\n want %q", rule, got, impact)
		}
	}
	// The sentence of docs/messages.md.
	f("signal: {ratio: {errors: error, total: latency}}, severities: [{severity: sev1, above: 0.5, for: 30s}]",
		Measure{Num: 312, Den: 500, Sessions: Sessions{N: 240}},
		"error share 62.4 % over 1m is above 50 % (Sev1) for 30s: 312 of 500",
		"error share 62.4 % over 1m has stayed under 40 %, the recovery bound of Sev1, for 5m: 312 of 500",
		"312 of 500 requests failed in the last 1m (62.4 %), in 240 sessions.")
	f("signal: {ratio: {errors: 'latency{status_class=\"5xx\"}', total: latency}}, recover: {keep_firing_for: 0s}",
		Measure{Num: 30, Den: 10},
		`share of latency{status_class="5xx"} 100 % over 1m is above 50 % (Sev1): 30 of 30`,
		`share of latency{status_class="5xx"} 100 % over 1m is under 40 %, the recovery bound of Sev1: 30 of 30`,
		"30 of 30 requests failed in the last 1m (100 %).")
	f("signal: {ratio: {errors: error, total: latency}}, severities: [{severity: sev4, above: 0.005, for: 90s}], window: 1h30m",
		Measure{Num: 1, Den: 150},
		"error share 0.667 % over 1h30m is above 0.5 % (Sev4) for 1m30s: 1 of 150",
		"error share 0.667 % over 1h30m has stayed under 0.4 %, the recovery bound of Sev4, for 5m: 1 of 150",
		"1 of 150 requests failed in the last 1h30m (0.667 %).")
	f("signal: {count: 'error{category=\"security\"}'}, severities: [{severity: sev1, above: 0}], recover: {keep_firing_for: 20m}",
		Measure{Num: 1, Stream: 1},
		"1 error event over 1m is above 0 events (Sev1)",
		"1 error event over 1m has stayed at 0 events, the recovery bound of Sev1, for 20m",
		"1 error event in the last 1m.")
	f("signal: {count: latency}, severities: [{severity: sev2, below: 100}]",
		Measure{Num: 1234567, Stream: 1234567, Full: true},
		"1234567 latency events over 1m is below 100 events (Sev2)",
		"1234567 latency events over 1m has stayed over 125 events, the recovery bound of Sev2, for 5m",
		"1234567 latency events in the last 1m.")
	f("signal: {rate: latency}, severities: [{severity: sev2, below: 0.5, for: 1m}]",
		Measure{Num: 20, Stream: 20, Full: true},
		"0.3333 latency events/s over 1m is below 0.5 events/s (Sev2) for 1m",
		"0.3333 latency events/s over 1m has stayed over 0.625 events/s, the recovery bound of Sev2, for 5m",
		"20 latency events in the last 1m.")
	f("signal: {quantile: {of: latency, q: 0.95}}, severities: [{severity: sev1, above: 30000, for: 30s}]",
		measured(of(240, 35349.87)),
		"p95 of latency 35350 ms over 1m is above 30000 ms (Sev1) for 30s: 240 samples",
		"p95 of latency 35350 ms over 1m has stayed under 24000 ms, the recovery bound of Sev1, for 5m: 240 samples",
		"240 of 240 latency events were above 30000 ms in the last 1m (100 %).")
	f("signal: {mean: latency}, severities: [{severity: sev2, above: 800, for: 30s}]",
		meanOf(of(240, 812.5)),
		"mean of latency 812.5 ms over 1m is above 800 ms (Sev2) for 30s: 240 samples",
		"mean of latency 812.5 ms over 1m has stayed under 640 ms, the recovery bound of Sev2, for 5m: 240 samples",
		"The mean of 240 latency events was 812.5 ms in the last 1m.")
	f("signal: {mean: satisfaction}, severities: [{severity: sev3, below: 3}]",
		meanOf(of(1, 1.98)),
		"mean of satisfaction 1.98 over 1m is below 3 (Sev3): 1 sample",
		"mean of satisfaction 1.98 over 1m has stayed over 3.75, the recovery bound of Sev3, for 5m: 1 sample",
		"The mean of 1 satisfaction event was 1.98 in the last 1m.")
	f("signal: {burn_rate: {errors: error, total: latency, objective: 0.999, short: 5m}}, window: 1h, severities: [{severity: sev1, above: 14.4, for: 1m}]",
		Measure{Num: 117, Den: 5000, Short: Pair{12, 600}, Sessions: Sessions{N: 31}},
		"burn rate 20 times over 1h and 5m is above 14.4 times (Sev1) for 1m: 117 of 5000, and 12 of 600 in the last 5m",
		"burn rate 20 times over 1h and 5m has stayed under 11.5 times, the recovery bound of Sev1, for 5m: 117 of 5000, and 12 of 600 in the last 5m",
		"117 of 5000 requests failed in the last 1h (2.34 %), in 31 sessions.")
	largest := measured(of(240, 812.5))
	largest.Max = 35349.87
	f("signal: {max: latency}, severities: [{severity: sev1, above: 30000}]",
		largest,
		"largest latency 35350 ms over 1m is above 30000 ms (Sev1): 240 samples",
		"largest latency 35350 ms over 1m has stayed under 24000 ms, the recovery bound of Sev1, for 5m: 240 samples",
		"The largest of 240 latency events was 35350 ms in the last 1m.")
	f("signal: {quantile: {of: satisfaction, q: 0.5}}, severities: [{severity: sev3, below: 3}]",
		measured(of(1, 1.98)),
		"p50 of satisfaction 1.98 over 1m is below 3 (Sev3): 1 sample",
		"p50 of satisfaction 1.98 over 1m has stayed over 3.75, the recovery bound of Sev3, for 5m: 1 sample",
		"1 of 1 satisfaction events was below 3 in the last 1m (100 %).")
	f("signal: {quantile: {of: 'vital{name=\"CLS\"}', q: 0.999}}, severities: [{severity: sev3, above: 0.25}]",
		measured(of(12, 0.31)),
		"p99.9 of vital 0.31 over 1m is above 0.25 (Sev3): 12 samples",
		"p99.9 of vital 0.31 over 1m has stayed under 0.2, the recovery bound of Sev3, for 5m: 12 samples",
		"12 of 12 vital events were above 0.25 in the last 1m (100 %).")
	m := measured(of(60, 495.7))
	m.Learned, m.Usual = true, 99.7821
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}}}, severities: [{severity: sev3, above: 3, for: 30s}]", m,
		"p50 of latency 4.97 times the usual over 1m is above 3 times the usual (Sev3) for 30s: 495.7 ms, usually 99.78, of 60 samples",
		"p50 of latency 4.97 times the usual over 1m has stayed under 2.4 times the usual, the recovery bound of Sev3, for 5m: 495.7 ms, usually 99.78, of 60 samples",
		"60 of 60 latency events were above 299.3 ms in the last 1m (100 %).")
	m = measured(of(60, 49.57))
	m.Learned, m.Usual = true, 9.97821
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}, floor: 100}}, severities: [{severity: sev3, above: 3, for: 30s}]", m,
		"p50 of latency 4.97 times the usual over 1m is above 3 times the usual (Sev3) for 30s: 49.57 ms, usually 9.978, of 60 samples",
		"p50 of latency 4.97 times the usual over 1m has stayed under 2.4 times the usual or its floor of 100 ms, the recovery bound of Sev3, for 5m: 49.57 ms, usually 9.978, of 60 samples",
		"0 of 60 latency events were above 100 ms in the last 1m (0 %).")
	m = measured(of(60, 495.7))
	m.Learned, m.Usual, m.Spread = true, 99.7821, 20.1
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}, measured: absolute}}, severities: [{severity: sev3, above: 300, for: 30s}]", m,
		"p50 of latency 395.9 ms above the usual over 1m is beyond 300 ms above the usual (Sev3) for 30s: 495.7 ms, usually 99.78, of 60 samples",
		"p50 of latency 395.9 ms above the usual over 1m has stayed within 240 ms above the usual, the recovery bound of Sev3, for 5m: 495.7 ms, usually 99.78, of 60 samples",
		"60 of 60 latency events were above 399.8 ms in the last 1m (100 %).")
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}, measured: sigmas, direction: both}}, severities: [{severity: sev3, above: 5}]", m,
		"p50 of latency 19.7 sigmas off the usual over 1m is beyond 5 sigmas off the usual (Sev3): 495.7 ms, usually 99.78, sigma 20.1, of 60 samples",
		"p50 of latency 19.7 sigmas off the usual over 1m has stayed within 4 sigmas off the usual, the recovery bound of Sev3, for 5m: 495.7 ms, usually 99.78, sigma 20.1, of 60 samples",
		"60 of 60 latency events were above 200.3 ms in the last 1m (100 %).")
	f("signal: {deviation: {mean: satisfaction, measured: absolute, direction: down}}, severities: [{severity: sev3, above: 1}]",
		Measure{Num: 7, Mean: 2.25, Dist: of(7, 2.25), Learned: true, Usual: 4.5},
		"mean of satisfaction 2.25 below the usual over 1m is beyond 1 below the usual (Sev3): 2.25, usually 4.5, of 7 samples",
		"mean of satisfaction 2.25 below the usual over 1m has stayed within 0.8 below the usual, the recovery bound of Sev3, for 5m: 2.25, usually 4.5, of 7 samples",
		"The mean of 7 satisfaction events was 2.25 in the last 1m.")
	f("signal: {deviation: {rate: latency, direction: down}}, severities: [{severity: sev3, above: 2}]",
		Measure{Num: 12, Stream: 40, Full: true, Learned: true, Usual: 1.37},
		"rate of latency events 6.85 times below the usual over 1m is beyond 2 times below the usual (Sev3): 0.2 events/s, usually 1.37",
		"rate of latency events 6.85 times below the usual over 1m has stayed within 1.8 times below the usual, the recovery bound of Sev3, for 5m: 0.2 events/s, usually 1.37",
		"12 latency events in the last 1m.")
	f("signal: {deviation: {ratio: {errors: error, total: latency}, measured: absolute}}, severities: [{severity: sev3, above: 0.05}]",
		Measure{Num: 12, Den: 40, Learned: true, Usual: 0.0124},
		"error share 28.8 percentage points above the usual over 1m is beyond 5 percentage points above the usual (Sev3): 30 %, usually 1.24 %, of 40",
		"error share 28.8 percentage points above the usual over 1m has stayed within 4 percentage points above the usual, the recovery bound of Sev3, for 5m: 30 %, usually 1.24 %, of 40",
		"12 of 40 requests failed in the last 1m (30 %).")
	f("signal: {absence: latency}, severities: [{severity: sev1, above: 120}]",
		Measure{Silent: 130_000, Alive: true, Observed: true},
		"silence of latency events for 130 s is above 120 s (Sev1)",
		"silence of latency events for 130 s has stayed under 96 s, the recovery bound of Sev1, for 5m",
		"No latency event for 2m10s.")
	f("signal: {completion: {steps: step}}, severities: [{severity: sev2, below: 0.5, for: 1m}]",
		Measure{Num: 206, Den: 600},
		"completion 34.3 % over 1m is below 50 % (Sev2) for 1m: 206 of 600",
		"completion 34.3 % over 1m has stayed over 60 %, the recovery bound of Sev2, for 5m: 206 of 600",
		"394 of 600 visitors did not complete in the last 1m.")
	f("signal: {abandonment: {steps: step}}, severities: [{severity: sev4, above: 0.33}]",
		Measure{Num: 2, Den: 3},
		"abandonment 66.7 % over 1m is above 33 % (Sev4): 2 of 3",
		"abandonment 66.7 % over 1m has stayed under 26.4 %, the recovery bound of Sev4, for 5m: 2 of 3",
		"2 of 3 visitors abandoned in the last 1m (66.7 %).")
	f("signal: {distinct: error}, severities: [{severity: sev2, above: 1000, for: 1m}]",
		Measure{Num: 3100, Sessions: Sessions{N: 1243, About: true}, Stream: 5000},
		"about 1240 sessions with error events over 1m is above 1000 sessions (Sev2) for 1m: 3100 events",
		"about 1240 sessions with error events over 1m has stayed under 800 sessions, the recovery bound of Sev2, for 5m: 3100 events",
		"3100 error events in the last 1m, in about 1240 sessions.")
	f("signal: {distinct: step}, severities: [{severity: sev2, below: 3}]",
		Measure{Num: 7, Sessions: Sessions{N: 1}, Stream: 7, Full: true},
		"1 session with step events over 1m is below 3 sessions (Sev2): 7 events",
		"1 session with step events over 1m has stayed over 3 sessions, the recovery bound of Sev2, for 5m: 7 events",
		"7 step events in the last 1m, in 1 session.")
}

// TestTouchedSessions: whose sessions an incident touches, and how the sentence about the impact says it.
func TestTouchedSessions(t *testing.T) {
	f := func(rule, touches, end string) {
		t.Helper()
		r := ruleOf(t, rule)
		got := ""
		for _, part := range []string{"num", "den", "num den"} {
			if r.Touches(strings.Contains(part, "num"), strings.Contains(part, "den")) {
				got += part + ", "
			}
		}
		if strings.TrimSuffix(got, ", ") != touches {
			t.Errorf("%s touches %q, expected %q", rule, got, touches)
		}
		m := measured(of(240, 35349.87))
		m.Den, m.Sessions = 500, Sessions{N: 31}
		if sentence := r.Impact(m); !strings.HasSuffix(sentence, end) || strings.Count(sentence, ".") > 2 {
			t.Errorf("%s: %q, expected that it ends with %q", rule, sentence, end)
		}
	}
	f("signal: {ratio: {errors: error, total: latency}}", "num, num den", "(48 %), in 31 sessions.")
	f("signal: {count: error}", "num, num den", "in the last 1m, in 31 sessions.")
	f("signal: {abandonment: {steps: step}}", "num, num den", "(48 %), in 31 sessions.")
	f("signal: {completion: {steps: step}}, severities: [{severity: sev2, below: 0.5}]", "den", "did not complete in the last 1m, in 31 sessions.")
	f("signal: {completion: {steps: step, against: attempts}}, severities: [{severity: sev2, below: 0.5}]", "den", "in 31 sessions.")
	all := "in the last 1m; all that was measured came from 31 sessions."
	f("signal: {completion: {steps: step, against: enters}}, severities: [{severity: sev2, below: 0.5}]", "num, den, num den", all)
	f("signal: {completion: {start: step, finish: error}}, severities: [{severity: sev2, below: 0.5}]", "num, den, num den", all)
	f("signal: {quantile: {of: latency, q: 0.95}}", "num, den, num den", "in the last 1m (100 %); all that was measured came from 31 sessions.")
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}}}", "num, den, num den", all)
	f("signal: {mean: latency}", "num, den, num den", all)
	f("signal: {max: latency}", "num, den, num den", all)
	f("signal: {burn_rate: {errors: error, total: latency, objective: 0.5, short: 10s}}", "num, num den", "(48 %), in 31 sessions.")
	f("signal: {absence: latency}, severities: [{severity: sev1, above: 120}]", "", "")
}

// TestBlindReasons: an empty window that a rule counts as a breach has no numbers to show.
func TestBlindReasons(t *testing.T) {
	f := func(signal, want string) {
		t.Helper()
		r := ruleOf(t, "signal: "+signal+", no_data: fire, severities: [{severity: sev1, above: 0.5}]")
		if got := r.Breach(Measure{Dist: values{}, Observed: true, Full: true}, 0); got != want {
			t.Errorf("got %q, expected %q", got, want)
		}
	}
	f("{ratio: {errors: error, total: latency}}", "error share over 1m has no data, which this rule counts as Sev1")
	f("{count: error}", "count of error events over 1m has no data, which this rule counts as Sev1")
	f("{distinct: error}", "count of sessions with error events over 1m has no data, which this rule counts as Sev1")
	f("{rate: latency}", "rate of latency events over 1m has no data, which this rule counts as Sev1")
	f("{quantile: {of: latency, q: 0.95}}", "p95 of latency over 1m has no data, which this rule counts as Sev1")
	f("{mean: latency}", "mean of latency over 1m has no data, which this rule counts as Sev1")
	f("{max: latency}", "largest latency over 1m has no data, which this rule counts as Sev1")
	f("{burn_rate: {errors: error, total: latency, objective: 0.5, short: 10s}}", "burn rate over 1m and 10s has no data, which this rule counts as Sev1")
	f("{completion: {steps: step}}", "completion over 1m has no data, which this rule counts as Sev1")
	f("{deviation: {quantile: {of: latency, q: 0.5}}}", "p50 of latency over 1m has no data, which this rule counts as Sev1")
}

func TestRound(t *testing.T) {
	f := func(v float64, digits int, want string) {
		t.Helper()
		if got := round(v, digits); got != want {
			t.Errorf("%v with %d digits is %s, expected %s", v, digits, got, want)
		}
	}
	f(0, 3, "0")
	f(62.44, 3, "62.4")
	f(62.45, 3, "62.5")
	f(0.000123456, 3, "0.000123")
	f(1234567, 3, "1230000")
	f(99.96, 3, "100")
	f(-1.2345, 3, "-1.23")
	f(1e21, 6, "1000000000000000000000")
	f(8.000000000000002, 3, "8")
}
