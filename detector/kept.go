package detector

import (
	"errors"
	"fmt"
)

// Kept is what is remembered of a source partition's events beyond its watermark and totals, or what has changed of it: what a changelog is
// made of.
type Kept struct {
	IDs    []Chunk[ID]
	Visits []Chunk[*Visit]

	// Where sessions are followed: under which partitions and timeouts, since which event time, and, if it is not yet known, from which offset on.
	Terms  string
	Until  int64
	Resume int64
}

// Keeps says whether anything is remembered of the partition's events.
func (p *Partition) Keeps() bool { return p.ids != nil || p.attempts != nil }

// Changes are what has changed since the last call, in the order in which it is to be written. They hold until the next event.
func (p *Partition) Changes() Kept {
	k := p.off
	p.off = Kept{}
	if p.ids != nil {
		k.IDs = append(k.IDs, p.ids.changes()...)
	}
	if p.attempts != nil {
		p.attempts.keep(&k)
	}
	return k
}

// Restore takes what was kept when the partition stood where it stands now. What is no longer remembered is forgotten.
func (p *Partition) Restore(k Kept) error {
	var errs []error
	if p.ids != nil {
		errs = append(errs, p.ids.restore(k.IDs, p.edge))
	} else {
		p.off.IDs = forgotten(k.IDs)
	}
	if p.attempts != nil && k.Terms != "" {
		errs = append(errs, p.attempts.restore(&k, p.edge))
	} else {
		p.off.Visits = forgotten(k.Visits)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot take up what was kept of %s/%d: %w", p.Topic, p.Partition, err)
	}
	return nil
}

// forgotten are the chunks as they are forgotten.
func forgotten[T any](kept []Chunk[T]) (out []Chunk[T]) {
	for _, c := range kept {
		out = append(out, Chunk[T]{Pane: c.Pane, Chunk: c.Chunk})
	}
	return out
}
