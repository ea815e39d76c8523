package detector

import (
	"math"
	"slices"

	"sevwatch/rules"
)

// baseline is what a group's value usually is. A pane, or a window, is learned when all of it has left the window, so that the value at a time never
// depends on itself, and not at all if the group deviated while some of it was inside.
type baseline struct {
	pane    dense     // of the pane that closes, where panes are learned
	values  bool      // it has some
	Inside  []learned `json:"inside"`            // what is not learned yet
	Learned []float64 `json:"learned"`           // the last values learned, oldest first
	Spoiled int64     `json:"spoiled,omitempty"` // where windows are learned: the last edge at which the group deviated
	Length  int64     `json:"length,omitempty"`  // likewise: of the windows, ms

	Seasons map[int64][]float64 `json:"seasons,omitempty"` // the last values learned by the number of their window in the season; instead of Learned
}

type learned struct {
	Start   int64   `json:"start"`
	Value   float64 `json:"value"`
	Spoiled bool    `json:"spoiled,omitempty"`
}

// close takes in the pane [start, edge) and the window m that ends with it, and says in m what is usual.
func (b *baseline) close(r *rules.Rule, m *rules.Measure, start, edge int64) {
	d, window := r.Signal.Deviation, int64(r.Window)
	span := edge - start
	switch {
	case d.Windows > 0:
		span = window
		if b.Length != window { // the rule has another one now
			*b = baseline{Length: window}
		}
		if edge%window == 0 && r.Known(*m) {
			b.Inside = append(b.Inside, learned{Start: edge - window, Value: r.Part(*m), Spoiled: b.Spoiled > edge-window})
		}
	case b.values:
		b.Inside = append(b.Inside, learned{Start: start, Value: b.pane.appendTo(nil).Quantile(d.Quantile.Q)})
		b.clear()
	}
	n := 0
	for ; n < len(b.Inside) && b.Inside[n].Start+span <= edge-window; n++ {
		if !b.Inside[n].Spoiled {
			b.learn(r, b.Inside[n])
		}
	}
	b.Inside = b.Inside[n:]
	b.Learned = last(b.Learned, d.Size())
	switch {
	case d.Season > 0:
		low, high, spread, known := b.inSeason(r, edge-window)
		if m.Learned, m.Usual, m.Spread = known, low, spread; known && r.Known(*m) {
			m.Usual = min(max(r.Part(*m), low), high)
		}
	case d.Learned(len(b.Learned)):
		m.Learned, m.Usual = true, median(b.Learned)
		m.Spread = spreadOf(distances(nil, b.Learned))
	}
}

// learn remembers a value.
func (b *baseline) learn(r *rules.Rule, x learned) {
	season := int64(r.Signal.Deviation.Season)
	if season == 0 {
		b.Learned = append(b.Learned, x.Value)
		return
	}
	if b.Seasons == nil {
		b.Seasons = map[int64][]float64{}
	}
	n := x.Start % season / int64(r.Window)
	b.Seasons[n] = last(append(b.Seasons[n], x.Value), r.Signal.Deviation.Size())
}

// inSeason is between what and what the value of the window that begins at start usually is: where it lies between two that are learned, between theirs. How far
// values of before lay from what was usual of theirs is taken from these two, and the one before.
func (b *baseline) inSeason(r *rules.Rule, start int64) (low, high, spread float64, known bool) {
	window, d := int64(r.Window), r.Signal.Deviation
	all := int64(d.Season) / window
	at := func(n int64) []float64 { return last(b.Seasons[(n+all)%all], d.Size()) }
	n, between := start/window, start%window > 0
	here, next := at(n), at(n+1)
	if !d.Learned(len(here)) || between && !d.Learned(len(next)) {
		return 0, 0, 0, false
	}
	low, high = median(here), median(here)
	if between {
		low, high = min(low, median(next)), max(high, median(next))
	}
	var apart []float64
	for _, values := range [][]float64{at(n - 1), here, next} {
		apart = distances(apart, values)
	}
	return low, high, spreadOf(apart), true
}

// last are the last n values.
func last(values []float64, n int) []float64 { return values[max(0, len(values)-n):] }

// median is the lower one.
func median(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[(len(values)-1)/2]
}

// distances appends how far each of the values is from their median.
func distances(to, values []float64) []float64 {
	if len(values) > 0 {
		usual := median(values)
		for _, v := range values {
			to = append(to, math.Abs(v-usual))
		}
	}
	return to
}

// spreadOf is the standard deviation of normal values with these distances from their median.
func spreadOf(distances []float64) float64 { return float64(median(distances) * 1.4826) }

// hear takes in values of the pane that closes.
func (b *baseline) hear(s *sum) {
	s.addTo(&b.pane, 1)
	b.values = b.values || s.valued()
}

func (b *baseline) clear() {
	clear(b.pane.counts)
	b.values = false
}

// spoil keeps what is in the window that ends at edge from being learned.
func (b *baseline) spoil(r *rules.Baseline, edge int64) {
	for i := range b.Inside {
		b.Inside[i].Spoiled = true
	}
	if r.Windows > 0 {
		b.Spoiled = edge
	}
}
