// Package detector is the engine: events go in, incidents come out, and nothing but its input moves it. It knows no clock, no
// goroutine, no lock, no log and no Kafka; live, replay, tests and benchmarks call the same two stages, Aggregator and Judge.
package detector

import (
	"sevwatch/rules"
)

// Event is one decoded record. Its byte slices belong to whoever decoded it and hold only until the next record is decoded.
type Event struct {
	Time    int64 // epoch ms, event time
	Kind    rules.Kind
	Labels  [][]byte // one a configured label, in that order; empty means absent
	Present uint64   // who decoded it may say which labels are not empty, at most, by a bit each: the others are passed over. 0 says nothing
	Session []byte
	ID      ID    // zero: it has none, or nobody asks for it
	Value   int64 // millionths of the kind's unit; only where HasValue
	// HasValue says that the event carries a measured value: a duration, a dwell time, a vital, a resource, a score.
	HasValue bool
	Recorded int64 // the record's own timestamp, epoch ms; 0 or less where there is none. Only the first event of a partition is compared with it
}

// present has the bits of all labels that are not empty.
func (e *Event) present() uint64 {
	if e.Present > 0 {
		return e.Present
	}
	return uint64(1)<<len(e.Labels) - 1
}

// Label is one name and value.
type Label struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// MaxLabels is how many labels a series can be made of: Event.Present has a bit for each, and a decoder some besides.
const MaxLabels = 40

// Config is what both stages have to agree on. A change of it changes results.
type Config struct {
	Labels   []string // what makes a series, in the order of Event.Labels
	Domain   string   // the label whose values are judged apart; "" judges all in one
	Pane     int64    // ms
	Lateness int64    // ms
	// LatenessOf is that of the topics where it is another.
	LatenessOf map[string]int64
	MaxAhead   int64 // ms: what is further ahead of its partition is held; 0 holds nothing
	Agree      int   // how many held events that agree are believed
	Limits     Limits

	// By topic; of those that are not here nothing is remembered.
	Duplicates map[string]Duplicates
	Sessions   map[string]Sessions

	// CountSessions are the topics in which it is counted how many different sessions events come from.
	CountSessions map[string]bool
}

// latenessOf is how far the watermarks of the topic's partitions stay behind, in ms.
func (c *Config) latenessOf(topic string) int64 {
	if l, ok := c.LatenessOf[topic]; ok {
		return l
	}
	return c.Lateness
}

// MaxLateness is the largest lateness of all sources, in ms.
func (c *Config) MaxLateness() int64 {
	longest := c.Lateness
	for _, topic := range SortedKeys(c.LatenessOf) {
		longest = max(longest, c.LatenessOf[topic])
	}
	return longest
}

// PaneOf is the start of the pane that an event time lies in.
func (c *Config) PaneOf(time int64) int64 { return floor(time, c.Pane) }

// RuleOptions is what rules are checked against.
func (c *Config) RuleOptions() rules.Options {
	return rules.Options{Labels: c.Labels, Pane: rules.Duration(c.Pane)}
}

// DefaultConfig is a pane and a lateness of ten seconds over the default labels, in one domain; ten events that agree may be more than
// five minutes ahead.
func DefaultConfig() Config {
	return Config{Labels: rules.DefaultLabels(), Pane: 10_000, Lateness: 10_000, MaxAhead: 300_000, Agree: 10, Limits: DefaultLimits()}
}

// DefaultLimits are 100,000 series, 100,000 groups and 20,000 open incidents.
func DefaultLimits() Limits { return Limits{Series: 100_000, Groups: 100_000, Incidents: 20_000} }

// Source names one partition that events come from.
type Source struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
}

// never is the watermark of a partition that has said nothing yet.
const never = int64(-1 << 63)

// floor is the start of the slice of length step that t lies in.
func floor(t, step int64) int64 {
	if t == never {
		return never
	}
	r := t % step
	if r < 0 {
		r += step
	}
	return t - r
}
