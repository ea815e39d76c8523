package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// errSecond is a second document behind the first.
type errSecond struct{ pos Pos }

func (errSecond) Error() string { return "a second document begins here, expected only one in a file" }

// parse is the root of the one document in data, nil if there is none.
func parse(data []byte) (root *yaml.Node, err error) {
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	switch err := d.Decode(&more); {
	case errors.Is(err, io.EOF) && doc.Content[0].Tag == "!!null":
		return nil, nil
	case errors.Is(err, io.EOF):
		return doc.Content[0], nil
	case err != nil:
		return nil, err
	}
	return nil, errSecond{Pos{more.Line, more.Column}}
}

var yamlPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)

func syntaxError(file string, data []byte, err error) Error {
	if second := (errSecond{}); errors.As(err, &second) {
		return Error{File: file, Pos: second.pos, Msg: err.Error()}
	}
	if pos, what := badCharacter(data); what != "" {
		return Error{File: file, Pos: pos, Msg: "not YAML: " + what}
	}
	return Error{File: file, Pos: firstBad(data), Msg: fmt.Sprintf("not YAML: %s", yamlPrefix.ReplaceAllString(err.Error(), ""))}
}

// badCharacter is the first one that no YAML has.
func badCharacter(data []byte) (pos Pos, what string) {
	pos = Pos{1, 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return pos, fmt.Sprintf("the byte 0x%02x is not UTF-8", data[0])
		case r < ' ' && !strings.ContainsRune("\t\r\n", r) || r >= 0x7f && r < 0xa0 && r != 0x85 || r == 0xfffe || r == 0xffff:
			return pos, fmt.Sprintf("the character %U is not allowed", r)
		case r == '\n':
			pos.Line, pos.Col = pos.Line+1, 0
		}
		pos.Col++
		data = data[size:]
	}
	return pos, ""
}

// The parser tells at most a line, and that of the mapping or list in which it lost its way. So firstBad looks for where data stop
// being the beginning of a file that can be read. What spans up to maxSpan lines or columns (a list in brackets, a text in quotes) may
// be unreadable while it is cut off.
const maxSpan = 100

// firstBad is the place of the first byte that no good file could have there, or of what is never closed.
func firstBad(data []byte) Pos {
	var ends []int // of the lines, with their line breaks
	for i, c := range data {
		if c == '\n' || i == len(data)-1 {
			ends = append(ends, i+1)
		}
	}
	good := lastGood(len(ends), func(lines int) bool { return lines == 0 || readable(data[:ends[lines-1]]) })
	if good >= len(ends) {
		return Pos{1, 1}
	}
	start := 0
	if good > 0 {
		start = ends[good-1]
	}
	var runes []int // where the characters of the line end
	for i := range string(data[start:ends[good]]) {
		runes = append(runes, start+i)
	}
	runes = append(runes[1:], ends[good])
	col := lastGood(len(runes), func(n int) bool { return n == 0 || readable(data[:runes[n-1]]) })
	return Pos{good + 1, col + 1}
}

func readable(data []byte) bool {
	_, err := parse(data)
	return err == nil || errors.As(err, new(errSecond))
}

// lastGood is the largest n below end for which good holds, as far as it holds again within maxSpan of where it stopped.
func lastGood(end int, good func(n int) bool) int {
	low := 0
	for {
		high := end // good(high) does not hold
		for high-low > 1 {
			if middle := (low + high) / 2; good(middle) {
				low = middle
			} else {
				high = middle
			}
		}
		next := low
		for n := high + 1; n <= min(end, high+maxSpan); n++ {
			if good(n) {
				next = n
			}
		}
		if next == low {
			return low
		}
		low = next
	}
}
