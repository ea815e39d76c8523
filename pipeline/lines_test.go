package pipeline

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// TestLinesReadAheadHold: what was decoded ahead stays what it was while later lines are read, texts with escapes too.
func TestLinesReadAheadHold(t *testing.T) {
	const events = 20 * blocks * blockBytes / 1000 // of some 80 bytes
	var b strings.Builder
	for i := range events {
		fmt.Fprintf(&b, `{"time":%d,"kind":"error","service":"caf\u00e9 %d","endpoint":"/v1/%d"}`+"\n", 1_793_534_400_000+i, i, i)
	}
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int64{}
	r := Replay{Config: detector.DefaultConfig(), Rules: runbook(t, &Config{Labels: rules.DefaultLabels(), Pane: 10_000}), Files: []string{file}, Output: func(detector.Output) error { return nil }}
	r.Until = 1_793_534_500_000
	r.Delta = func(d *detector.Delta) {
		for _, s := range d.Series {
			seen[fmt.Sprint(s.Labels)] += s.Count
		}
	}
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range events {
		if labels := fmt.Sprintf("[{endpoint /v1/%d} {service café %d}]", i, i); seen[labels] != 1 {
			t.Fatalf("the series %s has %d events, expected 1", labels, seen[labels])
		}
	}
	if len(seen) != events {
		t.Errorf("there are %d series, expected %d", len(seen), events)
	}
}

// TestLinesOfAPipeAreNotHeldBack: a line is taken when it comes, and the replay of a pipe that stays open ends where it is told to.
func TestLinesOfAPipeAreNotHeldBack(t *testing.T) {
	in, out := io.Pipe()
	defer in.Close()
	rejected := make(chan int64)
	r := Replay{Config: detector.DefaultConfig(), Rules: runbook(t, &Config{Labels: rules.DefaultLabels(), Pane: 10_000}), Files: []string{"-"}, Stdin: in, Output: func(detector.Output) error { return nil }}
	r.To = 1_793_534_400_000
	r.Rejected = func(o wire.Origin, _ *wire.Reject) { rejected <- o.Offset }
	ended := make(chan error)
	go func() {
		_, err := r.Run(t.Context())
		ended <- err
	}()
	for i := range int64(3) {
		if _, err := fmt.Fprintln(out, "no event"); err != nil {
			t.Fatal(err)
		}
		if at := <-rejected; at != i {
			t.Fatalf("line %d is told, expected %d", at, i)
		}
	}
	if _, err := fmt.Fprintf(out, `{"time":%d,"kind":"error"}`+"\n", r.To+60_000); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the replay does not end")
	}
}

// TestLinesInBlocks: however a file's bytes come, its lines are those between its line feeds, blank ones counted and left out, and an error tells behind
// which line it is.
func TestLinesInBlocks(t *testing.T) {
	for seed := range uint64(60) {
		g := rand.New(rand.NewPCG(seed, 1))
		var text strings.Builder
		var want []string
		short := g.IntN(4) == 0
		for n := range 1 + g.IntN(400) + 5*blockLines*g.IntN(2) {
			if short || n > 400 {
				want = append(want, fmt.Sprint(n, " {}"))
				text.WriteString("{}\n")
				continue
			}
			line := [...]string{"", "  ", "{}", "no event", "{" + strings.Repeat("x", g.IntN(500)), "{" + strings.Repeat("y", g.IntN(3*blockBytes))}[min(g.IntN(100)/10, 4)+g.IntN(100)/99]
			if strings.TrimSpace(line) != "" {
				want = append(want, fmt.Sprint(n, " ", line))
			}
			text.WriteString(line + [...]string{"\n", "\r\n"}[g.IntN(2)])
		}
		all, cut := text.String(), false
		switch g.IntN(3) {
		case 0:
			all = strings.TrimRight(all, "\r\n")
		case 1:
			all, cut = all+"{ cut", true
		}
		var in io.Reader = strings.NewReader(all)
		if cut {
			in = io.MultiReader(in, iotest.ErrReader(io.ErrUnexpectedEOF))
		}
		in = [...]func(io.Reader) io.Reader{iotest.HalfReader, iotest.OneByteReader, iotest.DataErrReader, func(r io.Reader) io.Reader { return r }}[g.IntN(4)](in)
		lines, err := openLines("-", in)
		if err != nil {
			t.Fatal(err)
		}
		a := linesAhead{in: lines}
		var got []string
		var b lineBlock
		for b.err == nil {
			if a.fill(&b); len(b.lines) > blockLines {
				t.Fatalf("seed %d: a block has %d lines", seed, len(b.lines))
			}
			for i := range b.lines {
				got = append(got, fmt.Sprint(b.lines[i].number, " ", string(b.lines[i].text)))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d lines, expected %d:\n%.300q\n%.300q", seed, len(got), len(want), got, want)
		}
		if behind := fmt.Sprintf("behind line %d: the file is cut off there", lines.number); errors.Is(b.err, io.EOF) == cut || cut && !strings.Contains(b.err.Error(), behind) {
			t.Fatalf("seed %d: the error is %v, expected %s: %t", seed, b.err, behind, cut)
		}
	}
}

// TestByteOrderMark: it is no part of a file's first line, packed or not, and of every other line it is.
func TestByteOrderMark(t *testing.T) {
	const event = `{"time":1793534400000,"kind":"error"}`
	f := func(text string, wantCounted, wantRejected int64) {
		t.Helper()
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err := z.Write([]byte(text))
		check(t, errors.Join(err, z.Close()))
		for _, data := range []string{text, packed.String()} {
			path := filepath.Join(t.TempDir(), "events.ndjson")
			check(t, os.WriteFile(path, []byte(data), 0o600))
			sum, _, _, err := replayRows(t, path, nil)
			if err != nil || sum.Totals.Counted != wantCounted || sum.Totals.Rejected != wantRejected {
				t.Errorf("%.60q: %+v, %v", data, sum.Totals, err)
			}
		}
	}
	f("\ufeff"+event+"\n"+event+"\n", 2, 0)
	f("\ufeff\n"+event, 1, 0)
	f("\ufeff", 0, 0)
	f(event+"\n\ufeff"+event+"\n", 1, 1)
	f("\ufeff\ufeff"+event+"\n", 0, 1)
}

// TestFilesThatAreNoText: what they are is said at once, instead of a rejected record a line.
func TestFilesThatAreNoText(t *testing.T) {
	f := func(name, text, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		check(t, os.WriteFile(path, []byte(text), 0o600))
		_, rejected, _, err := replayRows(t, path, nil)
		var input *InputError
		if !errors.As(err, &input) || len(rejected) > 0 || err.Error() != path+" is "+want+", expected UTF-8 text, plain or packed by gzip or zstd, or Parquet" {
			t.Errorf("%q: %v, and %d rejected", text, err, len(rejected))
		}
	}
	f("a.ndjson.bz2", "BZh91AY&SY\n\n", "bzip2")
	f("a.ndjson.xz", "\xfd7zXZ\x00\n\n", "xz")
	f("a.csv.zip", "PK\x03\x04\n\n", "zip")
	f("a.csv", "PK\x03\x04\n\n", "zip") // a spreadsheet
	f("a.ndjson", "\xff\xfe{\x00}\x00\n\x00", "UTF-16")
	f("a.ndjson", "\xfe\xff\x00{\x00}\x00\n", "UTF-16")
	f("a.ndjson", "{\x00}\x00\n\x00", "UTF-16")
	f("a.csv", "\x00t\x00i\x00m\x00e\x00\n", "UTF-16")
	for _, text := range []string{"\x00\x00\x00\x00\n", "{}\x00\x00", "{\x00", "BZ"} {
		path := filepath.Join(t.TempDir(), "a.ndjson")
		check(t, os.WriteFile(path, []byte(text), 0o600))
		if sum, _, _, err := replayRows(t, path, nil); err != nil || sum.Totals.Rejected != 1 {
			t.Errorf("%q: %v, %+v", text, err, sum.Totals)
		}
	}
}

// TestBlocksStaySmall: neither a long line nor what is made of lines makes the blocks behind it larger.
func TestBlocksStaySmall(t *testing.T) {
	row := strings.Repeat("x", 100) + "\n"
	lines, err := openLines("-", strings.NewReader("{"+strings.Repeat("y", 8<<20)+"}\n"+strings.Repeat(row, 100_000)))
	if err != nil {
		t.Fatal(err)
	}
	a, b, largest, n := linesAhead{in: lines}, lineBlock{}, 0, 0
	for b.err == nil {
		a.fill(&b)
		if read := len(b.bytes); n > 0 {
			largest = max(largest, read)
		}
		for i := range b.lines {
			b.lines[i].record = b.keep(append(b.lines[i].text, row...)) // as rows become objects
		}
		n += len(b.lines)
	}
	if n != 100_001 || largest > 2*blockBytes {
		t.Errorf("%d lines, expected 100001, and %d bytes were read into a block behind a long line, expected %d at most", n, largest, 2*blockBytes)
	}
	if a.fill(&b); cap(b.bytes) > maxKeptBytes+blockBytes {
		t.Errorf("a block keeps %d bytes", cap(b.bytes))
	}
}
