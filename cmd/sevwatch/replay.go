package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

type replayCmd struct {
	Rules    string         `help:"Rule file; default: the embedded runbook." placeholder:"FILE"`
	Config   string         `help:"Configuration file of the source that the files come from; with --source. Its labels, pane and lateness hold." placeholder:"FILE"`
	Source   string         `help:"Topic among the sources of --config whose records the files hold." placeholder:"TOPIC"`
	Until    time.Time      `help:"The input is known to be complete up to this time (RFC 3339): judge up to it." placeholder:"TIME"`
	Pane     rules.Duration `help:"Smallest slice of event time." default:"10s"`
	Lateness rules.Duration `help:"How far behind the newest event the watermark stays." default:"10s"`
	Control  string         `help:"People's words: control records, one a line." placeholder:"FILE"`
	Format   string         `help:"ndjson or table." enum:"ndjson,table" default:"ndjson"`
	FailOn   rules.Severity `help:"Exit with 1 if an incident is at least that bad: sev1 to sev4." placeholder:"SEV"`
	Files    []string       `arg:"" name:"file" help:"Event files, one JSON object a line, plain, gz or zst; - is stdin. Each is a partition."`
}

// Run replays the files.
func (c *replayCmd) Run(w world) error {
	cfg := detector.DefaultConfig()
	cfg.Pane, cfg.Lateness = int64(c.Pane), int64(c.Lateness)
	opt := rules.Options{Pane: c.Pane}
	var source *pipeline.SourceConfig
	if c.Config != "" || c.Source != "" {
		whole, err := loadConfig(c.Config)
		if err != nil {
			return err
		}
		if source, err = findSource(whole, c.Source); err != nil {
			return err
		}
		cfg, opt = whole.Engine(), whole.RuleOptions()
	}
	file, err := loadRules(c.Rules, opt)
	if err != nil {
		return err
	}
	var control []pipeline.ControlRecord
	if c.Control != "" {
		if control, err = pipeline.ReadControl(c.Control); err != nil {
			return exit{exitUsage, err}
		}
	}
	out := bufio.NewWriter(w.stdout)
	print := printers[c.Format](out)
	found := false
	why := map[wire.Reason]*sample{}
	r := pipeline.Replay{
		Config: cfg, Rules: file, Files: c.Files, Stdin: w.stdin, Source: source, Control: control,
		Output: func(o detector.Output) error {
			found = found || o.Incident != nil && o.Incident.Severity <= c.FailOn
			return print(o)
		},
		Rejected: func(o wire.Origin, r *wire.Reject) { note(why, c.Files, o, r) },
		Progress: newProgress(w.stderr),
	}
	if !c.Until.IsZero() {
		r.Until = c.Until.UnixMilli()
	}
	start := time.Now()
	sum, err := r.Run(w.ctx)
	var input *pipeline.InputError
	switch err := errors.Join(err, out.Flush()); {
	case errors.As(err, &input):
		return exit{exitUsage, err}
	case err != nil:
		return exit{exitWorld, err}
	}
	summarize(w.stderr, sum, why, time.Since(start))
	if found {
		return exit{exitFound, errQuiet}
	}
	return nil
}

// findSource is the source with that topic.
func findSource(cfg *pipeline.Config, topic string) (*pipeline.SourceConfig, error) {
	var topics []string
	for i := range cfg.Sources {
		if s := &cfg.Sources[i]; s.Topic == topic && s.Format.Format == wire.FormatConfluent {
			return nil, exit{exitUsage, fmt.Errorf("the records of %s are of the format confluent, which files of lines cannot hold", topic)}
		} else if s.Topic == topic {
			return s, nil
		}
		topics = append(topics, cfg.Sources[i].Topic)
	}
	return nil, exit{exitUsage, fmt.Errorf("--source is %q, expected one of the sources of --config: %s", topic, strings.Join(topics, ", "))}
}

// sample is how often a reason came up, and where first.
type sample struct {
	count int64
	first string
}

func note(why map[wire.Reason]*sample, files []string, o wire.Origin, r *wire.Reject) {
	s := why[r.Reason]
	if s == nil {
		s = &sample{first: fmt.Sprintf("%s:%d: %s", files[o.Source.Partition], o.Offset+1, r.Detail)}
		why[r.Reason] = s
	}
	s.count++
}
