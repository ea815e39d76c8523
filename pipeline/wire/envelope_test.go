package wire

import (
	"strings"
	"testing"

	"sevwatch/rules"
)

// cloudEvents reads CloudEvents whose data is an error of our own shape.
func cloudEvents(t testing.TB, fields map[string]Field) *Input {
	t.Helper()
	spec := InputSpec{Format: FormatCloudEvents, Kind: rules.KindError, Labels: []string{"service", "error_type"}}
	if fields != nil {
		var err error
		if spec.Mapping, err = NewMapping(fields); err != nil {
			t.Fatal(err)
		}
	}
	return NewInput(spec)
}

func headers(pairs ...string) []Header {
	var out []Header
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Header{pairs[i], []byte(pairs[i+1])})
	}
	return out
}

const anEvent = `{"service":"api","error_type":"Boom"}`

func TestCloudEventsOfBothModes(t *testing.T) {
	own := cloudEvents(t, nil)
	mapped := cloudEvents(t, map[string]Field{
		"time": {Path: "time"}, "service": {Path: "source"}, "error_type": {Path: "data.error_type", Const: "none"},
	})
	f := func(in *Input, h []Header, value string, at int64, service, errorType string) {
		t.Helper()
		e, r := readOne(in, &Record{Value: []byte(value), Headers: h, Time: 7})
		if r != nil {
			t.Errorf("%v %s: %v", h, value, r)
			return
		}
		if e.Time != at || string(e.Labels[0]) != service || string(e.Labels[1]) != errorType {
			t.Errorf("%v %s is %d %q", h, value, e.Time, e.Labels)
		}
	}
	binary := headers("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s\"", "ce_type", "t")
	timed := append(headers("ce_time", "1970-01-01T00:00:01Z", "content-type", "application/json"), binary...)
	f(own, binary, anEvent, 7, "api", "Boom")
	f(own, timed, anEvent, 1000, "api", "Boom")
	f(own, timed, `{"time":5,"service":"api"}`, 5, "api", "")
	f(own, headers("ce_specversion", "1.0", "ce_specversion", "0.3", "content-type", "application/vnd.x+json"), anEvent, 7, "api", "Boom")
	f(mapped, timed, anEvent, 1000, `/s"`, "Boom")
	f(mapped, binary, "", 7, `/s"`, "none")
	f(mapped, append(headers("content-type", "text/plain"), binary...), "it broke", 7, `/s"`, "none")

	f(mapped, binary, "[1]", 7, `/s"`, "none")
	structured := `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"1970-01-01T00:00:01Z","data":` + anEvent + "} "
	for _, h := range [][]Header{
		nil, headers("content-type", "application/cloudevents+json; charset=UTF-8"), headers("Content-Type", "x"),
		headers("content-type", "Application/CloudEvents+JSON", "ce_specversion", "0.3"),
	} {
		f(own, h, structured, 1000, "api", "Boom")
		f(mapped, h, structured, 1000, "/s", "Boom")
	}
	based := `{"specversion":"1.0","source":"/s","data_base64":"eyJzZXJ2aWNlIjoiYXBpIiwiZXJyb3JfdHlwZSI6IkJvb20ifQ=="}`
	f(own, nil, based, 7, "api", "Boom")
	f(mapped, nil, based, 7, "/s", "Boom")
}

func TestCloudEventsRejects(t *testing.T) {
	in := cloudEvents(t, nil)
	f := func(h []Header, value string, reason Reason, detail string) {
		t.Helper()
		_, r := in.Read(&Record{Value: []byte(value), Headers: h, Time: 7})
		if r == nil || r.Reason != reason || !strings.Contains(r.Detail, detail) {
			t.Errorf("%v %s: %v, expected %s with %q", h, value, r, reason, detail)
		}
	}
	f(nil, anEvent, Missing, "specversion is missing")
	f(nil, `{"specversion":"0.3"}`, UnknownValue, `specversion is "0.3", expected 1.0`)
	f(nil, `{"specversion":1.0}`, UnknownValue, "specversion is 1.0")
	f(headers("ce_specversion", "0.3"), anEvent, UnknownValue, `specversion is "0.3"`)
	f(nil, `{"specversion":"1.0"}`, Missing, "data is missing")
	f(nil, `{"specversion":"1.0","data":"x"}`, Missing, "data is missing or no JSON object")
	f(nil, `{"specversion":"1.0","data_base64":"%"}`, WrongType, "data_base64 is no base64")
	f(nil, `{"specversion":"1.0","data_base64":"eA=="}`, NotJSON, "")
	f(nil, `{"specversion":"1.0","datacontenttype":"text/plain","data_base64":"/w=="}`, BadUTF8, "the data is text/plain")
	f(nil, `{"specversion":"1.0","time":"today","data":{}}`, BadTime, `time is "today"`)
	f(nil, `{"specversion":"1.0"`, NotJSON, "ends")
	f(nil, `[]`, NotAnObject, "")
	f(headers("content-type", "application/cloudevents-batch+json"), `[]`, UnknownValue, "expected application/cloudevents+json")
	f(headers("content-type", "application/cloudevents+avro"), `x`, UnknownValue, "expected application/cloudevents+json")
	f(headers("ce_specversion", "1.0"), `x`, NotJSON, "")
	f(headers("ce_specversion", "1.0"), `5`, Missing, "no JSON object")
	f(headers("ce_specversion", "1.0", "content-type", "image/png"), "\xff", BadUTF8, "image/png")
	f(headers("ce_specversion", "1.0"), ``, Missing, "data is missing")
	f(headers("ce_specversion", "1.0"), `{"service":5}`, WrongType, "service is 5")
}

// Whatever the headers and the value: an event, or a reason.
func FuzzCloudEvents(f *testing.F) {
	f.Add("", "", "", []byte(`{"specversion":"1.0","data":{"service":"api"}}`))
	f.Add("1.0", "1970-01-01T00:00:01Z", "application/json", []byte(anEvent))
	f.Add("1.0", "x", "text/plain", []byte("it broke"))
	f.Add("", "", "application/cloudevents+json", []byte(`{"specversion":"1.0","data_base64":"e30="}`))
	f.Add("", "", "", []byte(`{"specversion":"1.0","data_base64":"e30="}}`))
	own := cloudEvents(f, nil)
	mapped := cloudEvents(f, map[string]Field{"service": {Path: "data.service"}, "error_type": {Path: "datacontenttype"}})
	f.Fuzz(func(t *testing.T, version, at, media string, value []byte) {
		r := &Record{Value: value, Time: 7}
		for _, h := range []Header{{"ce_specversion", []byte(version)}, {"ce_time", []byte(at)}, {"content-type", []byte(media)}} {
			if len(h.Value) > 0 {
				r.Headers = append(r.Headers, h)
			}
		}
		_, first := own.Read(r)
		e, second := readOne(mapped, r)
		if first == nil && second == nil && e.Kind != rules.KindError {
			t.Errorf("the kind is %s", e.Kind)
		}
		for _, rejected := range []*Reject{first, second} {
			if rejected != nil && (rejected.Detail == "" || len(rejected.Detail) > 800) {
				t.Errorf("the detail is %q", rejected.Detail)
			}
		}
	})
}
