package detector

import (
	"slices"

	"sevwatch/rules"
)

// baseline is what a group's quantile usually is. A pane is learned when it has left the window, so that the value at a time never
// depends on itself, and not at all if the group deviated while it was inside.
type baseline struct {
	pane    dense       // of the pane that closes
	values  bool        // it has some
	Inside  []paneValue `json:"inside"`  // panes still in the window
	Learned []float64   `json:"learned"` // quantiles of the last panes learned, oldest first
}

type paneValue struct {
	Start   int64   `json:"start"`
	Value   float64 `json:"value"`
	Spoiled bool    `json:"spoiled,omitempty"`
}

// close notes the quantile of the pane that began at start, and learns those that began before from.
func (b *baseline) close(r *rules.Baseline, start, from int64) {
	if b.values {
		b.Inside = append(b.Inside, paneValue{Start: start, Value: b.pane.appendTo(nil).Quantile(r.Quantile.Q)})
		b.clear()
	}
	n := 0
	for ; n < len(b.Inside) && b.Inside[n].Start < from; n++ {
		if !b.Inside[n].Spoiled {
			b.Learned = append(b.Learned, b.Inside[n].Value)
		}
	}
	b.Inside = b.Inside[n:]
	b.Learned = b.Learned[max(0, len(b.Learned)-r.Panes):]
}

// hear takes in values of the pane that closes.
func (b *baseline) hear(s *sum) {
	s.addTo(&b.pane, 1)
	b.values = b.values || s.valued()
}

func (b *baseline) clear() {
	clear(b.pane.counts)
	b.values = false
}

// spoil keeps the panes in the window from being learned.
func (b *baseline) spoil() {
	for i := range b.Inside {
		b.Inside[i].Spoiled = true
	}
}

// expected is the median of what was learned, 0 while that is too little.
func (b *baseline) expected(r *rules.Baseline) float64 {
	if !r.Learned(len(b.Learned)) {
		return 0
	}
	sorted := slices.Sorted(slices.Values(b.Learned))
	return sorted[(len(sorted)-1)/2]
}
