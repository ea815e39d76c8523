package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// counting is what decides what records count as, by the names of the configuration: what is long as a hash. That which only decides when something is
// written to the log is not among it.
func (c *Config) counting() *wire.Settings {
	s := &wire.Settings{
		Pipeline: map[string]string{
			"labels": strings.Join(c.Labels, ","), "domain": c.Domain, "pane": c.Pane.String(), "lateness": c.Lateness.String(),
			"max_ahead": c.MaxAhead.String(), "agree": fmt.Sprint(c.Agree),
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
			"sessions":   fmt.Sprintf("%s, %d visits, timeouts %s", x.Sessions.Timeout, x.Sessions.MaxVisits, textOf(x.Sessions.Timeouts)),
			"shape":      hashOf([]any{x.Kind.Kind, x.Format.Format, x.fields(), x.Endpoints.Patterns, x.Endpoints.IDs}),
		}
	}
	return s
}

// judging is what decides, besides the rules, what a judge makes of what was counted.
func (c *Config) judging() *wire.Settings {
	return &wire.Settings{
		Pipeline: map[string]string{
			"labels": strings.Join(c.Labels, ","), "domain": c.Domain, "pane": c.Pane.String(), "lateness": c.Lateness.String(),
			"limits": fmt.Sprintf("%d series, %d groups, %d incidents", c.Limits.Series, c.Limits.Groups, c.Limits.Incidents),
		},
		Sources: map[string]map[string]string{},
	}
}

// textOf is the timeouts of steps, in the order of their names.
func textOf(timeouts map[string]rules.Duration) string {
	var out []string
	for _, step := range slices.Sorted(maps.Keys(timeouts)) {
		out = append(out, fmt.Sprintf("%q %s", step, timeouts[step]))
	}
	return "[" + strings.Join(out, ", ") + "]"
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

// cameTo is the least event time that partitions have come to, of those of which it is known; noLow where it is of none.
func cameTo(sources []*source) int64 {
	low := noLow
	for _, s := range sources {
		if s.Watermark() != unknown {
			low = min(low, s.Watermark())
		}
	}
	return low
}

// tell is the message that tells of it; c names the task.
func (a *atWork) tell(w *Worker, c wire.Control) kafka.Message {
	c.V, c.Act, c.Settings = 1, detector.Act{Act: wire.ActSettings, By: w.cfg.clientID()}, a.settings
	if a.since != unknown && a.since != noLow {
		c.Time = detector.Millis(a.since)
	}
	return w.message(w.cfg.Topics.Control, wire.Record{Value: wire.JSON(c)})
}

// differences are those of what somebody else is at work with, and, if asked for, of which sources there are; what another version has no word for is none.
func differences(there, here *wire.Settings, sources bool) (out []string) {
	add := func(there, here map[string]string, of string) {
		for _, name := range slices.Sorted(maps.Keys(there)) {
			if mine, ok := here[name]; ok && mine != there[name] {
				out = append(out, fmt.Sprintf("%s%s is %q there and %q here", name, of, there[name], mine))
			}
		}
	}
	add(there.Pipeline, here.Pipeline, "")
	for _, topic := range slices.Sorted(maps.Keys(there.Sources)) {
		if mine, ok := here.Sources[topic]; ok {
			add(there.Sources[topic], mine, " of "+topic)
		} else if sources {
			out = append(out, topic+" is a source there and not here")
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(here.Sources)) {
		if _, ok := there.Sources[topic]; !ok && sources {
			out = append(out, topic+" is a source here and not there")
		}
	}
	return out
}

// differ is in what a task's settings differ from this configuration.
func (c *Config) differ(task *wire.Control, sources bool) []string {
	if task.Judge != nil {
		return differences(task.Settings, c.judging(), sources)
	}
	return differences(task.Settings, c.counting(), sources)
}

// differFrom is in what the settings of any task differ from this configuration.
func (c *Config) differFrom(tasks map[string]*wire.Control) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(tasks)) {
		for _, what := range c.differ(tasks[name], true) {
			if !slices.Contains(out, what) {
				out = append(out, what)
			}
		}
	}
	return out
}

// hearSettings keeps what live was at work with.
func (r *Replay) hearSettings(c *wire.Control) {
	if c.Settings != nil {
		r.settings = append(r.settings, c)
	}
}

// stretch is event time in which a task was at work with some settings, [from, until) in epoch ms.
type stretch struct{ from, until int64 }

// stretches are those of the settings that were heard. A task that told no time had none yet, or goes on at one that is not known: what it was at work with before
// may have been so until it tells the next.
func (r *Replay) stretches() []stretch {
	out := make([]stretch, len(r.settings))
	last := map[string][]int{}
	for i, c := range r.settings {
		out[i] = stretch{int64(c.Time), noLow}
		for _, n := range last[c.Counts()] {
			out[i].from = max(out[i].from, out[n].from)
			if c.Time != 0 && out[n].until == noLow {
				out[n].until = int64(c.Time)
			}
		}
		last[c.Counts()] = append(last[c.Counts()], i)
	}
	return out
}

// doubtSettings notes in what live was at work with other settings in what is replayed.
func (r *Replay) doubtSettings() {
	low := int64(0)
	if r.Kafka != nil && r.From != 0 {
		low = r.From - r.sum.Before
	}
	when := map[string]stretch{}
	for i, s := range r.stretches() {
		if s.until <= low || r.To != 0 && s.from > r.To || s.from == s.until {
			continue
		}
		for _, what := range r.Pipeline.differ(r.settings[i], r.Kafka != nil) {
			if had, ok := when[what]; ok {
				s = stretch{min(s.from, had.from), max(s.until, had.until)}
			}
			when[what] = s
		}
	}
	byTime := map[stretch][]string{}
	for _, what := range slices.Sorted(maps.Keys(when)) {
		byTime[when[what]] = append(byTime[when[what]], what)
	}
	order := slices.SortedFunc(maps.Keys(byTime), func(x, y stretch) int { return cmp.Or(cmp.Compare(x.from, y.from), cmp.Compare(x.until, y.until)) })
	for _, s := range order {
		text := "live was at work with other settings"
		if s.from != 0 {
			text += " from " + detector.Millis(s.from).String()
		}
		if s.until != noLow {
			text += " until " + detector.Millis(s.until).String()
		}
		r.sum.Doubts = append(r.sum.Doubts, text+": "+strings.Join(byTime[s], "; "))
	}
}
