package demo

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	pageCount   = 3
	pageLength  = 10
	highestMark = 5
)

// Every request to the store waits for its disk: a fixed part and a part that varies.
const (
	diskFixed  = 3 * time.Millisecond
	diskVaries = 6 * time.Millisecond
)

// storeFailureShare is how often the store fails when nothing is wrong. A fifth of the 0.5 % from which a
// Sev4 would be due.
const storeFailureShare = 0.001

// question is one statement to agree or disagree with, from 1 to highestMark.
type question struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	Most int    `json:"most"`
}

// questionStore is the service that the api depends on: it keeps the questions, on a disk that takes time.
type questionStore struct {
	pace     pace
	switches *switches
	dice     *dice
	intake   *intake
	pages    [pageCount][]question
	titles   []string
}

// newStore is the handler of the question store.
func newStore(o Options, s *switches, e *emitter) http.Handler {
	p := pace(o.Scale)
	store := &questionStore{pace: p, switches: s, dice: newDice(o.Seed), intake: newIntake(o.Visitors, p)}
	for page := range pageCount {
		store.titles = append(store.titles, fmt.Sprintf("Part %d of %d", page+1, pageCount))
		for n := range pageLength {
			id := fmt.Sprintf("q%02d", page*pageLength+n+1)
			text := fmt.Sprintf("Statement %s: how much is this like you?", id)
			store.pages[page] = append(store.pages[page], question{ID: id, Text: text, Most: highestMark})
		}
	}
	watched := observer{emitter: e, service: "question-store", version: "3.8.2"}
	mux := http.NewServeMux()
	mux.Handle("GET /v1/pages/{page}", watched.watch(store.page))
	mux.Handle("GET /v1/titles", watched.watch(store.allTitles))
	return mux
}

func (s *questionStore) page(r *http.Request) (any, error) {
	number, err := strconv.Atoi(r.PathValue("page"))
	if err != nil || number < 1 || number > pageCount {
		return nil, refuse(http.StatusNotFound, "no page %q", r.PathValue("page"))
	}
	if err := s.disk(r); err != nil {
		return nil, err
	}
	return s.pages[number-1], nil
}

func (s *questionStore) allTitles(r *http.Request) (any, error) {
	if err := s.disk(r); err != nil {
		return nil, err
	}
	return s.titles, nil
}

// intake is how many requests a busy store takes: so many a second, and those of a second at once.
type intake struct {
	mu     sync.Mutex
	each   time.Duration
	second time.Duration
	busyTo time.Time // with what was taken already
}

// takesOf is the share of the usual visitors' number that a busy store serves in a second: a fifth of what they ask.
const takesOf = 0.05

func newIntake(visitors int, p pace) *intake {
	return &intake{each: p.of(time.Duration(float64(time.Second) / (takesOf * float64(visitors)))), second: p.of(time.Second)}
}

// take says whether one more request is served.
func (i *intake) take(now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busyTo.Before(now) {
		i.busyTo = now
	}
	if i.busyTo.Sub(now) > i.second {
		return false
	}
	i.busyTo = i.busyTo.Add(i.each)
	return true
}

// disk waits as long as the disk takes, and now and then the disk fails.
func (s *questionStore) disk(r *http.Request) error {
	if s.switches.storeBusy.Load() && !s.intake.take(time.Now()) {
		return &problem{status: http.StatusServiceUnavailable, errorType: "busy", category: "dependency", text: "too many requests, try again"}
	}
	varies, spread, fails := s.dice.roll()
	takes := diskFixed + time.Duration(float64(diskVaries)*varies)
	takes += time.Duration(float64(s.switches.storeDelay.Load()) * (0.8 + 0.4*spread))
	if !wait(r.Context(), s.pace.of(takes)) {
		return errClientGone
	}
	if fails < storeFailureShare {
		return &problem{
			status: http.StatusServiceUnavailable, errorType: "shard_unavailable",
			category: "dependency", text: "the shard is moving, try again",
		}
	}
	return nil
}

// dice is a random source that many requests share, apart from the streams of the crowd. Which request gets which number depends on timing.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func newDice(seed uint64) *dice {
	return &dice{rng: rand.New(rand.NewPCG(seed, math.MaxUint64))}
}

// roll is one exponential number of mean 1 and two uniform ones.
func (d *dice) roll() (exponential, uniform, another float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.ExpFloat64(), d.rng.Float64(), d.rng.Float64()
}
