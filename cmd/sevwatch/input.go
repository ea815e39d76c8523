package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// inputFlags say what is replayed: files, or Kafka's topics.
type inputFlags struct {
	Config   string          `help:"Configuration of a pipeline: its labels, pane, lateness and rules; without files, replay its topics." placeholder:"FILE"`
	Source   string          `help:"Topic among the sources of --config whose records the files hold, where they have its shape." placeholder:"TOPIC"`
	Brokers  []string        `help:"Replay from these brokers (host:port), without a configuration." placeholder:"HOST:PORT"`
	Topic    []string        `help:"Topics to replay, TOPIC or TOPIC=KIND where its records do not say their kind; default: the assessment topics." placeholder:"TOPIC"`
	Marks    string          `help:"Topic of the marks that live wrote; default: sevwatch.marks." placeholder:"TOPIC"`
	From     moment          `help:"Give out only what happened from then on (event time; RFC 3339, or a date)." placeholder:"TIME"`
	To       moment          `help:"Stop when everything up to then is judged." placeholder:"TIME"`
	WarmUp   *rules.Duration `name:"warm-up" help:"How long before --from topics are read, so that windows and baselines are full; default: what the rules need." placeholder:"DURATION"`
	GiveUp   *rules.Duration `name:"give-up-after" help:"End with 3 when no broker, or no Schema Registry, answers for that long; default: 30s." placeholder:"DURATION"`
	Until    moment          `help:"Files are known to be complete up to this time: judge up to it." placeholder:"TIME"`
	Control  string          `help:"People's words and changes of the rules: control records, one a line, where the files do not hold them; topics have their own." placeholder:"FILE"`
	Pane     *rules.Duration `help:"Smallest slice of event time; default: 10s." placeholder:"DURATION"`
	Lateness *rules.Duration `help:"How far behind the newest event the watermark stays; default: 10s." placeholder:"DURATION"`
	Files    []string        `arg:"" optional:"" name:"file" help:"Event files, one JSON object a line or .csv with a head, plain, gz or zst, or Parquet; - is stdin. Each is a partition, unless its lines carry topic, partition and offset as kcat -J writes them."`
}

// replayInput is what is to be replayed, opened as far as can be without the rules.
type replayInput struct {
	flags *inputFlags
	cfg   *pipeline.Config // of the topics; nil for files
	input *pipeline.KafkaInput
	shape *pipeline.SourceConfig // of the files; nil: events of our own
	words []pipeline.ControlRecord
	given string // hash of the rules of the replay
	only  bool   // the rules that are given, whatever the control records say
	why   map[wire.Reason]*sample
	began time.Time
	first int64 // start of the first pane that holds anything; 0: none does
	kinds int64 // records that do not say their kind
}

// patience is how long nothing may answer.
func (f *inputFlags) patience(w world) time.Duration {
	if f.GiveUp != nil {
		return time.Duration(*f.GiveUp) * time.Millisecond
	}
	return w.patience
}

// moment is a point in time as people write it.
type moment struct{ time.Time }

// UnmarshalText reads RFC 3339, or a date, which begins at midnight in UTC.
func (m *moment) UnmarshalText(text []byte) (err error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if m.Time, err = time.Parse(layout, string(text)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%q is no time, expected one such as 2026-11-01T12:00:00Z, or a date such as 2026-11-01", text)
}

func (f *inputFlags) pane() rules.Duration {
	if f.Pane != nil {
		return *f.Pane
	}
	return rules.Duration(detector.DefaultConfig().Pane)
}

func (f *inputFlags) lateness() rules.Duration {
	if f.Lateness != nil {
		return *f.Lateness
	}
	return rules.Duration(detector.DefaultConfig().Lateness)
}

// open checks the flags against each other, and reaches the brokers.
func (f *inputFlags) open(w world) (*replayInput, error) {
	w.patience = f.patience(w)
	in := &replayInput{flags: f, why: map[wire.Reason]*sample{}, began: time.Now()}
	topics := len(f.Brokers) > 0 || f.Config != "" && len(f.Files) == 0
	var wrong string
	switch {
	case topics && len(f.Files) > 0:
		wrong = "files and topics cannot be replayed together: leave out " + f.Files[0] + " or --brokers"
	case !topics && len(f.Files) == 0:
		wrong = "there is nothing to replay: expected event files, - for stdin, --brokers or --config"
	case f.Config != "" && (len(f.Brokers) > 0 || len(f.Topic) > 0):
		wrong = "--brokers and --topic are in the configuration already: leave out them or --config"
	case f.Config != "" && (f.Pane != nil || f.Lateness != nil || f.Marks != ""):
		wrong = "--pane, --lateness and --marks are in the configuration already: leave out them or --config"
	case f.Source != "" && (f.Config == "" || len(f.Files) == 0):
		wrong = "--source needs --config and files"
	case !topics && len(f.Topic) > 0:
		wrong = "--topic needs --brokers"
	case !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To.Time):
		wrong = fmt.Sprintf("--from %s is not before --to %s", f.From.Format(time.RFC3339), f.To.Format(time.RFC3339))
	case topics && f.Control != "":
		wrong = "--control is for files: topics have control records of their own"
	case topics && !f.Until.IsZero():
		wrong = "--until is for files: how far topics are complete is in their marks"
	case !topics && f.WarmUp != nil:
		wrong = "--warm-up is for topics: files are read from their beginning"
	case f.pane() <= 0 || f.lateness() < 0:
		wrong = fmt.Sprintf("--pane is %s and --lateness %s, expected more than 0s and 0s or more", f.pane(), f.lateness())
	case f.GiveUp != nil && *f.GiveUp <= 0:
		wrong = "--give-up-after is " + f.GiveUp.String() + ", expected more than 0s"
	}
	if wrong != "" {
		return nil, exit{exitUsage, errors.New(wrong)}
	}
	if err := w.onlyOnce(f.Files); err != nil {
		return nil, err
	}
	begin := in.configure
	if topics {
		begin = func() error { return in.connect(w) }
	}
	err := begin()
	if err == nil && f.Control != "" {
		if in.words, err = pipeline.ReadControl(f.Control, in.options()); err != nil {
			err = exit{exitUsage, err}
		}
	}
	return in, err
}

// configure reads the configuration that files are replayed by, if there is one.
func (in *replayInput) configure() error {
	if in.flags.Config == "" {
		return nil
	}
	var err error
	if in.cfg, err = loadConfig(in.flags.Config); err != nil || in.flags.Source == "" {
		return err
	}
	in.shape, err = findSource(in.cfg, in.flags.Source)
	return err
}

// findSource is the source with that topic.
func findSource(cfg *pipeline.Config, topic string) (*pipeline.SourceConfig, error) {
	var topics []string
	for i := range cfg.Sources {
		if s := &cfg.Sources[i]; s.Topic == topic && s.Format.Format == wire.FormatConfluent {
			return nil, exit{exitUsage, fmt.Errorf("the records of %s are of the format confluent, which files of lines cannot hold: export them with kcat -J, and leave out --source", topic)}
		} else if s.Topic == topic {
			return s, nil
		}
		topics = append(topics, cfg.Sources[i].Topic)
	}
	return nil, exit{exitUsage, fmt.Errorf("--source is %q, expected one of the sources of --config: %s", topic, strings.Join(topics, ", "))}
}

// connect reads or makes the configuration, and waits for a broker.
func (in *replayInput) connect(w world) error {
	f := in.flags
	in.input = &pipeline.KafkaInput{WarmUp: -1, OnError: once(func(err error) { fmt.Fprintf(w.stderr, "reading goes on after an error: %s\n", err) })}
	if f.WarmUp != nil {
		in.input.WarmUp = int64(*f.WarmUp)
	}
	var err error
	if f.Config != "" {
		in.cfg, in.input.Client, err = connect(w, f.Config)
		return err
	}
	if in.cfg, err = f.config(); err != nil {
		return exit{exitUsage, err}
	}
	if in.input.Client, err = in.cfg.Connect(w.ctx, w.patience); err != nil {
		return exit{exitWorld, err}
	}
	return nil
}

// once tells of each error once, however often it comes back.
func once(tell func(error)) func(error) {
	var told sync.Map
	return func(err error) {
		if _, before := told.LoadOrStore(err.Error(), true); !before {
			tell(err)
		}
	}
}

// config is the configuration that the flags amount to.
func (f *inputFlags) config() (*pipeline.Config, error) {
	var sources []string
	for _, topic := range f.Topic {
		name, kind, found := strings.Cut(topic, "=")
		text := fmt.Sprintf("{topic: %q", name)
		known := slices.IndexFunc(pipeline.DefaultSources(), func(s pipeline.SourceConfig) bool { return s.Topic == name })
		if !found && known >= 0 {
			if k := pipeline.DefaultSources()[known].Kind; k.Kind != rules.NoKind {
				kind, found = k.String(), true
			}
		}
		if found {
			text += fmt.Sprintf(", kind: %q", kind)
		}
		sources = append(sources, text+"}")
	}
	text := fmt.Sprintf("{brokers: [%s], pane: %s, lateness: %s", quoted(f.Brokers), f.pane(), f.lateness())
	if f.Marks != "" {
		text += fmt.Sprintf(", topics: {marks: %q}", f.Marks)
	}
	if len(sources) > 0 {
		text += ", sources: [" + strings.Join(sources, ", ") + "]"
	}
	return pipeline.ParseConfig("flags", []byte(text+"}"))
}

func quoted(texts []string) string {
	var out []string
	for _, t := range texts {
		out = append(out, fmt.Sprintf("%q", t))
	}
	return strings.Join(out, ", ")
}

// rules reads the rule file that a flag names, which then holds whatever the control records say; default: that of the configuration, or the
// embedded runbook, until the control records change it.
func (in *replayInput) rules(path string) (*rules.File, error) {
	in.only = path != ""
	if path == "" && in.cfg != nil {
		path = in.cfg.Rules
	}
	return loadRules(path, in.options())
}

// read are the files that the input and its configuration are read from.
func (in *replayInput) read(w world) []path {
	f := in.flags
	files := []path{w.reads("--config", f.Config), w.reads("--control", f.Control)}
	if in.cfg != nil {
		files = append(files, w.reads("rules of --config", in.cfg.Rules))
	}
	for _, name := range f.Files {
		files = append(files, w.reads("", name))
	}
	return files
}

func (in *replayInput) engine() detector.Config {
	if in.cfg != nil {
		return in.cfg.Engine()
	}
	cfg := detector.DefaultConfig()
	cfg.Pane, cfg.Lateness = int64(in.flags.pane()), int64(in.flags.lateness())
	return cfg
}

func (in *replayInput) options() rules.Options {
	if in.cfg != nil {
		return in.cfg.RuleOptions()
	}
	opt := (&pipeline.Config{}).RuleOptions()
	opt.Pane = in.flags.pane()
	return opt
}

// pipeline is whose topics are replayed, or that files may be exported from.
func (in *replayInput) pipeline() (*pipeline.Config, error) {
	if in.cfg != nil {
		return in.cfg, nil
	}
	c, err := pipeline.ParseConfig("flags", fmt.Appendf(nil, `{brokers: ["nobody:1"], pane: %s, lateness: %s}`, in.flags.pane(), in.flags.lateness()))
	if err == nil && in.flags.Marks != "" {
		c.Topics.Marks = in.flags.Marks
	}
	return c, err
}

// watchers are told of what a replay comes to; only output has to be there. earlier takes the messages from before --from.
type watchers struct {
	output    func(detector.Output) error
	earlier   func(detector.Output)
	judgement func(*detector.Judgement)
	delta     func(*detector.Delta)
}

// hearing lets a history hear all messages, and nothing else.
func hearing(past *history.History) watchers {
	return watchers{output: func(o detector.Output) error { past.Add(o); return nil }, earlier: past.Add}
}

// replay runs the input through the rules. It can be called again with other rules, unless stdin is read. Where there are records and none was
// counted, it says what is known about why, and ends with exitUsage.
func (in *replayInput) replay(w world, file *rules.File, watch watchers) (pipeline.Summary, error) {
	f := in.flags
	clear(in.why)
	in.given = file.Hash
	in.began, in.first, in.kinds = time.Now(), 0, 0
	topics, err := in.pipeline()
	if err != nil {
		return pipeline.Summary{}, exit{exitUsage, err}
	}
	r := pipeline.Replay{
		Config: in.engine(), Rules: file, Files: f.Files, Stdin: w.stdin, Source: in.shape, Control: in.words, OnlyRules: in.only, Kafka: in.input, Pipeline: topics,
		GiveUpAfter: f.patience(w), Output: watch.output, Earlier: watch.earlier, Watch: watch.judgement,
		Delta: func(d *detector.Delta) {
			if in.first == 0 || d.Pane < in.first {
				in.first = d.Pane
			}
			if watch.delta != nil {
				watch.delta(d)
			}
		},
		Rejected: func(o wire.Origin, r *wire.Reject) { in.note(o, r) },
		Progress: newProgress(w.stderr), From: millis(f.From.Time), To: millis(f.To.Time), Until: millis(f.Until.Time),
	}
	sum, err := r.Run(w.ctx)
	clearLine(w.stderr)
	if records := recordsOf(sum.Totals); err == nil && records > 0 && sum.Totals.Counted == 0 {
		in.summarize(w, sum)
		err = exit{exitUsage, fmt.Errorf("none of %s was counted", counted(records, "record"))}
	}
	return sum, replayError(err)
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// replayError sorts what a replay ended with into the exit codes.
func replayError(err error) error {
	var input *pipeline.InputError
	var known exit
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.As(err, &input):
		return exit{exitUsage, err}
	default:
		return exit{exitWorld, err}
	}
}

// note counts why a record was rejected, and keeps the first of each reason.
func (in *replayInput) note(o wire.Origin, r *wire.Reject) {
	s := in.why[r.Reason]
	if s == nil {
		at := fmt.Sprintf("%s/%d offset %d", o.Source.Topic, o.Source.Partition, o.Offset)
		if in.input == nil && o.Source.Topic == "file" {
			at = fmt.Sprintf("%s:%d", in.flags.Files[o.Source.Partition], o.Offset+1)
		}
		s = &sample{first: at + ": " + r.Detail}
		in.why[r.Reason] = s
	}
	if s.count++; strings.HasPrefix(r.Detail, "kind is missing") {
		in.kinds++
	}
}

// summarize says what a replay did, and what may be doubted about it.
func (in *replayInput) summarize(w world, s pipeline.Summary) {
	w.stderr = forPeople(w.stderr)
	summarize(w.stderr, s, in.why, time.Since(in.began))
	f := in.flags
	switch {
	case in.kinds == 0 || in.kinds < s.Totals.Rejected || s.Totals.Counted > 0:
	case in.input != nil:
		fmt.Fprintln(w.stderr, "no record says its kind: give its source one in the configuration, or read it as --topic TOPIC=KIND")
	default:
		fmt.Fprintln(w.stderr, "no line says its kind: write one into each, or name the topic that they are from, which has one: --config FILE --source TOPIC")
	}
	if !f.From.IsZero() {
		how := "the input's beginning"
		if in.input != nil {
			how = fmt.Sprintf("%s before it", rules.Duration(s.Before))
		}
		fmt.Fprintf(w.stderr, "warm-up: judged from %s on; %s before --from left out. "+
			"An incident that began earlier than what was read may have another start and id than live gave it\n", how, counted(s.WarmUp, "message"))
	}
	switch {
	case !f.From.IsZero() && s.Edge < millis(f.From.Time):
		fmt.Fprintf(w.stderr, "nothing could be judged from --from on: the input goes up to %s\n", detector.Millis(max(s.Edge, 0)))
	case !f.To.IsZero() && in.first > millis(f.To.Time):
		fmt.Fprintf(w.stderr, "nothing could be judged up to --to: the input begins at %s\n", detector.Millis(in.first))
	}
	if s.Rules != in.given {
		fmt.Fprintf(w.stderr, "rules: the control records have changed them; the last are %s\n", s.Rules)
	}
	for _, doubt := range s.Doubts {
		fmt.Fprintln(w.stderr, "not exactly what live said, perhaps: "+doubt)
	}
}
