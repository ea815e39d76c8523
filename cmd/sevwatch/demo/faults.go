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
	// Follows are playbooks that may rightly speak up besides, because the fault makes visitors leave.
	Follows []string
}

// switches are what faults act upon. The zero value is a healthy world.
type switches struct {
	badShare     atomic.Int64 // percent of sessions that the bad release serves
	storeDelay   atomic.Int64 // nanoseconds, before pace
	submitBroken atomic.Bool
	rolledBack   atomic.Bool // the bad release was taken back
}

// The script, from its start. The calm before each fault is longer than the fault's windows need to
// recover.
const (
	deployAt    = 23 * time.Second // the announcement: it takes a moment until the first pod serves
	deployStart = 25 * time.Second
	nextPod     = 4 * time.Second
	deployEnd   = 50 * time.Second
	slowStart   = 75 * time.Second
	slowEnd     = 100 * time.Second
	brokenStart = 120 * time.Second
	brokenEnd   = 145 * time.Second
	scriptEnd   = 165 * time.Second
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
			Expect:  []string{PlaybookErrors, PlaybookAPI},
			Follows: []string{PlaybookCompletion},
		},
		{
			Name:    "slow dependency",
			Story:   "question-store takes 1.5 s longer for every request; nothing fails",
			Service: "question-store", Step: "questions",
			Start: p.of(slowStart), End: p.of(slowEnd),
			Expect:  []string{PlaybookPerformance},
			Follows: []string{PlaybookAPI, PlaybookCompletion},
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
	at(deployAt, func() { sc.announce("deploy", badRelease().version, stableRelease().version) })
	at(deployStart, func() { s.badShare.Store(podShare); sc.mark(0, true) })
	for share := int64(2 * podShare); share <= rolloutShare; share += podShare {
		at(deployStart+time.Duration(share/podShare-1)*nextPod, func() { sc.rollOut(share) })
	}
	at(deployEnd, func() { sc.rollBack() })
	at(slowStart, func() { s.storeDelay.Store(int64(slowBy)); sc.mark(1, true) })
	at(slowEnd, func() { s.storeDelay.Store(0); sc.mark(1, false) })
	at(brokenStart, func() { s.submitBroken.Store(true); sc.mark(2, true) })
	at(brokenEnd, func() { s.submitBroken.Store(false); sc.mark(2, false) })
	at(scriptEnd, func() {})
	return sc
}

// rollOut lets the bad release serve more visitors, unless it was taken back.
func (sc *script) rollOut(share int64) {
	sc.switches.badShare.Store(share)
	if sc.switches.rolledBack.Load() {
		sc.switches.badShare.Store(0)
	}
}

// rollBack takes the bad release back, once. It says whether there was one to take back.
func (sc *script) rollBack() bool {
	sc.mu.Lock()
	serving := !sc.faults[0].StartedAt.IsZero()
	sc.mu.Unlock()
	if !serving || !sc.switches.rolledBack.CompareAndSwap(false, true) {
		return false
	}
	sc.announce("rollback", stableRelease().version, badRelease().version)
	sc.switches.badShare.Store(0)
	sc.mark(0, false)
	return true
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

// mark notes that a fault has begun or ended, and passes it on.
func (sc *script) mark(number int, started bool) {
	sc.mu.Lock()
	f := &sc.faults[number]
	if started {
		f.StartedAt = time.Now()
	} else {
		f.EndedAt = time.Now()
	}
	told := *f
	sc.mu.Unlock()
	if sc.onFault != nil {
		sc.onFault(told, started)
	}
}

func (sc *script) announce(change, version, previous string) {
	sc.emitter.change(time.Now(), changeEvent{
		labels: labels{Service: "assessment-api", Version: version},
		Change: change, PreviousVersion: previous,
	})
}

func (sc *script) snapshot() []Fault {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return slices.Clone(sc.faults)
}
