package pipeline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sevwatch/detector/stream"
	"sevwatch/pipeline/kafkatest"
)

const (
	bulletsScript = "testdata/bullets.txt"
	bulletsGolden = "testdata/bullets.golden"
)

// bulletLines are the events of the script as JSON, in the order of their time.
func bulletLines(t *testing.T) [][]byte {
	t.Helper()
	data, err := os.ReadFile(bulletsScript)
	check(t, err)
	midnight := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	clock := func(text string) int64 {
		at, err := time.Parse("15:04:05", text)
		check(t, err)
		return midnight.Add(at.Sub(at.Truncate(24 * time.Hour))).UnixMilli()
	}
	const pane = 10_000
	var events []stream.Event
	for _, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.SplitN(line, " ", 3)
		var r stream.Recipe
		check(t, r.UnmarshalText([]byte(parts[2])))
		events = append(events, r.Between(clock(parts[0]), clock(parts[1]), pane)...)
	}
	slices.SortStableFunc(events, func(x, y stream.Event) int { return cmp.Compare(x.Time, y.Time) })
	var lines [][]byte
	for _, e := range events {
		lines = append(lines, bulletLine(t, e))
	}
	return lines
}

func bulletLine(t *testing.T, e stream.Event) []byte {
	t.Helper()
	m := map[string]any{"time": e.Time, "kind": e.Kind.String()}
	for name, value := range e.Labels {
		m[name] = value
	}
	switch m["status_class"] {
	case "2xx":
		m["status"] = 200
	case "5xx":
		m["status"] = 500
	}
	delete(m, "status_class")
	if e.Valued {
		field := map[string]string{"latency": "duration_ms", "step": "dwell_ms", "vital": "value"}[e.Kind.String()]
		m[field] = json.Number(fmt.Sprintf("%d.%06d", e.Value/1e6, e.Value%1e6))
		if field == "dwell_ms" {
			m[field] = e.Value / 1e6
		}
	}
	line, err := json.Marshal(m)
	check(t, err)
	return line
}

// bulletMessages replaces what every change of the rules changes.
func bulletMessages(messages []string) []byte {
	var out bytes.Buffer
	for _, m := range messages {
		out.WriteString(m + "\n")
	}
	return regexp.MustCompile(`"file_hash":"sha256:[0-9a-f]{64}"`).ReplaceAll(out.Bytes(), []byte(`"file_hash":"that of the rules"`))
}

// TestEveryBulletOfTheRunbook: one stream in which every bullet of the four severity levels comes about, under the runbook's own rules. What
// is told is bullets.golden (UPDATE_GOLDEN=1 rewrites it), byte for byte, replayed, shuffled within the lateness, and live.
func TestEveryBulletOfTheRunbook(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	lines := bulletLines(t)
	p := newPipeline(t, addr, nil)
	want, sum := p.replayed(lines)
	if sum.Totals.Counted != int64(len(lines)) {
		t.Fatalf("%d lines, and %+v", len(lines), sum.Totals)
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		check(t, os.WriteFile(bulletsGolden, bulletMessages(want), 0o644))
	}
	sameAsGolden(t, want)
	everyBullet(t, want)
	mixed, _ := p.replayed(shuffled(t, lines, int64(p.cfg.Lateness), 1))
	same(t, "shuffled", want, mixed)
	live(t, "two workers over kfake", p, lines, want, sum, 2)
}

func TestRealEveryBulletOfTheRunbook(t *testing.T) {
	broker := kafkatest.Shared(t)
	lines := bulletLines(t)
	p := newPipeline(t, broker.Addr(), nil)
	want, sum := p.replayed(lines)
	sameAsGolden(t, want)
	live(t, "four workers over Kafka", p, lines, want, sum, 4)
}

func sameAsGolden(t *testing.T, got []string) {
	t.Helper()
	golden, err := os.ReadFile(bulletsGolden)
	check(t, err)
	same(t, bulletsGolden, strings.Split(string(golden), "\n"), strings.Split(string(bulletMessages(got)), "\n"))
}

// everyBullet holds which rule tells of each bullet, and as what.
func everyBullet(t *testing.T, messages []string) {
	t.Helper()
	told := map[string]int{}
	for _, m := range messages {
		var i struct {
			Transition, Severity string
			Labels               map[string]string
			Rule                 struct{ Name string }
		}
		check(t, json.Unmarshal([]byte(m), &i))
		told[fmt.Sprintf("%s %s %s", i.Severity, i.Rule.Name, cmp.Or(i.Labels["step"], i.Labels["service"]))]++
	}
	for _, b := range []struct{ bullet, as string }{
		{"System is down or unusable", "Sev1 SystemDown "},
		{"Data loss or corruption", "Sev1 DataLoss store"},
		{"Security breach", "Sev1 SecurityBreach login"},
		{"Major functionality impaired", "Sev2 ServiceSilent mail"},
		{"Significant performance degradation", "Sev2 SlowerThanUsual search"},
		{"High error rates", "Sev2 CriticalErrorRateSpike api"},
		{"Minor functionality issues", "Sev3 CompletionRateDrop questions"},
		{"Moderate performance impact", "Sev3 SlowerThanUsual search"},
		{"Elevated error rates", "Sev3 CriticalErrorRateSpike api"},
		{"Cosmetic issues", "Sev4 CosmeticIssues intro"},
		{"Minor bugs", "Sev4 MinorBugs web"},
		{"Non-critical metrics deviation", "Sev4 LargestContentfulPaint intro"},
	} {
		if told[b.as] == 0 {
			t.Errorf("%q: nothing is told as %q; what is told: %v", b.bullet, b.as, told)
		}
	}
}
