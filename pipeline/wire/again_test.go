package wire

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sevwatch/detector"
	"sevwatch/rules"
)

// TestDecodeExpectsNothing: a decoder expects the keys of the last record, and what it is given instead is judged as if it were the first.
func TestDecodeExpectsNothing(t *testing.T) {
	long := `"previous_version":"`
	d := NewDecoder(rules.KindChange, rules.DefaultLabels())
	f := func(in, want string) {
		t.Helper()
		if got := refusal(d, in); got != want {
			t.Errorf("%q: %q, expected %q", in, got, want)
		}
	}
	f(`{`+long+`v1","change":"deploy"}`, "")
	f(`{`+strings.Repeat("\x00", len(long))+`v1","change":"deploy"}`, "not_json: unexpected byte 0x00 at byte 1")
	f(`{"change\":\"deploy\",\"x":1,"change":"deploy"}`, "")
	f(`{"change":"deploy","x":1}`, "")
}

// TestDecodeAgain: whatever a decoder has read before, it makes the same of a record as one that has read nothing.
func TestDecodeAgain(t *testing.T) {
	for seed := range int64(60) {
		r := rand.New(rand.NewSource(seed))
		d := NewDecoder(rules.KindLatency, rules.DefaultLabels())
		d.ReadIDs()
		records := someRecords(r)
		for n := range 400 {
			data := changed(r, records)
			fresh := NewDecoder(rules.KindLatency, rules.DefaultLabels())
			fresh.ReadIDs()
			if got, want := madeOf(d, data), madeOf(fresh, data); !cmp.Equal(want, got, cmpopts.EquateEmpty()) {
				t.Fatalf("seed %d, record %d: %q (-new +used):\n%s", seed, n, data, cmp.Diff(want, got, cmpopts.EquateEmpty()))
			}
		}
	}
}

// someRecords are such as a producer writes: always the same keys in the same order, without spaces.
func someRecords(r *rand.Rand) (out [][]byte) {
	for range 3 {
		var fields []string
		for _, i := range r.Perm(len(shapes))[:2+r.Intn(len(shapes)-2)] {
			fields = append(fields, shapes[i])
		}
		out = append(out, []byte("{"+strings.Join(fields, ",")+"}"))
	}
	return out
}

var shapes = []string{
	`"time":"2026-11-01T12:00:03.120Z"`, `"kind":"latency"`, `"status":200`, `"duration_ms":12.5`, `"service":"assessment"`, `"endpoint":"/a/submit"`, `"region":"eu"`,
	`"session":"s1"`, `"id":"e1"`, `"step":"a"`, `"action":"enter"`, `"message":"a longer text than most of them are"`, `"name":"LCP"`, `"dwell_ms":1`, `"x":1`,
	`"previous_version":"1.0"`, `"value":3`, `"score":4`, `"another_unknown_key":"y"`, `"service\":1,\"region":1`, `"time":1793534403120`,
}

// telling are the bytes that mean something to a decoder.
const telling = "0123456789.:-+eEZ\"\\,{} tu"

// changed is one of the records, mostly with something changed in it.
func changed(r *rand.Rand, records [][]byte) []byte {
	data := append([]byte(nil), records[r.Intn(len(records))]...)
	for range r.Intn(3) {
		at := r.Intn(len(data))
		switch r.Intn(6) {
		case 0:
			data[at] = byte(r.Intn(256))
		case 1:
			data[at] = telling[r.Intn(len(telling))]
		case 2:
			data = append(data[:at], data[min(len(data), at+1+r.Intn(3)):]...)
		case 3:
			for i := at; i < min(len(data), at+r.Intn(24)); i++ {
				data[i] = 0
			}
		case 4:
			data = append(data[:at], append([]byte(shapes[r.Intn(len(shapes))]+","), data[at:]...)...)
		default:
			data = append(data[:at], append([]byte(strings.Repeat("7", r.Intn(20))), data[at:]...)...)
		}
		if len(data) == 0 {
			break
		}
	}
	return data
}

// made is what a decoder makes of a record.
type made struct {
	Refused string
	Event   detector.Event
}

func madeOf(d *Decoder, data []byte) (m made) {
	if r := d.Decode(data, 5, &m.Event); r != nil {
		return made{Refused: fmt.Sprint(r)}
	}
	return m
}
