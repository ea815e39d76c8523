package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/pipeline/table"
	"sevwatch/rules"
)

func TestReplayAsCSV(t *testing.T) {
	code, stdout, _ := call(t, outage(), "replay", "--format", "csv", "-")
	expect(t, "csv", exitDone, code, stdout)
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	_, ndjson, _ := call(t, outage(), "replay", "-")
	if n := strings.Count(ndjson, "\n"); len(rows) != n+1 || n < 3 {
		t.Errorf("%d rows for %d messages", len(rows)-1, n)
	}
	if rows[0][8] != "rule" || rows[1][1] != "sevwatch.incident.opened.v1" || rows[1][8] == "" || rows[1][13] == "" {
		t.Errorf("the first rows are %q", rows[:2])
	}
	code, head, _ := call(t, outage()[:2000], "replay", "--format", "csv", "-")
	if expect(t, "csv of no message", exitDone, code, head); head != strings.Join(rows[0], ",")+"\n" {
		t.Errorf("without messages it prints %q", head)
	}
}

func TestReplayScores(t *testing.T) {
	labels := write(t, "labels.csv", []byte("start,end,service,kind\n2026-11-01T12:01:00Z,2026-11-01T12:04:00Z,api,real\n2026-11-01T12:01:00Z,2026-11-01T12:04:00Z,web,no\n"))
	score := filepath.Join(t.TempDir(), "score.json")
	code, stdout, stderr := call(t, outage(), "replay", "--format", "none", "--labels", labels, "--labels-where", "kind=real", "--score", score, "--fail-under", "recall=0.9", "-")
	expect(t, "good enough", exitDone, code, stderr, "100 % (21..100, 1 of 1)", "Sev2 and worse", "time to detect")
	if stdout != "" {
		t.Errorf("none printed %s", stdout)
	}
	data, err := os.ReadFile(score)
	var scores []struct {
		Of     string
		Recall struct{ K, N int }
	}
	if err == nil {
		err = json.Unmarshal(data, &scores)
	}
	if err != nil || scores[0].Of != "all" || scores[0].Recall.K != 1 || scores[0].Recall.N != 1 {
		t.Errorf("the score is %v, %v", scores, err)
	}
	code, _, stderr = call(t, outage(), "replay", "--format", "none", "--labels", labels, "--fail-under", "recall=0.9", "-")
	expect(t, "one missed", exitFound, code, stderr, "recall is 50 % (9..91, 1 of 2), less than 0.9")
	code, _, stderr = call(t, "", "replay", "--fail-under", "recall=0.9", "-")
	expect(t, "no labels", exitUsage, code, stderr, "need --labels")
	code, _, stderr = call(t, "", "replay", "--labels", labels, "--fail-under", "recal=0.9", "-")
	expect(t, "a typing mistake", exitUsage, code, stderr, "--fail-under is recal=0.9, expected recall or precision")
	code, _, stderr = call(t, "", "replay", "--labels", labels, "--labels-where", "sort=x", "-")
	expect(t, "no such column", exitUsage, code, stderr, `there is no column "sort"`)
}

// Known incidents outside of what was judged and given out have no part in the score.
func TestReplayScoresWhatWasJudged(t *testing.T) {
	const inside, before, after = "2026-11-01T12:01:00Z,2026-11-01T12:04:00Z\n", "2026-11-01T11:00:00Z,2026-11-01T11:04:00Z\n", "2026-11-01T13:00:00Z,2026-11-01T13:04:00Z\n"
	events := write(t, "events.ndjson", []byte(outage()))
	some := write(t, "some.csv", []byte("start,end\n"+before+inside+after))
	code, _, stderr := call(t, "", "replay", "--format", "none", "--labels", some, "--fail-under", "recall=0.9", events)
	expect(t, "two outside", exitDone, code, stderr, "2 of 3 windows lie outside of what was judged and are left out\n", "100 % (21..100, 1 of 1)")
	one := write(t, "one.csv", []byte("start,end\n"+inside+"2026-11-01T12:00:00Z,2026-11-01T12:00:30Z\n"))
	code, _, stderr = call(t, "", "replay", "--format", "none", "--labels", one, "--from", "2026-11-01T12:00:30Z", "--fail-under", "recall=0.9", events)
	expect(t, "one before --from", exitDone, code, stderr, "1 of 2 windows lies outside of what was judged and is left out\n", "100 % (21..100, 1 of 1)")
	code, stdout, stderr := call(t, "", "tune", "CriticalErrorRateSpike", "--labels", some, events)
	expect(t, "tune", exitDone, code, stdout+stderr, "2 of 3 windows lie outside of what was judged and are left out\n", "1 of 1")

	none := write(t, "none.csv", []byte("start,end\n"+before+after))
	const sentence = "sevwatch: no window of --labels meets what was judged and given out\n" +
		"judged:  2026-11-01T12:00:00.000Z to 2026-11-01T12:03:40.000Z\nwindows: 2026-11-01T11:00:00.000Z to 2026-11-01T13:04:00.000Z\n"
	code, _, stderr = call(t, "", "replay", "--format", "none", "--labels", none, "--fail-under", "recall=0", events)
	expect(t, "all outside", exitUsage, code, stderr, sentence)
	code, stdout, stderr = call(t, "", "tune", "CriticalErrorRateSpike", "--labels", none, events)
	expect(t, "tune with all outside", exitUsage, code, stdout+stderr, sentence)
	code, _, stderr = call(t, "", "replay", "--format", "none", "--labels", none, "--to", "2026-11-01T11:02:00Z", events)
	expect(t, "nothing judged", exitUsage, code, stderr, "nothing was judged, so no window of --labels can be scored\n")
	code, _, stderr = call(t, "", "replay", "--format", "none", "--labels", one, "--from", "2026-11-01T12:03:50Z", events)
	expect(t, "nothing judged, within a window", exitUsage, code, stderr, "nothing was judged, so no window of --labels can be scored\n")
}

// The score says what the columns of its labels were taken for, and a rule that there is not is a mistake.
func TestReplayScoresSayColumns(t *testing.T) {
	const window = "2026-11-01T12:01:00Z,2026-11-01T12:04:00Z"
	events := write(t, "events.ndjson", []byte(outage()))
	f := func(labels, want string, code int, args ...string) {
		t.Helper()
		path := write(t, "labels.csv", []byte(labels))
		args = append([]string{"--labels", path, events}, args...)
		got, _, stderr := call(t, "", append([]string{"replay", "--format", "none"}, args...)...)
		expect(t, "replay", code, got, stderr, strings.ReplaceAll(want, "labels.csv", path))
		got, _, stderr = call(t, "", append([]string{"tune", "CriticalErrorRateSpike"}, args...)...)
		expect(t, "tune", code, got, stderr, strings.ReplaceAll(want, "labels.csv", path))
	}
	f("start,end,service,type,why\n"+window+",api,x,y\n", "\nwindows narrowed by: service; not used: type, why\n", exitDone)
	f("start,end,servce\n"+window+",web\n", "\nwindows narrowed by: nothing; not used: servce\n", exitDone)
	f("start,end,rule\n"+window+",CriticalErrorRateSpike\n", "\nwindows narrowed by: rule\n", exitDone)
	f("start,end,rule\n"+window+",\n"+window+",CriticalErrorRateSpik\n", "labels.csv:3: there is no rule \"CriticalErrorRateSpik\" in the rule file\n", exitUsage)
	f("start,end,kind\n"+window+",real\n"+window+",no\n", "labels.csv has no windows that count\nkind has the values: \"no\", \"real\"\n", exitUsage, "--labels-where", "kind=rael")
}

// Thresholds are tuned against the windows of their rule, and against those of any.
func TestTuneAgainstWindowsOfRules(t *testing.T) {
	const window = "2026-11-01T12:01:00Z,2026-11-01T12:04:00Z,"
	events := write(t, "events.ndjson", []byte(outage()))
	f := func(windows, want string, code int) {
		t.Helper()
		labels := write(t, "labels.csv", []byte("start,end,rule\n"+windows))
		got, stdout, stderr := call(t, "", "tune", "CriticalErrorRateSpike", events, "--labels", labels)
		expect(t, windows, code, got, stdout+stderr, want)
	}
	own, other := window+"CriticalErrorRateSpike\n", window+"SlowerThanUsual\n"
	f(own, "100 % (21..100, 1 of 1)  100 % (21..100, 1 of 1)", exitDone)
	f(own+other, "\n1 of 2 windows is about another rule and is left out\n", exitDone)
	f(window+"\n"+other+other, "100 % (21..100, 1 of 1)  100 % (21..100, 1 of 1)", exitDone)
	f(window+"\n"+other+other, "\n2 of 3 windows are about other rules and are left out\n", exitDone)
	f(other, "sevwatch: no window of --labels is about CriticalErrorRateSpike\n", exitUsage)
}

// What is open at --from is known with its true times, even if nothing is told of it from then on; messages are those of the range.
func TestAnalysesFromTheMiddle(t *testing.T) {
	events := write(t, "events.ndjson", []byte(outage()))
	rules := write(t, "rules.yaml", []byte(testRules))
	later := write(t, "later.yaml", []byte(strings.ReplaceAll(testRules, "above: 3", "above: 300")))
	_, all, _ := call(t, "", "replay", "--rules", rules, events)
	var opened struct {
		ID string
		At string
	}
	if err := json.Unmarshal([]byte(all), &opened); err != nil || strings.Count(all, "\n") != 1 || opened.At != "2026-11-01T12:01:10.000Z" {
		t.Fatalf("the outage is another: %v %s", err, all)
	}
	const from = "--from=2026-11-01T12:02:00Z"
	labels := write(t, "labels.csv", []byte("start,end\n2026-11-01T12:01:00Z,2026-11-01T12:03:00Z\n2026-11-01T12:02:30Z,2026-11-01T12:03:00Z\n"))
	report, score := filepath.Join(t.TempDir(), "r.html"), filepath.Join(t.TempDir(), "score.json")
	code, stdout, stderr := call(t, "", "replay", from, "--rules", rules, "--labels", labels, "--score", score, "--report", report, events)
	expect(t, "replay", exitDone, code, stderr, "1 message before --from left out")
	if stdout != "" {
		t.Errorf("messages from before --from were printed: %s", stdout)
	}
	data, err := os.ReadFile(score)
	var scores []history.Score
	if err = errors.Join(err, json.Unmarshal(data, &scores)); err != nil {
		t.Fatal(err)
	}
	if s := scores[0]; s.Incidents != 1 || s.Found != 1 || s.Already != 1 || s.OpenMs != 100_000 || len(s.DetectMs) != 1 || s.DetectMs[0] != 10_000 {
		t.Errorf("the score is %+v", s)
	}
	if page, err := os.ReadFile(report); err != nil || !strings.Contains(string(page), "told 2026-11-01 12:01:10, lasted 2m") {
		t.Errorf("the incident is not in the report, %v", err)
	}
	code, stdout, stderr = call(t, "", "explain", opened.ID[:8], from, "--rules", rules, events)
	expect(t, "explain", exitDone, code, stdout+stderr, "told first 2026-11-01T12:01:10.000Z", "2026-11-01T12:01:10.000Z  ", "Sev1 opened: ")
	code, stdout, stderr = call(t, "", "diff", from, "--rules", rules, "--rules", later, events)
	expect(t, "diff", exitFound, code, stdout+stderr, "2026-11-01T12:01:10.000Z  Sev1  A: opens ", " later\n", "1 incident before, 1 after, 1 different")

	code, stdout, stderr = call(t, "", "diff", "--from=2030-01-01T00:00:00Z", "--rules", rules, "--rules", later, events)
	expect(t, "diff of nothing", exitDone, code, stdout+stderr, "0 incidents before, 0 after, 0 different")
	_, _, _ = call(t, "", "replay", "--from=2030-01-01T00:00:00Z", "--rules", rules, "--report", report, events)
	if page, err := os.ReadFile(report); err != nil || !strings.Contains(string(page), "No incident.") {
		t.Errorf("nothing was judged, but there is an incident in the report, %v", err)
	}
}

func TestDiff(t *testing.T) {
	events := write(t, "events.ndjson", []byte(outage()))
	a := write(t, "a.yaml", []byte(strings.ReplaceAll(testRules, "count: error", "rate: error")))
	b := write(t, "b.yaml", []byte(strings.ReplaceAll(strings.ReplaceAll(testRules, "count: error", "rate: error"), "above: 3", "above: 15")))
	code, stdout, stderr := call(t, "", "diff", "--rules", a, "--rules", b, events)
	expect(t, "another threshold", exitFound, code, stdout+stderr, "2026-11-01T12:01:10.000Z  Sev1  A: opens 40s later", "1 incident before, 1 after, 1 different")
	code, stdout, _ = call(t, "", "diff", "--rules", a, "--rules", b, "--format", "json", events)
	var changes []changeJSON
	if err := json.Unmarshal([]byte(stdout), &changes); err != nil || code != exitFound || len(changes) != 1 || changes[0].Before.ID == changes[0].After.ID {
		t.Errorf("as JSON: %v %s", err, stdout)
	}
	code, stdout, _ = call(t, "", "diff", "--rules", a, "--rules", b, "--format", "html", events)
	expect(t, "as a page", exitFound, code, stdout, "<!DOCTYPE html>", "<h1>1 different incident</h1>", "<td>opens 40s later</td><td>Sev1, 2026-11-01T12:01:10.000Z</td>")
	code, stdout, stderr = call(t, "", "diff", "--rules", a, "--rules", a, events)
	expect(t, "the same rules", exitDone, code, stdout+stderr, "0 differ")
	code, _, stderr = call(t, "", "diff", "--rules", a, events)
	expect(t, "one rule file", exitUsage, code, stderr, "--rules is given 1 times, expected twice")
	code, _, stderr = call(t, "", "diff", "--rules", a, "--rules", b, "-")
	expect(t, "stdin", exitUsage, code, stderr, "stdin cannot be read twice")
}

func TestExplain(t *testing.T) {
	events := write(t, "events.ndjson", []byte(outage()))
	_, messages, _ := call(t, "", "replay", events)
	var first struct{ ID, Reason string }
	if err := json.Unmarshal([]byte(strings.SplitN(messages, "\n", 2)[0]), &first); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := call(t, "", "explain", first.ID[:8], events)
	expect(t, "explain", exitDone, code, stdout+stderr, first.ID, " breaches Sev", "; held: Sev", "opened: "+first.Reason)
	_, upper, _ := call(t, "", "explain", strings.ToUpper(first.ID[:8]), events)
	if upper != stdout {
		t.Errorf("an id in capitals explains %s", upper)
	}
	code, _, stderr = call(t, "", "explain", events)
	expect(t, "no id", exitUsage, code, stderr, "is a file, expected the id of an incident before it")
	code, _, stderr = call(t, "", "explain", "nothing", events)
	expect(t, "no such incident", exitFound, code, stderr, "no incident begins with nothing")
}

// TestExplainAPart: an incident that became part of another one is not told, and the other one is named.
func TestExplainAPart(t *testing.T) {
	events := write(t, "events.ndjson", []byte(outage()))
	rules := write(t, "rules.yaml", []byte("correlate: {within: 5m}\n"+testRules+
		"      - {alert: B, signal: {count: error}, window: 1m, severities: [{severity: sev2, above: 3}]}\n"))
	_, messages, _ := call(t, "", "replay", "--rules", rules, events)
	var whole detector.Incident
	for line := range strings.Lines(messages) {
		must(t, json.Unmarshal([]byte(line), &whole))
	}
	if len(whole.Children) != 1 {
		t.Fatalf("the children are %q:\n%s", whole.Children, messages)
	}
	code, _, stderr := call(t, "", "explain", whole.Children[0][:8], "--rules", rules, events)
	expect(t, "a part", exitFound, code, stderr, whole.Children[0][:8]+" became part of the incident "+whole.ID+", A, and has no story of its own: explain that one\n")
}

// TestExplainOneGroup: the story of an incident has the windows of its own group and domain, and none of those that have a label more or another domain.
func TestExplainOneGroup(t *testing.T) {
	var b strings.Builder
	for i := range 180 {
		at := time.Date(2026, 11, 1, 12, 0, i, 0, time.UTC).Format(time.RFC3339)
		for n, labels := range []string{`"service":"api"`, `"service":"api","step":"questions"`, `"service":"api","tenant":"acme"`} {
			if count := 5 - n; i >= 60 && i < 60+10*count { // each has another count, to be told apart by
				fmt.Fprintf(&b, `{"time":%q,"kind":"error",%s}`+"\n", at, labels)
			}
		}
		fmt.Fprintf(&b, `{"time":%q,"kind":"latency","duration_ms":1}`+"\n", at)
	}
	events := write(t, "events.ndjson", []byte(b.String()))
	rules := write(t, "rules.yaml", []byte("groups: [{name: g, rules: [{alert: A, signal: {rate: error}, window: 1m, by: [service, step], "+
		"severities: [{severity: sev1, above: 0.1}]}]}]\n"))
	config := write(t, "sevwatch.yaml", []byte("brokers: [\"h:1\"]\ndomain: tenant\n"))
	_, messages, _ := call(t, "", "replay", "--config", config, "--rules", rules, events)
	stories := 0
	for line := range strings.Lines(messages) {
		var i detector.Incident
		must(t, json.Unmarshal([]byte(line), &i))
		if i.Revision != 1 {
			continue
		}
		stories++
		code, stdout, stderr := call(t, "", "explain", i.ID, "--config", config, "--rules", rules, events)
		expect(t, "explain", exitDone, code, stdout+stderr, " breaches Sev1")
		seen := map[string]bool{}
		for line := range strings.Lines(stdout) {
			if end := strings.Fields(line); strings.HasPrefix(line, "2026") && seen[end[0]] {
				t.Errorf("the story of %v has two windows that end at %s:\n%s", i.Labels, end[0], stdout)
				break
			} else if strings.HasPrefix(line, "2026") {
				seen[end[0]] = true
			}
		}
	}
	if stories != 3 {
		t.Errorf("%d incidents, expected 3:\n%s", stories, messages)
	}
}

func TestReplayReports(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	code, stdout, stderr := call(t, outage()+"nonsense\n", "replay", "--report", path, "-")
	expect(t, "a report", exitDone, code, stderr, "1 rejected")
	_, plain, _ := call(t, outage(), "replay", "-")
	if stdout != plain {
		t.Error("the report changed what was printed")
	}
	page, err := os.ReadFile(path)
	for _, want := range []string{"<!DOCTYPE html>", "CriticalErrorRateSpike{service=&#34;api&#34;}", "not_json"} {
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("%q is not in the report, %v", want, err)
		}
	}
	late := strings.Repeat(`{"time":"2026-11-01T12:02:44.950Z","kind":"error","service":"api"}`+"\n", 100)
	code, _, stderr = call(t, outage()+late, "replay", "--report", path, "-")
	expect(t, "a report of late records", exitDone, code, stderr, "100 late")
	if page, err := os.ReadFile(path); err != nil || !strings.Contains(string(page), "1.2 % of the records came too late and are in no window: late 100 of file under a lateness of 10s; ") {
		t.Errorf("no warning is in the report, %v", err)
	}
	code, _, stderr = call(t, outage(), "replay", "--format", "none", "--report", filepath.Join(t.TempDir(), "no", "folder.html"), "-")
	expect(t, "no such folder", exitWorld, code, stderr, "cannot write the report")
}

func TestCheckAgainst(t *testing.T) {
	events := write(t, "events.ndjson", []byte(outage()))
	rules := write(t, "rules.yaml", []byte(strings.ReplaceAll(testRules, "count: error", `count: 'error{service="apo"}'`)))
	code, stdout, stderr := call(t, "", "check", rules, "--against", events)
	expect(t, "a typing mistake", exitFound, code, stdout+stderr, "rules.yaml:4:9: A: error{service=\"apo\"} matches none of the 8399 events\n  look for a typing mistake")
	rules = write(t, "rules.yaml", []byte(strings.ReplaceAll(testRules, "count: error", "rate: error")))
	code, stdout, stderr = call(t, "", "check", rules, "--against", events)
	expect(t, "a rule that fires most of the time", exitFound, code, stdout+stderr, "A: an incident of it was open for ", "raise the threshold")
	// B is a part of A's incident from its beginning to its end, and C never fires.
	rules = write(t, "rules.yaml", []byte("correlate: {within: 5m}\n"+testRules+
		"      - {alert: B, signal: {count: error}, window: 1m, severities: [{severity: sev2, above: 3}]}\n"+
		"      - {alert: C, signal: {count: error}, window: 1m, severities: [{severity: sev2, above: 1000000}]}\n"))
	code, stdout, stderr = call(t, "", "check", rules, "--against", events)
	expect(t, "a rule whose incidents are parts of another one", exitFound, code, stderr, "rules.yaml:9:9: B: fired only as part of incidents of other rules")
	expect(t, "a rule that never fires beside it", exitFound, code, stdout, "rules.yaml:10:9: C: never fired in ")
	if strings.Contains(stdout, " B: ") {
		t.Errorf("it is found that %s", stdout)
	}
	code, _, stderr = call(t, "", "check", rules, "--against", "nothing.ndjson")
	expect(t, "no history", exitUsage, code, stderr, "cannot open the input")
}

func TestTune(t *testing.T) {
	events := write(t, "events.ndjson", []byte(outage()))
	text := "# keep me\ngroups:\n  - name: x\n    rules:\n      - alert: A # and me\n        signal: {rate: error}\n        window: 1m\n        severities:\n" +
		"          - {severity: sev1, above: 40, for: 0s} # and me too\n          - {severity: sev2, above: 8}\n"
	rules := write(t, "rules.yaml", []byte(text))
	labels := write(t, "labels.csv", []byte("start,end\n2026-11-01T12:01:00Z,2026-11-01T12:04:00Z\n"))
	code, stdout, stderr := call(t, "", "tune", "A", events, "--rules", rules)
	expect(t, "without labels", exitDone, code, stdout+stderr, "Sev1  10         2749.1            1 of 1        10s    \n", "Sev1  20         0.0               0 of 1        -      proposed\n",
		"Sev1  40         0.0               0 of 1        -      now\n", "Sev2  16         2749.1            1 of 1        30s    \n", // of eight errors a second each comes later than the last
		"no more incidents than 1 a week for Sev1", "the history is 3m40s long, less than a week")
	put(t, rules, "correlate: {within: 5m}\n"+text)
	if _, apart, _ := call(t, "", "tune", "A", events, "--rules", rules); apart != stdout {
		t.Errorf("thresholds became part of each other's incidents:\n%s", apart)
	}
	put(t, rules, text)
	code, stdout, stderr = call(t, "", "tune", "A", events, "--rules", rules, "--labels", labels)
	expect(t, "with labels", exitDone, code, stdout+stderr, "100 % (21..100, 1 of 1)", "proposed", "now")
	if data, err := os.ReadFile(rules); err != nil || string(data) != text {
		t.Errorf("it wrote although it was not told: %v\n%s", err, data)
	}
	code, stdout, stderr = call(t, "", "tune", "A", events, "--rules", rules, "--labels", labels, "--write")
	expect(t, "--write", exitDone, code, stdout+stderr, "the thresholds of A were written")
	// At most 20 errors a second come: 40 was never reached, half of it neither, a quarter is.
	want := strings.ReplaceAll(text, "above: 40, for", "above: 10, for")
	if data, err := os.ReadFile(rules); err != nil || string(data) != want {
		t.Errorf("it wrote\n%s\nexpected\n%s", data, want)
	}
	upside := strings.ReplaceAll(text, "above: 8", "above: 16") // sev1 would become 10
	put(t, rules, upside)
	code, _, stderr = call(t, "", "tune", "A", events, "--rules", rules, "--labels", labels, "--write")
	expect(t, "thresholds that do not go together", exitFound, code, stderr, "nothing was written", "Sev1 is looser than Sev2")
	if data, err := os.ReadFile(rules); err != nil || string(data) != upside {
		t.Errorf("it wrote\n%s", data)
	}
	code, _, stderr = call(t, "", "tune", "B", events, "--rules", rules)
	expect(t, "no such rule", exitUsage, code, stderr, `there is no rule "B"`)
	put(t, rules, strings.ReplaceAll(text, "above: 40", "above: 80"))
	code, _, stderr = call(t, "", "tune", "A", events, "--rules", rules, "--write")
	expect(t, "--write without labels", exitDone, code, stderr, "the thresholds of A were written")
	if data, err := os.ReadFile(rules); err != nil || !strings.Contains(string(data), "above: 80, for: 0s} # and me too\n          - {severity: sev2, above: 24}") {
		t.Errorf("it wrote\n%s", data)
	}
	put(t, rules, strings.NewReplacer("above: 40", "above: 2", "above: 8", "above: 1").Replace(text))
	code, stdout, stderr = call(t, "", "tune", "A", events, "--rules", rules, "--write", "--at-most=0")
	expect(t, "nothing is bearable", exitDone, code, stdout+stderr, "too many, as all are", "the threshold of Sev2 stays")
	if strings.Contains(stdout, "proposed") {
		t.Errorf("it proposes what is too much:\n%s", stdout)
	}
	code, _, stderr = call(t, "", "tune", "A", events, "--write")
	expect(t, "nothing to write", exitUsage, code, stderr, "--write needs --rules: a file to write")
	code, _, stderr = call(t, "", "tune", "A", events, "--at-most=-1")
	expect(t, "less than nothing", exitUsage, code, stderr, "--at-most is -1, expected 0 or more")
}

// TestTuneUnmovable: a threshold that is a bound itself stays, and where there is no other there is nothing to tune.
func TestTuneUnmovable(t *testing.T) {
	events := write(t, "events.ndjson", []byte(outage()))
	text := "groups: [{name: g, rules: [{alert: A, signal: {ratio: {errors: error, total: latency}}, window: 1m, severities: [\n" +
		"  {severity: sev1, above: 0.2},\n  {severity: sev2, above: 0}]}]}]\n"
	rules := write(t, "rules.yaml", []byte(text))
	code, stdout, stderr := call(t, "", "tune", "A", events, "--rules", rules, "--write")
	expect(t, "one of two", exitDone, code, stdout+stderr, "thresholds that cannot be moved stay: 0 of Sev2\n", "Sev1  0.2 ", "the thresholds of A were written")
	if data, err := os.ReadFile(rules); err != nil || !strings.Contains(string(data), "{severity: sev2, above: 0}") {
		t.Errorf("it wrote %v\n%s", err, data)
	}
	put(t, rules, strings.Replace(text, "  {severity: sev1, above: 0.2},\n", "", 1))
	for _, args := range [][]string{{"--rules", rules}, {"--rules", rules, "--write"}} {
		code, stdout, stderr = call(t, "", append([]string{"tune", "A", events}, args...)...)
		if expect(t, "the only one", exitUsage, code, stderr, "sevwatch: A has no threshold that can be moved: 0 of Sev2\n"); stdout != "" {
			t.Errorf("it prints %s", stdout)
		}
	}
}

func TestReplayAsParquet(t *testing.T) {
	dir := t.TempDir()
	incidents, windows := filepath.Join(dir, "i.parquet"), filepath.Join(dir, "w.parquet")
	code, stdout, stderr := call(t, outage(), "replay", "--incidents", incidents, "--windows", windows, "--report", filepath.Join(dir, "r.html"), "-")
	expect(t, "parquet", exitDone, code, stderr)
	var told []detector.Incident
	for line := range strings.Lines(stdout) {
		var i detector.Incident
		if err := json.Unmarshal([]byte(line), &i); err != nil {
			t.Fatal(err)
		}
		if i.ID != "" {
			told = append(told, i)
		}
	}
	rows := readTable[table.Incident](t, incidents)
	if len(rows) != len(told) || len(rows) < 2 {
		t.Fatalf("%d rows for %d revisions", len(rows), len(told))
	}
	for n, row := range rows {
		i := told[n]
		if row.ID != i.ID || row.At != int64(i.At) || row.Revision != int32(i.Revision) || row.Severity != int32(i.Severity) || row.Reason != i.Reason ||
			row.Labels["service"] != i.Labels["service"] || row.Threshold != float64(i.Signal.Threshold) || (row.PreviousSeverity == nil) != (i.PreviousSeverity == 0) {
			t.Errorf("row %d is %+v of %+v", n, row, i)
		}
	}
	held := map[string]bool{}
	for _, w := range readTable[table.Window](t, windows) {
		if w.End-w.Start < 120_000 || w.Evidence == "" || (w.Evidence == "enough") != (w.Value != nil) {
			t.Errorf("a window is %+v", w)
		}
		if w.Held != nil && w.Incident != nil { // the window that opens it is judged before it is told
			held[*w.Incident] = true
		}
	}
	if !held[told[0].ID] {
		t.Errorf("no window holds a tier of %s: %v", told[0].ID, held)
	}
	code, _, stderr = call(t, outage(), "replay", "--windows", filepath.Join(dir, "no", "w.parquet"), "-")
	expect(t, "no such folder", exitWorld, code, stderr, "cannot write a table")
}

func readTable[T any](t *testing.T, path string) []T {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := table.Read[T](bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// always is a distribution of one value.
type always float64

func (v always) Quantile(float64) float64       { return float64(v) }
func (v always) CountAbove(x float64) (n int64) { return 0 }
func (v always) CountBelow(x float64) (n int64) { return 0 }

// TestExplainFloor: what is far from usual and healthy all the same is said to be so for its floor.
func TestExplainFloor(t *testing.T) {
	file, err := rules.Parse("rules.yaml", []byte("groups: [{name: g, rules: [{alert: A, signal: {deviation: {quantile: {of: latency, q: 0.95}, floor: 100}}, "+
		"window: 1m, severities: [{severity: sev1, above: 10}, {severity: sev2, above: 4}]}]}]"), rules.Options{})
	must(t, err)
	f := func(value, usual float64, want string) {
		t.Helper()
		r := file.Rules()[0]
		m := rules.Measure{Num: 423, Dist: always(value * usual), Learned: true, Usual: usual}
		if got := windowSentence(&detector.Judgement{Rule: r, Measure: m, Verdict: rules.Verdict{Evidence: rules.Enough, Value: value, Worst: 2, Healthy: 2}}); got != want {
			t.Errorf("got %q, expected %q", got, want)
		}
	}
	f(4.76, 10, "4.76 times the usual (of 423) is healthy: under the floor of 100 ms")
	f(1.2, 10, "1.2 times the usual (of 423) is healthy")
}
