package detector

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sevwatch/rules"
)

// justErrors is a rule file that tells of every error.
func justErrors(t *testing.T) *rules.File {
	t.Helper()
	file, err := rules.Parse("errors.yaml", []byte(`groups: [{name: g, rules: [{alert: Errors, signal: {count: error}, window: 30s,
severities: [{severity: sev2, above: 0}], recover: {keep_firing_for: 10s}}]}]`), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// oneOf is the progress of the only partition there is.
func oneOf(from, to, watermark int64) *Progress {
	return &Progress{V: 1, Tasks: 1, Set: PartitionSet{Version: 1, Topics: map[string]int{"a": 1}}, Partitions: []PartitionProgress{
		{Source: Source{"a", 0}, From: from, To: to, Watermark: watermark},
	}}
}

// TestProgressAccounts: offsets that are told twice stop the judge, before anything is counted; those that are told by nobody are lost.
func TestProgressAccounts(t *testing.T) {
	j := NewJudge(DefaultConfig(), justErrors(t))
	f := func(from, to int64, lost int64, refused bool) {
		t.Helper()
		err := j.Progress(oneOf(from, to, 100_000))
		if (err != nil) != refused || j.Lost() != lost {
			t.Errorf("offsets %d to %d: %v, %d lost; expected refused: %t, %d lost", from, to, err, j.Lost(), refused, lost)
		}
		if err != nil && !strings.Contains(err.Error(), "a/0") {
			t.Errorf("%q does not say which partition", err)
		}
	}
	f(50, 60, 0, false) // the first word: where the log began is not lost
	f(60, 60, 0, false) // a new owner says where it begins
	f(60, 70, 0, false)
	f(65, 80, 0, true)
	f(69, 69, 0, true)
	f(70, 80, 0, false)
	f(85, 90, 5, false)
	f(92, 95, 7, false)
}

// TestWatermarkNeverGoesBack: neither a task's word nor a new set brings closed panes back.
func TestWatermarkNeverGoesBack(t *testing.T) {
	j := NewJudge(DefaultConfig(), justErrors(t))
	f := func(watermark, edge int64) {
		t.Helper()
		if err := j.Progress(oneOf(0, 0, watermark)); err != nil {
			t.Fatal(err)
		}
		if j.Advance(); j.Edge() != edge {
			t.Errorf("with a watermark of %d the edge is %d, expected %d", watermark, j.Edge(), edge)
		}
	}
	f(100_000, 100_000)
	f(50_000, 100_000)
	f(109_999, 100_000)
	f(103_000, 100_000)
	if j.partitions[Source{"a", 0}].Watermark != 109_999 {
		t.Errorf("the watermark is %d, expected 109999", j.partitions[Source{"a", 0}].Watermark)
	}
	f(110_000, 110_000)
}

// TestLateAtJudge: what comes for a closed pane is counted nowhere, and that is counted.
func TestLateAtJudge(t *testing.T) {
	j := NewJudge(DefaultConfig(), justErrors(t))
	if err := j.Progress(oneOf(0, 0, 100_000)); err != nil {
		t.Fatal(err)
	}
	j.Advance()
	errorsIn := func(pane, n int64) *Delta {
		return &Delta{Pane: pane, Series: []SeriesDelta{{Kind: rules.KindError, Cell: Cell{Count: n}}}}
	}
	j.Delta(errorsIn(90_000, 3))
	j.Delta(errorsIn(100_000, 4))
	told := oneOf(0, 7, 110_000)
	told.Events = []PaneEvents{{90_000, 3}, {100_000, 4}}
	if err := j.Progress(told); err != nil {
		t.Fatal(err)
	}
	out := j.Advance()
	if len(out) != 1 || out[0].Incident.Signal.Numerator != 4 || j.Late() != 3 {
		t.Errorf("%d late, told %s; expected 3 late and 4 counted", j.Late(), lines(out))
	}
}

func TestMergeSpans(t *testing.T) {
	f := func(in, want []Span) {
		t.Helper()
		if got := mergeSpans(slices.Clone(in)); !slices.Equal(got, want) {
			t.Errorf("%v become %v, expected %v", in, got, want)
		}
	}
	f(nil, nil)
	f([]Span{{1, 2}}, []Span{{1, 2}})
	f([]Span{{1, 2}, {2, 3}}, []Span{{1, 3}})
	f([]Span{{2, 3}, {1, 2}}, []Span{{1, 3}})
	f([]Span{{1, 2}, {3, 4}}, []Span{{1, 2}, {3, 4}})
	f([]Span{{1, 9}, {2, 3}}, []Span{{1, 9}})
	f([]Span{{1, 9}, {2, 3}, {9, 10}, {12, 13}}, []Span{{1, 10}, {12, 13}})
	f([]Span{{1, 5}, {1, 3}, {4, 7}}, []Span{{1, 7}})
}

// TestSilenceInPieces: spans that only touch cover a pane together.
func TestSilenceInPieces(t *testing.T) {
	j := NewJudge(DefaultConfig(), justErrors(t))
	j.silent = mergeSpans([]Span{{95_000, 107_000}, {107_000, 120_001}})
	f := func(pane int64, want bool) {
		t.Helper()
		if got := j.silentIn(pane, pane+10_000); got != want {
			t.Errorf("the pane of %d is silent: %t, expected %t", pane, got, want)
		}
	}
	f(90_000, false)
	f(100_000, true)
	f(110_000, true)
	f(120_000, false)
}

func TestSum(t *testing.T) {
	value := func(s Sum) *big.Int {
		x := new(big.Int).Lsh(big.NewInt(s.Hi), 64)
		return x.Add(x, new(big.Int).SetUint64(s.Lo))
	}
	g := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		var sum Sum
		want := new(big.Int)
		for range 50 {
			v := g.Int64() >> g.IntN(63)
			if g.IntN(2) == 0 {
				v = -v
			}
			if g.IntN(5) == 0 {
				v = []int64{math.MaxInt64, math.MinInt64}[g.IntN(2)]
			}
			sum, want = sum.Add(sumOf(v)), want.Add(want, big.NewInt(v))
		}
		if value(sum).Cmp(want) != 0 {
			t.Fatalf("the sum is %v, expected %v", value(sum), want)
		}
		if sum.Add(sum.times(-1)) != (Sum{}) || sum.times(1) != sum {
			t.Fatalf("%v and its negative %v are not nothing", sum, sum.times(-1))
		}
		exact, _ := new(big.Rat).SetFrac(want, big.NewInt(50*1e6)).Float64()
		if got := sum.mean(50); math.Abs(got-exact) > math.Abs(exact)*0x3p-53 { // it is rounded three times
			t.Fatalf("the mean of 50 with the sum %v is %v, expected %v", want, got, exact)
		}
	}
	f := func(want float64, values ...int64) {
		t.Helper()
		var sum Sum
		for _, v := range values {
			sum = sum.Add(sumOf(v))
		}
		if got := sum.mean(int64(len(values))); got != want {
			t.Errorf("the mean of %v millionths is %v, expected exactly %v", values, got, want)
		}
	}
	f(0)
	f(0, -7, 7)
	f(47.3, 47_300_000, 47_300_000, 47_300_000)
	f(-47.3, -47_300_001, -47_300_000, -47_299_999)
	f(0.0000005, 0, 1)
	f(-math.Ldexp(1, 63)/1e6, math.MinInt64, math.MinInt64, math.MinInt64)
}

// TestDeltas: the deltas of a tale, however often they were flushed, add up to its events.
func TestDeltas(t *testing.T) {
	type key struct {
		domain, series string
		pane           int64
	}
	talesOf(t, 40, func(t *testing.T, tale *tale) {
		want, got := map[key]*Cell{}, map[key]*Cell{}
		m := newModel(tale)
		for i := range tale.steps {
			m.hear(&tale.steps[i])
		}
		for _, e := range m.events {
			var labels []Label
			for _, name := range SortedKeys(e.labels) {
				if e.labels[name] != "" {
					labels = append(labels, Label{name, e.labels[name]})
				}
			}
			k := key{e.domain, seriesKey(e.kind, labels), m.edgeBefore(e.time)}
			if want[k] == nil {
				want[k] = &Cell{Max: math.MinInt64}
			}
			c := want[k]
			c.Count++
			if e.hasValue {
				c.Valued++
				c.Max = max(c.Max, e.value)
				c.Sum = c.Sum.Add(sumOf(e.value))
				c.Buckets.add(codeOf(e.value), 1)
			}
			if e.session != "" {
				c.Sessioned++
				c.Sessions = united(c.Sessions, &Distinct{Few: []uint64{SessionHash([]byte(e.session))}})
			}
		}
		for _, r := range record(tale, 3, tale.seed) {
			if d, ok := r.(*Delta); ok {
				for _, s := range d.Series {
					k := key{d.Domain, seriesKey(s.Kind, s.Labels), d.Pane}
					if got[k] == nil {
						got[k] = &Cell{}
					}
					got[k].Merge(&s.Cell)
				}
			}
		}
		if len(got) != len(want) {
			t.Errorf("seed %d: %d cells, expected %d", tale.seed, len(got), len(want))
		}
		for k, w := range want {
			if w.Valued == 0 {
				w.Max = 0
			}
			if g := got[k]; g == nil || string(encode(g)) != string(encode(w)) {
				t.Errorf("seed %d: %v has %s, expected %s", tale.seed, k, encode(g), encode(w))
			}
		}
	})
}

// TestSeriesAreToldApart: values that only read the same one after the other are different series, in both stages.
func TestSeriesAreToldApart(t *testing.T) {
	agg := NewAggregator(Config{Labels: []string{"a", "b", "c"}, Pane: 10_000}, 0, 1)
	p := agg.Add(Source{"a", 0}, 0, NewPartitionState())
	texts := [][3]string{{"xy", "z", ""}, {"x", "yz", ""}, {"", "xyz", ""}, {"xyz", "", ""}, {"", "", "xyz"}, {"", "", ""}, {"x", "y", "z"}, {"x", "", "yz"}}
	for _, kind := range []rules.Kind{rules.KindError, rules.KindLatency} {
		for _, text := range texts {
			e := &Event{Kind: kind, Labels: [][]byte{[]byte(text[0]), []byte(text[1]), []byte(text[2])}}
			agg.Count(p, p.Offset(), e)
			agg.Count(p, p.Offset(), e)
		}
	}
	deltas, _ := agg.Flush()
	keys := map[string]bool{}
	for _, s := range deltas[0].Series {
		keys[seriesKey(s.Kind, s.Labels)] = true
		if s.Count != 2 {
			t.Errorf("%v has %d events, expected 2", s.Labels, s.Count)
		}
	}
	if want := 2 * len(texts); len(deltas[0].Series) != want || len(keys) != want {
		t.Errorf("%d series with %d keys, expected %d", len(deltas[0].Series), len(keys), want)
	}
}

// TestMemory: series, groups and domains that are gone leave nothing behind, neither in memory nor in the state.
func TestMemory(t *testing.T) {
	file, err := rules.Parse("memory.yaml", []byte(`groups: [{name: g, rules: [
{alert: A, signal: {count: error}, by: [version], window: 30s, severities: [{severity: sev2, above: 0}], recover: {keep_firing_for: 10s}},
{alert: B, signal: {quantile: {of: latency, q: 0.5}}, by: [version], window: 1m, severities: [{severity: sev2, above: 1}], no_data_timeout: 5m},
{alert: C, signal: {absence: latency}, by: [version], window: 10s, severities: [{severity: sev2, above: 60}], no_data_timeout: 5m},
{alert: D, signal: {deviation: {quantile: {of: latency, q: 0.5}}}, by: [version], window: 30s, severities: [{severity: sev2, above: 3}], no_data_timeout: 5m}]}]`),
		rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Domain, cfg.Limits.Series = "region", 1000
	agg, j := NewAggregator(cfg, 0, 1), NewJudge(cfg, file)
	agg.SetPartitions(PartitionSet{Version: 1, Topics: map[string]int{"a": 1}})
	p := agg.Add(Source{"a", 0}, 0, NewPartitionState())
	state := map[string]bool{}
	turn := func() (series, groups, panes int) {
		deltas, progress := agg.Flush()
		for i := range deltas {
			j.Delta(&deltas[i])
		}
		if err := j.Progress(&progress); err != nil {
			t.Fatal(err)
		}
		j.Advance()
		for _, r := range j.Changes() {
			if state[r.Key] = true; r.Value == nil {
				delete(state, r.Key)
			}
		}
		for _, d := range j.domains {
			series, groups, panes = series+len(d.series), groups+len(d.order)+len(d.groups), panes+len(d.panes)
		}
		return series, groups, panes
	}
	for n := range int64(1500) { // a new version in a new region every second
		text := []byte{byte('a' + n%26), byte('a' + n/26%26), byte('a' + n/676)}
		for _, kind := range []rules.Kind{rules.KindError, rules.KindLatency, rules.KindChange} {
			e := &Event{Time: n * 1000, Kind: kind, Labels: make([][]byte, len(cfg.Labels)), Value: 5e6, HasValue: kind == rules.KindLatency}
			for i, name := range cfg.Labels {
				if name == "version" || name == "region" && n%10 == 0 {
					e.Labels[i] = text
				}
			}
			agg.Count(p, p.Offset(), e)
		}
		if n%10 > 0 {
			continue
		}
		if series, groups, panes := turn(); series > 3*90 || groups > 2*(4*400) || panes > 100 {
			t.Fatalf("after %d versions there are %d series, %d groups and %d panes", n, series, groups, panes)
		}
	}
	agg.Advance(p, 2*24*3600_000, false)
	if series, groups, panes := turn(); series+groups+panes+len(j.domains)+len(j.events)+len(agg.panes) > 0 || len(agg.series.all) > minKnown {
		t.Errorf("of things long gone there are still %d series, %d groups, %d panes, %d domains, %d open panes, %d series in aggregate",
			series, groups, panes, len(j.domains), len(j.events), len(agg.series.all))
	}
	for key := range state {
		if key[:min(4, len(key))] != keySeen && key != keyEdge && key[:min(6, len(key))] != keySource {
			t.Errorf("the state still has %q", key)
		}
	}
}

// TestPartitionSet: the judge waits for every partition that some task named last, and for no other, over restarts: what a task said holds until it says
// something else, also where it has no partitions and speaks only once.
func TestPartitionSet(t *testing.T) {
	file := justErrors(t)
	j := NewJudge(DefaultConfig(), file)
	says := func(task int, topics ...string) {
		t.Helper()
		p := &Progress{V: 1, Task: task, Tasks: 3, Set: PartitionSet{Version: len(topics), Topics: map[string]int{}}}
		for _, topic := range topics {
			p.Set.Topics[topic] = 1
		}
		if err := j.Progress(p); err != nil {
			t.Fatal(err)
		}
		var err error
		if j, err = Restore(DefaultConfig(), file, j.Snapshot()); err != nil {
			t.Fatal(err)
		}
	}
	j.partitions[Source{"a", 0}] = &PartitionProgress{Source: Source{"a", 0}, Watermark: 1} // so that there is something to keep
	expect := func(what string, topics ...string) {
		t.Helper()
		if got := SortedKeys(j.set.Topics); !slices.Equal(got, topics) {
			t.Errorf("%s: the judge waits for %v, expected %v", what, got, topics)
		}
	}
	says(0, "a")
	expect("one has spoken", "a")
	says(1, "a")
	says(2, "a") // has no partitions
	says(0, "a", "b")
	expect("a source is added at one", "a", "b")
	says(0, "a")
	expect("and taken back", "a")
	says(1, "a", "b")
	says(0, "a", "b")
	says(1, "a")
	expect("one still names it", "a", "b")
	says(0, "c")
	expect("two name others", "a", "c")
	says(1, "c")
	expect("the one without partitions has not said so", "a", "c")
	says(2, "c")
	expect("exchanged", "c")
}
