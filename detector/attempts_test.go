package detector

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sevwatch/rules"
)

// walk is an event of a session, as it arrives.
type walk struct {
	time                          int64
	session, step, action, region string
}

func (s walk) event() Event {
	return Event{
		Time: s.time, Kind: rules.KindStep, Session: []byte(s.session), Value: 5, HasValue: true,
		Labels: [][]byte{[]byte(s.step), []byte(s.action), []byte(s.region)},
	}
}

func attemptsConfig(lateness int64) Config {
	return Config{
		Labels: []string{"step", "action", "region"}, Pane: 1000, Lateness: lateness, MaxAhead: 20_000, Agree: 3,
		Sessions: map[string]Sessions{"t": {Timeout: 10_000, Timeouts: map[string]int64{"short": 1500, "never": 0}, Max: 1 << 20}},
	}
}

// attemptsOf are the attempts of deltas: how many of each step, action and region, by pane; and what happened to the pipeline.
func attemptsOf(into map[string]int64, deltas []Delta) {
	for _, d := range deltas {
		for _, s := range d.Series {
			var values []string
			for _, l := range s.Labels {
				if l.Name != "topic" && l.Name != "partition" {
					values = append(values, l.Value)
				}
			}
			if s.Kind == rules.KindAttempt || s.Kind == rules.KindPipeline {
				into[fmt.Sprintf("%d %s %s", d.Pane, s.Kind, strings.Join(values, " "))] += s.Count
			}
		}
	}
}

// told lets events arrive in a new partition, and an end of all, and says which attempts that makes.
func attemptsTold(cfg Config, end int64, stream ...walk) map[string]int64 {
	a := NewAggregator(cfg, 0, 1)
	p := a.Add(oneSource, 0, NewPartitionState())
	for i, s := range stream {
		e := s.event()
		a.Count(p, int64(i), &e)
	}
	a.Advance(p, end, false)
	deltas, _ := a.Flush()
	out := map[string]int64{}
	attemptsOf(out, deltas)
	return out
}

// Stories of single visitors. Times are in seconds; the timeout is 10 s.
func TestAttempts(t *testing.T) {
	f := func(want string, end float64, stream ...string) {
		t.Helper()
		var events []walk
		for _, text := range stream {
			var s walk
			var at float64
			if _, err := fmt.Sscan(text, &at, &s.session, &s.step, &s.action, &s.region); err != nil {
				t.Fatal(text, err)
			}
			s.time = int64(at * 1000)
			events = append(events, s)
		}
		var got []string
		told := attemptsTold(attemptsConfig(5000), int64(end*1000), events...)
		for _, key := range SortedKeys(told) {
			got = append(got, fmt.Sprintf("%d x %s", told[key], key))
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%q:\n%s, expected\n%s", stream, strings.Join(got, "; "), want)
		}
	}
	f("1 x 11000 attempt abandon eu form", 12, "1.5 a form enter eu")
	f("", 11.9, "1.5 a form enter eu")
	f("1 x 11000 attempt complete eu form", 12, "1.5 a form enter eu", "3 a form complete us")
	f("1 x 11000 attempt complete eu form", 20, "1.5 a form enter eu", "11.499 a form complete eu")
	f("1 x 11000 attempt abandon eu form", 22, "1.5 a form enter eu", "11.5 a form complete eu")
	f("1 x 14000 attempt complete us form", 22, "1.5 a form enter eu", "4.2 a form enter us", "14 a form complete us")
	f("1 x 11000 attempt abandon eu form; 1 x 21000 attempt abandon us form", 22, "1.5 a form enter eu", "11.6 a form enter us")
	f("1 x 11000 attempt complete eu form; 1 x 14000 attempt abandon eu form", 22, "1.5 a form enter eu", "3 a form complete eu", "4 a form enter eu")
	f("1 x 11000 attempt abandon eu form", 22, "1.5 a form enter eu", "2 a form abandon eu")
	f("1 x 15000 attempt complete eu form", 22, "1.5 a form enter eu", "2 a form abandon eu", "5 a form enter eu", "6 a form complete eu")
	f("", 22, "1.5 a form complete eu")
	f("1 x 11000 attempt complete eu form", 22, "3 a form complete eu", "1.5 a form enter eu") // out of order
	f("1 x 11000 attempt complete eu form", 22, "1.5 a form complete eu", "1.5 a form enter eu")
	f("1 x 11000 attempt abandon eu form", 22, "1.5 a form enter eu", "1.5 a form enter eu")
	f("1 x 11000 attempt abandon us form", 22, "1.5 a form enter us", "1.5 a form enter eu")
	f("2 x 11000 attempt abandon eu form", 22, "1.5 a form enter eu", "1.6 b form enter eu")
	f("1 x 11000 attempt abandon eu form; 1 x 3000 attempt abandon eu short", 22, "1.5 a form enter eu", "1.6 a short enter eu", "1.7 a never enter eu")
	f("1 x 11000 attempt abandon eu form; 1 x 12000 attempt complete eu page", 22, "1.5 a form enter eu", "2 a page enter eu", "3 a page complete eu")
}

// Who has no session, says of no step, or of another kind, makes no attempt; a step event without attempts is counted as ever.
func TestAttemptsOfNobody(t *testing.T) {
	a := NewAggregator(attemptsConfig(0), 0, 1)
	p := a.Add(oneSource, 0, NewPartitionState())
	for i, s := range []walk{{1000, "", "form", "enter", "eu"}, {1001, "a", "", "enter", "eu"}, {1002, "a", "form", "", "eu"}} {
		e := s.event()
		a.Count(p, int64(i), &e)
	}
	e := walk{1003, "a", "form", "enter", "eu"}.event()
	e.Kind = rules.KindError
	a.Count(p, 3, &e)
	if n := a.Visits(); n != 0 {
		t.Errorf("%d visits are remembered, expected none", n)
	}
	deltas, progress := a.Flush()
	if len(deltas) != 1 || len(deltas[0].Series) != 4 || progress.Events[0].Events != 4 {
		t.Errorf("%v %v", deltas, progress.Events)
	}
}

// An attempt makes no pane observed: it is no sign of life of the source.
func TestAttemptsAreNoEvents(t *testing.T) {
	a := NewAggregator(attemptsConfig(0), 0, 1)
	p := a.Add(oneSource, 0, NewPartitionState())
	e := walk{1000, "a", "form", "enter", "eu"}.event()
	a.Count(p, 0, &e)
	a.Advance(p, 50_000, false)
	_, progress := a.Flush()
	if got, want := fmt.Sprint(progress.Events), "[{1000 1} {11000 0}]"; got != want {
		t.Errorf("panes have events %s, expected %s", got, want)
	}
}

// randomWalks is what some visitors do, within so many ms each, out of order by no more than the lateness.
func randomWalks(g *rand.Rand, cfg *Config, n int, pace int64) []walk {
	var out []walk
	now := int64(1_000_000)
	for len(out) < n {
		now += g.Int64N(pace)
		s := walk{
			now - g.Int64N(cfg.Lateness+1), pick(g, "a", "b", "c", "d"), pick(g, "form", "short", "never", "page"),
			pick(g, "enter", "enter", "complete", "abandon"), pick(g, "eu", "us"),
		}
		if g.IntN(4) == 0 {
			s.time -= s.time % 1000
		}
		if len(out) > 0 && g.IntN(10) == 0 {
			again := out[len(out)-1-g.IntN(min(len(out), 3))]
			if again.time > now-cfg.Lateness {
				s = again
			}
		}
		out = append(out, s)
		if g.IntN(30) == 0 {
			now += g.Int64N(15_000)
		}
	}
	return out
}

// attemptsModel is what becomes of all events: of those that were not late, each that enters is looked at alone.
func attemptsModel(cfg *Config, stream []walk, end int64) map[string]int64 {
	var counted []walk
	edge := int64(-1 << 62)
	floor := func(t int64) int64 { return t / cfg.Pane * cfg.Pane }
	for _, s := range stream {
		if s.time >= edge && !slices.Contains(counted, s) {
			counted = append(counted, s)
		}
		edge = max(edge, floor(s.time-cfg.Lateness))
	}
	slices.SortFunc(counted, func(x, y walk) int {
		return cmp.Or(cmp.Compare(x.time, y.time), -cmp.Compare(x.action, y.action), cmp.Compare(x.region, y.region))
	})
	out := map[string]int64{}
	for i, s := range counted {
		timeout, special := cfg.Sessions["t"].Timeouts[s.step]
		if !special {
			timeout = cfg.Sessions["t"].Timeout
		}
		pane := floor(s.time + timeout)
		if s.action != "enter" || timeout == 0 || pane >= floor(end) {
			continue
		}
		became := "abandon"
		for _, next := range counted[i+1:] {
			if next.time < s.time+timeout && next.session == s.session && next.step == s.step && next.action != "abandon" {
				became = next.action
				break
			}
		}
		if became != "enter" {
			out[fmt.Sprintf("%d attempt %s %s %s", pane, became, s.region, s.step)]++
		}
	}
	return out
}

// sameAttempts fails if the attempts are not those that are expected.
func sameAttempts(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	var lines []string
	for _, key := range SortedKeys(want) {
		if got[key] != want[key] {
			lines = append(lines, fmt.Sprintf("%s: %d, expected %d", key, got[key], want[key]))
		}
	}
	for _, key := range SortedKeys(got) {
		if want[key] == 0 {
			lines = append(lines, fmt.Sprintf("%s: %d, expected none", key, got[key]))
		}
	}
	t.Fatalf("%s:\n%s", what, strings.Join(lines[:min(len(lines), 10)], "\n"))
}

func TestAttemptsAgainstModel(t *testing.T) {
	counts := map[string]int64{}
	seeds(t, 400, func(t *testing.T, seed uint64) {
		g := rand.New(rand.NewPCG(seed, 3))
		cfg := attemptsConfig(g.Int64N(6000))
		stream := randomWalks(g, &cfg, 300, 1500)
		end := stream[len(stream)-1].time + 30_000 - g.Int64N(30_000)
		want := attemptsModel(&cfg, stream, end)
		got := attemptsTold(cfg, end, stream...)
		sameAttempts(t, fmt.Sprint("seed ", seed), got, want)
		for key, n := range got {
			counts[strings.Fields(key)[2]] += n
		}
	})
	if counts["complete"] < 1000 || counts["abandon"] < 1000 {
		t.Errorf("the streams show too little: %v", counts)
	}
}

// A partition that is killed at random, and taken up where it was committed, derives what one that lives on derives: also while the guard holds
// events, at the limit, and where what was open became void.
func TestAttemptsOverRestarts(t *testing.T) {
	sums := map[string]int64{}
	seeds(t, 150, func(t *testing.T, seed uint64) {
		g := rand.New(rand.NewPCG(seed, 4))
		cfg := attemptsConfig(g.Int64N(4000))
		if g.IntN(2) == 0 {
			s := cfg.Sessions["t"]
			s.Max = 1 + g.IntN(12)
			cfg.Sessions["t"] = s
		}
		stream := randomWalks(g, &cfg, 300, pick[int64](g, 300, 1500))
		for i := range stream {
			if g.IntN(20) == 0 { // a clock that is wrong
				stream[i].time += cfg.MaxAhead + g.Int64N(3*cfg.MaxAhead)
			}
		}
		voids := map[int64]int64{} // by offset: from which on they resume
		for range g.IntN(3) {
			at := g.Int64N(int64(len(stream)))
			voids[at] = at + g.Int64N(10)
		}
		voids[0] = 0 // would be told before there is an event time
		delete(voids, 0)

		whole, parts := map[string]int64{}, map[string]int64{}
		a, p := takeUp(t, cfg, 0, NewPartitionState(), Kept{})
		take := func(a *Aggregator, p *Partition, at int64) {
			if resume, void := voids[at]; void && p.Offset() == at {
				a.Void(p, resume)
			}
			e := stream[at].event()
			a.Count(p, at, &e)
		}
		for i := range stream {
			take(a, p, int64(i))
		}
		end := p.Watermark() + 200_000
		a.Advance(p, end, false)
		deltas, _ := a.Flush()
		attemptsOf(whole, deltas)

		var log visitLog
		b, q := takeUp(t, cfg, 0, NewPartitionState(), Kept{})
		commit, state := int64(0), NewPartitionState()
		flush := func() {
			log.write(t, q.Changes())
			deltas, _ := b.Flush()
			attemptsOf(parts, deltas)
			commit, state = q.Commit(), q.State()
		}
		for int(q.Position()) < len(stream) {
			if i := q.Position(); !q.Known(i) {
				take(b, q, i)
			} else {
				q.Skip(i + 1)
			}
			switch g.IntN(20) {
			case 0:
				flush()
			case 1:
				b, q = takeUp(t, cfg, commit, state, log.kept())
			}
			if most := 2*cfg.Sessions["t"].Max + 1; b.Visits() > most {
				t.Fatalf("seed %d: %d visits are remembered, expected %d at most", seed, b.Visits(), most)
			}
		}
		b.Advance(q, end, false)
		flush()
		sameAttempts(t, fmt.Sprint("seed ", seed), parts, whole)
		if n := len(log.chunks); n > 0 || b.Visits() > 0 || len(q.attempts.known) > 0 {
			t.Fatalf("seed %d: in the end there are %d chunks, %d visits and %d sessions, expected none", seed, n, b.Visits(), len(q.attempts.known))
		}
		for key, n := range whole {
			sums[strings.Fields(key)[2]] += n
		}
	})
	for _, name := range []string{"complete", "abandon", SessionsFull, SessionsVoid} {
		if sums[name] < 30 {
			t.Errorf("the streams show too little of %s: %v", name, sums)
		}
	}
}

// takeUp is an aggregator over one partition, with what was kept of its events.
func takeUp(t *testing.T, cfg Config, offset int64, state PartitionState, kept Kept) (*Aggregator, *Partition) {
	t.Helper()
	a := NewAggregator(cfg, 0, 1)
	p := a.Add(oneSource, offset, state)
	if err := p.Restore(kept); err != nil {
		t.Fatal(err)
	}
	return a, p
}

// visitLog is what a changelog holds of visits after compaction.
type visitLog struct {
	chunks map[[2]int64]Chunk[*Visit]
	last   Kept
}

func (l *visitLog) write(t *testing.T, k Kept) {
	t.Helper()
	if l.chunks == nil {
		l.chunks = map[[2]int64]Chunk[*Visit]{}
	}
	for _, c := range k.Visits {
		key := [2]int64{c.Pane, int64(c.Chunk)}
		if _, there := l.chunks[key]; there == (len(c.Items) > 0) {
			t.Fatalf("chunk %v with %d visits: was it there: %t", key, len(c.Items), there)
		}
		delete(l.chunks, key)
		if len(c.Items) > 0 {
			c.Items = slices.Clone(c.Items)
			l.chunks[key] = c
		}
	}
	l.last = k
}

func (l *visitLog) kept() Kept {
	k := l.last
	k.Visits = nil
	for _, c := range l.chunks {
		k.Visits = append(k.Visits, c)
	}
	return k
}

// Where one of two things that are remembered is turned off, what was kept of it is forgotten, and turned on again it begins anew.
func TestWhatIsTurnedOffIsForgotten(t *testing.T) {
	both := attemptsConfig(0)
	both.MaxAhead = 0
	both.Duplicates = map[string]Duplicates{"t": {Horizon: 1_000_000, Max: 100}}
	noIDs, noVisits := both, both
	noIDs.Duplicates, noVisits.Sessions = nil, nil
	var visits visitLog
	ids, state, offset := changelog{}, NewPartitionState(), int64(0)
	begin := int64(0)
	f := func(cfg Config, action string, wantIDs, wantVisits int) {
		t.Helper()
		kept := visits.kept()
		kept.IDs = ids.kept().IDs
		a, p := takeUp(t, cfg, offset, state, kept)
		if _, outdated := p.Follows(); outdated {
			a.Void(p, offset+1)
		}
		e := walk{begin + offset, fmt.Sprint(offset % 2), "form", action, "eu"}.event()
		e.ID = IDOf(fmt.Append(nil, offset))
		a.Count(p, offset, &e)
		k := p.Changes()
		ids.write(t, k)
		visits.write(t, k)
		a.Flush()
		offset, state = p.Commit(), p.State()
		if len(ids) != wantIDs || len(visits.chunks) != wantVisits {
			t.Errorf("%d chunks of ids and %d of visits are kept, expected %d and %d", len(ids), len(visits.chunks), wantIDs, wantVisits)
		}
	}
	f(both, "enter", 1, 1)
	f(both, "enter", 2, 2)
	f(noVisits, "complete", 3, 0)
	f(both, "enter", 4, 0) // nobody knows who completed meanwhile
	begin += 400_000
	f(both, "enter", 5, 1)
	f(noIDs, "enter", 0, 2)
	f(both, "enter", 1, 3)
}

// Who begins in the middle of a log, because nobody was followed before, or what came before is gone, does not know the completions there: who
// enters before them, and comes later, is not told to have left.
func TestAttemptsFromTheMiddle(t *testing.T) {
	cfg := attemptsConfig(5000)
	cfg.MaxAhead = 0
	off := cfg
	off.Sessions = nil
	stream := []walk{{1500, "a", "form", "complete", "eu"}, {1400, "a", "form", "enter", "eu"}, {320_000, "b", "form", "enter", "eu"}}
	want := map[string]int64{"330000 attempt abandon eu form": 1}
	f := func(what string, offset int64, state PartitionState, void, wantVoid bool) {
		t.Helper()
		a := NewAggregator(cfg, 0, 1)
		p := a.Add(oneSource, offset, state)
		if _, outdated := p.Follows(); outdated != wantVoid {
			t.Errorf("%s: what is open has to be made void: %t", what, outdated)
		}
		if void {
			a.Void(p, offset+1)
		}
		for i, s := range stream[1:] {
			e := s.event()
			a.Count(p, offset+int64(i), &e)
		}
		a.Advance(p, 400_000, false)
		deltas, _ := a.Flush()
		got := map[string]int64{}
		attemptsOf(got, deltas)
		delete(got, "-4000 pipeline sessions_void")
		sameAttempts(t, what, got, want)
		if _, outdated := p.Follows(); outdated != (wantVoid && !void) {
			t.Errorf("%s: at the end what is open has to be made void: %t", what, outdated)
		}
	}
	b, q := takeUp(t, off, 0, NewPartitionState(), Kept{})
	e := stream[0].event()
	b.Count(q, 0, &e)
	f("turned on", 1, q.State(), true, true)
	f("turned on, before the mark", 1, q.State(), false, true)
	f("what came before is gone", 1, NewPartitionState(), false, false)
	want["11000 attempt abandon eu form"] = 1
	f("from the beginning", 0, NewPartitionState(), false, false)
	f("from the beginning, where only marks came before", 0, PartitionState{Watermark: -3500, SilentAt: never}, false, false)
}

// Turned off while nothing came, and on again, nothing is told in panes that were closed meanwhile; what is still open is decided.
func TestAttemptsAreNotToldInClosedPanes(t *testing.T) {
	cfg := attemptsConfig(0)
	a, p := takeUp(t, cfg, 0, NewPartitionState(), Kept{})
	for i, s := range []walk{{1500, "a", "form", "enter", "eu"}, {6500, "b", "form", "enter", "eu"}} {
		e := s.event()
		a.Count(p, int64(i), &e)
	}
	var log visitLog
	log.write(t, p.Changes())
	state := p.State()
	state.Watermark = 15_000
	b, q := takeUp(t, cfg, p.Commit(), state, log.kept())
	b.Advance(q, 20_000, false)
	log.write(t, q.Changes())
	deltas, _ := b.Flush()
	got := map[string]int64{}
	attemptsOf(got, deltas)
	sameAttempts(t, "turned on again", got, map[string]int64{"16000 attempt abandon eu form": 1})
	if len(log.chunks) > 0 {
		t.Errorf("%d chunks are kept, expected none", len(log.chunks))
	}
}

// What is open was kept of other visits where what makes a visit has changed.
func TestVisitsThatAreOthers(t *testing.T) {
	cfg := attemptsConfig(0)
	_, p := takeUp(t, cfg, 0, NewPartitionState(), Kept{})
	kept := p.Changes()
	f := func(what string, want bool, change func(*Config, *Sessions)) {
		t.Helper()
		other := cfg
		s := cfg.Sessions["t"]
		change(&other, &s)
		other.Sessions = map[string]Sessions{"t": s}
		_, p := takeUp(t, other, 10, NewPartitionState(), kept)
		if _, outdated := p.Follows(); outdated != want {
			t.Errorf("%s: is what is open to be made void: %t", what, outdated)
		}
	}
	f("nothing", false, func(*Config, *Sessions) {})
	f("max", false, func(_ *Config, s *Sessions) { s.Max = 5 })
	f("timeout", true, func(_ *Config, s *Sessions) { s.Timeout = 5000 })
	f("timeouts", true, func(_ *Config, s *Sessions) { s.Timeouts = nil })
	f("shape", true, func(_ *Config, s *Sessions) { s.Shape = "other" })
	f("pane", true, func(c *Config, _ *Sessions) { c.Pane = 2000 })
	f("domain", true, func(c *Config, _ *Sessions) { c.Domain = "region" })
}

// fewer fails if some attempts are not among those that really were.
func fewer(t *testing.T, what string, got, real map[string]int64) (attempts int64) {
	t.Helper()
	for _, key := range SortedKeys(got) {
		if strings.Contains(key, "attempt") && got[key] > real[key] {
			t.Fatalf("%s: %s: %d, and there were %d", what, key, got[key], real[key])
		}
		if strings.Contains(key, "attempt") {
			attempts += got[key]
		}
	}
	return attempts
}

// At the limit fewer attempts are told of than there were, and none that was not.
func TestAttemptsAtTheLimit(t *testing.T) {
	var told, refused int64
	seeds(t, 300, func(t *testing.T, seed uint64) {
		g := rand.New(rand.NewPCG(seed, 5))
		cfg := attemptsConfig(g.Int64N(6000))
		stream := randomWalks(g, &cfg, 300, pick[int64](g, 50, 300, 1500))
		end := stream[len(stream)-1].time + 30_000
		real := attemptsModel(&cfg, stream, end)
		s := cfg.Sessions["t"]
		s.Max = 1 + g.IntN(12)
		cfg.Sessions["t"] = s
		got := attemptsTold(cfg, end, stream...)
		told += fewer(t, fmt.Sprint("seed ", seed), got, real)
		for key, n := range got {
			if strings.Contains(key, SessionsFull) {
				refused += n
			}
		}
	})
	if told < 1000 || refused < 1000 {
		t.Errorf("%d attempts were told, and %d visitors not followed: the streams show too little", told, refused)
	}
}

// At the limit, and at twice the limit, an event that comes again is no visitor who is not followed.
func TestAttemptsThatComeAgainAtTheLimit(t *testing.T) {
	cfg := attemptsConfig(5000)
	cfg.Sessions["t"] = Sessions{Timeout: 10_000, Max: 1}
	enter, again := walk{1500, "a", "form", "enter", "eu"}, walk{1600, "a", "form", "enter", "eu"}
	want := map[string]int64{"11000 attempt abandon eu form": 1}
	sameAttempts(t, "at the limit", attemptsTold(cfg, 30_000, enter, enter), want)
	sameAttempts(t, "at twice the limit", attemptsTold(cfg, 30_000, enter, again, enter, again), want)
}

// One who comes back and back may make known sessions twice as many visits; then those of the next deadlines are forgotten, and one who enters,
// and comes later than the completion that is forgotten, is not followed without it.
func TestAttemptsOfOneWhoHammers(t *testing.T) {
	cfg := attemptsConfig(5000)
	cfg.Sessions["t"] = Sessions{Timeout: 10_000, Max: 3}
	stream := []walk{{1900, "a", "form", "complete", "eu"}}
	for i := range int64(6) {
		stream = append(stream, walk{1000 + i*100, "b", "form", "enter", "eu"})
	}
	stream = append(stream, walk{1050, "a", "form", "enter", "us"}, walk{2000, "c", "form", "enter", "us"})
	sameAttempts(t, "hammered", attemptsTold(cfg, 30_000, stream...), map[string]int64{
		"12000 attempt abandon us form": 1, "1000 pipeline sessions_full": 5,
	})
}

// Where sessions move to another partition and from there, each in its own time, or records are lost, nothing is told that was not.
func TestAttemptsThatMove(t *testing.T) {
	var told int64
	seeds(t, 300, func(t *testing.T, seed uint64) {
		g := rand.New(rand.NewPCG(seed, 6))
		cfg := attemptsConfig(g.Int64N(6000))
		stream := randomWalks(g, &cfg, 1200, 1500)
		end := stream[len(stream)-1].time + 30_000
		real := attemptsModel(&cfg, stream, end)
		a := NewAggregator(cfg, 0, 1)
		p := a.Add(oneSource, 0, NewPartitionState())
		before, after := pick(g, "ab", "ad", "abcd"), pick(g, "ac", "bcd", "abcd")
		grown, heard := g.IntN(300), g.IntN(50) // since then sessions move; it is heard of so many records later
		resume, until := int64(-1), int64(1<<62)
		for i, s := range stream {
			here := strings.Contains(before, s.session)
			switch {
			case i < grown:
			case s.time < until:
				here = strings.Contains(before+after, s.session) && g.IntN(2) == 0
			default:
				here = strings.Contains(after, s.session)
			}
			if i == grown {
				resume = p.Offset() + int64(heard)
				a.Void(p, resume+1)
			}
			if !here {
				continue
			}
			if resume >= 0 && p.Offset() >= resume && until == 1<<62 {
				until = max(p.Watermark()+cfg.Lateness, s.time) + moving
			}
			e := s.event()
			a.Count(p, p.Offset(), &e)
		}
		a.Advance(p, end, false)
		deltas, _ := a.Flush()
		got := map[string]int64{}
		attemptsOf(got, deltas)
		told += fewer(t, fmt.Sprint("seed ", seed), got, real)
	})
	if told < 1000 {
		t.Errorf("%d attempts were told: the streams show too little", told)
	}
}

// What a visit costs is in ADR 71.
func BenchmarkSessions(b *testing.B) {
	cfg := Config{Labels: rules.DefaultLabels(), Pane: 10_000, Sessions: map[string]Sessions{"t": {Timeout: 1_800_000, Max: 1 << 30}}}
	a := NewAggregator(cfg, 0, 1)
	p := a.Add(oneSource, 0, NewPartitionState())
	e := Event{Kind: rules.KindStep, Labels: make([][]byte, len(cfg.Labels))}
	for i, name := range cfg.Labels {
		e.Labels[i] = []byte(map[string]string{"step": "form", "region": "eu", "service": "web"}[name])
	}
	action := &e.Labels[slices.Index(cfg.Labels, "action")]
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	for i := range b.N {
		*action = []byte([]string{"enter", "complete"}[i%2])
		e.Session = fmt.Appendf(e.Session[:0], "session-%d", i/2)
		e.Time = int64(i)
		a.Count(p, int64(i), &e)
		if i%100_000 == 0 {
			p.Changes()
			a.Flush()
		}
	}
	b.StopTimer()
	p.Changes()
	a.Flush()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(a.Visits()), "heap-B/visit")
}
