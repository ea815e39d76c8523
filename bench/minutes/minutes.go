// Package minutes counts requests by service, endpoint and minute, as the comparison with other engines asks for: from events, to have
// something to compare with, and from what the engine has written.
package minutes

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Minute is the length of a window, in ms.
const Minute = int64(60_000)

// Key is what a window is of.
type Key struct{ Service, Endpoint string }

// Window is one key's minute.
type Window struct {
	Key
	Start int64 // epoch ms
}

// Event is one request.
type Event struct {
	Key
	Time     int64 // epoch ms
	Failed   bool
	Duration float64
}

// Truth is what is in the events.
type Truth struct {
	Events  int64
	windows map[Window]*exact
}

type exact struct {
	count, failed int64
	durations     []float64
}

// NewTruth has seen nothing yet.
func NewTruth() *Truth { return &Truth{windows: map[Window]*exact{}} }

// Add takes an event in.
func (t *Truth) Add(e Event) {
	w := Window{e.Key, e.Time - e.Time%Minute}
	x := t.windows[w]
	if x == nil {
		x = &exact{}
		t.windows[w] = x
	}
	x.count++
	if e.Failed {
		x.failed++
	}
	x.durations = append(x.durations, e.Duration)
	t.Events++
}

// Counts are the same numbers as pane deltas tell them.
type Counts struct{ Windows map[Window]*Count }

// Count is one window's numbers.
type Count struct {
	Count, Failed int64
	durations     map[int32]int64
}

// Quantile is that of the durations.
func (c *Count) Quantile(q float64) float64 {
	var b detector.Buckets
	for _, code := range slices.Sorted(maps.Keys(c.durations)) {
		b = append(b, detector.Bucket{Code: code, N: c.durations[code]})
	}
	return b.Quantile(q)
}

// NewCounts has heard nothing yet.
func NewCounts() *Counts { return &Counts{Windows: map[Window]*Count{}} }

// Delta takes a pane's delta in.
func (c *Counts) Delta(d *detector.Delta) {
	for i := range d.Series {
		s := &d.Series[i]
		if s.Kind != rules.KindLatency {
			continue
		}
		w := Window{Start: d.Pane - d.Pane%Minute}
		failed := false
		for _, l := range s.Labels {
			switch l.Name {
			case "service":
				w.Service = l.Value
			case "endpoint":
				w.Endpoint = l.Value
			case "status_class":
				failed = l.Value == "5xx"
			}
		}
		x := c.Windows[w]
		if x == nil {
			x = &Count{durations: map[int32]int64{}}
			c.Windows[w] = x
		}
		x.Count += s.Count
		if failed {
			x.Failed += s.Count
		}
		for _, b := range s.Buckets {
			x.durations[b.Code] += b.N
		}
	}
}

// Compare says what is wrong with the counts, nil if nothing is, and by what share a percentile is off at most.
func (t *Truth) Compare(c *Counts) (worst float64, err error) {
	for w, x := range t.windows {
		got := c.Windows[w]
		if got == nil {
			return 0, fmt.Errorf("nothing was counted in window %+v, expected %d", w, x.count)
		}
		if got.Count != x.count || got.Failed != x.failed {
			return 0, fmt.Errorf("window %+v has %d events, %d failed, expected %d and %d", w, got.Count, got.Failed, x.count, x.failed)
		}
		slices.Sort(x.durations)
		for _, q := range []float64{0.5, 0.95, 0.99} {
			want := x.durations[max(0, int(math.Ceil(q*float64(len(x.durations))))-1)]
			worst = max(worst, math.Abs(got.Quantile(q)-want)/want)
		}
	}
	if len(c.Windows) != len(t.windows) {
		return 0, fmt.Errorf("%d windows were counted, expected %d", len(c.Windows), len(t.windows))
	}
	return worst, nil
}
