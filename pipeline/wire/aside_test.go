package wire_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/pipeline/wire/schema"
	"sevwatch/rules"
)

func originOf(value []byte) wire.Origin {
	return wire.Origin{
		Source: detector.Source{Topic: "assessment.latency", Partition: 3}, Offset: 1 << 40,
		Record: wire.Record{
			Key: []byte("user"), Value: value, Time: 1793534403120,
			Headers: []wire.Header{{Key: "traceparent", Value: []byte("00-ab")}, {Key: "empty", Value: []byte{}}, {Key: "traceparent", Value: []byte("twice")}},
		},
	}
}

// TestAside: the record is there as it was, its own headers first.
func TestAside(t *testing.T) {
	value := []byte("{\"x\":\xff\x00")
	o := originOf(value)
	own := o.Headers
	added := []wire.Header{
		{Key: "sevwatch_reason", Value: []byte("not_json")},
		{Key: "sevwatch_detail", Value: []byte("a detail")},
		{Key: "sevwatch_topic", Value: []byte("assessment.latency")},
		{Key: "sevwatch_partition", Value: []byte("3")},
		{Key: "sevwatch_offset", Value: []byte("1099511627776")},
	}
	got := wire.Rejected(o, &wire.Reject{Reason: wire.NotJSON, Detail: "a detail"})
	want := wire.Record{Key: []byte("user"), Value: value, Time: 1793534403120, Headers: append(own[:3:3], added...)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rejected (-want +got):\n%s", diff)
	}
	late := wire.Late(o, 1793534311000, 69_000)
	want.Headers[3].Value = []byte("late")
	want.Headers[4].Value = []byte("event time 2026-11-01T11:58:31.000Z is 69000 ms before the closed edge 2026-11-01T11:59:40.000Z")
	want.Headers = append(want.Headers, wire.Header{Key: "sevwatch_late_ms", Value: []byte("69000")})
	if diff := cmp.Diff(want, late); diff != "" {
		t.Errorf("late (-want +got):\n%s", diff)
	}

	// It outlives the buffer that the record was read into.
	for _, b := range [][]byte{o.Key, o.Value, o.Headers[0].Value} {
		copy(b, "##########")
	}
	if string(got.Key) != "user" || !bytes.HasPrefix(got.Value, []byte(`{"x"`)) || string(got.Header("traceparent")) != "00-ab" {
		t.Errorf("it has changed with the buffer: %s %s %s", got.Key, got.Value, got.Header("traceparent"))
	}
	if got.Header("nothing") != nil {
		t.Error("a header that is not there has a value")
	}
}

// TestAsideOfNothing: no key is not an empty key, and no value (a tombstone) is not an empty value.
func TestAsideOfNothing(t *testing.T) {
	f := func(key, value []byte) {
		t.Helper()
		got := wire.Rejected(wire.Origin{Record: wire.Record{Key: key, Value: value}}, &wire.Reject{Reason: wire.NotJSON})
		if (got.Key == nil) != (key == nil) || (got.Value == nil) != (value == nil) || len(got.Key)+len(got.Value) > 0 {
			t.Errorf("key %v and value %v have become %v and %v", key, value, got.Key, got.Value)
		}
	}
	f(nil, nil)
	f([]byte{}, nil)
	f(nil, []byte{})
	f([]byte{}, []byte{})
}

// TestAsideIsCut: what is larger than 512 KiB is told by size and hash.
func TestAsideIsCut(t *testing.T) {
	f := func(size, kept int) {
		t.Helper()
		value := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		got := wire.Rejected(originOf(value), &wire.Reject{Reason: wire.TooLarge, Detail: "d"})
		headers := headersOf(got)
		wantSize, wantSum := "", ""
		if kept < size {
			wantSize, wantSum = fmt.Sprint(size), fmt.Sprintf("%x", sha256.Sum256(value))
		}
		if headers["sevwatch_size"] != wantSize || headers["sevwatch_sha256"] != wantSum || !bytes.Equal(got.Value, value[:kept]) {
			t.Errorf("of %d bytes %d are kept, with the headers %v", size, len(got.Value), headers)
		}
		if err := schema.ValidateHeaders("rejected-headers.v1", headers); err != nil {
			t.Error(err)
		}
	}
	f(0, 0)
	f(64<<10+1, 64<<10+1)
	f(512<<10, 512<<10)
	f(512<<10+1, 64<<10)
	f(10<<20, 64<<10)
}

// TestAsideFitsIntoABatch: whatever a record's key and headers are, its copy is below 900,000 bytes, and says what of it is not there.
func TestAsideFitsIntoABatch(t *testing.T) {
	text := func(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }
	f := func(key, value int, headers []int, wantKey int, wantHeaders []int) {
		t.Helper()
		o := originOf(text(value))
		o.Key, o.Headers = text(key), nil
		for _, n := range headers {
			o.Headers = append(o.Headers, wire.Header{Key: "own", Value: text(n)})
		}
		for _, got := range []wire.Record{wire.Rejected(o, &wire.Reject{Reason: wire.NotJSON, Detail: "d"}), wire.Late(o, 5, 10)} {
			size := len(got.Key) + len(got.Value)
			var own []int
			for _, h := range got.Headers {
				if size += 10 + len(h.Key) + len(h.Value); h.Key == "own" {
					own = append(own, len(h.Value))
				}
			}
			if size > 900_000 {
				t.Errorf("the copy has %d bytes", size)
			}
			if !bytes.Equal(got.Key, o.Key[:wantKey]) || !slices.Equal(own, wantHeaders) {
				t.Errorf("a key of %d bytes and headers of %v are kept, expected %d and %v", len(got.Key), own, wantKey, wantHeaders)
			}
			keySize, dropped := "", ""
			if wantKey < key {
				keySize = fmt.Sprint(key)
			}
			if n := len(headers) - len(wantHeaders); n > 0 {
				dropped = fmt.Sprint(n)
			}
			added := headersOf(got)
			if added["sevwatch_key_size"] != keySize || added["sevwatch_headers_dropped"] != dropped {
				t.Errorf("the headers are %v, expected a key of %q and %q headers left out", added, keySize, dropped)
			}
			a, err := wire.ReadAside(got)
			if whole := keySize+dropped == "" && len(got.Value) == value; err != nil || a.Cut == whole {
				t.Errorf("it is told to be cut: %t, expected %t: %v", a.Cut, !whole, err)
			}
			name := "rejected-headers.v1"
			if a.Reason == "late" {
				name = "late-headers.v1"
			}
			if err := schema.ValidateHeaders(name, added); err != nil {
				t.Error(err)
			}
		}
	}
	const most = 128<<10 - len("own") - 10 // of one header
	f(64<<10, 512<<10, []int{most}, 64<<10, []int{most})
	f(64<<10+1, 1, nil, 64<<10, nil)
	f(1_500_000, 1, nil, 64<<10, nil)
	f(1_500_000, 10<<20, []int{1, 2_000_000}, 64<<10, []int{1})
	f(1, 512<<10, []int{most + 1}, 1, nil)
	f(1, 1, []int{7, most, 1_000_000, 8}, 1, []int{7, 8}) // what fits is kept
	f(64<<10, 512<<10, make([]int, 100_000), 64<<10, make([]int, 128<<10/13))
}

// TestReasons: each reason of the document is given for some record, and no other one.
func TestReasons(t *testing.T) {
	_, row, _ := strings.Cut(readDoc(t), "| `sevwatch_reason` | ")
	row, _, _ = strings.Cut(row, " |")
	documented := map[string]bool{}
	for _, reason := range strings.Fields(row) {
		documented[strings.Trim(reason, "`")] = true
	}
	given := map[string]bool{}
	for _, record := range []string{
		`{`, `[]`, `{"x":"` + "\xff" + `"}`, `{"service":5}`, `{}`, `{"kind":"x"}`, `{"kind":"latency","duration_ms":-1}`,
		`{"kind":"error","kind":"error"}`, `{"kind":"error","time":"x"}`, `{"kind":"error"}`, strings.Repeat(" ", 1<<17),
	} {
		r := wire.NewDecoder(rules.NoKind, rules.DefaultLabels()).Decode([]byte(record), -1, &detector.Event{})
		if r == nil {
			t.Fatalf("%.50s is an event", record)
		}
		given[string(r.Reason)] = true
		if err := schema.ValidateHeaders("rejected-headers.v1", headersOf(wire.Rejected(originOf(nil), r))); err != nil {
			t.Error(err)
		}
	}
	number, err := wire.NewAvroSchema(`{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	confluent := wire.NewInput(wire.InputSpec{Format: wire.FormatConfluent, Kind: rules.KindError, Schemas: oneSchema{number}})
	for _, record := range []string{"{}", "\x00\x00\x00\x00\x07\x02", "\x00\x00\x00\x00\x01"} {
		if confluent.Waiting([]byte(record)) {
			t.Fatalf("%q waits", record)
		}
		_, r := confluent.Read(&wire.Record{Value: []byte(record), Time: 7})
		if r == nil {
			t.Fatalf("%q is an event", record)
		}
		given[string(r.Reason)] = true
		if err := schema.ValidateHeaders("rejected-headers.v1", headersOf(wire.Rejected(originOf(nil), r))); err != nil {
			t.Error(err)
		}
	}
	given[string(wire.FutureEvent)] = true // by the guard, not by the decoder
	if diff := cmp.Diff(documented, given); diff != "" {
		t.Errorf("-documented +given:\n%s", diff)
	}
}

// oneSchema is a registry that knows one schema, of the number 1.
type oneSchema struct{ known wire.Schema }

func (s oneSchema) Schema(id uint32) wire.Schema {
	if id == 1 {
		return s.known
	}
	return wire.NoSuchSchema{Why: "there is none"}
}

// TestReadAside: what is put aside comes back whole, and what was not put there by us is told from it.
func TestReadAside(t *testing.T) {
	o := wire.Origin{
		Source: detector.Source{Topic: "t", Partition: 3}, Offset: 12,
		Record: wire.Record{Key: []byte("k"), Value: []byte("v"), Time: 7, Headers: []wire.Header{{Key: "trace", Value: []byte{0xff}}, {Key: "trace", Value: nil}}},
	}
	got, err := wire.ReadAside(wire.Rejected(o, &wire.Reject{Reason: wire.NotJSON, Detail: "d"}))
	want := wire.Aside{Origin: o, Reason: "not_json", Detail: "d"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if got, err = wire.ReadAside(wire.Late(o, 5, 10)); err != nil || got.Reason != "late" || got.Cut {
		t.Errorf("%+v, %v", got, err)
	}
	o.Value = make([]byte, 600<<10)
	if got, err = wire.ReadAside(wire.Rejected(o, &wire.Reject{Reason: wire.TooLarge})); err != nil || !got.Cut {
		t.Errorf("%d bytes of it are whole: %v", len(got.Value), err)
	}
	o.Headers = []wire.Header{{Key: "sevwatch_topic", Value: []byte("forged")}}
	if got, err = wire.ReadAside(wire.Rejected(o, &wire.Reject{Reason: wire.NotJSON})); err != nil || got.Source.Topic != "t" {
		t.Errorf("%+v, %v", got.Source, err)
	}
	for _, headers := range [][]wire.Header{nil, {{Key: "sevwatch_reason", Value: []byte("x")}, {Key: "sevwatch_partition", Value: []byte("x")}}} {
		if _, err := wire.ReadAside(wire.Record{Headers: headers}); err == nil {
			t.Errorf("%v is taken", headers)
		}
	}
}
