package rules

import (
	"slices"
	"strconv"
	"strings"

	"sevwatch/rules/strictyaml"
)

// Signal is what a rule measures. In a file exactly one of the keys is written; Num and Den are what the engine has to count for
// it: an event that matches any selector of Num counts in the numerator, one that matches any of Den in the denominator.
type Signal struct {
	Where       strictyaml.Where `json:"-"`
	Ratio       *Ratio           `yaml:"ratio"`       // errors of all, 0..1
	Count       *Selector        `yaml:"count"`       // events in the window
	Rate        *Selector        `yaml:"rate"`        // events a second
	Distinct    *Selector        `yaml:"distinct"`    // different sessions that the events in the window came from
	Quantile    *Quantile        `yaml:"quantile"`    // of the values in the window, in their unit
	Mean        *Selector        `yaml:"mean"`        // arithmetic mean of the values in the window, in their unit
	Max         *Selector        `yaml:"max"`         // largest of the values in the window, in their unit
	Absence     *Selector        `yaml:"absence"`     // seconds without an event, after the window had sample.min of them
	Completion  *Flow            `yaml:"completion"`  // visitors who completed of those who ended (or entered), 0..1
	Abandonment *Flow            `yaml:"abandonment"` // visitors who abandoned of those who ended (or entered), 0..1
	Deviation   *Baseline        `yaml:"deviation"`   // how far a quantile, rate, ratio or mean is from what it usually is
	Burn        *Burn            `yaml:"burn_rate"`   // times as fast as it would last that an error budget is spent

	Type     SignalType `yaml:"-"`
	Num, Den []Selector `yaml:"-"`
	Unit     string     `yaml:"-"` // of the measured value: share, events, events/s, sessions, ms, s, value, score, times
}

// SignalType is which of the signals a rule has.
type SignalType string

// The signals.
const (
	SignalRatio       SignalType = "ratio"
	SignalCount       SignalType = "count"
	SignalRate        SignalType = "rate"
	SignalDistinct    SignalType = "distinct"
	SignalQuantile    SignalType = "quantile"
	SignalMean        SignalType = "mean"
	SignalMax         SignalType = "max"
	SignalAbsence     SignalType = "absence"
	SignalCompletion  SignalType = "completion"
	SignalAbandonment SignalType = "abandonment"
	SignalDeviation   SignalType = "deviation"
	SignalBurn        SignalType = "burn_rate"
)

// Ratio is the share of Errors among Total. Errors without requests are a share of 1: k / max(n, k).
type Ratio struct {
	Where  strictyaml.Where `json:"-"`
	Errors Selector         `yaml:"errors,required"`
	Total  Selector         `yaml:"total,required"`
}

// Burn is how fast an error budget is spent, the share 1 - Objective of Total: at 1 it is spent when the time that the objective is for is over.
// What counts is the smaller one of the rule's window and of the short one, so that a tier holds while both are past its threshold: the long one
// says that it matters, the short one that it goes on (The Site Reliability Workbook, 2018, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts").
type Burn struct {
	Where     strictyaml.Where `json:"-"`
	Errors    Selector         `yaml:"errors,required"`
	Total     Selector         `yaml:"total,required"`
	Objective float64          `yaml:"objective,required"` // share of Total that shall go well
	Short     Duration         `yaml:"short,required"`     // a second window, which ends with the rule's

	Highest float64 `yaml:"-"` // burn rate when all goes wrong: 1/(1 - Objective)
}

// times is how fast it is spent when k of n go wrong, of which there are some.
func (b *Burn) times(k, n int64) float64 {
	return float64(float64(k)*b.Highest) / float64(max(k, n))
}

// Quantile is the value that the share Q of the events stays at or under, by nearest rank.
type Quantile struct {
	Where strictyaml.Where `json:"-"`
	Of    Selector         `yaml:"of,required"`
	Q     float64          `yaml:"q,required"`
}

// Flow is either one step's way (steps, against) or a whole flow from the event that starts it to the one that finishes it.
type Flow struct {
	Where   strictyaml.Where `json:"-"`
	Steps   *Selector        `yaml:"steps"`
	Against Against          `yaml:"against"` // default: outcomes
	Start   *Selector        `yaml:"start"`
	Finish  *Selector        `yaml:"finish"`
}

// Against is the denominator of a step's completion.
type Against string

// Outcomes divides by complete + abandon: every visitor counts when the way ended, so a long step is no false alarm. Enters
// divides by those who entered in the same window, for sources that tell of no abandonment. Attempts divides by those who entered and of whom
// it is known how that ended, although they may have left without a word: where the source's sessions are followed.
const (
	Outcomes Against = "outcomes"
	Enters   Against = "enters"
	Attempts Against = "attempts"
)

// UnmarshalText reads outcomes, enters or attempts.
func (a *Against) UnmarshalText(text []byte) error {
	return oneOf(a, text, "outcomes, enters or attempts", Outcomes, Enters, Attempts)
}

// oneOf reads one of some words; expected names them.
func oneOf[T ~string](to *T, text []byte, expected string, words ...T) error {
	if !slices.Contains(words, T(text)) {
		return strictyaml.ErrExpected(expected)
	}
	*to = T(text)
	return nil
}

// share says whether the measured value is a share of 0..1.
func (s *Signal) share() bool {
	return s.Type == SignalRatio || s.Type == SignalCompletion || s.Type == SignalAbandonment
}

// Base is what the signal is made of: of a deviation what deviates, else the signal itself.
func (s *Signal) Base() *Signal {
	if s.Type == SignalDeviation {
		return &s.Deviation.Of
	}
	return s
}

// bounded says whether the measured value is never below 0.
func (s *Signal) bounded() bool { return s.Type != "" && s.Unit != "value" && s.Unit != "score" }

// needsData says whether an empty window is no evidence at all. Counts, rates, sessions and absence also know something of an empty window.
func (s *Signal) needsData() bool {
	return s.Base().share() || s.Valued() || s.Type == SignalBurn
}

// sampled says whether the value is that of a sample, so that it is known how sure it is.
func (s *Signal) sampled() bool { return s.share() || s.Distribution() != nil || s.Type == SignalBurn }

// Valued says whether the signal is made of the values that events carry, and not of their number.
func (s *Signal) Valued() bool {
	typ := s.Base().Type
	return typ == SignalMean || typ == SignalMax || typ == SignalQuantile
}

// Distribution is the quantile that the signal is made of, or nil.
func (s *Signal) Distribution() *Quantile { return s.Base().Quantile }

// signalKeys are the keys of a signal, of which a rule has one.
var signalKeys = []string{"ratio", "count", "rate", "distinct", "quantile", "mean", "max", "absence", "completion", "abandonment", "deviation", "burn_rate"}

// compile sets Type, Num, Den and Unit from the key that was written, and reports what is wrong with it.
func (s *Signal) compile(fail func(pos strictyaml.Pos, format string, args ...any)) {
	switch written := s.Where.Among(signalKeys...); len(written) {
	case 1:
	case 0:
		fail(s.Where.Pos, "signal is empty, expected one of %s", strings.Join(signalKeys, ", "))
	default:
		fail(s.Where.Pos, "signal has %s, expected exactly one of them", strings.Join(written, " and "))
	}
	set := func(typ SignalType, unit string, num, den []Selector) {
		s.Type, s.Unit, s.Num, s.Den = typ, unit, num, den
	}
	if s.Ratio != nil {
		set(SignalRatio, "share", []Selector{s.Ratio.Errors}, []Selector{s.Ratio.Total})
	}
	if s.Count != nil {
		set(SignalCount, "events", []Selector{*s.Count}, nil)
	}
	if s.Rate != nil {
		set(SignalRate, "events/s", []Selector{*s.Rate}, nil)
	}
	if s.Distinct != nil {
		set(SignalDistinct, "sessions", []Selector{*s.Distinct}, nil)
	}
	if s.Quantile != nil {
		set(SignalQuantile, s.Quantile.Of.Kind.Unit(), []Selector{s.Quantile.Of}, nil)
		s.Quantile.validate(fail)
	}
	if s.Mean != nil {
		set(SignalMean, s.Mean.Kind.Unit(), []Selector{*s.Mean}, nil)
		valued(s.Where, "mean", s.Mean, fail)
	}
	if s.Max != nil {
		set(SignalMax, s.Max.Kind.Unit(), []Selector{*s.Max}, nil)
		valued(s.Where, "max", s.Max, fail)
	}
	if s.Absence != nil {
		set(SignalAbsence, "s", []Selector{*s.Absence}, nil)
	}
	if s.Completion != nil {
		num, den := s.Completion.selectors(SignalCompletion, fail)
		set(SignalCompletion, "share", num, den)
	}
	if s.Abandonment != nil {
		num, den := s.Abandonment.selectors(SignalAbandonment, fail)
		set(SignalAbandonment, "share", num, den)
	}
	if s.Deviation != nil {
		of := s.Deviation.compile(fail)
		set(SignalDeviation, s.Deviation.unit(), of.Num, of.Den)
	}
	if s.Burn != nil {
		set(SignalBurn, "times", []Selector{s.Burn.Errors}, []Selector{s.Burn.Total})
		s.Burn.validate(fail)
	}
}

// written is a selector as it stands in the file.
type written struct {
	*Selector
	pos strictyaml.Pos
}

// selectors are those that stand in the file and could be read.
func (s *Signal) selectors() []written {
	var out []written
	add := func(w strictyaml.Where, key string, selector *Selector) {
		if selector != nil && selector.Kind != NoKind {
			out = append(out, written{selector, w.Of(key)})
		}
	}
	flow := func(f *Flow) {
		if f != nil {
			add(f.Where, "steps", f.Steps)
			add(f.Where, "start", f.Start)
			add(f.Where, "finish", f.Finish)
		}
	}
	add(s.Where, "count", s.Count)
	add(s.Where, "rate", s.Rate)
	add(s.Where, "distinct", s.Distinct)
	add(s.Where, "mean", s.Mean)
	add(s.Where, "max", s.Max)
	add(s.Where, "absence", s.Absence)
	if s.Ratio != nil {
		add(s.Ratio.Where, "errors", &s.Ratio.Errors)
		add(s.Ratio.Where, "total", &s.Ratio.Total)
	}
	if s.Quantile != nil {
		add(s.Quantile.Where, "of", &s.Quantile.Of)
	}
	if s.Burn != nil {
		add(s.Burn.Where, "errors", &s.Burn.Errors)
		add(s.Burn.Where, "total", &s.Burn.Total)
	}
	flow(s.Completion)
	flow(s.Abandonment)
	if s.Deviation != nil {
		out = append(out, s.Deviation.Of.selectors()...)
	}
	return out
}

func (q *Quantile) validate(fail func(pos strictyaml.Pos, format string, args ...any)) {
	if q.Where.Has("q") && q.Where.Readable("q") && (q.Q <= 0 || q.Q >= 1) {
		fail(q.Where.Of("q"), "q is %v, expected more than 0 and less than 1", q.Q)
	}
	valued(q.Where, "of", &q.Of, fail)
}

// valued checks that events of the selector's kind carry a value.
func valued(w strictyaml.Where, key string, of *Selector, fail func(pos strictyaml.Pos, format string, args ...any)) {
	if of.Kind != NoKind && !of.Kind.Valued() {
		fail(w.Of(key), "%s is %s, expected a kind that carries a value: latency, step, vital, resource or satisfaction", key, of)
	}
}

func (b *Burn) validate(fail func(pos strictyaml.Pos, format string, args ...any)) {
	if b.Objective <= 0 || b.Objective >= 1 {
		if b.Where.Has("objective") && b.Where.Readable("objective") {
			fail(b.Where.Of("objective"), "objective is %v, expected more than 0 and less than 1 (99.9 %% is 0.999)", b.Objective)
		}
		return
	}
	budget, _ := strconv.ParseFloat(strconv.FormatFloat(1-b.Objective, 'e', 11, 64), 64) // 1 - 0.9 is not the float64 that 0.1 is
	b.Highest = 1 / budget
}

// selectors are the numerator and denominator; typ is completion or abandonment.
func (f *Flow) selectors(typ SignalType, fail func(pos strictyaml.Pos, format string, args ...any)) (num, den []Selector) {
	has := f.Where.Among("steps", "start", "finish")
	switch strings.Join(has, " ") {
	case "steps":
	case "start finish":
		return f.whole(typ, fail)
	case "":
		fail(f.Where.Pos, "%s is empty, expected either steps, or start and finish", typ)
		return nil, nil
	default:
		fail(f.Where.Pos, "%s has %s, expected either steps, or start and finish", typ, strings.Join(has, " and "))
		return nil, nil
	}
	if f.Steps == nil {
		return nil, nil
	}
	if f.Steps.Kind != KindStep {
		fail(f.Where.Of("steps"), "steps is %s, expected a selector of kind step", f.Steps)
	}
	of := *f.Steps
	if f.Against == Attempts {
		of.Kind = KindAttempt
	}
	complete, abandon := of.with("action", "complete"), of.with("action", "abandon")
	num = []Selector{complete}
	if typ == SignalAbandonment {
		num = []Selector{abandon}
	}
	if f.Against == Enters {
		return num, []Selector{of.with("action", "enter")}
	}
	return num, []Selector{complete, abandon}
}

// whole is the way from the event that starts a flow to the one that finishes it.
func (f *Flow) whole(typ SignalType, fail func(pos strictyaml.Pos, format string, args ...any)) (num, den []Selector) {
	if typ != SignalCompletion {
		fail(f.Where.Pos, "%s has start and finish, expected steps: only the completion of a whole flow can be measured", typ)
	}
	if f.Where.Has("against") {
		fail(f.Where.Of("against"), "against goes with steps, not with start and finish: what was started is the whole")
	}
	if f.Start == nil || f.Finish == nil {
		return nil, nil
	}
	return []Selector{*f.Finish}, []Selector{*f.Start}
}
