package pipeline

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetRows makes a JSON object of each row of a Parquet file, with the columns' names as keys: what csvLines makes of the same row, and
// groups as objects. Lists and maps are left out.
type parquetRows struct {
	groups []parquet.RowGroup // not begun yet
	rows   parquet.Rows       // of the one that is read; nil: none is
	more   int64              // that it says it has
	buf    []parquet.Row
	left   []parquet.Row // of buf, not taken yet
	fields []parquetField
	cells  []parquet.Value // of a row, by column
	out    []byte
	done   int64
	all    int64 // rows
}

// parquetField is a column or a group of them.
type parquetField struct {
	cellKey
	leaf   *parquet.Column
	fields []parquetField // of a group
}

var parquetMagic = []byte("PAR1")

const parquetBatch = 256 // rows that are read at once

func openParquet(f *os.File) (p *parquetRows, err error) {
	defer damaged(&err)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	return &parquetRows{groups: file.RowGroups(), buf: make([]parquet.Row, parquetBatch), fields: parquetFields(file.Root()), all: file.NumRows()}, nil
}

// damaged makes an error of the library's panic over a file that is not what it says.
func damaged(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("it is damaged: %v", r)
	}
}

func parquetFields(of *parquet.Column) (out []parquetField) {
	for _, c := range of.Columns() {
		logical := c.Type().LogicalType()
		switch f := (parquetField{cellKey: newCellKey(c.Name())}); {
		case c.Repeated():
		case c.Leaf():
			f.leaf = c
			out = append(out, f)
		case logical == nil || logical.Value == nil:
			f.fields = parquetFields(c)
			out = append(out, f)
		}
	}
	return out
}

// next is the next row, until the next call; at the end the error is io.EOF.
func (p *parquetRows) next() (object []byte, err error) {
	defer damaged(&err)
	for len(p.left) == 0 {
		if err := p.read(); err != nil {
			return nil, err
		}
	}
	p.left[0].Range(func(column int, values []parquet.Value) bool {
		for len(p.cells) <= column {
			p.cells = append(p.cells, parquet.Value{})
		}
		p.cells[column] = values[0]
		return true
	})
	p.left, p.done = p.left[1:], p.done+1
	p.out = p.object(p.out[:0], p.fields)
	return p.out, nil
}

// read reads some rows.
func (p *parquetRows) read() error {
	if p.rows == nil {
		if len(p.groups) == 0 {
			return io.EOF
		}
		p.rows, p.more, p.groups = p.groups[0].Rows(), p.groups[0].NumRows(), p.groups[1:]
	}
	n, err := p.rows.ReadRows(p.buf)
	p.left, p.more = p.buf[:n], p.more-int64(n)
	if errors.Is(err, io.EOF) {
		err, p.rows = p.rows.Close(), nil
	}
	if p.more < 0 || p.more > 0 && err == nil && p.rows == nil {
		return fmt.Errorf("a group has %d rows less than it says", p.more)
	}
	return err
}

func (p *parquetRows) object(out []byte, fields []parquetField) []byte {
	out = append(out, '{')
	for i := range fields {
		f := &fields[i]
		switch {
		case f.leaf == nil:
			out = p.object(f.begin(out), f.fields)
		case !p.cells[f.leaf.Index()].IsNull():
			out = f.append(out, parquetText(f.leaf.Type(), p.cells[f.leaf.Index()]))
		}
	}
	return append(out, '}')
}

// parquetText is a value as a CSV file would have it: times in RFC 3339.
func parquetText(t parquet.Type, v parquet.Value) string {
	if logical := t.LogicalType(); logical != nil {
		switch l := logical.Value.(type) {
		case *format.TimestampType:
			unit := l.Unit.Value.Duration()
			perSecond := int64(time.Second / unit)
			return rfc3339(v.Int64()/perSecond, v.Int64()%perSecond*int64(unit))
		case *format.DateType:
			return time.Unix(int64(v.Int32())*24*3600, 0).UTC().Format(time.DateOnly)
		case *format.DecimalType:
			return decimal(v, int(l.Scale))
		case *format.IntType:
			switch {
			case l.IsSigned:
			case v.Kind() == parquet.Int32:
				return strconv.FormatUint(uint64(v.Uint32()), 10)
			default:
				return strconv.FormatUint(v.Uint64(), 10)
			}
		case *format.UUIDType:
			b := v.ByteArray()
			return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
		}
	} else if b := v.Bytes(); (v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray) && !utf8.Valid(b) {
		return hex.EncodeToString(b) // nobody said that it is text
	}
	switch v.Kind() {
	case parquet.Int96: // nanoseconds of a Julian day, as older writers have times
		at := v.Int96()
		return rfc3339((int64(at[2])-2440588)*24*3600, int64(uint64(at[1])<<32|uint64(at[0])))
	case parquet.Float:
		return strconv.FormatFloat(float64(v.Float()), 'g', -1, 32)
	case parquet.Double:
		return strconv.FormatFloat(v.Double(), 'g', -1, 64)
	default:
		return v.String()
	}
}

func rfc3339(seconds, nanoseconds int64) string {
	return time.Unix(seconds, nanoseconds).UTC().Format(time.RFC3339Nano)
}

// decimal is an unscaled integer, which may stand in bytes, the highest first, with its decimal point.
func decimal(v parquet.Value, scale int) string {
	var n big.Int
	switch v.Kind() {
	case parquet.Int32:
		n.SetInt64(int64(v.Int32()))
	case parquet.Int64:
		n.SetInt64(v.Int64())
	default:
		b := v.ByteArray()
		if n.SetBytes(b); len(b) > 0 && b[0] >= 0x80 {
			n.Sub(&n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
	}
	return new(big.Rat).SetFrac(&n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(scale)
}
