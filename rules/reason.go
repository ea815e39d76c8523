package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// What is measured, as people say it: "error share", "p95 of latency".
func (s *Signal) what() string {
	switch s.Type {
	case SignalRatio:
		if s.Ratio.Errors.Kind == KindError {
			return "error share"
		}
		return "share of " + s.Ratio.Errors.String()
	case SignalCompletion:
		return "completion"
	case SignalAbandonment:
		return "abandonment"
	case SignalQuantile:
		return "p" + round(s.Quantile.Q*100, 6) + " of " + s.Quantile.Of.Kind.String()
	case SignalDeviation:
		return s.Deviation.Of.what()
	case SignalMean:
		return "mean of " + s.Mean.Kind.String()
	case SignalBurn:
		return "burn rate"
	case SignalMax:
		return "largest " + s.Max.Kind.String()
	case SignalAbsence:
		return "silence of " + s.Absence.Kind.String() + " events for"
	case SignalRate:
		return "rate of " + s.Num[0].Kind.String() + " events"
	case SignalDistinct:
		return "count of sessions with " + s.Num[0].Kind.String() + " events"
	default:
		return "count of " + s.Num[0].Kind.String() + " events"
	}
}

// Print is a measured value with its unit: "23.4 %", "812 ms", "3 events".
func (s *Signal) Print(v float64) string {
	if s.Type == SignalDeviation {
		return s.Deviation.print(v)
	}
	switch s.Unit {
	case "share":
		return round(v*100, 3) + " %"
	case "value", "score":
		return round(v, 4)
	case "events":
		return counted(v, "event")
	case "sessions":
		return counted(v, "session")
	case "times":
		return round(v, 3) + " times"
	default:
		return round(v, 4) + " " + s.Unit
	}
}

// evidenceOf is the numbers behind a value: ": 117 of 500".
func (r *Rule) evidenceOf(m Measure) string {
	switch {
	case r.Signal.share():
		return fmt.Sprintf(": %d of %d", m.Num, max(m.Num, m.Den))
	case r.Signal.Type == SignalBurn:
		return fmt.Sprintf(": %d of %d, and %d of %d in the last %s", m.Num, max(m.Num, m.Den), m.Short.Num, m.Short.whole(), r.Signal.Burn.Short)
	case r.Signal.Type == SignalDeviation:
		text := fmt.Sprintf(": %s, %s", r.Signal.PrintPart(r.Part(m)), r.Signal.Deviation.usually(m))
		switch of := r.Signal.Base(); {
		case of.share():
			text += fmt.Sprintf(", of %d", max(m.Num, m.Den))
		case of.Valued():
			text += ", of " + counted(float64(m.Num), "sample")
		}
		return text
	case r.Signal.Valued():
		return ": " + counted(float64(m.Num), "sample")
	case r.Signal.Type == SignalDistinct:
		return ": " + counted(float64(m.Num), "event")
	default:
		return ""
	}
}

// PrintPart is a Part with its unit.
func (s *Signal) PrintPart(v float64) string {
	if s.Type == SignalBurn {
		return round(v*100, 3) + " %"
	}
	return s.Base().Print(v)
}

// counted is a number of things: "1 sample", "20 samples".
func counted(n float64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return round(n, 15) + " " + thing + "s"
}

// measured is the value as a sentence begins: "error share 23.4 % over 5m", "3 error events over 5m".
func (r *Rule) measured(m Measure, v float64) string {
	switch r.Signal.Type {
	case SignalDistinct:
		return m.Sessions.String() + " with " + r.Signal.Num[0].Kind.String() + " events" + r.over()
	case SignalCount:
		return counted(v, r.Signal.Num[0].Kind.String()+" event") + r.over()
	case SignalRate:
		return fmt.Sprintf("%s %s events/s%s", round(v, 4), r.Signal.Num[0].Kind, r.over())
	default:
		return r.Signal.what() + " " + r.Signal.Print(v) + r.over()
	}
}

// over is " over 5m", with the short window where there is one, or nothing for silence, which is its own length.
func (r *Rule) over() string {
	switch r.Signal.Type {
	case SignalAbsence:
		return ""
	case SignalBurn:
		return " over " + r.Window.String() + " and " + r.Signal.Burn.Short.String()
	default:
		return " over " + r.Window.String()
	}
}

// Breach is the sentence that tells why tier i is reached.
func (r *Rule) Breach(m Measure, i int) string {
	t := r.Severities[i]
	v := r.Judge(m)
	if v.Evidence != Enough || v.Blind {
		return fmt.Sprintf("%s%s has no data, which this rule counts as %s", r.Signal.what(), r.over(), t.Severity)
	}
	held := ""
	if t.For > 0 {
		held = " for " + t.For.String()
	}
	return fmt.Sprintf("%s is %s %s (%s)%s%s", r.measured(m, v.Value), r.Past(), r.Signal.Print(t.threshold()), t.Severity, held, r.evidenceOf(m))
}

// Past is how it is said that a threshold is passed.
func (r *Rule) Past() string {
	switch {
	case r.Below():
		return "below"
	case r.Signal.Distance():
		return "beyond"
	default:
		return "above"
	}
}

// Recovery is the sentence that tells why tier i is left.
func (r *Rule) Recovery(m Measure, i int) string {
	t := r.Severities[i]
	bound := r.RecoveryBound(t)
	direction := "under"
	switch {
	case bound == 0, r.value(m) == bound:
		direction = "at"
	case t.Below != nil:
		direction = "over"
	case r.Signal.Distance():
		direction = "within"
	}
	at := r.Signal.Print(bound)
	if floor := r.FloorAlone(t, m, r.value(m)); floor != "" {
		at += " or its floor of " + floor
	}
	stays, long := "is", ""
	if keep := *r.Recover.KeepFiringFor; keep > 0 {
		stays, long = "has stayed", ", for "+keep.String()
	}
	return fmt.Sprintf("%s %s %s %s, the recovery bound of %s%s%s", r.measured(m, r.value(m)), stays, direction, at,
		t.Severity, long, r.evidenceOf(m))
}

// Impact is the sentence that tells what people felt in the window.
func (r *Rule) Impact(m Measure) string { return r.impact(m) + r.touched(m.Sessions) }

func (r *Rule) impact(m Measure) string {
	whole := max(m.Num, m.Den)
	window := "in the last " + r.Window.String()
	switch r.Signal.Base().Type {
	case SignalRatio, SignalBurn:
		return fmt.Sprintf("%d of %d requests failed %s (%s)", m.Num, whole, window, r.Signal.PrintPart(r.Part(m)))
	case SignalCompletion:
		return fmt.Sprintf("%d of %d visitors did not complete %s", whole-m.Num, whole, window)
	case SignalAbandonment:
		return fmt.Sprintf("%d of %d visitors abandoned %s (%s)", m.Num, whole, window, r.Signal.Print(r.value(m)))
	case SignalQuantile:
		mildest, q := r.Severities[len(r.Severities)-1], r.Signal.Distribution()
		if b := r.Signal.Deviation; b != nil && !b.measurable(m) {
			break // nothing is known to be bad
		}
		were, direction := "were", "above"
		wrong := r.Wrong(m.Dist, m)
		if wrong < r.least(m) { // the bound lies within a bucket of some: how many of them are beyond it nobody knows
			return fmt.Sprintf("The p%s of %s was %s %s", round(100*q.Q, 6), counted(float64(m.Num), q.Of.Kind.String()+" event"), r.Signal.PrintPart(r.Part(m)), window)
		}
		if wrong == 1 {
			were = "was"
		}
		if r.Low(m) {
			direction = "below"
		}
		return fmt.Sprintf("%d of %d %s events %s %s %s %s (%s %%)", wrong, m.Num, q.Of.Kind, were, direction, r.Signal.PrintPart(r.bound(mildest, m)), window,
			round(100*float64(wrong)/float64(m.Num), 3))
	case SignalMean:
		return fmt.Sprintf("The mean of %s was %s %s", counted(float64(m.Num), r.Signal.Num[0].Kind.String()+" event"), r.Signal.PrintPart(m.Mean), window)
	case SignalMax:
		return fmt.Sprintf("The largest of %s was %s %s", counted(float64(m.Num), r.Signal.Num[0].Kind.String()+" event"), r.Signal.Print(m.Max), window)
	case SignalAbsence:
		return fmt.Sprintf("No %s event for %s", r.Signal.Absence.Kind, Duration(m.Silent))
	}
	return fmt.Sprintf("%s %s", counted(float64(m.Num), r.Signal.Num[0].Kind.String()+" event"), window)
}

// round prints v with so many significant digits and no exponent.
func round(v float64, digits int) string {
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'e', digits-1, 64), 64)
	if err != nil {
		return strings.TrimSpace(fmt.Sprint(v))
	}
	return strconv.FormatFloat(short, 'f', -1, 64)
}
