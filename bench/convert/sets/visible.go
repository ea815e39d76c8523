package sets

import (
	"fmt"
	"math"
	"slices"
)

// The rule of visibility. It is fixed: it is not tuned to any detector.
//
// A fault is visible when, against the stretch before it, the error share has at least doubled (rule
// 1) or the 95th percentile of the durations has at least doubled (rule 2).
const (
	// minRequests is wanted on both sides: below it a share moves by a tenth with each request.
	minRequests = 10
	// minDurations is wanted on both sides for rule 2: below it the 95th percentile is nothing but
	// the largest value.
	minDurations = 20
	// minErrors is wanted after the start, whatever the share before. It is what makes "doubled"
	// mean something when the share before is zero.
	minErrors = 5
)

// A Sample is what one service did in one stretch of time.
type Sample struct {
	Requests    int // latency events
	Errors      int // error events
	DurationsMs []float64
}

// A Verdict tells whether a fault shows in the events, and by which numbers.
type Verdict struct {
	Visible bool
	Judged  bool // false: too few events on one side to tell
	Why     string
}

// Compare applies the rule of visibility.
func Compare(before, after Sample) Verdict {
	if before.base() < minRequests || after.base() < minRequests {
		return Verdict{Why: fmt.Sprintf("not judged: fewer than %d requests on one side; %s",
			minRequests, numbers(before, after))}
	}
	errorsDoubled, slower := shareDoubled(before, after), p95Doubled(before, after)
	why := "neither doubled"
	switch {
	case errorsDoubled && slower:
		why = "both doubled"
	case errorsDoubled:
		why = "error share doubled"
	case slower:
		why = "p95 doubled"
	}
	return Verdict{
		Visible: errorsDoubled || slower,
		Judged:  true,
		Why:     why + "; " + numbers(before, after),
	}
}

// Rule 1: at least minErrors errors, and at least twice the share before.
func shareDoubled(before, after Sample) bool {
	return after.Errors >= minErrors &&
		after.Errors*before.base() >= 2*before.Errors*after.base()
}

// Rule 2: at least twice the 95th percentile before, minDurations durations on both sides.
func p95Doubled(before, after Sample) bool {
	if len(before.DurationsMs) < minDurations || len(after.DurationsMs) < minDurations {
		return false
	}
	return after.p95() >= 2*before.p95()
}

// base is what the errors are a share of: errors without requests are a share of one.
func (s Sample) base() int {
	return max(s.Requests, s.Errors)
}

// p95 is the nearest-rank 95th percentile in milliseconds; NaN without requests.
func (s Sample) p95() float64 {
	if len(s.DurationsMs) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s.DurationsMs))
	return sorted[rank(95, len(sorted))-1]
}

// rank is the 1-based place of a percentile among n sorted values, by the nearest-rank rule.
func rank(percent, n int) int {
	return max(1, (percent*n+99)/100)
}

func numbers(before, after Sample) string {
	return fmt.Sprintf("error share %s -> %s; p95 ms %s -> %s",
		before.shareText(), after.shareText(), before.p95Text(), after.p95Text())
}

func (s Sample) shareText() string {
	if s.base() == 0 {
		return "0/0"
	}
	return fmt.Sprintf("%d/%d=%.4f", s.Errors, s.base(), float64(s.Errors)/float64(s.base()))
}

func (s Sample) p95Text() string {
	if s.Requests == 0 {
		return "none of 0"
	}
	return fmt.Sprintf("%.1f of %d", s.p95(), s.Requests)
}

// A probe collects the sample of one service in [fromMs, toMs).
type probe struct {
	service string
	fromMs  int64
	toMs    int64
	sample  Sample
}

// fill reads all events once and gives each probe its sample.
func fill(events EventSeq, probes []*probe) error {
	byService := map[string][]*probe{}
	for _, p := range probes {
		byService[p.service] = append(byService[p.service], p)
	}
	for e, err := range events {
		if err != nil {
			return err
		}
		for _, p := range byService[e.Service] {
			if p.fromMs <= e.TimeMs && e.TimeMs < p.toMs {
				p.sample.add(e)
			}
		}
	}
	return nil
}

func (s *Sample) add(e Event) {
	switch e.Kind {
	case Error:
		s.Errors++
	case Latency:
		s.Requests++
		s.DurationsMs = append(s.DurationsMs, e.DurationMs)
	case Step:
	}
}

// A pair is the two stretches whose samples make a verdict.
type pair struct {
	before, after probe
}

func newPair(service string, beforeMs, startMs, endMs int64) *pair {
	return &pair{
		before: probe{service: service, fromMs: beforeMs, toMs: startMs},
		after:  probe{service: service, fromMs: startMs, toMs: endMs},
	}
}

func (p *pair) verdict() Verdict {
	return Compare(p.before.sample, p.after.sample)
}

// A watch is a fault with the stretches that tell whether it is seen.
type watch struct {
	fault Fault
	own   *pair // of the faulty service
	door  *pair // of the front door; the same as own where only the front door has events
}

// judge reads all events once and returns the faults with their verdicts. It fills further probes
// on the way.
func judge(events EventSeq, watches []watch, more ...*probe) ([]Fault, error) {
	probes := more
	for _, w := range watches {
		probes = append(probes, &w.own.before, &w.own.after)
		if w.door != w.own {
			probes = append(probes, &w.door.before, &w.door.after)
		}
	}
	if err := fill(events, probes); err != nil {
		return nil, err
	}
	faults := make([]Fault, len(watches))
	for i, w := range watches {
		faults[i] = w.fault
		faults[i].Seen, faults[i].Front = w.own.verdict(), w.door.verdict()
	}
	return faults, nil
}
