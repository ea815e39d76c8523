package sets

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unique"
)

// DataVariable names the environment variable with the folder of the public sets.
const DataVariable = "SEVWATCH_DATA"

// ErrNoData says that the public sets are not here. Tests and benchmarks skip aloud on it, and fail
// on any other error.
var ErrNoData = errors.New("the public data sets are not here")

// Open returns the folder that $SEVWATCH_DATA names. A relative path is a mistake, not missing data:
// each test runs in the folder of its package and would look in another place.
func Open() (fs.FS, error) {
	dir := os.Getenv(DataVariable)
	switch {
	case dir == "":
		return nil, fmt.Errorf("%s is not set: %w", DataVariable, ErrNoData)
	case !filepath.IsAbs(dir):
		return nil, fmt.Errorf("%s is %q, want an absolute path", DataVariable, dir)
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%s names no folder: %w: %w", DataVariable, ErrNoData, err)
	}
	return os.DirFS(dir), nil
}

// openFile opens a file of the source, unpacked when its name ends in .gz.
func openFile(fsys fs.FS, name string) (io.ReadCloser, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(name, ".gz") {
		return f, nil
	}
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return gzipFile{Reader: unpacked, file: f}, nil
}

type gzipFile struct {
	*gzip.Reader
	file fs.File
}

func (g gzipFile) Close() error {
	return errors.Join(g.Reader.Close(), g.file.Close())
}

// A row is one record of a table. It is valid until the next one is read; keep clones its strings.
type row struct {
	file  string
	line  int
	cells []string // in the order in which the columns were asked for
}

// fail says which line of which file cannot be read.
func (r row) fail(err error) error {
	return fmt.Errorf("cannot read %s line %d: %w", r.file, r.line, err)
}

// table yields the named columns of a CSV file with one header line.
func table(fsys fs.FS, file string, columns ...string) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		f, err := openFile(fsys, file)
		if err != nil {
			yield(row{}, fmt.Errorf("cannot open a source: %w", err))
			return
		}
		defer f.Close()
		reader := csv.NewReader(f)
		reader.ReuseRecord = true
		places, err := columnPlaces(reader, columns)
		if err != nil {
			yield(row{}, fmt.Errorf("cannot read the header of %s: %w", file, err))
			return
		}
		r := row{file: file, cells: make([]string, len(columns))}
		for {
			record, err := reader.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			r.line, _ = reader.FieldPos(0)
			if err != nil {
				yield(row{}, r.fail(err))
				return
			}
			for i, p := range places {
				r.cells[i] = record[p]
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func columnPlaces(reader *csv.Reader, columns []string) ([]int, error) {
	header, err := reader.Read()
	if err != nil {
		return nil, err
	}
	places := make([]int, len(columns))
	for i, c := range columns {
		places[i] = slices.Index(header, c)
		if places[i] < 0 {
			return nil, fmt.Errorf("no column %q in %q", c, header)
		}
	}
	return places, nil
}

// keep returns one lasting copy for all equal strings, free of the record it was read from.
func keep(s string) string {
	return unique.Make(s).Value()
}

// parseUTC reads a time that carries no zone as UTC.
func parseUTC(layout, value string) (int64, error) {
	t, err := time.ParseInLocation(layout, value, time.UTC)
	if err != nil {
		return 0, err
	}
	return t.UnixMilli(), nil
}
