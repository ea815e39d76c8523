package wire

import (
	"fmt"
	"math/rand"
	"testing"

	"sevwatch/detector"
	"sevwatch/rules"
)

// kindEvents are one record of each kind. The latency event is the one of the comparison with other engines, 222 bytes.
func kindEvents() map[rules.Kind]string {
	return map[rules.Kind]string{
		rules.KindError: `{"time":"2026-11-01T12:00:03.120Z","kind":"error","service":"assessment-api","endpoint":"/v1/answers","step":"questions",` +
			`"region":"eu-west","version":"1.42.0","session":"5f1c09aa2b7d4e10","error_type":"TimeoutError","category":"minor","message":"question-store did not answer within 2 s"}`,
		rules.KindLatency: `{"time":"2026-11-01T00:00:00.001Z","kind":"latency","service":"assessment-api","endpoint":"/v1/score","step":"questions",` +
			`"region":"eu-west","version":"1.40.0","session":"78fc2ffac2fd9401","status":200,"duration_ms":78.123}`,
		rules.KindStep: `{"time":"2026-11-01T12:00:09Z","kind":"step","service":"assessment-web","step":"questions","region":"eu-west","version":"3.7.1",` +
			`"session":"5f1c09aa2b7d4e10","action":"abandon","dwell_ms":48211}`,
		rules.KindVital:        `{"time":1793534404000,"kind":"vital","service":"assessment-web","step":"questions","region":"eu-west","session":"5f1c09aa2b7d4e10","name":"LCP","value":2411.5}`,
		rules.KindResource:     `{"time":1793534405000,"kind":"resource","service":"assessment-api","region":"eu-west","name":"cpu","value":0.83}`,
		rules.KindSatisfaction: `{"time":1793534406000,"kind":"satisfaction","service":"assessment-web","step":"result","session":"5f1c09aa2b7d4e10","score":4}`,
		rules.KindChange:       `{"time":"2026-11-01T11:58:00Z","kind":"change","service":"assessment-api","change":"deploy","version":"1.42.0","previous_version":"1.41.0"}`,
	}
}

// awkward are good records that need more than the others: escapes, unknown keys, nested values, white space.
func awkward() map[string]string {
	return map[string]string{
		"escapes": `{"kind":"error","service":"caf\u00e9\n","\u0072egion":"\ud83d\ude00","message":"a \"quoted\" \\ text"}`,
		"unknown": `{"kind":"error","trace_id":"5f1c09aa2b7d4e10","context":{"a":[1,2,{"b":null}],"c":"d"},"service":"a"}`,
		"space":   " {\r\n\t\"kind\" : \"error\" ,\r\n\t\"service\" : \"a\"\r\n}\r\n",
	}
}

// TestDecodeAllocatesNothing: once its buffers have grown, a good record costs no memory.
func TestDecodeAllocatesNothing(t *testing.T) {
	if n := len(kindEvents()[rules.KindLatency]); n != 222 {
		t.Errorf("the latency event has %d bytes", n)
	}
	f := func(name, record string) {
		t.Helper()
		d := NewDecoder(rules.NoKind, rules.DefaultLabels())
		var e detector.Event
		value := []byte(record)
		if n := testing.AllocsPerRun(100, func() { mustDecode(t, d, value, &e) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for kind, record := range kindEvents() {
		f(kind.String(), record)
	}
	for name, record := range awkward() {
		f(name, record)
	}
	overflow := NewDecoder(rules.NoKind, rules.DefaultLabels())
	for i := range 2 * maxUnknown {
		mustDecode(t, overflow, fmt.Appendf(nil, `{"kind":"error","unknown%d":1}`, i), &detector.Event{})
	}
	var e detector.Event
	value := []byte(`{"kind":"error","one unknown key more":1}`)
	if n := testing.AllocsPerRun(100, func() { mustDecode(t, overflow, value, &e) }); n != 0 {
		t.Errorf("an unknown key too many: %v allocations", n)
	}
}

func mustDecode(tb testing.TB, d *Decoder, value []byte, e *detector.Event) {
	if r := d.Decode(value, 0, e); r != nil {
		tb.Fatal(r)
	}
}

// TestCountAllocatesNothing: nor does counting it into a series that is known.
func TestCountAllocatesNothing(t *testing.T) {
	for kind, record := range kindEvents() {
		c := newCounter(record)
		c.count(t)
		if n := testing.AllocsPerRun(100, func() { c.count(t) }); n != 0 {
			t.Errorf("%s: %v allocations", kind, n)
		}
	}
}

// counter decodes and counts one record again and again.
type counter struct {
	decoder *Decoder
	event   detector.Event
	agg     *detector.Aggregator
	part    *detector.Partition
	value   []byte
	offset  int64
}

func newCounter(record string) *counter {
	c := &counter{
		decoder: NewDecoder(rules.NoKind, rules.DefaultLabels()), value: []byte(record),
		agg: detector.NewAggregator(detector.DefaultConfig(), 0, 1),
	}
	c.part = c.agg.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
	return c
}

func (c *counter) count(tb testing.TB) {
	if r := c.decoder.Decode(c.value, -1, &c.event); r != nil {
		tb.Fatal(r)
	}
	if late := c.agg.Count(c.part, c.offset, &c.event).LateMs; late > 0 {
		tb.Fatalf("it is %d ms late", late)
	}
	c.offset++
}

func BenchmarkDecode(b *testing.B) {
	for kind := rules.KindError; kind <= rules.KindChange; kind++ {
		b.Run(kind.String(), func(b *testing.B) { benchmarkDecode(b, kindEvents()[kind]) })
	}
	for _, name := range []string{"escapes", "unknown", "space"} {
		b.Run(name, func(b *testing.B) { benchmarkDecode(b, awkward()[name]) })
	}
}

func benchmarkDecode(b *testing.B, record string) {
	d := NewDecoder(rules.NoKind, rules.DefaultLabels())
	var e detector.Event
	value := []byte(record)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		mustDecode(b, d, value, &e)
	}
}

// BenchmarkCount is decoding and counting.
func BenchmarkCount(b *testing.B) {
	for kind := rules.KindError; kind <= rules.KindChange; kind++ {
		b.Run(kind.String(), func(b *testing.B) {
			c := newCounter(kindEvents()[kind])
			b.SetBytes(int64(len(c.value)))
			b.ReportAllocs()
			for b.Loop() {
				c.count(b)
			}
		})
	}
}

// BenchmarkCountMany is decoding and counting events of a thousand series in no order, so that nothing can be guessed from the one before.
func BenchmarkCountMany(b *testing.B) {
	c := newCounter(kindEvents()[rules.KindLatency])
	r := rand.New(rand.NewSource(1))
	values := make([][]byte, 1<<14)
	for i := range values {
		values[i] = fmt.Appendf(nil, `{"time":"2026-11-01T00:00:%02d.%03dZ","kind":"latency","service":"service-%d","endpoint":"/v1/%s","step":"questions",`+
			`"region":"%s","version":"1.4%d.0","session":"%016x","status":%d,"duration_ms":%.3f}`, i>>10, i%1000, r.Intn(12),
			[]string{"score", "answers", "start", "sessions/current"}[r.Intn(4)], []string{"eu-west", "us-east-1", "ap"}[r.Intn(3)], r.Intn(7),
			r.Uint64(), []int{200, 200, 200, 404, 503}[r.Intn(5)], r.ExpFloat64()*80)
	}
	i := 0
	for b.Loop() {
		c.value = values[i%len(values)]
		c.count(b)
		i++
	}
}

// BenchmarkReject is a bad record: it costs memory, but not much time.
func BenchmarkReject(b *testing.B) {
	d := NewDecoder(rules.KindLatency, rules.DefaultLabels())
	var e detector.Event
	value := []byte(`{"time":"2026-11-01T12:00:03Z","service":"assessment-api","duration_ms":-3}`)
	b.ReportAllocs()
	for b.Loop() {
		if r := d.Decode(value, 0, &e); r == nil {
			b.Fatal("it is no bad record")
		}
	}
}

// BenchmarkDelta is writing and reading a delta of 1000 series, each with a histogram.
func BenchmarkDelta(b *testing.B) {
	d := &detector.Delta{Pane: 1793534400000}
	for i := range 1000 {
		s := detector.SeriesDelta{Kind: rules.KindLatency, Labels: []detector.Label{
			{Name: "endpoint", Value: fmt.Sprintf("/v1/%d", i%40)},
			{Name: "region", Value: "eu-west"},
			{Name: "service", Value: fmt.Sprintf("service-%d", i/40)},
			{Name: "status_class", Value: "2xx"},
		}}
		s.Count, s.Valued, s.Sum.Lo, s.Max = 100, 100, 5_000_000_000, 98_000_000
		for code := range int32(30) {
			s.Buckets = append(s.Buckets, detector.Bucket{Code: 4200 + 3*code, N: int64(code) + 1})
		}
		d.Series = append(d.Series, s)
	}
	values := EncodeDelta(d)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			EncodeDelta(d)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		var d DeltaDecoder
		for b.Loop() {
			for _, value := range values {
				if _, err := d.Decode("", value); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
