package pipeline

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// lineReader reads a file of one record a line: plain, gzip, zstd, or Parquet, whose rows are its lines. Which it tells from the first bytes.
type lineReader struct {
	name   string
	rows   *parquetRows // of a Parquet file
	in     *bufio.Reader
	long   []byte
	rest   []byte // that lines has read of a line whose end was not there
	number int64  // of the next line, from 0
	raw    counter
	pipe   bool  // no regular file: it may keep its reader waiting
	size   int64 // bytes of a regular file
	closer []func() error
}

// Bytes that are read at once: of a file as it is, and of what is unpacked, where larger reads pass the buffer by.
const (
	lineBuffer     = 1 << 20
	unpackedBuffer = 16 << 10
)

// counter counts the bytes that are read through it.
type counter struct {
	io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// InputError says that an input cannot be opened: the wrong name, most likely.
type InputError struct{ error }

func (e *InputError) Unwrap() error { return e.error }

// openLines opens a file; "-" is stdin.
func openLines(name string, stdin io.Reader) (*lineReader, error) {
	r := &lineReader{name: name, pipe: true}
	if name == "-" {
		r.name = "stdin"
		return r, r.unpack(stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, &InputError{fmt.Errorf("cannot open the input: %w", err)}
	}
	r.closer = append(r.closer, f.Close)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		r.pipe, r.size = false, info.Size()
	}
	if err := r.unpack(f); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

func (r *lineReader) unpack(raw io.Reader) error {
	r.raw.Reader = raw
	in := bufio.NewReaderSize(&r.raw, lineBuffer)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read %s: %w", r.name, err)
	}
	switch f, _ := raw.(*os.File); {
	case bytes.HasPrefix(head, parquetMagic) && r.size == 0:
		return &InputError{fmt.Errorf("%s is Parquet, whose end has to be read first: expected the name of a file", r.name)}
	case bytes.HasPrefix(head, parquetMagic):
		if r.rows, err = openParquet(f); err != nil {
			return fmt.Errorf("cannot read %s as Parquet, whose end may be missing: %w", r.name, err)
		}
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("cannot read %s as gzip: %w", r.name, err)
		}
		a := readAhead(z)
		r.closer = append([]func() error{a.close}, r.closer...)
		r.in = bufio.NewReaderSize(a, unpackedBuffer)
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(in) // it unpacks ahead of what is read, on goroutines of its own
		if err != nil {
			return fmt.Errorf("cannot read %s as zstd: %w", r.name, err)
		}
		r.closer = append(r.closer, func() error { z.Close(); return nil })
		r.in = bufio.NewReaderSize(z, unpackedBuffer)
	default:
		r.in = in
	}
	return r.begin()
}

// byteOrderMark may be before a file's first line.
var byteOrderMark = []byte("\ufeff")

// begin passes over a byte order mark, and refuses what has no lines that could be read.
func (r *lineReader) begin() error {
	if r.in == nil {
		return nil
	}
	head, _ := r.in.Peek(4) // whoever reads the first line meets an error again
	if what := unreadable(head); what != "" {
		return &InputError{fmt.Errorf("%s is %s, expected UTF-8 text, plain or packed by gzip or zstd, or Parquet", r.name, what)}
	}
	if !bytes.HasPrefix(head, byteOrderMark) {
		return nil
	}
	_, err := r.in.Discard(len(byteOrderMark))
	return err
}

// unreadable says what a file is that begins like that, "" if it may be text.
func unreadable(head []byte) string {
	for _, f := range []struct{ magic, what string }{
		{"BZh", "bzip2"}, {"\xfd7zX", "xz"}, {"PK\x03\x04", "zip"}, {"\xff\xfe", "UTF-16"}, {"\xfe\xff", "UTF-16"},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.what
		}
	}
	if len(head) < 4 {
		return ""
	}
	switch zero := [4]bool{head[0] == 0, head[1] == 0, head[2] == 0, head[3] == 0}; zero {
	case [4]bool{true, false, true, false}, [4]bool{false, true, false, true}: // letters without a mark before them
		return "UTF-16"
	default:
		return ""
	}
}

// next is the next line that is not blank, and its number. It holds until the next call. At the end the error is io.EOF.
func (r *lineReader) next() (line []byte, number int64, err error) {
	for {
		line, err := r.line()
		if err != nil {
			return nil, 0, err
		}
		r.number++
		if !blank(line) {
			return line, r.number - 1, nil
		}
	}
}

func blank(line []byte) bool {
	return len(line) == 0 || line[0] != '{' && len(bytes.TrimSpace(line)) == 0
}

// lines appends whole lines to b: at least one, and more as far as they are at hand, so that a line that is written now does not wait for others. At the
// end the error is io.EOF, and the last line may have no line feed. It is not for rows.
func (r *lineReader) lines(b []byte) ([]byte, error) {
	b, r.rest = append(b, r.rest...), r.rest[:0]
	for searched, idle := 0, 0; ; {
		if i := bytes.LastIndexByte(b[searched:], '\n'); i >= 0 {
			end := searched + i + 1
			r.rest = append(r.rest, b[end:]...)
			return b[:end], nil
		}
		searched = len(b)
		if len(b) == cap(b) {
			b = slices.Grow(b, max(len(b), blockBytes))
		}
		n, err := r.in.Read(b[len(b):min(cap(b), len(b)+blockBytes)]) // b may have grown by what was made of its lines
		b = b[:len(b)+n]
		if idle++; n > 0 {
			idle = 0
		}
		switch {
		case idle > 100:
			return b[:0], io.ErrNoProgress
		case errors.Is(err, io.EOF):
			return b, err
		case err != nil:
			return b[:bytes.LastIndexByte(b, '\n')+1], err
		}
	}
}

func (r *lineReader) line() ([]byte, error) {
	if r.rows != nil {
		return r.row()
	}
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.long = append(r.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = r.in.ReadSlice('\n')
			r.long = append(r.long, line...)
		}
		line = r.long
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, r.explain(err)
	}
	return trimmed(line), err
}

// explain says where in the file an error is.
func (r *lineReader) explain(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("cannot read %s behind line %d: the file is cut off there (%w)", r.name, r.number, err)
	}
	return fmt.Errorf("cannot read %s behind line %d: %w", r.name, r.number, err)
}

// trimmed is a line without what ends it.
func trimmed(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line
}

// row is the next row of a Parquet file.
func (r *lineReader) row() ([]byte, error) {
	row, err := r.rows.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read %s behind row %d: %w", r.name, r.number, err)
	}
	r.raw.n.Store(int64(float64(r.size) * float64(r.rows.done) / float64(max(1, r.rows.all))))
	return row, err
}

func (r *lineReader) close() error {
	var errs []error
	for _, c := range r.closer {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
