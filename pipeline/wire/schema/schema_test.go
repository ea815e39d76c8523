package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sevwatch/deploy/schemas"
)

// example is the first example of that sort in docs/messages.md.
func example(t *testing.T, tag string) map[string]any {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?ms)^```json " + tag + "\n(.*?)\n```$").FindSubmatch(doc)
	if m == nil {
		t.Fatalf("no example of %s", tag)
	}
	var fields map[string]any
	if err := json.Unmarshal(m[1], &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

// with changes the value at a path such as "signal.window.end"; a value of nil takes it away.
func with(fields map[string]any, path string, value any) []byte {
	at := fields
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		at[key] = maps.Clone(at[key].(map[string]any))
		at = at[key].(map[string]any)
	}
	last := keys[len(keys)-1]
	if at[last] = value; value == nil {
		delete(at, last)
	}
	data, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return data
}

// outcome is who takes notice of a message.
type outcome string

const (
	fine outcome = "fine"
	ours outcome = "we may not write it, consumers live with it"
	bad  outcome = "bad"
)

// null stands for a field that is there and null; nil for one that is not there.
const null = "null"

// changer checks what happens when one thing is changed in the document's example.
func changer(t *testing.T, tag string) func(path string, value any, want outcome) {
	return func(path string, value any, want outcome) {
		t.Helper()
		if value == null {
			value = json.RawMessage("null")
		}
		data := with(example(t, tag), path, value)
		got := fine
		if err := ValidatePublished(tag+".v1", data); err != nil {
			got = bad
		} else if err := Validate(tag+".v1", data); err != nil {
			got = ours
		}
		if got != want {
			t.Errorf("%s with %s = %v: %s, expected %s", tag, path, value, got, want)
		}
	}
}

func TestIncidentSchema(t *testing.T) {
	f := changer(t, "incident")
	f("id", "9a1e62f0c7d34b58e201", fine)
	f("id", "9A1E62F0C7D34B58E201", bad)
	f("id", "9a1e62f0c7d34b58e2012", bad)
	f("id", 5, bad)
	f("revision", 0, bad)
	f("revision", 2.5, bad)
	f("revision", "2", bad)
	f("transition", "merged", fine)
	f("transition", "Merged", bad)
	f("transition", "opened", bad) // not with revision 2
	f("transition", "no_data", bad)
	f("transition", "resolved", bad)
	f("severity", "sev1", bad)
	f("severity", "Sev5", bad)
	f("severity", 1, bad)
	f("previous_severity", nil, bad) // of an escalation
	f("previous_severity", null, bad)
	f("status.phase", "closed", bad)
	f("status.phase", "no_data", bad) // of an escalation
	f("status.acknowledged", "no", bad)
	f("status.muted", true, ours)
	f("reason", "", bad)
}

func TestIncidentSchemaParts(t *testing.T) {
	f := changer(t, "incident")
	f("rule.file_hash", "sha256:6b1f0c", bad)
	f("rule.runbook", "https://a b", bad)
	f("rule.playbook", nil, fine)
	f("labels.region", "eu", fine)
	f("labels.region", 5, bad)
	f("signal.name", "burn_rate", fine)
	f("signal.unit", "percent", bad)
	f("signal.unit", "times", fine)
	f("signal.observed", nil, fine)
	f("signal.observed", null, bad)
	f("signal.observed", "0.5", bad)
	f("signal.threshold", nil, bad)
	f("signal.numerator", 1.5, bad)
	f("signal.samples", -1, bad)
	f("signal.window.end", nil, bad)
	f("signal.window.end", "2026-11-01T12:02:00Z", bad)
	f("at", "2026-11-01T12:02:00.000Z", fine)
	f("at", "2026-11-01T13:02:00.000+01:00", bad)
	f("at", "2026-02-30T12:02:00.000Z", bad)
	f("at", 1793534520000, bad)
	f("resolved_at", "2026-11-01T12:02:00.000Z", bad) // without messages.resolution
	f("respond_by", nil, bad)
	f("impact.share", 1.01, bad)
	f("impact.sessions", 12, fine)
	f("contributors", []any{}, bad)
	f("contributors", []any{map[string]any{"label": "a", "value": "b", "events": 1, "share": 1}}, fine)
	f("contributors", []any{map[string]any{"label": "a", "value": "b", "events": 1}}, bad)
	f("change", nil, fine)
	f("change.change", "reboot", bad)
	f("change.at", nil, bad)
	f("parent", "9a1e62f0c7d34b58e201", fine)
	f("children", []any{"9a1e"}, bad)
	f("channel", "#incident-assessment", bad)
	f("contacts", []any{"Lead Engineer", 5}, bad)
	f("playbook.steps", "look", bad)
	f("messages.initial", nil, bad)
	f("colour", "red", ours)
}

// TestTransitions: each transition comes with its phase, the first with revision 1, the end with its time.
func TestTransitions(t *testing.T) {
	f := func(transition, phase string, revision int, resolvedAt bool, ok bool) {
		t.Helper()
		fields := example(t, "incident")
		fields["transition"], fields["revision"] = transition, revision
		fields["status"].(map[string]any)["phase"] = phase
		if resolvedAt {
			fields["resolved_at"] = fields["at"]
			fields["messages"].(map[string]any)["resolution"] = "over"
		}
		data, _ := json.Marshal(fields)
		if err := Validate("incident.v1", data); (err == nil) != ok {
			t.Errorf("%s, %s, revision %d, with resolved_at: %t: %v", transition, phase, revision, resolvedAt, err)
		}
	}
	phases := map[string]string{
		"opened": "open", "escalated": "open", "deescalated": "open", "reopened": "open", "no_data": "no_data",
		"resolved": "resolved", "expired": "expired", "superseded": "superseded",
	}
	for transition, right := range phases {
		revision := 2
		if transition == "opened" {
			revision = 1
		}
		for _, phase := range []string{"open", "no_data", "resolved", "expired", "superseded"} {
			f(transition, phase, revision, transition == "resolved", phase == right)
			f(transition, phase, revision, transition != "resolved", phase == right && transition != "resolved")
		}
	}
	f("opened", "open", 2, false, false)
	for _, phase := range []string{"open", "no_data"} {
		for _, transition := range []string{"updated", "acknowledged", "silenced", "flapping", "overdue", "merged"} {
			f(transition, phase, 3, false, true)
			f(transition, "resolved", 3, false, transition == "merged")
		}
	}
}

func TestRecoverySchema(t *testing.T) {
	f := changer(t, "recovery")
	f("transition", "retried", fine)
	f("action", "", bad)
	f("incident_id", nil, bad)
	f("target.service", "a", fine)
	f("target.service", 5, bad)
	f("parameters.replicas", 10, fine)
	f("parameters.replicas", "10", bad)
	f("versions", nil, fine)
	f("versions.from", nil, bad)
	f("commands.apply", nil, bad)
	f("commands.verify", nil, fine)
	f("mode", "manual", bad)
	f("attempt", 0, bad)
	f("expires_at", "2026-11-01T12:17:00Z", bad)
	f("colour", "red", ours)
}

func TestHealthSchema(t *testing.T) {
	f := changer(t, "health")
	f("v", 2, bad)
	f("time", "2026-11-01T12:02:11Z", bad)
	f("judge", nil, bad)
	f("judge", null, bad)
	f("judge", []any{map[string]any{"task": 1}}, fine)
	f("judge", []any{map[string]any{"task": -1}}, bad)
	f("aggregate", []any{map[string]any{"task": 1, "lag": 0.5}}, bad)
	f("aggregate", []any{map[string]any{"task": 1, "open": 1}}, ours)
	f("late", -1, bad)
}

func TestHeaderSchemas(t *testing.T) {
	base := func() map[string]string {
		return map[string]string{
			"ce_specversion": "1.0", "ce_id": "9a1e62f0c7d34b58e201.2", "ce_source": "/sevwatch/assessment",
			"ce_type": "sevwatch.incident.escalated.v1", "ce_time": "2026-11-01T12:02:00.000Z", "ce_subject": "9a1e62f0c7d34b58e201",
			"ce_severitytext": "SEV1", "ce_severitynumber": "21", "content-type": "application/json",
		}
	}
	f := func(key, value string, ok bool) {
		t.Helper()
		h := base()
		if h[key] = value; value == "" {
			delete(h, key)
		}
		data, _ := json.Marshal(h)
		if err := ValidatePublished("incident-headers.v1", data); (err == nil) != ok {
			t.Errorf("with %s = %q: %v", key, value, err)
		}
	}
	for key := range base() {
		f(key, "", false)
		f(key, "nonsense !", false)
	}
	f("ce_id", "9a1e62f0c7d34b58e201.0", false)
	f("ce_id", "9a1e62f0c7d34b58e201.17", true)
	f("ce_source", "/sevwatch/a b", false)
	f("ce_type", "sevwatch.incident.merged.v1", true)
	f("ce_type", "sevwatch.recovery.requested.v1", false)
	f("ce_time", "2026-11-01T12:02:00Z", false)
	f("ce_severitynumber", "17", false) // SEV1 is 21
	f("ce_severitynumber", "1", false)
	f("ce_incidentid", "x", true)
	f("ce_incident_id", "x", false)
	f("ce_incidentId", "x", false)
	f("ce_1st", "x", false)
	f("ce_data", "x", false)
	f("ce_abcdefghijklmnopqrstu", "x", false) // 21 characters
	f("traceparent", "x", true)
	if err := ValidateHeaders("incident-headers.v1", base()); err != nil {
		t.Error(err)
	}
	more := base()
	more["traceparent"] = "x"
	if err := ValidateHeaders("incident-headers.v1", more); err == nil {
		t.Error("a header that nobody documented may be written")
	}
}

func TestAsideSchemas(t *testing.T) {
	f := func(name string, change map[string]string, ok bool) {
		t.Helper()
		h := map[string]string{
			"sevwatch_reason": "late", "sevwatch_detail": "d", "sevwatch_topic": "t", "sevwatch_partition": "0", "sevwatch_offset": "12",
			"sevwatch_late_ms": "5", "traceparent": "the source's own",
		}
		for k, v := range change {
			if h[k] = v; v == "" {
				delete(h, k)
			}
		}
		if err := ValidateHeaders(name, h); (err == nil) != ok {
			t.Errorf("%s with %v: %v", name, change, err)
		}
	}
	f("late-headers.v1", nil, true)
	f("late-headers.v1", map[string]string{"sevwatch_reason": "future"}, false)
	f("late-headers.v1", map[string]string{"sevwatch_late_ms": ""}, false)
	f("late-headers.v1", map[string]string{"sevwatch_late_ms": "0"}, false)
	f("late-headers.v1", map[string]string{"sevwatch_offset": "-1"}, false)
	f("late-headers.v1", map[string]string{"sevwatch_partition": "01"}, false)
	f("rejected-headers.v1", nil, false) // the reason
	f("rejected-headers.v1", map[string]string{"sevwatch_reason": "not_json"}, true)
	f("rejected-headers.v1", map[string]string{"sevwatch_reason": "not_json", "sevwatch_detail": ""}, false)
	f("rejected-headers.v1", map[string]string{"sevwatch_reason": "not_json", "sevwatch_topic": ""}, false)
	f("rejected-headers.v1", map[string]string{"sevwatch_reason": "not_json", "sevwatch_size": "600000"}, false) // and its hash
	sum := strings.Repeat("0f", 32)
	f("rejected-headers.v1", map[string]string{"sevwatch_reason": "not_json", "sevwatch_size": "600000", "sevwatch_sha256": sum}, true)
	f("rejected-headers.v1", map[string]string{"sevwatch_reason": "not_json", "sevwatch_size": "600000", "sevwatch_sha256": "0F"}, false)
}

// TestEveryFieldIsExplained: the schemas are what other people read.
func TestEveryFieldIsExplained(t *testing.T) {
	var names []string
	var walk func(path string, node any) int
	walk = func(path string, node any) (n int) {
		fields, _ := node.(map[string]any)
		for key, sub := range fields {
			if key != "properties" {
				continue
			}
			for name, field := range sub.(map[string]any) {
				n++
				f := field.(map[string]any)
				if title, _ := f["title"].(string); title == "" {
					t.Errorf("%s.%s has no title", path, name)
				}
				if description, _ := f["description"].(string); description == "" {
					t.Errorf("%s.%s has no description", path, name)
				}
				n += walk(path+"."+name, field)
			}
		}
		if items, ok := fields["items"]; ok {
			n += walk(path+"[]", items)
		}
		return n
	}
	files, err := schemas.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := schemas.Files.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(file.Name(), suffix)
		names = append(names, name)
		if n := walk(name, doc); n < 5 {
			t.Errorf("%s explains only %d fields", name, n)
		}
		if doc["$schema"] != "https://json-schema.org/draft/2020-12/schema" || !strings.HasSuffix(fmt.Sprint(doc["$id"]), "/"+file.Name()) {
			t.Errorf("%s is of %v and called %v", name, doc["$schema"], doc["$id"])
		}
	}
	want := []string{
		"control.v1", "event.v1", "health.v1", "incident-headers.v1", "incident.v1", "late-headers.v1", "recovery-headers.v1", "recovery.v1", "rejected-headers.v1",
	}
	slices.Sort(names)
	if !slices.Equal(names, want) {
		t.Errorf("the schemas are %v, expected %v", names, want)
	}
}

func TestValidateItself(t *testing.T) {
	for _, in := range []string{"", "{", "{} {}", "[]", "5", "null", "{}"} {
		if err := Validate("incident.v1", []byte(in)); err == nil {
			t.Errorf("%q is an incident", in)
		}
	}
	if err := Validate("nothing.v1", []byte("{}")); err == nil {
		t.Error("there is a schema called nothing.v1")
	}
}
