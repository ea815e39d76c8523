package detector

import (
	"testing"

	"sevwatch/rules"
)

// Counts are exact however large they are, whether a cell keeps the distribution or not.
func TestCountsBeyondACell(t *testing.T) {
	for _, hist := range []bool{false, true} {
		d := &domain{series: map[string]*series{}, selections: map[string]*selection{}, soon: new([]rules.Selector)}
		s := d.seriesOf(&SeriesDelta{Kind: rules.KindError})
		s.hist = hist
		p := d.pane(0)
		var want int64
		var room Cell
		for i, n := range []int64{1, mostCounted - 1, 1, 7, 5 * mostCounted, 0} {
			d.add(p, s, &Cell{Count: n, Valued: 1, Buckets: Buckets{{Code: 1, N: 1}}})
			want += n
			c := p.cell(&p.cells[0], &room)
			if c.Count != want {
				t.Fatalf("hist %t: after %d cells the count is %d, expected %d", hist, i+1, c.Count, want)
			}
			if valued := c.Valued > 0; valued != hist || valued != (len(c.Buckets) > 0) {
				t.Fatalf("hist %t: after %d cells the cell has %+v", hist, i+1, c)
			}
		}
	}
}
