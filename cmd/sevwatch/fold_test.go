package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// folded is a line as a folder writes it.
func folded(line string, columns int) string {
	var out strings.Builder
	f := &folder{to: &out, columns: columns}
	fmt.Fprintln(f, line)
	return strings.TrimSuffix(out.String(), "\n")
}

func TestFold(t *testing.T) {
	f := func(line string, columns int, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, strings.Split(folded(line, columns), "\n")); diff != "" {
			t.Errorf("%q in %d columns (-want +got):\n%s", line, columns, diff)
		}
	}
	f("", 10, "")
	f("one two", 10, "one two")
	f("one two six", 11, "one two six")
	f("one two six", 10, "one two", "    six")
	f("one two six ten of it", 10, "one two", "    six", "    ten of", "    it")
	f("  one two six", 9, "  one two", "      six")
	f("éé éé éé", 5, "éé éé", "    éé")
	f("averylongword", 5, "averylongword")
	f("averylongword and", 5, "averylongword", "    and")
	f("  averylongword and", 5, "  averylongword", "      and")
	f("ab averylongword", 5, "ab", "    averylongword")
	f("a      b", 4, "a", "    b")
	f("x  ", 1, "x")
}

// A line may come in pieces, and none is written before its end.
func TestFolder(t *testing.T) {
	var got strings.Builder
	f := &folder{to: &got, columns: 8}
	for _, piece := range []string{"one", " two three\nfo", "ur", "\n", "\n", "rest"} {
		if n, err := fmt.Fprint(f, piece); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if diff := cmp.Diff("one two\n    three\nfour\n\n", got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if forPeople(&got) != &got {
		t.Error("what is no terminal is folded")
	}
}
