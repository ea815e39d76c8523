// Package sets turns public data sets into the events that Sevwatch reads, for tests and benchmarks.
// It reads an fs.FS that holds the sets and yields events in the order of their time. It knows the
// sources' formats and the event format, and nothing of the engine that will judge the events.
// docs/data.md says what every set can and cannot show.
package sets

import (
	"cmp"
	"io/fs"
	"iter"
	"slices"
)

// EventSeq yields events; an error is the last thing it yields.
type EventSeq = iter.Seq2[Event, error]

// A Set is one event file: a public source, or one day of it.
type Set struct {
	Name  string // also the name of its files
	About string // one sentence
	// Events yields the events sorted by time; events of one time keep the order of the source. Each
	// call reads the source anew and yields the same events.
	Events func(fsys fs.FS) EventSeq
	// Faults returns the labelled faults sorted by start. It is nil where the source has no labels.
	Faults func(fsys fs.FS) ([]Fault, error)
	// Rows yields what the source says of each service in each of its stretches of time, in the source's order; an error is the last thing
	// it yields. It is nil where the source is no table of sums.
	Rows func(fsys fs.FS) RowSeq
}

// RowSeq yields rows; an error is the last thing it yields.
type RowSeq = iter.Seq2[Row, error]

// A Row is what a table of sums says of one service in [StartMs, EndMs).
type Row struct {
	Service        string
	StartMs, EndMs int64
	Requests       int
	Errors         int
	P95Ms          float64
}

// Sets returns every set, in one order.
func Sets() []Set {
	return []Set{
		trainTicket{dir: "nezha/dev/trainticket/2023-01-29", day: "2023-01-29"}.set(),
		onlineBoutique{dir: "nezha/dev/onlineboutique/2022-08-22", day: "2022-08-22"}.minutesSet(),
		onlineBoutique{dir: "nezha/dev/onlineboutique/2022-08-22", day: "2022-08-22"}.requestsSet(),
		petShop{dir: "petshop/dev", scenario: "low_traffic"}.issuesSet(),
		petShop{dir: "petshop/dev", scenario: "low_traffic"}.noIssueSet(),
		moodle{dir: "edify-moodle/dev"}.set(),
		oulad{dir: "oulad/dev"}.set(),
		shop{file: "synthetic-thirdparty/ecom-retentioneering/ecom.csv.gz"}.set(),
	}
}

// Find returns the set of that name.
func Find(name string) (Set, bool) {
	all := Sets()
	i := slices.IndexFunc(all, func(s Set) bool { return s.Name == name })
	if i < 0 {
		return Set{}, false
	}
	return all[i], true
}

// inTimeOrder loads all events and yields them sorted by time; equal times keep the loaded order.
func inTimeOrder(load func() ([]Event, error)) EventSeq {
	return func(yield func(Event, error) bool) {
		events, err := load()
		if err != nil {
			yield(Event{}, err)
			return
		}
		for _, i := range timeOrder(events) {
			if !yield(events[i], nil) {
				return
			}
		}
	}
}

// timeOrder returns the indices of the events sorted by time and then by place. It sorts small
// pairs, because moving whole events costs more than reading the source.
func timeOrder(events []Event) []int {
	type place struct {
		timeMs int64
		index  int
	}
	places := make([]place, len(events))
	for i := range events {
		places[i] = place{timeMs: events[i].TimeMs, index: i}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.timeMs, b.timeMs), cmp.Compare(a.index, b.index))
	})
	order := make([]int, len(places))
	for i, p := range places {
		order[i] = p.index
	}
	return order
}
