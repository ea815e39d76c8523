package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"

	"sevwatch/detector"
	"sevwatch/rules"
)

// shop is a mapping with a field of every sort.
func shop(t testing.TB) *Input {
	t.Helper()
	m, err := NewMapping(map[string]Field{
		"time":        {Path: "ts", Unit: Seconds},
		"kind":        {Path: "type", Const: "latency", Values: map[string]string{"oops": "error", "page": "vital"}},
		"service":     {Const: "shop"},
		"endpoint":    {Path: "request.path"},
		"region":      {Path: `labels.cloud\.region`},
		"version":     {Path: "build"},
		"status":      {Path: "response.status"},
		"duration_ms": {Path: "took", Unit: Microseconds},
		"error_type":  {Path: `tags.#(key=="error").value`},
		"name":        {Path: "metric"},
		"value":       {Path: "reading", Unit: Percent},
		"session":     {Path: "who"},
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEndpoints([]string{"/shop/{item}"}, true)
	if err != nil {
		t.Fatal(err)
	}
	return NewInput(InputSpec{Labels: rules.DefaultLabels(), Mapping: m, Endpoints: e})
}

// told is an event as a test can show it.
func told(e *detector.Event, labels []string) map[string]any {
	out := map[string]any{"time": e.Time, "kind": e.Kind.String()}
	for i, value := range e.Labels {
		if len(value) > 0 {
			out[labels[i]] = string(value)
		}
	}
	if e.HasValue {
		out["value"] = e.Value
	}
	if len(e.Session) > 0 {
		out["session"] = string(e.Session)
	}
	return out
}

// readOne reads a record that is one event, or none.
func readOne(in *Input, r *Record) (*detector.Event, *Reject) {
	events, rejected := in.Read(r)
	if rejected != nil {
		return nil, rejected
	}
	return &events[0], nil
}

type fields = map[string]any

func TestMapping(t *testing.T) {
	in := shop(t)
	f := func(record string, want fields) {
		t.Helper()
		e, rejected := readOne(in, &Record{Value: []byte(record), Time: 7})
		if rejected != nil {
			t.Errorf("%s: %v", record, rejected)
			return
		}
		if diff := cmp.Diff(want, told(e, rules.DefaultLabels())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", record, diff)
		}
	}
	f(`{"ts":1793534403.1205,"request":{"path":"/v1/answers/123?x=1"},"response":{"status":"503"},"took":2003114.5,"who":"a\u0041","build":3,
		"labels":{"cloud.region":"eu"},"tags":[{"key":"x","value":"1"},{"key":"error","value":"Time\"out"}],"other":[1,{"a":null}]}`,
		fields{
			"time": int64(1793534403120), "kind": "latency", "service": "shop", "endpoint": "/v1/answers/{id}", "status_class": "5xx",
			"value": int64(2003114500), "session": "aA", "version": "3", "region": "eu", "error_type": `Time"out`,
		})
	f(`{"type":"oops","request":{"path":"/shop/boots"},"build":true}`,
		fields{"time": int64(7), "kind": "error", "service": "shop", "endpoint": "/shop/{item}", "version": "true"})
	f(`{"type":"page","metric":"cpu","reading":83.5,"ts":"1793534403","took":null}`,
		fields{"time": int64(1793534403000), "kind": "vital", "service": "shop", "name": "cpu", "value": int64(835000)})
	f(`{"type":"resource","metric":"cpu","reading":"1.5e2"}`,
		fields{"time": int64(7), "kind": "resource", "service": "shop", "name": "cpu", "value": int64(1500000)})
	f(`{"took":0}`, fields{"time": int64(7), "kind": "latency", "service": "shop", "value": int64(0)})
	f(`{"took":1e-9}`, fields{"time": int64(7), "kind": "latency", "service": "shop", "value": int64(0)})
	f(`{"took":1,"took":2}`, fields{"time": int64(7), "kind": "latency", "service": "shop", "value": int64(1000)})
}

func TestMappingRejects(t *testing.T) {
	in := shop(t)
	f := func(record string, reason Reason, detail string) {
		t.Helper()
		_, r := in.Read(&Record{Value: []byte(record), Time: 7})
		if r == nil || r.Reason != reason || !strings.Contains(r.Detail, detail) {
			t.Errorf("%s: %v, expected %s with %q", record, r, reason, detail)
		}
	}
	f(``, NotJSON, "ends after 0 bytes")
	f(`{"took":1`, NotJSON, "ends after 9 bytes")
	f(`{"took":1}}`, NotJSON, `unexpected '}'`)
	f(`[{"took":1}]`, NotAnObject, "no object")
	f(`"took"`, NotAnObject, "no object")
	f(`{"took":1,"x":"`+"\xff"+`"}`, BadUTF8, "")
	f(`{"x":`+strings.Repeat("[", 100_00)+strings.Repeat("]", 100_00)+`}`, NotJSON, "nested")
	f(`{"took":"soon"}`, WrongType, `duration_ms (took) is "soon", expected a number`)
	f(`{"took":true}`, WrongType, "duration_ms (took) is true")
	f(`{"took":-1}`, OutOfRange, "duration_ms is -1e-3, expected 0 or more")
	f(`{"took":1e30}`, OutOfRange, "duration_ms")
	f(`{"took":1,"request":{"path":{"a": 1}}}`, WrongType, `endpoint (request.path) is {"a": 1}, expected text`)
	f(`{"took":1,"build":["a",
		"b"]}`, WrongType, `version (build) is ["a", "b"], expected text`)
	f(`{"took":1,"ts":"yesterday"}`, WrongType, `time (ts) is "yesterday", expected a number, in s`)
	f(`{"took":1,"ts":-1}`, BadTime, "time (ts) is -1, expected the time since 1970 in s, up to 2262")
	f(`{"took":1,"ts":1e10}`, BadTime, "time (ts) is 1e10")
	f(`{"took":1,"response":{"status":99}}`, OutOfRange, "status is 99")
	f(`{"type":"sale"}`, UnknownValue, `kind is "sale"`)
	f(`{}`, Missing, "duration_ms is missing")
	f(`{"type":"page","reading":1}`, Missing, "name is missing")
	f(`{"took":1,"build":"`+strings.Repeat("x", 300)+`"}`, OutOfRange, "version has 300 bytes")
	f(`{"took":1,"request":{"path":"/shop/x?`+strings.Repeat("x", 70_000)+`"}}`, TooLarge, "at most 65536")
	if _, r := in.Read(&Record{Value: []byte(`{"took":1,"request":{"path":"/shop/x?` + strings.Repeat("x", 3000) + `"}}`), Time: 7}); r != nil {
		t.Errorf("a long query is part of no endpoint, and yet: %v", r)
	}
}

func TestTimeUnits(t *testing.T) {
	f := func(unit Unit, value string, want int64) {
		t.Helper()
		m, err := NewMapping(map[string]Field{"time": {Path: "t", Unit: unit}, "kind": {Const: "error"}})
		if err != nil {
			t.Fatal(err)
		}
		e, r := readOne(NewInput(InputSpec{Mapping: m}), &Record{Value: []byte(`{"t":` + value + `}`), Time: -1})
		if r != nil || e.Time != want {
			t.Errorf("%s %s is %d, %v, expected %d", value, unit, e.Time, r, want)
		}
	}
	f("", `1793534403120`, 1793534403120)
	f("", `"1793534403120"`, 1793534403120)
	f("", `"2026-11-01T12:00:03.12Z"`, 1793534403120)
	f(Milliseconds, `1793534403120.9`, 1793534403120)
	f(Seconds, `1793534403`, 1793534403000)
	f(Seconds, `1793534403.1209`, 1793534403120)
	f(Seconds, `1.793534403e9`, 1793534403000)
	f(Microseconds, `1793534403120999`, 1793534403120)
	f(Nanoseconds, `"1793534403120999999"`, 1793534403120)
	f(Nanoseconds, `1793534403120999999`, 1793534403120)
	f(Nanoseconds, `0`, 0)
}

func TestLongLabelsAreCut(t *testing.T) {
	in := NewInput(InputSpec{Kind: rules.KindError, Labels: []string{"service", "error_type"}, CutLong: true})
	e, r := readOne(in, &Record{Value: []byte(`{"service":"` + strings.Repeat("é", 200) + `"}`), Time: 7})
	if r != nil || string(e.Labels[0]) != strings.Repeat("é", 128) {
		t.Errorf("got %v, %d bytes", r, len(e.Labels[0]))
	}
	e, r = readOne(in, &Record{Value: []byte(`{"service":"x` + strings.Repeat("é", 200) + `"}`), Time: 7})
	if r != nil || string(e.Labels[0]) != "x"+strings.Repeat("é", 127) {
		t.Errorf("got %v, %d bytes", r, len(e.Labels[0]))
	}
}

func TestDropLabels(t *testing.T) {
	long := strings.Repeat("x", MaxLabel+1)
	record := []byte(`{"service":"a","version":"b","region":"` + long + `","status":503}`)
	f := func(drop []string, want fields) {
		t.Helper()
		in := NewInput(InputSpec{Kind: rules.KindError, Labels: rules.DefaultLabels(), Drop: drop})
		e, r := readOne(in, &Record{Value: record, Time: 7})
		if r != nil {
			t.Fatal(r)
		}
		if diff := cmp.Diff(want, told(e, rules.DefaultLabels())); diff != "" {
			t.Errorf("an input that drops %v (-want +got):\n%s", drop, diff)
		}
		d := NewDecoder(rules.KindError, rules.DefaultLabels())
		d.Drop(drop)
		for range 2 { // the second time it knows the order of the keys
			if r := d.Decode(record, 7, e); r != nil {
				t.Fatal(r)
			}
			if diff := cmp.Diff(want, told(e, rules.DefaultLabels())); diff != "" {
				t.Errorf("a decoder that drops %v (-want +got):\n%s", drop, diff)
			}
		}
	}
	f([]string{"region"}, fields{"time": int64(7), "kind": "error", "service": "a", "version": "b", "status_class": "5xx"})
	f([]string{"service", "step", "region", "status_class"}, fields{"time": int64(7), "kind": "error", "version": "b"})
}

func TestMappingMistakes(t *testing.T) {
	f := func(name string, field Field, want string) {
		t.Helper()
		if _, err := NewMapping(map[string]Field{name: field}); err == nil || err.Error() != want {
			t.Errorf("%s %+v: %v, expected %s", name, field, err, want)
		}
	}
	f("service", Field{}, "service.path: none, expected a path or a const")
	f("service", Field{Path: "a", Unit: "s"}, `service.unit: "s", expected none: it has no unit`)
	f("status", Field{Path: "a", Unit: "s"}, `status.unit: "s", expected none: it has no unit`)
	f("time", Field{Path: "a", Unit: "h"}, `time.unit: "h", expected one of ms, ns, s, us`)
	f("value", Field{Path: "a", Unit: "%"}, `value.unit: "%", expected one of fraction, ms, ns, percent, s, us`)
	f("time", Field{Path: "a", Const: "5"}, "time.const: expected none: a time is not the same for all")
	f("score", Field{Const: "good"}, `score.const: "good", expected a number`)
	f("score", Field{Path: "a", Values: map[string]string{"a": "b"}}, "score.values: expected none: they are for texts")
	f("kind", Field{Const: "errors"}, `kind.const: "errors", expected one of error, latency, step, vital, resource, satisfaction, change`)
	f("kind", Field{Path: "a", Values: map[string]string{"a": "b"}},
		`kind.values.a: "b", expected one of error, latency, step, vital, resource, satisfaction, change`)
	f("step", Field{Path: "a.@reverse"}, `step.path: "a.@reverse", expected keys, numbers of array items and #(key=="value"): put a \ before '@' in a key`)
	f("step", Field{Path: "{a,b}"}, `step.path: "{a,b}", expected keys, numbers of array items and #(key=="value"): put a \ before '{' in a key`)
	f("step", Field{Path: ".a"}, `step.path: ".a", expected a GJSON path such as request.headers.0.name`)
	f("step", Field{Path: "a.#(b==1"}, `step.path: "a.#(b==1", expected a GJSON path such as request.headers.0.name`)
	if _, err := NewMapping(map[string]Field{"step": {Path: `\@a.b@c.x!`}}); err != nil {
		t.Error(err)
	}
}

// A mapping of every key to itself gives the event that the decoder gives.
func TestMappingToItself(t *testing.T) {
	own := map[string]Field{}
	for _, key := range EventKeys() {
		own[key] = Field{Path: key}
	}
	m, err := NewMapping(own)
	if err != nil {
		t.Fatal(err)
	}
	mapped := NewInput(InputSpec{Labels: rules.DefaultLabels(), Mapping: m})
	plain := NewDecoder(rules.NoKind, rules.DefaultLabels())
	both := func(kind uint8, at uint32, duration float64, service, session string, status uint16) bool {
		record, err := json.Marshal(map[string]any{
			"time": at, "kind": rules.Kinds()[int(kind)%3], "duration_ms": duration, "service": service, "session": session, "step": "a",
			"status": status, "action": "enter",
		})
		if err != nil {
			t.Fatal(err)
		}
		var e detector.Event
		want := plain.Decode(record, -1, &e)
		got, r := readOne(mapped, &Record{Value: record, Time: -1})
		if want != nil || r != nil {
			return want != nil && r != nil && want.Reason == r.Reason
		}
		return cmp.Equal(&e, got)
	}
	if err := quick.Check(both, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestMappingAllocatesNothing(t *testing.T) {
	in := shop(t)
	record := []byte(`{"ts":1793534403.1205,"request":{"path":"/v1/answers/123?x=1"},"response":{"status":200},"took":2003114,"who":"a","build":3}`)
	if n := testing.AllocsPerRun(100, func() { _, _ = in.Read(&Record{Value: record, Time: 7}) }); n > 0 {
		t.Errorf("%.0f allocations a record, expected none", n)
	}
}

// Whatever the record: an event that is within its bounds, or a reason.
func FuzzMapping(f *testing.F) {
	for _, record := range []string{
		`{"ts":1793534403.1205,"request":{"path":"/v1/answers/123?x=1"},"response":{"status":"503"},"took":2003114.5}`,
		`{"labels":{"cloud.region":"eu"},"tags":[{"key":"error","value":"a"}],"took":1}`, `{"type":"page","metric":"cpu","reading":"8e1"}`,
		`{"took":1e999999999999999999}`, `{"ts":1e-99999999999,"took":-0}`, `{"\u0074ook":5}`, `[]`, ``, `{"tags":5,"took":"\u0031"}`,
	} {
		f.Add([]byte(record))
	}
	in := shop(f)
	f.Fuzz(func(t *testing.T, record []byte) {
		e, r := readOne(in, &Record{Value: record, Time: 7})
		if r != nil {
			if r.Detail == "" || len(r.Detail) > 600 {
				t.Errorf("the detail is %q", r.Detail)
			}
			return
		}
		if e.Time < 0 || e.Time > maxTime || e.Kind == rules.NoKind || !json.Valid(record) {
			t.Errorf("%s is the event %v", record, told(e, rules.DefaultLabels()))
		}
		for i, label := range e.Labels {
			if len(label) > MaxLabel {
				t.Errorf("the label %d has %d bytes", i, len(label))
			}
		}
	})
}

func BenchmarkMapping(b *testing.B) {
	in := shop(b)
	record := []byte(`{"ts":1793534403.1205,"request":{"path":"/v1/answers/123?x=1"},"response":{"status":200},"took":2003114,"who":"a","build":3}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(record)))
	for b.Loop() {
		if _, r := in.Read(&Record{Value: record, Time: 7}); r != nil {
			b.Fatal(r)
		}
	}
}
