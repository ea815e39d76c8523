package rules

import "math"

// Measure is the numbers of one group's window at a pane's edge.
type Measure struct {
	Num, Den int64        // counted by Signal.Num and Signal.Den; distinct: only events that told of their session
	Sessions Sessions     // distinct: which those of Num came from. In a sentence about impact: which are touched; 0: not counted
	Dist     Distribution // of the values counted in Num; nil unless the signal is made of values
	Mean     float64      // mean: of those values, in their unit; 0 of nothing
	Max      float64      // max: the largest of them
	Learned  bool         // deviation: it is known what is usual
	Usual    float64      // deviation: what is, in the unit of the values
	Spread   float64      // deviation: 1.4826 times the median absolute deviation of what was learned
	Stream   int64        // events of any series in the window: whether anything was heard at all
	Full     bool         // every pane of the window was observed, and the group was known at its start
	Observed bool         // the pane that closes was observed: something came in, or it is on record that nothing did
	Silent   int64        // absence: milliseconds of observed panes since the group's last event
	Alive    bool         // absence: before that silence the window had sample.min events
	Short    Pair         // burn_rate: as Num and Den, in the short window
}

// Pair is a numerator and a denominator.
type Pair struct{ Num, Den int64 }

// whole is what the numerator is a share of: errors without requests are all of them.
func (p Pair) whole() int64 { return max(p.Num, p.Den) }

// Distribution is what a quantile is asked of.
type Distribution interface {
	// Quantile is the value at rank ceil(q*n), or 0 of nothing.
	Quantile(q float64) float64
	// CountAbove and CountBelow are how many values surely lie above or below v.
	CountAbove(v float64) int64
	CountBelow(v float64) int64
}

// Evidence is how much a window knows.
type Evidence int

// Nothing: the window is empty. TooSmall: fewer than sample.min. Enough: it can be judged.
const (
	Nothing Evidence = iota
	TooSmall
	Enough
)

// Verdict is what one window says, tiers counted worst first: tiers Worst and milder are breached, tiers before Healthy are past
// their recovery bound. In between a value is neither.
type Verdict struct {
	Evidence Evidence
	Value    float64
	Worst    int
	Healthy  int
	Blind    bool // the window is empty, which the rule counts as a breach of every tier: there is no value
}

// Judge sorts one measure into the rule's ladder. It is pure: time (`for`, keep_firing_for) is the caller's.
func (r *Rule) Judge(m Measure) Verdict {
	v := Verdict{Evidence: r.evidence(m), Worst: len(r.Severities)}
	if v.Evidence == Nothing && r.NoData == NoDataFire && m.Full {
		return Verdict{Evidence: Enough, Blind: true}
	}
	if v.Evidence != Enough {
		return v
	}
	v.Value = r.value(m)
	for v.Worst > 0 && r.breaches(r.Severities[v.Worst-1], m, v.Value) {
		v.Worst--
	}
	for v.Healthy < len(r.Severities) && r.healthy(r.Severities[v.Healthy], m, v.Value) {
		v.Healthy++
	}
	return v
}

// evidence decides whether the window can be judged at all. 0/0 and the quantile of nothing never get further.
func (r *Rule) evidence(m Measure) Evidence {
	known := r.known(m)
	if b := r.Signal.Deviation; known == Enough && b != nil && !b.measurable(m) {
		return TooSmall
	}
	return known
}

// Known says whether the window knows enough to be part of what is usual.
func (r *Rule) Known(m Measure) bool { return r.known(m) == Enough }

// known is how much the window knows, whatever is usual.
func (r *Rule) known(m Measure) Evidence {
	samples := r.samples(m)
	switch {
	case r.Signal.Type == SignalAbsence:
		// Silence is evidence where it was observed; data that came is evidence by itself.
		if !m.Observed || !m.Alive {
			return TooSmall
		}
		return Enough
	case samples == 0:
		return Nothing
	case r.Whole() && !m.Full:
		return TooSmall // a partial window looks low
	case r.Signal.Type == SignalBurn && m.Short.whole() == 0:
		return TooSmall // whether it goes on is not known
	case samples < r.Sample.Min:
		return TooSmall
	default:
		return Enough
	}
}

// samples is what sample.min is compared with: events the signal is made of, or for counts, rates and sessions, where nothing is a number
// too, the events of the whole stream.
func (r *Rule) samples(m Measure) int64 {
	if r.Signal.needsData() {
		return max(m.Num, m.Den)
	}
	return max(m.Stream, m.Num) // what happens to the pipeline, and what the engine derives, are no events of the stream
}

// Samples is how many events the value is made of.
func (r *Rule) Samples(m Measure) int64 { return max(m.Num, m.Den) }

// value is the number that thresholds are compared with.
func (r *Rule) value(m Measure) float64 {
	switch r.Signal.Type {
	case SignalDeviation:
		return r.Signal.Deviation.far(r.Part(m), m)
	case SignalAbsence:
		return float64(m.Silent) / 1000
	case SignalBurn:
		return min(r.Signal.Burn.times(m.Num, m.Den), r.Signal.Burn.times(m.Short.Num, m.Short.Den))
	default:
		return r.Part(m)
	}
}

// Part is the value of the window, or of a part of it, in the unit of its events: of a deviation what deviates, of a burn rate the share of errors.
func (r *Rule) Part(m Measure) float64 {
	switch base := r.Signal.Base(); base.Type {
	case SignalRatio, SignalCompletion, SignalAbandonment, SignalBurn:
		return float64(m.Num) / float64(max(m.Num, m.Den))
	case SignalRate:
		return float64(m.Num) * 1000 / float64(r.Window)
	case SignalDistinct:
		return float64(m.Sessions.N)
	case SignalQuantile:
		return m.Dist.Quantile(base.Quantile.Q)
	case SignalMean:
		return m.Mean
	case SignalMax:
		return m.Max
	default:
		return float64(m.Num)
	}
}

// breaches says whether the value is surely past the tier's threshold. Above is >, below is <. With sample.wilson_lower the
// whole interval has to be past it; of a quantile, the share of the values beyond the threshold has to be surely more than 1-q.
func (r *Rule) breaches(t Tier, m Measure, value float64) bool {
	z, sure := zFor(r.Sample.Wilson)
	quantile := r.Signal.Distribution()
	if quantile != nil && sure {
		lower, _ := wilson(m.Dist.CountAbove(r.bound(t, m)), m.Num, z)
		return lower > 1-quantile.Q
	}
	if r.Signal.Type == SignalDeviation && t.Above != nil {
		return r.deviates(t, m)
	}
	if !sure {
		return t.past(value)
	}
	lower, upper := wilson(m.Num, max(m.Num, m.Den), z)
	if b := r.Signal.Burn; b != nil {
		short, _ := wilson(m.Short.Num, m.Short.whole(), z)
		return float64(min(lower, short)*b.Highest) > *t.Above
	}
	if t.Below != nil {
		return upper < *t.Below
	}
	return lower > *t.Above
}

// bound is the tier's threshold in the unit of the values themselves; of a deviation to both sides the one on the side of the value.
func (r *Rule) bound(t Tier, m Measure) float64 {
	b := r.Signal.Deviation
	switch {
	case b == nil:
		return t.threshold()
	case t.Below != nil:
		return b.above(*t.Below, m)
	case r.Low(m):
		return b.below(*t.Above, m)
	default:
		return max(b.above(*t.Above, m), r.floor(t))
	}
}

// Low says whether less is worse, or where either is, whether the value is less than usual.
func (r *Rule) Low(m Measure) bool {
	b := r.Signal.Deviation
	switch {
	case b == nil || r.Below():
		return r.Below()
	case b.Direction == Both:
		return r.Part(m) < m.Usual
	default:
		return b.Direction == Down
	}
}

// Wrong is how many values of a part of the window's distribution surely lie beyond the bound of the mildest tier.
func (r *Rule) Wrong(part Distribution, m Measure) int64 {
	mildest := r.Severities[len(r.Severities)-1]
	if r.Low(m) {
		return part.CountBelow(r.bound(mildest, m))
	}
	return part.CountAbove(r.bound(mildest, m))
}

// least is how many values of the window lie beyond the bound of the mildest tier if the quantile does, as it is judged: by the middle of its bucket.
func (r *Rule) least(m Measure) int64 {
	q, mildest := r.Signal.Distribution(), r.Severities[len(r.Severities)-1]
	bound, value, rank := r.bound(mildest, m), m.Dist.Quantile(q.Q), int64(math.Ceil(float64(q.Q*float64(m.Num))))
	switch {
	case !r.Low(m) && value > bound:
		return m.Num - rank + 1
	case r.Low(m) && value < bound:
		return rank
	default:
		return 0
	}
}

// healthy says whether the value lets the tier recover.
func (r *Rule) healthy(t Tier, m Measure, value float64) bool {
	return r.underFloor(t, m) || r.pastBound(t, value)
}

// pastBound says whether the value is on the good side of the tier's recovery bound. At it is as good where there is nothing beyond: no errors, all visitors, or
// as many events as have to come.
func (r *Rule) pastBound(t Tier, value float64) bool {
	bound := r.RecoveryBound(t)
	if t.Below == nil {
		return value < bound || bound == 0 && value == 0
	}
	return value > bound || value == bound && (r.counts() || r.Signal.share() && bound == 1)
}

// counts says whether what is measured is a number of things.
func (r *Rule) counts() bool { return r.Signal.Type == SignalCount || r.Signal.Type == SignalDistinct }

// RecoveryBound is the value on the other side of which the tier recovers: for `above`, threshold_share of the threshold. For
// `below` the same distance the other way: of a share, what is missing to 1 has to shrink by it. Of a distance from what is usual it is what the
// threshold is beyond the usual. It lies on the good side of the threshold, of a negative one too.
func (r *Rule) RecoveryBound(t Tier) float64 {
	share, threshold := *r.Recover.ThresholdShare, t.threshold()
	switch {
	case r.Signal.Distance():
		even := r.Signal.Deviation.Even()
		return even + float64((threshold-even)*share)
	case t.Below != nil && r.Signal.share():
		return 1 - float64((1-threshold)*share)
	case t.Below != nil && r.counts():
		return max(threshold, math.Floor(threshold/share)) // one event more than none has to do where fewer than one are too few
	case (t.Above != nil) == (threshold >= 0):
		return threshold * share
	default:
		return threshold / share
	}
}

// Whole says whether only whole windows are judged: where a count or rate may be too low, which it is of a part of a window.
func (r *Rule) Whole() bool {
	return !r.Signal.needsData() && (r.Below() || r.Signal.Type == SignalDeviation)
}

// TooFew says whether what is wrong is that events do not come.
func (r *Rule) TooFew(m Measure) bool { return !r.Signal.needsData() && r.Low(m) }

// Below says whether the ladder goes down: less is worse.
func (r *Rule) Below() bool { return len(r.Severities) > 0 && r.Severities[0].Below != nil }

// judged says whether the tier has one threshold that could be read.
func (t Tier) judged() bool { return (t.Above == nil) != (t.Below == nil) }

// direction is the key of the threshold: above or below.
func (t Tier) direction() string {
	if t.Below != nil {
		return "below"
	}
	return "above"
}

func (t Tier) past(value float64) bool {
	if t.Below != nil {
		return value < *t.Below
	}
	return value > *t.Above
}

// threshold is the bound of the tier, above or below.
func (t Tier) threshold() float64 {
	if t.Below != nil {
		return *t.Below
	}
	return *t.Above
}

// Threshold is the bound of tier i.
func (r *Rule) Threshold(i int) float64 { return r.Severities[i].threshold() }
