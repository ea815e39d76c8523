package wire_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/pipeline/wire/schema"
	"sevwatch/rules"
)

// TestMessages takes every example of docs/messages.md through the code that reads and writes the real ones.
func TestMessages(t *testing.T) {
	checks := map[string]func(t *testing.T, example []byte){
		"event": checkEvent, "incident": checkIncident, "recovery": checkRecovery, "rejected": checkRejected, "late": checkLate,
		"delta": checkDelta, "progress": checkProgress, "mark": checkMark, "state": checkState, "control": checkControl,
		"health": checkHealth,
	}
	doc := readDoc(t)
	if n := strings.Count(doc, "```json"); n != len(examples(doc)) {
		t.Errorf("%d of the document's %d examples are found", len(examples(doc)), n)
	}
	seen := map[string]int{}
	for _, e := range examples(doc) {
		seen[e.tag]++
		t.Run(e.tag+strconv.Itoa(seen[e.tag]), func(t *testing.T) {
			check := checks[e.tag]
			if check == nil {
				t.Fatalf("nobody knows messages of the sort %q", e.tag)
			}
			check(t, []byte(e.text))
		})
	}
	for tag := range checks {
		if seen[tag] == 0 {
			t.Errorf("the document has no example of the sort %s", tag)
		}
	}
}

func readDoc(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

type example struct{ tag, text string }

var fence = regexp.MustCompile("(?ms)^```json ([a-z]+)\n(.*?)\n```$")

func examples(doc string) (out []example) {
	for _, m := range fence.FindAllStringSubmatch(doc, -1) {
		out = append(out, example{m[1], m[2]})
	}
	return out
}

// strict decodes with unknown fields forbidden.
func strict(t *testing.T, data []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatal(err)
	}
}

// same checks that a message is written as the example has it: the same fields in the same order, the same numbers.
func same(t *testing.T, example []byte, message any) {
	t.Helper()
	var want bytes.Buffer
	if err := json.Compact(&want, example); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(wire.JSON(message))); diff != "" {
		t.Errorf("the example is written otherwise (-want +got):\n%s", diff)
	}
}

func validate(t *testing.T, name string, value []byte) {
	t.Helper()
	if err := schema.Validate(name, value); err != nil {
		t.Errorf("%s", err)
	}
}

func validateHeaders(t *testing.T, name string, r wire.Record) {
	t.Helper()
	if err := schema.ValidateHeaders(name, headersOf(r)); err != nil {
		t.Errorf("%s", err)
	}
}

func headersOf(r wire.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}

// checkEvent compares what Decode makes of an event with what its JSON says, with and without its kind.
func checkEvent(t *testing.T, example []byte) {
	validate(t, "event.v1", example)
	var fields map[string]any
	strict(t, example, &fields)
	kind := rules.KindOf(fields["kind"].(string))
	d := wire.NewDecoder(rules.NoKind, rules.DefaultLabels())
	checkEventBy(t, d, example, fields, kind)

	delete(fields, "kind")
	short, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if r := d.Decode(short, -1, &detector.Event{}); r == nil || r.Reason != wire.Missing {
		t.Errorf("without kind: %v, expected missing", r)
	}
	checkEventBy(t, wire.NewDecoder(kind, rules.DefaultLabels()), short, fields, kind)
}

func checkEventBy(t *testing.T, d *wire.Decoder, data []byte, fields map[string]any, kind rules.Kind) {
	t.Helper()
	var e detector.Event
	if r := d.Decode(data, -1, &e); r != nil {
		t.Fatal(r)
	}
	if len(d.Unknown()) > 0 {
		t.Errorf("the keys %v are unknown", d.Unknown())
	}
	if e.Kind != kind || e.Time != millisOf(t, fields["time"]) || string(e.Session) != text(fields["session"]) {
		t.Errorf("the event is %+v", e)
	}
	for i, name := range rules.DefaultLabels() {
		want := text(fields[name])
		if status, ok := fields["status"].(float64); ok && name == "status_class" {
			want = strconv.Itoa(int(status)/100) + "xx"
		}
		if got := string(e.Labels[i]); got != want {
			t.Errorf("the label %s is %q, expected %q", name, got, want)
		}
	}
	valueKey := map[rules.Kind]string{
		rules.KindLatency: "duration_ms", rules.KindStep: "dwell_ms", rules.KindVital: "value", rules.KindResource: "value",
		rules.KindSatisfaction: "score",
	}[kind]
	value, has := fields[valueKey].(float64)
	if e.HasValue != has || e.Value != int64(value*1e6+0.5) {
		t.Errorf("the value is %d, %t, expected %g, %t", e.Value, e.HasValue, value*1e6, has)
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func millisOf(t *testing.T, v any) int64 {
	t.Helper()
	if ms, ok := v.(float64); ok {
		return int64(ms)
	}
	at, err := time.Parse(time.RFC3339, v.(string))
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

func checkIncident(t *testing.T, example []byte) {
	validate(t, "incident.v1", example)
	var i detector.Incident
	strict(t, example, &i)
	same(t, example, i)
	validateHeaders(t, "incident-headers.v1", wire.Message("assessment", detector.Output{Incident: &i}))
}

func checkRecovery(t *testing.T, example []byte) {
	validate(t, "recovery.v1", example)
	var r detector.Recovery
	strict(t, example, &r)
	same(t, example, r)
	validateHeaders(t, "recovery-headers.v1", wire.Message("assessment", detector.Output{Recovery: &r}))
}

// onTopic is how the document shows a record of the rejected or late topic.
type onTopic struct {
	Headers map[string]string `json:"headers"`
	Key     string            `json:"key"`
	Value   string            `json:"value"`
}

func (o onTopic) origin(t *testing.T) wire.Origin {
	t.Helper()
	partition, err := strconv.Atoi(o.Headers["sevwatch_partition"])
	if err != nil {
		t.Fatal(err)
	}
	offset, err := strconv.ParseInt(o.Headers["sevwatch_offset"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Origin{
		Source: detector.Source{Topic: o.Headers["sevwatch_topic"], Partition: partition}, Offset: offset,
		Record: wire.Record{Key: []byte(o.Key), Value: []byte(o.Value), Time: 1793534403000},
	}
}

func checkRejected(t *testing.T, example []byte) {
	var want onTopic
	strict(t, example, &want)
	reject := wire.NewDecoder(rules.KindLatency, rules.DefaultLabels()).Decode([]byte(want.Value), -1, &detector.Event{})
	if reject == nil {
		t.Fatal("the record is no bad one")
	}
	checkAside(t, "rejected-headers.v1", wire.Rejected(want.origin(t), reject), want)
}

func checkLate(t *testing.T, example []byte) {
	var want onTopic
	strict(t, example, &want)
	var e detector.Event
	if r := wire.NewDecoder(rules.KindLatency, rules.DefaultLabels()).Decode([]byte(want.Value), -1, &e); r != nil {
		t.Fatal(r)
	}
	late, err := strconv.ParseInt(want.Headers["sevwatch_late_ms"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	checkAside(t, "late-headers.v1", wire.Late(want.origin(t), e.Time, late), want)
}

func checkAside(t *testing.T, name string, got wire.Record, want onTopic) {
	t.Helper()
	validateHeaders(t, name, got)
	if diff := cmp.Diff(want, onTopic{headersOf(got), string(got.Key), string(got.Value)}); diff != "" {
		t.Errorf("the record is another (-want +got):\n%s", diff)
	}
	if got.Time != 1793534403000 {
		t.Errorf("the timestamp is %d, expected the source record's", got.Time)
	}
}

// personDelta is a delta as a person would write it.
type personDelta struct {
	Domain string `json:"domain"`
	Pane   int64  `json:"pane_start"`
	Series []struct {
		Kind    string            `json:"kind"`
		Labels  map[string]string `json:"labels"`
		Count   int64             `json:"count"`
		Sum     detector.Sum      `json:"sum"`
		Max     int64             `json:"max"`
		Buckets []struct {
			Index int32 `json:"index"`
			Count int64 `json:"count"`
		} `json:"buckets"`
		Sessioned int64    `json:"sessioned"`
		Sessions  []string `json:"sessions"`
	} `json:"series"`
}

// indexZero is what is added to the index of a bucket of positive values to make its code.
const indexZero = 4096

func (p personDelta) delta() *detector.Delta {
	d := &detector.Delta{Domain: p.Domain, Pane: p.Pane}
	for _, s := range p.Series {
		out := detector.SeriesDelta{Kind: rules.KindOf(s.Kind), Cell: detector.Cell{Count: s.Count, Sum: s.Sum, Max: s.Max, Sessioned: s.Sessioned}}
		for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
			out.Labels = append(out.Labels, detector.Label{Name: name, Value: s.Labels[name]})
		}
		for _, b := range s.Buckets {
			out.Buckets = append(out.Buckets, detector.Bucket{Code: b.Index + indexZero, N: b.Count})
			out.Valued += b.Count
		}
		for _, hex := range s.Sessions {
			hash, err := strconv.ParseUint(hex, 16, 64)
			if err != nil {
				panic(err)
			}
			out.Sessions = &detector.Distinct{Few: []uint64{hash}}
		}
		d.Series = append(d.Series, out)
	}
	return d
}

// checkDelta encodes the delta to bytes and back, and makes the same one out of events.
func checkDelta(t *testing.T, example []byte) {
	var p personDelta
	strict(t, example, &p)
	want := p.delta()
	values := wire.EncodeDelta(want)
	if len(values) != 1 {
		t.Fatalf("the delta has %d values", len(values))
	}
	got, err := wire.DecodeDelta(want.Domain, values[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the delta comes back as another (-want +got):\n%s", diff)
	}
	deltas, _ := aggregated(t,
		`{"kind":"latency","duration_ms":24,"status":200,"service":"assessment-api","endpoint":"/v1/answers","region":"eu-west","step":"questions","version":"1.42.0"}`,
		`{"kind":"latency","duration_ms":37,"status":204,"service":"assessment-api","endpoint":"/v1/answers","region":"eu-west","step":"questions","version":"1.42.0"}`,
		`{"kind":"latency","duration_ms":98,"status":200,"service":"assessment-api","endpoint":"/v1/answers","region":"eu-west","step":"questions","version":"1.42.0"}`,
		`{"kind":"error","error_type":"TimeoutError","service":"assessment-api","session":"5f1c09aa2b7d4e10"}`)
	if diff := cmp.Diff([]detector.Delta{*want}, deltas, cmpopts.EquateEmpty(), inAnyOrder); diff != "" {
		t.Errorf("the events of the example give another delta (-want +got):\n%s", diff)
	}
}

var inAnyOrder = cmpopts.SortSlices(func(x, y detector.SeriesDelta) bool { return x.Kind < y.Kind })

// aggregated is what one flush tells of events in the pane of 2026-11-01T12:00.
func aggregated(t *testing.T, events ...string) ([]detector.Delta, detector.Progress) {
	t.Helper()
	cfg := detector.DefaultConfig()
	cfg.CountSessions = map[string]bool{"t": true}
	a := detector.NewAggregator(cfg, 0, 1)
	p := a.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
	d := wire.NewDecoder(rules.NoKind, rules.DefaultLabels())
	var e detector.Event
	for i, event := range events {
		if r := d.Decode([]byte(event), 1793534400000, &e); r != nil {
			t.Fatal(r)
		}
		a.Count(p, int64(i), &e)
	}
	return a.Flush()
}

func checkProgress(t *testing.T, example []byte) {
	p, err := wire.DecodeProgress(example)
	if err != nil {
		t.Fatal(err)
	}
	same(t, example, p)
	totals := p.Partitions[0].Totals
	if sum := totals.Sum(); sum != p.Partitions[0].To {
		t.Errorf("the totals account for %d of %d offsets", sum, p.Partitions[0].To)
	}
}

func checkMark(t *testing.T, example []byte) {
	m, err := wire.DecodeMark(example)
	if err != nil {
		t.Fatal(err)
	}
	same(t, example, m)
}

func checkControl(t *testing.T, example []byte) {
	validate(t, "control.v1", example)
	c, err := wire.DecodeControl(example, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, example, c)
	validate(t, "control.v1", example)
	if c.Act.Act == detector.ActAcknowledge && c.Time.String() != "2026-11-01T12:03:10.000Z" {
		t.Errorf("the time is %s", c.Time)
	}
}

func checkHealth(t *testing.T, example []byte) {
	validate(t, "health.v1", example)
	var h wire.Health
	strict(t, example, &h)
	same(t, example, h)
}

const twoTiers = `
groups:
  - name: a
    rules:
      - alert: CriticalErrorRateSpike
        signal: {ratio: {errors: error, total: latency}}
        by: [service]
        window: 2m
        severities: [{severity: sev1, above: 0.5}, {severity: sev2, above: 0.1}]
`

// checkState lets a judge load the record, and looks at whether it would write the same.
func checkState(t *testing.T, example []byte) {
	file, err := rules.Parse("state", []byte(twoTiers), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	example = bytes.ReplaceAll(example, []byte("6b1f0c"), []byte(file.Rules()[0].Identity()))
	example = bytes.ReplaceAll(example, []byte("sha256:c0f198ce7d1bdb43828e836c25a46339da911fb99417d33a332726d96c1ac3d0"), []byte(file.Hash))
	records := []detector.Record{{Key: "edge", Value: example}}
	if bytes.Contains(example, []byte(`"rule"`)) {
		records[0].Key = "group\x1f\x1fCriticalErrorRateSpike\x1f" + file.Rules()[0].Identity() + "\x00service\xffassessment-api\xff"
		records = append(records, detector.Record{Key: "edge", Value: []byte(`{"v":1,"edge":1793534520000,"set":{"version":1,"topics":{}}}`)})
	}
	j := detector.NewJudge(detector.DefaultConfig(), file)
	if err := j.Load(records); err != nil {
		t.Fatal(err)
	}
	if err := j.Ready(); err != nil {
		t.Fatal(err)
	}
	var snapshot struct{ Records []detector.Record }
	if err := json.Unmarshal(j.Snapshot(), &snapshot); err != nil {
		t.Fatal(err)
	}
	what, _, _ := strings.Cut(records[0].Key, "\x1f")
	for _, r := range snapshot.Records {
		if strings.HasPrefix(r.Key, what) {
			same(t, example, json.RawMessage(r.Value))
			return
		}
	}
	t.Errorf("the judge has no such record: %v", snapshot.Records)
}
