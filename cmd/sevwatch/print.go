package main

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// printers are the formats that messages can be printed in.
var printers = map[string]func(*bufio.Writer) func(detector.Output) error{
	"ndjson": func(out *bufio.Writer) func(detector.Output) error {
		return func(o detector.Output) error {
			_, err := out.Write(append(wire.Value(o), '\n'))
			return err
		}
	},
	"csv": csvPrinter,
	"none": func(*bufio.Writer) func(detector.Output) error {
		return func(detector.Output) error { return nil }
	},
	"table": func(out *bufio.Writer) func(detector.Output) error {
		return func(o detector.Output) error {
			_, err := io.WriteString(out, row(o))
			return err
		}
	},
}

// csvColumns are those of a message as CSV.
var csvColumns = strings.Fields("at type id revision severity previous_severity peak_severity phase rule labels signal unit observed threshold " +
	"expected numerator denominator samples window_start window_end started_at resolved_at reason")

// csvPrinter prints a head, also where there are no messages, and a row a message.
func csvPrinter(out *bufio.Writer) func(detector.Output) error {
	w := csv.NewWriter(out)
	_ = w.Write(csvColumns) // w keeps what goes wrong, and so does out
	w.Flush()
	return func(o detector.Output) error {
		if err := w.Write(csvRow(o)); err != nil {
			return err
		}
		w.Flush()
		return w.Error()
	}
}

// csvRow is a message in csvColumns; of a recovery, what has no column is left empty and the reason is its evidence.
func csvRow(o detector.Output) []string {
	if r := o.Recovery; r != nil {
		row := make([]string, len(csvColumns))
		row[0], row[1], row[2], row[3], row[4] = r.At.String(), o.Type(), r.IncidentID, strconv.Itoa(r.Revision), r.Severity.String()
		row[len(row)-1] = r.Action + ", " + r.Mode + ": " + r.Evidence
		return row
	}
	i := o.Incident
	s := i.Signal
	previous, resolved, denominator := "", "", ""
	if i.PreviousSeverity != 0 {
		previous = i.PreviousSeverity.String()
	}
	if i.ResolvedAt != 0 {
		resolved = i.ResolvedAt.String()
	}
	if s.Denominator != nil {
		denominator = strconv.FormatInt(*s.Denominator, 10)
	}
	return []string{
		i.At.String(), o.Type(), i.ID, strconv.Itoa(i.Revision), i.Severity.String(), previous, i.PeakSeverity.String(), string(i.Status.Phase),
		i.Rule.Name, labelText(i.Labels), string(s.Name), s.Unit, numText(s.Observed), numText(&s.Threshold), numText(s.Expected),
		strconv.FormatInt(s.Numerator, 10), denominator, strconv.FormatInt(s.Samples, 10), s.Window.Start.String(), s.Window.End.String(),
		i.StartedAt.String(), resolved, i.Reason,
	}
}

// counted is a number with its noun.
func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func numText(n *detector.Num) string {
	if n == nil {
		return ""
	}
	return string(wire.JSON(n))
}

// row is a message in one line of a table.
func row(o detector.Output) string {
	at := time.UnixMilli(int64(o.At())).UTC().Format("2006-01-02 15:04:05")
	if r := o.Recovery; r != nil {
		return fmt.Sprintf("%s  %s  %-11s  %-8.8s  recovery %s, %s: %s\n", at, r.Severity, r.Transition, r.IncidentID, r.Action, r.Mode, r.Evidence)
	}
	i := o.Incident
	return fmt.Sprintf("%s  %s  %-11s  %-8.8s  %s%s: %s\n", at, i.Severity, i.Transition, i.ID, i.Rule.Name, labelText(i.Labels), i.Reason)
}

// labelText is the labels as a selector, nothing where there are none.
func labelText(labels map[string]string) string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name == "team" {
			continue
		}
		if text != "" {
			text += ","
		}
		text += fmt.Sprintf("%s=%q", name, labels[name])
	}
	if text == "" {
		return ""
	}
	return "{" + text + "}"
}

// recordsOf is how many records there were.
func recordsOf(t detector.Totals) int64 { return t.Sum() - t.Control - t.Aborted }

// account says what became of every record, so that it adds up. Offsets that hold none are told beside them: they are part of what a topic's ends say. Of a
// plain file they are lines.
func account(t detector.Totals, plain bool, took time.Duration) string {
	text := fmt.Sprintf("%s in %s: %d counted + %d late + %d rejected", counted(recordsOf(t), "record"), took.Round(time.Millisecond),
		t.Counted, t.Late, t.Rejected)
	if t.Duplicate > 0 {
		text += fmt.Sprintf(" + %d duplicate", t.Duplicate)
	}
	if t.Held > 0 {
		text += fmt.Sprintf(" + %d held, dated too far ahead", t.Held)
	}
	if t.Control > 0 {
		text += fmt.Sprintf("; %s with the end of a transaction", counted(t.Control, "offset"))
	}
	switch {
	case t.Aborted == 0:
	case plain:
		text += fmt.Sprintf("; %s without a record", counted(t.Aborted, "line"))
	default:
		text += fmt.Sprintf("; %s of aborted or compacted records", counted(t.Aborted, "offset"))
	}
	return text
}

// lateText says which lateness a source would have needed.
func lateText(l pipeline.SourceLateness) string {
	return fmt.Sprintf("late %d of %s under a lateness of %s; %s would have kept 99.9 %% of its records", l.Late, l.Topic, rules.Duration(l.Lateness),
		rules.Duration(l.Needed))
}

// mostUnknown is how many keys that are not read are told by name.
const mostUnknown = 10

// unknownText says which keys nobody knows, the most frequent first.
func unknownText(counts map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b)) })
	var texts []string
	for _, name := range names[:min(mostUnknown, len(names))] {
		shown := name
		if quoted := strconv.Quote(name); name == "" || strings.ContainsAny(name, " ,") || quoted != `"`+name+`"` {
			shown = quoted
		}
		texts = append(texts, fmt.Sprintf("%s %d", shown, counts[name]))
	}
	text := "keys that are not read: " + strings.Join(texts, ", ")
	if more := len(names) - mostUnknown; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// summarize says what a replay did. Open is less than 0 where incidents that are not over are no number of the replay's.
func summarize(w io.Writer, s pipeline.Summary, why map[wire.Reason]*sample, took time.Duration) {
	fmt.Fprint(w, account(s.Totals, s.Plain, took))
	if s.Totals.Sum() == 0 {
		fmt.Fprint(w, "; the input is empty")
	}
	if s.Edge > 0 {
		fmt.Fprintf(w, "; judged up to %s", detector.Millis(s.Edge))
	}
	if s.Open >= 0 {
		fmt.Fprintf(w, "; %s not over", counted(int64(s.Open), "incident"))
	}
	fmt.Fprintln(w)
	for _, l := range s.Lateness {
		fmt.Fprintln(w, lateText(l))
	}
	if len(s.Unknown) > 0 {
		fmt.Fprintln(w, unknownText(s.Unknown))
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		fmt.Fprintf(w, "rejected %d for %s, first %s\n", why[reason].count, reason, why[reason].first)
	}
}
