package sets

import (
	"io/fs"
	"strconv"
	"time"
)

// onlineBoutique is one day of Nezha's OnlineBoutique, seen at its front door only: a table of
// minutes, and the single requests of some of these minutes.
type onlineBoutique struct {
	dir string
	day string
}

const (
	onlineBoutiqueDoor = "frontend"
	// onlineBoutiqueRequests a minute is assumed: the table does not tell, but its success rates are
	// fractions with denominators from 105 to 157 where they are not 100 %.
	onlineBoutiqueRequests = 120
	minuteMs               = 60_000
	// onlineBoutiqueReachMs is how far before its start a fault is compared with. Faults are at least
	// seven minutes apart and assumed to last five, so more would reach into the one before.
	onlineBoutiqueReachMs = 120_000
)

func (s onlineBoutique) minutesSet() Set {
	return Set{
		Name:   "nezha-onlineboutique-" + s.day + "-minutes",
		About:  "OnlineBoutique's front door, from a table of minutes: availability and quantiles, synthetic times",
		Events: func(fsys fs.FS) EventSeq { return spread(s.minutes(fsys)) },
		Faults: func(fsys fs.FS) ([]Fault, error) { return s.faults(fsys, spread(s.minutes(fsys))) },
		Rows:   func(fsys fs.FS) RowSeq { return rows(s.minutes(fsys)) },
	}
}

func (s onlineBoutique) requestsSet() Set {
	return Set{
		Name:   "nezha-onlineboutique-" + s.day + "-requests",
		About:  "OnlineBoutique's single requests, only of the minutes that the source has",
		Events: s.requests,
		Faults: func(fsys fs.FS) ([]Fault, error) { return s.faults(fsys, s.requests(fsys)) },
	}
}

// minuteColumns are those of front_service.csv: a row's time ends the minute that it tells of.
var minuteColumns = []string{
	"TimeStamp", "SuccessRate(%)", "LatencyP50(s)", "LatencyP90(s)", "LatencyP95(s)", "LatencyP99(s)",
}

func (s onlineBoutique) minutes(fsys fs.FS) bulkSeq {
	return func(yield func([]bulk, error) bool) {
		lastEndMs := int64(0)
		for r, err := range table(fsys, s.dir+"/metric/front_service.csv", minuteColumns...) {
			if err != nil {
				yield(nil, err)
				return
			}
			b, err := minuteBulk(r.cells, lastEndMs)
			if err != nil {
				yield(nil, r.fail(err))
				return
			}
			lastEndMs = b.endMs
			if !yield([]bulk{b}, nil) {
				return
			}
		}
	}
}

// minuteBulk reads one row. The source's clock drifts: rows are 59 to 61 s apart, and a row begins
// where the one before ended.
func minuteBulk(cells []string, lastEndMs int64) (bulk, error) {
	endUnix, err := strconv.ParseInt(cells[0], 10, 64)
	if err != nil {
		return bulk{}, err
	}
	numbers, err := parseFloats(cells[1:])
	if err != nil {
		return bulk{}, err
	}
	b := bulk{
		service:  onlineBoutiqueDoor,
		endpoint: "/",
		startMs:  endUnix*1000 - minuteMs,
		endMs:    endUnix * 1000,
		requests: onlineBoutiqueRequests,
		errors:   failures(onlineBoutiqueRequests, numbers[0]),
	}
	if lastEndMs != 0 && b.startMs-lastEndMs < minuteMs/2 {
		b.startMs = lastEndMs
	}
	for i, percent := range []int{50, 90, 95, 99} {
		b.quantiles = append(b.quantiles, quantile{percent: percent, durationMs: numbers[1+i] * 1000})
	}
	return b, nil
}

func parseFloats(cells []string) ([]float64, error) {
	numbers := make([]float64, len(cells))
	for i, c := range cells {
		f, err := strconv.ParseFloat(c, 64)
		if err != nil {
			return nil, err
		}
		numbers[i] = f
	}
	return numbers, nil
}

// requests gives each root span its end as event time, like the spans of TrainTicket.
func (s onlineBoutique) requests(fsys fs.FS) EventSeq {
	return inTimeOrder(func() ([]Event, error) {
		var events []Event
		file := s.dir + "/root_requests_partial.csv.gz"
		for r, err := range table(fsys, file, "start_unix_ns", "duration_us", "operation") {
			if err != nil {
				return nil, err
			}
			startNs, err := strconv.ParseInt(r.cells[0], 10, 64)
			if err != nil {
				return nil, r.fail(err)
			}
			durationUs, err := strconv.ParseInt(r.cells[1], 10, 64)
			if err != nil {
				return nil, r.fail(err)
			}
			events = append(events, Event{
				TimeMs:     (startNs + durationUs*1000) / 1_000_000,
				Kind:       Latency,
				Service:    onlineBoutiqueDoor,
				Endpoint:   keep(r.cells[2]),
				DurationMs: float64(durationUs) / 1000,
				Labels:     rootSpan,
			})
		}
		return events, nil
	})
}

// onlineBoutiqueFaultColumns are the columns of the source's faults.csv; frontdoor_visible is its
// own rule, kept beside ours.
var onlineBoutiqueFaultColumns = []string{
	"start_utc", "assumed_end_utc", "service", "type",
	"frontdoor_visible", "min_success_pct", "max_p50_s", "max_p95_s",
}

func (s onlineBoutique) faults(fsys fs.FS, events EventSeq) ([]Fault, error) {
	var watches []watch
	for r, err := range table(fsys, s.dir+"/faults.csv", onlineBoutiqueFaultColumns...) {
		if err != nil {
			return nil, err
		}
		startMs, err := parseUTC(time.RFC3339, r.cells[0])
		if err != nil {
			return nil, r.fail(err)
		}
		endMs, err := parseUTC(time.RFC3339, r.cells[1])
		if err != nil {
			return nil, r.fail(err)
		}
		door := newPair(onlineBoutiqueDoor, startMs-onlineBoutiqueReachMs, startMs, endMs)
		watches = append(watches, watch{
			fault: Fault{
				StartMs: startMs,
				EndMs:   endMs,
				Service: keep(r.cells[2]),
				Type:    keep(r.cells[3]),
				Extra:   extra(onlineBoutiqueFaultColumns[4:], r.cells[4:]),
			},
			own:  door,
			door: door,
		})
	}
	return judge(events, watches)
}
