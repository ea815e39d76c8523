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
		return "p" + round(s.Deviation.Quantile.Q*100, 6) + " of " + s.Deviation.Quantile.Of.Kind.String()
	case SignalAbsence:
		return "silence of " + s.Absence.Kind.String() + " events"
	case SignalRate:
		return "rate of " + s.Num[0].Kind.String() + " events"
	default:
		return "count of " + s.Num[0].Kind.String() + " events"
	}
}

// Print is a measured value with its unit: "23.4 %", "812 ms", "3 events".
func (s *Signal) Print(v float64) string {
	switch s.Unit {
	case "share":
		return round(v*100, 3) + " %"
	case "value", "score":
		return round(v, 4)
	case "times":
		return round(v, 3) + " times the usual"
	default:
		return round(v, 4) + " " + s.Unit
	}
}

// evidenceOf is the numbers behind a value: ": 117 of 500".
func (r *Rule) evidenceOf(m Measure) string {
	switch {
	case r.Signal.share():
		return fmt.Sprintf(": %d of %d", m.Num, max(m.Num, m.Den))
	case r.Signal.Type == SignalDeviation:
		unit := r.Signal.Deviation.Quantile.Of.Kind.Unit()
		return fmt.Sprintf(": %s %s, usually %s, of %d samples", round(m.Dist.Quantile(r.Signal.Deviation.Quantile.Q), 4), unit,
			round(m.Usual, 4), m.Num)
	case r.Signal.Type == SignalQuantile:
		return fmt.Sprintf(": %d samples", m.Num)
	default:
		return ""
	}
}

// over is " over 5m", or nothing for silence, which is its own length.
func (r *Rule) over() string {
	if r.Signal.Type == SignalAbsence {
		return ""
	}
	return " over " + r.Window.String()
}

// Breach is the sentence that tells why tier i is reached.
func (r *Rule) Breach(m Measure, i int) string {
	t := r.Severities[i]
	direction := "above"
	if t.Below != nil {
		direction = "below"
	}
	v := r.Judge(m)
	if v.Evidence != Enough || v.Blind {
		return fmt.Sprintf("%s%s has no data, which this rule counts as %s", r.Signal.what(), r.over(), t.Severity)
	}
	held := ""
	if t.For > 0 {
		held = " for " + t.For.String()
	}
	return fmt.Sprintf("%s %s%s is %s %s (%s)%s%s", r.Signal.what(), r.Signal.Print(v.Value), r.over(), direction,
		r.Signal.Print(t.threshold()), t.Severity, held, r.evidenceOf(m))
}

// Recovery is the sentence that tells why tier i is left.
func (r *Rule) Recovery(m Measure, i int) string {
	t := r.Severities[i]
	direction := "under"
	if t.Below != nil {
		direction = "over"
	}
	return fmt.Sprintf("%s %s%s has stayed %s %s, the recovery bound of %s, for %s%s", r.Signal.what(),
		r.Signal.Print(r.value(m)), r.over(), direction, r.Signal.Print(r.RecoveryBound(t)), t.Severity,
		*r.Recover.KeepFiringFor, r.evidenceOf(m))
}

// Impact is the sentence that tells what people felt in the window.
func (r *Rule) Impact(m Measure) string {
	whole := max(m.Num, m.Den)
	window := "in the last " + r.Window.String()
	switch r.Signal.Type {
	case SignalRatio:
		return fmt.Sprintf("%d of %d requests failed %s (%s).", m.Num, whole, window, r.Signal.Print(r.value(m)))
	case SignalCompletion:
		return fmt.Sprintf("%d of %d visitors did not complete %s.", whole-m.Num, whole, window)
	case SignalAbandonment:
		return fmt.Sprintf("%d of %d visitors abandoned %s (%s).", m.Num, whole, window, r.Signal.Print(r.value(m)))
	case SignalQuantile, SignalDeviation:
		q := r.Signal.Distribution()
		return fmt.Sprintf("%s %% of %d %s events were above %s %s %s.", round((1-q.Q)*100, 6), m.Num, q.Of.Kind,
			round(m.Dist.Quantile(q.Q), 4), q.Of.Kind.Unit(), window)
	case SignalAbsence:
		return fmt.Sprintf("No %s event for %s.", r.Signal.Absence.Kind, Duration(m.Silent))
	default:
		return fmt.Sprintf("%d %s events %s.", m.Num, r.Signal.Num[0].Kind, window)
	}
}

// round prints v with so many significant digits and no exponent.
func round(v float64, digits int) string {
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'e', digits-1, 64), 64)
	if err != nil {
		return strings.TrimSpace(fmt.Sprint(v))
	}
	return strconv.FormatFloat(short, 'f', -1, 64)
}
