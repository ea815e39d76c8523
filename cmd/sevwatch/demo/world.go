// Package demo is the world that `sevwatch demo` watches: an honest little assessment service on
// loopback, a crowd of simulated visitors and a script of faults. Handlers, waits and failures are
// real; what they say about themselves goes out as events in the documented format, to a Sink.
//
// It must not know Kafka, rules, incidents or the screen: nothing here may help sevwatch find a fault,
// and what was found is compared with Faults elsewhere.
package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options says what kind of world to make.
type Options struct {
	// Seed drives the arrivals and every visitor's choices. Timing stays real, so two runs are
	// alike, not equal.
	Seed uint64
	// Visitors is how many people are on their way at once, on average, while nothing is wrong.
	// Zero means 300.
	Visitors int
	// Scale stretches every wait: the script, thinking, patience and slowness. Zero means 1, which
	// is a script of 170 s.
	Scale float64
	// Sink receives the events. Required.
	Sink Sink
	// OnFault, if not nil, is told of each start and each end of a fault as it happens. The script
	// waits for it, so it must be quick.
	OnFault func(fault Fault, started bool)

	network network // loopback, but for tests
}

// World is the service, its crowd and its faults. It runs once.
type World struct {
	options  Options
	pace     pace
	emitter  *emitter
	switches *switches
	script   *script
	tally    *tally
	ran      atomic.Bool
}

// New checks the options, says everything that is wrong with them, and starts nothing.
func New(options Options) (*World, error) {
	if err := options.complete(); err != nil {
		return nil, fmt.Errorf("cannot make the demo's world: %w", err)
	}
	w := &World{
		options:  options,
		pace:     pace(options.Scale),
		emitter:  &emitter{sink: options.Sink},
		switches: &switches{},
		tally:    &tally{},
	}
	w.script = newScript(w.pace, w.switches, w.emitter, options.OnFault)
	return w, nil
}

// complete fills in the defaults and checks the rest.
func (o *Options) complete() error {
	var wrong []error
	if o.Visitors == 0 {
		o.Visitors = 300
	}
	if o.Scale == 0 {
		o.Scale = 1
	}
	if o.network.listen == nil {
		o.network = loopback
	}
	if o.Sink == nil {
		wrong = append(wrong, errors.New("no sink"))
	}
	if o.Visitors < 0 || o.Visitors > maxVisitors {
		wrong = append(wrong, fmt.Errorf("visitors must be 1 to %d, not %d", maxVisitors, o.Visitors))
	}
	if !(o.Scale >= minScale && o.Scale <= maxScale) { // so written, NaN is refused too
		wrong = append(wrong, fmt.Errorf("scale must be %v to %v, not %v", minScale, maxScale, o.Scale))
	}
	return errors.Join(wrong...)
}

// Run starts the servers and the crowd, plays the script, and returns when the script has ended or ctx
// is done, after everything it started has stopped. Being stopped by ctx is no error.
//
// Visitors who are on their way then vanish without a word: no abandon is emitted for them.
func (w *World) Run(ctx context.Context) error {
	if w.ran.Swap(true) {
		return errors.New("cannot run the demo's world: it has already run")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	store, err := w.options.network.serve("question-store", newStore(w.options, w.switches, w.emitter))
	if err != nil {
		return err
	}
	service := newService(w.options.network.client(storeConnections), store.url(), w.pace, w.switches, w.emitter)
	api, err := w.options.network.serve("assessment-api", service)
	if err != nil {
		return errors.Join(err, store.stop())
	}
	store.start(cancel)
	api.start(cancel)

	var people sync.WaitGroup
	crowd := newCrowd(w.options, api.url(), w.switches, w.emitter, w.tally)
	people.Go(func() { crowd.run(ctx) })
	w.script.run(ctx)

	// From the outside in, so that nobody calls a server that has gone.
	failed := serverFailure(ctx)
	cancel(nil)
	people.Wait()
	err = api.stop()
	service.close()
	return errors.Join(failed, err, store.stop())
}

// serverFailure is the error of the server that ended the run, or nil.
func serverFailure(ctx context.Context) error {
	var failed *serveError
	if errors.As(context.Cause(ctx), &failed) {
		return failed
	}
	return nil
}

// Length is how long the script takes.
func (w *World) Length() time.Duration {
	return w.script.length()
}

// Faults are the faults of the script in their order, with the wall times of those that have started
// and ended so far. Safe at any time.
func (w *World) Faults() []Fault {
	return w.script.snapshot()
}

// CanDo says whether the world can carry out an action of the runbook.
func (w *World) CanDo(action string) bool {
	return slices.ContainsFunc(w.script.snapshot(), func(f Fault) bool { return action != "" && f.Action == action })
}

// Do carries out an action of the runbook, as a recovery system would. It says whether there was anything to do.
func (w *World) Do(action string) bool { return w.CanDo(action) && w.script.mendBy(action) }

// Totals are what has happened so far. Safe at any time.
func (w *World) Totals() Totals {
	t := w.tally.totals()
	t.Errors = w.emitter.errors.Load()
	t.Requests = w.emitter.latency.Load()
	t.Steps = w.emitter.steps.Load()
	t.Changes = w.emitter.changes.Load()
	return t
}
