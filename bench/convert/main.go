// Command convert turns public data sets into event files for tests, benchmarks and replays.
//
//	go run ./bench/convert --data DIR --out DIR [--set NAME ...] [--format zst|gz|plain]
//
// It writes NAME.ndjson.zst for each set and, where the source has labels, NAME.faults.csv. The same
// data give the same bytes. docs/data.md says what the sets can and cannot show.
package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/alecthomas/kong"
	"github.com/klauspost/compress/zstd"

	"sevwatch/bench/convert/sets"
)

type options struct {
	Data   string   `help:"Folder of the public data sets." env:"SEVWATCH_DATA" required:"" type:"existingdir"`
	Out    string   `help:"Folder to write to; it is made if it is not there." required:"" type:"path"`
	Set    []string `help:"Only this set; may be repeated." placeholder:"NAME"`
	Format string   `help:"How event files are packed: ${enum}." enum:"zst,gz,plain" default:"zst"`
}

// Exit codes.
const (
	exitUsage = 2
	exitWorld = 3
)

func main() {
	var o options
	parser := kong.Must(&o, kong.Description("Turns public data sets into event files."))
	if _, err := parser.Parse(os.Args[1:]); err != nil {
		fail(exitUsage, err)
	}
	chosen, err := choose(o.Set)
	if err != nil {
		fail(exitUsage, err)
	}
	if err := convertAll(o, chosen, os.Stderr); err != nil {
		fail(exitWorld, err)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "convert:", err)
	os.Exit(code)
}

// choose returns the named sets, or all for no name.
func choose(names []string) ([]sets.Set, error) {
	if len(names) == 0 {
		return sets.Sets(), nil
	}
	var chosen []sets.Set
	var wrong []error
	for _, name := range names {
		s, ok := sets.Find(name)
		if !ok {
			wrong = append(wrong, fmt.Errorf("unknown set %q", name))
		}
		chosen = append(chosen, s)
	}
	if len(wrong) == 0 {
		return chosen, nil
	}
	for _, s := range sets.Sets() {
		wrong = append(wrong, fmt.Errorf("there is %s: %s", s.Name, s.About))
	}
	return nil, errors.Join(wrong...)
}

func convertAll(o options, chosen []sets.Set, progress io.Writer) error {
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return fmt.Errorf("cannot make the output folder: %w", err)
	}
	data := os.DirFS(o.Data)
	for _, s := range chosen {
		events, err := convert(data, s, o)
		if err != nil {
			return fmt.Errorf("cannot convert %s: %w", s.Name, err)
		}
		fmt.Fprintf(progress, "%s: %d events\n", s.Name, events)
	}
	return nil
}

// convert writes the files of one set and returns the number of events.
func convert(data fs.FS, s sets.Set, o options) (int, error) {
	count := 0
	path := filepath.Join(o.Out, s.Name+".ndjson"+suffixes[o.Format])
	err := writeFile(path, func(w io.Writer) error {
		packed, err := pack(w, o.Format)
		if err != nil {
			return err
		}
		var line []byte
		for e, err := range s.Events(data) {
			if err != nil {
				return err
			}
			line = append(e.AppendJSON(line[:0]), '\n')
			if _, err := packed.Write(line); err != nil {
				return err
			}
			count++
		}
		return packed.Close()
	})
	if err != nil || s.Faults == nil {
		return count, err
	}
	faults, err := s.Faults(data)
	if err != nil {
		return count, err
	}
	return count, writeFile(filepath.Join(o.Out, s.Name+".faults.csv"), func(w io.Writer) error {
		return sets.WriteFaults(w, faults)
	})
}

var suffixes = map[string]string{"zst": ".zst", "gz": ".gz", "plain": ""}

// pack returns a writer that packs, always in the same way: one thread, no name and no time inside.
func pack(w io.Writer, format string) (io.WriteCloser, error) {
	switch format {
	case "zst":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	case "gz":
		return gzip.NewWriter(w), nil
	default:
		return plain{w}, nil
	}
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// writeFile writes beside the path and renames at the end, so that a file is whole or not there.
func writeFile(path string, write func(io.Writer) error) error {
	part := path + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	err = write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, path)
}
