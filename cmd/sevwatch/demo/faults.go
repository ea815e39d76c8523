package demo

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The runbook's playbooks.
const (
	PlaybookErrors      = "critical_error_rate_spike"
	PlaybookPerformance = "performance_degradation"
	PlaybookCompletion  = "completion_rate_drop"
	PlaybookAPI         = "api_issues"
)

// Fault is one thing that the script breaks, and what a watcher should make of it.
type Fault struct {
	Name string
	// Story is one sentence for people.
	Story string
	// Service, Endpoint, Step and Version say where it is, as the events' labels do. Empty is not
	// applicable.
	Service, Endpoint, Step, Version string
	// Start and End are planned, from the start of the script, as scaled.
	Start, End time.Duration
	// StartedAt and EndedAt are the wall times; zero until it happens.
	StartedAt, EndedAt time.Time
	// Expect are the playbooks of which one should find the fault.
	Expect []string
	// Action is what ends it, of the actions of the runbook. Empty: only the script does.
	Action string
	// Follows are playbooks that may rightly speak up besides, because the fault makes visitors leave.
	Follows []string
}

// switches are what faults act upon. The zero value is a healthy world.
type switches struct {
	badShare     atomic.Int64 // percent of sessions that the bad release serves
	storeDelay   atomic.Int64 // nanoseconds, before pace
	storeBusy    atomic.Bool  // the store serves only a part of what it is asked
	breakerOpen  atomic.Bool  // the api spares the store
	submitBroken atomic.Bool
}

// The faults of the script, by their place in it.
const (
	badDeploy = iota
	slowStore
	busyStore
	brokenStep
)

// The script, from its start. The calm before each fault is longer than the fault's windows need to
// recover.
const (
	deployAt    = 18 * time.Second // the announcement: it takes a moment until the first pod serves
	deployStart = 20 * time.Second
	nextPod     = 3 * time.Second
	deployEnd   = 42 * time.Second
	slowStart   = 62 * time.Second
	slowEnd     = 81 * time.Second
	busyStart   = 101 * time.Second
	busyEnd     = 120 * time.Second
	brokenStart = 140 * time.Second
	brokenEnd   = 160 * time.Second
	scriptEnd   = 170 * time.Second
)

// podShare is one pod of five, and the rollout gets as far as four.
const (
	podShare     = 20
	rolloutShare = 80
)

// slowBy is what the slow store adds to each request, give or take a fifth.
const slowBy = 1500 * time.Millisecond

func plan(p pace) []Fault {
	return []Fault{
		{
			Name:    "bad deploy",
			Story:   "assessment-api 1.42.0 rolls out pod by pod; it answers 500 to POST /v1/answers for three visitors of four",
			Service: "assessment-api", Endpoint: "POST /v1/answers", Step: "questions", Version: badRelease().version,
			Start: p.of(deployStart), End: p.of(deployEnd),
			Expect: []string{PlaybookErrors, PlaybookAPI}, Action: "rollback",
			Follows: []string{PlaybookCompletion},
		},
		{
			Name:    "slow dependency",
			Story:   "question-store has lost most of its workers and takes 1.5 s longer for every request; nothing fails",
			Service: "question-store", Step: "questions",
			Start: p.of(slowStart), End: p.of(slowEnd),
			Expect: []string{PlaybookPerformance}, Action: "scale",
			Follows: []string{PlaybookAPI, PlaybookCompletion},
		},
		{
			Name:    "busy dependency",
			Story:   "question-store can serve a fifth of what it is asked and refuses the rest; visitors who try again keep it so",
			Service: "question-store", Step: "questions",
			Start: p.of(busyStart), End: p.of(busyEnd),
			Expect: []string{PlaybookErrors, PlaybookAPI}, Action: "circuit_breaker",
			Follows: []string{PlaybookCompletion},
		},
		{
			Name:    "broken step",
			Story:   "the submit button does nothing for nine visitors of ten; no request is made, so no service fails",
			Service: "assessment-web", Step: "submit",
			Start: p.of(brokenStart), End: p.of(brokenEnd),
			Expect: []string{PlaybookCompletion},
		},
	}
}

// script breaks and mends the world at its moments.
type script struct {
	switches *switches
	emitter  *emitter
	onFault  func(Fault, bool)
	moments  []moment

	mu     sync.Mutex
	faults []Fault
}

// moment is something to do at a time since the start.
type moment struct {
	at time.Duration
	do func()
}

func newScript(p pace, s *switches, e *emitter, onFault func(Fault, bool)) *script {
	sc := &script{switches: s, emitter: e, onFault: onFault, faults: plan(p)}
	at := func(when time.Duration, do func()) {
		sc.moments = append(sc.moments, moment{at: p.of(when), do: do})
	}
	at(deployAt, func() {
		sc.announce(changeEvent{labels: labels{Version: badRelease().version}, Change: "deploy", PreviousVersion: stableRelease().version})
	})
	at(deployStart, func() { s.badShare.Store(podShare); sc.begin(badDeploy) })
	for share := int64(2 * podShare); share <= rolloutShare; share += podShare {
		at(deployStart+time.Duration(share/podShare-1)*nextPod, func() { sc.rollOut(share) })
	}
	at(deployEnd, func() { sc.mend(badDeploy) })
	at(slowStart, func() { s.storeDelay.Store(int64(slowBy)); sc.begin(slowStore) })
	at(slowEnd, func() { sc.mend(slowStore) })
	at(busyStart, func() { s.storeBusy.Store(true); sc.begin(busyStore) })
	at(busyEnd, func() {
		s.storeBusy.Store(false)
		if !sc.mend(busyStore) { // the breaker is open, and no longer needed
			s.breakerOpen.Store(false)
			sc.announce(changeEvent{Change: "breaker", State: "closed"})
		}
	})
	at(brokenStart, func() { s.submitBroken.Store(true); sc.begin(brokenStep) })
	at(brokenEnd, func() { sc.mend(brokenStep) })
	at(scriptEnd, func() {})
	return sc
}

// rollOut lets the bad release serve more visitors, unless it was taken back.
func (sc *script) rollOut(share int64) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.faults[badDeploy].EndedAt.IsZero() {
		sc.switches.badShare.Store(share)
	}
}

// mend ends a fault that has begun, once, the way that its action does: it says whether there was one to end.
func (sc *script) mend(number int) bool {
	sc.mu.Lock()
	f := &sc.faults[number]
	if f.StartedAt.IsZero() || !f.EndedAt.IsZero() {
		sc.mu.Unlock()
		return false
	}
	f.EndedAt = time.Now()
	ended, s := *f, sc.switches
	var change *changeEvent
	switch number {
	case badDeploy:
		s.badShare.Store(0)
		change = &changeEvent{labels: labels{Version: stableRelease().version}, Change: "rollback", PreviousVersion: badRelease().version}
	case slowStore:
		s.storeDelay.Store(0)
	case busyStore:
		if s.storeBusy.Load() { // it goes on to be: what is spared is what helps
			s.breakerOpen.Store(true)
			change = &changeEvent{Change: "breaker", State: "open"}
		}
	case brokenStep:
		s.submitBroken.Store(false)
	}
	sc.mu.Unlock()
	if change != nil {
		sc.announce(*change)
	}
	if sc.onFault != nil {
		sc.onFault(ended, false)
	}
	return true
}

// mendBy ends the fault that an action of the runbook ends, if there is one now.
func (sc *script) mendBy(action string) bool {
	for number, f := range sc.snapshot() {
		if f.Action == action && sc.mend(number) {
			return true
		}
	}
	return false
}

// run plays the moments and returns after the last one, or when ctx is done.
func (sc *script) run(ctx context.Context) {
	start := time.Now()
	for _, m := range sc.moments {
		if !wait(ctx, time.Until(start.Add(m.at))) {
			return
		}
		m.do()
	}
}

func (sc *script) length() time.Duration {
	return sc.moments[len(sc.moments)-1].at
}

// begin notes that a fault has begun, and passes it on.
func (sc *script) begin(number int) {
	sc.mu.Lock()
	sc.faults[number].StartedAt = time.Now()
	told := sc.faults[number]
	sc.mu.Unlock()
	if sc.onFault != nil {
		sc.onFault(told, true)
	}
}

// announce tells of a change of the api.
func (sc *script) announce(c changeEvent) {
	c.Service = "assessment-api"
	sc.emitter.change(time.Now(), c)
}

func (sc *script) snapshot() []Fault {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return slices.Clone(sc.faults)
}
