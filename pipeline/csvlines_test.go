package pipeline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

func csvFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.csv")
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func replayCSV(t *testing.T, text string, source *SourceConfig) (sum Summary, rejected []int64, series map[string]int64, err error) {
	t.Helper()
	return replayRows(t, csvFile(t, text), source)
}

// replayRows replays a file and gives what was rejected and what was counted of each kind and service.
func replayRows(t *testing.T, path string, source *SourceConfig) (sum Summary, rejected []int64, series map[string]int64, err error) {
	t.Helper()
	name, data := rules.Runbook()
	file, err := rules.Parse(name, data, rules.Options{})
	check(t, err)
	series = map[string]int64{}
	r := Replay{
		Config: detector.DefaultConfig(), Rules: file, Files: []string{path}, Source: source, Output: func(detector.Output) error { return nil },
		Rejected: func(o wire.Origin, _ *wire.Reject) { rejected = append(rejected, o.Offset) },
		Delta: func(d *detector.Delta) {
			for _, s := range d.Series {
				key := s.Kind.String()
				for _, l := range s.Labels {
					key += " " + l.Name + "=" + l.Value
				}
				series[key] += s.Count*1000 + s.Max/1e6
			}
		},
	}
	sum, err = r.Run(t.Context())
	return sum, rejected, series, err
}

func TestCSV(t *testing.T) {
	sum, rejected, series, err := replayCSV(t, "\ufefftime,kind,service,version,status,duration_ms\n"+
		"1793534400000,latency,api,17,200,12.5\n"+
		"2026-11-01T12:00:01Z,latency,\"a \"\"b\"\", c\",,500,30\n"+
		"1793534402000,latency,api,17,200\n"+ // a cell too few
		"1793534402000,latency,\"api,17,200,3\n"+ // a quote that never ends
		"1793534402000,latency,api,17,fast,3\n"+ // no number
		"\n"+
		"1793534403000,error,api,17,,\n", nil)
	if err != nil || sum.Totals.Counted != 3 || sum.Totals.Rejected != 3 || len(rejected) != 3 || rejected[0] != 3 || rejected[2] != 5 {
		t.Errorf("%+v, rejected lines %v, %v", sum.Totals, rejected, err)
	}
	for key, want := range map[string]int64{
		"latency service=api status_class=2xx version=17": 1012, `latency service=a "b", c status_class=5xx`: 1030, "error service=api version=17": 1000,
	} {
		if series[key] != want {
			t.Errorf("%s is %d, expected %d, in %v", key, series[key], want, series)
		}
	}
}

// The fields of a source map columns to keys.
func TestCSVWithMapping(t *testing.T) {
	c, err := ParseConfig("c.yaml", []byte(`{brokers: ["h:1"], sources: [{topic: web, kind: latency, fields: {time: {path: at, unit: s}, service: {path: app},
  status: {path: code}, duration_ms: {path: took, unit: s}}}]}`))
	check(t, err)
	sum, _, series, err := replayCSV(t, "at,app,code,took,other\n1793534400,shop,503,2.5,x\n", &c.Sources[0])
	if err != nil || sum.Totals.Counted != 1 || series["latency service=shop status_class=5xx"] != 3500 {
		t.Errorf("%+v %v, %v", sum.Totals, series, err)
	}
}

func TestCSVHeads(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, _, _, err := replayCSV(t, text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", text, err, want)
		}
	}
	f("time,time\n", `has "time" as title 2`)
	f("time,\n", `has "" as title 2`)
	f("time,\"x\n", "cannot read the head of")
	f(" time,time\n", `has "time" as title 2`)
	f("time;kind;service\n1793534400000;error;api\n", `is "time;kind;service", and none of its titles is read: expected keys of an event, or what fields map to them, with commas`)
	f("at,app\n", `is "at,app", and none`)
	f(strings.Repeat("x", 300)+"\n", ` is "`+strings.Repeat("x", 200)+`", and none`)
	c, err := ParseConfig("c.yaml", []byte(`{brokers: ["h:1"], sources: [{topic: web, kind: error, fields: {time: {path: at.t}, service: {path: app\.name}}}]}`))
	check(t, err)
	if _, _, _, err := replayCSV(t, "time,service,at,app\n", &c.Sources[0]); err == nil || !strings.Contains(err.Error(), "none of its titles is read") {
		t.Errorf("titles that no field maps: %v", err)
	}
	if _, _, _, err := replayCSV(t, "x,app.name\n", &c.Sources[0]); err != nil {
		t.Errorf("a title that a field maps: %v", err)
	}
	if sum, _, _, err := replayCSV(t, "", nil); err != nil || sum.Totals.Sum() != 0 {
		t.Errorf("an empty file: %+v, %v", sum, err)
	}
}
