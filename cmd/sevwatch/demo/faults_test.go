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
			say("%s %v: share %d, slow by %v, busy %v, broken %v", f.Name, started, switches.badShare.Load(),
				time.Duration(switches.storeDelay.Load()), switches.storeBusy.Load(), switches.submitBroken.Load())
		})
		sc.run(t.Context())
		say("end")

		const want = `18s deploy of assessment-api: 1.42.0 after 1.41.0
20s bad deploy true: share 20, slow by 0s, busy false, broken false
42s rollback of assessment-api: 1.41.0 after 1.42.0
42s bad deploy false: share 0, slow by 0s, busy false, broken false
1m2s slow dependency true: share 0, slow by 1.5s, busy false, broken false
1m21s slow dependency false: share 0, slow by 0s, busy false, broken false
1m41s busy dependency true: share 0, slow by 0s, busy true, broken false
2m0s busy dependency false: share 0, slow by 0s, busy false, broken false
2m20s broken step true: share 0, slow by 0s, busy false, broken true
2m40s broken step false: share 0, slow by 0s, busy false, broken false
2m50s end
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
		if sc.length()-calmSince < p.of(10*time.Second) || sc.length() > p.of(170*time.Second) {
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

// Each action ends its own fault, once: not before it is there, and not again by the script. The breaker is closed when it is no longer needed.
func TestActionsAreCarriedOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		ends := map[string]int{}
		switches := &switches{}
		sink := sinkFunc(func(topic string, key, value []byte) {
			e := parse(t, record{topic, string(key), value})
			changes = append(changes, e.Change+e.State)
		})
		sc := newScript(1, switches, &emitter{sink: sink}, func(f Fault, started bool) {
			if !started {
				ends[f.Name]++
			}
		})
		w := &World{script: sc}
		actions := map[string]time.Duration{"rollback": deployStart + nextPod, "scale": slowStart, "circuit_breaker": busyStart}
		if w.CanDo("fallback") || w.CanDo("") {
			t.Error("the world can do what it cannot")
		}
		start := time.Now()
		var playing sync.WaitGroup
		playing.Go(func() { sc.run(t.Context()) })
		for _, action := range []string{"rollback", "scale", "circuit_breaker"} {
			if w.Do(action) {
				t.Errorf("%s was carried out with nothing to do", action)
			}
			time.Sleep(time.Until(start.Add(actions[action] + time.Second)))
			if !w.CanDo(action) || !w.Do(action) || w.Do(action) {
				t.Errorf("expected the first %s, and only it, to be carried out", action)
			}
			time.Sleep(2 * nextPod) // the rollout would go on
			if switches.badShare.Load() != 0 || switches.storeDelay.Load() != 0 || switches.breakerOpen.Load() != (action == "circuit_breaker") {
				t.Errorf("after %s the switches are %+v", action, switches)
			}
		}
		playing.Wait()
		if got := strings.Join(changes, " "); got != "deploy rollback breakeropen breakerclosed" || switches.breakerOpen.Load() {
			t.Errorf("the changes are %s", got)
		}
		for _, f := range sc.snapshot() {
			if ends[f.Name] != 1 {
				t.Errorf("%s ended %d times", f.Name, ends[f.Name])
			}
		}
	})
}
