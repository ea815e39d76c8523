package sets

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

var trainTicketDev = trainTicket{dir: "nezha/dev/trainticket/2023-01-29", day: "2023-01-29"}

// Every span and every ERROR line of the source is one event.
func TestTrainTicketCounts(t *testing.T) {
	fsys := data(t)
	spans := countLines(t, fsys, trainTicketDev.dir+"/spans_2023-01-29.csv.gz", anyLine)
	errors := countLines(t, fsys, trainTicketDev.dir+"/error_logs_2023-01-29.csv.gz", anyLine)
	roots, types := 0, map[string]int{}
	got := map[Kind]int{}
	for e, err := range trainTicketDev.events(fsys) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Kind]++
		if e.Kind == Error {
			types[e.ErrorType]++
		}
		if len(e.Labels) > 0 && e.Labels[0].Name == "root" {
			roots++
		}
	}
	if spans != 325_859 || got[Latency] != spans {
		t.Errorf("%d spans, %d latency events", spans, got[Latency])
	}
	if errors != 1331 || got[Error] != errors {
		t.Errorf("%d ERROR lines, %d error events", errors, got[Error])
	}
	if roots != 4551 {
		t.Errorf("%d root spans", roots)
	}
	if types["IllegalStateException"] != 483 || types["HttpS*"] != 45 || len(types) != 7 {
		t.Errorf("error types %v", types)
	}
}

// The 45 rows without a time get the one in their message. The rest of their trace, which has
// times, shows that this is right: each of the 45 traces has another ERROR row within 100 ms.
func TestTrainTicketNegativeTimes(t *testing.T) {
	fsys := data(t)
	known, unset := map[string][]int64{}, map[string]int64{}
	negative := 0
	for r, err := range table(fsys, trainTicketDev.dir+"/error_logs_2023-01-29.csv.gz", "TimeUnixNano", "message", "TraceID") {
		if err != nil {
			t.Fatal(err)
		}
		timeMs, err := trainTicketDev.lineTimeMs(r.cells[0], r.cells[1])
		if err != nil {
			t.Fatal(r.fail(err))
		}
		if !strings.HasPrefix(r.cells[0], "-") {
			known[keep(r.cells[2])] = append(known[keep(r.cells[2])], timeMs)
			continue
		}
		negative++
		unset[keep(r.cells[2])] = timeMs
		if ns, _ := strconv.ParseInt(r.cells[0], 10, 64); ns != (time.Time{}).UnixNano() {
			t.Errorf("line %d: %d is not an unset time", r.line, ns)
		}
	}
	if negative != 45 || len(unset) != 45 {
		t.Errorf("%d rows with a negative time, %d traces", negative, len(unset))
	}
	for trace, timeMs := range unset {
		nearest := int64(1 << 40)
		for _, other := range known[trace] {
			nearest = min(nearest, max(other-timeMs, timeMs-other))
		}
		if nearest > 100 {
			t.Errorf("trace %s: the nearest row with a time is %d ms away", trace, nearest)
		}
	}
}

// Each fault has an island of its own, and all events lie in islands.
func TestTrainTicketIslands(t *testing.T) {
	fsys := data(t)
	found, err := islands(trainTicketDev.events(fsys), trainTicketGapMs)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := trainTicketDev.faults(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 28 || len(faults) != 28 {
		t.Fatalf("%d islands, %d faults", len(found), len(faults))
	}
	for i, f := range faults {
		if f.StartMs <= found[i].startMs || f.EndMs > found[i].endMs {
			t.Errorf("fault %d of %+v is not in island %+v", i, f, found[i])
		}
	}
}
