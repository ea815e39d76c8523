package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
)

// lineBlock is some lines of a file, read and decoded.
type lineBlock struct {
	lines   []line
	bytes   []byte           // that texts and labels lie in: what was read, and what was made of it
	read    int64            // bytes of the file before the next block
	err     error            // behind the lines; io.EOF at the end
	decoded chan struct{}    // has room for one: that it was
	unknown map[string]int64 // keys of the lines that nobody knows, and how often they came
}

// line is one record of a file.
type line struct {
	number   int64
	text     []byte
	record   []byte         // the same, or the object that was made of a row
	event    detector.Event // unless the records are of another shape
	rejected *wire.Reject
}

// How large a block is, and how many of them there are of a file beside those that are decoded. A block that has grown beyond maxKeptBytes by a long line, or
// by what was made of its lines, is not used again.
const (
	blockLines   = 1024
	blockBytes   = 64 << 10
	maxKeptBytes = 1 << 20
	blocks       = 3
)

// maxDecoders is how many goroutines decode the lines of one file at most: more than that could not be counted on one more.
const maxDecoders = 4

// linesAhead reads a file on a goroutine of its own and decodes it on others, some blocks ahead of where its events are counted. The blocks
// are counted in the order in which they were read.
type linesAhead struct {
	in         *lineReader
	rows       *csvLines            // of a CSV file
	newDecoder func() *wire.Decoder // nil: the records are of another shape, and decoded where they are counted

	work chan *lineBlock // to be decoded
	full chan *lineBlock // the same, in their order
	free chan *lineBlock
	stop chan struct{}
	now  *lineBlock
	next int // line of now

	unknown map[string]int64 // of all blocks up to now

	decoders sync.WaitGroup
}

// start begins to read; close ends it.
func (a *linesAhead) start() {
	decoders := min(runtime.GOMAXPROCS(0), maxDecoders)
	all := blocks + decoders
	a.work, a.full, a.free = make(chan *lineBlock, all), make(chan *lineBlock, all), make(chan *lineBlock, all) // there is room for every block
	a.stop, a.unknown = make(chan struct{}), map[string]int64{}
	for range all {
		a.free <- &lineBlock{decoded: make(chan struct{}, 1), unknown: map[string]int64{}}
	}
	go a.read()
	for range decoders {
		a.decoders.Go(a.decode)
	}
}

func (a *linesAhead) read() {
	defer close(a.full)
	defer close(a.work)
	for {
		select {
		case <-a.stop:
			return
		case b := <-a.free:
			a.fill(b)
			a.work <- b
			a.full <- b
			if b.err != nil {
				return
			}
		}
	}
}

// fill reads lines into a block.
func (a *linesAhead) fill(b *lineBlock) {
	b.lines, b.bytes, b.err = b.lines[:0], b.bytes[:0], nil
	if cap(b.bytes) > maxKeptBytes {
		b.bytes = nil
	}
	if a.in.rows != nil {
		a.fillRows(b)
	} else {
		a.fillLines(b)
	}
	b.read = a.in.raw.n.Load()
}

func (a *linesAhead) fillRows(b *lineBlock) {
	for len(b.lines) < blockLines && len(b.bytes) < blockBytes && b.err == nil {
		var text []byte
		var number int64
		if text, number, b.err = a.in.next(); b.err == nil {
			b.take(b.keep(text), number)
		}
	}
}

func (a *linesAhead) fillLines(b *lineBlock) {
	b.bytes, b.err = a.in.lines(b.bytes)
	for rest := b.bytes; len(rest) > 0; {
		if len(b.lines) == blockLines { // the others are of the next block, and so is an error behind them
			a.in.rest, b.err = append(slices.Clone(rest), a.in.rest...), nil
			break
		}
		text := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			text, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		if text = trimmed(text); !blank(text) {
			b.take(text, a.in.number)
		}
		a.in.number++
	}
	if b.err != nil && !errors.Is(b.err, io.EOF) {
		b.err = a.in.explain(b.err)
	}
}

// take takes a line of the block.
func (b *lineBlock) take(text []byte, number int64) {
	if len(b.lines) < cap(b.lines) {
		b.lines = b.lines[:len(b.lines)+1] // its event has room for labels
	} else {
		b.lines = append(b.lines, line{})
	}
	l := &b.lines[len(b.lines)-1]
	l.number, l.text, l.record, l.rejected = number, text, text, nil
}

// keep copies a text.
func (b *lineBlock) keep(text []byte) []byte {
	from := len(b.bytes)
	b.bytes = append(b.bytes, text...)
	return b.bytes[from:len(b.bytes):len(b.bytes)]
}

// decode decodes blocks until there are no more.
func (a *linesAhead) decode() {
	var rows *csvLines
	if a.rows != nil {
		rows = &csvLines{head: a.rows.head}
	}
	var d *wire.Decoder
	if a.newDecoder != nil {
		d = a.newDecoder()
		d.Keep()
	}
	for b := range a.work {
		for i := range b.lines {
			l := &b.lines[i]
			if rows != nil {
				l.record = b.keep(rows.object(l.text))
			}
			if d != nil {
				l.rejected = d.Decode(l.record, -1, &l.event)
			}
		}
		if d != nil {
			d.Forget()
			d.TakeUnknown(b.unknown)
		}
		b.decoded <- struct{}{}
	}
}

// line is the next one, until the next call; at the end the error is io.EOF.
func (a *linesAhead) line(ctx context.Context) (*line, error) {
	for a.now == nil || a.next == len(a.now.lines) {
		if a.now != nil {
			if a.now.err != nil {
				return nil, a.now.err
			}
			a.free <- a.now
			a.now = nil
		}
		select {
		case b := <-a.full:
			<-b.decoded
			a.now, a.next = b, 0
			addUnknown(a.unknown, b.unknown)
			clear(b.unknown)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	a.next++
	return &a.now.lines[a.next-1], nil
}

// close ends the reading. Of a file it waits for the end; a pipe may keep its reader waiting, and is left.
func (a *linesAhead) close() error {
	close(a.stop)
	if a.in.pipe {
		return nil
	}
	for range a.full { // until it is closed
	}
	a.decoders.Wait()
	return a.in.close()
}
