package detector

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"sevwatch/rules"
)

// lottery is a generator of its own (SplitMix64), so that the golden stream is the same for ever and everywhere.
type lottery uint64

func (l *lottery) upTo(n int64) int64 {
	*l += 0x9e3779b97f4a7c15
	z := uint64(*l)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int64((z ^ z>>31) >> 1 % uint64(n))
}

// TestGoldenHash: the outputs of a fixed stream have one hash, on every machine and in every version. When it changes, so do the messages
// of a replay: rewrite it (-update) only if you can say why.
func TestGoldenHash(t *testing.T) {
	cfg := DefaultConfig()
	cfg.CountSessions = map[string]bool{"events": true}
	outputs := goldenRun(cfg, goldenRules(t, func(yaml string) string { return yaml }), nil)
	text := lines(outputs)
	for _, signal := range []string{"ratio", "quantile", "mean", "max", "deviation", "rate", "completion", "abandonment", "absence", "count", "distinct", "burn_rate"} {
		if !strings.Contains(text, `"signal":{"name":"`+signal+`"`) {
			t.Errorf("the golden stream tells nothing of %s", signal)
		}
	}
	if !strings.Contains(text, "with latency events over 5m is above") || !strings.Contains(text, ", in about ") {
		t.Error("the golden stream tells of no number of sessions, or of no estimate")
	}
	if n := strings.Count(text, "\n"); n < 200 {
		t.Errorf("the golden stream has only %d messages", n)
	}
	obeyed(t, "golden stream", outputs)
	sum := sha256.Sum256([]byte(text))
	got := hex.EncodeToString(sum[:]) + " " + strconv.Itoa(len(outputs)) + " messages\n"
	const name = "testdata/golden.sha256"
	if *flagUpdate {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the golden stream has the hash %sexpected %s", got, want)
	}
}

func goldenRules(t *testing.T, change func(yaml string) string) *rules.File {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file, err := rules.Parse("golden.yaml", []byte(change(string(data))), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// goldenRun judges two hours of a made-up Friday evening. After each event, exchange may put another judge in the place of the one that
// has read so many.
func goldenRun(cfg Config, file *rules.File, exchange func(n int64, j *Judge) *Judge) []Output {
	agg, judge := NewAggregator(cfg, 0, 1), NewJudge(cfg, file)
	agg.SetPartitions(PartitionSet{Version: 1, Topics: map[string]int{"events": 1}})
	p := agg.Add(Source{"events", 0}, 0, NewPartitionState())
	var l lottery
	var out []Output
	const start = 1793984400000 // 2026-11-06T17:00:00Z
	for now := int64(start); now < start+2*3600_000; now += 1 + l.upTo(700) {
		if l.upTo(2000) == 0 { // sometimes nothing comes for a while, and that is on record or not
			now += l.upTo(180_000)
			agg.Advance(p, now-cfg.Lateness, l.upTo(2) == 0)
		}
		e := goldenEvent(&l, now, (now-start)/600_000)
		agg.Count(p, p.Offset(), e.of(&cfg))
		deltas, progress := agg.Flush()
		for i := range deltas {
			judge.Delta(&deltas[i])
		}
		if err := judge.Progress(&progress); err != nil {
			panic(err)
		}
		out = append(out, judge.Advance()...)
		if exchange != nil {
			judge = exchange(p.Offset(), judge)
		}
	}
	return out
}

// goldenEvent is an event in one of twelve moods.
func goldenEvent(l *lottery, now, mood int64) taleEvent {
	e := taleEvent{time: now - l.upTo(12_000), labels: map[string]string{
		"service": []string{"api", "web"}[l.upTo(2)], "endpoint": []string{"/a", "/b", ""}[l.upTo(3)],
		"version": strconv.FormatInt(1+mood/3, 10), "step": []string{"s1", "s2"}[l.upTo(2)],
	}}
	e.session = strconv.FormatInt(now%[]int64{200_000, 200_000, 50, 400_000}[mood%4], 10)
	bad := l.upTo(100) < []int64{0, 1, 3, 15, 60, 90}[mood%6]
	value := (1 + l.upTo(200_000)) * (1 + l.upTo(1000)) * []int64{1, 1, 1, 8, 1, 60}[mood%6]
	switch kind := l.upTo(200); {
	case kind == 0:
		e.kind, e.labels["change"], e.labels["previous_version"] = rules.KindChange, "deploy", "0"
	case kind < 120:
		e.kind, e.value, e.hasValue = rules.KindLatency, value, true
	case bad && kind < 160:
		e.kind, e.labels["category"] = rules.KindError, []string{"minor", "minor", "minor", "security"}[l.upTo(4)]
	default:
		e.kind, e.labels["action"] = rules.KindStep, "complete"
		if bad {
			e.labels["action"] = "abandon"
		}
	}
	return e
}
