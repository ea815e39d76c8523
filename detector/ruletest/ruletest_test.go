package ruletest

import (
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"sevwatch/rules"
)

const someRules = `
groups:
  - name: x
    rules:
      - alert: Errors
        signal: {ratio: {errors: error, total: latency}}
        by: [service]
        window: 30s
        severities: [{severity: sev1, above: 0.5}, {severity: sev3, above: 0.1}]
        recover: {keep_firing_for: 20s}
        labels: {team: a}
      - alert: Touched
        signal: {distinct: error}
        window: 1m
        severities: [{severity: sev2, above: 20}]
        recover: {keep_firing_for: 0s}
      - alert: Silent
        signal: {absence: latency}
        window: 1m
        severities: [{severity: sev2, above: 30}]
      - alert: SlowOnAverage
        signal: {mean: latency}
        window: 30s
        severities: [{severity: sev3, above: 300}]
        recover: {keep_firing_for: 0s}
      - alert: OneTooSlow
        signal: {max: latency}
        window: 30s
        severities: [{severity: sev3, above: 5000}]
        recover: {keep_firing_for: 0s}
      - alert: BudgetBurns
        signal: {burn_rate: {errors: 'latency{status_class="5xx"}', total: latency, objective: 0.99, short: 20s}}
        window: 2m
        severities: [{severity: sev1, above: 10}]
        recover: {keep_firing_for: 0s}
`

func ruleFile(t *testing.T, text string) *rules.File {
	t.Helper()
	f, err := rules.Parse("rules.yaml", []byte(text), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// diff is what one test, given by what stands under its name, says.
func diff(t *testing.T, body string) Result {
	t.Helper()
	f, err := Parse("t.yaml", []byte("tests:\n  - name: it\n"+body))
	if err != nil {
		t.Fatal(err)
	}
	file := ruleFile(t, someRules)
	if err := f.Check(file); err != nil {
		t.Fatal(err)
	}
	r, err := f.Run(0, file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const outage = `
    about: [Errors]
    input:
      - {feed: 0s..1m, events: ['2/s latency{service="api"} 100']}
      - {feed: 1m..2m, events: ['2/s latency{service="api"} 100 errors=100%']}
      - {feed: 2m..4m, events: ['2/s latency{service="api"} 100']}
    expect:
`

func TestWhatIsToldAsExpectedPasses(t *testing.T) {
	r := diff(t, outage+`
      - '1m10s sev3 opened Errors'
      - '1m20s Sev1 escalated Errors{service="api"}'
      - 2m30s Sev3 deescalated Errors
      - '2m40s Sev3 resolved Errors because error share 0 % over 30s has stayed under 8 %, the recovery bound of Sev3, for 20s: 0 of 60'
`)
	if r.Diff != "" || r.Name != "it" || r.Pos.Line != 2 {
		t.Errorf("%+v", r)
	}
}

// A test can say how many sessions its events come from.
func TestSessions(t *testing.T) {
	r := diff(t, `
    about: [Touched]
    input:
      - {feed: 0s..2m, events: ['500 error{service="api"} sessions=20']}
      - {feed: 2m..3m, events: ['50 error{service="api"} sessions=30', '100 error{service="api"}']}
      - {feed: 3m..5m, events: ['50 error{service="api"} sessions=10']}
    expect:
      - "2m10s Sev2 opened Touched because 30 sessions with error events over 1m is above 20 sessions (Sev2): 2550 events"
      - "4m Sev2 resolved Touched because 10 sessions with error events over 1m is under 16 sessions, the recovery bound of Sev2: 300 events"
`)
	if r.Diff != "" {
		t.Errorf("got %s", r.Diff)
	}
}

// A test can be of any signal.
func TestMeanMaxAndBurnRate(t *testing.T) {
	r := diff(t, `
    about: [SlowOnAverage, OneTooSlow, BudgetBurns]
    input:
      - {feed: 0s..2m, events: ['1/s latency 100']}
      - {feed: 2m..2m10s, events: ['9/s latency 100', '1/s latency 9000']}
      - {feed: 2m10s..3m, events: ['1/s latency 100']}
      - {feed: 3m..4m, events: ['1/s latency 100 errors=50%']}
      - {feed: 4m..5m, events: ['1/s latency 100']}
    expect:
      - "2m10s Sev3 opened SlowOnAverage because mean of latency 841.7 ms over 30s is above 300 ms (Sev3): 120 samples"
      - "2m10s Sev3 opened OneTooSlow because largest latency 9000 ms over 30s is above 5000 ms (Sev3): 120 samples"
      - "2m40s Sev3 resolved SlowOnAverage"
      - "2m40s Sev3 resolved OneTooSlow because largest latency 100 ms over 30s is under 4000 ms, the recovery bound of Sev3: 30 samples"
      - "3m50s Sev1 opened BudgetBurns"
      - "4m20s Sev1 resolved BudgetBurns because burn rate 0 times over 2m and 20s is under 8 times, the recovery bound of Sev1: 30 of 120, and 0 of 20 in the last 20s"
`)
	if r.Diff != "" {
		t.Errorf("got %s", r.Diff)
	}
}

func TestEveryMismatchIsInTheDiff(t *testing.T) {
	f := func(what, expect, want string) {
		t.Helper()
		if got := diff(t, outage+expect).Diff; got != want {
			t.Errorf("%s: the diff is\n%sexpected\n%s", what, got, want)
		}
	}
	const opened = `1m10s Sev3 opened Errors{service="api"} because error share 33.3 % over 30s is above 10 % (Sev3): 20 of 60` + "\n"
	const escalated = `1m20s Sev1 escalated Errors{service="api"} because error share 66.7 % over 30s is above 50 % (Sev1): 40 of 60` + "\n"
	const down = `2m30s Sev3 deescalated Errors{service="api"} because error share 0 % over 30s has stayed under 40 %, the recovery bound of Sev1, for 20s: 0 of 60` + "\n"
	const resolved = `2m40s Sev3 resolved Errors{service="api"} because error share 0 % over 30s has stayed under 8 %, the recovery bound of Sev3, for 20s: 0 of 60` + "\n"
	const rest = "      - 1m20s Sev1 escalated Errors\n      - 2m30s Sev3 deescalated Errors\n      - 2m40s Sev3 resolved Errors\n"
	f("another time", "      - 1m Sev3 opened Errors\n"+rest, "- 1m Sev3 opened Errors\n+ "+opened+"  "+escalated+"  "+down+"  "+resolved)
	f("another severity", "      - 1m10s Sev2 opened Errors\n"+rest, "- 1m10s Sev2 opened Errors\n+ "+opened+"  "+escalated+"  "+down+"  "+resolved)
	f("another transition", "      - 1m10s Sev3 updated Errors\n"+rest, "- 1m10s Sev3 updated Errors\n+ "+opened+"  "+escalated+"  "+down+"  "+resolved)
	f("other labels", "      - '1m10s Sev3 opened Errors{service=\"web\"}'\n"+rest, "- 1m10s Sev3 opened Errors{service=\"web\"}\n+ "+opened+"  "+escalated+"  "+down+"  "+resolved)
	f("another reason", "      - 1m10s Sev3 opened Errors because of it\n"+rest, "- 1m10s Sev3 opened Errors because of it\n+ "+opened+"  "+escalated+"  "+down+"  "+resolved)
	f("one too few", "      - 1m10s Sev3 opened Errors\n      - 2m30s Sev3 deescalated Errors\n      - 2m40s Sev3 resolved Errors\n", "  "+opened+"+ "+escalated+"  "+down+"  "+resolved)
	f("one too many", "      - 1m10s Sev3 opened Errors\n"+rest+"      - 3m Sev3 opened Errors\n", "  "+opened+"  "+escalated+"  "+down+"  "+resolved+"- 3m Sev3 opened Errors\n")
	f("the wrong order", "      - 1m20s Sev1 escalated Errors\n      - 1m10s Sev3 opened Errors\n      - 2m30s Sev3 deescalated Errors\n      - 2m40s Sev3 resolved Errors\n",
		"- 1m20s Sev1 escalated Errors\n  "+opened+"+ "+escalated+"  "+down+"  "+resolved)
}

// Late, duplicate, out of order, silent and missing: each is what it is to the engine.
func TestArrival(t *testing.T) {
	f := func(what, body string, late int64, want string) {
		t.Helper()
		r := diff(t, body)
		if r.Diff != want || r.Late != late {
			t.Errorf("%s: %d late and\n%sexpected %d and\n%s", what, r.Late, r.Diff, late, want)
		}
	}
	const calm = "      - {feed: 0s..2m, events: ['2/s latency{service=\"api\"} 100']}\n"
	const burst = "      - {feed: 1m..1m10s, events: ['1/s error{service=\"api\"}']"
	const told = "1m10s Sev3 opened Errors{service=\"api\"} because error share 16.7 % over 30s is above 10 % (Sev3): 10 of 60\n" +
		"+ 1m50s Sev3 resolved Errors{service=\"api\"} because error share 0 % over 30s has stayed under 8 %, the recovery bound of Sev3, for 20s: 0 of 60\n"
	f("in time", "    about: [Errors]\n    input:\n"+calm+burst+"}\n    expect: []\n", 0, "+ "+told)
	f("out of order", "    about: [Errors]\n    partitions: 3\n    input:\n"+calm+burst+", shuffle: 9s}\n    expect: []\n", 0, "+ "+told)
	f("late", "    about: [Errors]\n    input:\n"+calm+burst+", late: 40s}\n    expect: []\n", 10, "")
	f("twice", "    about: [Errors]\n    input:\n"+calm+burst+", duplicate: 50%}\n    expect: []\n", 0,
		strings.ReplaceAll("+ "+told, "16.7 % over 30s is above 10 % (Sev3): 10 of 60", "25 % over 30s is above 10 % (Sev3): 15 of 60"))
	f("a gap", "    about: [Silent]\n    input:\n"+calm+"    until: 4m\n    expect: []\n", 0, "")
	f("silence", "    about: [Silent]\n    input:\n"+calm+"      - {silence: 2m..4m}\n    expect: []\n", 0,
		"+ 2m40s Sev2 opened Silent because silence of latency events for 40 s is above 30 s (Sev2)\n")
	f("one partition that stops holds nothing back in the end", "    about: [Errors]\n    partitions: 2\n    input:\n"+calm+burst+", partition: 1}\n    expect: []\n",
		0, "+ "+told)
}

func TestMistakesAreAllReported(t *testing.T) {
	_, err := Parse("t.yaml", []byte(`
pane: 1ms
test: 3
tests:
  - name: a
    start: 2026-11-02T09:00:05Z
    partitions: 2
    input:
      - {feed: 5m..1m, events: [7]}
      - {feed: 0s..1m, at: 5m, events: ['1 error']}
      - {feed: 0s..1m}
      - {silence: 0s..1m, late: 5s}
      - {at: 10d, events: ['1 error{colour="red"}'], partition: 7}
      - {feed: 0s..30d, events: ['1000/s error']}
      - {events: ['1 error'], duplicate: 2}
    until: 1m
  - {name: b, partitions: 0, input: [], expect: ['5m sev1 opened', 'later sev1 opened X']}
`))
	if err == nil {
		t.Fatal("no mistake was found")
	}
	for _, want := range []string{
		`t.yaml:2:7: pane is 1ms`, `t.yaml:3:1: unknown key "test"`, `t.yaml:5:5: tests[0] lacks "expect"`, `t.yaml:17:27: partitions is 0`,
		`t.yaml:9:16: feed is "5m..1m", expected a stretch of time`, `t.yaml:9:33: events[0] is "7", expected a recipe`,
		`t.yaml:10:9: a step has feed and at`, `t.yaml:11:9: a step with feed lacks "events"`, `t.yaml:12:33: late goes with feed or at`,
		`t.yaml:13:28: the unknown label "colour"`, `t.yaml:13:65: partition is 7`, `t.yaml:15:9: a step has none of feed, at and silence`,
		`t.yaml:15:42: duplicate is "2", expected a share`, `t.yaml:9:7: the input is`, `t.yaml:16:12: until is 1m`,
		`t.yaml:17:50: expect[0] is "5m sev1 opened"`, `t.yaml:17:68: expect[1] is`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in\n%s", want, err)
		}
	}
	many := "labels: [" + strings.Repeat("x, ", 40) + "x]\ntests: [{name: a, input: [], expect: []}]\n"
	if _, err := Parse("t.yaml", []byte(many)); err == nil || !strings.Contains(err.Error(), "t.yaml:1:9: labels has 41 names, expected 40 at most") {
		t.Errorf("of 41 labels it says %v", err)
	}
	f, err := Parse("t.yaml", []byte("tests:\n  - {name: a, about: [Errors, Eros], input: [], expect: [5m sev1 opened Silent]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	err = f.Check(ruleFile(t, someRules))
	for _, want := range []string{`t.yaml:2:31: there is no rule "Eros", expected one of Errors, Touched, Silent`, `t.yaml:2:58: the test is not about Silent`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in\n%v", want, err)
		}
	}
}

// The runbook's own tests pass, and every rule of it has one in which it tells something.
func TestRunbook(t *testing.T) {
	name, data := rules.RunbookTests()
	f, err := Parse(name, data)
	if err != nil {
		t.Fatal(err)
	}
	_, runbook := rules.Runbook()
	file := ruleFile(t, string(runbook))
	if err := f.Check(file); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for i, test := range f.Tests {
		r, err := f.Run(i, file)
		if err != nil || r.Diff != "" {
			t.Errorf("%s:%d: %s: %v\n%s", name, r.Pos.Line, r.Name, err, r.Diff)
		}
		for _, l := range test.Expect {
			rule, _, _ := strings.Cut(l.about, "{")
			told[rule] = true
		}
	}
	for _, r := range file.Rules() {
		if !told[r.Alert] {
			t.Errorf("no test expects anything of %s", r.Alert)
		}
	}
}

func TestJUnit(t *testing.T) {
	data, err := JUnit([]Suite{
		{File: "a.yaml", Results: []Result{{Name: "fine"}, {Name: "<bad>", Diff: "- x\n+ y & z\n"}}, Seconds: []float64{0.001, 0.25}},
		{File: "b.yaml", Err: errors.New("b.yaml:1:1: no")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 3 || got.Failures != 1 || got.Errors != 1 || got.Suites[0].Time != "0.251000" || got.Suites[0].Cases[1].Name != "<bad>" ||
		got.Suites[0].Cases[1].Failure.Text != "- x\n+ y & z\n" || got.Suites[1].Cases[0].Error.Text != "b.yaml:1:1: no" {
		t.Errorf("%+v\n%s", got, data)
	}
}

// TestEmptyFile: of a file with nothing in it only that is said.
func TestEmptyFile(t *testing.T) {
	_, err := Parse("a.yaml", nil)
	if err == nil || err.Error() != "a.yaml:1:1: the file is empty" {
		t.Errorf("got %v", err)
	}
}
