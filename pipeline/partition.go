package pipeline

import (
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
)

// source is one source partition while it is read, live and in replay.
type source struct {
	*detector.Partition
	topic       fetch.TopicID
	walker      fetch.Walker
	decoder     *wire.Decoder
	input       *wire.Input           // reads records of another shape; nil: the decoder does
	idle        []pendingMark         // read back and not yet applied, by Before
	waiting     bool                  // a mark of ours is on its way: nothing behind it is taken
	end         int64                 // of the log when the task took it over
	void        *detector.Void        // to be applied and told when older marks are
	added       bool                  // it has no event time yet, and others have: a mark gives it one before it is read
	held        []fetch.Chunk         // what came meanwhile
	suspects    map[int64]wire.Record // the rejected records that held ones become if they are not believed, by offset
	uncommitted bool                  // its source is read uncommitted
	stuck       *fetch.Chunk          // the walker stands at a record of it whose schema is being asked for
	ahead       bool                  // too far ahead of the slowest partition of all: it is not read
	began       int64                 // event time when the task took it over
	behind      time.Time             // since when it is the one that others wait for, by this machine's clock
	stalled     int64                 // event time when it was told last that others wait for it
	caughtUp    bool                  // read to its end
	asked       time.Time             // when the response that showed that was asked for
	lag         int64
	aside       asides
	active      time.Time // when a record came last, by this machine's clock: only to decide when to write a mark
}

// pendingMark is one line of a mark, ready to be applied: event time is to before the record at offset before, and silent says that nothing
// came meanwhile. With resume it is what was open that is void.
type pendingMark struct {
	before, to int64
	silent     bool
	resume     int64
	mark       int64 // offset of the mark, live
}

// newPendingMark is a line of the mark that the broker wrote at written.
func newPendingMark(line detector.Idle, written int64) pendingMark {
	m := pendingMark{before: line.Before, to: line.To, silent: line.Since > 0}
	if m.silent {
		m.to += max(0, written-line.Since)
	}
	return m
}

// aboutPartition is a pending mark, and whose it is.
type aboutPartition struct {
	about detector.Source
	pendingMark
}

// pendingOf are the lines of the mark that the broker wrote at written.
func pendingOf(m *wire.Mark, written int64) (out []aboutPartition) {
	for _, line := range m.Idle {
		out = append(out, aboutPartition{line.Source, newPendingMark(line, written)})
	}
	for _, line := range m.Void {
		out = append(out, aboutPartition{line.Source, pendingMark{before: line.Before, resume: line.Resume}})
	}
	return out
}

// applyMarks applies the marks that come before the record at offset.
func (s *source) applyMarks(agg *detector.Aggregator, offset int64) {
	for len(s.idle) > 0 && s.idle[0].before <= offset {
		m := s.idle[0]
		s.idle = s.idle[1:]
		if m.resume > 0 {
			agg.Void(s.Partition, m.resume)
			continue
		}
		agg.Advance(s.Partition, m.to, m.silent)
	}
}

// foreign reads a record of another shape.
func (s *source) foreign(r *fetch.Record) ([]detector.Event, *wire.Reject) {
	record := wire.Record{Value: r.Value, Time: r.Time}
	if s.input.Headers() {
		record = whole(r)
	}
	return s.input.Read(&record)
}

// origin is the record as it goes to the rejected or late topic.
func origin(s *source, r *fetch.Record) wire.Origin {
	return wire.Origin{Source: s.Source, Offset: r.Offset, Record: whole(r)}
}

// whole is the record with its headers; one whose headers cannot be read is taken without them.
func whole(r *fetch.Record) wire.Record {
	out := wire.Record{Key: r.Key, Value: r.Value, Time: r.Time}
	headers, err := r.Headers()
	if err != nil {
		return out
	}
	for _, h := range headers {
		out.Headers = append(out.Headers, wire.Header{Key: h.Key, Value: h.Value})
	}
	return out
}
