// Package table writes what a replay comes to as Parquet files, so that DuckDB, pandas and polars open them. The columns are for ever: new ones
// come behind the others.
package table

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Incident is one revision of an incident. Times are event time; what does not apply is null.
type Incident struct {
	At               int64             `parquet:"at,timestamp(millisecond)"`
	ID               string            `parquet:"id,dict"`
	Revision         int32             `parquet:"revision"`
	Transition       string            `parquet:"transition,dict"`
	Severity         int32             `parquet:"severity"` // 1 is worst
	PreviousSeverity *int32            `parquet:"previous_severity,optional"`
	PeakSeverity     int32             `parquet:"peak_severity"`
	Phase            string            `parquet:"phase,dict"`
	Rule             string            `parquet:"rule,dict"`
	Labels           map[string]string `parquet:"labels"`
	Signal           string            `parquet:"signal,dict"`
	Unit             string            `parquet:"unit,dict"`
	Observed         *float64          `parquet:"observed,optional"`
	Threshold        float64           `parquet:"threshold"`
	Expected         *float64          `parquet:"expected,optional"`
	Numerator        int64             `parquet:"numerator"`
	Denominator      *int64            `parquet:"denominator,optional"`
	Samples          int64             `parquet:"samples"`
	StartedAt        int64             `parquet:"started_at,timestamp(millisecond)"`
	Reason           string            `parquet:"reason"`
}

// Window is one judged window of one group.
type Window struct {
	Start    int64    `parquet:"window_start,timestamp(millisecond)"`
	End      int64    `parquet:"window_end,timestamp(millisecond)"`
	Rule     string   `parquet:"rule,dict"`
	Domain   string   `parquet:"domain,dict"`
	Group    string   `parquet:"group,dict"`    // its labels, name="value"
	Evidence string   `parquet:"evidence,dict"` // enough, too_small, nothing
	Value    *float64 `parquet:"value,optional"`
	Num      int64    `parquet:"numerator"`
	Den      int64    `parquet:"denominator"`
	Usual    *float64 `parquet:"usual,optional"`
	Breached *int32   `parquet:"breached_severity,optional"` // the worst tier that it breaches
	Held     *int32   `parquet:"held_severity,optional"`
	Incident *string  `parquet:"incident,optional,dict"`
}

// rowGroup is how many rows are gathered before they are written: it bounds the memory.
const rowGroup = 50_000

// Writer writes rows to a file.
type Writer[T any] struct {
	w    *parquet.GenericWriter[T]
	rows int
}

// NewWriter begins a file.
func NewWriter[T any](out io.Writer) *Writer[T] {
	return &Writer[T]{w: parquet.NewGenericWriter[T](out, parquet.Compression(&parquet.Zstd))}
}

// Add writes a row.
func (w *Writer[T]) Add(row T) error {
	if _, err := w.w.Write([]T{row}); err != nil {
		return fmt.Errorf("cannot write a row: %w", err)
	}
	if w.rows++; w.rows%rowGroup == 0 {
		return w.w.Flush()
	}
	return nil
}

// Close ends the file.
func (w *Writer[T]) Close() error { return w.w.Close() }

// IncidentRow is a revision as a row.
func IncidentRow(i *detector.Incident) Incident {
	row := Incident{
		At: int64(i.At), ID: i.ID, Revision: int32(i.Revision), Transition: string(i.Transition), Severity: int32(i.Severity),
		PeakSeverity: int32(i.PeakSeverity), Phase: string(i.Status.Phase), Rule: i.Rule.Name, Labels: i.Labels, Signal: string(i.Signal.Name),
		Unit: i.Signal.Unit, Observed: (*float64)(i.Signal.Observed), Threshold: float64(i.Signal.Threshold), Expected: (*float64)(i.Signal.Expected),
		Numerator: i.Signal.Numerator, Denominator: i.Signal.Denominator, Samples: i.Signal.Samples, StartedAt: int64(i.StartedAt), Reason: i.Reason,
	}
	row.PreviousSeverity = severity(i.PreviousSeverity)
	return row
}

// WindowRow is a judgement as a row.
func WindowRow(j *detector.Judgement) Window {
	row := Window{
		Start: j.Start, End: j.End, Rule: j.Rule.Alert, Domain: j.Domain, Group: group(j.Labels), Num: j.Measure.Num, Den: j.Measure.Den,
		Evidence: map[rules.Evidence]string{rules.Nothing: "nothing", rules.TooSmall: "too_small", rules.Enough: "enough"}[j.Verdict.Evidence],
		Held:     severity(j.Held),
	}
	if j.Verdict.Evidence == rules.Enough && !j.Verdict.Blind {
		value := j.Verdict.Value
		row.Value = &value
	}
	if j.Measure.Learned {
		usual := j.Measure.Usual
		row.Usual = &usual
	}
	if tiers := j.Rule.Severities; j.Verdict.Evidence == rules.Enough && j.Verdict.Worst < len(tiers) {
		row.Breached = severity(tiers[j.Verdict.Worst].Severity)
	}
	if id := j.Incident; id != "" {
		row.Incident = &id
	}
	return row
}

func severity(s rules.Severity) *int32 {
	if s == 0 {
		return nil
	}
	v := int32(s)
	return &v
}

func group(labels []detector.Label) string {
	var parts []string
	for _, l := range labels {
		parts = append(parts, fmt.Sprintf("%s=%q", l.Name, l.Value))
	}
	return strings.Join(parts, ",")
}

// Read reads all rows of a file.
func Read[T any](in io.ReaderAt, size int64) ([]T, error) {
	file, err := parquet.OpenFile(in, size)
	if err != nil {
		return nil, fmt.Errorf("cannot read as Parquet: %w", err)
	}
	r := parquet.NewGenericReader[T](file)
	rows := make([]T, r.NumRows())
	n, err := r.Read(rows)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read the rows: %w", err)
	}
	return rows[:n], r.Close()
}
