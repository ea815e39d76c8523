package wire_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

func TestControlSaysWhatIsWrong(t *testing.T) {
	f := func(record, want string) {
		t.Helper()
		got := "ok"
		if _, err := wire.DecodeControl([]byte(record), rules.Options{}); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s\n got %s\nwant %s", record, got, want)
		}
	}
	f(`{"v":1,"act":"acknowledge","incident_id":"a","by":"m"}`, "ok")
	f(`{"v":1,"act":"acknowledge"}`, "acknowledge needs incident_id; acknowledge needs by")
	f(`{"v":1,"act":"silence","by":"m"}`, "silence needs incident_id or matchers; silence needs until")
	f(`{"v":1,"act":"silence","by":"m","until":"2026-11-01T12:03:10.000Z","matchers":"{a=\"b\"}","incident_id":"a"}`, "a silence is about an incident_id or")
	f(`{"v":1,"act":"silence","by":"m","until":"2026-11-01T12:03:10.000Z","matchers":"a=b"}`, "cannot read the record: matchers are \"a=b\", expected them in braces")
	f(`{"v":1,"act":"silence","by":"m","until":"2026-11-01T12:03:10.000Z","matchers":"{a=b}"}`, "cannot read the record: matchers are \"{a=b}\", expected a quoted value")
	f(`{"v":1,"act":"resolve","incident_id":"a","by":"m","action":"scale"}`, "resolve needs cause; resolve has no action")
	f(`{"v":1,"act":"approve","incident_id":"a","by":"m","action":"scale","comment":"go"}`, "ok")
	f(`{"v":1,"act":"dance"}`, `act is "dance"`)
	f(`{"v":2,"act":"applied"}`, "cannot read the record: it is of version 2")
	f(`{"v":1,"act":"acknowledge","incident_id":"a","by":"m","colour":"red"}`, "cannot read the record")
	f(`{"v":1,"act":"acknowledge","incident_id":"a","by":"m","comment":"`+strings.Repeat("x", 9000)+`"}`, "cannot read the record: it has 90")
	rule := "groups: [{name: g, rules: [{alert: A, signal: {count: error}, window: 1m, severities: [{severity: sev1, above: 1}]}]}]"
	hash := "sha256:" + fmt.Sprintf("%x", sha256.Sum256([]byte(rule)))
	f(fmt.Sprintf(`{"v":1,"act":"rules","by":"m","hash":%q,"rules":%q}`, hash, rule), "ok")
	f(fmt.Sprintf(`{"v":1,"act":"rules","by":"m","hash":"sha256:0","rules":%q}`, rule), "cannot read the rules: their hash is "+hash+", expected sha256:0")
	f(fmt.Sprintf(`{"v":1,"act":"rules","by":"m","hash":%q,"rules":%q}`, hash, "groups: [{name: 5}]\nfoo: 1"), "cannot read the rules: rules:")
	f(`{"v":1,"act":"rules"}`, "rules needs hash; rules needs rules; rules needs by")
	f(`{"v":1,"act":"resolve","incident_id":"a","by":"m","cause":"c","rules":"groups: []"}`, "resolve has no rules")
	f(string(wire.Applied(3, detector.Applied{Offset: 0, Edge: 1793534610000}).Value), "ok")
}

// The largest rule file fits into a record that a topic takes by default, whatever is in it; a larger one is refused when it is parsed.
func TestRulesFitIntoARecord(t *testing.T) {
	const batch = 1_048_588 - 100 // max.message.bytes, less what a batch and a record have around the value
	rule := "groups: [{name: g, rules: [{alert: A, signal: {count: error}, window: 1m, severities: [{severity: sev1, above: 1}]}]}]\n"
	for _, filler := range []string{"# <&>\\\n", "#\n", "# \"\"\"\"\"\"\n", "# \u2028\u2028\n", "# \t\t\t\t\n"} {
		text := rule + strings.Repeat(filler, (rules.MaxBytes-len(rule))/len(filler))
		file, err := rules.Parse("large", []byte(text), rules.Options{})
		if err != nil {
			t.Fatalf("filled with %q: %v", filler, err)
		}
		record := wire.JSON(wire.Rules(file, 1793534610000, strings.Repeat("x", 300)))
		if len(record) > batch {
			t.Errorf("filled with %q, %d bytes are a record of %d, expected at most %d", filler, len(text), len(record), batch)
		}
		again, err := wire.DecodeControl(record, rules.Options{})
		if err != nil || string(again.Rules.Text) != text {
			t.Errorf("filled with %q, what is read is something else: %v", filler, err)
		}
	}
	_, err := rules.Parse("large", []byte(rule+"#"+strings.Repeat("x", rules.MaxBytes)), rules.Options{})
	if err == nil || !strings.Contains(err.Error(), "large:1:1: the file has 491640 bytes, expected at most 491520") {
		t.Errorf("a larger file: %v", err)
	}
}
