package pipeline_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

var codeBlock = regexp.MustCompile("(?ms)^```(yaml|headers|json record|json event)\n(.*?)\n```$")

// TestSourcesGuide reads docs/sources.md: each configuration is a source, each record under it is read by that source, and the event behind a
// record is what comes of it.
func TestSourcesGuide(t *testing.T) {
	doc, err := os.ReadFile("../docs/sources.md")
	if err != nil {
		t.Fatal(err)
	}
	var read func(*wire.Record) string
	var got string
	var headers []wire.Header
	events := 0
	for _, block := range codeBlock.FindAllStringSubmatch(string(doc), -1) {
		switch text := block[2]; block[1] {
		case "yaml":
			read = guideSource(t, text)
		case "json record":
			got = read(&wire.Record{Value: []byte(text), Time: -1, Headers: headers})
			headers = nil
		case "headers":
			for line := range strings.Lines(text) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				headers = append(headers, wire.Header{Key: key, Value: []byte(value)})
			}
		case "json event":
			events++
			if diff := gocmp.Diff(text, got); diff != "" {
				t.Errorf("-docs/sources.md +found:\n%s", diff)
			}
		}
	}
	if events < 5 {
		t.Errorf("only %d events are compared: this test no longer sees the guide", events)
	}
}

// guideSource reads a source's configuration and returns what reads its records.
func guideSource(t *testing.T, text string) func(*wire.Record) string {
	t.Helper()
	indented := "  - " + strings.ReplaceAll(text, "\n", "\n    ")
	c := parseConfig(t, "brokers: [localhost:9092]\nregistry: {url: 'http://registry'}\nsources:\n"+indented)
	in := c.Sources[0].Input(c.Labels, nil)
	return func(r *wire.Record) string {
		t.Helper()
		events, rejected := in.Read(r)
		if rejected != nil {
			return rejected.Error()
		}
		var lines []string
		for i := range events {
			lines = append(lines, eventJSON(c, &events[i]))
		}
		return strings.Join(lines, "\n")
	}
}

// eventJSON is an event as the guide shows it.
func eventJSON(c *pipeline.Config, e *detector.Event) string {
	out := []string{fmt.Sprintf(`"time":%q`, detector.Millis(e.Time)), fmt.Sprintf(`"kind":%q`, e.Kind)}
	for i, value := range e.Labels {
		if len(value) > 0 {
			text, _ := json.Marshal(string(value))
			out = append(out, fmt.Sprintf("%q:%s", c.Labels[i], text))
		}
	}
	if e.HasValue {
		out = append(out, fmt.Sprintf(`"value":%s`, wire.JSON(float64(e.Value)/1e6)))
	}
	return "{" + strings.Join(out, ",") + "}"
}

// TestRulesAboutDroppedLabels: a rule that asks for what no source keeps can never fire, so it is refused.
func TestRulesAboutDroppedLabels(t *testing.T) {
	f := func(sources, want string) {
		t.Helper()
		c := parseConfig(t, "brokers: [localhost:9092]\nsources: ["+sources+"]")
		_, err := rules.Parse("rules.yaml", []byte("groups: [{name: g, rules: [{alert: A, signal: {count: 'attempt{region=\"eu\"}'}, window: 1m, severities: [{severity: sev1, above: 1}]}]}]"), c.RuleOptions())
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, expected %q", sources, err, want)
		}
	}
	const no = `no source of attempt events keeps the label "region"`
	f("{topic: a, kind: step, drop_labels: [region]}", no)
	f("{topic: a, kind: step, keep_labels: [service]}", no)
	f("{topic: a, kind: step}", "")
	f("{topic: a, kind: step, drop_labels: [region]}, {topic: b, kind: error}", no)
	f("{topic: a, kind: step, drop_labels: [region]}, {topic: b}", "")
	f("{topic: a, kind: step, drop_labels: [region]}, {topic: b, kind: step, drop_labels: [version]}", "")
	f("{topic: a, kind: step, drop_labels: [region, service]}, {topic: b, drop_labels: [version, region]}", no)
	f("{topic: b, kind: error, drop_labels: [region]}", "")
}

// TestKeepAndDropLabels: a source's labels are the same whether records are events as they are or have to be made into ones.
func TestKeepAndDropLabels(t *testing.T) {
	record := wire.Record{Value: []byte(`{"kind":"error","service":"a","version":"b","region":"c"}`), Time: 7}
	f := func(source, want string) {
		t.Helper()
		for _, more := range []string{"", ", long_labels: cut"} {
			c := parseConfig(t, "brokers: [localhost:9092]\nsources: [{topic: a"+source+more+"}]")
			var e detector.Event
			if in := c.Sources[0].Input(c.Labels, nil); (in == nil) != (more == "") {
				t.Fatalf("%s%s: has an input: %t", source, more, in != nil)
			} else if in != nil {
				events, rejected := in.Read(&record)
				if rejected != nil {
					t.Fatal(rejected)
				}
				e = events[0]
			} else if rejected := c.Sources[0].Decoder(c.Labels).Decode(record.Value, record.Time, &e); rejected != nil {
				t.Fatal(rejected)
			}
			if diff := gocmp.Diff(want, eventJSON(c, &e)); diff != "" {
				t.Errorf("%s%s (-want +got):\n%s", source, more, diff)
			}
		}
	}
	f("", `{"time":"1970-01-01T00:00:00.007Z","kind":"error","service":"a","region":"c","version":"b"}`)
	f(", keep_labels: [service]", `{"time":"1970-01-01T00:00:00.007Z","kind":"error","service":"a"}`)
	f(", drop_labels: [service, step]", `{"time":"1970-01-01T00:00:00.007Z","kind":"error","region":"c","version":"b"}`)
}
