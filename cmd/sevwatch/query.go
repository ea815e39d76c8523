package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/pipeline"
	"sevwatch/rules"
)

type queryCmd struct {
	Of string `arg:"" name:"selector" help:"What is looked at, as rules write it: error, latency{service=\"api\"}, vital{name=~\"LCP|INP\"}."`
	inputFlags
	By     []string        `help:"Labels that groups are told apart by." placeholder:"LABEL"`
	Last   *rules.Duration `help:"Only so long before the newest event; of topics, before what live has judged." placeholder:"DURATION"`
	Every  *rules.Duration `help:"A row for each stretch of that length." placeholder:"DURATION"`
	Format string          `help:"table or ndjson." enum:"table,ndjson" default:"table"`
}

// Run replays the input and sums up the events, as the engine counts them: what is late, rejected or a duplicate is none of them.
func (c *queryCmd) Run(w world) error {
	in, err := c.open(w)
	if err != nil {
		return err
	}
	q, err := c.query(in)
	if err != nil {
		return err
	}
	if c.Last != nil && in.input != nil {
		edge, err := pipeline.ReadEdge(w.ctx, in.cfg, in.input.Client)
		var missing *pipeline.TopicError
		if err != nil && !errors.As(err, &missing) { // without a state nobody has judged: all is read
			return exit{exitWorld, err}
		}
		if err == nil && edge > 0 {
			c.From = moment{time.UnixMilli(edge - int64(*c.Last))}
		}
	}
	if in.input != nil && c.WarmUp == nil && q.Of.Kind != rules.KindAttempt { // which begin before they are counted
		in.input.WarmUp = 0 // nothing is judged
	}
	q.From, q.To = millis(c.From.Time), millis(c.To.Time)
	in.only = true
	sum, err := in.replay(w, &rules.File{}, watchers{output: func(detector.Output) error { return nil }, delta: q.Delta})
	if err != nil {
		return err
	}
	sum.Open, sum.Edge = -1, 0 // nothing was judged
	people := forPeople(w.stderr)
	summarize(people, sum, in.why, time.Since(in.began))
	if from, to := q.Span(); to > 0 {
		fmt.Fprintf(people, "%s, %s to %s: %s\n", q.Of, detector.Millis(from), detector.Millis(to), counted(q.Picked(), "event"))
	} else {
		fmt.Fprintln(people, "nothing came then")
	}
	out := bufio.NewWriter(w.stdout)
	if err := c.print(out, q); err != nil {
		return exit{exitWorld, err}
	}
	if err := out.Flush(); err != nil {
		return exit{exitWorld, err}
	}
	return nil
}

// query is what the flags ask for.
func (c *queryCmd) query(in *replayInput) (*history.Query, error) {
	q := &history.Query{By: c.By, Pane: in.engine().Pane}
	wrong := func(format string, args ...any) (*history.Query, error) {
		return nil, exit{exitUsage, fmt.Errorf(format, args...)}
	}
	if err := q.Of.UnmarshalText([]byte(c.Of)); err != nil {
		return wrong("the selector is %q: %w", c.Of, err)
	}
	known := in.options().Labels
	if known == nil {
		known = rules.DefaultLabels()
	}
	if q.Of.Kind == rules.KindPipeline {
		known = rules.PipelineLabels()
	}
	asked := slices.Clone(c.By)
	for _, m := range q.Of.Matchers {
		asked = append(asked, m.Name)
	}
	for i, name := range asked {
		switch {
		case !slices.Contains(known, name):
			return wrong("there is no label %q, expected one of %s", name, strings.Join(known, ", "))
		case i < len(c.By) && slices.Contains(c.By[:i], name):
			return wrong("--by has the label %q twice", name)
		}
	}
	for _, length := range []struct {
		flag string
		is   *rules.Duration
		to   *int64
	}{{"--last", c.Last, &q.Last}, {"--every", c.Every, &q.Every}} {
		switch {
		case length.is == nil:
		case *length.is <= 0 || int64(*length.is)%q.Pane != 0:
			return wrong("%s is %s, expected a multiple of the pane of %s", length.flag, length.is, rules.Duration(q.Pane))
		default:
			*length.to = int64(*length.is)
		}
	}
	if c.Last != nil && !c.From.IsZero() {
		return wrong("--last and --from both say where to begin: leave out one of them")
	}
	return q, nil
}

// answer is a row as machines read it. What a kind has no use for, or has no value, is left out.
type answer struct {
	Start  *detector.Millis  `json:"start,omitempty"` // with --every
	Labels map[string]string `json:"labels"`
	Events int64             `json:"events"`
	PerS   float64           `json:"per_s"`

	Failed     *int64   `json:"failed,omitempty"` // with a status from 500 on
	Share      *float64 `json:"share,omitempty"`  // of events; of errors: of all, of that time
	Entered    *int64   `json:"entered,omitempty"`
	Completed  *int64   `json:"completed,omitempty"`
	Abandoned  *int64   `json:"abandoned,omitempty"`
	Completion *float64 `json:"completion,omitempty"` // of those who entered

	Mean *float64 `json:"mean,omitempty"` // in the unit of the values, as all that follow
	P50  *float64 `json:"p50,omitempty"`
	P95  *float64 `json:"p95,omitempty"`
	P99  *float64 `json:"p99,omitempty"`
	Max  *float64 `json:"max,omitempty"`
}

// answers are the rows of a query.
func answers(q *history.Query) []answer {
	rows := q.Rows()
	from, to := q.Span()
	all := map[int64]int64{} // events by start
	for _, r := range rows {
		all[r.Start] += r.Count
	}
	var out []answer
	for _, r := range rows {
		a := answer{Labels: map[string]string{}, Events: r.Count}
		length := to - from
		if q.Every > 0 {
			start := detector.Millis(r.Start)
			a.Start, length = &start, min(r.Start+q.Every, to)-max(r.Start, from)
		}
		a.PerS = tidy(float64(r.Count) * 1000 / float64(length))
		for i, name := range q.By {
			a.Labels[name] = r.Labels[i]
		}
		switch q.Of.Kind {
		case rules.KindError:
			a.Share = part(r.Count, all[r.Start])
		case rules.KindLatency:
			a.Failed, a.Share = &r.Failed, part(r.Failed, r.Count)
		case rules.KindStep, rules.KindAttempt:
			a.Entered, a.Completed, a.Abandoned = &r.Entered, &r.Completed, &r.Abandoned
			a.Completion = part(r.Completed, max(r.Entered, r.Completed+r.Abandoned))
		}
		if r.Valued > 0 {
			value := func(v float64) *float64 { v = tidy(v); return &v }
			a.Mean, a.Max = value(r.Mean()), value(float64(r.Max)/1e6)
			quantile := func(q float64) *float64 { return value(min(r.Buckets.Quantile(q), float64(r.Max)/1e6)) } // the middle of the last bucket may lie behind it
			a.P50, a.P95, a.P99 = quantile(0.5), quantile(0.95), quantile(0.99)
		}
		out = append(out, a)
	}
	return out
}

func part(n, of int64) *float64 {
	if of == 0 {
		return nil
	}
	v := tidy(float64(n) / float64(of))
	return &v
}

// tidy rounds to four significant digits: quantiles are no more exact.
func tidy(v float64) float64 {
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'e', 3, 64), 64)
	if err != nil {
		return v
	}
	return short
}

func (c *queryCmd) print(w io.Writer, q *history.Query) error {
	rows := answers(q)
	if len(rows) == 0 {
		return nil
	}
	if c.Format == "ndjson" {
		e := json.NewEncoder(w)
		for i := range rows {
			if err := e.Encode(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var head []string
	if q.Every > 0 {
		head = append(head, "from")
	}
	head = append(append(head, q.By...), "events", "per s")
	columns := columnsOf(rows)
	for _, col := range columns {
		head = append(head, col.name)
	}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for i := range rows {
		a := &rows[i]
		var cells []string
		if a.Start != nil {
			cells = append(cells, time.UnixMilli(int64(*a.Start)).UTC().Format(time.RFC3339))
		}
		for _, name := range q.By {
			cells = append(cells, orDash(a.Labels[name]))
		}
		cells = append(cells, strconv.FormatInt(a.Events, 10), number(a.PerS))
		for _, col := range columns {
			cells = append(cells, orDash(col.of(a)))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// column is one that a kind has use for.
type column struct {
	name string
	of   func(*answer) string
}

func columnsOf(rows []answer) []column {
	count := func(n func(*answer) *int64) func(*answer) string {
		return func(a *answer) string {
			if v := n(a); v != nil {
				return strconv.FormatInt(*v, 10)
			}
			return ""
		}
	}
	value := func(n func(*answer) *float64) func(*answer) string {
		return func(a *answer) string {
			if v := n(a); v != nil {
				return number(*v)
			}
			return ""
		}
	}
	percent := func(n func(*answer) *float64) func(*answer) string {
		return func(a *answer) string {
			if v := n(a); v != nil {
				return number(math.Round(*v*1e4)/100) + " %"
			}
			return ""
		}
	}
	all := []column{
		{"failed", count(func(a *answer) *int64 { return a.Failed })},
		{"share", percent(func(a *answer) *float64 { return a.Share })},
		{"entered", count(func(a *answer) *int64 { return a.Entered })},
		{"completed", count(func(a *answer) *int64 { return a.Completed })},
		{"abandoned", count(func(a *answer) *int64 { return a.Abandoned })},
		{"completion", percent(func(a *answer) *float64 { return a.Completion })},
		{"mean", value(func(a *answer) *float64 { return a.Mean })},
		{"p50", value(func(a *answer) *float64 { return a.P50 })},
		{"p95", value(func(a *answer) *float64 { return a.P95 })},
		{"p99", value(func(a *answer) *float64 { return a.P99 })},
		{"max", value(func(a *answer) *float64 { return a.Max })},
	}
	return slices.DeleteFunc(all, func(c column) bool {
		return !slices.ContainsFunc(rows, func(a answer) bool { return c.of(&a) != "" })
	})
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
