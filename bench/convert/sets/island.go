package sets

import "fmt"

// An island is an unbroken stretch of events.
type island struct {
	startMs int64
	endMs   int64 // just after the last event
}

// islands parts the events where nothing happens for longer than gapMs.
func islands(events EventSeq, gapMs int64) ([]island, error) {
	var found []island
	for e, err := range events {
		if err != nil {
			return nil, err
		}
		if n := len(found); n > 0 && e.TimeMs-found[n-1].endMs <= gapMs {
			found[n-1].endMs = e.TimeMs + 1
			continue
		}
		found = append(found, island{startMs: e.TimeMs, endMs: e.TimeMs + 1})
	}
	return found, nil
}

// islandAt returns the island that holds a time.
func islandAt(all []island, timeMs int64) (island, error) {
	for _, i := range all {
		if i.startMs <= timeMs && timeMs < i.endMs {
			return i, nil
		}
	}
	return island{}, fmt.Errorf("no events around %s", appendTime(nil, timeMs))
}
