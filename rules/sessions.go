package rules

import "strconv"

// Sessions is how many different sessions events came from.
type Sessions struct {
	N     int64
	About bool // it is an estimate
}

// String is "1 session", "240 sessions" or "about 1240 sessions": an estimate has three digits that mean something.
func (s Sessions) String() string {
	switch {
	case s.About:
		return "about " + round(float64(s.N), 3) + " sessions"
	case s.N == 1:
		return "1 session"
	default:
		return strconv.FormatInt(s.N, 10) + " sessions"
	}
}

// Touches says whether the session of an event that counts so is one of those that an incident touches: one in which something went wrong
// or, where that is not known of single events, any that was measured. Silence touches nobody who could be counted.
func (r *Rule) Touches(num, den bool) bool {
	switch {
	case r.Signal.Type == SignalAbsence:
		return false
	case r.touchesAll():
		return num || den
	case r.Signal.Type == SignalCompletion:
		return den && !num
	default:
		return num
	}
}

// touchesAll says whether it is not known of single events whether they went wrong: of which the values beyond a threshold were, or who of
// those that entered did not complete.
func (r *Rule) touchesAll() bool {
	f := r.Signal.Completion
	return r.Signal.Valued() || f != nil && (f.Steps == nil || f.Against == Enters)
}

// touched is how a sentence about the impact ends.
func (r *Rule) touched(s Sessions) string {
	switch {
	case s.N == 0:
		return "."
	case r.touchesAll():
		return "; all that was measured came from " + s.String() + "."
	default:
		return ", in " + s.String() + "."
	}
}
