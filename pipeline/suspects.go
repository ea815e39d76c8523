package pipeline

import (
	"maps"
	"slices"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
)

// suspects are the records of a replayed partition that the future guard holds, by offset.
type suspects map[int64]suspect

// suspect is a held record and why it is rejected if it is not believed.
type suspect struct {
	wire.Origin
	*wire.Reject
}

// outcome gives out what was rejected or late, and keeps what is held. What origin gives may be overwritten afterwards.
func (r *Replay) outcome(held suspects, p *detector.Partition, offset int64, origin func() wire.Origin, o detector.Outcome) {
	for _, offset := range o.Future {
		if r.Rejected != nil {
			r.Rejected(held[offset].Origin, held[offset].Reject)
		}
	}
	switch {
	case o.Held:
		from := origin()
		from.Key, from.Value = slices.Clone(from.Key), slices.Clone(from.Value)
		held[offset] = suspect{from, wire.Future(o.Newest, o.AheadMs)}
	case o.LateMs > 0 && r.Late != nil:
		r.Late(origin(), p.Edge()-o.LateMs, o.LateMs)
	}
	if len(held) > 0 {
		maps.DeleteFunc(held, func(offset int64, _ suspect) bool { return !p.Holds(offset) })
	}
}
