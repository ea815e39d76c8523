package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
)

// printers are the formats that messages can be printed in.
var printers = map[string]func(*bufio.Writer) func(detector.Output) error{
	"ndjson": func(out *bufio.Writer) func(detector.Output) error {
		return func(o detector.Output) error {
			_, err := out.Write(append(wire.Value(o), '\n'))
			return err
		}
	},
	"table": func(out *bufio.Writer) func(detector.Output) error {
		return func(o detector.Output) error {
			_, err := io.WriteString(out, row(o))
			return err
		}
	},
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

// labelText is the labels as a selector.
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
	return "{" + text + "}"
}

// newProgress tells every ten seconds how far a replay has come.
func newProgress(w io.Writer) func(detector.Totals, int64) {
	start, last := time.Now(), time.Now()
	return func(t detector.Totals, edge int64) {
		now := time.Now()
		if now.Sub(last) < 10*time.Second {
			return
		}
		last = now
		fmt.Fprintf(w, "%d records, %.0f a second, at %s\n", t.Sum(), float64(t.Sum())/now.Sub(start).Seconds(), detector.Millis(edge))
	}
}

// summarize says what a replay did.
func summarize(w io.Writer, s pipeline.Summary, why map[wire.Reason]*sample, took time.Duration) {
	t := s.Totals
	fmt.Fprintf(w, "%d records in %s: %d counted + %d late + %d rejected", t.Sum()-t.Aborted, took.Round(time.Millisecond), t.Counted, t.Late, t.Rejected)
	if s.Edge > 0 {
		fmt.Fprintf(w, "; judged up to %s", detector.Millis(s.Edge))
	}
	fmt.Fprintf(w, "; %d incidents not over\n", s.Open)
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		fmt.Fprintf(w, "rejected %d for %s, first %s\n", why[reason].count, reason, why[reason].first)
	}
}
