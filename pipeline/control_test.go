package pipeline

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

const controlRules = `
actions:
  scale: {apply: more}
groups:
  - name: people
    rules:
      - alert: Errors
        signal: {ratio: {errors: error, total: latency}}
        by: [service]
        window: 1m
        severities: [{severity: sev1, above: 0.5}, {severity: sev3, above: 0.1}]
        recover: {keep_firing_for: 1m}
        reopen_within: 10m
        recovery: [{action: scale, severity: sev3}]
`

// minutes are requests of two services from one minute to another, twenty a second, a share of which fail.
func minutes(from, to, failed int) (lines [][]byte) {
	start := time.Date(2026, 11, 1, 12, from, 0, 0, time.UTC)
	for i := range (to - from) * 60 * 20 {
		at := start.Add(time.Duration(i) * 50 * time.Millisecond).UnixMilli()
		service := []string{"api", "web"}[i%2]
		if i%100 < failed {
			lines = append(lines, fmt.Appendf(nil, `{"time":%d,"kind":"error","service":%q,"error_type":"Boom"}`, at, service))
		}
		lines = append(lines, fmt.Appendf(nil, `{"time":%d,"kind":"latency","service":%q,"status":200,"duration_ms":5}`, at, service))
	}
	return lines
}

// People acknowledge, approve, silence and resolve while a worker runs, some of it too late for its time. What was published is what a
// replay gives of the events and of the control topic as it is then; so it is after the worker was replaced.
func TestPeopleAreReplayed(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	file, err := rules.Parse("people.yaml", []byte(controlRules), p.cfg.RuleOptions())
	check(t, err)
	p.rules = file
	lines := minutes(0, 4, 20)
	p.load(lines)
	w, stop := p.start()
	at := func(minute, second int) detector.Millis {
		return detector.Millis(time.Date(2026, 11, 1, 12, minute, second, 0, time.UTC).UnixMilli())
	}
	p.judged(int64(at(3, 30)), w)
	var first detector.Incident
	check(t, json.Unmarshal([]byte(p.outputs(int64(at(3, 30)))[0]), &first))

	say := func(a detector.Act) {
		a.By = "maria"
		_, err := Say(p.ctx, p.cfg, p.client, wire.Control{V: 1, Act: a})
		check(t, err)
	}
	say(detector.Act{Act: detector.ActAcknowledge, IncidentID: first.ID, Time: at(2, 0)}) // too late for that
	say(detector.Act{Act: detector.ActApprove, IncidentID: first.ID, Action: "scale"})
	silence := detector.Act{Act: detector.ActSilence, Time: at(6, 0), Until: at(8, 0)} // ahead
	check(t, silence.Matchers.UnmarshalText([]byte(`{alert="Errors"}`)))
	say(silence)
	calmer, err := rules.Parse("calmer.yaml", []byte(strings.ReplaceAll(controlRules, "0.5", "0.15")), p.cfg.RuleOptions())
	check(t, err)
	_, err = Say(p.ctx, p.cfg, p.client, wire.Rules(calmer, 0, "maria"))
	check(t, err)
	p.write(partition{p.cfg.Topics.Control, 0}, kafka.Record{Value: kafka.NewBytes([]byte("no control record"))})
	stop()

	more := minutes(5, 9, 20)
	p.load(more)
	w, stop = p.start()
	p.judged(int64(at(8, 30)), w)
	say(detector.Act{Act: detector.ActResolve, IncidentID: first.ID, Cause: "a bad cache"})
	last := minutes(10, 14, 0)
	p.load(last)
	edge := int64(at(13, 30))
	p.judged(edge, w)
	stop()

	got := p.outputs(edge)
	r := Replay{Config: p.cfg.Engine(), Rules: p.rules, Files: []string{writeLines(t, append(append(lines, more...), last...))}}
	var dump strings.Builder
	for _, record := range p.read(p.cfg.Topics.Control) {
		c, err := wire.DecodeControl(record.Value, p.cfg.RuleOptions())
		if err != nil {
			continue
		}
		r.Control = append(r.Control, ControlRecord{record.Offset, c})
		fmt.Fprintf(&dump, "%d %s\n", record.Offset, record.Value)
	}
	var rows []outputRow
	r.Output = func(o detector.Output) error {
		if int64(o.At()) <= edge {
			rows = append(rows, outputRow{int64(o.At()), o.ID(), o.Type(), o.EventID(), string(wire.Value(o))})
		}
		return nil
	}
	_, err = r.Run(p.ctx)
	check(t, err)
	same(t, "live with people against its replay, with the control topic\n"+dump.String(), rowValues(rows), got)
	p.replayedAlike(edge, got)
	read := 0
	check(t, ReadMessages(p.ctx, p.cfg, p.client, func([]byte) error { read++; return nil }))
	if read < len(got) {
		t.Errorf("%d messages are read from the topics, expected at least %d", read, len(got))
	}
	told := strings.Join(got, "\n")
	for _, want := range []string{
		`"transition":"acknowledged"`, `"transition":"approved"`, `"transition":"silenced"`, `"silenced_until":"2026-11-01T12:08:00.000Z"`, `"cause":"a bad cache"`,
	} {
		if !strings.Contains(told, want) {
			t.Errorf("nothing was told with %s:\n%s", want, told)
		}
	}
	if n := strings.Count(dump.String(), `"applied"`); n != 4 {
		t.Errorf("%d acts are logged as applied, expected 4: the one that was late and the three without a time:\n%s", n, dump.String())
	}
}

// ofTenants gives each line one of seven tenants, which are domains of their own.
func ofTenants(lines [][]byte) [][]byte {
	for i := range lines {
		lines[i] = append(lines[i][:len(lines[i])-1], fmt.Sprintf(`,"tenant":"t%d"}`, i%7)...)
	}
	return lines
}

func withTenants(c *Config) {
	c.Domain, c.Labels, c.Tasks.Judge = "tenant", append(slices.Clone(c.Labels), "tenant"), 2
}

// silenceAll is a silence without a time over everything.
func silenceAll(t *testing.T) detector.Act {
	t.Helper()
	a := detector.Act{Act: detector.ActSilence, Until: detector.Millis(noon(30, 0)), By: "maria"}
	check(t, a.Matchers.UnmarshalText([]byte(`{alert="Errors"}`)))
	return a
}

// Each judge takes up what people say at an edge of its own, and so does a replay, by what each has logged.
func TestSeveralJudgesAreReplayed(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, withTenants)
	file, err := rules.Parse("people.yaml", []byte(controlRules), p.cfg.RuleOptions())
	check(t, err)
	p.rules = file
	both := func(edge int64) {
		p.until("both judges", func() bool { return p.edgeOf(0) >= edge && p.edgeOf(1) >= edge })
	}
	_, stop := p.start()
	p.load(ofTenants(minutes(0, 4, 20)))
	both(noon(3, 30))
	_, err = Say(p.ctx, p.cfg, p.client, wire.Control{V: 1, Act: silenceAll(t)})
	check(t, err)
	p.load(ofTenants(minutes(4, 9, 20)))
	both(noon(8, 30))
	stop()
	w, stop := p.start()
	p.until("taking up", func() bool { return w.Edge() != unknown })
	edge := w.Edge()
	stop()
	live := p.outputs(edge)
	if n := strings.Count(strings.Join(live, "\n"), `"transition":"silenced"`); n != 14 {
		t.Errorf("%d incidents are told to be silenced, expected one of each tenant and service", n)
	}
	p.replayedAlike(edge, live)

	// The same log, but for where the second judge says that it was: only its tenants' incidents are silenced then.
	silenced := func(edges ...int) map[string]string {
		c := []ControlRecord{{0, &wire.Control{V: 1, Act: silenceAll(t)}}}
		for judge, minute := range edges {
			c = append(c, ControlRecord{int64(1 + judge), &wire.Control{Act: detector.Act{Act: wire.ActApplied}, Offset: new(int64), Judge: &judge, Edge: detector.Millis(noon(minute, 0))}})
		}
		out := map[string]string{}
		r := Replay{
			Config: p.cfg.Engine(), Rules: file, Pipeline: p.cfg, Control: c, Files: []string{writeLines(t, ofTenants(minutes(0, 9, 20)))},
			Output: func(o detector.Output) error {
				if o.Incident != nil && o.Incident.Transition == detector.Silenced {
					out[o.Incident.Labels["tenant"]] += o.Incident.At.String()
				}
				return nil
			},
		}
		_, err := r.Run(p.ctx)
		check(t, err)
		return out
	}
	at5, at7, apart := silenced(5, 5), silenced(7, 7), silenced(5, 7)
	moved := 0
	for tenant := range at5 {
		want := at5
		if judgeOf(tenant, []int{0, 1}) == 1 {
			want = at7
			moved++
		}
		if apart[tenant] != want[tenant] || at5[tenant] == at7[tenant] {
			t.Errorf("the incidents of %s are silenced at %s, expected %s", tenant, apart[tenant], want[tenant])
		}
	}
	if moved == 0 || moved == 7 || len(at5) != 7 {
		t.Errorf("%d of %d tenants are the second judge's: the test proves nothing", moved, len(at5))
	}
}

// A file of control records is read whole, or not at all.
func TestReadControl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.ndjson")
	f := func(text, want string) {
		t.Helper()
		check(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := ReadControl(path, rules.Options{})
		said := fmt.Sprint(len(got))
		if err != nil {
			said = strings.ReplaceAll(err.Error(), path, "file")
		}
		if said != want {
			t.Errorf("%s\n got %s\nwant %s", text, said, want)
		}
	}
	f(`{"v":1,"act":"acknowledge","incident_id":"a","by":"m"}`+"\n\n"+`{"v":1,"act":"applied","offset":0,"judge":0,"edge":"2026-11-01T12:08:00.000Z"}`, "2")
	f("{}\n"+`{"v":1,"act":"approve","incident_id":"a","by":"m"}`,
		"file:1: cannot read the record: it is of version 0, expected 1\nfile:2: approve needs action")
}
