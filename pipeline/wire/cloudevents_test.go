package wire_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/pipeline/wire/schema"
	"sevwatch/rules"
)

var tableRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (`.*`) \\|$")

// headerTable is the table of headers of docs/messages.md: a list of values goes by the severity, worst first.
func headerTable(t *testing.T) (keys []string, values map[string][]string) {
	t.Helper()
	_, doc, _ := strings.Cut(readDoc(t), "## Incidents out")
	doc, _, _ = strings.Cut(doc, "`id` is the first")
	values = map[string][]string{}
	for _, row := range tableRow.FindAllStringSubmatch(doc, -1) {
		keys = append(keys, row[1])
		values[row[1]] = strings.Split(strings.Trim(row[2], "`"), "` `")
	}
	if len(keys) != 9 {
		t.Fatalf("the table has the rows %v", keys)
	}
	return keys, values
}

// TestHeaders compares Message with the table, for each transition and severity.
func TestHeaders(t *testing.T) {
	keys, table := headerTable(t)
	for _, transition := range []detector.Transition{
		detector.Opened, detector.Escalated, detector.Deescalated, detector.Updated, detector.NoData, detector.Resolved,
		detector.Expired, detector.Superseded,
	} {
		for severity := rules.Sev1; severity <= rules.Sev4; severity++ {
			i := &detector.Incident{
				ID: "9a1e62f0c7d34b58e201", Revision: 10 + int(severity), Transition: transition, Severity: severity, At: 1793534520000,
			}
			got := wire.Message("assessment", detector.Output{Incident: i})
			fill := strings.NewReplacer("<id>", i.ID, "<revision>", fmt.Sprint(i.Revision), "<pipeline>", "assessment",
				"<transition>", string(transition))
			want := wire.Record{Key: []byte(i.ID), Value: wire.JSON(i), Time: 1793534520000}
			for _, key := range keys {
				choices := table[key]
				value := fill.Replace(choices[(int(severity)-1)%len(choices)])
				if value == "at" {
					value = "2026-11-01T12:02:00.000Z"
				}
				want.Headers = append(want.Headers, wire.Header{Key: key, Value: []byte(value)})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s %s (-want +got):\n%s", transition, severity, diff)
			}
		}
	}
}

func TestRecoveryHeaders(t *testing.T) {
	ids := map[string]bool{}
	for _, transition := range []detector.RecoveryTransition{"requested", "verified", "failed", "cancelled", "expired"} {
		for attempt := 1; attempt <= 2; attempt++ {
			for _, action := range []string{"rollback", "scale"} {
				r := &detector.Recovery{
					IncidentID: "9a1e62f0c7d34b58e201", Revision: 3, Transition: transition, Action: action, Attempt: attempt,
					Severity: rules.Sev2, At: 1793534520000,
				}
				m := wire.Message("assessment", detector.Output{Recovery: r})
				want := map[string]string{
					"ce_specversion": "1.0", "ce_id": fmt.Sprintf("9a1e62f0c7d34b58e201.%s.%d.%s", action, attempt, transition),
					"ce_source": "/sevwatch/assessment", "ce_type": "sevwatch.recovery." + string(transition) + ".v1",
					"ce_time": "2026-11-01T12:02:00.000Z", "ce_subject": "9a1e62f0c7d34b58e201",
					"ce_severitytext": "SEV2", "ce_severitynumber": "17", "content-type": "application/json",
				}
				if diff := cmp.Diff(want, headersOf(m)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if string(m.Key) != r.IncidentID || m.Time != 1793534520000 {
					t.Errorf("key %s, time %d", m.Key, m.Time)
				}
				validateHeaders(t, "recovery-headers.v1", m)
				if ids[want["ce_id"]] {
					t.Errorf("two messages are called %s", want["ce_id"])
				}
				ids[want["ce_id"]] = true
			}
		}
	}
}

// TestCloudEventsRules are those of the specification and its Kafka binding, for every message that the engine makes in a long day.
func TestCloudEventsRules(t *testing.T) {
	attribute := regexp.MustCompile(`^[a-z][a-z0-9]{0,19}$`)
	seen := map[string]string{}
	for _, o := range longDay(t) {
		m := wire.Message("assessment", o)
		if diff := cmp.Diff(m, wire.Message("assessment", o)); diff != "" {
			t.Errorf("sent again it is another (-first +second):\n%s", diff)
		}
		size := len(m.Key) + len(m.Value)
		for _, h := range m.Headers {
			size += len(h.Key) + len(h.Value)
			name, isAttribute := strings.CutPrefix(h.Key, "ce_")
			if isAttribute && (!attribute.MatchString(name) || name == "data") || !isAttribute && h.Key != "content-type" {
				t.Errorf("the header %s is no legal attribute", h.Key)
			}
			if len(h.Value) == 0 || !utf8.Valid(h.Value) {
				t.Errorf("the header %s is %q", h.Key, h.Value)
			}
		}
		if size > 64<<10 {
			t.Errorf("the message has %d bytes, expected 64 KiB at most", size)
		}
		if len(m.Value) == 0 { // a tombstone on a compacted topic
			t.Error("the message has no value")
		}
		headers := headersOf(m)
		if len(headers) != len(m.Headers) {
			t.Errorf("a header is there twice: %v", m.Headers)
		}
		id := headers["ce_source"] + " " + headers["ce_id"]
		if other, twice := seen[id]; twice {
			t.Errorf("two messages are called %s:\n%s\n%s", id, other, m.Value)
		}
		seen[id] = string(m.Value)
	}
}

// TestEngineMessages validates every message that the engine makes in a long day against its schema.
func TestEngineMessages(t *testing.T) {
	told := map[string]int{}
	units := map[string]int{}
	for _, o := range longDay(t) {
		m := wire.Message("assessment", o)
		name := "recovery"
		if o.Incident != nil {
			name = "incident"
			told[string(o.Incident.Transition)]++
			units[o.Incident.Signal.Unit]++
		} else {
			told["recovery "+string(o.Recovery.Transition)]++
		}
		if err := schema.Validate(name+".v1", m.Value); err != nil {
			t.Fatalf("%s\n%s", err, m.Value)
		}
		if err := schema.ValidateHeaders(name+"-headers.v1", headersOf(m)); err != nil {
			t.Fatalf("%s\n%s", err, m.Value)
		}
	}
	for _, what := range []string{
		"opened", "escalated", "deescalated", "resolved", "no_data", "updated", "expired",
		"recovery requested", "recovery cancelled", "recovery expired",
	} {
		if told[what] == 0 {
			t.Errorf("in the long day nothing is %s: %v", what, told)
		}
	}
	for _, unit := range []string{"share", "events", "ms", "s", "times"} {
		if units[unit] == 0 {
			t.Errorf("in the long day no signal is measured in %s: %v", unit, units)
		}
	}
}

// TestValueIsPrintedOneWay: no line break, nothing escaped that need not be, no exponent, no null.
func TestValueIsPrintedOneWay(t *testing.T) {
	i := detector.Incident{Reason: "a < b && c > d: 🔴 é \u2028", Labels: map[string]string{"b": "2", "a": "1"}}
	half := detector.Num(1e21)
	i.Signal.Observed = &half
	value := string(wire.Value(detector.Output{Incident: &i}))
	for _, want := range []string{`"reason":"a < b && c > d: 🔴 é \u2028"`, `"labels":{"a":"1","b":"2"}`, `"observed":1000000000000000000000,`} {
		if !strings.Contains(value, want) {
			t.Errorf("%s\nlacks %s", value, want)
		}
	}
	if strings.Contains(value, "\n") {
		t.Errorf("%q has a line break", value)
	}
	if !strings.HasPrefix(value, `{"id":"","revision":0,"transition":"",`) {
		t.Errorf("the fields of %s are in another order", value)
	}
	defer func() {
		if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "BUG: ") {
			t.Errorf("what cannot be written panics with %q", got)
		}
	}()
	wire.JSON(make(chan int))
}
