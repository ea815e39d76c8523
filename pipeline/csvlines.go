package pipeline

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"sevwatch/pipeline/wire"
)

// csvLines makes a JSON object of each row of a CSV file, with the head's titles as keys. A row is a line: a broken one cannot swallow what
// comes behind it.
type csvLines struct {
	head []cellKey
	out  []byte
}

// cellKey is the key of a cell in an object.
type cellKey struct {
	key    []byte // as JSON, with the colon
	number bool   // the event's key carries a number
}

func newCellKey(title string) cellKey {
	return cellKey{append(gjson.AppendJSONString(nil, title), ':'), slices.Contains([]string{"status", "duration_ms", "dwell_ms", "value", "score"}, title)}
}

// begin appends the key to an object that is open.
func (k *cellKey) begin(out []byte) []byte {
	if out[len(out)-1] != '{' {
		out = append(out, ',')
	}
	return append(out, k.key...)
}

// append appends the key and a cell. Numbers stay numbers where the event's key carries one, and so does a time in epoch ms. A text that is no
// UTF-8 makes the object one that nobody can read.
func (k *cellKey) append(out []byte, cell string) []byte {
	out = k.begin(out)
	switch {
	case k.number && json.Valid([]byte(cell)), string(k.key) == `"time":` && strings.Trim(cell, "0123456789") == "", !utf8.ValidString(cell):
		return append(out, cell...)
	default:
		return gjson.AppendJSONString(out, cell)
	}
}

// isCSV says whether a file holds rows and not objects, by its name.
func isCSV(name string) bool {
	name = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(name), ".gz"), ".zst")
	return strings.HasSuffix(name, ".csv")
}

// maxShownHead is how many bytes of a head a sentence shows.
const maxShownHead = 200

// readHead reads the first line of a CSV file. Known says whether titles lead to an event.
func readHead(lines *lineReader, known func(titles []string) bool) (*csvLines, error) {
	line, _, err := lines.next()
	if errors.Is(err, io.EOF) {
		return &csvLines{}, nil
	}
	if err != nil {
		return nil, err
	}
	titles, err := readRow(line)
	if err != nil {
		return nil, &InputError{fmt.Errorf("cannot read the head of %s: %w", lines.name, err)}
	}
	c := &csvLines{}
	for i, title := range titles {
		title = strings.TrimSpace(title)
		titles[i] = title
		if title == "" || slices.Contains(titles[:i], title) {
			return nil, &InputError{fmt.Errorf("the head of %s has %q as title %d, expected each to have a name, and each its own", lines.name, title, i+1)}
		}
		c.head = append(c.head, newCellKey(title))
	}
	if !known(titles) {
		return nil, &InputError{fmt.Errorf("the head of %s is %q, and none of its titles is read: expected keys of an event, or what fields map to them, "+
			"with commas between them", lines.name, line[:min(len(line), maxShownHead)])}
	}
	return c, nil
}

// knownTitles says whether one of the titles at least is read: as a key of an event, or by the fields of the source.
func (r *Replay) knownTitles(titles []string) bool {
	s := r.Source
	if s == nil || len(s.Fields) == 0 {
		keys := append(wire.EventKeys(), r.Config.Labels...)
		return slices.ContainsFunc(titles, func(title string) bool { return slices.Contains(keys, title) })
	}
	object := []byte{'{'}
	for _, title := range titles {
		key := newCellKey(title)
		object = key.append(object, "x")
	}
	object = append(object, '}')
	for _, f := range s.Fields {
		if f.Path != "" && gjson.GetBytes(object, f.Path).Exists() {
			return true
		}
	}
	return false
}

// readRow reads one line. Most have no quotes, and are cut at the commas.
func readRow(line []byte) ([]string, error) {
	if !bytes.ContainsAny(line, `"`) {
		return strings.Split(string(line), ","), nil
	}
	return csv.NewReader(bytes.NewReader(line)).Read()
}

// object is the row as a JSON object, until the next call. Empty cells are left out. A row that cannot be read, or has more or fewer cells than the
// head, is given back as it is: as a record it is then rejected.
func (c *csvLines) object(line []byte) []byte {
	row, err := readRow(line)
	if err != nil || len(row) != len(c.head) {
		return line
	}
	c.out = append(c.out[:0], '{')
	for i, cell := range row {
		if cell != "" {
			c.out = c.head[i].append(c.out, cell)
		}
	}
	c.out = append(c.out, '}')
	return c.out
}
