package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sevwatch/detector"
	"sevwatch/rules"
)

// randomDelta has up to n series of all sorts.
func randomDelta(seed int64, n int) *detector.Delta {
	r := rand.New(rand.NewSource(seed))
	d := &detector.Delta{Domain: "domain", Pane: r.Int63n(1e13) - 1e9}
	for range 1 + r.Intn(n) {
		s := detector.SeriesDelta{Kind: rules.Kind(1 + r.Intn(int(rules.KindChange)))}
		for i := range r.Intn(5) {
			s.Labels = append(s.Labels, detector.Label{Name: fmt.Sprintf("label%d", i), Value: strings.Repeat("é\x00", 1+r.Intn(20))})
		}
		s.Count = 1 + r.Int63n(1<<uint(r.Intn(60)))
		if r.Intn(3) > 0 {
			s.Valued = 1 + r.Int63n(s.Count)
			s.Sum = detector.Sum{Hi: r.Int63() - r.Int63(), Lo: r.Uint64()}
			s.Max = r.Int63() - r.Int63()
			code := int32(r.Intn(2000)) - 6000
			for range r.Intn(50) {
				code += 1 + int32(r.Intn(100))
				s.Buckets = append(s.Buckets, detector.Bucket{Code: code, N: 1 + r.Int63n(1<<40)})
			}
		}
		if r.Intn(3) == 0 {
			s.Sessions = &detector.Distinct{}
			for range 1 + r.Intn(400) {
				s.Sessioned++
				s.Sessions.Add(r.Uint64())
			}
			s.Count += s.Sessioned
		}
		d.Series = append(d.Series, s)
	}
	return d
}

func TestDeltaRoundTrip(t *testing.T) {
	for seed := range int64(100) {
		want := randomDelta(seed, 40)
		got := decodeAll(t, want.Domain, EncodeDelta(want))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

// TestUsedEncoder: what an encoder wrote before changes nothing of what it writes, and stays as it is.
func TestUsedEncoder(t *testing.T) {
	var used DeltaEncoder
	var want, got [][]byte
	for seed := range int64(100) {
		d := randomDelta(seed, 40)
		if seed%10 == 5 {
			for i := range fewTexts {
				s := d.Series[0]
				s.Labels = []detector.Label{{Name: "a", Value: strconv.Itoa(i)}, {Name: "b", Value: strings.Repeat("x", i/2)}}
				d.Series = append(d.Series, s)
			}
		}
		want, got = append(want, EncodeDelta(d)...), append(got, used.Encode(d)...)
	}
	for i := range max(len(want), len(got)) {
		if i >= len(got) || i >= len(want) || !bytes.Equal(want[i], got[i]) {
			t.Fatalf("value %d of %d differs, or is not among %d", i, len(want), len(got))
		}
	}
	if len(want) == 100 {
		t.Error("no delta was written in parts")
	}
}

// TestDeltaEdges are the largest and smallest numbers.
func TestDeltaEdges(t *testing.T) {
	f := func(d detector.Delta) {
		t.Helper()
		d.Domain = "domain"
		if diff := cmp.Diff(&d, decodeAll(t, "domain", EncodeDelta(&d)), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	one := func(c detector.Cell) []detector.SeriesDelta {
		return []detector.SeriesDelta{{Kind: rules.KindVital, Cell: c}}
	}
	f(detector.Delta{Pane: math.MinInt64, Series: one(detector.Cell{Count: 1})})
	f(detector.Delta{Pane: math.MaxInt64, Series: one(detector.Cell{Count: 1 << 62})})
	f(detector.Delta{Series: one(detector.Cell{
		Count: 2, Valued: 2, Sum: detector.Sum{Hi: math.MinInt64, Lo: math.MaxUint64}, Max: math.MinInt64,
		Buckets: detector.Buckets{{Code: -detector.MaxCode, N: 1}, {Code: 0, N: 1 << 62}, {Code: detector.MaxCode, N: 1}},
	})})
	f(detector.Delta{Series: one(detector.Cell{Count: 2, Valued: 1, Sum: detector.Sum{Hi: math.MaxInt64}, Max: math.MaxInt64})})
	few := &detector.Distinct{Few: []uint64{0, 1, math.MaxUint64}}
	f(detector.Delta{Series: one(detector.Cell{Count: 3, Sessioned: 3, Sessions: few})})
	low, high := make([]byte, detector.Registers), slices.Repeat([]byte{detector.MaxRank}, detector.Registers)
	low[detector.Registers-1] = 1
	f(detector.Delta{Series: slices.Concat(
		one(detector.Cell{Count: 1 << 62, Sessioned: 1 << 62, Sessions: &detector.Distinct{Many: high}}),
		one(detector.Cell{Count: 257, Sessioned: 257, Sessions: &detector.Distinct{Many: low}}),
		one(detector.Cell{Count: 1}))})
	if got := EncodeDelta(&detector.Delta{Pane: 5}); len(got) != 0 {
		t.Errorf("a delta of nothing is written as %x", got)
	}
}

// TestDeltaBytes pins the layout of docs/messages.md: what is on the topic must be readable by the next version.
func TestDeltaBytes(t *testing.T) {
	d := &detector.Delta{Pane: 10_000, Series: []detector.SeriesDelta{
		{Kind: rules.KindLatency, Labels: []detector.Label{{Name: "a", Value: "x"}, {Name: "b", Value: "a"}}, Cell: detector.Cell{
			Count: 3, Valued: 2, Sum: detector.Sum{Hi: -1, Lo: 5}, Max: -7, Buckets: detector.Buckets{{Code: -2, N: 1}, {Code: 300, N: 2}},
		}},
		{Kind: rules.KindError, Labels: []detector.Label{{Name: "b", Value: "x"}}, Cell: detector.Cell{
			Count: 4, Sessioned: 3, Sessions: &detector.Distinct{Few: []uint64{5, 0x0102030405060708}},
		}},
	}}
	want := []byte{
		1,             // version
		0xa0, 0x9c, 1, // pane start, zigzag
		3, 1, 'a', 1, 'x', 1, 'b', // strings
		2,                                            // entries
		byte(rules.KindLatency), 2, 0, 1, 2, 0, 3, 3, // labels, count, flags
		2, 1, 5, 13, // valued, sum, max
		2, 3, 1, 0xdc, 4, 2, // buckets: -2, then 302 more
		byte(rules.KindError), 1, 2, 1, 4, 4,
		3, 2, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4, 5, 6, 7, 8, // sessioned, hashes
	}
	if got := EncodeDelta(d); len(got) != 1 || !bytes.Equal(got[0], want) {
		t.Errorf("got\n%v\nexpected\n%v", got, want)
	}
}

func TestDeltaMistakes(t *testing.T) {
	good := EncodeDelta(randomDelta(1, 40))[0]
	if _, err := DecodeDelta("", good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := DecodeDelta("", good[:n]); err == nil {
			t.Fatalf("cut to %d of %d bytes it is read", n, len(good))
		}
	}
	f := func(want string, in ...byte) {
		t.Helper()
		_, err := DecodeDelta("", in)
		if err == nil || err.Error() != "cannot read the delta: "+want {
			t.Errorf("%v: %v, expected %q", in, err, want)
		}
	}
	latency := byte(rules.KindLatency)
	f("it is not of version 1")
	f("it is not of version 1", 2, 0, 0, 0)
	f("1 bytes are left over", 1, 0, 0, 0, 0)
	f("it ends within a number", 1)
	f("it ends within a number", 1, 0x80)
	f("it ends within a number", 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0) // more than 64 bits
	f("9 things of 1 bytes do not fit in 1 bytes", 1, 0, 9, 1)
	f("7 things of 1 bytes do not fit in 2 bytes", 1, 0, 1, 7, 'a', 'b')
	f("2 things of 4 bytes do not fit in 7 bytes", 1, 0, 0, 2, 1, 0, 1, 0, 0, 0, 0)
	f("kind 0 is unknown", 1, 0, 0, 1, 0, 0, 1, 0)
	f("kind 10 is unknown", 1, 0, 0, 1, 10, 0, 1, 0)
	f("text 1 of 1", 1, 0, 1, 1, 'a', 1, latency, 1, 0, 1, 1, 0)
	f("the labels [{b a} {a b}] are not in order", 1, 0, 2, 1, 'a', 1, 'b', 1, latency, 2, 1, 0, 0, 1, 1, 0)
	f("the labels [{a a} {a b}] are not in order", 1, 0, 2, 1, 'a', 1, 'b', 1, latency, 2, 0, 0, 0, 1, 1, 0)
	f("0 is no count", 1, 0, 0, 1, latency, 0, 0, 0)
	f("flags 8 are unknown: a newer version has written it, let the workers that judge be of that first", 1, 0, 0, 1, latency, 0, 1, 8)
	f("0 is no count", 1, 0, 0, 1, latency, 0, 1, 1, 0, 0, 0, 0)
	f("the buckets are not in order, or one is of code 1 + 0", 1, 0, 0, 1, latency, 0, 1, 2, 2, 2, 1, 0, 1)
	f("the buckets are not in order, or one is of code 1 + -1", 1, 0, 0, 1, latency, 0, 1, 2, 2, 2, 1, 1, 1)
	f("the buckets are not in order, or one is of code 0 + 32768", slices.Concat([]byte{1, 0, 0, 1, latency, 0, 1, 2, 1}, binary.AppendVarint(nil, detector.MaxCode+1), []byte{1})...)
	f("the buckets are not in order, or one is of code 32767 + 1", slices.Concat([]byte{1, 0, 0, 1, latency, 0, 1, 2, 2}, binary.AppendVarint(nil, detector.MaxCode), []byte{1, 2, 1})...)
	sessions := func(count, sessioned, n byte, rest ...byte) []byte {
		return append([]byte{1, 0, 0, 1, latency, 0, count, 4, sessioned, n}, rest...)
	}
	five, six := []byte{0, 0, 0, 0, 0, 0, 0, 5}, []byte{0, 0, 0, 0, 0, 0, 0, 6}
	registers := make([]byte, detector.Registers)
	f("0 is no count", sessions(9, 0, 1, five...)...)
	f("the sessions are not in order", sessions(9, 9, 2, slices.Concat(six, five)...)...)
	f("the sessions are not in order", sessions(9, 9, 2, slices.Concat(five, five)...)...)
	f("1 of 9 events are said to come of 2 sessions (0: of more than can be listed)", sessions(9, 1, 2, slices.Concat(five, six)...)...)
	f("3 of 2 events are said to come of 2 sessions (0: of more than can be listed)", sessions(2, 3, 2, slices.Concat(five, six)...)...)
	f("257 sessions are listed, expected 1 to 256", slices.Concat(sessions(9, 9, 0x81), []byte{2}, make([]byte, 257*8))...)
	f("the largest register holds 0, expected 1 to 54", sessions(9, 9, 0, registers...)...)
	registers[2] = 55
	f("the largest register holds 55, expected 1 to 54", sessions(9, 9, 0, registers...)...)
	registers[2] = 54
	f("9 of 9 events are said to come of 0 sessions (0: of more than can be listed)", sessions(9, 9, 0, registers...)...)
	f("9223372036854775807 is no count", slices.Concat([]byte{1, 0, 0, 1, latency, 0}, binary.AppendUvarint(nil, math.MaxInt64), []byte{0})...)
}

// kafkaMessage is what a broker takes by default (max.message.bytes).
const kafkaMessage = 1_000_000

// TestDeltaSize: whatever the series, each value stays within its bound, and all of them come back.
func TestDeltaSize(t *testing.T) {
	largest := func(i int) detector.SeriesDelta {
		s := detector.SeriesDelta{Kind: rules.KindLatency, Cell: detector.Cell{
			Count: 1 << 62, Valued: 1 << 62, Sum: detector.Sum{Hi: math.MinInt64, Lo: math.MaxUint64}, Max: math.MinInt64,
		}}
		for l := range detector.MaxLabels {
			value := fmt.Sprintf("%d-%d-", i, l)
			s.Labels = append(s.Labels, detector.Label{
				Name: fmt.Sprintf("%s%02d", strings.Repeat("l", 62), l), Value: value + strings.Repeat("v", MaxLabel-len(value)),
			})
		}
		s.Sessioned, s.Sessions = 1<<62, &detector.Distinct{Many: slices.Repeat([]byte{detector.MaxRank}, detector.Registers)}
		for _, code := range allCodes() {
			s.Buckets = append(s.Buckets, detector.Bucket{Code: code, N: 1 << 62})
		}
		return s
	}
	d := &detector.Delta{Domain: "domain"}
	for i := range 20 {
		d.Series = append(d.Series, largest(i))
	}
	one := EncodeDelta(&detector.Delta{Series: d.Series[:1]})
	if n := len(one[0]); n > MaxSeries || n < MaxSeries/2 {
		t.Errorf("the largest series has %d bytes, expected %d at most and not far from it", n, MaxSeries)
	}
	checkSizes(t, d, 4)

	small := &detector.Delta{Domain: "domain"}
	for i := range 100_000 {
		small.Series = append(small.Series, detector.SeriesDelta{
			Kind: rules.KindError, Labels: []detector.Label{{Name: "a", Value: fmt.Sprint(i)}}, Cell: detector.Cell{Count: 1},
		})
	}
	checkSizes(t, small, 5)
}

func checkSizes(t *testing.T, d *detector.Delta, least int) {
	t.Helper()
	values := EncodeDelta(d)
	if len(values) < least {
		t.Errorf("%d series are %d values, expected %d at least", len(d.Series), len(values), least)
	}
	for i, v := range values {
		if len(v) > MaxDelta+MaxSeries || len(v) > kafkaMessage-4096 {
			t.Errorf("value %d has %d bytes", i, len(v))
		}
		if i < len(values)-1 && len(v) < MaxDelta {
			t.Errorf("value %d has only %d bytes, although there is more", i, len(v))
		}
	}
	if !reflect.DeepEqual(d, decodeAll(t, d.Domain, values)) {
		t.Error("it comes back as another")
	}
}

// allCodes are the codes of all buckets that a value of an event can fall into.
func allCodes() []int32 {
	a := detector.NewAggregator(detector.Config{Pane: 10_000}, 0, 1)
	p := a.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
	offset := int64(0)
	count := func(v int64) {
		for _, v := range []int64{v, -v} {
			a.Count(p, offset, &detector.Event{Kind: rules.KindVital, Value: v, HasValue: true})
			offset++
		}
	}
	count(math.MaxInt64)
	for v := int64(1); v > 0 && v < math.MaxInt64/102*100; v = max(v+1, v/100*102) {
		count(v)
	}
	count(0)
	deltas, _ := a.Flush()
	var codes []int32
	for _, b := range deltas[0].Series[0].Buckets {
		codes = append(codes, b.Code)
	}
	return codes
}

// TestDecodeWithKnownSeries: what a judge knows already is not made anew, and the judge counts the same.
func TestDecodeWithKnownSeries(t *testing.T) {
	name, data := rules.Runbook()
	file, err := rules.Parse(name, data, rules.Options{Labels: rules.DefaultLabels(), Pane: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	plain, quick := detector.NewJudge(detector.DefaultConfig(), file), detector.NewJudge(detector.DefaultConfig(), file)
	decoder := DeltaDecoder{Known: quick.Known}
	for i := range 60 {
		delta := randomDelta(int64(i%7), 50)
		delta.Pane = int64(i%5) * 10_000
		for _, value := range EncodeDelta(delta) {
			d, err := DecodeDelta("", value)
			if err != nil {
				t.Fatal(err)
			}
			plain.Delta(d)
			if d, err = decoder.Decode("", value); err != nil {
				t.Fatal(err)
			}
			quick.Delta(d)
			if i > 7 && len(d.Series) > 0 && d.Series[0].Known == nil {
				t.Fatalf("delta %d: the series %v was not known", i, d.Series[0].Labels)
			}
		}
	}
	if !bytes.Equal(plain.Snapshot(), quick.Snapshot()) {
		t.Errorf("the judges differ:\n%s\n%s", plain.Snapshot(), quick.Snapshot())
	}
}

// TestKnownSeriesComeAndGo: what a decoder remembers of series holds no longer than the judge knows them: over panes that go, and when the rules
// change in the middle.
func TestKnownSeriesComeAndGo(t *testing.T) {
	parse := func(window string) *rules.File {
		t.Helper()
		text := `{groups: [{name: g, rules: [{alert: A, signal: {count: error}, by: [service], window: ` + window + `,
			severities: [{severity: sev3, above: 40}], no_data_timeout: 70s, labels: {team: a}, annotations: {summary: a}}]}]}`
		file, err := rules.Parse("rules", []byte(text), rules.Options{Labels: rules.DefaultLabels(), Pane: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	cfg := detector.DefaultConfig()
	plain, quick := detector.NewJudge(cfg, parse("1m")), detector.NewJudge(cfg, parse("1m"))
	for _, j := range []*detector.Judge{plain, quick} {
		j.Hear(0, &detector.Act{Act: detector.ActRules, Time: 2_600_000, Rules: parse("30s")}, 0)
	}
	decoder := DeltaDecoder{Known: quick.Known}
	r := rand.New(rand.NewSource(1))
	source := detector.Source{Topic: "t"}
	predicted := 0
	for pane := range int64(400) {
		delta := &detector.Delta{Pane: pane * 10_000}
		for i := range 12 {
			if gone := i > 3 && pane/40%2 == 1; !gone && r.Intn(10) > 0 {
				s := detector.SeriesDelta{Kind: rules.KindError, Labels: []detector.Label{
					{Name: "endpoint", Value: strconv.Itoa(i)}, {Name: "service", Value: fmt.Sprint("service", (i+int(pane/100))%3)},
				}}
				s.Count = 1 + r.Int63n(9)
				delta.Series = append(delta.Series, s)
			}
		}
		var outputs [2][]detector.Output
		for i, j := range []*detector.Judge{plain, quick} {
			for _, value := range EncodeDelta(delta) {
				d, err := DecodeDelta("", value)
				if i == 1 {
					d, err = decoder.Decode("", value)
				}
				if err != nil {
					t.Fatal(err)
				}
				if i == 1 && decoder.table != nil && len(d.Series) > 0 && d.Series[len(d.Series)-1].Known != nil {
					predicted++
				}
				j.Delta(d)
			}
			if err := j.Progress(&detector.Progress{
				V: 1, Tasks: 1, Set: detector.PartitionSet{Version: 1, Topics: map[string]int{"t": 1}},
				Partitions: []detector.PartitionProgress{{Source: source, From: pane, To: pane + 1, Watermark: (pane + 1) * 10_000}},
				Events:     []detector.PaneEvents{{Pane: delta.Pane, Events: 1}},
			}); err != nil {
				t.Fatal(err)
			}
			outputs[i] = j.Advance()
		}
		if diff := cmp.Diff(outputs[0], outputs[1]); diff != "" {
			t.Fatalf("pane %d (-plain +quick):\n%s", pane, diff)
		}
		if !bytes.Equal(plain.Snapshot(), quick.Snapshot()) {
			t.Fatalf("pane %d: the judges differ:\n%s\n%s", pane, plain.Snapshot(), quick.Snapshot())
		}
	}
	if quick.Stale() || quick.Rules().Rules()[0].Window != 30_000 || predicted < 100 {
		t.Errorf("stale %t, the window is %v, and %d deltas were remembered, expected the window of the new rules, and 100", quick.Stale(),
			quick.Rules().Rules()[0].Window, predicted)
	}
}
