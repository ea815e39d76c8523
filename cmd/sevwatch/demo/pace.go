package demo

import (
	"context"
	"time"
)

const (
	minScale = 0.001
	maxScale = 1000
)

// pace is how fast the world lives: 1 is the demo, 0.1 is ten times faster. It stretches every
// deliberate wait and never the work itself.
type pace float64

// of is the wait d at this pace.
func (p pace) of(d time.Duration) time.Duration {
	return time.Duration(float64(d) * float64(p))
}

// wait lets d pass and reports true, or reports false as soon as ctx is done.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
