package pipeline

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
)

var flagBad = flag.Int("bad", 0, "how many records TestRealThirtyPercentBad writes; 0 skips it")

// badKind is one way in which a record can be bad.
type badKind struct {
	name   string
	reason wire.Reason
	value  string
}

// badKinds are the ways, each by hand. None is empty: a file knows no empty records.
func badKinds() []badKind {
	latency := func(rest string) string {
		return `{"time":1793534401000,"kind":"latency","service":"api",` + rest + `}`
	}
	return []badKind{
		{"text", wire.NotJSON, `2026-11-01 12:00:01 ERROR request failed`},
		{"cut", wire.NotJSON, latency(`"duration_ms":12.5`)[:50]},
		{"NaN", wire.NotJSON, latency(`"duration_ms":NaN`)},
		{"something behind it", wire.NotJSON, latency(`"duration_ms":12.5`) + `{}`},
		{"byte order mark", wire.NotJSON, "\ufeff" + latency(`"duration_ms":12.5`)},
		{"binary", wire.NotJSON, "\x00\x00\x00\x00\x07\x02\x08shop"},
		{"nested too deep", wire.NotJSON, latency(`"duration_ms":1,"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200))},
		{"comma before the end", wire.NotJSON, latency(`"duration_ms":12.5,`)},
		{"single quotes", wire.NotJSON, strings.ReplaceAll(latency(`"duration_ms":12.5`), `"`, `'`)},
		{"list", wire.NotAnObject, `[` + latency(`"duration_ms":12.5`) + `]`},
		{"number", wire.NotAnObject, `12.5`},
		{"not UTF-8", wire.BadUTF8, latency("\"duration_ms\":12.5,\"endpoint\":\"caf\xe9\"")},
		{"half a surrogate", wire.BadUTF8, latency(`"duration_ms":12.5,"endpoint":"\ud83d"`)},
		{"number for text", wire.WrongType, latency(`"duration_ms":12.5,"endpoint":7`)},
		{"text for number", wire.WrongType, latency(`"duration_ms":"12.5"`)},
		{"object for text", wire.WrongType, latency(`"duration_ms":12.5,"region":{"name":"eu"}`)},
		{"no duration", wire.Missing, latency(`"status":200`)},
		{"no kind", wire.Missing, `{"time":1793534401000,"service":"api","duration_ms":12.5}`},
		{"no step", wire.Missing, `{"time":1793534401000,"kind":"step","action":"enter"}`},
		{"unknown kind", wire.UnknownValue, `{"time":1793534401000,"kind":"metric","service":"api","value":1}`},
		{"unknown action", wire.UnknownValue, `{"time":1793534401000,"kind":"step","step":"a","action":"leave"}`},
		{"negative duration", wire.OutOfRange, latency(`"duration_ms":-12.5`)},
		{"endless duration", wire.OutOfRange, latency(`"duration_ms":1e300`)},
		{"status 0", wire.OutOfRange, latency(`"duration_ms":12.5,"status":0`)},
		{"long label", wire.OutOfRange, latency(`"duration_ms":12.5,"endpoint":"/` + strings.Repeat("x", 300) + `"`)},
		{"key twice", wire.DuplicateKey, latency(`"duration_ms":12.5,"service":"web"`)},
		{"time in words", wire.BadTime, `{"time":"yesterday","kind":"error","service":"api"}`},
		{"time in seconds with a fraction", wire.BadTime, `{"time":1793534401.5,"kind":"error","service":"api"}`},
		{"too large", wire.TooLarge, latency(`"duration_ms":12.5,"message":"` + strings.Repeat("x", wire.MaxRecord) + `"`)},
	}
}

// mixed is a stream in which some records are bad: bad[i] is the kind of record i, or -1.
type mixed struct {
	kinds  []badKind
	values [][]byte
	bad    []int
	good   [][]byte
	want   map[wire.Reason]int64
}

// mix makes n records of a thousand seconds with an outage in the middle, three in ten of them bad.
func mix(n int, seed uint64) *mixed {
	m := &mixed{kinds: badKinds(), want: map[wire.Reason]int64{}}
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		if i%10 < 3 {
			k := random.IntN(len(m.kinds))
			// Large records would be most of the bytes; one in a hundred of its kind is enough, the others are of another kind.
			if m.kinds[k].reason == wire.TooLarge && random.IntN(100) > 0 {
				k = random.IntN(len(m.kinds) - 1)
			}
			m.values, m.bad = append(m.values, []byte(m.kinds[k].value)), append(m.bad, k)
			m.want[m.kinds[k].reason]++
			continue
		}
		at := 1793534400000 + int64(i)*1_000_000/int64(n)
		service := [...]string{"api", "web", "store"}[random.IntN(3)]
		failing := at%1_000_000 > 400_000 && at%1_000_000 < 700_000 && service == "api" && random.IntN(3) > 0
		value := fmt.Appendf(nil, `{"time":%d,"kind":"latency","service":%q,"endpoint":"/v1/answers","status":200,"duration_ms":%d.%d,"id":"%d"}`,
			at, service, 20+random.IntN(80), random.IntN(10), i)
		if failing {
			value = fmt.Appendf(nil, `{"time":%d,"kind":"error","service":%q,"endpoint":"/v1/answers","error_type":"TimeoutError","id":"%d"}`, at, service, i)
		}
		m.values, m.bad, m.good = append(m.values, value), append(m.bad, -1), append(m.good, value)
	}
	return m
}

// A stream in which three records in ten are bad, in 29 ways: every reason is right, every record accounted for, and the messages are those
// of the good ones alone.
func TestReplayOfThirtyPercentBad(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	m := mix(20_000, 1)
	want, _ := p.replayed(m.good)
	if len(want) < 5 {
		t.Fatalf("the good ones alone give %d messages: too little to compare", len(want))
	}
	var got []outputRow
	seen := map[string]bool{}
	r := Replay{
		Config: p.cfg.Engine(), Rules: p.rules, Files: []string{writeLines(t, m.values)},
		Output: func(o detector.Output) error {
			got = append(got, outputRow{int64(o.At()), o.ID(), o.Type(), o.EventID(), string(wire.Value(o))})
			return nil
		},
		Rejected: func(o wire.Origin, r *wire.Reject) {
			switch k := m.bad[o.Offset]; {
			case k < 0:
				t.Errorf("record %d is good, and rejected: %v", o.Offset, r)
			case r.Reason != m.kinds[k].reason:
				t.Errorf("%s: rejected for %v, expected %s", m.kinds[k].name, r, m.kinds[k].reason)
			default:
				seen[m.kinds[k].name] = true
			}
		},
	}
	sum, err := r.Run(p.ctx)
	check(t, err)
	same(t, "with bad ones between", want, rowValues(got))
	if wanted := (detector.Totals{Counted: 14_000, Rejected: 6_000}); sum.Totals != wanted {
		t.Errorf("the accounts are %+v, expected %+v", sum.Totals, wanted)
	}
	if len(seen) < 25 {
		t.Errorf("only %d kinds came up: %v", len(seen), seen)
	}
}

func TestThirtyPercentBad(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	thirtyPercentBad(t, addr, 20_000)
}

func TestRealThirtyPercentBad(t *testing.T) {
	if *flagBad == 0 {
		t.Skip("SKIP: a million records take minutes; run it with -bad 1000000")
	}
	thirtyPercentBad(t, kafkatest.Shared(t).Addr(), *flagBad)
}

// thirtyPercentBad is the same live: over four partitions, to the rejected topic, with good ones that are sent again and some that are late.
func thirtyPercentBad(t *testing.T, addr string, n int) {
	const header = "kind"
	p := newPipeline(t, addr, func(c *Config) {
		c.Sources[3].Duplicates = DuplicatesConfig{Horizon: 10 * minute, MaxIDs: 1_000_000}
	})
	m := mix(n, 2)
	want, sum := p.replayed(m.good)
	topic := p.cfg.Sources[3].Topic
	batches := make([][]kafka.Record, 4)
	random := rand.New(rand.NewPCG(2, 1))
	total := detector.Totals{Counted: int64(len(m.good)), Rejected: int64(n - len(m.good))}
	for i, value := range m.values {
		add := func(value []byte) {
			batches[i%4] = append(batches[i%4], kafka.Record{Time: time.UnixMilli(1793534400000), Value: kafka.NewBytes(value)})
		}
		add(value)
		if k := m.bad[i]; k >= 0 {
			batches[i%4][len(batches[i%4])-1].Headers = []kafka.Header{{Key: header, Value: []byte(m.kinds[k].name)}}
			continue
		}
		if random.IntN(20) == 0 {
			add(value)
			total.Duplicate++
		}
		if i > n/2 && random.IntN(50) == 0 {
			add(fmt.Appendf(nil, `{"time":1793534400000,"kind":"error","service":"api","id":"late %d"}`, i))
			total.Late++
		}
	}
	for id, records := range batches {
		for chunk := range slices.Chunk(records, 2000) {
			p.write(partition{topic, id}, chunk...)
		}
	}
	start := time.Now()
	w, stop := p.start()
	defer stop()
	p.until("everything accounted for", func() bool { return w.Totals().Sum() == total.Sum() })
	took := time.Since(start)
	p.judged(sum.Edge, w)
	same(t, "with bad ones between", want, p.outputs(sum.Edge))
	if got := w.Totals(); got != total {
		t.Errorf("the accounts are %+v, expected %+v", got, total)
	}
	reasonOf := map[string]string{}
	for _, k := range m.kinds {
		reasonOf[k.name] = string(k.reason)
	}
	got := map[wire.Reason]int64{}
	for _, r := range p.read(p.cfg.Topics.Rejected) {
		h := map[string]string{}
		for _, x := range r.Headers {
			h[x.Key] = string(x.Value)
		}
		got[wire.Reason(h["sevwatch_reason"])]++
		if h["sevwatch_reason"] != reasonOf[h[header]] {
			t.Errorf("%q was rejected for %s", h[header], h["sevwatch_reason"])
		}
	}
	if diff := cmp.Diff(m.want, got); diff != "" {
		t.Errorf("on the rejected topic (-want +got):\n%s", diff)
	}
	t.Logf("%d records accounted for in %.1f s, as %+v; %d messages, the same as of the good ones alone", total.Sum(), took.Seconds(), total, len(want))
}
