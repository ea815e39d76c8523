package history

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Columns says what the columns of a file of windows can mean, besides start and end.
type Columns struct {
	Labels []string          // those that narrow a window down to a label's value
	Rules  []string          // what column rule can hold
	Where  map[string]string // a row counts only if these columns have these values
}

// Known are the windows that a file holds, and what its columns were taken for.
type Known struct {
	Windows []Window
	Narrow  []string // columns that narrow windows down, in the file's order
	Unused  []string // columns that change nothing: of another name, or without a value in any row that counts
}

// ReadWindows reads windows as CSV: columns start and end (RFC 3339 or epoch ms), rule where one is meant, and labels by name. It is an error if no
// row counts, or one that does has no time or a rule that there is not.
func ReadWindows(name string, in io.Reader, columns Columns) (Known, error) {
	r := csv.NewReader(in)
	head, err := r.Read()
	if err != nil {
		return Known{}, fmt.Errorf("cannot read the head of %s: %w", name, err)
	}
	column := map[string]int{}
	for i, title := range head {
		head[i] = strings.TrimSpace(strings.TrimPrefix(title, "\ufeff"))
		column[head[i]] = i
	}
	asked := labelNames(columns.Where)
	for _, needed := range append([]string{"start", "end"}, asked...) {
		if _, ok := column[needed]; !ok {
			return Known{}, fmt.Errorf("%s:1: there is no column %q among %s", name, needed, strings.Join(head, ", "))
		}
	}
	var known Known
	values := make([][]string, len(asked)) // of those columns in rows that do not count
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Known{}, fmt.Errorf("cannot read %s: %w", name, err)
		}
		if slices.ContainsFunc(asked, func(c string) bool { return row[column[c]] != columns.Where[c] }) {
			for i, c := range asked {
				values[i] = append(values[i], row[column[c]])
			}
			continue
		}
		w, err := columns.window(row, column)
		if err != nil {
			line, _ := r.FieldPos(0)
			return Known{}, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		known.Windows = append(known.Windows, w)
	}
	if len(known.Windows) == 0 {
		return Known{}, fmt.Errorf("%s has no windows that count%s", name, valuesText(asked, values))
	}
	known.sort(head, asked)
	return known, nil
}

func (c Columns) window(row []string, column map[string]int) (w Window, err error) {
	if w.Start, err = readTime("start", row[column["start"]]); err != nil {
		return w, err
	}
	if w.End, err = readTime("end", row[column["end"]]); err != nil {
		return w, err
	}
	if w.End <= w.Start {
		return w, fmt.Errorf("end %s is not behind start %s", row[column["end"]], row[column["start"]])
	}
	if i, ok := column["rule"]; ok {
		w.Rule = row[i]
	}
	if w.Rule != "" && !slices.Contains(c.Rules, w.Rule) {
		return w, fmt.Errorf("there is no rule %q in the rule file", w.Rule)
	}
	w.Labels = map[string]string{}
	for _, name := range c.Labels {
		if i, ok := column[name]; ok && row[i] != "" {
			w.Labels[name] = row[i]
		}
	}
	return w, nil
}

// sort tells the columns that narrow windows down from those that change nothing.
func (k *Known) sort(head, asked []string) {
	for _, title := range head {
		narrows := func(w Window) bool { return w.Labels[title] != "" || title == "rule" && w.Rule != "" }
		switch {
		case title == "start" || title == "end":
		case slices.ContainsFunc(k.Windows, narrows):
			k.Narrow = append(k.Narrow, title)
		case !slices.Contains(asked, title):
			k.Unused = append(k.Unused, title)
		}
	}
}

// mostValues is how many values of a column are listed.
const mostValues = 10

// valuesText lists the values that the columns have, in rows none of which counts.
func valuesText(columns []string, values [][]string) string {
	text := ""
	for i, column := range columns {
		slices.Sort(values[i])
		found := slices.Compact(values[i])
		if len(found) == 0 {
			return "" // there are no rows at all
		}
		text += fmt.Sprintf("\n%s has the values: %.40q", column, found[0])
		for _, value := range found[1:min(len(found), mostValues)] {
			text += fmt.Sprintf(", %.40q", value)
		}
		if more := len(found) - mostValues; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	return text
}

// readTime reads RFC 3339, also with a space for the T and without a zone (UTC), or epoch ms.
func readTime(what, text string) (int64, error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return ms, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%s is %q, expected a time such as 2026-11-01T12:00:00Z or epoch ms", what, text)
}

// labelNames are the keys, sorted.
func labelNames(m map[string]string) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
