// Package stream is a short notation for streams of events, as rule tests and the engine's own stories write them. It knows numbers and
// labels, and nothing of an engine.
package stream

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"sevwatch/rules"
	"sevwatch/rules/strictyaml"
)

// Recipe says which events come, and how many: `20/s latency{service="api"} 80..120 errors=5%`.
//
// The count is that of a pane (`20`) or of a second, a minute or an hour (`20/s`, `3/m`, `1/h`), evenly spread over it. The labels are
// those of the braces. Values, if any, are one number, a range with everything in it equally frequent (`80..120`), or a distribution by
// its quantiles (`p50=80,p95=200,p99=900`), straight between them and flat beyond. errors=5% makes that share of latency events fail:
// they get the status class 5xx, the others 2xx, and beside each that fails an error event comes with the same labels. sessions=50 makes them
// come from the sessions 1 to 50 in turn, the same for all recipes; otherwise they tell of no session.
type Recipe struct {
	Count  int
	Per    int64 // ms that Count is for; 0: a pane
	Kind   rules.Kind
	Labels map[string]string

	names  []string // of Labels, as they were written
	points []point  // of the distribution, by rank; none: no values
	failed int64    // millionths of the events that fail

	sessions int64 // that the events come from; 0: they tell of none
}

// point says that the share rank of all values stays at or under value.
type point struct{ rank, value float64 }

// Event is one event of a stream.
type Event struct {
	Time    int64 // epoch ms
	Kind    rules.Kind
	Labels  map[string]string
	Session string
	Valued  bool
	Value   int64 // millionths of the kind's unit
}

const form = "a recipe such as `20/s latency{service=\"api\"} 80..120 errors=5%`"

// maxCount bounds what one line can make in a pane or a second.
const maxCount = 1_000_000

// UnmarshalText reads a recipe.
func (r *Recipe) UnmarshalText(text []byte) error {
	count, rest, ok := strings.Cut(strings.TrimSpace(string(text)), " ")
	if !ok {
		return strictyaml.ErrExpected(form)
	}
	parsed := Recipe{}
	if err := parsed.count(count); err != nil {
		return err
	}
	selector, rest := cutSelector(strings.TrimSpace(rest))
	if err := parsed.choose(selector); err != nil {
		return err
	}
	for _, word := range strings.Fields(rest) {
		if err := parsed.word(word); err != nil {
			return err
		}
	}
	*r = parsed
	return nil
}

// count reads 20, 20/s, 20/m or 20/h.
func (r *Recipe) count(text string) error {
	number, unit, per := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > maxCount {
		return strictyaml.ErrExpected(fmt.Sprintf("a count of 1 to %d first, such as 20 (in a pane) or 20/s", maxCount))
	}
	r.Count = n
	if !per {
		return nil
	}
	units := map[string]int64{"s": 1000, "m": 60_000, "h": 3_600_000}
	if r.Per = units[unit]; r.Per == 0 {
		return strictyaml.ErrExpected("a rate by s, m or h, such as 20/s, where " + strconv.Quote(text) + " stands")
	}
	return nil
}

// cutSelector cuts behind `kind` or `kind{...}`.
func cutSelector(text string) (selector, rest string) {
	quoted := false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' && (i == 0 || text[i-1] != '\\'):
			quoted = !quoted
		case c == '}' && !quoted:
			return text[:i+1], text[i+1:]
		case c == ' ' && !strings.Contains(text[:i], "{"):
			return text[:i], text[i:]
		}
	}
	return text, ""
}

// choose reads the kind and the labels that the events have.
func (r *Recipe) choose(text string) error {
	var s rules.Selector
	if err := s.UnmarshalText([]byte(text)); err != nil {
		return err
	}
	r.Kind, r.Labels = s.Kind, map[string]string{}
	for _, m := range s.Matchers {
		if m.Type != labels.MatchEqual {
			return strictyaml.ErrExpected("labels by =, where " + m.String() + " stands: events have one value each")
		}
		r.Labels[m.Name] = m.Value
		r.names = append(r.names, m.Name)
	}
	return nil
}

// word reads values or a share of errors.
func (r *Recipe) word(text string) error {
	if share, ok := strings.CutPrefix(text, "errors="); ok {
		if r.Kind != rules.KindLatency {
			return strictyaml.ErrExpected("errors= with latency events only: they are what can fail")
		}
		var s Share
		if err := s.UnmarshalText([]byte(share)); err != nil {
			return err
		}
		r.failed = int64(s)
		return nil
	}
	if sessions, ok := strings.CutPrefix(text, "sessions="); ok {
		n, err := strconv.Atoi(sessions)
		if err != nil || n < 1 || n > maxCount {
			return strictyaml.ErrExpected(fmt.Sprintf("sessions= with 1 to %d, where %q stands", maxCount, text))
		}
		r.sessions = int64(n)
		return nil
	}
	if !r.Kind.Valued() {
		return strictyaml.ErrExpected("nothing behind the labels of " + r.Kind.String() + " events, which carry no value, where " + strconv.Quote(text) + " stands")
	}
	if r.points != nil {
		return strictyaml.ErrExpected("values once, where " + strconv.Quote(text) + " stands")
	}
	if strings.HasPrefix(text, "p") {
		return r.quantiles(text)
	}
	low, high, spread := strings.Cut(text, "..")
	if !spread {
		high = low
	}
	x, err1 := strconv.ParseFloat(low, 64)
	y, err2 := strconv.ParseFloat(high, 64)
	if err1 != nil || err2 != nil || !fits(x) || !fits(y) {
		return strictyaml.ErrExpected("values such as 120, 80..120 or p50=80,p99=900, where " + strconv.Quote(text) + " stands")
	}
	r.points = []point{{0, x}, {1, y}}
	return nil
}

// fits says whether millionths of v can be counted.
func fits(v float64) bool { return v >= -1e12 && v <= 1e12 }

// quantiles reads p50=80,p95=200.
func (r *Recipe) quantiles(text string) error {
	for _, part := range strings.Split(text, ",") {
		rank, value, _ := strings.Cut(strings.TrimPrefix(part, "p"), "=")
		q, err1 := strconv.ParseFloat(rank, 64)
		v, err2 := strconv.ParseFloat(value, 64)
		if err1 != nil || err2 != nil || q < 0 || q > 100 || !fits(v) {
			return strictyaml.ErrExpected("quantiles such as p50=80,p95=200, where " + strconv.Quote(part) + " stands")
		}
		if n := len(r.points); n > 0 && (q/100 <= r.points[n-1].rank || v < r.points[n-1].value) {
			return strictyaml.ErrExpected("quantiles that rise, where " + strconv.Quote(part) + " stands")
		}
		r.points = append(r.points, point{q / 100, v})
	}
	return nil
}

// at is the value at a rank, in millionths.
func (r *Recipe) at(rank float64) int64 {
	last := r.points[0]
	for _, p := range r.points {
		if rank <= p.rank {
			v := p.value
			if p.rank > last.rank {
				v = last.value + float64((p.value-last.value)*((rank-last.rank)/(p.rank-last.rank)))
			}
			return int64(v * 1e6)
		}
		last = p
	}
	return int64(last.value * 1e6)
}

// Between are the events in [from, to), by time. A slice (a pane or a second) that begins before to is complete.
func (r *Recipe) Between(from, to, pane int64) []Event {
	per := r.Per
	if per == 0 {
		per = pane
	}
	var out []Event
	number := 0
	for start := from; start < to; start += per {
		for i := range r.Count {
			rank := float64(i) / float64(max(1, r.Count-1))
			if r.Per != 0 {
				rank = Spread(number) // a few a second have to show the whole distribution too
			}
			if at := start + int64(i)*per/int64(r.Count); r.Per == 0 || at < to {
				out = r.add(out, at, rank, number, start/per*int64(r.Count)+int64(i))
			}
			number++
		}
	}
	return out
}

// At are Count events at one moment.
func (r *Recipe) At(time int64) []Event {
	var out []Event
	for i := range r.Count {
		out = r.add(out, time, float64(i)/float64(max(1, r.Count-1)), i, int64(i))
	}
	return out
}

// add appends event number n, and the error beside it if it failed. turn counts the events of all time: it is the turn of one session after the other.
func (r *Recipe) add(out []Event, time int64, rank float64, n int, turn int64) []Event {
	e := Event{Time: time, Kind: r.Kind, Labels: r.Labels, Valued: r.points != nil}
	if r.sessions > 0 {
		e.Session = strconv.FormatInt(turn%r.sessions+1, 10)
	}
	if e.Valued {
		e.Value = r.at(rank)
	}
	if r.failed == 0 {
		return append(out, e)
	}
	if fails := Hit(n, r.failed); !fails {
		e.Labels = r.with("2xx")
		return append(out, e)
	}
	e.Labels = r.with("5xx")
	return append(out, e, Event{Time: time, Kind: rules.KindError, Labels: r.Labels, Session: e.Session})
}

// with is the labels and a status class, unless they have one.
func (r *Recipe) with(class string) map[string]string {
	if r.Labels["status_class"] != "" {
		return r.Labels
	}
	out := map[string]string{"status_class": class}
	for _, name := range r.names {
		out[name] = r.Labels[name]
	}
	return out
}

// LabelNames are the labels that the recipe names.
func (r *Recipe) LabelNames() []string { return r.names }

// Hit says whether number n of many is among a share of so many millionths, evenly spread.
func Hit(n int, millionths int64) bool { return (int64(n)+1)*millionths/1e6 > int64(n)*millionths/1e6 }

// Spread is a walk through 0..1 in which any few steps in a row are spread evenly: multiples of the golden section.
func Spread(n int) float64 {
	const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	return float64(uint64(n)*golden>>11) / (1 << 53)
}

// Share is a share in millionths, written 5% or 0.05.
type Share int64

// UnmarshalText reads a share of 0 to 1.
func (s *Share) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(string(text), "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return strictyaml.ErrExpected("a share such as 5% or 0.05")
	}
	*s = Share(float64(v*1e6) + 0.5)
	return nil
}
