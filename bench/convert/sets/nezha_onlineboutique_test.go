package sets

import (
	"math"
	"testing"
)

var onlineBoutiqueDev = onlineBoutique{dir: "nezha/dev/onlineboutique/2022-08-22", day: "2022-08-22"}

// Every minute of the table becomes 120 requests that have its quantiles and, to half a request,
// its success rate.
func TestOnlineBoutiqueMinutesMatchTheTable(t *testing.T) {
	fsys := data(t)
	rows, failing, lastEndMs := 0, 0, int64(0)
	for r, err := range table(fsys, onlineBoutiqueDev.dir+"/metric/front_service.csv", minuteColumns...) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := minuteBulk(r.cells, lastEndMs)
		if err != nil {
			t.Fatal(r.fail(err))
		}
		if length := b.endMs - b.startMs; length < 59_000 || length > 61_000 || (rows > 0 && b.startMs != lastEndMs) {
			t.Errorf("line %d: %d ms long, from %d after %d", r.line, length, b.startMs, lastEndMs)
		}
		success, _ := parseFloats(r.cells[1:2])
		share := float64(b.errors) / float64(b.requests)
		if math.Abs(share-(100-success[0])/100) > 0.5/float64(b.requests)+1e-9 {
			t.Errorf("line %d: share %v of success %v", r.line, share, success[0])
		}
		if b.errors > 0 {
			failing++
		}
		for i := range b.quantiles { // the events have whole microseconds
			b.quantiles[i].durationMs = math.Round(b.quantiles[i].durationMs*1000) / 1000
		}
		checkBulk(t, b, b.spread(nil))
		rows++
		lastEndMs = b.endMs
	}
	if rows != 1209 || failing != 22 {
		t.Errorf("%d minutes, %d with failed requests", rows, failing)
	}
}

func TestOnlineBoutiqueRequests(t *testing.T) {
	fsys := data(t)
	want := countLines(t, fsys, onlineBoutiqueDev.dir+"/root_requests_partial.csv.gz", anyLine)
	got := 0
	for _, err := range onlineBoutiqueDev.requests(fsys) {
		if err != nil {
			t.Fatal(err)
		}
		got++
	}
	if want != 19_107 || got != want {
		t.Errorf("%d requests, %d events", want, got)
	}
}

// The stretch before a fault does not reach into the assumed stretch of the fault before it.
func TestOnlineBoutiqueFaultsDoNotTouch(t *testing.T) {
	fsys := data(t)
	faults, err := onlineBoutiqueDev.faults(fsys, spread(onlineBoutiqueDev.minutes(fsys)))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range faults[1:] {
		if f.StartMs-onlineBoutiqueReachMs < faults[i].EndMs {
			t.Errorf("fault %d begins %d ms after the end of the one before", i+1, f.StartMs-faults[i].EndMs)
		}
	}
}
