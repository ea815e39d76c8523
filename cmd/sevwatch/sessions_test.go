package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sevwatch/pipeline"
	"sevwatch/rules"
)

// clicks are a file's records of another shape: visitors who open a page, of whom from the tenth minute on half leave without a word.
func clicks() string {
	var b strings.Builder
	for second := range 30 * 60 {
		click := func(visitor, at int, did string) {
			fmt.Fprintf(&b, `{"visitor":"v%d","at":%d,"page":"payment","did":%q}`+"\n", visitor, 1793534400+at, did)
		}
		click(second, second, "opened")
		if by := second - 30; by >= 0 && (by < 600 || by%2 == 0) {
			click(by, second, "sent")
		}
	}
	return b.String()
}

// A file whose visitors say nothing when they leave has the incident all the same, where its source's sessions are followed.
func TestReplayFollowsSessions(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("clicks.ndjson", clicks())
	config := func(sessions string) string {
		return write("sevwatch.yaml", `
brokers: ["localhost:9092"]
sources:
  - topic: shop.clicks
    kind: step
    fields:
      session: {path: visitor}
      time: {path: at, unit: s}
      step: {path: page}
      action: {path: did, values: {opened: enter, sent: complete}}
    `+sessions)
	}
	f := func(sessions string, want ...string) {
		t.Helper()
		code, stdout, stderr := call(t, "", "replay", "--config", config(sessions), "--source", "shop.clicks", "--format", "table", file)
		expect(t, sessions, exitDone, code, stderr, "2985 counted")
		for _, text := range want {
			if !strings.Contains(stdout, text) {
				t.Errorf("%q is missing in\n%s", text, stdout)
			}
		}
		if len(want) == 0 && stdout != "" {
			t.Errorf("without sessions it told %s", stdout)
		}
	}
	f("")
	f("sessions: {timeout: 5m}", "StepAbandonment", "opened", "abandonment 46.7 % over 5m")
	code, _, stderr := call(t, "", "replay", "--config", config("sessions: {timeout: 5m}"), "--source", "shop.clicks", "--format", "none", file, write("more.ndjson", ""))
	expect(t, "two files", exitDone, code, stderr, "each file is taken for a partition")
}

// A file's sessions are counted where its source says so; a rule about them is refused where nobody does.
func TestReplayCountsSessions(t *testing.T) {
	var b strings.Builder
	for i := range 600 {
		fmt.Fprintf(&b, `{"time":%d,"kind":"error","service":"api","session":"v%d"}`+"\n", 1793534400000+i*200, i%40)
	}
	file := write(t, "errors.ndjson", []byte(b.String()))
	ruleFile := write(t, "rules.yaml", []byte("groups: [{name: g, rules: [{alert: Touched, signal: {distinct: error}, window: 1m, severities: [{severity: sev3, above: 30}]}]}]\n"))
	f := func(counts string, args []string, code int, want string) {
		t.Helper()
		config := write(t, "sevwatch.yaml", []byte("{brokers: ['localhost:9092'], sources: [{topic: errors, kind: error"+counts+"}]}\n"))
		for i := range args {
			args[i] = strings.Replace(args[i], "CONFIG", config, 1)
		}
		got, stdout, stderr := call(t, "", append([]string{"replay", "--rules", ruleFile}, append(args, file)...)...)
		expect(t, counts, code, got, stdout+stderr, want)
	}
	const refused = "distinct is error, but nobody counts the sessions of error events: no source that has them says count_sessions: true"
	source := func() []string { return []string{"--config", "CONFIG", "--source", "errors"} }
	f(", count_sessions: true", []string{"--config", "CONFIG"}, exitDone, `"impact":{"sessions":40,`)
	f(", count_sessions: true}, {topic: other", []string{"--config", "CONFIG"}, exitDone, "0 incidents not over")
	f(", count_sessions: true", source(), exitDone, `"impact":{"sessions":40,"events":50,"sentence":"50 error events in the last 1m, in 40 sessions."}`)
	f("", source(), exitUsage, refused)
	f("", nil, exitUsage, refused)
}

// Before --from as much is read as attempts need, too.
func TestWarmUpWithSessions(t *testing.T) {
	name, text := rules.Runbook()
	file, err := rules.Parse(name, text, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	need := func(sessions string) int64 {
		cfg, err := pipeline.ParseConfig("t.yaml", fmt.Appendf(nil, "{brokers: ['x:1'], sources: [{topic: a, kind: step%s}]}", sessions))
		if err != nil {
			t.Fatal(err)
		}
		engine := cfg.Engine()
		return engine.WarmUp(file)
	}
	if got, want := need(", sessions: {timeout: 5m, timeouts: {pay: 20m}}")-need(""), int64(20*60_000+5*60_000+10_000+10_000); got != want {
		t.Errorf("the warm-up is %d ms longer, expected %d", got, want)
	}
}
