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

// ReadWindows reads windows as CSV: columns start and end (RFC 3339 or epoch ms), rule where one is meant, and labels by name. Other columns
// are ignored, except in where: a row counts only if those columns have those values. labels are the names that columns can have.
func ReadWindows(name string, in io.Reader, labels []string, where map[string]string) ([]Window, error) {
	r := csv.NewReader(in)
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("cannot read the head of %s: %w", name, err)
	}
	column := map[string]int{}
	for i, title := range head {
		column[strings.TrimSpace(strings.TrimPrefix(title, "\ufeff"))] = i
	}
	for _, needed := range append([]string{"start", "end"}, labelNames(where)...) {
		if _, ok := column[needed]; !ok {
			return nil, fmt.Errorf("%s:1: there is no column %q among %s", name, needed, strings.Join(head, ", "))
		}
	}
	var out []Window
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", name, err)
		}
		line, _ := r.FieldPos(0)
		if !slices.ContainsFunc(labelNames(where), func(c string) bool { return row[column[c]] != where[c] }) {
			w, err := readWindow(row, column, labels)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, line, err)
			}
			out = append(out, w)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no windows that count", name)
	}
	return out, nil
}

func readWindow(row []string, column map[string]int, labels []string) (w Window, err error) {
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
	w.Labels = map[string]string{}
	for _, name := range labels {
		if i, ok := column[name]; ok && row[i] != "" {
			w.Labels[name] = row[i]
		}
	}
	return w, nil
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
