package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// queried are two minutes of events: errors of three types, requests of two services, visits to two steps, and a rejected line.
func queried(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	event := func(at time.Duration, rest string, args ...any) {
		fmt.Fprintf(&b, "{\"time\":\"%s\",%s}\n", time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).Add(at).Format(time.RFC3339), fmt.Sprintf(rest, args...))
	}
	for i := range 120 {
		at := time.Duration(i) * time.Second
		event(at, `"kind":"latency","service":"api","endpoint":"/a","status":%d,"duration_ms":%d`, 200+300*(i%4/3), 100+i)
		if i%2 == 0 {
			event(at, `"kind":"latency","service":"web","status":200,"duration_ms":20`)
		}
		if i >= 60 {
			event(at, `"kind":"error","service":"api","error_type":"%s"`, []string{"timeout", "timeout", "refused"}[i%3])
		}
		if i%10 == 0 {
			event(at, `"kind":"step","step":"questions","action":"enter"`)
		}
		if i%20 == 0 {
			event(at, `"kind":"step","step":"questions","action":"complete","dwell_ms":9000`)
		}
	}
	event(2*time.Minute, `"kind":"nonsense"`)
	return write(t, "events.ndjson", []byte(b.String()))
}

func TestQuery(t *testing.T) {
	file := queried(t)
	f := func(want string, args ...string) {
		t.Helper()
		code, stdout, stderr := call(t, "", append(append([]string{"query"}, args...), file)...)
		if code != exitDone || stdout != want {
			t.Errorf("query %v: %d, %s; got\n%sexpected\n%s", args, code, stderr, stdout, want)
		}
	}
	f("error_type  events  per s   share\n"+
		"timeout     40      0.3333  66.67 %\n"+
		"refused     20      0.1667  33.33 %\n", "error", "--by", "error_type")
	f("error_type  events  per s   share\n"+
		"timeout     40      0.6667  66.67 %\n"+
		"refused     20      0.3333  33.33 %\n", "error", "--by", "error_type", "--last", "1m")
	f("service  events  per s  failed  share  mean   p50    p95  p99    max\n"+
		"api      120     1      30      25 %   159.5  160.7  213  217.6  219\n"+
		"web      60      0.5    0       0 %    20     20     20   20     20\n", "latency", "--by", "service")
	f("events  per s  failed  share    mean  p50    p95  p99    max\n"+
		"90      1.5    15      16.67 %  133   175.2  213  217.6  219\n", "latency", "--from", "2026-11-01T12:01:00Z")
	f("", "satisfaction", "--by", "service")
	f("step       events  per s  entered  completed  abandoned  completion  mean  p50   p95   p99   max\n"+
		"questions  18      0.15   12       6          0          50 %        9000  9000  9000  9000  9000\n", "step", "--by", "step")
	f("from                  endpoint  events  per s  share\n"+
		"2026-11-01T12:01:00Z  -         60      1      100 %\n", "error", "--by", "endpoint", "--every", "1m")
	f(`{"labels":{"service":"api"},"events":60,"per_s":0.5,"share":1}`+"\n", "error", "--by", "service", "--format", "ndjson")
	f(`{"start":"2026-11-01T12:01:00.000Z","labels":{},"events":20,"per_s":0.3333,"share":1}`+"\n", `error{error_type="refused"}`, "--every", "1m", "--format", "ndjson")

	wrong := func(want string, args ...string) {
		t.Helper()
		code, stdout, stderr := call(t, "", append(append([]string{"query"}, args...), file)...)
		expect(t, strings.Join(args, " "), exitUsage, code, stderr, want)
		if stdout != "" {
			t.Errorf("query %v prints %s", args, stdout)
		}
	}
	wrong(`the selector is "errors": expected a selector that begins with a kind`, "errors")
	wrong(`there is no label "servce", expected one of service, endpoint`, "error", "--by", "servce")
	wrong(`there is no label "x", expected one of`, `error{x="y"}`)
	wrong(`--by has the label "service" twice`, "error", "--by", "service,service")
	wrong("--last is 15s, expected a multiple of the pane of 10s", "error", "--last", "15s")
	wrong("--every is 0s, expected a multiple", "error", "--every", "0s")
	wrong("--last and --from both say where to begin", "error", "--last", "1m", "--from", "2026-11-01")
}
