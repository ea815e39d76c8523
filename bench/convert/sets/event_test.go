package sets

import (
	"encoding/json"
	"testing"
)

func TestEventJSON(t *testing.T) {
	f := func(e Event, want string) {
		t.Helper()
		got := string(e.AppendJSON(nil))
		if got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %s", got)
		}
	}
	f(Event{TimeMs: 1_674_981_729_488, Kind: Latency, Service: "a", Endpoint: "/x", DurationMs: 122.611, Status: 500},
		`{"time":"2023-01-29T08:42:09.488Z","kind":"latency","service":"a","endpoint":"/x","status":500,"duration_ms":122.611}`)
	f(Event{Kind: Latency, Service: "a"},
		`{"time":"1970-01-01T00:00:00.000Z","kind":"latency","service":"a","duration_ms":0}`)
	f(Event{TimeMs: 60_000, Kind: Error, Service: "a", ErrorType: "E", Message: "say \"no\"\n\\ é"},
		`{"time":"1970-01-01T00:01:00.000Z","kind":"error","service":"a","error_type":"E","message":"say \"no\"\n\\ é"}`)
	f(Event{Kind: Step, Service: "s", Step: "cart", Session: "7", Action: Complete, DwellMs: 1500, Labels: syntheticTimes},
		`{"time":"1970-01-01T00:00:00.000Z","kind":"step","service":"s","step":"cart","session":"7","action":"complete","dwell_ms":1500,"synthetic_times":"true"}`)
}
