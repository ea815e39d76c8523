package demo

import (
	"net/http"
	"sync"
)

// maxSessions bounds the memory. At the limit the oldest session is forgotten; the demo's whole script
// makes about 4000 at its default size.
const maxSessions = 20_000

// session is what the service knows of one visitor.
type session struct {
	agreed   bool
	ageBand  string
	answered [pageCount]bool
	scores   [pageCount]int
	receipt  string
}

// done reports whether every page was answered.
func (s *session) done() bool {
	for _, answered := range s.answered {
		if !answered {
			return false
		}
	}
	return true
}

// sessions keeps them in memory. All versions of the api share it, as they would share a database.
type sessions struct {
	mu     sync.Mutex
	byID   map[string]*session
	oldest []string
}

func newSessions() *sessions {
	return &sessions{byID: map[string]*session{}}
}

// open begins a session; to open it again changes nothing.
func (s *sessions) open(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[id] != nil {
		return
	}
	if len(s.oldest) == maxSessions {
		delete(s.byID, s.oldest[0])
		s.oldest = s.oldest[1:]
	}
	s.byID[id] = &session{}
	s.oldest = append(s.oldest, id)
}

// with lets do work on a session that nobody else touches meanwhile, so do must be quick.
func (s *sessions) with(id string, do func(*session) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.byID[id]
	if known == nil {
		return refuse(http.StatusConflict, "no session %q", id)
	}
	return do(known)
}
