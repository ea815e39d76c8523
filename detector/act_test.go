package detector

import "testing"

// TestWordsAreOneLine: what people write stands in sentences, tables and blocks, which have no room for lines of their own.
func TestWordsAreOneLine(t *testing.T) {
	a := Act{Act: ActResolve, By: "maria", Cause: "a bad cache\nStatus: all green", Comment: "\tsee\r\n\r\nPR 17 "}
	if got, want := a.words(), "resolved by hand by maria, cause: a bad cache Status: all green: see PR 17"; got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
}
