package wire_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

func TestProgressIsNeverNull(t *testing.T) {
	f := func(p detector.Progress, want string) {
		t.Helper()
		got := wire.EncodeProgress(p)
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		again, err := wire.DecodeProgress(got)
		if err != nil {
			t.Fatal(err)
		}
		if second := wire.EncodeProgress(*again); string(second) != want {
			t.Errorf("after a round trip: %s", second)
		}
	}
	f(detector.Progress{V: 1, Tasks: 1}, `{"v":1,"task":0,"tasks":1,"set":{"version":0,"topics":{}},"partitions":[],"events":[],"silent":[]}`)
	_, p := aggregated(t, `{"kind":"error"}`)
	p.Set = detector.PartitionSet{Version: 1, Topics: map[string]int{"t": 1}}
	f(p, `{"v":1,"task":0,"tasks":1,"set":{"version":1,"topics":{"t":1}},"partitions":[{"topic":"t","partition":0,"from":0,"to":1,`+
		`"watermark":1793534390000,"counted":1,"late":0,"rejected":0,"duplicate":0,"control":0,"aborted":0}],`+
		`"events":[{"pane":1793534400000,"events":1}],"silent":[]}`)
}

// TestMark: what does not apply is left out, and comes back as nothing; 0 and the smallest time are times.
func TestMark(t *testing.T) {
	f := func(m wire.Mark, want string) {
		t.Helper()
		got := wire.JSON(m)
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		again, err := wire.DecodeMark(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, *again); diff != "" {
			t.Errorf("it comes back as another (-want +got):\n%s", diff)
		}
	}
	zero, least := int64(0), int64(math.MinInt64)
	f(wire.Mark{V: 1}, `{"v":1,"task":0}`)
	f(wire.Mark{V: 1, Task: 3, Low: &zero, High: &least}, `{"v":1,"task":3,"low":0,"high":-9223372036854775808}`)
	idle := detector.Idle{Source: detector.Source{Topic: "a", Partition: 2}, Before: 9, To: 5}
	f(wire.Mark{V: 1, Idle: []detector.Idle{idle}}, `{"v":1,"task":0,"idle":[{"topic":"a","partition":2,"before":9,"to":5}]}`)
}

// TestInsideIsStrict: what is unknown inside was written by a newer version, and must not be half understood.
func TestInsideIsStrict(t *testing.T) {
	decoders := map[string]func([]byte) error{
		"mark":     func(b []byte) error { _, err := wire.DecodeMark(b); return err },
		"progress": func(b []byte) error { _, err := wire.DecodeProgress(b); return err },
		"control":  func(b []byte) error { _, err := wire.DecodeControl(b, rules.Options{}); return err },
	}
	f := func(which, in, want string) {
		t.Helper()
		err := decoders[which]([]byte(in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %s: the error is %v, expected %q in it", which, in, err, want)
		}
	}
	for which := range decoders {
		f(which, ``, "cannot read the record")
		f(which, `null`, "of version 0, expected 1")
		f(which, `[]`, "cannot read the record")
		f(which, `{}`, "of version 0, expected 1")
		f(which, `{"v":2}`, "of version 2, expected 1")
		f(which, `{"v":1,"new":true}`, `unknown field "new"`)
		f(which, `{"v":1} {"v":1}`, "something stands behind it")
		f(which, `{"v":1}x`, "something stands behind it")
		f(which, `{"v":"1"}`, "cannot read the record")
	}
	f("control", `{"v":1,"time":"yesterday"}`, "cannot read the record")
	f("control", `{"v":1,"time":1793534590000}`, "cannot read the record")
	f("mark", `{"v":1,"idle":[{"topic":"a","partition":0,"before":1,"to":2,"until":3}]}`, `unknown field "until"`)
}
