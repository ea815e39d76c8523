package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"sevwatch/bench/convert/sets"
)

// convertSet converts one set into a new folder and returns that folder.
func convertSet(t *testing.T, name, format string) string {
	t.Helper()
	_, err := sets.Open()
	if errors.Is(err, sets.ErrNoData) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := choose([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	o := options{Data: os.Getenv(sets.DataVariable), Out: filepath.Join(t.TempDir(), "made"), Format: format}
	if err := convertAll(o, chosen, io.Discard); err != nil {
		t.Fatal(err)
	}
	return o.Out
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The three formats hold the same lines, and twice the same work is twice the same bytes.
func TestFormats(t *testing.T) {
	lines := read(t, filepath.Join(convertSet(t, "moodle", "plain"), "moodle.ndjson"))
	if n := bytes.Count(lines, []byte("\n")); n != 1820 {
		t.Errorf("%d lines", n)
	}
	f := func(format string, unpack func(io.Reader) (io.Reader, error)) {
		t.Helper()
		packed := read(t, filepath.Join(convertSet(t, "moodle", format), "moodle.ndjson."+format))
		again := read(t, filepath.Join(convertSet(t, "moodle", format), "moodle.ndjson."+format))
		if !bytes.Equal(packed, again) {
			t.Errorf("%s: two runs differ", format)
		}
		r, err := unpack(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, lines) {
			t.Errorf("%s holds other lines than plain: %v", format, err)
		}
	}
	f("gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) })
	f("zst", func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) })
}

func TestFaultFile(t *testing.T) {
	out := convertSet(t, "shop", "zst")
	got := string(read(t, filepath.Join(out, "shop.faults.csv")))
	if !strings.HasPrefix(got, "start,end,service,type,visible,why,") || strings.Count(got, "\n") != 4 {
		t.Errorf("faults:\n%s", got)
	}
	if parts, _ := filepath.Glob(filepath.Join(out, "*.part")); len(parts) != 0 {
		t.Errorf("left behind: %v", parts)
	}
}

func TestChooseSaysEveryMistake(t *testing.T) {
	_, err := choose([]string{"shop", "shp", "odle"})
	if err == nil || !strings.Contains(err.Error(), `"shp"`) || !strings.Contains(err.Error(), `"odle"`) ||
		!strings.Contains(err.Error(), "there is moodle") {
		t.Errorf("got %v", err)
	}
	if all, err := choose(nil); err != nil || len(all) != len(sets.Sets()) {
		t.Errorf("%d sets, %v", len(all), err)
	}
}

// A source that is not there leaves no half file.
func TestNoHalfFiles(t *testing.T) {
	out := t.TempDir()
	chosen, err := choose([]string{"shop"})
	if err != nil {
		t.Fatal(err)
	}
	if err := convertAll(options{Data: t.TempDir(), Out: out, Format: "zst"}, chosen, io.Discard); err == nil {
		t.Error("no error")
	}
	if left, _ := filepath.Glob(filepath.Join(out, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
