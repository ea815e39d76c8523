package detector

import (
	"crypto/sha256"
	"fmt"
)

// ID tells events apart: the first 128 bits of SHA-256 of what the producer calls the event. The zero ID is that of an event without one,
// which is never a duplicate.
type ID [16]byte

// IDOf is the ID of a text.
func IDOf(text []byte) ID {
	sum := sha256.Sum256(text)
	return ID(sum[:16])
}

// Duplicates is for how long, and of how many events, each partition of a topic remembers the ids. The zero value remembers none.
type Duplicates struct {
	Horizon int64 // ms of event time
	Max     int   // ids a partition
}

// ids are those of the events that a partition has counted. An id is known from its event on until the partition's edge is Horizon past the
// pane of its event; where Max are known, the oldest pane's are forgotten earlier. Only the partition's own order decides.
type ids struct {
	Duplicates
	pane  int64
	known map[ID]struct{}
	chunks[ID]
}

func newIDs(d Duplicates, pane int64) *ids {
	if d.Horizon == 0 {
		return nil
	}
	return &ids{Duplicates: d, pane: pane, known: map[ID]struct{}{}, chunks: chunks[ID]{size: func(id ID) int { return len(id) }}}
}

// isDuplicate says whether an event of that id was counted within the horizon.
func (p *Partition) isDuplicate(id ID) bool {
	if p.ids == nil || id == (ID{}) {
		return false
	}
	_, known := p.ids.known[id]
	return known
}

// remember notes the id of an event that is counted. To make room, it may forget others before their time, and tells of that.
func (a *Aggregator) remember(p *Partition, e *Event) {
	if p.ids == nil || e.ID == (ID{}) {
		return
	}
	if len(p.ids.known) >= p.ids.Max {
		a.Happened(Happening{Source: p.Source, Name: "ids_forgotten", Pane: a.cfg.PaneOf(e.Time), Count: p.ids.drop()})
	}
	p.ids.add(a.cfg.PaneOf(e.Time), e.ID)
}

func (x *ids) add(start int64, id ID) {
	x.chunks.add(start, id)
	x.known[id] = struct{}{}
}

// forget forgets what is beyond the horizon.
func (x *ids) forget(edge int64) {
	for len(x.panes) > 0 && x.panes[0].start+x.pane+x.Horizon <= edge {
		x.drop()
	}
}

// drop forgets the oldest pane's ids and says how many they were.
func (x *ids) drop() int64 {
	oldest := x.chunks.drop()
	for _, id := range oldest {
		delete(x.known, id)
	}
	return int64(len(oldest))
}

// restore takes all chunks that were kept.
func (x *ids) restore(kept []Chunk[ID], edge int64) error {
	err := x.chunks.restore(kept, func(id ID) error {
		if _, twice := x.known[id]; twice {
			return fmt.Errorf("the id %x is kept twice", id)
		}
		x.known[id] = struct{}{}
		return nil
	})
	if err != nil {
		return err
	}
	x.forget(edge)
	for len(x.known) > x.Max {
		x.drop()
	}
	return nil
}
