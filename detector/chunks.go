package detector

import (
	"cmp"
	"fmt"
	"slices"
)

// Chunk is a part of what a partition remembers of a pane, as a changelog keeps it. Without items it is forgotten.
type Chunk[T any] struct {
	Pane  int64
	Chunk int
	Items []T
}

// MaxChunk is how large a chunk is at most, in bytes as they are reckoned here.
const MaxChunk = 1 << 17

// chunks are what a partition remembers, by panes, in the order in which it came. A changelog has it in chunks: a flush adds what each pane
// has gained, and a pane is forgotten as a whole.
type chunks[T any] struct {
	size  func(T) int // about, in bytes
	count int
	panes []*chunkedPane[T] // by start
	gone  []Chunk[T]        // forgotten since the last flush
}

type chunkedPane[T any] struct {
	start  int64
	items  []T
	told   int // of them are in chunks
	chunks int
}

func (c *chunks[T]) add(start int64, item T) {
	p := c.pane(start)
	p.items = append(p.items, item)
	c.count++
}

func (c *chunks[T]) pane(start int64) *chunkedPane[T] {
	i, found := slices.BinarySearchFunc(c.panes, start, func(p *chunkedPane[T], start int64) int { return cmp.Compare(p.start, start) })
	if !found {
		c.panes = slices.Insert(c.panes, i, &chunkedPane[T]{start: start})
	}
	return c.panes[i]
}

// drop forgets the oldest pane, and gives what was in it.
func (c *chunks[T]) drop() []T {
	oldest := c.panes[0]
	c.panes = c.panes[1:]
	c.count -= len(oldest.items)
	for chunk := range oldest.chunks {
		c.gone = append(c.gone, Chunk[T]{Pane: oldest.start, Chunk: chunk})
	}
	return oldest.items
}

// changes are the chunks forgotten and gained since the last call, in the order in which they are to be written: a pane that was forgotten
// can come again.
func (c *chunks[T]) changes() []Chunk[T] {
	out := c.gone
	c.gone = nil
	for _, p := range c.panes {
		for p.told < len(p.items) {
			end := c.end(p.items, p.told)
			out = append(out, Chunk[T]{p.start, p.chunks, p.items[p.told:end]})
			p.told, p.chunks = end, p.chunks+1
		}
	}
	return out
}

// end is where the chunk ends that begins with an item.
func (c *chunks[T]) end(items []T, begin int) int {
	end, size := begin+1, c.size(items[begin])
	for end < len(items) && size+c.size(items[end]) <= MaxChunk {
		size += c.size(items[end])
		end++
	}
	return end
}

// restore takes all chunks that were kept, and gives each item to take.
func (c *chunks[T]) restore(kept []Chunk[T], take func(T) error) error {
	slices.SortFunc(kept, func(a, b Chunk[T]) int { return cmp.Or(cmp.Compare(a.Pane, b.Pane), cmp.Compare(a.Chunk, b.Chunk)) })
	for _, k := range kept {
		p := c.pane(k.Pane)
		if k.Chunk != p.chunks {
			return fmt.Errorf("chunk %d of pane %d is there, expected chunk %d", k.Chunk, k.Pane, p.chunks)
		}
		for _, item := range k.Items {
			if err := take(item); err != nil {
				return err
			}
			c.add(k.Pane, item)
		}
		p.told, p.chunks = len(p.items), p.chunks+1
	}
	return nil
}
