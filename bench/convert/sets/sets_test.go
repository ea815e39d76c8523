package sets

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// data opens the public sets, or skips aloud.
func data(t *testing.T) fs.FS {
	t.Helper()
	fsys, err := Open()
	if errors.Is(err, ErrNoData) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

func TestOpen(t *testing.T) {
	f := func(dir, want string, missing bool) {
		t.Helper()
		t.Setenv(DataVariable, dir)
		_, err := Open()
		if err == nil || !strings.HasPrefix(err.Error(), want) || errors.Is(err, ErrNoData) != missing {
			t.Errorf("%q: %v, want %q", dir, err, want)
		}
	}
	f("", "SEVWATCH_DATA is not set", true)
	f("/no/such/folder", "SEVWATCH_DATA names no folder", true)
	f("../data", `SEVWATCH_DATA is "../data", want an absolute path`, false)
	t.Setenv(DataVariable, t.TempDir())
	if _, err := Open(); err != nil {
		t.Error(err)
	}
}

// golden is what each set must be. A changed hash needs an explanation: the data do not change.
var golden = []struct {
	name                    string
	errors, latencies, step int
	faults, visible         int
	hash                    string
}{
	{"nezha-trainticket-2023-01-29", 1331, 325_859, 0, 28, 11, "721881d65d4eeef0e9e7a541354931e9c097b03ebd8511e5d764b3be413a7171"},
	{"nezha-onlineboutique-2022-08-22-minutes", 854, 145_080, 0, 24, 10, "99ab831112930a743acd63629beb1d4ebb3480958ef860f76a1437b8905e91f2"},
	{"nezha-onlineboutique-2022-08-22-requests", 0, 19_107, 0, 24, 5, "dfe9ee11e2ec7b05ec6a67e265dfc0c430a8f285d7803a3ef769324575f178a3"},
	{"petshop-low-traffic-issues", 4049, 483_929, 0, 26, 18, "66113f34f98c99fe2a08fad4d92a1771a9b9b9feaeacfbcdbb9fdef26dfb2daf"},
	{"petshop-low-traffic-noissue", 13_914, 2_216_397, 0, 0, 0, "e0044d8816f356fe2709015f63b572465c04e90e0f408ea7a5f800c1c90bb1e5"},
	{"moodle", 0, 0, 1820, 0, 0, "eb97a5ed658333b14808f587388c00275b5684156d4badb6e59ae84bd7ab4638"},
	{"oulad", 0, 0, 175_739, 0, 0, "73084b17af7cfb2096f58f6b11b6d511ada31216b81f4fc44aac284e7874ac81"},
	{"shop", 0, 0, 33_863, 3, 2, "3f2c9b623f940d5c8ef1f76b7a7adf313665eb176320dfd26c0ad007518deb24"},
}

func TestGolden(t *testing.T) {
	fsys := data(t)
	if len(golden) != len(Sets()) {
		t.Errorf("%d sets, %d of them checked", len(Sets()), len(golden))
	}
	for _, want := range golden {
		t.Run(want.name, func(t *testing.T) {
			t.Parallel()
			s, ok := Find(want.name)
			if !ok {
				t.Fatal("no such set")
			}
			kinds, hash := walk(t, fsys, s)
			if kinds[Error] != want.errors || kinds[Latency] != want.latencies || kinds[Step] != want.step {
				t.Errorf("events %v, want %+v", kinds, want)
			}
			if hash != want.hash {
				t.Errorf("hash %s, want %s", hash, want.hash)
			}
			if s.Faults == nil {
				return
			}
			faults, err := s.Faults(fsys)
			if err != nil {
				t.Fatal(err)
			}
			if visible := checkFaults(t, faults); len(faults) != want.faults || visible != want.visible {
				t.Errorf("%d faults, %d visible; want %d, %d", len(faults), visible, want.faults, want.visible)
			}
		})
	}
}

// walk reads a set once: it counts the kinds, hashes the lines, and checks what holds for any set.
func walk(t *testing.T, fsys fs.FS, s Set) (map[Kind]int, string) {
	t.Helper()
	kinds := map[Kind]int{}
	sum := sha256.New()
	out := bufio.NewWriterSize(sum, 1<<20)
	lastMs, n := int64(-1<<62), 0
	var line []byte
	for e, err := range s.Events(fsys) {
		if err != nil {
			t.Fatal(err)
		}
		if e.TimeMs < lastMs {
			t.Fatalf("event %d goes back in time: %+v", n, e)
		}
		line = append(e.AppendJSON(line[:0]), '\n')
		if n%1000 == 0 {
			checkLine(t, e, line)
		}
		if _, err := out.Write(line); err != nil {
			t.Fatal(err)
		}
		kinds[e.Kind]++
		lastMs = e.TimeMs
		n++
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return kinds, hex.EncodeToString(sum.Sum(nil))
}

// checkLine reads a line back by the names of the event format.
func checkLine(t *testing.T, e Event, line []byte) {
	t.Helper()
	var got struct {
		Time       time.Time
		Kind       Kind
		Service    string
		DurationMs *float64 `json:"duration_ms"`
		Action     Action
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if got.Time.UnixMilli() != e.TimeMs || got.Kind != e.Kind || got.Service != e.Service || got.Service == "" ||
		got.Action != e.Action || (got.DurationMs != nil) != (e.Kind == Latency) || len(e.Message) > maxMessageBytes {
		t.Fatalf("%+v reads back as %+v", e, got)
	}
}

// checkFaults checks what holds for the faults of any set and counts the visible ones.
func checkFaults(t *testing.T, faults []Fault) int {
	t.Helper()
	visible, lastMs := 0, int64(0)
	for _, f := range faults {
		if f.StartMs < lastMs || f.EndMs <= f.StartMs || f.Service == "" || f.Type == "" || f.Seen.Why == "" ||
			(f.Seen.Visible && !f.Seen.Judged) || len(f.Extra) != len(faults[0].Extra) {
			t.Errorf("odd fault %+v", f)
		}
		lastMs = f.StartMs
		if f.Seen.Visible {
			visible++
		}
	}
	var out strings.Builder
	if err := WriteFaults(&out, faults); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != len(faults)+1 {
		t.Errorf("%d lines of %d faults", lines, len(faults))
	}
	return visible
}

func TestNamesAreUnique(t *testing.T) {
	var names []string
	for _, s := range Sets() {
		if slices.Contains(names, s.Name) || s.About == "" {
			t.Errorf("%q is named twice or not described", s.Name)
		}
		names = append(names, s.Name)
	}
	if _, ok := Find("nothing"); ok {
		t.Error("found a set called nothing")
	}
}

// Without the source a set yields one error and ends; it does not look empty.
func TestMissingSource(t *testing.T) {
	for _, s := range Sets() {
		failed := 0
		for _, err := range s.Events(fstest.MapFS{}) {
			if err == nil {
				t.Errorf("%s: an event out of nothing", s.Name)
			}
			failed++
		}
		if failed != 1 {
			t.Errorf("%s: %d errors", s.Name, failed)
		}
		if s.Faults == nil {
			continue
		}
		if _, err := s.Faults(fstest.MapFS{}); err == nil {
			t.Errorf("%s: faults out of nothing", s.Name)
		}
	}
}

// A reader may stop early.
func TestStopEarly(t *testing.T) {
	fsys := data(t)
	for _, s := range Sets() {
		n := 0
		for range s.Events(fsys) {
			if n++; n == 10 {
				break
			}
		}
		if n != 10 {
			t.Errorf("%s: %d events before the stop", s.Name, n)
		}
	}
}

func TestTableSaysWhere(t *testing.T) {
	fsys := fstest.MapFS{"a.csv": {Data: []byte("x,y\n1,2\n3\n")}}
	f := func(file, column, want string) {
		t.Helper()
		for _, err := range table(fsys, file, column) {
			if err == nil {
				continue
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			return
		}
		t.Errorf("%s: no error", file)
	}
	f("a.csv", "y", "cannot read a.csv line 3")
	f("a.csv", "z", `no column "z"`)
	f("b.csv", "z", "cannot open a source")
}

// countLines counts the records of a file of the source, by other means than the converter.
func countLines(t *testing.T, fsys fs.FS, file string, wanted func(line string) bool) int {
	t.Helper()
	f, err := openFile(fsys, file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	lines.Scan() // the header
	n := 0
	for lines.Scan() {
		if wanted(lines.Text()) {
			n++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

func anyLine(string) bool { return true }
