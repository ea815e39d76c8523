package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/report"
	"sevwatch/rules"
)

// and lets a report see everything too.
func (w watchers) and(c *report.Collector) watchers {
	return watchers{
		judgement: c.Judgement, delta: c.Delta,
		earlier: func(o detector.Output) {
			c.Output(o)
			if w.earlier != nil {
				w.earlier(o)
			}
		},
		output: func(o detector.Output) error {
			c.Output(o)
			return w.output(o)
		},
	}
}

// writeReport writes the page.
func (in *replayInput) writeReport(path string, c *report.Collector, file *rules.File, sum pipeline.Summary) error {
	about := report.About{Input: in.flags.Files, Rules: file.Name, Hash: file.Hash, Totals: sum.Totals, Notes: sum.Doubts}
	if in.input != nil {
		for _, s := range in.cfg.Sources {
			about.Input = append(about.Input, s.Topic)
		}
	}
	for _, l := range sum.Lateness {
		about.Late = append(about.Late, lateText(l))
	}
	about.From, about.Until = in.span(sum)
	c.Past = c.Past.Since(millis(in.flags.From.Time), sum.Edge)
	for _, reason := range slices.Sorted(maps.Keys(in.why)) {
		about.Rejected = append(about.Rejected, report.Rejected{Reason: string(reason), Count: in.why[reason].count, First: in.why[reason].first})
	}
	data, err := c.Render(about)
	if err == nil {
		err = os.WriteFile(path, data, 0o666)
	}
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}
