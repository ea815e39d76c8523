package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"sevwatch/detector"
	"sevwatch/pipeline/table"
)

// tableFlags say which Parquet files a replay writes.
type tableFlags struct {
	Incidents string `help:"Write every revision of every incident as Parquet." placeholder:"FILE.parquet"`
	Windows   string `help:"Write every judged window as Parquet." placeholder:"FILE.parquet"`
}

// tables are the files while they are written.
type tables struct {
	incidents *tableFile[table.Incident]
	windows   *tableFile[table.Window]
	err       error // the first, of windows
}

// tableFile is one file; nil takes everything and writes nothing.
type tableFile[T any] struct {
	*table.Writer[T]
	file *os.File
	out  *bufio.Writer
}

func openTable[T any](path string) (*tableFile[T], error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, exit{exitWorld, fmt.Errorf("cannot write a table: %w", err)}
	}
	out := bufio.NewWriter(f)
	return &tableFile[T]{table.NewWriter[T](out), f, out}, nil
}

func (t *tableFile[T]) add(row func() T) error {
	if t == nil {
		return nil
	}
	return t.Add(row())
}

func (t *tableFile[T]) end(whole bool) error {
	switch {
	case t == nil:
		return nil
	case !whole:
		return t.file.Close()
	default:
		return errors.Join(t.Close(), t.out.Flush(), t.file.Close())
	}
}

// open begins the files.
func (f *tableFlags) open() (*tables, error) {
	incidents, err := openTable[table.Incident](f.Incidents)
	if err != nil {
		return nil, err
	}
	windows, err := openTable[table.Window](f.Windows)
	return &tables{incidents: incidents, windows: windows}, err
}

// end ends the files. Those that do not have everything are left without their end, so that nobody takes them for whole.
func (t *tables) end(whole bool) error {
	if err := errors.Join(t.err, t.incidents.end(whole), t.windows.end(whole)); err != nil {
		return exit{exitWorld, fmt.Errorf("cannot write a table: %w", err)}
	}
	return nil
}

// andTables lets the tables see everything too.
func (w watchers) andTables(t *tables) watchers {
	inner := w
	w.output = func(o detector.Output) error {
		if o.Incident != nil {
			if err := t.incidents.add(func() table.Incident { return table.IncidentRow(o.Incident) }); err != nil {
				return err
			}
		}
		return inner.output(o)
	}
	if t.windows != nil {
		w.judgement = func(j *detector.Judgement) {
			if t.err == nil {
				t.err = t.windows.add(func() table.Window { return table.WindowRow(j) })
			}
			if inner.judgement != nil {
				inner.judgement(j)
			}
		}
	}
	return w
}
