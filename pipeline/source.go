package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
	"sevwatch/rules/strictyaml"
)

// SourceConfig is a topic that events come from.
type SourceConfig struct {
	Where         strictyaml.Where
	Topic         string                 `yaml:"topic,required"`
	Kind          Kind                   `yaml:"kind"`           // of records that do not say it
	Format        Format                 `yaml:"format"`         // of a record's value
	Fields        map[string]FieldConfig `yaml:"fields"`         // where the keys of an event are; none: where the contract has them
	Endpoints     EndpointsConfig        `yaml:"endpoints"`      // which paths are one endpoint
	KeepLabels    []string               `yaml:"keep_labels"`    // no others make a series; none: all
	DropLabels    []string               `yaml:"drop_labels"`    // that make no series
	Isolation     Isolation              `yaml:"isolation"`      // default read_committed
	MaxBytes      int                    `yaml:"max_bytes"`      // larger records are rejected
	LongLabels    LongLabels             `yaml:"long_labels"`    // what happens to labels of more than wire.MaxLabel bytes
	Lateness      rules.Duration         `yaml:"lateness"`       // default: the pipeline's
	Duplicates    DuplicatesConfig       `yaml:"duplicates"`     // which events are not counted again
	Sessions      SessionsConfig         `yaml:"sessions"`       // for how long visitors who entered a step are waited for
	CountSessions bool                   `yaml:"count_sessions"` // how many different ones events come from
	Partitions    int                    `yaml:"partitions"`     // only for `sevwatch topics`, when it has to make the topic
}

// FieldConfig is where one key of an event is found in records of another shape.
type FieldConfig struct {
	Where  strictyaml.Where
	Path   string            `yaml:"path"`
	Const  string            `yaml:"const"`
	Unit   string            `yaml:"unit"`
	Values map[string]string `yaml:"values"`
}

// EndpointsConfig is which paths of requests are one endpoint.
type EndpointsConfig struct {
	Where    strictyaml.Where
	Patterns []string `yaml:"patterns"`
	IDs      bool     `yaml:"ids"` // numbers, UUIDs and long hex numbers are {id}
}

// DuplicatesConfig is for how long, and of how many events, the ids are remembered.
type DuplicatesConfig struct {
	Where   strictyaml.Where
	Horizon rules.Duration `yaml:"horizon"` // 0: duplicates are not looked for
	MaxIDs  int            `yaml:"max_ids"` // a partition
}

// SessionsConfig is for how long visitors who entered a step are waited for.
type SessionsConfig struct {
	Where     strictyaml.Where
	Timeout   rules.Duration            `yaml:"timeout"`    // 0: only for the steps of Timeouts
	Timeouts  map[string]rules.Duration `yaml:"timeouts"`   // by step
	MaxVisits int                       `yaml:"max_visits"` // remembered, a partition
}

// Kind is an event kind in a configuration.
type Kind struct{ rules.Kind }

// UnmarshalText reads the name of a kind.
func (k *Kind) UnmarshalText(text []byte) error {
	if k.Kind = rules.KindOf(string(text)); k.Kind == rules.NoKind {
		return strictyaml.ErrExpected("one of " + strings.Join(rules.Kinds(), ", "))
	}
	return nil
}

// Format is a format in a configuration.
type Format struct{ wire.Format }

// UnmarshalText reads the name of a format.
func (f *Format) UnmarshalText(text []byte) error {
	if f.Format = wire.Format(text); !slices.Contains(wire.Formats(), string(text)) {
		return strictyaml.ErrExpected("one of " + strings.Join(wire.Formats(), ", "))
	}
	return nil
}

// LongLabels is what happens to a label's value of more than wire.MaxLabel bytes.
type LongLabels string

// What can happen to it.
const (
	RejectLong LongLabels = "reject" // the record is rejected
	CutLong    LongLabels = "cut"    // the value is cut: longer ones that begin alike are one
)

// UnmarshalText reads reject or cut.
func (l *LongLabels) UnmarshalText(text []byte) error {
	if *l = LongLabels(text); *l != RejectLong && *l != CutLong {
		return strictyaml.ErrExpected("reject or cut")
	}
	return nil
}

// Isolation is what is read of transactions in a source.
type Isolation string

// What can be read of them.
const (
	ReadCommitted   Isolation = "read_committed"   // what was committed, when it was
	ReadUncommitted Isolation = "read_uncommitted" // everything, at once
)

// UnmarshalText reads read_committed or read_uncommitted.
func (i *Isolation) UnmarshalText(text []byte) error {
	if *i = Isolation(text); *i != ReadCommitted && *i != ReadUncommitted {
		return strictyaml.ErrExpected("read_committed or read_uncommitted")
	}
	return nil
}

// level is it in Kafka's protocol.
func (i Isolation) level() kafka.IsolationLevel {
	if i == ReadUncommitted {
		return kafka.ReadUncommitted
	}
	return kafka.ReadCommitted
}

// DefaultSources are the topics of an assessment flow.
func DefaultSources() []SourceConfig {
	sources := []SourceConfig{
		{Topic: "assessment.errors", Kind: Kind{rules.KindError}},
		{Topic: "assessment.latency", Kind: Kind{rules.KindLatency}},
		{Topic: "assessment.steps", Kind: Kind{rules.KindStep}},
		{Topic: "assessment.telemetry"},
		{Topic: "assessment.changes", Kind: Kind{rules.KindChange}},
	}
	for i := range sources {
		sources[i].fillIn()
	}
	return sources
}

func (s *SourceConfig) fillIn() {
	fill(s.Where, "format", &s.Format, Format{wire.FormatJSON})
	fill(s.Where, "max_bytes", &s.MaxBytes, wire.MaxRecord)
	fill(s.Where, "isolation", &s.Isolation, ReadCommitted)
	fill(s.Where, "long_labels", &s.LongLabels, RejectLong)
	fill(s.Where, "partitions", &s.Partitions, 4)
	fill(s.Duplicates.Where, "max_ids", &s.Duplicates.MaxIDs, 1_000_000)
	fill(s.Sessions.Where, "max_visits", &s.Sessions.MaxVisits, 200_000)
	fill(s.Endpoints.Where, "ids", &s.Endpoints.IDs, s.foreign())
}

func (s *SourceConfig) duplicates() detector.Duplicates {
	return detector.Duplicates{Horizon: int64(s.Duplicates.Horizon), Max: s.Duplicates.MaxIDs}
}

func (s *SourceConfig) sessions() detector.Sessions {
	out := detector.Sessions{Timeout: int64(s.Sessions.Timeout), Timeouts: map[string]int64{}, Max: s.Sessions.MaxVisits}
	for step, timeout := range s.Sessions.Timeouts {
		out.Timeouts[step] = int64(timeout)
	}
	return out
}

// shape is a hash of what decides which visit an event of the source is, in that domain.
func (s *SourceConfig) shape(domain string) string {
	fields := s.fields()
	maps.DeleteFunc(fields, func(name string, _ wire.Field) bool {
		return !slices.Contains([]string{"kind", "time", "session", "step", "action", domain}, name)
	})
	all := []any{s.Kind.Kind, s.Format.Format, fields, s.LongLabels}
	if domain == "endpoint" {
		all = append(all, s.Endpoints.Patterns, s.Endpoints.IDs)
	}
	return hashOf(all)
}

// foreign says whether the records have another shape than ours.
func (s *SourceConfig) foreign() bool { return len(s.Fields) > 0 || s.Format.Format == wire.FormatOTLP }

// plain says whether the records are events as they are, so that Decoder alone reads them.
func (s *SourceConfig) plain() bool {
	return !s.foreign() && s.Format.Format == wire.FormatJSON && s.LongLabels == RejectLong && !s.Endpoints.IDs && len(s.Endpoints.Patterns) == 0
}

// dropped are the labels that make no series of this source.
func (s *SourceConfig) dropped(labels []string) []string {
	if len(s.KeepLabels) == 0 {
		return s.DropLabels
	}
	return slices.DeleteFunc(slices.Clone(labels), func(label string) bool { return slices.Contains(s.KeepLabels, label) })
}

// Decoder makes what reads records that are events as they are.
func (s *SourceConfig) Decoder(labels []string) *wire.Decoder {
	d := wire.NewDecoder(s.Kind.Kind, labels)
	d.MaxBytes = s.MaxBytes
	d.Drop(s.dropped(labels))
	if s.Duplicates.Horizon > 0 {
		d.ReadIDs()
	}
	return d
}

// Input makes what reads the records of a source whose configuration has been checked; nil where a Decoder does. Only the format confluent
// needs schemas.
func (s *SourceConfig) Input(labels []string, schemas wire.Schemas) *wire.Input {
	if s.plain() {
		return nil
	}
	spec := wire.InputSpec{
		Format: s.Format.Format, Kind: s.Kind.Kind, Labels: labels, MaxBytes: s.MaxBytes, CutLong: s.LongLabels == CutLong, Drop: s.dropped(labels),
		Schemas: schemas, IDs: s.Duplicates.Horizon > 0,
	}
	var err error
	if len(s.Fields) > 0 {
		spec.Mapping, err = wire.NewMapping(s.fields())
	}
	if s.Endpoints.IDs || len(s.Endpoints.Patterns) > 0 {
		var bad error
		spec.Endpoints, bad = wire.NewEndpoints(s.Endpoints.Patterns, s.Endpoints.IDs)
		err = errors.Join(err, bad)
	}
	if err != nil {
		panic(fmt.Sprintf("BUG: the source %s was not checked: %v", s.Topic, err))
	}
	return wire.NewInput(spec)
}

func (s *SourceConfig) fields() map[string]wire.Field {
	out := map[string]wire.Field{}
	for name, f := range s.Fields {
		out[name] = wire.Field{Path: f.Path, Const: f.Const, Unit: wire.Unit(f.Unit), Values: f.Values}
	}
	return out
}

func (k *checker) sources(c *Config) {
	if len(c.Sources) == 0 {
		k.fail(c.Where.Of("sources"), "sources is empty, expected at least one topic")
	}
	for i := range c.Sources {
		s := &c.Sources[i]
		k.number(s.Where, "max_bytes", s.MaxBytes, 1, maxMaxBytes)
		if s.Where.Has("lateness") {
			k.span(s.Where, "lateness", s.Lateness, 0, 24*hour)
		}
		k.number(s.Where, "partitions", s.Partitions, 1, maxPartitions)
		if !c.Where.Has("sources") || s.Where.Has("topic") && s.Where.Readable("topic") {
			k.topic(s.Where, "topic", fmt.Sprintf("sources[%d].topic", i), s.Topic)
		}
		k.fields(c, s)
		k.endpoints(&s.Endpoints)
		k.duplicates(s)
		k.sessions(c, s)
		k.counts(s)
		k.someLabels(c, s, "keep_labels", s.KeepLabels)
		k.someLabels(c, s, "drop_labels", s.DropLabels)
		if len(s.KeepLabels) > 0 && len(s.DropLabels) > 0 {
			k.fail(s.Where.Of("drop_labels"), "drop_labels stands beside keep_labels, expected one of the two")
		}
	}
}

func (k *checker) duplicates(s *SourceConfig) {
	d := &s.Duplicates
	k.span(d.Where, "horizon", d.Horizon, 0, 7*24*hour)
	k.number(d.Where, "max_ids", d.MaxIDs, 1, 100_000_000)
	if d.Horizon > 0 && s.Format.Format == wire.FormatOTLP {
		k.fail(d.Where.Of("horizon"), "horizon stands beside format otlp, expected none: a record of it is many events, and has no id")
	}
}

func (k *checker) sessions(c *Config, s *SourceConfig) {
	w := s.Sessions.Where
	k.span(w, "timeout", s.Sessions.Timeout, 0, maxTimeout)
	for _, step := range slices.Sorted(maps.Keys(s.Sessions.Timeouts)) {
		k.span(w, "timeouts."+step, s.Sessions.Timeouts[step], 0, maxTimeout)
	}
	k.number(w, "max_visits", s.Sessions.MaxVisits, 1, 100_000_000)
	if follows := s.sessions(); !follows.On() {
		return
	}
	if s.Format.Format == wire.FormatOTLP {
		k.fail(w.Pos, "sessions stands beside format otlp, expected none: spans are no steps")
	}
	if _, mapped := s.Fields["session"]; len(s.Fields) > 0 && !mapped {
		k.fail(s.Where.Of("fields"), "fields lacks session, and the source's sessions are to be followed")
	}
	for _, name := range []string{"step", "action"} {
		switch {
		case !c.Where.Readable("labels"):
		case !slices.Contains(c.Labels, name):
			k.fail(w.Pos, "sessions needs the label %q, which labels lacks", name)
		case len(s.KeepLabels) > 0 && !slices.Contains(s.KeepLabels, name):
			k.fail(s.Where.Of("keep_labels"), "keep_labels lacks %q, which sessions needs", name)
		case slices.Contains(s.DropLabels, name):
			k.fail(s.Where.Of("drop_labels"), "drop_labels has %q, which sessions needs", name)
		}
	}
}

// counts checks that the session of an event can be read where sessions are counted.
func (k *checker) counts(s *SourceConfig) {
	if _, mapped := s.Fields["session"]; s.CountSessions && len(s.Fields) > 0 && !mapped {
		k.fail(s.Where.Of("count_sessions"), "count_sessions is true, but fields lacks session")
	}
}

// mayHave says whether events of the source can be of that kind.
func (s *SourceConfig) mayHave(kind rules.Kind) bool {
	_, mapped := s.Fields["kind"]
	return kind == s.Kind.Kind || s.Kind.Kind == rules.NoKind || mapped || s.Format.Format == wire.FormatOTLP
}

// dropped are the labels that every source of a kind drops. Attempts have those of steps.
func (c *Config) dropped() map[rules.Kind][]string {
	out := map[rules.Kind][]string{}
	for _, name := range rules.Kinds() {
		kind := rules.KindOf(name)
		first := true
		for i := range c.Sources {
			s := &c.Sources[i]
			if !s.mayHave(kind) {
				continue
			}
			dropped := s.dropped(c.Labels)
			if first {
				out[kind], first = slices.Clone(dropped), false
			}
			out[kind] = slices.DeleteFunc(out[kind], func(label string) bool { return !slices.Contains(dropped, label) })
		}
	}
	out[rules.KindAttempt] = out[rules.KindStep]
	return out
}

// sessionless are the kinds of events of which no source counts the sessions. Records of a source that has a kind are taken to be of it.
func (c *Config) sessionless() []rules.Kind {
	counted := map[rules.Kind]bool{}
	for i := range c.Sources {
		s := &c.Sources[i]
		follows := s.sessions()
		for _, name := range rules.Kinds() {
			kind := rules.KindOf(name)
			if s.CountSessions && s.mayHave(kind) {
				counted[kind] = true
				counted[rules.KindAttempt] = counted[rules.KindAttempt] || kind == rules.KindStep && follows.On()
			}
		}
	}
	out := []rules.Kind{}
	for kind := rules.KindError; kind.Known(); kind++ {
		if !counted[kind] {
			out = append(out, kind)
		}
	}
	return out
}

// maxTimeout is how long visitors can be waited for.
const maxTimeout = 31 * 24 * hour

// fields checks a mapping: that it maps keys that an event has, and each of them.
func (k *checker) fields(c *Config, s *SourceConfig) {
	known := append(wire.EventKeys(), c.Labels...)
	for _, name := range slices.Sorted(maps.Keys(s.Fields)) {
		if name == "status_class" || !slices.Contains(known, name) {
			k.fail(s.Where.Of("fields."+name), "fields has %q, expected keys of an event, which are %s, or of labels", name,
				strings.Join(wire.EventKeys(), ", "))
		}
	}
	if s.Format.Format == wire.FormatOTLP && len(s.Fields) > 0 {
		k.fail(s.Where.Of("fields"), "fields stands beside format otlp, expected none: its attributes are named by conventions and labels")
	}
	if !s.Where.Readable("fields") {
		return
	}
	_, err := wire.NewMapping(s.fields())
	for _, e := range fieldErrors(err) {
		f := s.Fields[e.Field]
		k.fail(f.Where.Of(e.Key), "fields.%s.%s is %s", e.Field, e.Key, e.Err)
	}
	if _, mapped := s.Fields["kind"]; len(s.Fields) > 0 && !mapped && s.Kind.Kind == rules.NoKind {
		k.fail(s.Where.Of("fields"), "fields lacks kind, and the source has none: expected one of the two")
	}
}

func fieldErrors(err error) []wire.FieldError {
	var out []wire.FieldError
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range many.Unwrap() {
			var e wire.FieldError
			if errors.As(err, &e) {
				out = append(out, e)
			}
		}
	}
	return out
}

func (k *checker) endpoints(e *EndpointsConfig) {
	if len(e.Patterns) > wire.MaxPatterns {
		k.fail(e.Where.Of("patterns"), "patterns has %d, expected %d at most", len(e.Patterns), wire.MaxPatterns)
	}
	for i, p := range e.Patterns {
		key := fmt.Sprintf("patterns[%d]", i)
		if _, err := wire.NewEndpoints([]string{p}, false); err != nil {
			k.fail(e.Where.Of(key), "%s is %q, %s", key, p, err)
		}
		if slices.Contains(e.Patterns[:i], p) {
			k.fail(e.Where.Of(key), "%s is %q, which is there already", key, p)
		}
	}
}

// someLabels checks that names are labels of the pipeline.
func (k *checker) someLabels(c *Config, s *SourceConfig, key string, names []string) {
	if !c.Where.Readable("labels") {
		return
	}
	for i, name := range names {
		item := fmt.Sprintf("%s[%d]", key, i)
		if !slices.Contains(c.Labels, name) {
			k.fail(s.Where.Of(item), "%s is %q, expected one of labels: %s", item, name, strings.Join(c.Labels, ", "))
		}
		if key == "drop_labels" && name == c.Domain {
			k.fail(s.Where.Of(item), "%s is %q, which is the domain: its values are judged apart", item, name)
		}
	}
	if key == "keep_labels" && len(names) > 0 && c.Domain != "" && !slices.Contains(names, c.Domain) {
		k.fail(s.Where.Of(key), "keep_labels lacks %q, which is the domain: its values are judged apart", c.Domain)
	}
}
