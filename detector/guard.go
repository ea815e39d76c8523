package detector

import (
	"bytes"
	"slices"
)

// guard keeps what one wrong clock says from moving a partition's time. A record that is more than MaxAhead ahead of the largest time
// accepted in its partition is held: it moves nothing. It is counted when Agree held records agree, or as soon as the partition's time has
// come near, and rejected when a record contradicts it. Only the partition's own records and marks decide, in their order. The time of a
// record of several events is that of its newest.
//
// Held records are in their order of arrival, and each agrees with those before it: none is more than MaxAhead older.
type guard struct {
	held []heldRecord

	// After a restart the held records are read again, and nothing else between them is.
	awaited []int64 // their offsets, as far as they have not come yet
	again   int64   // the next offset to be read, while some are awaited
}

// heldRecord is a record whose newest event is too far ahead. It is counted or rejected as a whole.
type heldRecord struct {
	offset int64
	newest int64 // event time
	events []Event
}

// MaxAgree bounds how many records a partition holds: all their offsets have to find room beside the committed offset.
const MaxAgree = 32

// Outcome is what became of a record, and of those that were held before it. The zero value: it was counted.
type Outcome struct {
	LateMs  int64   // by how much its oldest event was too late
	Held    bool    // the guard holds it
	Known   bool    // an event of its id was counted already: it is a duplicate
	Newest  int64   // of a held one: its largest event time
	AheadMs int64   // of a held one: how far that is ahead of its partition
	Future  []int64 // offsets of held records that it contradicts: they are rejected
}

// Count takes the event of the record at offset into its pane, unless it is late or too far ahead.
func (a *Aggregator) Count(p *Partition, offset int64, e *Event) Outcome {
	if len(p.held) > 0 || len(p.awaited) > 0 || p.isAhead(e.Time, e.Recorded) {
		return a.CountAll(p, offset, []Event{*e})
	}
	if p.isDuplicate(e.ID) {
		p.pass(offset, &p.totals.Duplicate)
		return Outcome{Known: true}
	}
	p.behind.note(-p.ahead(e.Time, 0))
	if late := p.Late(e.Time); late > 0 {
		p.pass(offset, &p.totals.Late)
		return Outcome{LateMs: late}
	}
	p.pass(offset, &p.totals.Counted)
	a.remember(p, e)
	a.take(p, e)
	a.decide(p)
	return Outcome{}
}

// CountAll takes the events of the one record at offset into their panes: all of them or, where the oldest is late or the newest too far
// ahead, none. It is one record in the accounts, however many events it has.
func (a *Aggregator) CountAll(p *Partition, offset int64, events []Event) Outcome {
	defer a.decide(p)
	if len(events) == 0 {
		p.pass(offset, &p.totals.Counted)
		return Outcome{}
	}
	oldest, newest, recorded := events[0].Time, events[0].Time, events[0].Recorded
	for i := range events {
		oldest, newest = min(oldest, events[i].Time), max(newest, events[i].Time)
	}
	if p.isBack(offset) {
		p.hold(offset, newest, events)
		return Outcome{Held: true, Newest: newest, AheadMs: p.ahead(newest, recorded)}
	}
	ahead := p.isAhead(newest, recorded)
	if p.isDuplicate(events[0].ID) || ahead && p.holdsID(events[0].ID) {
		p.pass(offset, &p.totals.Duplicate)
		return Outcome{Known: true}
	}
	if late := p.Late(oldest); late > 0 {
		p.behind.note(-p.ahead(oldest, 0))
		p.pass(offset, &p.totals.Late)
		return Outcome{LateMs: late}
	}
	if ahead {
		p.pass(offset, &p.totals.Held)
		ahead := p.ahead(newest, recorded)
		return Outcome{Held: true, Newest: newest, AheadMs: ahead, Future: a.suspect(p, offset, newest, events)}
	}
	p.behind.note(-p.ahead(oldest, 0))
	p.pass(offset, &p.totals.Counted)
	out := Outcome{Future: p.contradict(newest)}
	a.remember(p, &events[0]) // before held ones are counted: one of them may have the same id
	a.reached(p, newest)      // which is all the others
	a.takeAll(p, events)
	return out
}

func (a *Aggregator) takeAll(p *Partition, events []Event) {
	for i := range events {
		a.take(p, &events[i])
	}
}

// ahead is by how many milliseconds a time is ahead of its partition. A partition without a time has nothing to compare with but the
// record's own timestamp, which brokers keep near their own time.
func (p *Partition) ahead(time, recorded int64) int64 {
	switch {
	case p.watermark != never:
		return time - (p.watermark + p.lateness)
	case recorded > 0:
		return time - recorded
	default:
		return 0
	}
}

func (p *Partition) isAhead(time, recorded int64) bool {
	return p.cfg.MaxAhead > 0 && p.ahead(time, recorded) > p.cfg.MaxAhead
}

// suspect holds a record. When enough agree, the first of them is believed, and with it all that it brings near.
func (a *Aggregator) suspect(p *Partition, offset, newest int64, events []Event) (future []int64) {
	future = p.contradict(newest)
	p.hold(offset, newest, events)
	if len(p.held) >= a.cfg.Agree {
		a.reached(p, p.held[0].newest)
	}
	return future
}

// reached counts the held records that are no longer too far ahead when the partition's time is newest; each may bring others near.
func (a *Aggregator) reached(p *Partition, newest int64) {
	for near := true; near; {
		near = false
		p.held = slices.DeleteFunc(p.held, func(h heldRecord) bool {
			if h.newest > newest+a.cfg.MaxAhead {
				return false
			}
			if a.believe(p, &h) {
				newest, near = max(newest, h.newest), true
			}
			return true
		})
	}
}

// believe counts a held record, unless an event of its id was counted meanwhile. It was not late when it came, and what came since moved
// nothing, so it is not late now.
func (a *Aggregator) believe(p *Partition, h *heldRecord) bool {
	p.totals.Held--
	p.changed = true
	if p.isDuplicate(h.events[0].ID) {
		p.totals.Duplicate++
		return false
	}
	p.totals.Counted++
	a.remember(p, &h.events[0])
	a.takeAll(p, h.events)
	return true
}

// Release counts all held records of a partition that has ended: nothing will contradict them, and nothing will agree.
func (a *Aggregator) Release(p *Partition) {
	for i := range p.held {
		a.believe(p, &p.held[i])
	}
	p.held = nil
	a.decide(p)
}

// contradict rejects the held records that are more than MaxAhead ahead of one that came after them.
func (p *Partition) contradict(time int64) (future []int64) {
	p.held = slices.DeleteFunc(p.held, func(h heldRecord) bool {
		if h.newest <= time+p.cfg.MaxAhead {
			return false
		}
		future = append(future, h.offset)
		p.totals.Held--
		p.totals.Rejected++
		return true
	})
	return future
}

// hold keeps a copy of the record: its bytes belong to the decoder.
func (p *Partition) hold(offset, newest int64, events []Event) {
	h := heldRecord{offset, newest, slices.Clone(events)}
	for i := range h.events {
		e := &h.events[i]
		e.Session, e.Labels = bytes.Clone(e.Session), slices.Clone(e.Labels)
		for n, value := range e.Labels {
			e.Labels[n] = bytes.Clone(value)
		}
	}
	p.held = append(p.held, h)
}

// Holds says whether the record at offset is held.
func (p *Partition) Holds(offset int64) bool {
	return slices.ContainsFunc(p.held, func(h heldRecord) bool { return h.offset == offset })
}

// holdsID says whether a record with that id is held: its retry agrees with nobody.
func (p *Partition) holdsID(id ID) bool {
	return p.ids != nil && id != (ID{}) && slices.ContainsFunc(p.held, func(h heldRecord) bool { return h.events[0].ID == id })
}

// Commit is the offset to be committed: reading begins there after a restart. It passes no held record.
func (p *Partition) Commit() int64 {
	switch {
	case len(p.held) > 0:
		return p.held[0].offset
	case len(p.awaited) > 0:
		return p.awaited[0]
	default:
		return p.to
	}
}

// Position is the next offset to be read. Before Offset there are only held records to be read again.
func (p *Partition) Position() int64 {
	if len(p.awaited) > 0 {
		return p.again
	}
	return p.to
}

// Known says whether the record at offset was accounted for before the last restart, so that it is not to be taken again.
func (p *Partition) Known(offset int64) bool {
	p.gone(offset)
	return offset < p.to && (len(p.awaited) == 0 || p.awaited[0] != offset)
}

// isBack says whether offset is that of the held record that is awaited next, which then has come.
func (p *Partition) isBack(offset int64) bool {
	if len(p.awaited) == 0 || p.awaited[0] != offset {
		return false
	}
	p.awaited, p.again = p.awaited[1:], offset+1
	return true
}

// gone gives up held records before next that did not come again: the log has lost them, or compaction took them.
func (p *Partition) gone(next int64) {
	for len(p.awaited) > 0 && p.awaited[0] < next {
		p.awaited = p.awaited[1:]
		p.totals.Held--
		p.totals.Aborted++
		p.changed = true
	}
	p.again = max(p.again, next)
}

// keep puts the held records into what is kept beside the committed offset.
func (p *Partition) keep(s *PartitionState) {
	first := p.Commit()
	for _, h := range p.held {
		s.Held = append(s.Held, h.offset-first)
	}
	for _, offset := range p.awaited {
		s.Held = append(s.Held, offset-first)
	}
	if len(s.Held) > 0 {
		s.Read = p.to
	}
}

// takeBack awaits the records that were held when offset was committed.
func (p *Partition) takeBack(offset int64, s *PartitionState) {
	if len(s.Held) == 0 {
		return
	}
	p.from, p.to, p.again = s.Read, s.Read, offset
	for _, distance := range s.Held {
		p.awaited = append(p.awaited, offset+distance)
	}
}

// Begin fits what was kept beside the committed offset to a log that begins at first. Reading starts at start; the offsets [next, start), if
// there are any, are gone and were never read. Held records that are gone were read: they count like what compaction takes.
func (s *PartitionState) Begin(committed, first int64) (start, next int64) {
	next = max(committed, s.Read)
	var held []int64
	for _, distance := range s.Held {
		if committed+distance >= first {
			held = append(held, committed+distance)
		} else {
			s.Totals.Held--
			s.Totals.Aborted++
		}
	}
	if len(held) == 0 {
		s.Held, s.Read = nil, 0
		return max(next, first), next
	}
	start = held[0]
	for i := range held {
		held[i] -= start
	}
	s.Held = held
	return start, next
}
