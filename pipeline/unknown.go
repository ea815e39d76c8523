package pipeline

import "sevwatch/pipeline/wire"

// unknown adds to the summary how often keys came that nobody knows: those that were counted, and those of records of another shape, if there are any.
// Keys of the contract are none of them, whether this replay needs them or not.
func (r *Replay) unknown(counts map[string]int64, foreign *wire.Input) {
	if r.sum.Unknown == nil {
		r.sum.Unknown = map[string]int64{}
	}
	addUnknown(r.sum.Unknown, counts)
	if foreign != nil {
		foreign.TakeUnknown(r.sum.Unknown)
	}
	for _, name := range wire.EventKeys() {
		delete(r.sum.Unknown, name)
	}
}

func addUnknown(to, counts map[string]int64) {
	for name, n := range counts {
		to[name] += n
	}
}
