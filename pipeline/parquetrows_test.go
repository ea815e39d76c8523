package pipeline

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"

	"sevwatch/detector"
)

// parquetFile writes rows, two to a group.
func parquetFile[T any](t *testing.T, rows ...T) string {
	t.Helper()
	var out bytes.Buffer
	w := parquet.NewGenericWriter[T](&out, parquet.Compression(&parquet.Snappy), parquet.MaxRowsPerRowGroup(2))
	_, err := w.Write(rows)
	check(t, errors.Join(err, w.Close()))
	path := filepath.Join(t.TempDir(), "events.parquet")
	check(t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

type parquetEvent struct {
	Time     time.Time `parquet:"time,timestamp(microsecond)"`
	Kind     string    `parquet:"kind,dict"`
	Service  *string   `parquet:"service,optional,dict"`
	Version  int32     `parquet:"version"` // a label, which is text
	Status   *int32    `parquet:"status,optional"`
	Duration float64   `parquet:"duration_ms"`
	Tags     []string  `parquet:"tags,list"`
}

// A Parquet file is what the CSV file of the same rows is, whatever the groups of its rows; a bad row is one rejected record.
func TestParquet(t *testing.T) {
	at, api, ok := time.UnixMilli(1793534400123), "api", int32(200)
	bad := int32(-7)
	path := parquetFile(t,
		parquetEvent{at, "latency", &api, 17, &ok, 12.5, []string{"a", "b"}},
		parquetEvent{at, "latency", nil, 17, nil, 30, nil},
		parquetEvent{at, "latency", &api, 17, &bad, 3, nil},
		parquetEvent{at, "nonsense", &api, 17, &ok, 3, []string{"c"}},
		parquetEvent{at, "latency", &api, 17, &ok, 2.5, nil},
	)
	sum, rejected, series, err := replayRows(t, path, nil)
	if err != nil || sum.Totals.Counted != 3 || len(rejected) != 2 || rejected[0] != 2 || rejected[1] != 3 {
		t.Errorf("%+v, rejected rows %v, %v", sum.Totals, rejected, err)
	}
	_, wrong, same, err := replayCSV(t, "time,kind,service,version,status,duration_ms\n2026-11-01T12:00:00.123Z,latency,api,17,200,12.5\n"+
		"2026-11-01T12:00:00.123Z,latency,,17,,30\n2026-11-01T12:00:00.123Z,latency,api,17,-7,3\n2026-11-01T12:00:00.123Z,nonsense,api,17,200,3\n1793534400123,latency,api,17,200,2.5\n", nil)
	check(t, err)
	if len(wrong) != len(rejected) || len(series) != len(same) || len(series) != 2 {
		t.Errorf("as Parquet %v, as CSV %v", series, same)
	}
	for key, n := range same {
		if series[key] != n {
			t.Errorf("%s is %d, as CSV %d", key, series[key], n)
		}
	}
}

// Groups of columns are objects, to which the fields of a source have paths.
func TestParquetWithMapping(t *testing.T) {
	type request struct {
		Code int32   `parquet:"code"`
		Took float32 `parquet:"took"`
	}
	type row struct {
		At      int64   `parquet:"at"`
		App     string  `parquet:"app"`
		Request request `parquet:"request"`
	}
	c, err := ParseConfig("c.yaml", []byte(`{brokers: ["h:1"], sources: [{topic: web, kind: latency, fields: {time: {path: at, unit: s}, service: {path: app},
  status: {path: request.code}, duration_ms: {path: request.took, unit: s}}}]}`))
	check(t, err)
	sum, _, series, err := replayRows(t, parquetFile(t, row{1793534400, "shop", request{503, 2.5}}), &c.Sources[0])
	if err != nil || sum.Totals.Counted != 1 || series["latency service=shop status_class=5xx"] != 3500 {
		t.Errorf("%+v %v, %v", sum.Totals, series, err)
	}
}

// Values of every type, as texts.
func TestParquetTypes(t *testing.T) {
	type row struct {
		Yes   bool             `parquet:"yes"`
		Old   deprecated.Int96 `parquet:"old"`
		Day   int32            `parquet:"day,date"`
		Nano  int64            `parquet:"nano,timestamp(nanosecond)"`
		Many  uint64           `parquet:"many"`
		Some  uint32           `parquet:"some"`
		Few   int64            `parquet:"few,decimal(2:18)"`
		ID    [16]byte         `parquet:"id,uuid"`
		Bytes []byte           `parquet:"bytes"`
		Text  []byte           `parquet:"text"`
		Wrong string           `parquet:"wrong"`
		Float float32          `parquet:"float"`
	}
	path := parquetFile(t, row{
		true,
		deprecated.Int96{5_000_000, 0, 2440588 + 1},
		20758, 1793534400123456789, 1<<64 - 1, 1<<32 - 1, -7,
		[16]byte{1, 2, 3, 15: 255},
		[]byte{0xff, 1},
		[]byte("plain"), "a\xff", 0.1,
	})
	lines, err := openLines(path, nil)
	check(t, err)
	got, _, err := lines.next()
	const want = `{"yes":"true","old":"1970-01-02T00:00:00.005Z","day":"2026-11-01","nano":"2026-11-01T12:00:00.123456789Z","many":"18446744073709551615",` +
		`"some":"4294967295","few":"-0.07","id":"01020300-0000-0000-0000-0000000000ff","bytes":"ff01","text":"plain","wrong":` + "a\xff" + `,"float":"0.1"}`
	if err != nil || string(got) != want {
		t.Errorf("got\n%s\nwant\n%s\n%v", got, want, err)
	}
	if _, _, err := lines.next(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last row: %v", err)
	}
	check(t, lines.close())
	if got := decimal(parquet.FixedLenByteArrayValue([]byte{0xff, 0xfe}), 1); got != "-0.2" {
		t.Errorf("a decimal in bytes is %s, expected -0.2", got)
	}
}

// A file that is cut off, or damaged anywhere, is one sentence or rejected records, and never more events than were written.
func TestParquetDamaged(t *testing.T) {
	api, ok := "api", int32(200)
	var rows []parquetEvent
	for i := range 9 {
		rows = append(rows, parquetEvent{time.UnixMilli(1793534400123 + int64(i)), "latency", &api, 17, &ok, 12.5, nil})
	}
	path := parquetFile(t, rows...)
	whole, err := os.ReadFile(path)
	check(t, err)
	for _, n := range []int{len(whole) - 1, len(whole) / 2, 5} {
		check(t, os.WriteFile(path, whole[:n], 0o600))
		sum, _, _, err := replayRows(t, path, nil)
		if err == nil || !strings.Contains(err.Error(), "cannot read "+path+" as Parquet, whose end may be missing") || strings.Contains(err.Error(), "\n") || sum.Totals != (detector.Totals{}) {
			t.Errorf("%d of %d bytes: %+v, %v", n, len(whole), sum.Totals, err)
		}
	}
	refused, tried := 0, 0
	for i := 0; i < len(whole); i += 11 {
		tried++
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x5a
		check(t, os.WriteFile(path, damaged, 0o600))
		if n, err := countRows(path); err != nil {
			refused++
		} else if n != len(rows) && i >= len(parquetMagic) {
			t.Errorf("byte %d is damaged: %d rows of %d", i, n, len(rows))
		}
	}
	if refused < tried/4 {
		t.Errorf("only %d of %d damaged files were refused", refused, tried)
	}
	lines, err := openLines("-", bytes.NewReader(whole))
	if err == nil || !strings.Contains(err.Error(), "stdin is Parquet") {
		t.Errorf("from stdin: %v, %v", lines, err)
	}
}

func countRows(path string) (n int, err error) {
	lines, err := openLines(path, nil)
	for ; err == nil; n++ {
		_, _, err = lines.next()
	}
	if lines != nil {
		err = errors.Join(err, lines.close())
	}
	if errors.Is(err, io.EOF) {
		return n - 1, nil
	}
	return n, err
}
