package pipeline

import (
	"context"
	"sync"
)

// membership is what a task needs to commit as a member of its group.
type membership struct {
	group      string
	member     string
	generation int
}

// seat is a task's place in its group, which the group moves on from generation to generation while the task keeps its memory. While the
// group is moving on, nothing can be committed.
type seat struct {
	mu      sync.Mutex
	current membership
	free    bool          // false while the group is moving on, or when the membership turned out to be over
	changed chan struct{} // closed and made anew whenever something changes
}

func newSeat(m membership) *seat {
	return &seat{current: m, free: true, changed: make(chan struct{})}
}

// give hands over the membership of a new generation.
func (s *seat) give(m membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(m, true)
}

// over says that a membership has ended, or was refused; nothing is committed until another comes. One that has come since is not touched.
func (s *seat) over(m membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == m {
		s.set(m, false)
	}
}

// set says that something has changed; the mutex is held.
func (s *seat) set(m membership, free bool) {
	s.current, s.free = m, free
	close(s.changed)
	s.changed = make(chan struct{})
}

// get is the membership to commit with, if there is one now, and what says that this has changed.
func (s *seat) get() (m membership, free bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.free, s.changed
}

// wait waits for a membership to commit with.
func (s *seat) wait(ctx context.Context) (membership, error) {
	for {
		m, free, changed := s.get()
		if free {
			return m, nil
		}
		select {
		case <-ctx.Done():
			return membership{}, ctx.Err()
		case <-changed:
		}
	}
}
