package detector

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
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
	panes []*paneIDs // by start
	gone  []KeptIDs  // forgotten since the last flush
}

// paneIDs are the ids of one pane's events, in the order of counting.
type paneIDs struct {
	start  int64
	ids    []ID
	told   int // of them are in chunks
	chunks int
}

// KeptIDs is a chunk of a pane's ids as a changelog keeps it. Without ids the chunk is forgotten.
type KeptIDs struct {
	Pane  int64
	Chunk int
	IDs   []ID
}

// MaxChunk is how many ids a chunk has at most.
const MaxChunk = 8192

func newIDs(d Duplicates, pane int64) *ids {
	if d.Horizon == 0 {
		return nil
	}
	return &ids{Duplicates: d, pane: pane, known: map[ID]struct{}{}}
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
	p := x.paneOf(start)
	p.ids = append(p.ids, id)
	x.known[id] = struct{}{}
}

func (x *ids) paneOf(start int64) *paneIDs {
	i := len(x.panes)
	for i > 0 && x.panes[i-1].start > start {
		i--
	}
	if i > 0 && x.panes[i-1].start == start {
		return x.panes[i-1]
	}
	p := &paneIDs{start: start}
	x.panes = slices.Insert(x.panes, i, p)
	return p
}

// forget forgets what is beyond the horizon.
func (x *ids) forget(edge int64) {
	for len(x.panes) > 0 && x.panes[0].start+x.pane+x.Horizon <= edge {
		x.drop()
	}
}

// drop forgets the oldest pane's ids and says how many they were.
func (x *ids) drop() int64 {
	oldest := x.panes[0]
	x.panes = x.panes[1:]
	for _, id := range oldest.ids {
		delete(x.known, id)
	}
	for chunk := range oldest.chunks {
		x.gone = append(x.gone, KeptIDs{Pane: oldest.start, Chunk: chunk})
	}
	return int64(len(oldest.ids))
}

// changes are the chunks forgotten and gained since the last call, in the order in which they are to be written: a pane that was forgotten
// can come again.
func (x *ids) changes() []KeptIDs {
	out := x.gone
	x.gone = nil
	for _, p := range x.panes {
		for p.told < len(p.ids) {
			end := min(p.told+MaxChunk, len(p.ids))
			out = append(out, KeptIDs{p.start, p.chunks, p.ids[p.told:end]})
			p.told, p.chunks = end, p.chunks+1
		}
	}
	return out
}

// restore takes all chunks that were kept.
func (x *ids) restore(kept []KeptIDs, edge int64) error {
	slices.SortFunc(kept, func(a, b KeptIDs) int { return cmp.Or(cmp.Compare(a.Pane, b.Pane), cmp.Compare(a.Chunk, b.Chunk)) })
	for _, k := range kept {
		p := x.paneOf(k.Pane)
		if k.Chunk != p.chunks {
			return fmt.Errorf("chunk %d of the ids of pane %d is there, expected chunk %d", k.Chunk, k.Pane, p.chunks)
		}
		for _, id := range k.IDs {
			if _, twice := x.known[id]; twice {
				return fmt.Errorf("the id %x is kept twice", id)
			}
			x.add(k.Pane, id)
		}
		p.told, p.chunks = len(p.ids), p.chunks+1
	}
	x.forget(edge)
	for len(x.known) > x.Max {
		x.drop()
	}
	return nil
}
