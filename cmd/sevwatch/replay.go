package main

import (
	"bufio"
	"errors"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/pipeline/report"
	"sevwatch/rules"
)

type replayCmd struct {
	inputFlags
	scoreFlags
	tableFlags
	Rules  string         `help:"Rule file, whatever the control records say; default: theirs, and before them that of --config, or the embedded runbook." placeholder:"FILE"`
	Format string         `help:"What is printed of every message: ndjson, table or csv; none prints nothing." enum:"ndjson,table,csv,none" default:"ndjson"`
	Report string         `help:"Write a page for people: incidents with their signals, the funnel, data quality." placeholder:"FILE.html"`
	FailOn rules.Severity `help:"Exit with 1 if an incident is at least that bad in the range: sev1 to sev4." placeholder:"SEV"`
}

// Run replays the input.
func (c *replayCmd) Run(w world) error {
	in, err := c.inputFlags.open(w)
	if err != nil {
		return err
	}
	file, err := in.rules(c.Rules)
	if err != nil {
		return err
	}
	scoring, err := c.scoring(in, file)
	if err != nil {
		return err
	}
	if err := c.keepApart(w, in); err != nil {
		return err
	}
	stdout := w.stdout
	if c.Format == "table" {
		stdout = forPeople(stdout)
	}
	out := bufio.NewWriter(stdout)
	print := printers[c.Format](out)
	past := history.New(file)
	hear := func(o detector.Output) {
		if scoring != nil {
			past.Add(o)
		}
	}
	fails := failing{bar: c.FailOn, open: map[string]rules.Severity{}}
	watch := watchers{earlier: func(o detector.Output) { hear(o); fails.earlier(o) }, output: func(o detector.Output) error {
		fails.output(o)
		hear(o)
		return print(o)
	}}
	var page *report.Collector
	if c.Report != "" {
		page = report.NewCollector(file, in.engine().Pane)
		page.From, page.To = millis(in.flags.From.Time), millis(in.flags.To.Time)
		watch = watch.and(page)
	}
	tables, err := c.tableFlags.open()
	if err != nil {
		return err
	}
	sum, err := in.replay(w, file, watch.andTables(tables))
	if err := replayError(errors.Join(err, out.Flush(), tables.end(err == nil))); err != nil {
		return err
	}
	in.summarize(w, sum)
	if page != nil {
		if err := in.writeReport(c.Report, page, file, sum); err != nil {
			return exit{exitWorld, err}
		}
	}
	if scoring != nil {
		from, until := in.span(sum)
		if err := scoring.bound(w, from, until); err != nil {
			return err
		}
		if err := c.score(w, scoring, past.Since(millis(c.From.Time), sum.Edge)); err != nil {
			return err
		}
	}
	if sum.Edge >= millis(c.From.Time) && fails.found() {
		return exit{exitFound, errQuiet}
	}
	return nil
}

// failing looks for incidents that are at least as bad as --fail-on in the range, or when it begins.
type failing struct {
	bar    rules.Severity
	inside bool
	open   map[string]rules.Severity // by id, when the range begins
}

func (f *failing) earlier(o detector.Output) {
	if o.Incident == nil {
		return
	}
	delete(f.open, o.Incident.ID)
	if phase := o.Incident.Status.Phase; phase == detector.PhaseOpen || phase == detector.PhaseNoData {
		f.open[o.Incident.ID] = o.Incident.Severity
	}
}

func (f *failing) output(o detector.Output) {
	f.inside = f.inside || o.Incident != nil && o.Incident.Severity <= f.bar
}

func (f *failing) found() bool {
	for _, severity := range f.open {
		if severity <= f.bar {
			return true
		}
	}
	return f.inside
}

// keepApart refuses outputs that would overwrite what is read, or each other.
func (c *replayCmd) keepApart(w world, in *replayInput) error {
	return keepApart(append(in.read(w), w.reads("--rules", c.Rules), w.reads("--labels", c.Labels)), []path{
		{name: "stdout", info: infoOf(w.stdout)},
		writes("--report", c.Report), writes("--score", c.Score), writes("--incidents", c.Incidents),
		writes("--windows", c.Windows),
	})
}

// sample is how often a reason came up, and where first.
type sample struct {
	count int64
	first string
}
