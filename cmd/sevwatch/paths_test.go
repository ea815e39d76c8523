package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutputsKeepApart: no output overwrites what is read, or another output, by whatever name it is called.
func TestOutputsKeepApart(t *testing.T) {
	const labelsText = "start,end\n2026-11-01T12:01:00Z,2026-11-01T12:04:00Z\n"
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("day.ndjson"), outage())
	put(t, at("mine.yaml"), testRules)
	put(t, at("labels.csv"), labelsText)
	put(t, at("words.ndjson"), `{"v":1,"time":"2026-11-01T12:02:30.000Z","act":"silence","matchers":"{service=\"api\"}","until":"2026-11-01T13:00:00.000Z","by":"maria"}`)
	put(t, at("sevwatch.yaml"), "brokers: ['a:1']\nrules: "+at("mine.yaml")+"\n")
	put(t, at("mine_test.yaml"), "rules: mine.yaml\n"+strings.Join(strings.SplitAfter(testTests, "\n")[1:], ""))
	if err := os.Symlink(dir, at("link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(at("day.ndjson"), at("hard.ndjson")); err != nil {
		t.Fatal(err)
	}
	before := contentsOf(t, dir)
	f := func(want string, args ...string) {
		t.Helper()
		code, stdout, stderr := call(t, "", args...)
		if expect(t, strings.Join(args, " "), exitUsage, code, stderr, want); stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: it printed %q and said %q, expected one sentence", args, stdout, stderr)
		}
		for name, now := range contentsOf(t, dir) {
			if now != before[name] {
				t.Fatalf("%v: %s is another now", args, name)
			}
		}
	}
	day := at("day.ndjson")
	f("sevwatch: --report "+day+" would overwrite "+day+", which is read: expected another file\n", "replay", "--report", day, day)
	f("--windows "+day+" would overwrite", "replay", "--windows", day, day)
	f("--incidents "+at("hard.ndjson")+" would overwrite "+day, "replay", "--incidents", at("hard.ndjson"), day)
	f("--score "+at("labels.csv")+" would overwrite --labels", "replay", "--score", at("labels.csv"), "--labels", at("labels.csv"), day)
	f("would overwrite --rules", "replay", "--report", at("link/mine.yaml"), "--rules", at("mine.yaml"), day)
	f("would overwrite --config", "replay", "--report", at("sevwatch.yaml"), "--config", at("sevwatch.yaml"), day)
	f("would overwrite rules of --config", "replay", "--report", at("mine.yaml"), "--config", at("sevwatch.yaml"), day)
	f("would overwrite --control", "replay", "--report", at("words.ndjson"), "--control", at("words.ndjson"), day)
	f("--incidents "+at("x.parquet")+" and --windows "+at("x.parquet")+" are one file: expected two", "replay", "--windows", at("x.parquet"), "--incidents", at("x.parquet"), day)
	f("are one file", "replay", "--windows", at("x.parquet"), "--report", at("link/../link/x.parquet"), day)
	f("--junit "+at("mine_test.yaml")+" would overwrite "+at("mine_test.yaml"), "test", "--junit", at("mine_test.yaml"), at("mine_test.yaml"))
	f("--junit "+at("mine.yaml")+" would overwrite", "test", "--junit", at("mine.yaml"), at("mine_test.yaml"))
	code, _, stderr := call(t, "", "replay", "--windows", os.DevNull, "--incidents", os.DevNull, "--report", at("r.html"), day)
	expect(t, "nothing that could be lost", exitDone, code, stderr)
}

// TestStdinAndStdoutKeepApart: a file that the shell opened is a file, too.
func TestStdinAndStdoutKeepApart(t *testing.T) {
	day := write(t, "day.ndjson", []byte(outage()))
	f := func(want string, stdin, stdout *os.File, args ...string) {
		t.Helper()
		var stderr strings.Builder
		code := run(world{t.Context(), stdin, stdout, &stderr, 0}, args)
		expect(t, strings.Join(args, " "), exitUsage, code, stderr.String(), want)
	}
	in, err := os.Open(day)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	none, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	more, err := os.OpenFile(day, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	f("--report "+day+" would overwrite -, which is read", in, none, "replay", "--report", day, "-")
	f("- and "+day+" are the same file", in, none, "replay", "-", day)
	f("stdout would overwrite "+day, none, more, "replay", day)
	if data, err := os.ReadFile(day); err != nil || string(data) != outage() {
		t.Errorf("the file is another now, %v", err)
	}
}

// TestFilesOnlyOnce: the same events are not counted twice.
func TestFilesOnlyOnce(t *testing.T) {
	day, rules := write(t, "day.ndjson", []byte(outage())), write(t, "r.yaml", []byte(testRules))
	link := filepath.Join(t.TempDir(), "link.ndjson")
	if err := os.Symlink(day, link); err != nil {
		t.Fatal(err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		code, _, stderr := call(t, outage(), args...)
		expect(t, strings.Join(args, " "), exitUsage, code, stderr, want+": expected each file once\n")
	}
	f(day+" is given twice", "replay", day, day)
	f(day+" and "+link+" are the same file", "replay", day, link)
	f("- is given twice", "replay", "-", day, "-")
	f(" have one name but for the compression", "replay", day, filepath.Dir(day)+"/./"+filepath.Base(day)+".gz")
	f("is given twice", "diff", "--rules", rules, "--rules", rules, day, day)
	f("is given twice", "explain", "x", day, day)
	f("is given twice", "tune", "A", "--rules", rules, day, day)
	f("is given twice", "check", rules, "--against", day, "--against", day)
	code, _, stderr := call(t, "", "replay", "--format", "none", day, write(t, "day.ndjson", []byte(outage())))
	expect(t, "two files with the same events", exitDone, code, stderr)
}

// contentsOf are the texts of all files in a folder.
func contentsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, e := range entries {
		if e.Type().IsRegular() {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			texts[e.Name()] = string(data)
		}
	}
	return texts
}
