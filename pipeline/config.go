// Package pipeline is everything that touches the world: Kafka, files, transactions, state, publishing, HTTP. What is decided about events
// is decided in detector and rules; this package brings them their input in the right order and carries their output on.
package pipeline

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
	"sevwatch/rules/strictyaml"
)

// Config is a configuration file. Every key is explained in deploy/sevwatch.yaml.
type Config struct {
	Where        strictyaml.Where
	Pipeline     string         `yaml:"pipeline"`
	Brokers      []string       `yaml:"brokers,required"`
	Security     Security       `yaml:"security"`
	Sources      []SourceConfig `yaml:"sources"`
	Labels       []string       `yaml:"labels"`
	Domain       string         `yaml:"domain"`
	Pane         rules.Duration `yaml:"pane"`
	Lateness     rules.Duration `yaml:"lateness"` // of the sources that have none
	IdleAfter    rules.Duration `yaml:"idle_after"`
	MaxAhead     rules.Duration `yaml:"max_ahead"`
	Agree        int            `yaml:"agree"`
	MaxSkew      rules.Duration `yaml:"max_skew"`
	StalledAfter rules.Duration `yaml:"stalled_after"`
	Rules        string         `yaml:"rules"`
	Tasks        Tasks          `yaml:"tasks"`
	Topics       Topics         `yaml:"topics"`
	Group        Group          `yaml:"group"`
	HTTP         HTTP           `yaml:"http"`
	Registry     Registry       `yaml:"registry"`
	Limits       Limits         `yaml:"limits"`
}

// Tasks are how many pieces the work of a stage can be spread over. They are fixed when the topics are made.
type Tasks struct {
	Where     strictyaml.Where
	Aggregate int `yaml:"aggregate"`
	Judge     int `yaml:"judge"`
}

// Topics are the names of our own topics, and how they are made.
type Topics struct {
	Where       strictyaml.Where
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
	Replication int    `yaml:"replication"` // of all that `sevwatch topics` makes
}

// Group is how membership of the consumer groups is kept.
type Group struct {
	Where          strictyaml.Where
	SessionTimeout rules.Duration `yaml:"session_timeout"`
	Heartbeat      rules.Duration `yaml:"heartbeat"`
	Instance       string         `yaml:"instance"` // which of the workers this is, over restarts
}

// HTTP is where metrics and health are served.
type HTTP struct {
	Where  strictyaml.Where
	Listen string `yaml:"listen"` // host:port, or none
}

// Limits bound what the second stage keeps of each domain.
type Limits struct {
	Where     strictyaml.Where
	Series    int `yaml:"series"`    // counted apart
	Groups    int `yaml:"groups"`    // of a rule and values of its labels
	Incidents int `yaml:"incidents"` // open
}

// Registry is the Schema Registry that records of the format confluent need.
type Registry struct {
	Where    strictyaml.Where
	URL      string `yaml:"url"`
	User     string `yaml:"user"`
	Password string `yaml:"password"`
}

// ParseConfig reads a configuration file; the error is a strictyaml.Errors with every mistake.
func ParseConfig(name string, data []byte) (*Config, error) {
	c := &Config{}
	errs := strictyaml.Decode(name, data, c)
	if c.Where.Line > 0 {
		c.fillIn()
		errs = append(errs, c.check(name)...)
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// ConfigKeys are the keys at the top of a configuration file.
func ConfigKeys() (keys []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// fill puts the default where nothing was written, or nothing that can be read. A zero that was written stays and is checked.
func fill[T any](w strictyaml.Where, key string, v *T, d T) {
	if !w.Has(key) || !w.Readable(key) {
		*v = d
	}
}

// Units of durations in a configuration.
const (
	millisecond = rules.Duration(1)
	second      = 1000 * millisecond
	minute      = 60 * second
	hour        = 60 * minute
)

// fillIn puts the defaults.
func (c *Config) fillIn() {
	fill(c.Where, "pipeline", &c.Pipeline, "assessment")
	if c.Sources == nil {
		c.Sources = DefaultSources()
	}
	for i := range c.Sources {
		c.Sources[i].fillIn()
	}
	if c.Labels == nil {
		c.Labels = rules.DefaultLabels()
	}
	if c.Domain != "" && !slices.Contains(c.Labels, c.Domain) {
		c.Labels = append(c.Labels, c.Domain)
	}
	fill(c.Where, "pane", &c.Pane, 10*second)
	fill(c.Where, "lateness", &c.Lateness, 10*second)
	for i := range c.Sources {
		fill(c.Sources[i].Where, "lateness", &c.Sources[i].Lateness, c.Lateness)
	}
	fill(c.Where, "idle_after", &c.IdleAfter, second)
	fill(c.Where, "max_ahead", &c.MaxAhead, 5*minute)
	fill(c.Where, "agree", &c.Agree, 10)
	fill(c.Where, "max_skew", &c.MaxSkew, max(hour, 2*c.Pane))
	fill(c.Where, "stalled_after", &c.StalledAfter, 30*second)
	fill(c.Tasks.Where, "aggregate", &c.Tasks.Aggregate, 4)
	fill(c.Tasks.Where, "judge", &c.Tasks.Judge, 1)
	t := &c.Topics
	fill(t.Where, "panes", &t.Panes, "sevwatch.panes")
	fill(t.Where, "marks", &t.Marks, "sevwatch.marks")
	fill(t.Where, "state", &t.State, "sevwatch.state")
	fill(t.Where, "alerts", &t.Alerts, "assessment.alerts")
	fill(t.Where, "recovery", &t.Recovery, "assessment.recovery")
	fill(t.Where, "rejected", &t.Rejected, "sevwatch.rejected")
	fill(t.Where, "late", &t.Late, "sevwatch.late")
	fill(t.Where, "control", &t.Control, "sevwatch.control")
	fill(t.Where, "health", &t.Health, "sevwatch.health")
	fill(t.Where, "partitions", &t.Partitions, 4)
	fill(t.Where, "replication", &t.Replication, 3)
	fill(c.Group.Where, "session_timeout", &c.Group.SessionTimeout, 6*second)
	fill(c.Group.Where, "heartbeat", &c.Group.Heartbeat, second)
	limits := detector.DefaultLimits()
	fill(c.Limits.Where, "series", &c.Limits.Series, limits.Series)
	fill(c.Limits.Where, "groups", &c.Limits.Groups, limits.Groups)
	fill(c.Limits.Where, "incidents", &c.Limits.Incidents, limits.Incidents)
	fill(c.HTTP.Where, "listen", &c.HTTP.Listen, "127.0.0.1:9644")
}

// Limits of what can be configured.
const (
	maxMaxBytes    = 100 << 20
	maxTasks       = 1000
	maxPartitions  = 10_000
	maxReplication = 100
	maxLimit       = 10_000_000
)

// checker looks at the values themselves and at how they relate. What is missing or could not be read has been reported already; in its
// place stands the default, with which nothing is wrong.
type checker struct {
	file   string
	errs   strictyaml.Errors
	topics map[string]topicUse
}

// topicUse is where a topic is named: by which key, and where in the file, if it was written.
type topicUse struct {
	key     string
	written bool
	pos     strictyaml.Pos
}

func (k *checker) fail(pos strictyaml.Pos, format string, args ...any) {
	if pos.Line == 0 {
		panic(fmt.Sprintf("BUG: a mistake without a place: "+format, args...))
	}
	k.errs = append(k.errs, strictyaml.Error{File: k.file, Pos: pos, Msg: fmt.Sprintf(format, args...)})
}

func (k *checker) number(w strictyaml.Where, key string, v, low, high int) {
	if v < low || v > high {
		k.fail(w.Of(key), "%s is %d, expected %d to %d", key, v, low, high)
	}
}

func (k *checker) span(w strictyaml.Where, key string, v, low, high rules.Duration) {
	if v < low || v > high {
		k.fail(w.Of(key), "%s is %s, expected %s to %s", key, v, low, high)
	}
}

// check is every mistake that the grammar cannot see.
func (c *Config) check(file string) strictyaml.Errors {
	k := &checker{file: file, topics: map[string]topicUse{}}
	if !pipelineName.MatchString(c.Pipeline) {
		k.fail(c.Where.Of("pipeline"), "pipeline is %q, expected up to 100 letters, digits, dots, _ and -", c.Pipeline)
	}
	k.brokers(c)
	k.security(&c.Security)
	k.sources(c)
	k.ownTopics(&c.Topics)
	k.labels(c)
	k.span(c.Where, "pane", c.Pane, 100*millisecond, hour)
	k.span(c.Where, "lateness", c.Lateness, 0, 24*hour)
	k.span(c.Where, "idle_after", c.IdleAfter, 100*millisecond, hour)
	k.span(c.Where, "max_ahead", c.MaxAhead, second, 366*24*hour)
	k.number(c.Where, "agree", c.Agree, 1, detector.MaxAgree)
	k.span(c.Where, "max_skew", c.MaxSkew, second, 366*24*hour)
	k.span(c.Where, "stalled_after", c.StalledAfter, 0, hour)
	if c.MaxSkew >= second && c.MaxSkew < 2*c.Pane {
		k.fail(c.Where.Of("max_skew"), "max_skew is %s, expected two panes at least, which are %s", c.MaxSkew, 2*c.Pane)
	}
	k.number(c.Tasks.Where, "aggregate", c.Tasks.Aggregate, 1, maxTasks)
	k.number(c.Tasks.Where, "judge", c.Tasks.Judge, 1, maxTasks)
	k.number(c.Topics.Where, "partitions", c.Topics.Partitions, 1, maxPartitions)
	k.number(c.Topics.Where, "replication", c.Topics.Replication, 1, maxReplication)
	k.number(c.Limits.Where, "series", c.Limits.Series, 1, maxLimit)
	k.number(c.Limits.Where, "groups", c.Limits.Groups, 1, maxLimit)
	k.number(c.Limits.Where, "incidents", c.Limits.Incidents, 1, maxLimit)
	k.group(&c.Group)
	k.registry(c)
	if l := c.HTTP.Listen; l != "none" && !hostPort(l, true) {
		k.fail(c.HTTP.Where.Of("listen"), "listen is %q, expected host:port, :port or none", l)
	}
	return k.errs
}

// What Kafka takes as a topic's name, what can be part of a group's name and of a URI, and what a selector can name.
var (
	topicName    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)
	pipelineName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
	labelName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
)

// noLabels are the keys of an event that are numbers, times or a person's session: no series is made of them.
func noLabels() []string {
	return []string{"time", "kind", "session", "status", "duration_ms", "dwell_ms", "value", "score"}
}

// hostPort says whether text is host:port; where anyHost, :port and port 0 will do, as for listening.
func hostPort(text string, anyHost bool) bool {
	host, port, err := net.SplitHostPort(text)
	number, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && (anyHost || host != "" && number > 0)
}

func (k *checker) brokers(c *Config) {
	if !c.Where.Has("brokers") || !c.Where.Readable("brokers") {
		return
	}
	if len(c.Brokers) == 0 {
		k.fail(c.Where.Of("brokers"), "brokers is empty, expected host:port of at least one")
	}
	for i, b := range c.Brokers {
		if !hostPort(b, false) {
			k.fail(c.Where.Of(fmt.Sprintf("brokers[%d]", i)), "brokers[%d] is %q, expected host:port", i, b)
		}
	}
}

func (k *checker) ownTopics(t *Topics) {
	for _, own := range []struct{ key, name string }{
		{"panes", t.Panes},
		{"marks", t.Marks},
		{"state", t.State},
		{"alerts", t.Alerts},
		{"recovery", t.Recovery},
		{"rejected", t.Rejected},
		{"late", t.Late},
		{"control", t.Control},
		{"health", t.Health},
	} {
		k.topic(t.Where, own.key, "topics."+own.key, own.name)
	}
}

// topic checks that name is one that Kafka takes, and that it is not used for two things.
func (k *checker) topic(w strictyaml.Where, key, path, name string) {
	use := topicUse{path, w.Has(key), w.Of(key)}
	if !topicName.MatchString(name) || name == "." || name == ".." {
		k.fail(use.pos, "%s is %q, expected up to 249 letters, digits, dots, _ and -, not only . or ..", path, name)
		return
	}
	first, twice := k.topics[name]
	switch {
	case twice && use.written:
		k.fail(use.pos, "%s is %q, which is %s already", path, name, first.key)
	case twice:
		k.fail(first.pos, "%s is %q, which is %s by default", first.key, name, path)
	default:
		k.topics[name] = use
	}
}

func (k *checker) labels(c *Config) {
	if !c.Where.Readable("labels") {
		return
	}
	if len(c.Labels) > detector.MaxLabels {
		k.fail(c.Where.Of("labels"), "labels has %d names, expected %d at most, the domain among them", len(c.Labels), detector.MaxLabels)
	}
	for i, l := range c.Labels {
		key := fmt.Sprintf("labels[%d]", i)
		if !c.Where.Has(key) {
			key = "domain" // it was put behind the others
		}
		switch pos := c.Where.Of(key); {
		case slices.Contains(noLabels(), l):
			k.fail(pos, "%s is %q, expected a key that carries text, such as service", key, l)
		case !labelName.MatchString(l):
			k.fail(pos, "%s is %q, expected up to 64 letters, digits and _, no digit first", key, l)
		case l == detector.OverflowLabel:
			k.fail(pos, "%s is %q, which marks what was counted together at the limit of series", key, l)
		case slices.Contains(c.Labels[:i], l):
			k.fail(pos, "%s is %q, which is there already", key, l)
		}
	}
}

func (k *checker) group(g *Group) {
	k.span(g.Where, "session_timeout", g.SessionTimeout, second, 30*minute)
	k.span(g.Where, "heartbeat", g.Heartbeat, 100*millisecond, 10*minute)
	if g.Heartbeat*3 <= g.SessionTimeout {
		return
	}
	key := "heartbeat"
	if !g.Where.Has(key) {
		key = "session_timeout"
	}
	k.fail(g.Where.Of(key), "heartbeat is %s, expected at most a third of session_timeout, which is %s", g.Heartbeat, g.SessionTimeout)
}

func (k *checker) registry(c *Config) {
	r := &c.Registry
	if r.URL != "" {
		u, err := url.Parse(r.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			k.fail(r.Where.Of("url"), "url is %q, expected http:// or https:// and a host, without a user", r.URL)
		}
	}
	if r.Password != "" && r.User == "" {
		k.fail(r.Where.Of("password"), "password stands without a user")
	}
	for i := range c.Sources {
		if s := &c.Sources[i]; s.Format.Format == wire.FormatConfluent && r.URL == "" {
			k.fail(s.Where.Of("format"), "format is confluent, which needs registry.url")
		}
	}
}

// Secrets puts what the environment says in the place of secrets in the file, so that the file need not hold them.
func (c *Config) Secrets(lookup func(string) (string, bool)) {
	if password, set := lookup("SEVWATCH_REGISTRY_PASSWORD"); set {
		c.Registry.Password = password
	}
	if password, set := lookup("SEVWATCH_KAFKA_PASSWORD"); set {
		c.Security.Password = password
	}
}

// source is the one of that topic.
func (c *Config) source(topic string) SourceConfig {
	for _, s := range c.Sources {
		if s.Topic == topic {
			return s
		}
	}
	panic("BUG: " + topic + " is no source")
}

// Engine is what the two stages have to agree on.
func (c *Config) Engine() detector.Config {
	engine := detector.Config{
		Labels: c.Labels, Domain: c.Domain, Pane: int64(c.Pane), Lateness: int64(c.Lateness), MaxAhead: int64(c.MaxAhead), Agree: c.Agree,
		LatenessOf: map[string]int64{},
		Limits:     detector.Limits{Series: c.Limits.Series, Groups: c.Limits.Groups, Incidents: c.Limits.Incidents},
		Duplicates: map[string]detector.Duplicates{}, Sessions: map[string]detector.Sessions{},
		CountSessions: map[string]bool{},
	}
	if !slices.ContainsFunc(c.Sources, func(s SourceConfig) bool { return !s.CountSessions }) {
		engine.CountSessions[fileTopic] = true // events in it may be of any source
	}
	for i := range c.Sources {
		s := &c.Sources[i]
		sessions := s.sessions()
		sessions.Shape = s.shape(c.Domain)
		if s.CountSessions {
			engine.CountSessions[s.Topic] = true
		}
		engine.LatenessOf[s.Topic], engine.Duplicates[s.Topic], engine.Sessions[s.Topic] = int64(s.Lateness), s.duplicates(), sessions
	}
	return engine
}

// RuleOptions is what rules are checked against.
func (c *Config) RuleOptions() rules.Options {
	return rules.Options{Labels: c.Labels, Pane: c.Pane, Sessionless: c.sessionless(), Dropped: c.dropped()}
}

// clientID is how this worker calls itself towards Kafka: the same after a restart, and different from every other worker's. Without
// anything to tell it by, it is new at every start.
func (c *Config) clientID() string {
	name := c.Group.Instance
	if name == "" && c.HTTP.Listen != "none" {
		host, err := os.Hostname()
		if err == nil {
			name = host + "/" + c.HTTP.Listen
		}
	}
	if name == "" {
		name = strconv.FormatUint(rand.Uint64(), 36)
	}
	return "sevwatch-" + c.Pipeline + "-" + name
}
