package wire

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"

	"sevwatch/rules"
)

// maxInstructions bounds what decoding and counting the event of the comparison takes, in instructions of amd64 as valgrind counts them.
// Unlike time they are the same on every machine, busy or not. Lower it when the hot path becomes shorter; a change that needs more has to
// say why.
const maxInstructions = 2800

// TestInstructions counts them: of many events less those of few, so that what is done once does not count.
func TestInstructions(t *testing.T) {
	if runtime.GOARCH != "amd64" || raceEnabled() {
		t.Skip("SKIP: instructions are counted on amd64, without the race detector")
	}
	valgrind, err := exec.LookPath("valgrind")
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	const few, many = 1_000, 11_000
	n := float64(count(t, valgrind, many)-count(t, valgrind, few)) / (many - few)
	t.Logf("%.0f instructions an event, %d at most", n, maxInstructions)
	if n > maxInstructions || n < 100 {
		t.Errorf("decoding and counting an event takes %.0f instructions, expected %d at most", n, maxInstructions)
	}
}

// countEvents is the environment variable that says how many events are counted in TestCountForInstructions.
const countEvents = "SEVWATCH_COUNT_EVENTS"

// TestCountForInstructions is what TestInstructions measures, in a process of its own.
func TestCountForInstructions(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(countEvents))
	if err != nil {
		t.Skip("SKIP: it is only for TestInstructions")
	}
	c := newCounter(kindEvents()[rules.KindLatency])
	for range n {
		c.count(t)
	}
}

var collected = regexp.MustCompile(`Collected : (\d+)`)

// count runs TestCountForInstructions of so many events under valgrind.
func count(t *testing.T, valgrind string, events int) int64 {
	t.Helper()
	cmd := exec.Command(valgrind, "--tool=callgrind", "--callgrind-out-file="+filepath.Join(t.TempDir(), "out"), os.Args[0],
		"-test.run=^TestCountForInstructions$")
	cmd.Env = append(os.Environ(), countEvents+"="+strconv.Itoa(events), "GODEBUG=asyncpreemptoff=1", "GOGC=off", "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	m := collected.FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("cannot count instructions: %v\n%s", err, out)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// raceEnabled says whether the race detector is at work: then every access is a call.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
