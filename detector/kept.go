package detector

import "fmt"

// Kept is what is remembered of a source partition's events beyond its watermark and totals, or what has changed of it: what a changelog is
// made of.
type Kept struct {
	IDs []KeptIDs
}

// Keeps says whether anything is remembered of the partition's events.
func (p *Partition) Keeps() bool { return p.ids != nil }

// Changes are what has changed since the last call, in the order in which it is to be written. They hold until the next event.
func (p *Partition) Changes() Kept {
	var k Kept
	if p.ids != nil {
		k.IDs = p.ids.changes()
	}
	return k
}

// Restore takes what was kept when the partition stood where it stands now. What has another configuration is forgotten.
func (p *Partition) Restore(k Kept) error {
	if p.ids == nil {
		return nil
	}
	if err := p.ids.restore(k.IDs, p.edge); err != nil {
		return fmt.Errorf("cannot take up what was kept of %s/%d: %w", p.Topic, p.Partition, err)
	}
	return nil
}
