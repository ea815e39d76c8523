package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/pipeline"
	"sevwatch/rules"
)

// scoreFlags say what incidents are scored against.
type scoreFlags struct {
	Labels      string            `help:"CSV of known incidents (start, end; optional: rule and labels): score the replay against them." placeholder:"FILE"`
	LabelsWhere map[string]string `help:"Count only windows whose column has that value." placeholder:"COLUMN=VALUE"`
	Grace       rules.Duration    `help:"How long behind a window's end an incident still belongs to it." default:"5m"`
	Score       string            `help:"Write the score as JSON too." placeholder:"FILE"`
	FailUnder   map[string]string `help:"Exit with 1 if recall or precision is less." placeholder:"recall=0.9"`
}

// against is what a replay is scored against, and how that was read.
type against struct {
	history.Scoring
	known history.Known
}

// scoring reads the windows, which can be about the rules of the file; nil if none are asked for.
func (f *scoreFlags) scoring(in *replayInput, rules *rules.File) (*against, error) {
	for what, text := range f.FailUnder {
		v, err := strconv.ParseFloat(text, 64)
		if !slices.Contains([]string{"recall", "precision"}, what) || err != nil || v < 0 || v > 1 {
			return nil, exit{exitUsage, fmt.Errorf("--fail-under is %s=%s, expected recall or precision and 0 to 1, such as recall=0.9", what, text)}
		}
	}
	if f.Labels == "" {
		if len(f.FailUnder) > 0 || f.Score != "" || len(f.LabelsWhere) > 0 {
			return nil, exit{exitUsage, errors.New("--fail-under, --score and --labels-where need --labels")}
		}
		return nil, nil
	}
	file, err := os.Open(f.Labels)
	if err != nil {
		return nil, exit{exitUsage, fmt.Errorf("cannot read the labels: %w", err)}
	}
	defer file.Close()
	columns := history.Columns{Labels: in.engine().Labels, Where: f.LabelsWhere}
	for _, r := range rules.Rules() {
		columns.Rules = append(columns.Rules, r.Alert)
	}
	known, err := history.ReadWindows(f.Labels, file, columns)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	return &against{history.Scoring{Windows: known.Windows, Grace: int64(f.Grace)}, known}, nil
}

// span is the stretch of event time that was judged and given out.
func (in *replayInput) span(sum pipeline.Summary) (from, until int64) {
	from, until = max(in.first, millis(in.flags.From.Time)), sum.Edge
	if to := millis(in.flags.To.Time); to != 0 {
		until = min(until, to)
	}
	return from, max(from, until)
}

// columnsText says what the columns of the file of windows were taken for.
func columnsText(k history.Known) string {
	text := "windows narrowed by: nothing"
	if len(k.Narrow) > 0 {
		text = "windows narrowed by: " + strings.Join(k.Narrow, ", ")
	}
	if len(k.Unused) > 0 {
		text += "; not used: " + strings.Join(k.Unused, ", ")
	}
	return text
}

// about leaves the windows that are about the rule, and says how many are not. It is an error if none is.
func (s *against) about(w world, rule string) error {
	all := len(s.Windows)
	s.Windows = s.About(rule)
	switch others := all - len(s.Windows); others {
	case 0:
		return nil
	case all:
		return exit{exitUsage, fmt.Errorf("no window of --labels is about %s", rule)}
	case 1:
		fmt.Fprintf(w.stderr, "1 of %d windows is about another rule and is left out\n", all)
	default:
		fmt.Fprintf(w.stderr, "%d of %d windows are about other rules and are left out\n", others, all)
	}
	return nil
}

// bound lets the scoring know what was judged and given out. It says by what windows are narrowed down, and how many of them lie outside. It is an
// error if all do.
func (s *against) bound(w world, from, until int64) error {
	w.stderr = forPeople(w.stderr)
	s.From, s.Until = from, until
	if len(s.Windows) == 0 { // nothing is known
		return nil
	}
	fmt.Fprintln(w.stderr, columnsText(s.known))
	outside, all := s.Outside(), len(s.Windows)
	switch {
	case outside == 0:
		return nil
	case from == until:
		return exit{exitUsage, errors.New("nothing was judged, so no window of --labels can be scored")}
	case outside == all:
		first, last := s.Windows[0].Start, s.Windows[0].End
		for _, x := range s.Windows {
			first, last = min(first, x.Start), max(last, x.End)
		}
		return exit{exitUsage, fmt.Errorf("no window of --labels meets what was judged and given out\njudged:  %s to %s\nwindows: %s to %s",
			detector.Millis(from), detector.Millis(until), detector.Millis(first), detector.Millis(last))}
	case outside == 1:
		fmt.Fprintf(w.stderr, "1 of %d windows lies outside of what was judged and is left out\n", all)
	default:
		fmt.Fprintf(w.stderr, "%d of %d windows lie outside of what was judged and are left out\n", outside, all)
	}
	return nil
}

// score prints the scores for people, writes them for machines, and says whether they are good enough.
func (f *scoreFlags) score(w world, s *against, past *history.History) error {
	scores := s.Scores(past)
	printScores(forPeople(w.stderr), scores)
	if f.Score != "" {
		data, err := json.MarshalIndent(scores, "", "  ")
		if err == nil {
			err = os.WriteFile(f.Score, append(data, '\n'), 0o666)
		}
		if err != nil {
			return exit{exitWorld, fmt.Errorf("cannot write the score: %w", err)}
		}
	}
	failed := false
	for _, what := range []string{"recall", "precision"} {
		text, asked := f.FailUnder[what]
		if !asked {
			continue
		}
		got := scores[0].Recall
		if what == "precision" {
			got = scores[0].Precision
		}
		if least, _ := strconv.ParseFloat(text, 64); got.N == 0 || got.Value < least {
			fmt.Fprintf(w.stderr, "%s is %s, less than %s\n", what, share(got), text)
			failed = true
		}
	}
	if failed {
		return exit{exitFound, errQuiet}
	}
	return nil
}

// share is a share as people read it: 75 % (47..91, 9 of 12).
func share(s history.Share) string {
	if s.N == 0 {
		return "none"
	}
	return fmt.Sprintf("%.0f %% (%.0f..%.0f, %d of %d)", s.Value*100, s.Low*100, s.High*100, s.K, s.N)
}

func printScores(w io.Writer, scores []history.Score) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tprecision (95 %)\trecall (95 %)\topen already\ttime to detect\tfalse a day\talert minutes")
	for _, s := range scores {
		detect := "-"
		if len(s.DetectMs) > 0 {
			detect = fmt.Sprintf("%s (%s..%s)", rules.Duration(s.MedianDetect()), rules.Duration(s.DetectMs[0]), rules.Duration(s.DetectMs[len(s.DetectMs)-1]))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%.2f\t%.0f\n", s.Of, share(s.Precision), share(s.Recall), s.Already, detect, s.FalseDay, float64(s.OpenMs)/60_000)
	}
	_ = t.Flush()
}
