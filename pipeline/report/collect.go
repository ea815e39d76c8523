// Package report makes one page of a replay that people can read: incidents on a time line, each with its signal, the funnel, what
// contributed, and how good the data were. The page needs no network and no script. The same replay gives the same bytes.
package report

import (
	"cmp"
	"slices"
	"strings"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/rules"
)

// Collector gathers a replay for a report. What it keeps is bounded by the number of incidents, groups and steps, not by the replay's length.
type Collector struct {
	Past *history.History
	// From and To bound what is counted to the panes with some of [From, To), in epoch ms; 0: no bound. What was judged before From is part of an incident's story.
	From, To int64

	pane    int64
	tracks  map[string]*track  // by group, what was judged lately
	signals map[string]*signal // by incident
	steps   map[string]*step
	covered []span // event time in which something came, by time
	volume  int64
}

// NewCollector is a collector of nothing yet; pane is in ms.
func NewCollector(file *rules.File, pane int64) *Collector {
	return &Collector{Past: history.New(file), pane: pane, tracks: map[string]*track{}, signals: map[string]*signal{}, steps: map[string]*step{}}
}

// Output takes a message.
func (c *Collector) Output(o detector.Output) { c.Past.Add(o) }

// span is a stretch of event time, [from, to).
type span struct{ from, to int64 }

// step is how many came to a step, and what became of them.
type step struct {
	Name                       string
	Enter, Complete, Abandoned int64
}

// point is one judged window: its end and its value, NaN-free: known says whether there is one.
type point struct {
	at    int64
	value float64
	known bool
}

// track is what was judged of one group lately: the time before an incident is part of its story.
type track struct {
	recent []point
	signal *signal // of the incident that is open, or was over a moment ago
	behind int     // how many windows behind its end were taken
}

// signal is the course of one incident's signal. Where it is long, only every so many windows are kept.
type signal struct {
	rule     *rules.Rule
	points   []point
	every, n int
	usual    *float64 // of a deviation: what was usual when it opened
}

// Bounds of what is kept of a signal.
const (
	contextPanes = 30  // before the opening and behind the end
	maxPoints    = 360 // of one incident
	maxTracks    = 20_000
	maxSpans     = 20_000
)

// add takes one more point, and thins out when there are too many.
func (s *signal) add(p point) {
	if s.n++; s.n%s.every != 0 {
		return
	}
	s.points = append(s.points, p)
	if len(s.points) < maxPoints {
		return
	}
	kept := s.points[:0]
	for i, q := range s.points {
		if i%2 == 0 {
			kept = append(kept, q)
		}
	}
	s.points, s.every = kept, s.every*2
}

// Judgement takes one judged window.
func (c *Collector) Judgement(j *detector.Judgement) {
	key := groupKey(j)
	t := c.tracks[key]
	if t == nil {
		if len(c.tracks) >= maxTracks && j.Incident == "" {
			return // the story of an incident then begins where it opens
		}
		t = &track{}
		c.tracks[key] = t
	}
	p := point{at: j.End, value: j.Verdict.Value, known: j.Verdict.Evidence == rules.Enough && !j.Verdict.Blind}
	if j.Incident != "" {
		if s := c.signals[j.Incident]; s == nil {
			s = &signal{rule: j.Rule, every: 1}
			if usual := j.Measure.Usual; j.Measure.Learned {
				s.usual = &usual
			}
			for _, q := range t.recent {
				s.add(q)
			}
			c.signals[j.Incident], t.signal = s, s
		}
		t.behind = 0
	}
	if t.signal != nil {
		t.signal.add(p)
		if j.Incident == "" {
			if t.behind++; t.behind >= contextPanes {
				t.signal = nil
			}
		}
	}
	t.recent = append(t.recent, p)
	if len(t.recent) > contextPanes {
		t.recent = slices.Delete(t.recent, 0, len(t.recent)-contextPanes)
	}
}

func groupKey(j *detector.Judgement) string {
	var b strings.Builder
	b.WriteString(j.Rule.Alert + "\x00" + j.Domain)
	for _, l := range j.Labels {
		b.WriteString("\x00" + l.Name + "\x00" + l.Value)
	}
	return b.String()
}

// Delta takes what a pane gained.
func (c *Collector) Delta(d *detector.Delta) {
	if d.Pane+c.pane <= c.From || c.To != 0 && d.Pane >= c.To {
		return
	}
	c.cover(span{d.Pane, d.Pane + c.pane})
	for i := range d.Series {
		s := &d.Series[i]
		if s.Kind != rules.KindAttempt { // which is derived of events
			c.volume += s.Count
		}
		if s.Kind != rules.KindStep {
			continue
		}
		name, action := "", ""
		for _, l := range s.Labels {
			switch l.Name {
			case "step":
				name = l.Value
			case "action":
				action = l.Value
			}
		}
		st := c.steps[name]
		if st == nil {
			st = &step{Name: name}
			c.steps[name] = st
		}
		switch action {
		case "enter":
			st.Enter += s.Count
		case "complete":
			st.Complete += s.Count
		case "abandon":
			st.Abandoned += s.Count
		}
	}
}

// cover notes that something came in a pane. Panes come nearly in order.
func (c *Collector) cover(s span) {
	i := len(c.covered)
	for i > 0 && c.covered[i-1].from > s.from {
		i--
	}
	switch {
	case i > 0 && c.covered[i-1].to >= s.from:
		c.covered[i-1].to = max(c.covered[i-1].to, s.to)
		i--
	case len(c.covered) < maxSpans:
		c.covered = slices.Insert(c.covered, i, s)
	default:
		return
	}
	for i+1 < len(c.covered) && c.covered[i+1].from <= c.covered[i].to {
		c.covered[i].to = max(c.covered[i].to, c.covered[i+1].to)
		c.covered = slices.Delete(c.covered, i+1, i+2)
	}
}

// gaps are the longest stretches in which nothing came, at least a minute, by time; and how long all of them are.
func (c *Collector) gaps(most int) (longest []span, all int64) {
	for i := 1; i < len(c.covered); i++ {
		if g := (span{c.covered[i-1].to, c.covered[i].from}); g.to-g.from >= 60_000 {
			longest = append(longest, g)
			all += g.to - g.from
		}
	}
	slices.SortStableFunc(longest, func(x, y span) int { return cmp.Compare(y.to-y.from, x.to-x.from) })
	longest = longest[:min(len(longest), most)]
	slices.SortFunc(longest, func(x, y span) int { return cmp.Compare(x.from, y.from) })
	return longest, all
}

// funnel is the steps, those that most came to first.
func (c *Collector) funnel() []step {
	var out []step
	for _, s := range c.steps {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(x, y step) int {
		return cmp.Or(cmp.Compare(y.came(), x.came()), cmp.Compare(x.Name, y.Name))
	})
	return out
}

// came is how many came to the step: those who entered or, where nobody says so, those who ended it.
func (s step) came() int64 { return max(s.Enter, s.Complete+s.Abandoned) }

// contributor is a label value that explains incidents.
type contributor struct {
	Label, Value string
	Incidents    int
	Events       int64 // at the worst of them, all added up
}

// contributors are the label values that explain most incidents.
func (c *Collector) contributors(most int) []contributor {
	byLabel := map[[2]string]*contributor{}
	var out []*contributor
	for _, i := range c.Past.Incidents {
		worst := map[[2]string]int64{}
		var order [][2]string
		for _, r := range i.Told {
			for _, x := range r.Contributors {
				key := [2]string{x.Label, x.Value}
				if _, seen := worst[key]; !seen {
					order = append(order, key)
				}
				worst[key] = max(worst[key], x.Events)
			}
		}
		for _, key := range order {
			if byLabel[key] == nil {
				byLabel[key] = &contributor{Label: key[0], Value: key[1]}
				out = append(out, byLabel[key])
			}
			byLabel[key].Incidents++
			byLabel[key].Events += worst[key]
		}
	}
	slices.SortFunc(out, func(x, y *contributor) int {
		return cmp.Or(cmp.Compare(y.Incidents, x.Incidents), cmp.Compare(y.Events, x.Events), cmp.Compare(x.Label, y.Label), cmp.Compare(x.Value, y.Value))
	})
	var top []contributor
	for _, x := range out[:min(len(out), most)] {
		top = append(top, *x)
	}
	return top
}
