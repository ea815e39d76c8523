package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testRules = "groups:\n  - name: x\n    rules:\n      - alert: A\n        signal: {count: error}\n        window: 1m\n        severities: [{severity: sev1, above: 3}]\n"
	testTests = "rules: r.yaml\ntests:\n  - name: four are too many\n    input: [{at: 5s, events: ['4 error']}]\n    expect: [10s sev1 opened A]\n"
)

// testFiles are a file of tests and its rules, in one folder.
func testFiles(t *testing.T) (tests, rules string) {
	t.Helper()
	dir := t.TempDir()
	tests, rules = filepath.Join(dir, "r_test.yaml"), filepath.Join(dir, "r.yaml")
	put(t, rules, testRules)
	put(t, tests, testTests)
	return tests, rules
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTest(t *testing.T) {
	code, stdout, stderr := call(t, "", "test")
	expect(t, "the runbook's own", exitDone, code, stdout+stderr, "0 failed")
	tests, rules := testFiles(t)
	code, stdout, stderr = call(t, "", "test", "-v", tests)
	expect(t, "a test that passes", exitDone, code, stdout+stderr, "1 test passed, 0 failed", tests+":3: passed in")
	put(t, rules, strings.ReplaceAll(testRules, "above: 3", "above: 4"))
	junit := filepath.Join(t.TempDir(), "out.xml")
	code, stdout, stderr = call(t, "", "test", "--junit", junit, tests)
	expect(t, "one that fails", exitFound, code, stdout+stderr, tests+":3: failed: four are too many", "    - 10s sev1 opened A\n", "0 tests passed, 1 failed")
	if xml, err := os.ReadFile(junit); err != nil || !strings.Contains(string(xml), `<failure message="told something else than expected">`) {
		t.Errorf("junit: %v\n%s", err, xml)
	}
	put(t, rules, "groups: []\nx: 1\n")
	code, stdout, _ = call(t, "", "test", tests)
	expect(t, "bad rules", exitUsage, code, stdout, `r.yaml:2:1: unknown key "x"`)
	code, stdout, _ = call(t, "", "test", write(t, "bad.yaml", []byte("tests: 5\n")))
	expect(t, "bad tests", exitUsage, code, stdout, "bad.yaml:1:8: tests is \"5\", expected a list")
	code, _, stderr = call(t, "", "test", filepath.Join(t.TempDir(), "none.yaml"))
	expect(t, "no file", exitUsage, code, stderr, "cannot read the tests")
}

// safeBuffer is written by one goroutine and read by another.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestTestWatchesTestsAndRules(t *testing.T) {
	tests, rules := testFiles(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out safeBuffer
	done := make(chan int, 1)
	go func() {
		done <- run(world{ctx, strings.NewReader(""), &out, &out, 0}, []string{"test", "--watch", tests})
	}()
	wait := func(want string) {
		t.Helper()
		deadline := time.After(time.Minute)
		for !strings.Contains(out.String(), want) {
			select {
			case <-deadline:
				t.Fatalf("it never said %q, only %q", want, out.String())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	wait("1 test passed, 0 failed")
	put(t, rules, strings.ReplaceAll(testRules, "above: 3", "above: 4"))
	wait("0 tests passed, 1 failed")
	put(t, tests, strings.ReplaceAll(testTests, "[10s sev1 opened A]", "[]"))
	wait("1 test passed, 0 failed, in")
	cancel()
	if code := <-done; code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// The examples in the guide are true: of a rule, with a test of it over days that are busy by day and idle at night, and of a test.
func TestGuidesExamples(t *testing.T) {
	guide, err := os.ReadFile("../../docs/analysts.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for rest := string(guide); ; {
		_, behind, found := strings.Cut(rest, "```yaml\n")
		if !found {
			break
		}
		var example string
		example, rest, _ = strings.Cut(behind, "```")
		examples = append(examples, example)
	}
	if len(examples) != 2 {
		t.Fatalf("the guide has %d examples, expected a rule and a test", len(examples))
	}
	rule := write(t, "rule.yaml", []byte(examples[0]))
	code, stdout, stderr := call(t, "", "check", rule)
	expect(t, "the guide's rule", exitDone, code, stdout+stderr, "")
	code, stdout, stderr = call(t, "", "test", write(t, "days.yaml", fmt.Appendf(nil, days, rule)))
	expect(t, "the guide's rule over days", exitDone, code, stdout+stderr, "1 test passed, 0 failed")
	code, stdout, stderr = call(t, "", "test", write(t, "guide.yaml", []byte(examples[1])))
	expect(t, "the guide's test", exitDone, code, stdout+stderr, "1 test passed, 0 failed")
}

// days are three in which every night is a twelfth of a day, and a fourth that is a third of a day from noon on.
const days = `
rules: %s
tests:
  - name: nights are no drop, a bad noon is
    start: 2026-11-02T06:00:00Z
    input:
      - {feed: 0s..80h, events: ['12/m latency{service="web"} 80..120']} # what came at all was seen
      - {feed: 0s..12h, events: ['12/m latency{service="api"} 80..120']}
      - {feed: 12h..24h, events: ['1/m latency{service="api"} 80..120']}
      - {feed: 24h..36h, events: ['12/m latency{service="api"} 80..120']}
      - {feed: 36h..48h, events: ['1/m latency{service="api"} 80..120']}
      - {feed: 48h..60h, events: ['12/m latency{service="api"} 80..120']}
      - {feed: 60h..72h, events: ['1/m latency{service="api"} 80..120']}
      - {feed: 72h..78h, events: ['12/m latency{service="api"} 80..120']}
      - {feed: 78h..80h, events: ['4/m latency{service="api"} 80..120']}
    expect:
      - 3d6h16m20s Sev3 opened TrafficDrop
`
