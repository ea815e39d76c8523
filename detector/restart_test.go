package detector

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// topic is what the judge reads: the records of all tasks in one order, and what was committed of reading it.
type topic struct {
	t       *tale
	log     []any // *Delta, *Progress or *spoken
	next    int   // the next record to read
	judge   *Judge
	pending []Output
	heard   int // how far the log was ever read

	// What is committed, in one transaction.
	known  int // next, then
	needed int // the first record that the windows need
	state  map[string][]byte
	told   []Output
	logged []Applied
}

// spoken is an act at its place in the log.
type spoken struct {
	offset int64
	act    *Act
	edge   int64 // at which the log says that it was applied
}

// record keeps the log that an engine's judge reads.
func record(t *tale, tasks int, seed uint64) []any {
	var log []any
	e := newEngine(t, tasks, seed)
	e.onRecord = func(r any) { log = append(log, r) }
	e.run()
	return log
}

// read takes one record and, if it is time, judges; once judged, it commits if it is time for that.
func (p *topic) read(judge, commit bool) {
	switch r := p.log[p.next].(type) {
	case *Delta:
		p.judge.Delta(r)
	case *Progress:
		if err := p.judge.Progress(r); err != nil {
			panic(err)
		}
	case *spoken:
		p.judge.Hear(r.offset, r.act, r.edge)
	}
	p.next++
	p.heard = max(p.heard, p.next)
	if !judge && p.next < len(p.log) {
		return
	}
	p.advance(commit)
}

func (p *topic) advance(commit bool) {
	before := p.judge.Edge()
	p.pending = append(p.pending, p.judge.Advance()...)
	stale := p.judge.Stale()
	if p.judge.Edge() != before && (commit || stale) || p.next == len(p.log) {
		p.commit()
	}
	if !stale {
		return
	}
	p.kill()
	if p.next == len(p.log) {
		p.advance(commit)
	}
}

// commit is what the pipeline does when a pane has closed.
func (p *topic) commit() {
	p.apply(p.judge.Changes())
	p.told = append(p.told, p.pending...)
	p.logged = append(p.logged, p.judge.Applied()...)
	p.pending, p.known, p.needed = nil, p.next, p.next
	for i, r := range p.log[:p.next] {
		if d, ok := r.(*Delta); ok && d.Pane >= p.judge.Needs() {
			p.needed = i
			break
		}
	}
}

func (p *topic) apply(records []Record) {
	if !slices.IsSortedFunc(records, func(x, y Record) int { return bytes.Compare([]byte(x.Key), []byte(y.Key)) }) {
		panic("records are not in the order of their keys")
	}
	for i, r := range records {
		if i > 0 && records[i-1].Key == r.Key {
			panic(fmt.Sprintf("the key %q is told twice", r.Key))
		}
		if r.Value == nil {
			delete(p.state, r.Key)
		} else {
			p.state[r.Key] = r.Value
		}
	}
}

// kill throws the judge away and restores another from what was committed.
func (p *topic) kill() {
	p.judge, p.pending = NewJudge(p.t.cfg, p.t.file), nil
	var records []Record
	for _, key := range slices.Sorted(maps.Keys(p.state)) {
		records = append(records, Record{key, p.state[key]})
	}
	if err := p.judge.Load(records); err != nil {
		panic(err)
	}
	for _, r := range p.log[:p.heard] { // a change of the rules that is in the log is heard of before any delta
		if s, ok := r.(*spoken); ok && s.act.Rules != nil {
			p.judge.Hear(s.offset, s.act, s.edge)
		}
	}
	for _, r := range p.log[p.needed:p.known] {
		if d, ok := r.(*Delta); ok {
			p.judge.Delta(d)
		}
	}
	if err := p.judge.Ready(); err != nil {
		panic(err)
	}
	p.next = p.known
}

// TestKilled kills the judge at random, between any two records: what is committed is what an uninterrupted judge tells, and the
// committed records are the judge's state and nothing else.
func TestKilled(t *testing.T) {
	talesOf(t, 60, func(t *testing.T, tale *tale) { killed(t, tale, func(*rand.Rand, *topic) {}) })
}

// killed tells the tale with a judge that is killed at random; also may do more to it between two records.
func killed(t *testing.T, tale *tale, also func(g *rand.Rand, p *topic)) {
	t.Helper()
	g := rand.New(rand.NewPCG(tale.seed, 13))
	want := newEngine(tale, 1, 1).run()
	p := &topic{t: tale, log: record(tale, 2, tale.seed), judge: NewJudge(tale.cfg, tale.file), state: map[string][]byte{}}
	judgeEvery, commitEvery, killEvery := 1+g.IntN(40), 1+g.IntN(4), 5+g.IntN(100)
	for kills := 100; p.next < len(p.log); {
		p.read(g.IntN(judgeEvery) == 0, g.IntN(commitEvery) == 0)
		if g.IntN(killEvery) == 0 && kills > 0 {
			kills--
			p.kill()
		}
		if g.IntN(20) == 0 && p.next == p.known {
			p.complete(t)
		}
		also(g, p)
	}
	same(t, tale, "killed at random", p.told, want)
}

// TestKilledWhilePeopleSpeak kills a judge that reads people's words between its other records, many of them too late for their time: each
// takes effect once, where it did before.
func TestKilledWhilePeopleSpeak(t *testing.T) {
	talesOf(t, 60, func(t *testing.T, tale *tale) {
		g := rand.New(rand.NewPCG(tale.seed, 17))
		tale.speak(newEngine(tale, 1, 1).run())
		log := record(tale, 2, tale.seed)
		for i := range tale.acts {
			log = slices.Insert(log, g.IntN(len(log)), any(&spoken{act: tale.acts[i].of()}))
		}
		offset := int64(0)
		for _, r := range log {
			if s, ok := r.(*spoken); ok {
				s.offset = offset
				offset += 1 + g.Int64N(3)
			}
		}
		tell := func(killEvery int) []Output {
			p := &topic{t: tale, log: log, judge: NewJudge(tale.cfg, tale.file), state: map[string][]byte{}}
			for kills := 60; p.next < len(p.log); {
				p.read(true, g.IntN(3) == 0)
				if g.IntN(killEvery) == 0 && kills > 0 {
					kills--
					p.kill()
				}
			}
			return p.told
		}
		same(t, tale, "killed at random", tell(5+g.IntN(40)), tell(1<<40))
	})
}

// complete compares the state that was told, record by record, with the whole state of the judge.
func (p *topic) complete(t *testing.T) {
	t.Helper()
	whole := map[string][]byte{}
	p.judge.state(func(key string, value []byte) { whole[key] = value }, true)
	for _, key := range slices.Sorted(maps.Keys(p.state)) {
		if whole[key] == nil && key[:min(4, len(key))] != keySeen {
			t.Errorf("seed %d: the key %q is forgotten but still in the state: %s", p.t.seed, key, p.state[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(whole)) {
		if p.state[key] == nil {
			t.Errorf("seed %d: the key %q was not told", p.t.seed, key)
		}
	}
}
