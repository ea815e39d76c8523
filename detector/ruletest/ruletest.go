// Package ruletest runs tests of rules: streams of events in a short notation go in, and what the engine tells is compared with what was
// expected. It is the same engine as live, it knows no clock and no files, and a test takes milliseconds.
package ruletest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sevwatch/detector"
	"sevwatch/detector/stream"
	"sevwatch/rules"
	"sevwatch/rules/strictyaml"
)

// File is a file of rule tests. docs/analysts.md explains every key.
type File struct {
	Where    strictyaml.Where `json:"-"`
	Rules    string           `yaml:"rules"` // the rule file, seen from this one; "": the embedded runbook
	Pane     rules.Duration   `yaml:"pane"`  // default 10s
	Lateness *rules.Duration  `yaml:"lateness"`
	Labels   []string         `yaml:"labels"`
	Domain   string           `yaml:"domain"`
	Tests    []Test           `yaml:"tests,required"`

	name string
}

// Test is one story: what comes, and what the engine has to say to it.
type Test struct {
	Where      strictyaml.Where `json:"-"`
	Name       string           `yaml:"name,required"`
	Start      Moment           `yaml:"start"`      // what the times of the test count from; default Monday, 2026-11-02T09:00:00Z
	Partitions int              `yaml:"partitions"` // of the source; default 1
	About      []string         `yaml:"about"`      // only the messages of these rules are compared; default: all
	Input      []Step           `yaml:"input,required"`
	Until      rules.Duration   `yaml:"until"` // up to where the input is complete; default: the pane's end behind the last step
	Expect     []Line           `yaml:"expect,required"`
}

// Step is one part of the input: a stream (feed), events at one moment (at), or silence that is on record. All steps of a test run beside
// each other. Where nothing comes and no silence is on record is a gap.
type Step struct {
	Where     strictyaml.Where `json:"-"`
	Feed      *Stretch         `yaml:"feed"`
	At        *rules.Duration  `yaml:"at"`
	Silence   *Stretch         `yaml:"silence"`
	Events    []stream.Recipe  `yaml:"events"`
	Partition *int             `yaml:"partition"` // default: dealt out to all in turn
	Late      rules.Duration   `yaml:"late"`      // every event arrives so long after its time
	Shuffle   rules.Duration   `yaml:"shuffle"`   // each event arrives up to so long after its time: out of order
	Duplicate stream.Share     `yaml:"duplicate"` // the share of events that arrive twice
}

// Stretch is a stretch of the test's time, [From, To), written `1m..5m`.
type Stretch struct{ From, To rules.Duration }

// UnmarshalText reads from..to.
func (s *Stretch) UnmarshalText(text []byte) error {
	from, to, ok := strings.Cut(string(text), "..")
	err1, err2 := s.From.UnmarshalText([]byte(from)), s.To.UnmarshalText([]byte(to))
	if !ok || err1 != nil || err2 != nil || s.To <= s.From {
		return strictyaml.ErrExpected("a stretch of time such as 1m..5m")
	}
	return nil
}

// Moment is an event time in epoch ms, written as RFC 3339.
type Moment int64

// UnmarshalText reads RFC 3339.
func (m *Moment) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return strictyaml.ErrExpected("a time such as 2026-11-02T09:00:00Z")
	}
	*m = Moment(t.UnixMilli())
	return nil
}

// Line is one expected message: when, what, of which rule and, where given, of which labels and why. The forms are
//
//	7m20s Sev4 opened CriticalErrorRateSpike{service="api"} because error share 1.5 % over 2m is above 0.5 % (Sev4) for 1m: 18 of 1200
//	9m circuit_breaker requested CriticalErrorRateSpike
type Line struct {
	at         rules.Duration
	what       string // the severity, or the action of a recovery
	transition string
	about      string // the rule, with or without labels
	because    string
	text       string
}

// UnmarshalText reads a line.
func (l *Line) UnmarshalText(text []byte) error {
	line, because, _ := strings.Cut(string(text), " because ")
	words := strings.SplitN(strings.Join(strings.Fields(line), " "), " ", 4)
	if len(words) != 4 || l.at.UnmarshalText([]byte(words[0])) != nil {
		return strictyaml.ErrExpected("`time severity transition rule`, such as `2m30s Sev1 opened SystemDown`")
	}
	l.what, l.transition, l.about, l.because, l.text = words[1], words[2], words[3], because, string(text)
	return nil
}

// meets says whether what was told is what the line expects.
func (l *Line) meets(got *Line) bool {
	rule, _, _ := strings.Cut(got.about, "{")
	return l.at == got.at && strings.EqualFold(l.what, got.what) && l.transition == got.transition &&
		(l.about == got.about || l.about == rule) && (l.because == "" || l.because == got.because)
}

// Limits of one test: it is to take milliseconds.
const (
	maxSpan       = 31 * 24 * 3600_000 // ms
	maxPartitions = 64
	maxEvents     = 5_000_000
)

// topic is what the events of a test come from.
const topic = "test"

// defaultStart is a Monday morning.
const defaultStart = Moment(1793610000000)

// Parse reads a file of tests; the error is a strictyaml.Errors with every mistake that can be seen without the rules.
func Parse(name string, data []byte) (*File, error) {
	f := &File{name: name}
	errs := strictyaml.Decode(name, data, f)
	if f.Where.Line > 0 {
		f.defaults()
	}
	fail := func(pos strictyaml.Pos, format string, args ...any) {
		errs = append(errs, strictyaml.Error{File: name, Pos: pos, Msg: fmt.Sprintf(format, args...)})
	}
	if f.Where.Line > 0 && (f.Pane < 100 || f.Pane > 3600_000) {
		fail(f.Where.Of("pane"), "pane is %s, expected 100ms to 1h", f.Pane)
		f.Pane = 10_000 // to look for what else is wrong
	}
	if len(f.Labels) > detector.MaxLabels {
		fail(f.Where.Of("labels"), "labels has %d names, expected %d at most, the domain among them", len(f.Labels), detector.MaxLabels)
	}
	if f.Where.Has("tests") && len(f.Tests) == 0 {
		fail(f.Where.Of("tests"), "tests is empty, expected at least one test")
	}
	for i := range f.Tests {
		if f.Tests[i].Where.Line > 0 {
			f.Tests[i].check(f, fail)
		}
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) defaults() {
	if !f.Where.Has("pane") || !f.Where.Readable("pane") {
		f.Pane = 10_000
	}
	if f.Lateness == nil {
		lateness := rules.Duration(10_000)
		f.Lateness = &lateness
	}
	if f.Labels == nil {
		f.Labels = rules.DefaultLabels()
	}
	if f.Domain != "" && !slices.Contains(f.Labels, f.Domain) {
		f.Labels = append(f.Labels, f.Domain)
	}
	for i := range f.Tests {
		t := &f.Tests[i]
		if !t.Where.Has("start") || !t.Where.Readable("start") {
			t.Start = defaultStart
		}
		if !t.Where.Has("partitions") || !t.Where.Readable("partitions") {
			t.Partitions = 1
		}
	}
}

type failer func(pos strictyaml.Pos, format string, args ...any)

func (t *Test) check(f *File, fail failer) {
	if t.Partitions < 1 || t.Partitions > maxPartitions {
		fail(t.Where.Of("partitions"), "partitions is %d, expected 1 to %d", t.Partitions, maxPartitions)
	}
	if int64(t.Start)%int64(f.Pane) != 0 {
		fail(t.Where.Of("start"), "start is no multiple of the pane of %s, so that no time in expect could be met", f.Pane)
	}
	events := int64(0)
	for i := range t.Input {
		s := &t.Input[i]
		if s.Where.Line == 0 {
			continue
		}
		s.check(t, f, fail)
		if s.end() > maxSpan {
			fail(s.Where.Pos, "the step ends at %s, expected at most %s", s.end(), rules.Duration(maxSpan))
			continue
		}
		events += s.count(int64(f.Pane))
	}
	if events > maxEvents {
		fail(t.Where.Of("input"), "the input is %d events, expected at most %d", events, maxEvents)
	}
	if t.Where.Has("until") && t.Where.Readable("until") && t.Until < t.end() {
		fail(t.Where.Of("until"), "until is %s, but the last step ends at %s", t.Until, t.end())
	}
}

func (s *Step) check(t *Test, f *File, fail failer) {
	switch has := s.Where.Among("feed", "at", "silence"); len(has) {
	case 0:
		fail(s.Where.Pos, "a step has none of feed, at and silence, expected one of them")
	case 1:
		s.goesWith(has[0], fail)
	default:
		fail(s.Where.Pos, "a step has %s, expected one of them", strings.Join(has, " and "))
	}
	for i := range s.Events {
		for _, name := range s.Events[i].LabelNames() {
			if !slices.Contains(f.Labels, name) {
				fail(s.Where.Of(fmt.Sprintf("events[%d]", i)), "the unknown label %q, expected one of %s", name, strings.Join(f.Labels, ", "))
			}
		}
	}
	if s.Partition != nil && t.Partitions >= 1 && (*s.Partition < 0 || *s.Partition >= t.Partitions) {
		fail(s.Where.Of("partition"), "partition is %d, expected 0 to %d", *s.Partition, t.Partitions-1)
	}
}

// goesWith checks what stands beside feed, at or silence.
func (s *Step) goesWith(what string, fail failer) {
	if what != "silence" && !s.Where.Has("events") {
		fail(s.Where.Pos, "a step with %s lacks \"events\"", what)
	}
	if what != "silence" {
		return
	}
	for _, key := range s.Where.Among("events", "partition", "late", "shuffle", "duplicate") {
		fail(s.Where.Of(key), "%s goes with feed or at, not with silence", key)
	}
}

// end is where the step's own time ends.
func (s *Step) end() rules.Duration {
	switch {
	case s.Feed != nil:
		return s.Feed.To
	case s.Silence != nil:
		return s.Silence.To
	case s.At != nil:
		return *s.At
	default:
		return 0
	}
}

// count is about how many events the step makes.
func (s *Step) count(pane int64) int64 {
	n := int64(0)
	for i := range s.Events {
		per, slices := s.Events[i].Per, int64(1)
		if per == 0 {
			per = pane
		}
		if s.Feed != nil {
			slices = int64(s.Feed.To-s.Feed.From)/max(1, per) + 1
		}
		n += slices * int64(s.Events[i].Count)
	}
	return n
}

func (t *Test) end() rules.Duration {
	end := rules.Duration(0)
	for i := range t.Input {
		end = max(end, t.Input[i].end())
	}
	return end
}

// Options are what the rule file has to be checked against.
func (f *File) Options() rules.Options { return rules.Options{Labels: f.Labels, Pane: f.Pane} }

// Check looks for what cannot be seen without the rules: whether there are the rules that tests speak of.
func (f *File) Check(file *rules.File) error {
	var errs strictyaml.Errors
	var names []string
	for _, r := range file.Rules() {
		names = append(names, r.Alert)
	}
	unknown := func(pos strictyaml.Pos, name string) {
		if !slices.Contains(names, name) {
			errs = append(errs, strictyaml.Error{File: f.name, Pos: pos, Msg: fmt.Sprintf("there is no rule %q, expected one of %s",
				name, strings.Join(names, ", "))})
		}
	}
	for _, t := range f.Tests {
		for i, name := range t.About {
			unknown(t.Where.Of(fmt.Sprintf("about[%d]", i)), name)
		}
		for i, l := range t.Expect {
			name, _, _ := strings.Cut(l.about, "{")
			pos := t.Where.Of(fmt.Sprintf("expect[%d]", i))
			unknown(pos, name)
			if len(t.About) > 0 && !slices.Contains(t.About, name) && slices.Contains(names, name) {
				errs = append(errs, strictyaml.Error{File: f.name, Pos: pos, Msg: fmt.Sprintf("the test is not about %s, so that could never be met", name)})
			}
		}
	}
	return errs.Err()
}

// config is the engine's configuration of the tests.
func (f *File) config() detector.Config {
	c := detector.DefaultConfig()
	c.Labels, c.Domain, c.Pane, c.Lateness = f.Labels, f.Domain, int64(f.Pane), int64(*f.Lateness)
	c.CountSessions = map[string]bool{topic: true}
	return c
}
