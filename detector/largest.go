package detector

import "slices"

// paneMax is a value that is the largest of a group's from its pane on.
type paneMax struct{ start, value int64 }

// maxWindow are the values of a group's window, a pane each, that no later one is as large as: so they fall, and the first is the largest of
// all. A value cannot be taken out of a maximum, but the first pane can be taken from these.
type maxWindow []paneMax

// add adds the largest value of a cell of a closed pane. Panes come in order.
func (w *maxWindow) add(start, value int64) {
	n := len(*w)
	for n > 0 && (*w)[n-1].value <= value {
		n--
	}
	if n > 0 && (*w)[n-1].start == start {
		return // another cell of the pane has a larger one
	}
	*w = append((*w)[:n], paneMax{start, value})
}

// since lets go of the panes before start and is the largest value of the others, in its unit; 0 of nothing.
func (w *maxWindow) since(start int64) float64 {
	n := 0
	for n < len(*w) && (*w)[n].start < start {
		n++
	}
	if *w = slices.Delete(*w, 0, n); len(*w) == 0 {
		return 0
	}
	return float64((*w)[0].value) / 1e6
}
