package history

import (
	"cmp"
	"slices"
	"strings"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Query sums up the events that a selector picks, as the engine counted them. What it keeps is bounded by the groups and by how many stretches of
// event time it tells apart.
type Query struct {
	Of       rules.Selector
	By       []string // labels that groups are told apart by
	Pane     int64    // ms
	Every    int64    // ms that a row is about; 0: all of it
	From, To int64    // epoch ms, bounds of the panes' starts; 0: no bound
	Last     int64    // ms before the end of the newest pane that has anything; 0: everything

	rows           stretches
	oldest, newest int64 // starts of panes that have anything; 0: none has
	kept           int64 // start of the oldest that is kept
}

// stretches are rows by their start and group.
type stretches map[int64]map[string]*Row

// row is the one of a group, new if it is not there.
func (s stretches) row(start int64, labels []string) *Row {
	groups := s[start]
	if groups == nil {
		groups = map[string]*Row{}
		s[start] = groups
	}
	key := strings.Join(labels, "\x00")
	if groups[key] == nil {
		groups[key] = &Row{Start: start, Labels: labels}
	}
	return groups[key]
}

// all are the rows by start and group.
func (s stretches) all() (rows []*Row) {
	for _, start := range detector.SortedKeys(s) {
		for _, group := range detector.SortedKeys(s[start]) {
			rows = append(rows, s[start][group])
		}
	}
	return rows
}

// Row is what one group has in one stretch of event time. What a kind has no use for is 0.
type Row struct {
	Start  int64    // epoch ms; 0 without Every
	Labels []string // values of By
	detector.Cell

	Failed                        int64 // latency: with a status from 500 on
	Entered, Completed, Abandoned int64 // step, attempt
}

// Delta takes in what a pane has gained.
func (q *Query) Delta(d *detector.Delta) {
	if d.Pane < q.From || q.To != 0 && d.Pane >= q.To {
		return
	}
	if q.rows == nil {
		q.rows = stretches{}
	}
	if q.oldest == 0 || d.Pane < q.oldest {
		q.oldest = d.Pane
	}
	if q.kept == 0 || d.Pane < q.kept {
		q.kept = d.Pane
	}
	if d.Pane > q.newest {
		q.newest = d.Pane
		q.forget()
	}
	for i := range d.Series {
		s := &d.Series[i]
		value := func(name string) string {
			for _, l := range s.Labels {
				if l.Name == name {
					return l.Value
				}
			}
			return ""
		}
		if q.Of.Matches(s.Kind, value) && d.Pane >= q.since() {
			q.add(d.Pane, s, value)
		}
	}
}

// since is the start of the first pane that is not too old.
func (q *Query) since() int64 {
	if q.Last == 0 {
		return 0
	}
	return q.newest + q.Pane - q.Last
}

// forget lets go of panes that have become too old.
func (q *Query) forget() {
	for ; q.Last > 0 && q.kept < q.since(); q.kept += q.Pane {
		delete(q.rows, q.kept)
	}
}

// add counts what a series has in a pane. Where panes are let go again, rows are kept by panes until they are asked for.
func (q *Query) add(pane int64, s *detector.SeriesDelta, value func(string) string) {
	labels := make([]string, len(q.By))
	for i, name := range q.By {
		labels[i] = value(name)
	}
	start := pane
	if q.Last == 0 {
		start = q.stretch(pane)
	}
	row := q.rows.row(start, labels)
	row.Merge(&s.Cell)
	switch s.Kind {
	case rules.KindLatency:
		if value("status_class") == "5xx" {
			row.Failed += s.Count
		}
	case rules.KindStep, rules.KindAttempt:
		switch value("action") {
		case "enter":
			row.Entered += s.Count
		case "complete":
			row.Completed += s.Count
		case "abandon":
			row.Abandoned += s.Count
		}
	}
}

// stretch is the start of the row that a pane belongs to.
func (q *Query) stretch(pane int64) int64 {
	if q.Every == 0 {
		return 0
	}
	return pane / q.Every * q.Every
}

// Rows are what was asked for, by time, then the groups with most events first.
func (q *Query) Rows() []*Row {
	rows := stretches{}
	for _, r := range q.rows.all() {
		sum := rows.row(q.stretch(r.Start), r.Labels)
		sum.Merge(&r.Cell)
		sum.Failed += r.Failed
		sum.Entered, sum.Completed, sum.Abandoned = sum.Entered+r.Entered, sum.Completed+r.Completed, sum.Abandoned+r.Abandoned
	}
	out := rows.all()
	slices.SortStableFunc(out, func(x, y *Row) int { return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(y.Count, x.Count)) })
	return out
}

// Picked is how many events the rows are of.
func (q *Query) Picked() (n int64) {
	for _, r := range q.rows.all() {
		n += r.Count
	}
	return n
}

// Span is the event time that the rows are about, [from, to) in epoch ms; both are 0 where nothing came.
func (q *Query) Span() (from, to int64) {
	if q.newest == 0 {
		return 0, 0
	}
	return max(q.oldest, q.since()), q.newest + q.Pane
}
