package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// onTerminal says whether people see w as it is written.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns is how wide the terminal is, or 80 where that is not known.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// forPeople is w for text that people read: on a terminal its lines are folded, elsewhere they stay whole, so that programs can go by lines.
func forPeople(w io.Writer) io.Writer {
	if !onTerminal(w) {
		return w
	}
	return &folder{to: w, columns: columns(w)}
}

// folder folds lines. What stands behind the last line's end waits for it.
type folder struct {
	to      io.Writer
	columns int
	rest    []byte
}

func (f *folder) Write(text []byte) (int, error) {
	f.rest = append(f.rest, text...)
	end := bytes.LastIndexByte(f.rest, '\n') + 1
	var out strings.Builder
	for line := range strings.Lines(string(f.rest[:end])) {
		line = strings.TrimSuffix(line, "\n")
		out.WriteString(fold(line, f.columns, line[:len(line)-len(strings.TrimLeft(line, " "))]+foldIndent) + "\n")
	}
	f.rest = append(f.rest[:0], f.rest[end:]...)
	_, err := io.WriteString(f.to, out.String())
	return len(text), err
}

// foldIndent is how much further in than a line's beginning that what is folded of it stands.
const foldIndent = "    "

// fold breaks a line at spaces so that it has so many characters at most, and indents what it breaks off. A word that is longer stays whole.
func fold(line string, columns int, indent string) string {
	line = strings.TrimRight(line, " ")
	var out []string
	for utf8.RuneCountInString(line) > columns {
		at := lastSpace(line, columns)
		if strings.TrimSpace(line[:at]) == "" { // nothing but a long word
			if next := strings.IndexByte(strings.TrimLeft(line, " "), ' '); next >= 0 {
				at = len(line) - len(strings.TrimLeft(line, " ")) + next
			} else {
				break
			}
		}
		out = append(out, strings.TrimRight(line[:at], " "))
		line = indent + strings.TrimLeft(line[at:], " ")
	}
	return strings.Join(append(out, line), "\n")
}

// lastSpace is where the last space is within the first so many characters and the one behind them, 0 without.
func lastSpace(line string, columns int) (at int) {
	n := 0
	for i, c := range line {
		if n > columns {
			break
		}
		if c == ' ' {
			at = i
		}
		n++
	}
	return at
}
