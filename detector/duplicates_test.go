package detector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"sevwatch/rules"
)

// sent is an event of one partition: its id may be another's, and its clock wrong.
type sent struct {
	id   string
	time int64
}

// randomSent is a stream whose producer sends again: at once, a little later, much later; the same event, or with a new time.
func randomSent(g *rand.Rand, cfg *Config, liars bool) []sent {
	var out []sent
	now := int64(1_000_000)
	for len(out) < 300 {
		now += g.Int64N(2 * cfg.Pane / 3)
		s := sent{fmt.Sprint("e", len(out)), now - g.Int64N(cfg.Lateness+cfg.Pane)}
		switch n := g.IntN(20); {
		case n < 7 && len(out) > 0:
			again := out[max(0, len(out)-1-g.IntN(60))]
			s.id = again.id
			if n < 5 {
				s.time = again.time
			}
		case n == 8:
			s.id = ""
		case n == 9 && liars:
			s.time = now + cfg.MaxAhead + g.Int64N(20*cfg.MaxAhead)
		}
		out = append(out, s)
		if g.IntN(20) == 0 {
			now += g.Int64N(2 * cfg.Duplicates["t"].Horizon)
		}
	}
	return out
}

func (s sent) event() Event {
	e := Event{Time: s.time, Kind: rules.KindError, Labels: [][]byte{[]byte("s")}}
	if s.id != "" {
		e.ID = IDOf([]byte(s.id))
	}
	return e
}

func duplicatesConfig(g *rand.Rand) Config {
	return Config{
		Labels: []string{"service"}, Pane: 1000, Lateness: g.Int64N(3000), MaxAhead: 20_000, Agree: 3,
		Duplicates: map[string]Duplicates{"t": {Horizon: 1 + g.Int64N(20_000), Max: 1 << 20}},
	}
}

var oneSource = Source{Topic: "t"}

// duplicatesModel is what becomes of a stream without wrong clocks, as the configuration reference says it.
func duplicatesModel(cfg *Config, stream []sent) (out []string) {
	var counted []sent
	edge := int64(-1 << 62)
	for _, s := range stream {
		pane := func(t int64) int64 { return t / cfg.Pane * cfg.Pane }
		known := slices.ContainsFunc(counted, func(c sent) bool {
			return s.id != "" && c.id == s.id && edge < pane(c.time)+cfg.Pane+cfg.Duplicates["t"].Horizon
		})
		switch {
		case known:
			out = append(out, "duplicate")
		case s.time < edge:
			out = append(out, "late")
		default:
			out = append(out, "counted")
			counted = append(counted, s)
			edge = max(edge, pane(s.time-cfg.Lateness))
		}
	}
	return out
}

// became is an outcome in one word.
func became(o Outcome) string {
	switch {
	case o.Known:
		return "duplicate"
	case o.LateMs > 0:
		return "late"
	case o.Held:
		return "held"
	default:
		return "counted"
	}
}

func TestDuplicatesAgainstModel(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(300) {
		g := rand.New(rand.NewPCG(seed, 1))
		cfg := duplicatesConfig(g)
		cfg.MaxAhead = 0
		stream := randomSent(g, &cfg, false)
		a := NewAggregator(cfg, 0, 1)
		p := a.Add(oneSource, 0, NewPartitionState())
		want := duplicatesModel(&cfg, stream)
		for i, s := range stream {
			e := s.event()
			got := became(a.Count(p, int64(i), &e))
			if seen[got]++; got != want[i] {
				t.Fatalf("seed %d: event %d (%+v) is %s, expected %s", seed, i, s, got, want[i])
			}
		}
	}
	if seen["duplicate"] < 1000 || seen["late"] < 1000 || seen["counted"] < 1000 {
		t.Errorf("the streams show too little: %v", seen)
	}
}

// changelog is what a changelog topic holds after compaction.
type changelog map[string]Chunk[ID]

func (c changelog) write(t *testing.T, k Kept) {
	t.Helper()
	for _, ids := range k.IDs {
		key := fmt.Sprint(ids.Pane, " ", ids.Chunk)
		if len(ids.Items) == 0 {
			if _, there := c[key]; !there {
				t.Fatalf("chunk %s is forgotten, and was never written", key)
			}
			delete(c, key)
			continue
		}
		ids.Items = slices.Clone(ids.Items)
		c[key] = ids
	}
}

func (c changelog) kept() (k Kept) {
	for _, key := range SortedKeys(c) {
		k.IDs = append(k.IDs, c[key])
	}
	return k
}

// A partition that is killed at random, and taken up where it was committed, counts what one that lives on counts: also while the guard
// holds events, and where ids had to be forgotten to make room.
func TestDuplicatesOverRestarts(t *testing.T) {
	forgotten, held := int64(0), 0
	for seed := range uint64(80) {
		g := rand.New(rand.NewPCG(seed, 2))
		cfg := duplicatesConfig(g)
		if g.IntN(2) == 0 {
			cfg.Duplicates["t"] = Duplicates{Horizon: 20_000, Max: 1 + g.IntN(30)}
		}
		stream := randomSent(g, &cfg, true)
		var whole, parts total
		a, p := takeUp(t, cfg, 0, NewPartitionState(), Kept{})
		for i, s := range stream {
			e := s.event()
			held += len(a.Count(p, int64(i), &e).Future)
		}
		whole.flush(a)

		log := changelog{}
		b, q := takeUp(t, cfg, 0, NewPartitionState(), Kept{})
		commit, state := int64(0), NewPartitionState()
		for int(q.Position()) < len(stream) {
			i := q.Position()
			if e := stream[i].event(); !q.Known(i) {
				b.Count(q, i, &e)
			} else {
				q.Skip(i + 1)
			}
			switch g.IntN(20) {
			case 0:
				parts.flush(b)
				log.write(t, q.Changes())
				commit, state = q.Commit(), q.State()
			case 1:
				b, q = takeUp(t, cfg, commit, state, log.kept())
			}
		}
		parts.flush(b)
		if whole.cells != parts.cells || p.State().Totals != q.State().Totals {
			t.Fatalf("seed %d: after restarts the partition has %+v and counted %d, expected %+v and %d", seed, q.State().Totals, parts.cells,
				p.State().Totals, whole.cells)
		}
		if sum := p.State().Totals.Sum(); sum != int64(len(stream)) {
			t.Fatalf("seed %d: the accounts hold %d records, expected %d", seed, sum, len(stream))
		}
		if whole.forgotten != parts.forgotten {
			t.Fatalf("seed %d: after restarts %d ids are told to be forgotten, expected %d", seed, parts.forgotten, whole.forgotten)
		}
		if n := len(p.ids.known); n > cfg.Duplicates["t"].Max {
			t.Fatalf("seed %d: %d ids are remembered, expected %d at most", seed, n, cfg.Duplicates["t"].Max)
		}
		forgotten += whole.forgotten
	}
	if forgotten < 500 || held < 100 {
		t.Errorf("%d ids were forgotten and %d events rejected: the streams show too little", forgotten, held)
	}
}

// total is what an aggregator handed over: events, and ids told to be forgotten.
type total struct{ cells, forgotten int64 }

func (x *total) flush(a *Aggregator) {
	deltas, _ := a.Flush()
	for _, d := range deltas {
		for _, s := range d.Series {
			if s.Kind == rules.KindPipeline {
				x.forgotten += s.Count
			} else {
				x.cells += s.Count
			}
		}
	}
}

// An event that is sent again while it is held does not agree with itself; one that was counted with a right clock meanwhile is not counted
// again when the held one is believed.
func TestDuplicatesOfHeldEvents(t *testing.T) {
	cfg := Config{
		Labels: []string{"service"}, Pane: 1000, Lateness: 1000, MaxAhead: 10_000, Agree: 3,
		Duplicates: map[string]Duplicates{"t": {Horizon: 60_000, Max: 100}},
	}
	f := func(want string, stream ...sent) {
		t.Helper()
		a := NewAggregator(cfg, 0, 1)
		p := a.Add(oneSource, 0, NewPartitionState())
		got := ""
		for i, s := range stream {
			e := s.event()
			got += became(a.Count(p, int64(i), &e)) + " "
		}
		totals := p.State().Totals
		got += fmt.Sprintf("| counted %d duplicate %d rejected %d held %d", totals.Counted, totals.Duplicate, totals.Rejected, totals.Held)
		if got != want {
			t.Errorf("%v:\n%s, expected\n%s", stream, got, want)
		}
	}
	f("counted held duplicate duplicate duplicate | counted 1 duplicate 3 rejected 0 held 1",
		sent{"a", 0}, sent{"x", 50_000}, sent{"x", 50_000}, sent{"x", 50_000}, sent{"x", 50_000})
	f("counted held counted counted | counted 3 duplicate 1 rejected 0 held 0",
		sent{"a", 0}, sent{"x", 15_000}, sent{"x", 6_000}, sent{"b", 7_000})
	f("counted held counted | counted 2 duplicate 0 rejected 1 held 0", sent{"a", 0}, sent{"x", 15_000}, sent{"x", 1_000})
	f("counted held held held duplicate | counted 4 duplicate 1 rejected 0 held 0",
		sent{"a", 0}, sent{"x", 50_000}, sent{"y", 50_000}, sent{"z", 50_000}, sent{"y", 50_000})
}

// What an id costs is in ADR 70.
func BenchmarkDuplicates(b *testing.B) {
	cfg := Config{Labels: []string{"service"}, Pane: 10_000, Duplicates: map[string]Duplicates{"t": {Horizon: 600_000, Max: 1_000_000}}}
	a := NewAggregator(cfg, 0, 1)
	p := a.Add(oneSource, 0, NewPartitionState())
	e := sent{"", 0}.event()
	text := []byte("00000000-0000-4000-8000-000000000000")
	b.ReportAllocs()
	for i := range b.N {
		text[i%8]++
		e.Time, e.ID = int64(i), IDOf(text)
		a.Count(p, int64(i), &e)
	}
}
