package sets

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
)

// A Fault is a stretch of time in which the source says that something was broken.
type Fault struct {
	StartMs int64
	EndMs   int64 // assumed by a rule of the set: no source records it
	Service string
	Type    string
	// Seen tells whether the fault shows in the events of the faulty service; where the set has no
	// events of that service, whether it shows at the front door.
	Seen Verdict
	// Front tells whether it shows at the front door. It is zero where the set has none.
	Front Verdict
	// Extra holds further columns of the source; every fault of a set has the same.
	Extra []Label
}

// WriteFaults writes faults as CSV.
func WriteFaults(w io.Writer, faults []Fault) error {
	out := csv.NewWriter(w)
	header := []string{
		"start", "end", "service", "type", "visible", "why", "judged",
		"front_visible", "front_why", "front_judged",
	}
	if len(faults) > 0 {
		for _, x := range faults[0].Extra {
			header = append(header, x.Name)
		}
	}
	rows := [][]string{header}
	for _, f := range faults {
		cells := []string{
			string(appendTime(nil, f.StartMs)), string(appendTime(nil, f.EndMs)), f.Service, f.Type,
			strconv.FormatBool(f.Seen.Visible), f.Seen.Why, strconv.FormatBool(f.Seen.Judged),
			strconv.FormatBool(f.Front.Visible), f.Front.Why, strconv.FormatBool(f.Front.Judged),
		}
		for _, x := range f.Extra {
			cells = append(cells, x.Value)
		}
		rows = append(rows, cells)
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("cannot write faults: %w", err)
	}
	return nil
}
