package wire

import "strconv"

// Unit is what a foreign number is measured in.
type Unit string

// The units. "" is the field's own: milliseconds for durations, epoch milliseconds or RFC 3339 for times, as it is for the others.
const (
	Seconds      Unit = "s"
	Milliseconds Unit = "ms"
	Microseconds Unit = "us"
	Nanoseconds  Unit = "ns"
	Percent      Unit = "percent" // becomes a fraction: 83 is 0.83
	Fraction     Unit = "fraction"
)

// timeUnits and valueUnits are how many decimal places a number has to be moved to be in the field's own unit.
var (
	timeUnits  = map[Unit]int{"": 0, Seconds: 3, Milliseconds: 0, Microseconds: -3, Nanoseconds: -6}
	valueUnits = map[Unit]int{"": 0, Seconds: 3, Milliseconds: 0, Microseconds: -3, Nanoseconds: -6, Percent: -2, Fraction: 0}
	noUnits    = map[Unit]int{"": 0}
)

// appendShifted appends the number that text spells times 10^places, without rounding.
func appendShifted(dst []byte, text string, places int) []byte {
	if places == 0 {
		return append(dst, text...)
	}
	mantissa, written := text, 0
	for i, c := range []byte(text) {
		if c == 'e' || c == 'E' {
			mantissa, written = text[:i], exponent([]byte(text[i+1:]))
			break
		}
	}
	dst = append(dst, mantissa...)
	dst = append(dst, 'e')
	return strconv.AppendInt(dst, int64(written+places), 10)
}

// isNumber says whether text is a number as JSON writes them.
func isNumber(text string) bool {
	i, n := 0, len(text)
	digits := func() bool {
		from := i
		for i < n && text[i] >= '0' && text[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < n && text[i] == '-' {
		i++
	}
	if i < n && text[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < n && text[i] == '.' {
		if i++; !digits() {
			return false
		}
	}
	if i < n && (text[i] == 'e' || text[i] == 'E') {
		if i++; i < n && (text[i] == '+' || text[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return n > 0 && i == n
}
