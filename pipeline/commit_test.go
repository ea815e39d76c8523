package pipeline

import (
	"context"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/txn"
	"sevwatch/rules"
)

// commitFunc is a producer.
type commitFunc func() error

func (f commitFunc) Commit(context.Context, []kafka.Message, *txn.Offsets) error { return f() }

// silentReader delivers nothing.
type silentReader struct{}

func (silentReader) Run(context.Context) error        { return nil }
func (silentReader) Responses() <-chan fetch.Response { return nil }
func (silentReader) Pause(string, int, bool)          {}

// TestStoppedTaskTells: what a task has committed it tells, although it is being stopped.
func TestStoppedTaskTells(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	const rounds = 20 // in which the end of the transaction and that of the task are seen in either order
	told := 0
	for range rounds {
		c := &Config{}
		w := NewWorker(WorkerOptions{Config: c, Log: zap.NewNop(), Tell: func(detector.Output) { told++ }})
		seat := newSeat(membership{})
		j := &judgeTask{
			w: w, seat: seat, judge: detector.NewJudge(detector.Config{}, &rules.File{}), reader: silentReader{},
			commits: newCommits(w, commitFunc(func() error { return nil }), seat), unsent: &verdicts{outputs: []detector.Output{{}}},
		}
		j.commits.beside = func(f func()) { f() }
		j.commits.begin(ctx, nil, nil)
		if err := j.loop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if told != rounds {
		t.Errorf("%d of %d were told", told, rounds)
	}
}

// TestCommitHearsOfTheGroup: a transaction that waits for the group hears that it has moved on, however soon that was.
func TestCommitHearsOfTheGroup(t *testing.T) {
	s := newSeat(membership{generation: 1})
	w := NewWorker(WorkerOptions{Config: &Config{}, Log: zap.NewNop()})
	committed := 0
	c := newCommits(w, commitFunc(func() error { committed++; return nil }), s)
	c.beside = func(f func()) { f() }
	s.over(membership{generation: 1})
	c.begin(t.Context(), nil, nil)
	s.give(membership{generation: 2})
	select {
	case <-c.changed:
	default:
		t.Fatal("it would wait for ever")
	}
	if c.begin(t.Context(), nil, nil); committed != 1 || c.changed != nil {
		t.Errorf("%d transactions are committed, expected 1, and nothing to be waited for", committed)
	}
}

// TestRefusedMembershipIsTheOld: a refusal of the old membership that comes with the new one does not take that away.
func TestRefusedMembershipIsTheOld(t *testing.T) {
	for n := range 20_000 {
		s := newSeat(membership{generation: 1})
		var done sync.WaitGroup
		done.Go(func() { s.over(membership{generation: 1}) })
		done.Go(func() { s.give(membership{generation: 2}) })
		done.Wait()
		if m, free, _ := s.get(); m.generation != 2 || !free {
			t.Fatalf("round %d: generation %d, free %v", n, m.generation, free)
		}
	}
}
