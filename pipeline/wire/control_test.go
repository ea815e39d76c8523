package wire_test

import (
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
)

func TestControlSaysWhatIsWrong(t *testing.T) {
	f := func(record, want string) {
		t.Helper()
		got := "ok"
		if _, err := wire.DecodeControl([]byte(record)); err != nil {
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
	f(string(wire.Applied(3, detector.Applied{Offset: 0, Edge: 1793534610000}).Value), "ok")
}
