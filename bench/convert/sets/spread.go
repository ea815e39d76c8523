package sets

import (
	"iter"
	"math"
)

// A bulk is one row of a table of sums: so many requests of a service in [startMs, endMs), so many
// of them failed, with these quantiles of their durations.
type bulk struct {
	service        string
	endpoint       string
	startMs, endMs int64
	requests       int
	errors         int
	quantiles      []quantile // ascending in percent
}

type quantile struct {
	percent    int
	durationMs float64
}

// bulkSeq yields the bulks of one stretch of time after another; an error is the last thing it yields.
type bulkSeq = iter.Seq2[[]bulk, error]

// spread yields the events of bulks, a stretch at a time.
func spread(bulks bulkSeq) EventSeq {
	return func(yield func(Event, error) bool) {
		var events []Event
		for all, err := range bulks {
			if err != nil {
				yield(Event{}, err)
				return
			}
			events = events[:0]
			for _, b := range all {
				events = b.spread(events)
			}
			for _, i := range timeOrder(events) {
				if !yield(events[i], nil) {
					return
				}
			}
		}
	}
}

// rows yields what bulks say.
func rows(bulks bulkSeq) RowSeq {
	return func(yield func(Row, error) bool) {
		for all, err := range bulks {
			if err != nil {
				yield(Row{}, err)
				return
			}
			for _, b := range all {
				r := Row{Service: b.service, StartMs: b.startMs, EndMs: b.endMs, Requests: b.requests, Errors: b.errors}
				for _, q := range b.quantiles {
					if q.percent == 95 {
						r.P95Ms = q.durationMs
					}
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// spread appends the events that a bulk stands for: every request is one latency event, evenly
// spaced; a failed one has status 500 and is followed by one error event. So requests = latency
// events and errors = error events, and the share is the same whichever way a rule counts errors.
func (b bulk) spread(events []Event) []Event {
	durations := b.durations()
	step := stride(b.requests)
	for i := range b.requests {
		e := Event{
			TimeMs:     b.startMs + (b.endMs-b.startMs)*int64(2*i+1)/int64(2*b.requests),
			Kind:       Latency,
			Service:    b.service,
			Endpoint:   b.endpoint,
			Status:     200,
			DurationMs: durations[i*step%b.requests],
			Labels:     syntheticTimes,
		}
		if !b.failed(i) {
			events = append(events, e)
			continue
		}
		e.Status = 500
		events = append(events, e, Event{
			TimeMs:    e.TimeMs,
			Kind:      Error,
			Service:   b.service,
			Endpoint:  b.endpoint,
			ErrorType: "http_500",
			Labels:    syntheticTimes,
		})
	}
	return events
}

// failed places the failed requests evenly among all: request i fails when the running total
// errors*i/requests, rounded, grows there.
func (b bulk) failed(i int) bool {
	upTo := func(n int) int { return (2*b.errors*n + b.requests) / (2 * b.requests) }
	return upTo(i+1) > upTo(i)
}

// durations returns the durations sorted upwards. The value at the nearest rank of each quantile is
// that quantile; ranks between two are on the straight line; below the first and above the last the
// line is flat, because the source says nothing there. Where few requests let quantiles share a
// rank, the highest takes it.
func (b bulk) durations() []float64 {
	values := make([]float64, b.requests)
	from, low := 0, 0.0
	for i, q := range b.quantiles {
		to := rank(q.percent, b.requests)
		high := max(low, q.durationMs)
		if i == 0 {
			low = high
		}
		for r := from + 1; r < to; r++ {
			values[r-1] = low + float64((high-low)*float64(r-from))/float64(to-from)
		}
		if b.requests > 0 {
			values[to-1] = high
		}
		from, low = to, high
	}
	for r := from + 1; r <= b.requests; r++ {
		values[r-1] = low
	}
	for i := range values {
		values[i] = math.Round(values[i]*1000) / 1000
	}
	return values
}

// stride is a step near the golden section of n and without a common divisor: walking with it visits
// every rank once and keeps any ten seconds of a row alike, where sorted durations would be a ramp.
func stride(n int) int {
	for s := n * 618 / 1000; s > 1; s-- {
		if divisor(s, n) == 1 {
			return s
		}
	}
	return 1
}

// divisor is the greatest common divisor.
func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// failures is how many of n requests an availability in per cent leaves failed, rounded.
func failures(n int, availability float64) int {
	k := int(math.Round(float64(float64(n)*(100-availability)) / 100))
	return min(max(k, 0), n)
}
