package demo

import (
	"bytes"
	"context"
	"math"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewSaysEverythingThatIsWrong(t *testing.T) {
	_, err := New(Options{Visitors: -1, Scale: math.NaN()})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"cannot make the demo's world", "no sink", "visitors", "scale"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	w, err := New(Options{Sink: newMemory()})
	if err != nil || w.options.Visitors != 300 || w.Length() != 170*time.Second {
		t.Errorf("the defaults are %+v, %v", w.options, err)
	}
}

// wires is a network in memory, so that waiting for an answer is waiting as for a clock: in a bubble of synctest time goes on exactly when
// everybody waits, however busy the machine is.
type wires map[string]*wire

// wire is a server's listener.
type wire struct {
	name   string
	calls  chan net.Conn
	closed chan struct{}
	close  func()
}

func newWires(names ...string) network {
	w := wires{}
	for _, name := range names {
		closed := make(chan struct{})
		w[name] = &wire{name, make(chan net.Conn), closed, sync.OnceFunc(func() { close(closed) })}
	}
	return network{
		listen: func(name string) (net.Listener, error) { return w[name], nil },
		dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			name, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return w[name].call(ctx)
		},
	}
}

func (w *wire) call(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case w.calls <- there:
		return here, nil
	case <-w.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.calls:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.close()
	return nil
}

func (w *wire) Addr() net.Addr  { return w }
func (w *wire) Network() string { return "memory" }
func (w *wire) String() string  { return w.name }

// The whole world, in a time that goes on when everybody waits: every fault shows in the events, and where and when there is no fault none does.
func TestWorld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := newMemory()
		var told []string
		w, err := New(Options{
			Seed: 42, Visitors: 25, Scale: 0.05, Sink: memory, network: newWires("question-store", "assessment-api"),
			OnFault: func(f Fault, started bool) {
				if started {
					told = append(told, f.Name)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		checkGone(t)
		if err := w.Run(t.Context()); err == nil {
			t.Error("a world runs once")
		}

		events, faults := memory.all(t), w.Faults()
		if !slices.Equal(told, []string{"bad deploy", "slow dependency", "busy dependency", "broken step"}) {
			t.Errorf("told of %q", told)
		}
		checkTotals(t, w.Totals(), events)
		checkBadDeploy(t, events, faults[0])
		checkSlowStore(t, events, faults[1])
		checkBusyStore(t, events, faults[2])
		checkBrokenStep(t, events, faults[3])
	})
}

func checkTotals(t *testing.T, totals Totals, events []event) {
	t.Helper()
	if int(totals.Events()) != len(events) || totals.Changes != 2 {
		t.Errorf("%d events arrived, but the totals say %+v", len(events), totals)
	}
	if totals.Finished == 0 || totals.LeftErrors == 0 || totals.LeftSlow == 0 || totals.LeftBroken == 0 {
		t.Errorf("visitors should end in every way: %+v", totals)
	}
}

// during says whether an event happened while the fault lasted.
func during(f Fault, e event) bool {
	return !e.at.Before(f.StartedAt) && e.at.Before(f.EndedAt)
}

func checkBadDeploy(t *testing.T, events []event, f Fault) {
	t.Helper()
	var in, bad, out, badOut float64
	for _, e := range events {
		if e.Kind == "change" && e.Change == "deploy" && e.at.After(f.StartedAt) {
			t.Error("the deploy is announced after it has begun to fail")
		}
		if e.Kind != "latency" || e.Endpoint != f.Endpoint {
			continue
		}
		failed := 0.0
		if *e.Status >= 500 {
			failed = 1
			if e.Version != f.Version {
				t.Errorf("version %s fails: %+v", e.Version, e)
			}
		}
		if during(f, e) {
			in, bad = in+1, bad+failed
		} else {
			out, badOut = out+1, badOut+failed
		}
	}
	if bad/in < 0.25 {
		t.Errorf("%.0f of %.0f answers fail in the bad deploy", bad, in)
	}
	// A request may straddle the rollback.
	if badOut/out > 0.03 {
		t.Errorf("%.0f of %.0f answers fail outside the bad deploy", badOut, out)
	}
}

func checkBusyStore(t *testing.T, events []event, f Fault) {
	t.Helper()
	var in, refused float64
	for _, e := range events {
		if e.Kind == "latency" && e.Service == f.Service && during(f, e) {
			in++
			if *e.Status == 503 {
				refused++
			}
		}
	}
	if refused/in < 0.6 {
		t.Errorf("the busy store refused %.0f of %.0f requests", refused, in)
	}
}

func checkSlowStore(t *testing.T, events []event, f Fault) {
	t.Helper()
	var in, out []float64
	for _, e := range events {
		if e.Kind != "latency" || e.Service != f.Service {
			continue
		}
		if during(f, e) {
			in = append(in, *e.DurationMs)
		} else {
			out = append(out, *e.DurationMs)
		}
	}
	// At this pace the store adds 60 to 90 ms; the impatient leave after 50.
	if m := median(in); m < 50 {
		t.Errorf("the slow store takes %v ms", m)
	}
	if m := median(out); m > 30 {
		t.Errorf("the healthy store takes %v ms", m)
	}
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func checkBrokenStep(t *testing.T, events []event, f Fault) {
	t.Helper()
	var in, completed, out, completedOut float64
	for _, e := range events {
		if e.Step != f.Step || e.Kind == "latency" {
			continue
		}
		if e.Kind == "error" {
			t.Errorf("the broken step should make no errors: %+v", e)
		}
		switch leaves, inside := e.Action != "enter", during(f, e); {
		case leaves && inside:
			in++
			if e.Action == "complete" {
				completed++
			}
		case leaves && e.at.Before(f.StartedAt):
			out++
			if e.Action == "complete" {
				completedOut++
			}
		}
	}
	if completed/in > 0.4 {
		t.Errorf("%.0f of %.0f get past the broken step", completed, in)
	}
	if completedOut/out < 0.9 {
		t.Errorf("only %.0f of %.0f got past the step before it broke", completedOut, out)
	}
}

func TestWorldStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	memory := newMemory()
	var once sync.Once
	sink := sinkFunc(func(topic string, key, value []byte) {
		memory.Emit(topic, key, value)
		if topic == TopicLatency {
			once.Do(cancel)
		}
	})
	w, err := New(Options{Seed: 1, Visitors: 200, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		t.Errorf("being stopped is no error: %v", err)
	}
	checkGone(t)
	for _, f := range w.Faults() {
		if !f.StartedAt.IsZero() {
			t.Errorf("%s started too early", f.Name)
		}
	}
	if got := w.Totals(); int(got.Events()) != len(memory.all(t)) {
		t.Errorf("the totals %+v are not what the sink got", got)
	}
}

// checkGone fails if a goroutine of this package is left, and waits for those of http.Transport, which end
// by themselves once their connections are closed but cannot be waited for.
func checkGone(t *testing.T) {
	t.Helper()
	if left := goroutines("sevwatch/demo.(*"); len(left) > 0 {
		t.Errorf("left behind:\n%s", bytes.Join(left, []byte("\n\n")))
	}
	deadline := time.Now().Add(10 * time.Second)
	for left := goroutines("net/http."); len(left) > 0; left = goroutines("net/http.") {
		if time.Now().After(deadline) {
			t.Fatalf("left behind:\n%s", bytes.Join(left, []byte("\n\n")))
		}
		runtime.Gosched()
	}
}

// goroutines are the stacks that mention what.
func goroutines(what string) [][]byte {
	buffer := make([]byte, 4<<20)
	stacks := bytes.Split(buffer[:runtime.Stack(buffer, true)], []byte("\n\n"))
	return slices.DeleteFunc(stacks, func(stack []byte) bool { return !bytes.Contains(stack, []byte(what)) })
}
