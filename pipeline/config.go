// Package pipeline is everything that touches the world: Kafka, files, transactions, state, publishing, HTTP. What is decided about events
// is decided in detector and rules; this package brings them their input in the right order and carries their output on.
package pipeline

import (
	"fmt"
	"slices"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
	"sevwatch/rules/strictyaml"
)

// Config is a configuration file. Every key is explained in deploy/sevwatch.yaml.
type Config struct {
	Pipeline  string         `yaml:"pipeline"`
	Brokers   []string       `yaml:"brokers,required"`
	Sources   []SourceConfig `yaml:"sources"`
	Labels    []string       `yaml:"labels"`
	Domain    string         `yaml:"domain"`
	Pane      rules.Duration `yaml:"pane"`
	Lateness  rules.Duration `yaml:"lateness"`
	IdleAfter rules.Duration `yaml:"idle_after"`
	Rules     string         `yaml:"rules"`
	Tasks     Tasks          `yaml:"tasks"`
	Topics    Topics         `yaml:"topics"`
	Group     Group          `yaml:"group"`
	HTTP      HTTP           `yaml:"http"`
}

// SourceConfig is a topic that events come from.
type SourceConfig struct {
	Pos        strictyaml.Pos
	Topic      string `yaml:"topic,required"`
	Kind       Kind   `yaml:"kind"`       // of records that do not say it
	MaxBytes   int    `yaml:"max_bytes"`  // larger records are rejected
	Partitions int    `yaml:"partitions"` // only for `sevwatch topics`, when it has to make the topic
}

// Kind is an event kind in a configuration.
type Kind struct{ rules.Kind }

// UnmarshalText reads the name of a kind.
func (k *Kind) UnmarshalText(text []byte) error {
	if k.Kind = rules.KindOf(string(text)); k.Kind == rules.NoKind {
		return strictyaml.ErrExpected(fmt.Sprintf("one of %v", rules.Kinds()))
	}
	return nil
}

// Tasks are how many pieces the work of a stage can be spread over. They are fixed when the topics are made.
type Tasks struct {
	Pos       strictyaml.Pos
	Aggregate int `yaml:"aggregate"`
	Judge     int `yaml:"judge"`
}

// Topics are the names of our own topics, and how they are made.
type Topics struct {
	Pos         strictyaml.Pos
	Panes       string `yaml:"panes"`
	Marks       string `yaml:"marks"`
	State       string `yaml:"state"`
	Alerts      string `yaml:"alerts"`
	Recovery    string `yaml:"recovery"`
	Rejected    string `yaml:"rejected"`
	Late        string `yaml:"late"`
	Control     string `yaml:"control"`
	Health      string `yaml:"health"`
	Partitions  int    `yaml:"partitions"`  // of alerts, recovery, rejected and late
	Replication int    `yaml:"replication"` // of all
}

// Group is how membership of the consumer groups is kept.
type Group struct {
	SessionTimeout rules.Duration `yaml:"session_timeout"`
	Heartbeat      rules.Duration `yaml:"heartbeat"`
}

// HTTP is where metrics and health are served.
type HTTP struct {
	Listen string `yaml:"listen"`
}

// DefaultSources are the topics of an assessment flow.
func DefaultSources() []SourceConfig {
	return []SourceConfig{
		{Topic: "assessment.errors", Kind: Kind{rules.KindError}},
		{Topic: "assessment.latency", Kind: Kind{rules.KindLatency}},
		{Topic: "assessment.steps", Kind: Kind{rules.KindStep}},
		{Topic: "assessment.telemetry"},
		{Topic: "assessment.changes", Kind: Kind{rules.KindChange}},
	}
}

// ParseConfig reads a configuration file; the error is a strictyaml.Errors with every mistake.
func ParseConfig(name string, data []byte) (*Config, error) {
	c := &Config{}
	errs := strictyaml.Decode(name, data, c)
	c.fillIn()
	errs = append(errs, c.validate(name)...)
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// fillIn puts the defaults where nothing was written.
func (c *Config) fillIn() {
	text := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	number := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	span := func(v *rules.Duration, d time.Duration) {
		if *v == 0 {
			*v = rules.Duration(d.Milliseconds())
		}
	}
	text(&c.Pipeline, "assessment")
	if c.Sources == nil {
		c.Sources = DefaultSources()
	}
	if c.Labels == nil {
		c.Labels = rules.DefaultLabels()
	}
	if c.Domain != "" && !slices.Contains(c.Labels, c.Domain) {
		c.Labels = append(c.Labels, c.Domain)
	}
	span(&c.Pane, 10*time.Second)
	span(&c.Lateness, 10*time.Second)
	span(&c.IdleAfter, time.Second)
	number(&c.Tasks.Aggregate, 4)
	number(&c.Tasks.Judge, 1)
	t := &c.Topics
	text(&t.Panes, "sevwatch.panes")
	text(&t.Marks, "sevwatch.marks")
	text(&t.State, "sevwatch.state")
	text(&t.Alerts, "assessment.alerts")
	text(&t.Recovery, "assessment.recovery")
	text(&t.Rejected, "sevwatch.rejected")
	text(&t.Late, "sevwatch.late")
	text(&t.Control, "sevwatch.control")
	text(&t.Health, "sevwatch.health")
	number(&t.Partitions, 4)
	number(&t.Replication, 3)
	span(&c.Group.SessionTimeout, 6*time.Second)
	span(&c.Group.Heartbeat, time.Second)
	text(&c.HTTP.Listen, "127.0.0.1:9644")
	for i := range c.Sources {
		number(&c.Sources[i].MaxBytes, wire.MaxRecord)
		number(&c.Sources[i].Partitions, 4)
	}
}

// validate checks how the values relate.
func (c *Config) validate(name string) strictyaml.Errors {
	var errs strictyaml.Errors
	fail := func(pos strictyaml.Pos, format string, args ...any) {
		if pos.Line == 0 {
			pos = strictyaml.Pos{Line: 1, Col: 1}
		}
		errs = append(errs, strictyaml.Error{File: name, Pos: pos, Msg: fmt.Sprintf(format, args...)})
	}
	topics := map[string]bool{}
	for _, s := range c.Sources {
		if topics[s.Topic] && s.Topic != "" {
			fail(s.Pos, "topic %q is there twice", s.Topic)
		}
		topics[s.Topic] = true
		if s.MaxBytes < 1 || s.MaxBytes > 100<<20 {
			fail(s.Pos, "max_bytes is %d, expected 1 to %d", s.MaxBytes, 100<<20)
		}
	}
	for _, t := range c.Topics.own() {
		if topics[t] {
			fail(c.Topics.Pos, "topic %q is there twice", t)
		}
		topics[t] = true
	}
	if c.Tasks.Aggregate < 1 || c.Tasks.Aggregate > 1000 || c.Tasks.Judge < 1 || c.Tasks.Judge > 1000 {
		fail(c.Tasks.Pos, "tasks are %d and %d, expected 1 to 1000 each", c.Tasks.Aggregate, c.Tasks.Judge)
	}
	if len(c.Labels) > wire.MaxLabels {
		fail(strictyaml.Pos{}, "labels has %d names, expected %d at most", len(c.Labels), wire.MaxLabels)
	}
	for i, l := range c.Labels {
		if slices.Contains(c.Labels[:i], l) {
			fail(strictyaml.Pos{}, "label %q is there twice", l)
		}
	}
	if len(c.Brokers) == 0 {
		fail(strictyaml.Pos{}, "brokers is empty, expected host:port of at least one")
	}
	if c.Group.Heartbeat*3 > c.Group.SessionTimeout {
		fail(strictyaml.Pos{}, "group.heartbeat is %s, expected at most a third of session_timeout, %s", c.Group.Heartbeat, c.Group.SessionTimeout)
	}
	return errs
}

func (t *Topics) own() []string {
	return []string{t.Panes, t.Marks, t.State, t.Alerts, t.Recovery, t.Rejected, t.Late, t.Control, t.Health}
}

// Engine is what the two stages have to agree on.
func (c *Config) Engine() detector.Config {
	return detector.Config{Labels: c.Labels, Domain: c.Domain, Pane: int64(c.Pane), Lateness: int64(c.Lateness)}
}

// RuleOptions is what rules are checked against.
func (c *Config) RuleOptions() rules.Options {
	return rules.Options{Labels: c.Labels, Pane: c.Pane}
}
