package demo

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// maxVisitors bounds Options.Visitors.
const maxVisitors = 10_000

// crowding is how many times the usual number of visitors may be on their way at once. Whoever comes when
// it is that full is turned away, and counted.
const crowding = 3

// crowd lets visitors arrive, at random and steadily, whatever state the service is in.
type crowd struct {
	options  Options
	pace     pace
	url      string
	client   *http.Client
	switches *switches
	emitter  *emitter
	tally    *tally
}

func newCrowd(o Options, url string, s *switches, e *emitter, t *tally) *crowd {
	return &crowd{
		options: o, pace: pace(o.Scale), url: url, client: o.network.client(o.Visitors),
		switches: s, emitter: e, tally: t,
	}
}

// run lets visitors in until ctx is done, and returns when the last one has gone.
func (c *crowd) run(ctx context.Context) {
	// Arrival times and each visitor's own choices are separate streams of one seed, so neither depends
	// on how goroutines take turns.
	rng := rand.New(rand.NewPCG(c.options.Seed, 0))
	gap := float64(c.pace.of(journeyTime())) / float64(c.options.Visitors)
	places := make(chan struct{}, crowding*c.options.Visitors)
	var visitors sync.WaitGroup
	due := time.Now()
	for number := uint64(1); ; number++ {
		due = due.Add(time.Duration(gap * rng.ExpFloat64()))
		if !wait(ctx, time.Until(due)) {
			break
		}
		select {
		case places <- struct{}{}:
		default:
			c.tally.turnedAway.Add(1)
			continue
		}
		c.tally.arrived.Add(1)
		visitors.Go(func() {
			c.tally.left(newVisitor(c, number).walk(ctx))
			<-places
		})
	}
	visitors.Wait()
	c.client.CloseIdleConnections()
}

// Totals say what the world did, for the summary and to compare with what sevwatch counted.
type Totals struct {
	// Visitors by how their visit ended. Those not in any of the other numbers are still on their way,
	// or were when the world ended.
	Arrived, Finished, LostInterest, LeftSlow, LeftErrors, LeftBroken int64
	// TurnedAway came when the place was full; they sent nothing.
	TurnedAway int64
	// Events by topic.
	Errors, Requests, Steps, Changes int64
}

// Events is the number of all events.
func (t Totals) Events() int64 {
	return t.Errors + t.Requests + t.Steps + t.Changes
}

// tally counts visitors.
type tally struct {
	arrived, turnedAway atomic.Int64
	endings             [endings]atomic.Int64
}

func (t *tally) left(how ending) {
	t.endings[how].Add(1)
}

func (t *tally) totals() Totals {
	return Totals{
		Arrived:      t.arrived.Load(),
		TurnedAway:   t.turnedAway.Load(),
		Finished:     t.endings[finished].Load(),
		LostInterest: t.endings[lostInterest].Load(),
		LeftSlow:     t.endings[leftSlow].Load(),
		LeftErrors:   t.endings[leftErrors].Load(),
		LeftBroken:   t.endings[leftBroken].Load(),
	}
}
