package rules

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// ruleOf parses one rule; body is everything but its name, window and, where it is left out, its ladder.
func ruleOf(t *testing.T, body string) *Rule {
	t.Helper()
	if !strings.Contains(body, "window:") {
		body += ", window: 1m"
	}
	if !strings.Contains(body, "severities:") {
		body += ", severities: [{severity: sev1, above: 0.5}, {severity: sev2, above: 0.25}, {severity: sev4, above: 0.125}]"
	}
	f, err := Parse("test.yaml", []byte("groups: [{name: test, rules: [{alert: Test, "+body+"}]}]"), Options{})
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return f.Rules()[0]
}

// values is a distribution that knows every value.
type values []float64

func (v values) Quantile(q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(v))
	return sorted[max(1, int(math.Ceil(q*float64(len(v)))))-1]
}

func (v values) CountAbove(x float64) (n int64) {
	for _, y := range v {
		if y > x {
			n++
		}
	}
	return n
}

func (v values) CountBelow(x float64) (n int64) {
	for _, y := range v {
		if y < x {
			n++
		}
	}
	return n
}

// of is so many equal values.
func of(n int, x float64) values { return slices.Repeat(values{x}, n) }

// meanOf is the measure of values with their mean.
func meanOf(v values) Measure {
	m := measured(v)
	for _, x := range v {
		m.Mean += x / float64(len(v))
	}
	return m
}

func measured(v values) Measure { return Measure{Num: int64(len(v)), Dist: v, Stream: int64(len(v))} }

// TestJudge states for each case what the window is worth, the worst tier breached and how many tiers have recovered, of as many as the
// ladder has: "0 of 3" breached is the worst, "3 of 3" none.
func TestJudge(t *testing.T) {
	f := func(rule string, m Measure, evidence Evidence, worst, healthy int) {
		t.Helper()
		r := ruleOf(t, rule)
		v := r.Judge(m)
		if v.Evidence != evidence || v.Worst != worst || v.Healthy != healthy || v.Blind {
			t.Errorf("%s\nof %+v: evidence %d, worst tier %d, %d healthy; expected %d, %d, %d", rule, m, v.Evidence, v.Worst, v.Healthy, evidence, worst, healthy)
		}
		if v.Value-v.Value != 0 {
			t.Errorf("%s\nof %+v: the value is %v", rule, m, v.Value)
		}
	}
	small := func(rule string, m Measure) {
		t.Helper()
		f(rule, m, TooSmall, len(ruleOf(t, rule).Severities), 0)
	}
	nothing := func(rule string, m Measure) {
		t.Helper()
		f(rule, m, Nothing, len(ruleOf(t, rule).Severities), 0)
	}

	// Thresholds 0.5, 0.25, 0.125; recovery bounds 0.4, 0.2, 0.1. Met exactly is neither a breach nor a recovery.
	share := "signal: {ratio: {errors: error, total: latency}}"
	f(share, Measure{Num: 0, Den: 1000}, Enough, 3, 3)
	f(share, Measure{Num: 99, Den: 1000}, Enough, 3, 3)
	f(share, Measure{Num: 2, Den: 20}, Enough, 3, 2) // 0.1 exactly: Sev4 has not recovered
	f(share, Measure{Num: 125, Den: 1000}, Enough, 3, 2)
	f(share, Measure{Num: 126, Den: 1000}, Enough, 2, 2)
	f(share, Measure{Num: 200, Den: 1000}, Enough, 2, 1)
	f(share, Measure{Num: 250, Den: 1000}, Enough, 2, 1)
	f(share, Measure{Num: 251, Den: 1000}, Enough, 1, 1)
	f(share, Measure{Num: 400, Den: 1000}, Enough, 1, 0)
	f(share, Measure{Num: 500, Den: 1000}, Enough, 1, 0)
	f(share, Measure{Num: 501, Den: 1000}, Enough, 0, 0)
	f(share, Measure{Num: 1, Den: 1}, Enough, 0, 0)

	// 0/0 is nothing; more errors than requests, or no requests at all, are a share of 1.
	nothing(share, Measure{})
	nothing(share, Measure{Stream: 1000, Full: true, Observed: true})
	f(share, Measure{Num: 5}, Enough, 0, 0)
	f(share, Measure{Num: 30, Den: 10}, Enough, 0, 0)
	small(share+", sample: {min: 11}", Measure{Num: 4, Den: 10})
	f(share+", sample: {min: 10}", Measure{Num: 4, Den: 10}, Enough, 1, 0)
	f(share+", sample: {min: 10}", Measure{Num: 10, Den: 4}, Enough, 0, 0) // ten events are known

	// The whole interval has to be past the threshold, the bare share past the recovery bound.
	sure := share + ", sample: {wilson_lower: 0.95}"
	f(sure, Measure{Num: 1, Den: 1}, Enough, 1, 0) // the lower bound is 0.2699
	f(sure, Measure{Num: 3, Den: 3}, Enough, 0, 0) // 0.5258
	f(sure, Measure{Num: 2, Den: 3}, Enough, 1, 0)
	f(sure, Measure{Num: 51, Den: 100}, Enough, 1, 0)
	f(sure, Measure{Num: 59, Den: 100}, Enough, 0, 0)
	f(sure, Measure{Num: 58, Den: 100}, Enough, 1, 0) // 0.4978
	f(sure, Measure{Num: 9, Den: 100}, Enough, 3, 3)
	f(sure, Measure{Num: 0, Den: 5}, Enough, 3, 3)

	down := "signal: {completion: {steps: step}}, severities: [{severity: sev1, below: 0.25}, {severity: sev2, below: 0.5}, {severity: sev4, below: 0.75}]"
	// Recovery bounds: what is missing to 1 shrinks to 0.8 of it: 0.4, 0.6, 0.8.
	f(down, Measure{Num: 0, Den: 10}, Enough, 0, 0)
	f(down, Measure{Num: 249, Den: 1000}, Enough, 0, 0)
	f(down, Measure{Num: 250, Den: 1000}, Enough, 1, 0)
	f(down, Measure{Num: 399, Den: 1000}, Enough, 1, 0)
	f(down, Measure{Num: 401, Den: 1000}, Enough, 1, 1)
	f(down, Measure{Num: 500, Den: 1000}, Enough, 2, 1)
	f(down, Measure{Num: 601, Den: 1000}, Enough, 2, 2)
	f(down, Measure{Num: 750, Den: 1000}, Enough, 3, 2)
	f(down, Measure{Num: 801, Den: 1000}, Enough, 3, 3)
	f(down, Measure{Num: 12, Den: 10}, Enough, 3, 3) // more came out than went in
	nothing(down, Measure{})
	f(down+", sample: {wilson_lower: 0.95}", Measure{Num: 6, Den: 10}, Enough, 3, 1)
	f(down+", sample: {wilson_lower: 0.95}", Measure{Num: 2, Den: 10}, Enough, 1, 0) // the upper bound is 0.4592
	all := "signal: {completion: {steps: step}}, sample: {wilson_lower: 0.999}, severities: [{severity: sev4, below: 1}]"
	for n := int64(1); n < 200; n++ { // all of them are not surely fewer than all
		f(all, Measure{Num: n, Den: n}, Enough, 1, 1)
	}

	leave := "signal: {abandonment: {steps: step}}"
	f(leave, Measure{Num: 3, Den: 10}, Enough, 1, 1)
	nothing(leave, Measure{Stream: 5})

	count := "signal: {count: error}, severities: [{severity: sev1, above: 10}, {severity: sev2, above: 0}]"
	f(count, Measure{Num: 11, Stream: 11}, Enough, 0, 0)
	f(count, Measure{Num: 10, Stream: 10}, Enough, 1, 0)
	f(count, Measure{Num: 1, Stream: 1}, Enough, 1, 1)
	f(count, Measure{Num: 0, Stream: 1}, Enough, 2, 2) // none of something is a number
	nothing(count, Measure{})                          // none of nothing is not
	nothing(count, Measure{Full: true, Observed: true})

	// Too few is known only of a window that was observed from beginning to end.
	few := "signal: {rate: latency}, window: 10s, severities: [{severity: sev1, below: 0.5}, {severity: sev2, below: 1}]"
	small(few, Measure{Num: 1, Stream: 1})
	f(few, Measure{Num: 4, Stream: 4, Full: true}, Enough, 0, 0)
	f(few, Measure{Num: 5, Stream: 5, Full: true}, Enough, 1, 0)
	f(few, Measure{Num: 0, Stream: 5, Full: true}, Enough, 0, 0)
	f(few, Measure{Num: 10, Stream: 10, Full: true}, Enough, 2, 1) // bounds 0.625 and 1.25
	f(few, Measure{Num: 13, Stream: 13, Full: true}, Enough, 2, 2)
	nothing(few, Measure{Full: true, Observed: true})

	slow := "signal: {quantile: {of: latency, q: 0.9}}, severities: [{severity: sev1, above: 1000}, {severity: sev3, above: 100}]"
	f(slow, measured(of(10, 1001)), Enough, 0, 0)
	f(slow, measured(of(10, 1000)), Enough, 1, 0)
	f(slow, measured(of(10, 100)), Enough, 2, 1)
	f(slow, measured(of(10, 79)), Enough, 2, 2)
	f(slow, measured(append(of(9, 10), 5000)), Enough, 2, 2) // one in ten is not p90
	f(slow, measured(append(of(8, 10), 5000, 5000)), Enough, 0, 0)
	nothing(slow, Measure{Dist: values{}, Stream: 100})
	surely := slow + ", sample: {wilson_lower: 0.999}"
	f(surely, measured(append(of(8, 10), 5000, 5000)), Enough, 2, 0)       // 2 of 10 are not surely more than a tenth
	f(surely, measured(append(of(81, 10), of(19, 5000)...)), Enough, 2, 0) // 19 of 100: 9.8 %
	f(surely, measured(append(of(80, 10), of(20, 5000)...)), Enough, 0, 0) // 20 of 100: 10.5 %
	f(surely, measured(append(of(70, 10), of(30, 5000)...)), Enough, 0, 0)
	f(surely, measured(append(of(70, 10), of(30, 500)...)), Enough, 1, 1)

	sad := "signal: {quantile: {of: satisfaction, q: 0.5}}, severities: [{severity: sev2, below: 2}, {severity: sev3, below: 4}]"
	f(sad, measured(of(3, 1)), Enough, 0, 0)
	f(sad, measured(of(3, 2)), Enough, 1, 0)
	f(sad, measured(of(3, 4)), Enough, 2, 1) // bounds 2.5 and 5
	f(sad, measured(of(3, 5.1)), Enough, 2, 2)

	// Zeros are not above zero.
	zero := "signal: {quantile: {of: vital, q: 0.5}}, severities: [{severity: sev2, above: 0}]"
	f(zero, measured(of(100, 0)), Enough, 1, 1)
	f(zero+", sample: {wilson_lower: 0.999}", measured(of(100, 0)), Enough, 1, 1)
	f(zero, measured(of(100, 0.001)), Enough, 0, 0)

	usual := func(v values, usual float64) Measure {
		m := measured(v)
		m.Learned, m.Usual = true, usual
		return m
	}
	times := "signal: {deviation: {quantile: {of: latency, q: 0.5}, floor: 100}}, severities: [{severity: sev2, above: 10}, {severity: sev4, above: 2}]"
	small(times, usual(of(10, 5000), 0)) // what is usual is not known
	small(times, usual(of(10, 5000), -1))
	f(times, usual(of(10, 401), 40), Enough, 0, 0)
	f(times, usual(of(10, 400), 40), Enough, 1, 0)
	f(times, usual(of(10, 101), 40), Enough, 1, 1)
	f(times, usual(of(10, 100), 10), Enough, 2, 2) // ten times, but nobody's concern
	f(times, usual(of(10, 101), 10), Enough, 0, 0) // above the floor it is
	f(times, usual(of(10, 150), 100), Enough, 2, 2)
	f(times, usual(of(10, 170), 100), Enough, 2, 1)
	nothing(times, usual(values{}, 100))
	second := "signal: {deviation: {quantile: {of: latency, q: 0.5}, floor: 100}}, severities: [{severity: sev1, above: 10, floor: 1000}, {severity: sev2, above: 4}]"
	f(second, usual(of(10, 1001), 10), Enough, 0, 0)
	f(second, usual(of(10, 1000), 10), Enough, 1, 1) // a hundred times, but not the first tier's concern
	f(second, usual(of(10, 101), 10), Enough, 1, 1)
	f(second, usual(of(10, 100), 10), Enough, 2, 2)

	// Distances from the usual, in its unit and in sigmas, up, down and to both sides.
	unlearned := usual(of(10, 500), 100)
	unlearned.Learned = false
	far := "signal: {deviation: {quantile: {of: latency, q: 0.5}, measured: absolute%s}}, severities: [{severity: sev2, above: 300}, {severity: sev4, above: 50}]"
	up, down, both := fmt.Sprintf(far, ""), fmt.Sprintf(far, ", direction: down"), fmt.Sprintf(far, ", direction: both")
	small(up, unlearned)
	f(up, usual(of(10, 401), 100), Enough, 0, 0)
	f(up, usual(of(10, 400), 100), Enough, 1, 0)
	f(up, usual(of(10, 150), 100), Enough, 2, 1)
	f(up, usual(of(10, 139), 100), Enough, 2, 2)
	f(up, usual(of(10, 1), 1000), Enough, 2, 2)
	f(down, usual(of(10, 699), 1000), Enough, 0, 0)
	f(down, usual(of(10, 700), 1000), Enough, 1, 0)
	f(down, usual(of(10, 5000), 1000), Enough, 2, 2)
	f(both, usual(of(10, 699), 1000), Enough, 0, 0)
	f(both, usual(of(10, 1301), 1000), Enough, 0, 0)
	f(both, usual(of(10, 961), 1000), Enough, 2, 2)
	spread := func(v values, u, sigma float64) Measure {
		m := usual(v, u)
		m.Spread = sigma
		return m
	}
	sigmas := "signal: {deviation: {quantile: {of: latency, q: 0.5}, measured: sigmas, direction: both}}, severities: [{severity: sev2, above: 4}, {severity: sev4, above: 2}]"
	f(sigmas, spread(of(10, 141), 100, 10), Enough, 0, 0)
	f(sigmas, spread(of(10, 140), 100, 10), Enough, 1, 0)
	f(sigmas, spread(of(10, 59), 100, 10), Enough, 0, 0)
	f(sigmas, spread(of(10, 115), 100, 10), Enough, 2, 2)
	f(sigmas, spread(of(10, 120), 100, 0), Enough, 1, 0)   // what never moved is taken to move by a twentieth
	f(sigmas, spread(of(10, 121), 100, 0), Enough, 0, 0)   // likewise
	small(sigmas, spread(of(10, 5), 0, 0))                 // nothing, and nothing moved: there is no measure
	f(sigmas, spread(of(10, -41), -100, 10), Enough, 0, 0) // some values are negative
	floored := "signal: {deviation: {quantile: {of: latency, q: 0.5}, measured: sigmas, direction: %s, floor: 200}}, severities: [{severity: sev2, above: 4}]"
	f(fmt.Sprintf(floored, "up"), spread(of(10, 200), 100, 10), Enough, 1, 1)
	f(fmt.Sprintf(floored, "up"), spread(of(10, 201), 100, 10), Enough, 0, 0)
	f(fmt.Sprintf(floored, "down"), spread(of(10, 1), 200, 10), Enough, 1, 1) // what usually is no larger is nobody's concern
	f(fmt.Sprintf(floored, "down"), spread(of(10, 1), 201, 10), Enough, 0, 0)
	f(fmt.Sprintf(floored, "both"), spread(of(10, 200), 1, 10), Enough, 1, 1)
	f(fmt.Sprintf(floored, "both"), spread(of(10, 1), 201, 10), Enough, 0, 0)

	// How many times less there is, of a rate: a window that was not observed as a whole looks low.
	rate := func(n int64, usual float64) Measure {
		return Measure{Num: n, Stream: 1000, Full: true, Learned: true, Usual: usual}
	}
	fewer := "signal: {deviation: {rate: latency, direction: %s}}, window: 100s, severities: [{severity: sev2, above: 4}, {severity: sev4, above: 2}]"
	part := rate(1, 10)
	part.Full = false
	small(fmt.Sprintf(fewer, "down"), part)
	small(fmt.Sprintf(fewer, "up"), part)
	nothing(fmt.Sprintf(fewer, "down"), Measure{Full: true, Learned: true, Usual: 10})
	f(fmt.Sprintf(fewer, "down"), rate(0, 10), Enough, 0, 0)
	f(fmt.Sprintf(fewer, "down"), rate(249, 10), Enough, 0, 0)
	f(fmt.Sprintf(fewer, "down"), rate(250, 10), Enough, 1, 0)
	f(fmt.Sprintf(fewer, "down"), rate(500, 10), Enough, 2, 1)
	f(fmt.Sprintf(fewer, "down"), rate(560, 10), Enough, 2, 2) // its recovery bound is 1.8 times less
	f(fmt.Sprintf(fewer, "down"), rate(9000, 10), Enough, 2, 2)
	f(fmt.Sprintf(fewer, "both"), rate(4001, 10), Enough, 0, 0)
	f(fmt.Sprintf(fewer, "both"), rate(249, 10), Enough, 0, 0)
	f(fmt.Sprintf(fewer, "both"), rate(1100, 10), Enough, 2, 2)
	small(fmt.Sprintf(fewer, "both"), rate(100, 0)) // of nothing nothing is a multiple

	// Shares.
	errs := "signal: {deviation: {ratio: {errors: error, total: latency}, measured: absolute}}, severities: [{severity: sev2, above: 0.1}]"
	f(errs, Measure{Num: 12, Den: 100, Learned: true, Usual: 0.01}, Enough, 0, 0)
	f(errs, Measure{Num: 11, Den: 100, Learned: true, Usual: 0.01}, Enough, 1, 0)
	f(errs, Measure{Num: 9, Den: 100, Learned: true}, Enough, 1, 0)
	f(errs, Measure{Num: 7, Den: 100, Learned: true}, Enough, 1, 1)
	nothing(errs, Measure{Learned: true, Usual: 0.01})

	// Where nothing is beyond the recovery bound, at it is as good.
	beat := "signal: {count: latency}, severities: [{severity: sev2, below: 1}]"
	f(beat, Measure{Stream: 9, Full: true}, Enough, 0, 0)
	f(beat, Measure{Num: 1, Stream: 9, Full: true}, Enough, 1, 1)
	f("signal: {count: latency}, severities: [{severity: sev2, below: 8}]", Measure{Num: 9, Stream: 9, Full: true}, Enough, 1, 0)
	f("signal: {count: latency}, severities: [{severity: sev2, below: 8}]", Measure{Num: 10, Stream: 10, Full: true}, Enough, 1, 1)
	f("signal: {count: 'pipeline{name=\"lost\"}'}, severities: [{severity: sev2, above: 0}]", Measure{Num: 5}, Enough, 0, 0) // although nothing else comes

	quiet := "signal: {absence: latency}, sample: {min: 10}, severities: [{severity: sev1, above: 120}, {severity: sev2, above: 60}]"
	small(quiet, Measure{Silent: 500_000, Alive: true})                // nobody looked
	small(quiet, Measure{Silent: 500_000, Observed: true, Stream: 10}) // never was alive
	f(quiet, Measure{Silent: 60_000, Alive: true, Observed: true}, Enough, 2, 1)
	f(quiet, Measure{Silent: 70_000, Alive: true, Observed: true}, Enough, 1, 1)
	f(quiet, Measure{Silent: 120_000, Alive: true, Observed: true}, Enough, 1, 0)
	f(quiet, Measure{Silent: 130_000, Alive: true, Observed: true}, Enough, 0, 0)
	f(quiet, Measure{Silent: 0, Alive: true, Observed: true, Num: 1}, Enough, 2, 2)
}

// TestJudgeBlind: `no_data: fire` counts an empty window as a breach of every tier, if the pane was observed; it never heals by it.
func TestJudgeBlind(t *testing.T) {
	f := func(rule string, m Measure, blind bool) {
		t.Helper()
		v := ruleOf(t, rule).Judge(m)
		want := Verdict{Evidence: Nothing, Worst: 3}
		if blind {
			want = Verdict{Evidence: Enough, Blind: true}
		}
		if v != want {
			t.Errorf("%s of %+v: %+v, expected %+v", rule, m, v, want)
		}
	}
	share, count := "signal: {ratio: {errors: error, total: latency}}", "signal: {count: error}"
	f(share, Measure{Observed: true}, false)
	f(share+", no_data: keep_state", Measure{Observed: true}, false)
	f(share+", no_data: fire", Measure{}, false)
	f(share+", no_data: fire", Measure{Observed: true}, false) // a part of the window is not on record
	f(share+", no_data: fire", Measure{Observed: true, Full: true}, true)
	f(share+", no_data: fire", Measure{Observed: true, Full: true, Stream: 100}, true) // others were heard, this one not
	f(count+", no_data: fire", Measure{Observed: true, Full: true}, true)
	if v := ruleOf(t, share+", no_data: fire").Judge(Measure{Observed: true, Num: 1, Den: 100}); v.Blind || v.Worst != 3 || v.Healthy != 3 {
		t.Errorf("a window with data is judged blindly: %+v", v)
	}
	if v := ruleOf(t, share+", no_data: fire, sample: {min: 5}").Judge(Measure{Observed: true, Num: 1, Den: 1}); v.Evidence != TooSmall || v.Blind {
		t.Errorf("a small window is taken for an empty one: %+v", v)
	}
}

func TestRecoveryBound(t *testing.T) {
	f := func(signal, threshold string, share, want float64) {
		t.Helper()
		r := ruleOf(t, fmt.Sprintf("signal: %s, severities: [{severity: sev2, %s}], recover: {threshold_share: %v}", signal, threshold, share))
		if got := r.RecoveryBound(r.Severities[0]); math.Abs(got-want) > 1e-12 {
			t.Errorf("%s with %s and a share of %v recovers at %v, expected %v", signal, threshold, share, got, want)
		}
	}
	const ratio, steps = "{ratio: {errors: error, total: latency}}", "{completion: {steps: step}}"
	const rate, score, vital = "{rate: latency}", "{quantile: {of: satisfaction, q: 0.5}}", "{quantile: {of: vital, q: 0.5}}"
	f(ratio, "above: 0.5", 0.8, 0.4)
	f(ratio, "above: 0.5", 1, 0.5)
	f(ratio, "above: 0", 0.8, 0)
	f(steps, "below: 0.85", 0.8, 0.88) // what is missing to 1 shrinks from 0.15 to 0.12
	f(steps, "below: 0.1", 0.8, 0.28)
	f(steps, "below: 0.5", 1, 0.5)
	f(steps, "below: 1", 0.8, 1)
	f(rate, "above: 20", 0.5, 10)
	f(rate, "below: 20", 0.8, 25)
	f(score, "below: 2", 0.8, 2.5)
	f(vital, "above: -10", 0.8, -12.5) // always on the good side of the threshold
	f(vital, "below: -10", 0.8, -8)
}

// TestBreachAndHealthyExclude: whatever is measured, no tier breaches and recovers at once, tiers breach from the mildest on, and recover
// from the worst on.
func TestBreachAndHealthyExclude(t *testing.T) {
	f := func(rule string, m Measure) {
		t.Helper()
		r := ruleOf(t, rule)
		v := r.Judge(m)
		if v.Healthy > v.Worst {
			t.Errorf("%s of %+v: tiers from %d on breach, those before %d have recovered", rule, m, v.Worst, v.Healthy)
		}
	}
	ladders := map[string][]string{
		"signal: {ratio: {errors: error, total: latency}}": {"above: 0.5", "above: 0.1", "above: 0"},
		"signal: {completion: {steps: step}}":              {"below: 0.1", "below: 0.5", "below: 1"},
		"signal: {count: error}":                           {"above: 8", "above: 3", "above: 0"},
		"signal: {rate: error}":                            {"below: 0.1", "below: 0.2", "below: 0.5"},
		"signal: {quantile: {of: vital, q: 0.5}}":          {"above: 5", "above: 0", "above: -5"},
		"signal: {quantile: {of: vital, q: 0.75}}":         {"below: -5", "below: 0", "below: 5"},
	}
	for signal, ladder := range ladders {
		for _, share := range []string{"0.5", "0.8", "1"} {
			rule := fmt.Sprintf("%s, severities: [{severity: sev1, %s}, {severity: sev2, %s}, {severity: sev3, %s}], recover: {threshold_share: %s}",
				signal, ladder[0], ladder[1], ladder[2], share)
			for k := range int64(12) {
				for n := range int64(12) {
					f(rule, Measure{Num: k, Den: n, Stream: 1 + n, Full: true, Observed: true, Dist: of(int(k), float64(n-6))})
				}
			}
		}
	}
}

// TestWrong: what went wrong is beyond the bound of the mildest tier, on the side that is worse.
func TestWrong(t *testing.T) {
	f := func(rule string, m Measure, want int64) {
		t.Helper()
		if got := ruleOf(t, rule).Wrong(m.Dist, m); got != want {
			t.Errorf("%s of %+v: %d went wrong, expected %d", rule, m, got, want)
		}
	}
	v := values{1, 2, 3, 4, 5}
	f("signal: {quantile: {of: latency, q: 0.5}}, severities: [{severity: sev1, above: 9}, {severity: sev2, above: 3}]", measured(v), 2)
	f("signal: {quantile: {of: satisfaction, q: 0.5}}, severities: [{severity: sev1, below: 2}, {severity: sev2, below: 3}]", measured(v), 2)
	m := measured(v)
	m.Learned, m.Usual = true, 2
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}, floor: 1}}, severities: [{severity: sev2, above: 2}]", m, 1)
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}, floor: 4.5}}, severities: [{severity: sev2, above: 2}]", m, 1)
	f("signal: {deviation: {quantile: {of: latency, q: 0.5}, floor: 4.5}}, severities: [{severity: sev2, below: 0.75}]", m, 1)
}

// TestIdentityOfDeviations: what deviates, how that is measured and of what it is learned is the rule's; of how many is not. It is what it was
// before there was more than one way.
func TestIdentityOfDeviations(t *testing.T) {
	f := func(deviation string) string {
		t.Helper()
		return ruleOf(t, "signal: {deviation: {"+deviation+"}}, severities: [{severity: sev1, above: 2}]").Identity()
	}
	quantile := "quantile: {of: latency, q: 0.95}"
	one := f(quantile)
	for _, same := range []string{", panes: 7", ", floor: 7", ", measured: relative, direction: up"} {
		if got := f(quantile + same); got != one {
			t.Errorf("with %q a rule is another one", same)
		}
	}
	if one != "16d012aae9e3" {
		t.Errorf("the identity of a deviation is %s now: all that is open ends as superseded", one)
	}
	all := map[string]string{one: quantile}
	for _, other := range []string{
		quantile + ", windows: 7", quantile + ", measured: absolute", quantile + ", measured: sigmas", quantile + ", direction: down", quantile + ", direction: both",
		"rate: latency", "rate: latency, measured: absolute", "mean: latency", "ratio: {errors: error, total: latency}",
	} {
		got := f(other)
		if all[got] != "" {
			t.Errorf("%q is the same rule as %q", other, all[got])
		}
		all[got] = other
	}
}

// TestIdentityOfBurnRates: another objective measures something else; other windows and thresholds do not.
func TestIdentityOfBurnRates(t *testing.T) {
	f := func(objective, short, rest string) string {
		t.Helper()
		return ruleOf(t, "signal: {burn_rate: {errors: error, total: latency, objective: "+objective+", short: "+short+"}}, "+rest).Identity()
	}
	one := f("0.99", "10s", "window: 1m")
	if two := f("0.99", "30s", "window: 10m, severities: [{severity: sev1, above: 20}]"); two != one {
		t.Errorf("with other windows the identity is %s, expected %s", two, one)
	}
	if two := f("0.98", "10s", "window: 1m"); two == one {
		t.Errorf("with another objective the identity is still %s", two)
	}
}

// TestBurnRates: both windows have to be past a threshold, surely where a confidence is asked for; one that is met exactly is not passed.
func TestBurnRates(t *testing.T) {
	r := ruleOf(t, "signal: {burn_rate: {errors: error, total: latency, objective: 0.9, short: 10s}}, severities: [{severity: sev1, above: 5}, {severity: sev3, above: 2}], sample: {min: 10}")
	sure := ruleOf(t, "signal: {burn_rate: {errors: error, total: latency, objective: 0.9, short: 10s}}, severities: [{severity: sev1, above: 5}, {severity: sev3, above: 2}], sample: {wilson_lower: 0.95}")
	f := func(rule *Rule, long, short Pair, want Verdict) {
		t.Helper()
		if got := rule.Judge(Measure{Num: long.Num, Den: long.Den, Short: short}); got != want {
			t.Errorf("%v and %v: %+v, expected %+v", long, short, got, want)
		}
	}
	f(r, Pair{50, 100}, Pair{20, 20}, Verdict{Enough, 5, 1, 0, false})     // exactly 5 is not above 5
	f(r, Pair{51, 100}, Pair{20, 20}, Verdict{Enough, 5.1, 0, 0, false})   // Sev1
	f(r, Pair{90, 100}, Pair{6, 20}, Verdict{Enough, 3, 1, 1, false})      // it is less now: Sev1 is past its bound of 4
	f(r, Pair{90, 100}, Pair{0, 20}, Verdict{Enough, 0, 2, 2, false})      // it has stopped
	f(r, Pair{20, 100}, Pair{20, 20}, Verdict{Enough, 2, 2, 1, false})     // it has only begun
	f(r, Pair{30, 10}, Pair{9, 0}, Verdict{Enough, 10, 0, 0, false})       // errors without requests are all of them
	f(r, Pair{90, 100}, Pair{}, Verdict{TooSmall, 0, 2, 0, false})         // nobody asks now
	f(r, Pair{9, 9}, Pair{9, 9}, Verdict{TooSmall, 0, 2, 0, false})        // fewer than sample.min
	f(r, Pair{}, Pair{}, Verdict{Nothing, 0, 2, 0, false})                 // nobody has asked
	f(sure, Pair{90, 100}, Pair{1, 1}, Verdict{Enough, 9, 1, 0, false})    // one of one is surely more than a quarter, and no more
	f(sure, Pair{90, 100}, Pair{20, 20}, Verdict{Enough, 9, 0, 0, false})  // twenty of twenty are surely more than half
	f(sure, Pair{1, 3}, Pair{1, 3}, Verdict{Enough, 10. / 3, 2, 1, false}) // one of three proves nothing
}
