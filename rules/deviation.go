package rules

import (
	"math"
	"strings"

	"sevwatch/rules/strictyaml"
)

// Baseline is what a quantile, rate, ratio or mean usually is, and how a deviation from it is measured. It is learned of values from before the
// window that were not part of a deviation, so the value at a time never depends on itself, and an incident is not learned: of the last Panes
// panes that had data or, where Windows is set, of the last so many whole windows, one behind the other; where there is a Season, of the windows
// of the same time in the last so many seasons. Usual is their median.
type Baseline struct {
	Where     strictyaml.Where `json:"-"`
	Quantile  *Quantile        `yaml:"quantile"`
	Rate      *Selector        `yaml:"rate"`
	Ratio     *Ratio           `yaml:"ratio"`
	Mean      *Selector        `yaml:"mean"`
	Measured  Measured         `yaml:"measured"`  // default: relative
	Direction Direction        `yaml:"direction"` // default: up
	Panes     int              `yaml:"panes"`     // of a quantile; default 60
	Windows   int              `yaml:"windows"`   // default 30, of a quantile panes, with a season 5
	Season    Duration         `yaml:"season"`    // in which what is usual comes again: a day, a week; default: none
	Floor     float64          `yaml:"floor"`     // values up to here, and what usually is no larger, are nobody's concern

	Of Signal `yaml:"-"` // what deviates
}

// Measured is how a deviation is told.
type Measured string

// Relative is times the usual value, Absolute the distance in the unit of the values, Sigmas the distance in standard deviations, as far as they can
// be told from the median absolute deviation of what was learned (Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", 1993).
const (
	Relative Measured = "relative"
	Absolute Measured = "absolute"
	Sigmas   Measured = "sigmas"
)

// UnmarshalText reads relative, absolute or sigmas.
func (m *Measured) UnmarshalText(text []byte) error {
	return oneOf(m, text, "relative, absolute or sigmas", Relative, Absolute, Sigmas)
}

// Direction is on which side of what is usual a deviation lies.
type Direction string

// Up is more than usual, Down less, Both either.
const (
	Up   Direction = "up"
	Down Direction = "down"
	Both Direction = "both"
)

// UnmarshalText reads up, down or both.
func (d *Direction) UnmarshalText(text []byte) error {
	return oneOf(d, text, "up, down or both", Up, Down, Both)
}

// What a deviation may be of.
var deviating = []string{"quantile", "rate", "ratio", "mean"}

// compile sets what is left out, reports what is wrong, and returns what deviates.
func (b *Baseline) compile(fail func(pos strictyaml.Pos, format string, args ...any)) *Signal {
	b.Of = Signal{Where: b.Where, Quantile: b.Quantile, Rate: b.Rate, Ratio: b.Ratio, Mean: b.Mean}
	switch written := b.Where.Among(deviating...); len(written) {
	case 1:
		b.Of.compile(fail)
	case 0:
		fail(b.Where.Pos, "deviation is of nothing, expected one of %s", strings.Join(deviating, ", "))
	default:
		fail(b.Where.Pos, "deviation has %s, expected exactly one of them", strings.Join(written, " and "))
	}
	if b.Measured == "" {
		b.Measured = Relative
	}
	if b.Direction == "" {
		b.Direction = Up
	}
	for _, learned := range []struct {
		key string
		n   *int
	}{{"panes", &b.Panes}, {"windows", &b.Windows}} {
		if b.Where.Has(learned.key) && b.Where.Readable(learned.key) && (*learned.n < 1 || *learned.n > maxLearned) {
			fail(b.Where.Of(learned.key), "%s is %d, expected 1 to %d", learned.key, *learned.n, maxLearned)
		}
	}
	switch panes, windows := b.Where.Has("panes"), b.Where.Has("windows"); {
	case panes && windows:
		fail(b.Where.Of("windows"), "deviation has panes and windows, expected one of them")
	case panes && b.Quantile == nil && b.Of.Type != "":
		fail(b.Where.Of("panes"), "panes goes with a quantile, expected windows: a %s is learned of whole windows", b.Of.Type)
	case panes && b.Season > 0:
		fail(b.Where.Of("season"), "season goes with windows, not with panes")
	case panes || windows:
	case b.Season > 0:
		b.Windows = 5
	case b.Quantile != nil:
		b.Panes = 60
	default:
		b.Windows = 30
	}
	if b.Floor < 0 {
		fail(b.Where.Of("floor"), "floor is %v, expected 0 or more", b.Floor)
	}
	if b.Measured == Sigmas && b.Size() > 0 && b.Size() < minBaseline {
		fail(b.Where.Of("measured"), "sigmas of %d values, expected %d at least: of fewer nobody can tell how far apart they lie", b.Size(), minBaseline)
	}
	if b.Measured == Sigmas && b.Floor == 0 && (b.Rate != nil || b.Ratio != nil) && b.Where.Readable("floor") {
		fail(b.Where.Of("measured"), "sigmas of a %s need a floor: what is usually nothing has no spread", b.Of.Type)
	}
	return &b.Of
}

// tier reports what is wrong with the threshold x of a tier.
func (b *Baseline) tier(x float64, t *Tier, fail func(format string, args ...any)) {
	switch {
	case t.Below != nil && (!b.ratioUp() || b.Where.Has("direction")):
		fail("a deviation that is %s is judged by above, not by below: it is how far the value is from the usual", b)
	case b.ratioUp() && t.Below != nil && x <= 0:
		fail("below is %v, expected more than 0: the value is never below 0 times, so the tier can never be reached", x)
	case b.ratioUp() && t.Above != nil && x < 0:
		fail("above is %v, expected 0 or more: the value is never below 0 times, so the tier would always be reached", x)
	case b.ratioUp():
	case b.Measured == Relative && x <= 1:
		fail("above is %v, expected more than 1: a value is always that many times off the usual", x)
	case b.Measured == Relative && x >= farthest:
		fail("above is %s, expected less than %s: nothing is further off the usual", round(x, 15), round(farthest, 15))
	case b.Measured != Relative && x <= 0:
		fail("above is %v, expected more than 0: it is how far from the usual", x)
	case b.Measured == Absolute && b.Of.share() && x >= 1:
		fail("above is %v, expected less than 1 (5 percentage points are 0.05)", x)
	}
}

// String is how the deviation is measured: "absolute, down".
func (b *Baseline) String() string { return string(b.Measured) + ", " + string(b.Direction) }

// unit is that of the measured value. How many sigmas is how many times the spread.
func (b *Baseline) unit() string {
	if b.Measured == Absolute {
		return b.Of.Unit
	}
	return "times"
}

// ratioUp says whether the value is told as times the usual one, which may be less than once.
func (b *Baseline) ratioUp() bool {
	return b.Measured == Relative && b.Direction == Up
}

// Distance says whether the signal is told as a distance from what is usual.
func (s *Signal) Distance() bool { return s.Type == SignalDeviation && !s.Deviation.ratioUp() }

// Bounds of what is remembered of a group.
const (
	maxLearned  = 1000
	maxSeasonal = 2500
)

// season reports what is wrong with the season, of windows of that length.
func (b *Baseline) season(window Duration, fail func(pos strictyaml.Pos, format string, args ...any)) {
	if !b.Where.Has("season") || !b.Where.Readable("season") || window <= 0 {
		return
	}
	switch n := int64(b.Season / window); {
	case b.Season%window != 0:
		fail(b.Where.Of("season"), "season is %s, expected a multiple of the window of %s", b.Season, window)
	case n < 4:
		fail(b.Where.Of("season"), "season is %s, expected four times the window of %s at least", b.Season, window)
	case n*int64(b.Windows) > maxSeasonal:
		fail(b.Where.Of("season"), "season is %s, of which %d windows of %s in %d seasons are %d, expected %d at most: a longer window, or fewer windows",
			b.Season, n, window, b.Windows, n*int64(b.Windows), maxSeasonal)
	}
}

// minBaseline is how many panes or windows have to be known before anything is called usual.
const minBaseline = 5

// Learned says whether so many panes or windows make a baseline.
func (b *Baseline) Learned(n int) bool { return n >= min(minBaseline, b.Size()) }

// Size is how many panes or windows are remembered, with a season of each time in it.
func (b *Baseline) Size() int { return max(b.Panes, b.Windows) }

// leastSigma bounds the spread, as a share of what is usual: values within a bucket of a histogram are one, and what has never moved yet may.
const leastSigma = 0.05

// sigma is the standard deviation that distances are measured in, 0 while nothing is known of it.
func (b *Baseline) sigma(m Measure) float64 {
	return max(m.Spread, float64(leastSigma*max(math.Abs(m.Usual), b.Floor)))
}

// measurable says whether it is known what is usual, and how far from it values lie.
func (b *Baseline) measurable(m Measure) bool {
	switch b.Measured {
	case Absolute:
		return m.Learned
	case Sigmas:
		return m.Learned && b.sigma(m) > 0
	default:
		return m.Learned && m.Usual > 0
	}
}

// farthest bounds how many times less than usual a value can be: nothing is so many times less.
const farthest = 1e6

// far is how far v is from what is usual, in the direction that the deviation is about; on the other side a distance is 0.
func (b *Baseline) far(v float64, m Measure) float64 {
	var d float64
	switch b.Measured {
	case Absolute:
		d = v - m.Usual
	case Sigmas:
		d = (v - m.Usual) / b.sigma(m)
	default:
		return b.times(v, m.Usual)
	}
	switch b.Direction {
	case Down:
		return max(0, -d)
	case Both:
		return math.Abs(d)
	default:
		return max(0, d)
	}
}

// times is how many times more, or less, than usual v is.
func (b *Baseline) times(v, usual float64) float64 {
	more, less := v/usual, farthest
	if v > 0 {
		less = min(usual/v, farthest)
	}
	switch b.Direction {
	case Down:
		return less
	case Both:
		return max(more, less)
	default:
		return more
	}
}

// above and below are the values that lie so far above or below what is usual.
func (b *Baseline) above(far float64, m Measure) float64 {
	switch b.Measured {
	case Absolute:
		return m.Usual + far
	case Sigmas:
		return m.Usual + float64(far*b.sigma(m))
	default:
		return float64(far * m.Usual)
	}
}

func (b *Baseline) below(far float64, m Measure) float64 {
	switch b.Measured {
	case Absolute:
		return m.Usual - far
	case Sigmas:
		return m.Usual - float64(far*b.sigma(m))
	default:
		return m.Usual / far
	}
}

// Even is what is measured where the value is what it usually is. Distances grow from there.
func (b *Baseline) Even() float64 {
	if b.Measured == Relative {
		return 1
	}
	return 0
}

// concern is the larger one of a value and what is usual, as far as the direction goes: up to a floor it is nobody's concern.
func (b *Baseline) concern(v float64, m Measure) float64 {
	switch b.Direction {
	case Down:
		return m.Usual
	case Both:
		return max(v, m.Usual)
	default:
		return v
	}
}

// deviates says whether the value lies beyond the threshold of a tier that is judged by above.
func (r *Rule) deviates(t Tier, m Measure) bool {
	b, v := r.Signal.Deviation, r.Part(m)
	more := b.Direction != Down && v > b.above(*t.Above, m)
	less := b.Direction != Up && v < b.below(*t.Above, m)
	return (more || less) && b.concern(v, m) > r.floor(t)
}

// underFloor says whether a deviation is none of the tier's concern, whatever is usual.
func (r *Rule) underFloor(t Tier, m Measure) bool {
	return r.Signal.Type == SignalDeviation && t.Above != nil && r.Signal.Deviation.concern(r.Part(m), m) <= r.floor(t)
}

// floor is up to where a deviation is not the tier's concern, in the unit of the values, some of which may be negative.
func (r *Rule) floor(t Tier) float64 {
	if floor := max(t.Floor, r.Signal.Deviation.Floor); floor > 0 {
		return floor
	}
	return math.Inf(-1)
}

// FloorAlone is the floor as it is printed where the value is healthy for nothing else than lying under it; else "".
func (r *Rule) FloorAlone(t Tier, m Measure, value float64) string {
	if !r.underFloor(t, m) || r.pastBound(t, value) {
		return ""
	}
	return r.Signal.Base().Print(r.floor(t))
}

// side is on which side of what is usual a deviation is told to lie.
func (b *Baseline) side() string {
	switch b.Direction {
	case Down:
		return "below"
	case Both:
		return "off"
	default:
		return "above"
	}
}

// print is how far something is from what is usual: "394 ms above the usual".
func (b *Baseline) print(far float64) string {
	switch {
	case b.ratioUp():
		return round(far, 3) + " times the usual"
	case b.Measured == Relative:
		return round(far, 3) + " times " + b.side() + " the usual"
	case b.Measured == Sigmas:
		return round(far, 3) + " sigmas " + b.side() + " the usual"
	case b.Of.Unit == "share":
		return round(far*100, 3) + " percentage points " + b.side() + " the usual"
	default:
		return b.Of.Print(far) + " " + b.side() + " the usual"
	}
}

// usually is what is usual, as it stands behind the value: "usually 99.78".
func (b *Baseline) usually(m Measure) string {
	text := "usually "
	if b.Of.Unit == "share" {
		text += b.Of.Print(m.Usual)
	} else {
		text += round(m.Usual, 4)
	}
	if b.Measured == Sigmas {
		text += ", sigma " + round(b.sigma(m), 3)
	}
	return text
}
