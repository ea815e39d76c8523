package rules

import (
	"sevwatch/rules/strictyaml"
)

// Signal is what a rule measures. In a file exactly one of the keys is written; Num and Den are what the engine has to count for
// it: an event that matches any selector of Num counts in the numerator, one that matches any of Den in the denominator.
type Signal struct {
	Pos         strictyaml.Pos
	Ratio       *Ratio    `yaml:"ratio"`       // errors of all, 0..1
	Count       *Selector `yaml:"count"`       // events in the window
	Rate        *Selector `yaml:"rate"`        // events a second
	Quantile    *Quantile `yaml:"quantile"`    // of the values in the window, in their unit
	Absence     *Selector `yaml:"absence"`     // seconds without an event, after the window had sample.min of them
	Completion  *Flow     `yaml:"completion"`  // visitors who completed of those who ended (or entered), 0..1
	Abandonment *Flow     `yaml:"abandonment"` // visitors who abandoned of those who ended (or entered), 0..1
	Deviation   *Baseline `yaml:"deviation"`   // times the usual value of a quantile

	Type     SignalType `yaml:"-"`
	Num, Den []Selector `yaml:"-"`
	Unit     string     `yaml:"-"` // of the measured value: share, events, events/s, ms, s, value, score, times
}

// SignalType is which of the signals a rule has.
type SignalType string

// The signals.
const (
	SignalRatio       SignalType = "ratio"
	SignalCount       SignalType = "count"
	SignalRate        SignalType = "rate"
	SignalQuantile    SignalType = "quantile"
	SignalAbsence     SignalType = "absence"
	SignalCompletion  SignalType = "completion"
	SignalAbandonment SignalType = "abandonment"
	SignalDeviation   SignalType = "deviation"
)

// Ratio is the share of Errors among Total. Errors without requests are a share of 1: k / max(n, k).
type Ratio struct {
	Pos    strictyaml.Pos
	Errors Selector `yaml:"errors,required"`
	Total  Selector `yaml:"total,required"`
}

// Quantile is the value that the share Q of the events stays at or under, by nearest rank.
type Quantile struct {
	Pos strictyaml.Pos
	Of  Selector `yaml:"of,required"`
	Q   float64  `yaml:"q,required"`
}

// Baseline is what a quantile usually is: the median of its value in each of the last Panes panes that had data, lay before the
// window, and were not part of a deviation. The value at a time never depends on itself, and an incident is not learned.
type Baseline struct {
	Pos      strictyaml.Pos
	Quantile Quantile `yaml:"quantile,required"`
	Panes    int      `yaml:"panes"` // default 60
	Floor    float64  `yaml:"floor"` // values up to here are nobody's concern, whatever is usual
}

// minBaseline is how many panes have to be known before anything is called usual.
const minBaseline = 5

// Learned says whether so many panes make a baseline.
func (b *Baseline) Learned(panes int) bool { return panes >= min(minBaseline, b.Panes) }

// Flow is either one step's way (steps, against) or a whole flow from the event that starts it to the one that finishes it.
type Flow struct {
	Pos     strictyaml.Pos
	Steps   *Selector `yaml:"steps"`
	Against Against   `yaml:"against"` // default: outcomes
	Start   *Selector `yaml:"start"`
	Finish  *Selector `yaml:"finish"`
}

// Against is the denominator of a step's completion.
type Against string

// Outcomes divides by complete + abandon: every visitor counts when the way ended, so a long step is no false alarm. Enters
// divides by those who entered in the same window, for sources that tell of no abandonment.
const (
	Outcomes Against = "outcomes"
	Enters   Against = "enters"
)

// UnmarshalText reads outcomes or enters.
func (a *Against) UnmarshalText(text []byte) error {
	switch v := Against(text); v {
	case Outcomes, Enters:
		*a = v
		return nil
	default:
		return strictyaml.ErrExpected("outcomes or enters")
	}
}

// share says whether the measured value is a share of 0..1.
func (s *Signal) share() bool {
	return s.Type == SignalRatio || s.Type == SignalCompletion || s.Type == SignalAbandonment
}

// needsData says whether an empty window is no evidence at all. Counts, rates and absence also know something of an empty window.
func (s *Signal) needsData() bool { return s.share() || s.Distribution() != nil }

// Distribution is the quantile that the signal is made of, or nil.
func (s *Signal) Distribution() *Quantile {
	switch s.Type {
	case SignalQuantile:
		return s.Quantile
	case SignalDeviation:
		return &s.Deviation.Quantile
	default:
		return nil
	}
}

// compile sets Type, Num, Den and Unit from the key that was written, and reports what is wrong with it.
func (s *Signal) compile(fail func(pos strictyaml.Pos, format string, args ...any)) {
	written := 0
	one := func(typ SignalType, unit string, num, den []Selector) {
		written++
		s.Type, s.Unit, s.Num, s.Den = typ, unit, num, den
	}
	if s.Ratio != nil {
		one(SignalRatio, "share", []Selector{s.Ratio.Errors}, []Selector{s.Ratio.Total})
	}
	if s.Count != nil {
		one(SignalCount, "events", []Selector{*s.Count}, nil)
	}
	if s.Rate != nil {
		one(SignalRate, "events/s", []Selector{*s.Rate}, nil)
	}
	if s.Quantile != nil {
		one(SignalQuantile, s.Quantile.Of.Kind.Unit(), []Selector{s.Quantile.Of}, nil)
		s.Quantile.validate(fail)
	}
	if s.Absence != nil {
		one(SignalAbsence, "s", []Selector{*s.Absence}, nil)
	}
	if s.Completion != nil {
		num, den := s.Completion.selectors("complete", fail)
		one(SignalCompletion, "share", num, den)
	}
	if s.Abandonment != nil {
		num, den := s.Abandonment.selectors("abandon", fail)
		one(SignalAbandonment, "share", num, den)
	}
	if s.Deviation != nil {
		one(SignalDeviation, "times", []Selector{s.Deviation.Quantile.Of}, nil)
		s.Deviation.Quantile.validate(fail)
		s.Deviation.validate(fail)
	}
	if written != 1 {
		fail(s.Pos, "signal has %d of ratio, count, rate, quantile, absence, completion, abandonment, deviation, expected exactly one", written)
	}
}

func (q *Quantile) validate(fail func(pos strictyaml.Pos, format string, args ...any)) {
	if q.Q <= 0 || q.Q >= 1 {
		fail(q.Pos, "q is %v, expected more than 0 and less than 1", q.Q)
	}
	if q.Of.Kind != NoKind && !q.Of.Kind.Valued() {
		fail(q.Pos, "of is %q, expected a kind that carries a value: latency, step, vital, resource or satisfaction", q.Of)
	}
}

func (b *Baseline) validate(fail func(pos strictyaml.Pos, format string, args ...any)) {
	if b.Panes == 0 {
		b.Panes = 60
	}
	if b.Panes < 1 || b.Panes > 1000 {
		fail(b.Pos, "panes is %d, expected 1 to 1000", b.Panes)
	}
	if b.Floor < 0 {
		fail(b.Pos, "floor is %v, expected 0 or more", b.Floor)
	}
}

// selectors are the numerator and denominator; action is complete or abandon.
func (f *Flow) selectors(action string, fail func(pos strictyaml.Pos, format string, args ...any)) (num, den []Selector) {
	whole := f.Start != nil || f.Finish != nil
	switch {
	case f.Steps != nil && whole, f.Steps == nil && (f.Start == nil || f.Finish == nil):
		fail(f.Pos, "expected either steps, or start and finish")
		return nil, nil
	case whole && (action != "complete" || f.Against != ""):
		fail(f.Pos, "start and finish go with completion, without against")
		return nil, nil
	case whole:
		return []Selector{*f.Finish}, []Selector{*f.Start}
	}
	if f.Steps.Kind != KindStep && f.Steps.Kind != NoKind {
		fail(f.Pos, "steps is %q, expected a selector of kind step", f.Steps)
	}
	num = []Selector{f.Steps.with("action", action)}
	if f.Against == Enters {
		return num, []Selector{f.Steps.with("action", "enter")}
	}
	return num, []Selector{f.Steps.with("action", "complete"), f.Steps.with("action", "abandon")}
}
