package wire

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sevwatch/detector"
	"sevwatch/rules"
)

var keptSource = detector.Source{Topic: "assessment.steps", Partition: 3}

func someIDs(n int) (out []detector.ID) {
	for i := range n {
		out = append(out, detector.IDOf(fmt.Append(nil, i)))
	}
	return out
}

func someVisits() []*detector.Visit {
	labels := []detector.Label{{Name: "action", Value: "enter"}, {Name: "step", Value: "a\x00<b>"}}
	return []*detector.Visit{
		{Key: detector.IDOf([]byte("a")), Time: 31_000, Deadline: 61_000, Labels: labels},
		{Key: detector.IDOf([]byte("a")), Time: 32_000, Deadline: 62_000, Complete: true},
		{Key: detector.IDOf([]byte("b")), Time: 31_000, Deadline: 61_000, Labels: labels, Void: true},
		{Key: detector.IDOf([]byte("c")), Time: 31_500, Deadline: 61_500, Labels: labels[:1], Session: math.MaxUint64},
	}
}

// What is written is read; what is forgotten has no value.
func TestKeptIsReadAsWritten(t *testing.T) {
	k := detector.Kept{IDs: []detector.Chunk[detector.ID]{
		{Pane: 10_000, Chunk: 0, Items: someIDs(2)}, {Pane: 10_000, Chunk: 12, Items: someIDs(detector.MaxChunk / len(detector.ID{}))}, {Pane: -20_000, Chunk: 1},
	}}
	k.Visits = []detector.Chunk[*detector.Visit]{{Pane: 30_000, Items: someVisits()}, {Pane: 20_000, Chunk: 7}}
	k.Terms, k.Until, k.Resume = "4 partitions, 1800000", -5, 18
	var records []detector.Record
	var forgotten []string
	for _, r := range EncodeKept(keptSource, 17, &k) {
		if size := len(r.Key) + len(r.Value); size > 140_000 {
			t.Errorf("a record has %d bytes", size)
		}
		if len(r.Value) > 0 {
			records = append(records, detector.Record{Key: string(r.Key), Value: r.Value})
		} else {
			forgotten = append(forgotten, strings.ReplaceAll(string(r.Key), keptSeparator, "/"))
		}
	}
	if want := []string{"ids/assessment.steps/3/-20000/1", "visits/assessment.steps/3/20000/7"}; !slices.Equal(forgotten, want) {
		t.Errorf("forgotten are %q, expected %q", forgotten, want)
	}
	got, err := DecodeKept(records)
	if err != nil {
		t.Fatal(err)
	}
	k.IDs, k.Visits = k.IDs[:2], k.Visits[:1]
	want := map[detector.Source]*KeptPartition{keptSource: {To: 17, Kept: k}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(KeptPartition{}, "Keys")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := len(got[keptSource].Keys); n != 4 {
		t.Errorf("it knows %d keys, expected 4", n)
	}
}

// However large the labels of visits are, and whatever is in them, a chunk of them fits into a record.
func TestVisitsFitIntoRecords(t *testing.T) {
	for _, value := range []string{"", "x", strings.Repeat("\x01", MaxLabel)} {
		var labels []detector.Label
		for i := range detector.MaxLabels {
			if value != "" {
				labels = append(labels, detector.Label{Name: fmt.Sprint("label_", i), Value: value})
			}
		}
		var items []*detector.Visit
		for size := 0; size < detector.MaxChunk; {
			v := &detector.Visit{
				Key: detector.IDOf(fmt.Append(nil, len(items))), Time: 1<<53 - 1, Deadline: 1<<53 - 1, Void: true, Complete: value == "",
				Labels: append([]detector.Label{{Name: "a", Value: fmt.Sprint(len(items))}}, labels...),
			}
			items, size = append(items, v), size+v.Size()
		}
		if n := len(encodeVisits(items)); n > 6*detector.MaxChunk {
			t.Errorf("%d visits with labels like %.3q take %d bytes, expected %d at most", len(items), value, n, 6*detector.MaxChunk)
		}
	}
}

func TestKeptRefusesWhatItDoesNotKnow(t *testing.T) {
	f := func(key, value, want string) {
		t.Helper()
		_, err := DecodeKept([]detector.Record{{Key: strings.ReplaceAll(key, "/", keptSeparator), Value: []byte(value)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is read with %v, expected %q", key, err, want)
		}
	}
	f("next", "1", "no partition's")
	f("kept/t/x", "{}", "invalid syntax")
	f("kept/t/0", `{"v":2,"to":3}`, "version 2, expected 1")
	f("kept/t/0", `{"v":1,"to":3,"x":1}`, "unknown field")
	f("ids/t/0/5", "\x01"+strings.Repeat("x", 16), `"ids" with 4 parts is unknown`)
	f("ids/t/0/5/0", "\x02"+strings.Repeat("x", 16), "are no ids of version 1")
	f("ids/t/0/5/0", "\x01"+strings.Repeat("x", 15), "16 bytes are no ids")
	f("ids/t/0/5/0", "\x01", "1 bytes are no ids")
	f("visits/t/0/5/0", `{"v":2,"labels":[],"visits":[]}`, "version 2, expected 1")
	f("visits/t/0/5/0", `{"v":1,"labels":[],"visits":[]}`, "there are no visits in it")
	f("visits/t/0/5/0", `{"v":1,"labels":[],"visits":[{"k":"AAAA","t":1,"d":2}]}`, "a visit has a key of 3 bytes and labels 0 of 0")
	f("visits/t/0/5/0", `{"v":1,"labels":[],"visits":[{"k":"AAAAAAAAAAAAAAAAAAAAAA==","t":1,"d":2,"l":1}]}`, "labels 1 of 0")
	f("visits/t/0/5", `{"v":1}`, `"visits" with 4 parts is unknown`)
	f("ids/t/0/5/y", "\x01"+strings.Repeat("x", 16), "invalid syntax")
}

// Whatever a record of a changelog is: an error, or what is written again as it was read.
func FuzzKept(f *testing.F) {
	k := detector.Kept{IDs: []detector.Chunk[detector.ID]{{Pane: 10_000, Chunk: 1, Items: someIDs(3)}}}
	for _, r := range EncodeKept(keptSource, 17, &k) {
		f.Add(string(r.Key), r.Value)
	}
	for _, r := range EncodeKept(keptSource, 17, &detector.Kept{Visits: []detector.Chunk[*detector.Visit]{{Pane: 1, Items: someVisits()}}}) {
		f.Add(string(r.Key), r.Value)
	}
	f.Add("ids\x1f\x1f-1\x1f1\x1f1", []byte{1})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		kept, err := DecodeKept([]detector.Record{{Key: key, Value: value}})
		if err != nil {
			return
		}
		for s, p := range kept {
			if p.To >= 0 {
				continue // JSON, in which there are many ways to write the same
			}
			again := EncodeKept(s, p.To, &p.Kept)
			if len(p.Visits) > 0 { // likewise
				twice, err := DecodeKept([]detector.Record{{Key: string(again[0].Key), Value: again[0].Value}})
				if diff := cmp.Diff(kept, twice); err != nil || diff != "" {
					t.Errorf("%q: %v, -before +again:\n%s", key, err, diff)
				}
				continue
			}
			if !bytes.Equal(again[0].Value, value) || len(again) != 2 {
				t.Errorf("%q: %x is written again as %x", key, value, again[0].Value)
			}
		}
	})
}

// Where nobody asks for ids, the key is one of those that nobody knows.
func TestIDs(t *testing.T) {
	f := func(in *Input, r Record, want string) {
		t.Helper()
		events, rejected := in.Read(&r)
		switch {
		case rejected != nil:
			if !strings.Contains(rejected.Error(), want) || want == "" {
				t.Errorf("%s is rejected: %v, expected %q", r.Value, rejected, want)
			}
		case want == "" && events[0].ID != detector.ID{} || want != "" && events[0].ID != detector.IDOf([]byte(want)):
			t.Errorf("%s has the id %x, expected that of %q", r.Value, events[0].ID, want)
		}
	}
	labels := []string{"service"}
	plain := func(text string) Record { return Record{Value: []byte(text), Time: 5} }
	off := NewInput(InputSpec{Kind: rules.KindError, Labels: labels})
	f(off, plain(`{"id":7}`), "")
	if off.Unknown()["id"] != 1 {
		t.Errorf("unknown keys are %v, expected id", off.Unknown())
	}
	on := NewInput(InputSpec{Kind: rules.KindError, Labels: labels, IDs: true})
	f(on, plain(`{"id":"a","service":"s"}`), "a")
	f(on, plain(`{"service":"s"}`), "")
	f(on, plain(`{"id":""}`), "")
	f(on, plain(`{"id":null}`), "")
	f(on, plain(`{"id":7}`), "id is 7, expected text")
	f(on, plain(`{"id":"a","id":"a"}`), "is there twice")
	f(on, plain(`{"id":"`+strings.Repeat("x", 1000)+`"}`), strings.Repeat("x", 1000))

	mapping, err := NewMapping(map[string]Field{"id": {Path: "event.number"}})
	if err != nil {
		t.Fatal(err)
	}
	f(NewInput(InputSpec{Kind: rules.KindError, Labels: labels, IDs: true, Mapping: mapping}), plain(`{"event":{"number":7}}`), "7")

	cloud := InputSpec{Kind: rules.KindError, Labels: labels, IDs: true, Format: FormatCloudEvents}
	event := `{"specversion":"1.0","id":"8","source":"/shop","type":"t","data":%s}`
	f(NewInput(cloud), plain(fmt.Sprintf(event, `{"service":"s"}`)), "/shop\x008")
	f(NewInput(cloud), plain(fmt.Sprintf(event, `{"id":"own"}`)), "own")
	binary := plain(`{"service":"s"}`)
	for _, h := range []string{"ce_specversion=1.0", "ce_id=9", "ce_source=/shop", "ce_type=t"} {
		key, value, _ := strings.Cut(h, "=")
		binary.Headers = append(binary.Headers, Header{key, []byte(value)})
	}
	f(NewInput(cloud), binary, "/shop\x009")

	// A label may have that name besides; as many labels as there can be leave room for it.
	many := []string{"id"}
	for i := range detector.MaxLabels - 1 {
		many = append(many, fmt.Sprint("l", i))
	}
	for _, labels := range [][]string{many, slices.Concat(many[1:], []string{"last"})} {
		d := NewDecoder(rules.KindError, labels)
		d.ReadIDs()
		var e detector.Event
		if r := d.Decode([]byte(`{"l3":"x","id":"a","service":"s","l38":"y"}`), 5, &e); r != nil || e.ID != detector.IDOf([]byte("a")) {
			t.Errorf("%v, %x", r, e.ID)
		}
		if labels[0] == "id" && string(e.Labels[0]) != "a" {
			t.Errorf("the label id is %q", e.Labels[0])
		}
	}
}
