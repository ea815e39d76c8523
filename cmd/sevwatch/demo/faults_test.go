package demo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The whole script, told by those who hear of it. The clock is the bubble's, so the times are exact.
func TestScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var story strings.Builder
		say := func(format string, args ...any) {
			fmt.Fprintf(&story, "%v ", time.Since(start))
			fmt.Fprintf(&story, format+"\n", args...)
		}
		switches := &switches{}
		sink := sinkFunc(func(topic string, key, value []byte) {
			e := parse(t, record{topic, string(key), value})
			say("%s of %s: %s after %s", e.Change, key, e.Version, e.PreviousVersion)
		})
		sc := newScript(1, switches, &emitter{sink: sink}, func(f Fault, started bool) {
			say("%s %v: share %d, slow by %v, broken %v", f.Name, started, switches.badShare.Load(),
				time.Duration(switches.storeDelay.Load()), switches.submitBroken.Load())
		})
		sc.run(t.Context())
		say("end")

		const want = `23s deploy of assessment-api: 1.42.0 after 1.41.0
25s bad deploy true: share 20, slow by 0s, broken false
50s rollback of assessment-api: 1.41.0 after 1.42.0
50s bad deploy false: share 0, slow by 0s, broken false
1m15s slow dependency true: share 0, slow by 1.5s, broken false
1m40s slow dependency false: share 0, slow by 0s, broken false
2m0s broken step true: share 0, slow by 0s, broken true
2m25s broken step false: share 0, slow by 0s, broken false
2m45s end
`
		if story.String() != want {
			t.Errorf("the script went:\n%s\nwant:\n%s", story.String(), want)
		}
		for _, f := range sc.snapshot() {
			if f.StartedAt != start.Add(f.Start) || f.EndedAt != start.Add(f.End) {
				t.Errorf("%s: planned %v to %v, was %v to %v", f.Name, f.Start, f.End, f.StartedAt.Sub(start), f.EndedAt.Sub(start))
			}
		}
	})
}

func TestRolloutGoesPodByPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		switches := &switches{}
		sc := newScript(1, switches, &emitter{sink: newMemory()}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var playing sync.WaitGroup
		defer playing.Wait()
		defer cancel()
		playing.Go(func() { sc.run(ctx) })
		f := func(at time.Duration, want int64) {
			t.Helper()
			wait(ctx, at) // by the bubble's clock: it stands still while anybody can run
			synctest.Wait()
			if got := switches.badShare.Load(); got != want {
				t.Errorf("%v later: share %d, want %d", at, got, want)
			}
		}
		f(deployStart, 20)
		f(nextPod, 40)
		f(nextPod, 60)
		f(nextPod, 80)
		f(nextPod, 80)
	})
}

func TestScriptIsCalmBetweenFaults(t *testing.T) {
	for _, p := range []pace{0.05, 1, 2} {
		sc := newScript(p, &switches{}, &emitter{sink: newMemory()}, nil)
		calmSince := time.Duration(0)
		for _, f := range sc.snapshot() {
			if f.Start-calmSince < p.of(20*time.Second) || f.End <= f.Start {
				t.Errorf("pace %v: %s runs from %v to %v after calm since %v", p, f.Name, f.Start, f.End, calmSince)
			}
			if len(f.Expect) == 0 || f.Step == "" || f.Service == "" || f.Story == "" {
				t.Errorf("%s lacks something to compare with: %+v", f.Name, f)
			}
			calmSince = f.End
		}
		if sc.length()-calmSince < p.of(20*time.Second) || sc.length() > p.of(170*time.Second) {
			t.Errorf("pace %v: the script ends at %v, calm since %v", p, sc.length(), calmSince)
		}
		for i, m := range sc.moments[1:] {
			if m.at < sc.moments[i].at {
				t.Errorf("moment %d at %v comes before the one ahead of it", i+1, m.at)
			}
		}
	}
}

// sinkFunc is a sink made of a func.
type sinkFunc func(topic string, key, value []byte)

func (f sinkFunc) Emit(topic string, key, value []byte) { f(topic, key, value) }

// The release is taken back once: not before it serves, and not again by the script.
func TestRollbackIsCarriedOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes, ends int
		switches := &switches{}
		sink := sinkFunc(func(string, []byte, []byte) { changes++ })
		sc := newScript(1, switches, &emitter{sink: sink}, func(f Fault, started bool) {
			if f.Name == "bad deploy" && !started {
				ends++
			}
		})
		if sc.rollBack() {
			t.Error("a release was taken back that does not serve")
		}
		var playing sync.WaitGroup
		playing.Go(func() { sc.run(t.Context()) })
		time.Sleep(deployStart + nextPod + time.Second)
		w := &World{script: sc}
		if w.Do("scale") || !w.Do("rollback") || w.Do("rollback") {
			t.Error("expected the first rollback, and only it, to be carried out")
		}
		time.Sleep(2 * nextPod) // the rollout would go on
		if share := switches.badShare.Load(); share != 0 {
			t.Errorf("the bad release serves %d %% after it was taken back", share)
		}
		playing.Wait()
		if changes != 2 || ends != 1 {
			t.Errorf("%d changes were announced and the fault ended %d times, expected a deploy, a rollback and one end", changes, ends)
		}
	})
}
