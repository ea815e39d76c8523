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
