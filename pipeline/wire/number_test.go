package wire

import (
	"regexp"
	"strings"
	"testing"
)

var plainly = regexp.MustCompile(`^(0|[1-9][0-9]{0,6})(\.[0-9]{1,6})?[,}]`)

// TestPlainNumbers tries everything of six characters: what is read plainly is such a number, and of the value that it has otherwise.
func TestPlainNumbers(t *testing.T) {
	const letters = "019.,}x-e"
	text := []byte("......")
	read := 0
	try := func(in string, at int) {
		t.Helper()
		v, end := plainNumber([]byte(in), at)
		found := plainly.FindString(in[at:])
		if end == 0 && (found == "" || len(in) < 8) {
			return
		}
		if end != at+len(found)-1 {
			t.Fatalf("%q from %d on: a number up to %d, expected %q", in, at, end, found)
		}
		if want, ok := millionths([]byte(found[:len(found)-1])); !ok || v != want {
			t.Fatalf("%q from %d on is %d millionths, expected %d", in, at, v, want)
		}
		read++
	}
	var all func(n int)
	all = func(n int) {
		if n == len(text) {
			for _, in := range []string{string(text), "12345678" + string(text), "12345678" + string(text) + "}", string(text) + `,"a":`} {
				try(in, strings.Index(in, string(text)))
			}
			return
		}
		for _, c := range []byte(letters) {
			text[n] = c
			all(n + 1)
		}
	}
	all(0)
	for _, whole := range []string{"0", "7", "12", "123", "1234", "12345", "123456", "1234567", "12345678"} {
		for _, fraction := range []string{"", ".", ".0", ".9", ".01", ".123", ".1234", ".12345", ".123456", ".1234567"} {
			for _, behind := range []string{",", "}", "", "e1}", ".1}", "\x80}", `,"status":200}`} {
				try(whole+fraction+behind, 0)
			}
		}
	}
	if read < 1000 {
		t.Errorf("%d numbers were read, expected a thousand", read)
	}
}
