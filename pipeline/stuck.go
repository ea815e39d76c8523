package pipeline

import "sevwatch/pipeline/fetch"

// stick leaves the walker where it is: the record there can be read only when the registry has answered. Until then the partition is not
// read, holds the watermark back, and is not idle.
func (t *aggregateTask) stick(s *source, c *fetch.Chunk) {
	s.stuck, s.caughtUp = c, false
	s.lag = c.HighWatermark - s.Position()
	t.pauseSource(s)
}

// retryStuck goes on with the partitions whose schemas have come.
func (t *aggregateTask) retryStuck() error {
	for _, s := range t.order {
		if s.stuck == nil || !t.record(s, s.walker.Record()) {
			continue
		}
		c, held := s.stuck, s.held
		s.stuck, s.held = nil, nil
		if err := t.walk(s, c); err != nil {
			return err
		}
		for i := range held {
			if err := t.chunk(s, &held[i]); err != nil {
				return err
			}
		}
		t.pauseSource(s)
	}
	return nil
}
