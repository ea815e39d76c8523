package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner walks over one JSON text (RFC 8259) without allocating. A method that meets something wrong sets err and leaves the position
// where it is; every method does nothing once err is set.
type scanner struct {
	in  []byte
	pos int
	err *Reject
	buf []byte // unescaped strings
}

// maxDepth bounds nested values that are only skipped.
const maxDepth = 64

func (s *scanner) fail(reason Reason, format string, args ...any) {
	if s.err == nil {
		s.err = reject(reason, format, args...)
	}
}

var byteOrderMark = []byte("\ufeff")

func (s *scanner) syntax() {
	if s.err != nil {
		return
	}
	if s.pos >= len(s.in) {
		s.fail(NotJSON, "the JSON ends after %d bytes", len(s.in))
		return
	}
	switch c := s.in[s.pos]; {
	case s.pos == 0 && bytes.HasPrefix(s.in, byteOrderMark):
		s.fail(NotJSON, "the record begins with a byte order mark")
	case c < ' ' || c >= 0x7f:
		s.fail(NotJSON, "unexpected byte 0x%02x at byte %d", c, s.pos)
	default:
		s.fail(NotJSON, "unexpected %q at byte %d", c, s.pos)
	}
}

func (s *scanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek is the next byte after white space, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.pos < len(s.in) {
		return s.in[s.pos]
	}
	return 0
}

// take passes over c, the next byte after white space.
func (s *scanner) take(c byte) {
	if s.peek() != c || s.err != nil {
		s.syntax()
		return
	}
	s.pos++
}

// literal passes over true, false or null.
func (s *scanner) literal(word string) {
	if s.err != nil {
		return
	}
	for i := range len(word) {
		if s.pos >= len(s.in) || s.in[s.pos] != word[i] {
			s.syntax()
			return
		}
		s.pos++
	}
}

// str reads a string; the result holds until the next record.
func (s *scanner) str() []byte {
	if s.pos < len(s.in) && s.in[s.pos] == '"' && s.err == nil {
		s.pos++
	} else if s.take('"'); s.err != nil {
		return nil
	}
	start := s.pos
	i := plain(s.in, start)
	if i < len(s.in) && s.in[i] == '"' {
		s.pos = i + 1
		return s.in[start:i]
	}
	return s.awkward(start, i)
}

// Every byte of a word: one, the highest bit, a backslash.
const (
	ones   = 0x0101010101010101
	tops   = 0x80 * ones
	slants = '\\' * ones
)

// meaning has the highest bit of those bytes of a word that are no printable ASCII or have a meaning in a string: quote, backslash, control
// character, a part of a longer character. Exchanging 0x20 and 0x22 puts the quote next to the control characters. It is right up to the first of
// them: a borrow reaches a byte only from one before it that is found.
func meaning(x uint64) uint64 {
	return (x | ((x ^ 2*ones) - 0x21*ones) | ((x ^ slants) - ones)) & tops
}

// plain is where, from i on, the first byte is that has a meaning in a string or is no printable ASCII.
func plain(in []byte, i int) int {
	for ; i+8 <= len(in); i += 8 {
		if found := meaning(binary.LittleEndian.Uint64(in[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)>>3
		}
	}
	for i < len(in) && in[i] >= ' ' && in[i] < utf8.RuneSelf && in[i] != '"' && in[i] != '\\' {
		i++
	}
	return i
}

// awkward reads a string on from i, where it is no longer plain.
func (s *scanner) awkward(start, i int) []byte {
	ascii := true
	for ; i < len(s.in); i++ {
		switch c := s.in[i]; {
		case c == '"':
			s.pos = i + 1
			text := s.in[start:i]
			if !ascii && !utf8.Valid(text) {
				s.fail(BadUTF8, "the string at byte %d is not UTF-8", start)
			}
			return text
		case c == '\\':
			return s.escaped(start, i)
		case c < ' ':
			s.pos = i
			s.syntax()
			return nil
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.pos = len(s.in)
	s.syntax()
	return nil
}

// escaped reads a string on from its first backslash.
func (s *scanner) escaped(start, i int) []byte {
	from := len(s.buf)
	s.buf = append(s.buf, s.in[start:i]...)
	s.pos = i
	for s.pos < len(s.in) && s.err == nil {
		c := s.in[s.pos]
		switch {
		case c == '"':
			s.pos++
			text := s.buf[from:]
			if !utf8.Valid(text) {
				s.fail(BadUTF8, "the string at byte %d is not UTF-8", start)
			}
			return text
		case c == '\\':
			s.escape()
		case c < ' ':
			s.syntax()
		default:
			s.buf = append(s.buf, c)
			s.pos++
		}
	}
	s.syntax()
	return nil
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (s *scanner) escape() {
	s.pos++
	if s.pos >= len(s.in) {
		s.syntax()
		return
	}
	if c := s.in[s.pos]; c != 'u' {
		if escapes[c] == 0 {
			s.syntax()
			return
		}
		s.buf = append(s.buf, escapes[c])
		s.pos++
		return
	}
	r := s.hex4()
	if utf16.IsSurrogate(r) {
		low := rune(0)
		if s.pos+1 < len(s.in) && s.in[s.pos] == '\\' && s.in[s.pos+1] == 'u' {
			s.pos++
			low = s.hex4()
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			s.fail(BadUTF8, "half of a surrogate pair at byte %d", s.pos)
		}
	}
	s.buf = utf8.AppendRune(s.buf, r)
}

// hex4 reads u and four hex digits.
func (s *scanner) hex4() rune {
	s.pos++
	var r rune
	for range 4 {
		if s.pos >= len(s.in) {
			s.syntax()
			return 0
		}
		c := s.in[s.pos]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			s.syntax()
			return 0
		}
		r = r<<4 | rune(c)
		s.pos++
	}
	return r
}

// number passes over a number and returns its text.
func (s *scanner) number() []byte {
	start := s.pos
	if s.pos < len(s.in) && s.in[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.in) && s.in[s.pos] == '0' {
		s.pos++
	} else {
		s.digits()
	}
	if s.err == nil && s.pos < len(s.in) && s.in[s.pos] == '.' {
		s.pos++
		s.digits()
	}
	if s.err == nil && s.pos < len(s.in) && (s.in[s.pos] == 'e' || s.in[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.in) && (s.in[s.pos] == '+' || s.in[s.pos] == '-') {
			s.pos++
		}
		s.digits()
	}
	if s.err != nil {
		return nil
	}
	return s.in[start:s.pos]
}

func (s *scanner) digits() {
	start := s.pos
	for s.pos < len(s.in) && s.in[s.pos] >= '0' && s.in[s.pos] <= '9' {
		s.pos++
	}
	if s.pos == start {
		s.syntax()
	}
}

// skip passes over any value, checking it.
func (s *scanner) skip(depth int) {
	if depth > maxDepth {
		s.fail(NotJSON, "values are nested more than %d deep", maxDepth)
		return
	}
	switch c := s.peek(); c {
	case '"':
		s.str()
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	case '{':
		s.members(func() { s.str(); s.take(':'); s.skip(depth + 1) }, '}')
	case '[':
		s.members(func() { s.skip(depth + 1) }, ']')
	default:
		s.number()
	}
}

// members passes over an opening bracket, what each reads, and the closing bracket.
func (s *scanner) members(each func(), closing byte) {
	s.pos++
	if s.peek() == closing {
		s.pos++
		return
	}
	for s.err == nil {
		each()
		if s.err == nil && s.peek() == ',' {
			s.pos++
			continue
		}
		s.take(closing)
		return
	}
}

// phrase is a text of sixteen bytes at most, as two words to compare others with: a mask has those bits of a word that count.
type phrase struct {
	first, firstMask, second, secondMask uint64
	size                                 int
}

// nowhere is a phrase that nothing is like.
var nowhere = phrase{first: 1}

// newPhrase is nowhere if the text is too long.
func newPhrase(text string) phrase {
	n := len(text)
	if n > 16 {
		return nowhere
	}
	padded := append([]byte(text), make([]byte, 16-n)...)
	return phrase{
		first: binary.LittleEndian.Uint64(padded), firstMask: 1<<(8*min(n, 8)) - 1,
		second: binary.LittleEndian.Uint64(padded[8:]), secondMask: 1<<(8*max(n-8, 0)) - 1, size: n,
	}
}

// at says whether the phrase's text stands at a place. Of one that has fewer than sixteen bytes behind it that is not said.
func (p *phrase) at(in []byte, pos int) bool {
	if pos < 0 || pos > len(in)-16 {
		return false
	}
	there := in[pos : pos+16]
	return binary.LittleEndian.Uint64(there)&p.firstMask == p.first && binary.LittleEndian.Uint64(there[8:])&p.secondMask == p.second
}

// plainStatus reads a status from 100 to 599, and a comma or a closing bracket after it: its first digit, and where it ends. End is 0 of every other
// one.
func plainStatus(in []byte, i int) (class, end int) {
	if i < 0 || len(in)-i < 4 {
		return 0, 0
	}
	there := in[i : i+4]
	if there[0]-'1' > 4 || there[1]-'0' > 9 || there[2]-'0' > 9 || there[3] != ',' && there[3] != '}' {
		return 0, 0
	}
	return int(there[0] - '0'), i + 3
}

// plainNumber reads a number such as numbers mostly are, 0 or more, without an exponent, up to seven digits before the point and six
// behind it, and a comma or a closing bracket after it: its millionths, and where it ends. End is 0 of every other one.
func plainNumber(in []byte, i int) (v int64, end int) {
	if v, end = shortNumber(in, i); end > 0 {
		return v, end
	}
	v, n := plainDigits(in, i)
	if end = i + n; n == 0 || n > 7 || n > 1 && in[i] == '0' || end >= len(in) {
		return 0, 0
	}
	places := 0
	if in[end] == '.' {
		var fraction int64
		fraction, places = plainDigits(in, end+1)
		if end += 1 + places; places == 0 || places > 6 || end >= len(in) {
			return 0, 0
		}
		v = v*tens[places] + fraction
	}
	if in[end] != ',' && in[end] != '}' {
		return 0, 0
	}
	return v * tens[6-places], end
}

// shortNumber is plainNumber of one such as 63.125 that has a point and is, with what comes after it, in eight bytes: they are read as one word.
func shortNumber(in []byte, i int) (v int64, end int) {
	x := wordFrom(in, i) ^ '0'*ones
	others := notDigits(x)
	point := bits.TrailingZeros64(others) >> 3
	end = bits.TrailingZeros64(others&(others-1)) >> 3 // right because a point's sum does not reach the next byte
	places, before := end-point-1, uint(8*point)&63
	if end > 7 || point == 0 || point > 1 && byte(x) == 0 || places == 0 || places > 6 || byte(x>>before) != '.'^'0' {
		return 0, 0
	}
	if behind := byte(x >> (uint(8*end) & 63)); behind != ','^'0' && behind != '}'^'0' {
		return 0, 0
	}
	digits := x&(1<<before-1) | x>>(before+8)<<before
	return digitsValue(digits<<(8*(9-end)&63)) * tens[6-places], i + end
}

// plainDigits reads the digits from i on, and how many there are: 8 where there are more.
func plainDigits(in []byte, i int) (v int64, n int) {
	x := wordFrom(in, i) ^ '0'*ones
	n = bits.TrailingZeros64(notDigits(x)) >> 3
	return digitsValue(x << (64 - 8*n)), n // zeros before the first digit
}

// wordFrom is the word that begins at i, with zeros behind the end of in. It is 0 where in has less than a word.
func wordFrom(in []byte, i int) uint64 {
	switch last := len(in) - 8; {
	case i < 0 || last < 0 || i >= len(in):
		return 0
	case i <= last:
		return binary.LittleEndian.Uint64(in[i : i+8])
	default:
		return binary.LittleEndian.Uint64(in[last:]) >> (8 * uint(i-last))
	}
}

// notDigits has the highest bit of those bytes of a word that were no digits before '0' was taken from all of them. It is right up to the first of them:
// a sum reaches the next byte only from one that is no digit.
func notDigits(x uint64) uint64 { return (x | (x + 0x76*ones)) & tops }

// digitsValue is the number of eight digits, the first one in the lowest byte.
func digitsValue(x uint64) int64 {
	x = (x*10 + x>>8) & 0x00ff00ff00ff00ff
	x = (x*100 + x>>16) & 0x0000ffff0000ffff
	return int64((x*10_000 + x>>32) & 0xffffffff)
}

// plainWhole reads a whole number from 1 on, up to fourteen digits, and a comma or a closing bracket after it, and where it ends. End is 0 of
// every other one.
func plainWhole(in []byte, i int) (v int64, end int) {
	begin := i
	for ; i < len(in) && in[i]-'0' <= 9; i++ {
		v = v*10 + int64(in[i]-'0')
	}
	if n := i - begin; n == 0 || n > 14 || in[begin] == '0' || i == len(in) || in[i] != ',' && in[i] != '}' {
		return 0, 0
	}
	return v, i
}

var tens = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6}

// millionths is the number times 10^6, rounded half away from zero; false if it does not fit.
func millionths(text []byte) (int64, bool) {
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	const full = math.MaxUint64/10 - 9
	var mantissa uint64
	scale := 6 // value = mantissa * 10^(scale-6)
	point, dropped := false, byte(0)
	for i, c := range text {
		switch {
		case c == '.':
			point = true
		case c == 'e' || c == 'E':
			return scaled(mantissa, scale+exponent(text[i+1:]), dropped >= '5', negative)
		case mantissa >= full:
			if dropped == 0 {
				dropped = c
			}
			if !point {
				scale++
			}
		default:
			mantissa = mantissa*10 + uint64(c-'0')
			if point {
				scale--
			}
		}
	}
	return scaled(mantissa, scale, dropped >= '5', negative)
}

// exponent reads the digits behind e. What is beyond anything that a record has digits for stays there.
func exponent(text []byte) int {
	negative := text[0] == '-'
	if negative || text[0] == '+' {
		text = text[1:]
	}
	exp := 0
	for _, c := range text {
		if exp < 1e12 {
			exp = exp*10 + int(c-'0')
		}
	}
	if negative {
		return -exp
	}
	return exp
}

// scaled is mantissa * 10^scale. more says that behind the mantissa's last digit stood half of its unit or more.
func scaled(mantissa uint64, scale int, more, negative bool) (int64, bool) {
	for ; scale > 0 && mantissa != 0; scale-- {
		high, low := bits.Mul64(mantissa, 10)
		if high != 0 {
			return 0, false
		}
		mantissa = low
	}
	if scale == 0 && more {
		mantissa++
	}
	if scale < -19 {
		return 0, true
	}
	if scale < 0 {
		divisor := uint64(1)
		for range -scale {
			divisor *= 10
		}
		quotient, rest := mantissa/divisor, mantissa%divisor
		if rest >= divisor-rest {
			quotient++
		}
		mantissa = quotient
	}
	if mantissa > math.MaxInt64 {
		return 0, false
	}
	if negative {
		return -int64(mantissa), true
	}
	return int64(mantissa), true
}
