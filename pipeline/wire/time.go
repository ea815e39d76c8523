package wire

import "encoding/binary"

// maxTime is the last millisecond of the year 9999.
const maxTime = 253402300799999

// epochMillis reads whole milliseconds since 1970, which may be written as 1.7e12: then 9.2e12 at most, the year 2262, and to the
// millionth.
func epochMillis(text []byte) (int64, bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			m, ok := millionths(text)
			return m / 1e6, ok && m >= 0 && m%1e6 == 0
		}
	}
	var v int64
	for _, c := range text {
		if v = v*10 + int64(c-'0'); v > maxTime {
			return 0, false
		}
	}
	return v, true
}

// parseTime reads RFC 3339 (section 5.6) as epoch milliseconds; what is finer than a millisecond is cut off. Years are 1970 to 9999; a
// leap second counts as the second after it.
func parseTime(in []byte) (int64, bool) {
	if len(in) < len("2006-01-02T15:04:05Z") || in[4] != '-' || in[7] != '-' || in[10]|0x20 != 't' || in[13] != ':' || in[16] != ':' {
		return 0, false
	}
	year, month, day := digits(in[0:4]), digits(in[5:7]), digits(in[8:10])
	hour, minute, second := digits(in[11:13]), digits(in[14:16]), digits(in[17:19])
	if year < 1970 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return 0, false
	}
	ms, rest, ok := fraction(in[19:])
	if !ok {
		return 0, false
	}
	offset, ok := zone(rest)
	if !ok {
		return 0, false
	}
	t := ((daysSince1970(year, month, day)*24+hour)*60+minute-offset)*60 + second
	t = t*1000 + ms
	return t, t >= 0 && t <= maxTime
}

// minute is the last minute that a time lay in: the next one mostly lies there too, so that only its seconds are to be read.
type minute struct {
	text  [2]uint64 // 2026-11-01T12:00
	start int64     // epoch ms
	set   bool
}

// minuteLength is how long a time is that is as most are, with the quote behind it.
const minuteLength = len(`2026-11-01T12:00:03.120Z"`)

// again is the time that stands at a place with a quote behind it, if it lies in the minute and is as long as most.
func (m *minute) again(in []byte, start int) (t int64, ok bool) {
	if in = in[start:]; len(in) < minuteLength || !m.set || in[16] != ':' || binary.LittleEndian.Uint64(in) != m.text[0] || binary.LittleEndian.Uint64(in[8:]) != m.text[1] {
		return 0, false
	}
	// What is left fits in a word: each of its digits is 0 to 9 then, and all else is 0.
	x := binary.LittleEndian.Uint64(in[17:]) ^ shape
	if (x|(x+beyond))&tops != 0 {
		return 0, false
	}
	second := int64(x&0xff)*10 + int64(x>>8&0xff)
	ms := int64(x>>24&0xff)*100 + int64(x>>32&0xff)*10 + int64(x>>40&0xff)
	return m.start + second*1000 + ms, second < 60
}

// 00.000Z" as a word, and what makes the highest bit of a byte that is more than 9, or more than 0 where there is no digit.
const (
	shape  = '0' | '0'<<8 | '.'<<16 | '0'<<24 | '0'<<32 | '0'<<40 | 'Z'<<48 | '"'<<56
	beyond = 0x7f7f_7676_767f_7676
)

// time is parseTime, and remembers the minute.
func (m *minute) time(in []byte) (int64, bool) {
	t, ok := parseTime(in)
	if ok && len(in) == minuteLength-1 && in[19] == '.' && in[23] == 'Z' {
		if second := digits(in[17:19]); second < 60 {
			m.text = [2]uint64{binary.LittleEndian.Uint64(in), binary.LittleEndian.Uint64(in[8:])}
			m.start, m.set = t-second*1000-digits(in[20:23]), true
		}
	}
	return t, ok
}

// digits is the number that the bytes spell, -1 if they are not all digits.
func digits(in []byte) int64 {
	var v int64
	for _, c := range in {
		if c < '0' || c > '9' {
			return -1
		}
		v = v*10 + int64(c-'0')
	}
	return v
}

// fraction reads an optional .123 as milliseconds.
func fraction(in []byte) (ms int64, rest []byte, ok bool) {
	if len(in) == 0 || in[0] != '.' {
		return 0, in, true
	}
	unit := int64(100)
	n := 1
	for ; n < len(in) && in[n] >= '0' && in[n] <= '9'; n++ {
		ms += int64(in[n]-'0') * unit
		unit /= 10
	}
	return ms, in[n:], n > 1
}

// zone reads Z or +01:30 as minutes east of UTC.
func zone(in []byte) (minutes int64, ok bool) {
	if len(in) == 1 && in[0]|0x20 == 'z' {
		return 0, true
	}
	if len(in) != 6 || in[3] != ':' || in[0] != '+' && in[0] != '-' {
		return 0, false
	}
	hour, minute := digits(in[1:3]), digits(in[4:6])
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return 0, false
	}
	minutes = hour*60 + minute
	if in[0] == '-' {
		minutes = -minutes
	}
	return minutes, true
}

func leap(year int64) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysIn(year, month int64) int64 {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	default:
		return 31
	}
}

// daysSince1970 counts years as beginning in March, so that the leap day is the last of its year.
func daysSince1970(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468
}
