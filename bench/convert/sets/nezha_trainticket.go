package sets

import (
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// trainTicket is one day of Nezha's TrainTicket: three-minute stretches of spans and ERROR lines, one
// around each injected fault.
type trainTicket struct {
	dir string
	day string // the date of the source's folder
}

const (
	trainTicketDoor = "ts-gateway-service"
	// trainTicketGapMs parts the islands: within one the longest silence is 22 s, between two 61 s.
	trainTicketGapMs = 45_000
	// trainTicketReachMs is how far before and after its start a fault is looked for.
	trainTicketReachMs = 180_000
	// trainTicketFaultMs is the assumed length of a fault; its island ends earlier in practice.
	trainTicketFaultMs = 300_000
	// logZone is how far the clock in the log messages is ahead of UTC.
	logZone = 8 * time.Hour
	// maxMessageBytes bounds the message of an error event.
	maxMessageBytes = 200
)

var rootSpan = []Label{{Name: "root", Value: "true"}}

func (s trainTicket) set() Set {
	return Set{
		Name:   "nezha-trainticket-" + s.day,
		About:  "TrainTicket under injected faults: each span a latency event, each ERROR line an error event",
		Events: s.events,
		Faults: s.faults,
	}
}

func (s trainTicket) events(fsys fs.FS) EventSeq {
	return inTimeOrder(func() ([]Event, error) {
		spans, err := s.spans(fsys)
		if err != nil {
			return nil, err
		}
		lines, err := s.errorLines(fsys)
		return append(spans, lines...), err
	})
}

// spans gives each span its end as event time: a service tells a duration when it knows it.
func (s trainTicket) spans(fsys fs.FS) ([]Event, error) {
	var events []Event
	file := s.dir + "/spans_" + s.day + ".csv.gz"
	for r, err := range table(fsys, file, "start_unix_ns", "duration_us", "service", "operation", "root") {
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
		e := Event{
			TimeMs:     (startNs + durationUs*1000) / 1_000_000,
			Kind:       Latency,
			Service:    keep(r.cells[2]),
			Endpoint:   keep(r.cells[3]),
			DurationMs: float64(durationUs) / 1000,
		}
		if r.cells[4] == "1" {
			e.Labels = rootSpan
		}
		events = append(events, e)
	}
	return events, nil
}

func (s trainTicket) errorLines(fsys fs.FS) ([]Event, error) {
	var events []Event
	file := s.dir + "/error_logs_" + s.day + ".csv.gz"
	for r, err := range table(fsys, file, "TimeUnixNano", "service", "message") {
		if err != nil {
			return nil, err
		}
		timeMs, err := s.lineTimeMs(r.cells[0], r.cells[2])
		if err != nil {
			return nil, r.fail(err)
		}
		line, err := parseLogLine(r.cells[2])
		if err != nil {
			return nil, r.fail(err)
		}
		events = append(events, Event{
			TimeMs:    timeMs,
			Kind:      Error,
			Service:   keep(r.cells[1]),
			ErrorType: keep(line.errorType),
			Message:   keep(shorten(line.text, maxMessageBytes)),
		})
	}
	return events, nil
}

// lineTimeMs is the time of the row; where that is negative (the source wrote an unset time) it is
// the time of day in the message, on the day of the set, less the zone of the log.
func (s trainTicket) lineTimeMs(unixNano, message string) (int64, error) {
	ns, err := strconv.ParseInt(unixNano, 10, 64)
	if err != nil {
		return 0, err
	}
	if ns >= 0 {
		return ns / 1_000_000, nil
	}
	clock, _, _ := strings.Cut(message, " ")
	localMs, err := parseUTC("2006-01-02 15:04:05.000", s.day+" "+clock)
	return localMs - logZone.Milliseconds(), err
}

func (s trainTicket) faults(fsys fs.FS) ([]Fault, error) {
	found, err := islands(s.events(fsys), trainTicketGapMs)
	if err != nil {
		return nil, err
	}
	var watches []watch
	for r, err := range table(fsys, s.dir+"/faults.csv", trainTicketFaultColumns...) {
		if err != nil {
			return nil, err
		}
		startMs, err := parseUTC(time.RFC3339, r.cells[0])
		if err != nil {
			return nil, r.fail(err)
		}
		within, err := islandAt(found, startMs)
		if err != nil {
			return nil, r.fail(err)
		}
		service := keep(r.cells[1])
		fromMs := max(startMs-trainTicketReachMs, within.startMs)
		toMs := min(startMs+trainTicketReachMs, within.endMs)
		watches = append(watches, watch{
			fault: Fault{
				StartMs: startMs,
				EndMs:   min(startMs+trainTicketFaultMs, within.endMs),
				Service: service,
				Type:    keep(r.cells[2]),
				Extra:   extra(trainTicketFaultColumns[3:], r.cells[3:]),
			},
			own:  newPair(service, fromMs, startMs, toMs),
			door: newPair(trainTicketDoor, fromMs, startMs, toMs),
		})
	}
	return judge(s.events(fsys), watches)
}

// trainTicketFaultColumns are the columns of the source's faults.csv.
var trainTicketFaultColumns = []string{
	"start_utc", "service", "type",
	"svc_errors_before60s", "svc_errors_after120s", "svc_p95_ms_before", "svc_p95_ms_after",
	"spans_before", "spans_after",
}

// extra keeps further columns of a source under their own names.
func extra(names, values []string) []Label {
	labels := make([]Label, len(names))
	for i := range names {
		labels[i] = Label{Name: names[i], Value: keep(values[i])}
	}
	return labels
}
