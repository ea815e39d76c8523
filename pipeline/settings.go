package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
)

// counting is what decides what records count as, by the names of the configuration: what is long as a hash. That which only decides when something is
// written to the log is not among it.
func (c *Config) counting() *wire.Settings {
	s := &wire.Settings{
		Pipeline: map[string]string{
			"labels": strings.Join(c.Labels, ","), "max_ahead": c.MaxAhead.String(), "agree": fmt.Sprint(c.Agree), "lateness": c.Lateness.String(),
		},
		Sources: map[string]map[string]string{},
	}
	for i := range c.Sources {
		x := &c.Sources[i]
		dropped := slices.Sorted(slices.Values(x.dropped(c.Labels)))
		s.Sources[x.Topic] = map[string]string{
			"lateness": x.Lateness.String(), "isolation": string(x.Isolation), "max_bytes": fmt.Sprint(x.MaxBytes), "long_labels": string(x.LongLabels),
			"dropped labels": strings.Join(dropped, ","), "count_sessions": fmt.Sprint(x.CountSessions),
			"duplicates": fmt.Sprintf("%s, %d ids", x.Duplicates.Horizon, x.Duplicates.MaxIDs),
			"sessions":   fmt.Sprintf("%s, %d visits, timeouts %s", x.Sessions.Timeout, x.Sessions.MaxVisits, hashOf(maps.Collect(maps.All(x.Sessions.Timeouts)))),
			"shape":      hashOf([]any{x.Kind.Kind, x.Format.Format, x.fields(), x.Endpoints.Patterns, x.Endpoints.IDs}),
		}
	}
	return s
}

// judging is what decides, besides the rules, what a judge makes of what was counted.
func (c *Config) judging() *wire.Settings {
	return &wire.Settings{
		Pipeline: map[string]string{
			"labels": strings.Join(c.Labels, ","), "lateness": c.Lateness.String(),
			"limits": fmt.Sprintf("%d series, %d groups, %d incidents", c.Limits.Series, c.Limits.Groups, c.Limits.Incidents),
		},
		Sources: map[string]map[string]string{},
	}
}

func hashOf(v any) string { return fmt.Sprintf("%x", detector.IDOf(wire.JSON(v))) }

// atWork is what a task is at work with, and since when.
type atWork struct {
	settings *wire.Settings
	hash     string // of settings
	since    int64  // event time when the task was taken over
}

func newAtWork(settings *wire.Settings, since int64) atWork {
	return atWork{settings, hashOf(settings), since}
}

// tell is the message that tells of it; c names the task.
func (a *atWork) tell(w *Worker, c wire.Control) kafka.Message {
	c.V, c.Act, c.Settings = 1, detector.Act{Act: wire.ActSettings, By: w.cfg.clientID()}, a.settings
	if a.since != unknown && a.since != noLow {
		c.Time = detector.Millis(a.since)
	}
	return w.message(w.cfg.Topics.Control, wire.Record{Value: wire.JSON(c)})
}

// differences are those of what somebody else is at work with, told of what both name: a source that one of them has not is no difference, nor is what another
// version has no word for.
func differences(there, here *wire.Settings) (out []string) {
	add := func(there, here map[string]string, of string) {
		for _, name := range slices.Sorted(maps.Keys(there)) {
			if mine, ok := here[name]; ok && mine != there[name] {
				out = append(out, fmt.Sprintf("%s%s is %q there and %q here", name, of, there[name], mine))
			}
		}
	}
	add(there.Pipeline, here.Pipeline, "")
	for _, topic := range slices.Sorted(maps.Keys(there.Sources)) {
		add(there.Sources[topic], here.Sources[topic], " of "+topic)
	}
	return out
}

// differ is in what a task's settings differ from this configuration.
func (c *Config) differ(task *wire.Control) []string {
	if task.Judge != nil {
		return differences(task.Settings, c.judging())
	}
	return differences(task.Settings, c.counting())
}

// differFrom is in what the settings of any task differ from this configuration.
func (c *Config) differFrom(tasks map[string]*wire.Control) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(tasks)) {
		for _, what := range c.differ(tasks[name]) {
			if !slices.Contains(out, what) {
				out = append(out, what)
			}
		}
	}
	return out
}

// hearSettings keeps what live was at work with in the range.
func (r *Replay) hearSettings(c *wire.Control) {
	if c.Settings == nil || r.To != 0 && int64(c.Time) > r.To {
		return
	}
	if int64(c.Time) <= r.From {
		r.settings = slices.DeleteFunc(r.settings, func(x *wire.Control) bool { return x.Counts() == c.Counts() })
	}
	r.settings = append(r.settings, c)
}

// doubtSettings notes in what they are others than those of the replay.
func (r *Replay) doubtSettings() {
	var said []string
	for _, c := range r.settings {
		differ := strings.Join(r.Pipeline.differ(c), "; ")
		if differ == "" || slices.Contains(said, differ) {
			continue
		}
		said = append(said, differ)
		from := "the beginning"
		if c.Time != 0 {
			from = c.Time.String()
		}
		r.sum.Doubts = append(r.sum.Doubts, fmt.Sprintf("live was at work with other settings from %s on: %s", from, differ))
	}
}
