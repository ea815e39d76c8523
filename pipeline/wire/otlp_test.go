package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sevwatch/rules"
)

func otlp(t testing.TB, labels ...string) *Input {
	t.Helper()
	e, err := NewEndpoints(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return NewInput(InputSpec{Format: FormatOTLP, Labels: append(rules.DefaultLabels(), labels...), Endpoints: e, MaxBytes: 1 << 20})
}

// request is an export with one resource and these spans.
func request(resource string, spans ...string) []byte {
	return fmt.Appendf(nil, `{"resourceSpans":[{"resource":{"attributes":[%s]},"scopeSpans":[{"scope":{"name":"x"},"spans":[%s]}]}]}`,
		resource, strings.Join(spans, ","))
}

// attributes are pairs of names and JSON values as OTLP writes them.
func attributes(pairs ...string) string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, fmt.Sprintf(`{"key":%q,"value":{%s}}`, pairs[i], pairs[i+1]))
	}
	return strings.Join(out, ",")
}

// span is a span of 2.003114 s that ended at 1793534403120 ms.
func span(kind, name, status string, attributes string) string {
	return fmt.Sprintf(`{"traceId":"a","spanId":"b","name":%q,"kind":%s,"startTimeUnixNano":"1793534401117000000",
		"endTimeUnixNano":"1793534403120114000","attributes":[%s],"status":%s}`, name, kind, attributes, status)
}

func TestSpans(t *testing.T) {
	in := otlp(t, "deployment_environment_name", "tenant")
	labels := append(rules.DefaultLabels(), "deployment_environment_name", "tenant")
	f := func(value []byte, want ...fields) {
		t.Helper()
		events, r := in.Read(&Record{Value: value, Time: 7})
		if r != nil {
			t.Errorf("%s: %v", value, r)
			return
		}
		var got []fields
		for i := range events {
			got = append(got, told(&events[i], labels))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", value, diff)
		}
	}
	at, took := int64(1793534403120), int64(2003114000)
	shop := attributes("service.name", `"stringValue":"shop"`, "service.version", `"stringValue":"7"`, "cloud.region", `"stringValue":"eu"`)
	base := func(more fields) fields {
		out := fields{"time": at, "kind": "latency", "service": "shop", "version": "7", "region": "eu", "value": took}
		for k, v := range more {
			if out[k] = v; v == nil {
				delete(out, k)
			}
		}
		return out
	}
	f(request(shop, span("2", "GET /answers", "{}", attributes("http.route", `"stringValue":"/v1/answers/{id}"`, "url.path", `"stringValue":"/v1/answers/7"`,
		"http.response.status_code", `"intValue":"200"`, "session.id", `"stringValue":"s1"`))),
		base(fields{"endpoint": "/v1/answers/{id}", "status_class": "2xx", "session": "s1"}))
	f(request(shop, span(`"SPAN_KIND_SERVER"`, "GET", `{"code":2,"message":"it \"broke\""}`, attributes("http.target", `"stringValue":"/v1/answers/7?x=1"`,
		"http.status_code", `"intValue":503`, "error.type", `"stringValue":"Time\"out"`))),
		base(fields{"endpoint": "/v1/answers/{id}", "status_class": "5xx"}),
		base(fields{"kind": "error", "endpoint": "/v1/answers/{id}", "error_type": `Time"out`, "value": nil}))
	f(request(shop, span("5", "orders process", `{"code":"STATUS_CODE_ERROR"}`, attributes("tenant", `"intValue":"5"`, "region", `"stringValue":"us"`,
		"deployment.environment.name", `"stringValue":"prod"`, "odd", `"arrayValue":{"values":[]}`))),
		base(fields{"endpoint": "orders process", "tenant": "5", "region": "us", "deployment_environment_name": "prod"}),
		base(fields{"kind": "error", "endpoint": "orders process", "tenant": "5", "region": "us", "deployment_environment_name": "prod", "value": nil}))
	// Callers, inner spans and producers are told of by the other side.
	f(request(shop, span("3", "a", "{}", ""), span("1", "a", `{"code":2}`, ""), span("4", "a", "{}", ""), span("0", "a", "{}", "")))
	f(request(shop, span("3", "a", "{}", ""), span("2", "a", "{}", ""), span("2", "b", "{}", "")), base(fields{"endpoint": "a"}), base(fields{"endpoint": "b"}))
	f([]byte(`{"resourceSpans":[]}`))
	f([]byte(`{"resourceSpans":[{"scopeSpans":[{}]},{}]}`))
	// What one resource says holds for it alone; one span can be a record.
	two := `{"resourceSpans":[{"resource":{"attributes":[` + shop + `]},"scopeSpans":[]},{"scopeSpans":[{"spans":[` + span("2", "a", "{}", "") + `]}]}]}`
	f([]byte(two), base(fields{"endpoint": "a", "service": nil, "version": nil, "region": nil}))
	f([]byte(span("2", "a", "{}", "")), base(fields{"endpoint": "a", "service": nil, "version": nil, "region": nil}))
	thrown := strings.Replace(span("2", "a", `{"code":2}`, ""), `"traceId"`, `"events":[{"name":"exception","attributes":[`+
		attributes("exception.type", `"stringValue":"IOError"`)+`]}],"traceId"`, 1)
	f(request(shop, thrown), base(fields{"endpoint": "a"}), base(fields{"endpoint": "a", "kind": "error", "error_type": "IOError", "value": nil}))
}

func TestSpansRejects(t *testing.T) {
	in := otlp(t)
	f := func(value string, reason Reason, detail string) {
		t.Helper()
		_, r := in.Read(&Record{Value: []byte(value), Time: 7})
		if r == nil || r.Reason != reason || !strings.Contains(r.Detail, detail) {
			t.Errorf("%.300s: %v, expected %s with %q", value, r, reason, detail)
		}
	}
	good := span("2", "a", "{}", "")
	bad := func(old, new string) string { return string(request("", good, strings.Replace(good, old, new, 1))) }
	f(`x`, NotJSON, "")
	f(`[]`, NotAnObject, "")
	f(`{}`, Missing, "resourceSpans is missing")
	f(`{"resourceSpans":5}`, WrongType, "resourceSpans is 5, expected a list")
	f(`{"resourceSpans":[5]}`, WrongType, "an item of resourceSpans is 5")
	f(`{"resourceSpans":[{"scopeSpans":{"a":1}}]}`, WrongType, "scopeSpans is")
	f(bad(`"endTimeUnixNano":"1793534403120114000",`, ""), Missing, "endTimeUnixNano is missing in the span")
	f(bad(`"1793534403120114000"`, `"0"`), Missing, "endTimeUnixNano is missing")
	f(bad(`"1793534403120114000"`, `"now"`), BadTime, `endTimeUnixNano is "now"`)
	f(bad(`"1793534403120114000"`, `-5`), BadTime, "endTimeUnixNano is -5")
	f(bad(`"1793534403120114000"`, `"17935344031201140000"`), BadTime, "endTimeUnixNano")
	f(bad(`"1793534403120114000"`, `"1793534401116999999"`), OutOfRange, "event 2 of 2: duration_ms is -1e-6")
	f(string(request("", span("2", "a", "{}", attributes("http.status_code", `"intValue":"7"`)))), OutOfRange, "status is 7")
	f(string(request("", span("2", "a", "{}", attributes("http.status_code", `"stringValue":"OK"`)))), WrongType, `status is "OK"`)
	f(string(request("", span("2", "a", "{}", attributes("service.name", `"stringValue":"`+strings.Repeat("x", 300)+`"`)))), OutOfRange, "service has 300")
	small := `{"kind":2,"startTimeUnixNano":1,"endTimeUnixNano":1}`
	f(string(request("", strings.Repeat(small+",", MaxEvents)+small)), TooLarge, "10001 events, at most 10000")
}

// The events of a record do not overwrite one another.
func TestSpansKeepTheirTexts(t *testing.T) {
	in := otlp(t)
	for round := range 3 {
		var spans []string
		for i := range 50 {
			spans = append(spans, span("2", fmt.Sprintf("op\"%d.%d", round, i), "{}", attributes("session.id", fmt.Sprintf(`"stringValue":"\u0041%d"`, i))))
		}
		events, r := in.Read(&Record{Value: request("", spans...)})
		if r != nil {
			t.Fatal(r)
		}
		for i := range events {
			if got, want := string(events[i].Labels[1]), fmt.Sprintf("op\"%d.%d", round, i); got != want || string(events[i].Session) != fmt.Sprintf("A%d", i) {
				t.Fatalf("the event %d is %q of %q, expected %q", i, got, events[i].Session, want)
			}
		}
	}
}

func FuzzSpans(f *testing.F) {
	shop := attributes("service.name", `"stringValue":"shop"`)
	f.Add(request(shop, span("2", "a", `{"code":2,"message":"x"}`, attributes("http.route", `"stringValue":"/a"`)), span("3", "b", "{}", "")))
	f.Add([]byte(span(`"SPAN_KIND_CONSUMER"`, "a", "{}", attributes("http.status_code", `"intValue":"200"`))))
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":{"a":1}}]}`))
	f.Add([]byte(`{"endTimeUnixNano":1e5,"startTimeUnixNano":"1","kind":2,"attributes":{"key":"service.name","value":{"stringValue":"x"}}}`))
	in := otlp(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		events, r := in.Read(&Record{Value: value, Time: 7})
		switch {
		case r != nil && (r.Detail == "" || len(r.Detail) > 800):
			t.Errorf("the detail is %q", r.Detail)
		case r == nil && !json.Valid(value):
			t.Errorf("%s is taken", value)
		}
		for i := range events {
			if k := events[i].Kind; k != rules.KindLatency && k != rules.KindError || events[i].Time > maxTime {
				t.Errorf("the event %d is %v", i, events[i])
			}
		}
	})
}

// A hundred spans of one service.
func BenchmarkSpans(b *testing.B) {
	in := otlp(b)
	var spans []string
	for i := range 100 {
		spans = append(spans, span("2", "a", "{}", attributes("http.route", `"stringValue":"/v1/answers"`, "http.response.status_code", `"intValue":"200"`,
			"session.id", fmt.Sprintf(`"stringValue":"s%d"`, i))))
	}
	value := request(attributes("service.name", `"stringValue":"shop"`), spans...)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		events, r := in.Read(&Record{Value: value})
		if r != nil || len(events) != 100 {
			b.Fatal(r, len(events))
		}
	}
}
