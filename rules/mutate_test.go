package rules

import (
	"strings"
	"testing"
)

// TestNothingPanics puts something else in the place of each value of the good files, one after the other: whatever stands there, it is a mistake with
// a sentence, or none.
func TestNothingPanics(t *testing.T) {
	files := 0
	for _, path := range testFiles(t, "testdata/*.good.yaml") {
		lines := strings.Split(string(readFile(t, path)), "\n")
		for n, line := range lines {
			for _, at := range valuesOf(line) {
				for _, other := range []string{"step", "[step]", "{}", "null", "-1", `""`} {
					changed := strings.Join(lines[:n], "\n") + "\n" + line[:at[0]] + other + line[at[1]:] + "\n" + strings.Join(lines[n+1:], "\n")
					if _, err := Parse("changed.yaml", []byte(changed), Options{}); err != nil && err.Error() == "" {
						t.Errorf("%s:%d: %s says nothing", path, n+1, other)
					}
					files++
				}
			}
		}
	}
	if files < 1000 {
		t.Errorf("only %d files were tried", files)
	}
}

// valuesOf are the beginnings and ends of what stands behind the keys of a line.
func valuesOf(line string) (at [][2]int) {
	for i := 0; i+2 < len(line); i++ {
		if line[i] != ':' || line[i+1] != ' ' {
			continue
		}
		depth, end := 0, i+2
	value:
		for ; end < len(line); end++ {
			switch line[end] {
			case '{', '[':
				depth++
			case '}', ']':
				if depth == 0 {
					break value
				}
				depth--
			case ',':
				if depth == 0 {
					break value
				}
			}
		}
		at = append(at, [2]int{i + 2, end})
	}
	return at
}
