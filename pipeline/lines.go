package pipeline

import (
	"context"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
)

// lineBlock is some lines of a file, read and decoded.
type lineBlock struct {
	lines []line
	bytes []byte // that texts and labels lie in
	read  int64  // bytes of the file before the next block
	err   error  // behind the lines; io.EOF at the end
}

// line is one record of a file.
type line struct {
	number   int64
	text     []byte
	record   []byte         // the same, or the object that was made of a row
	event    detector.Event // unless the records are of another shape
	rejected *wire.Reject
}

// Bounds of a block, and how many of them there are of a file.
const (
	blockLines = 256
	blockBytes = 256 << 10
	blocks     = 3
)

// linesAhead reads and decodes a file on a goroutine of its own, some blocks ahead of where its events are counted.
type linesAhead struct {
	in      *lineReader
	rows    *csvLines     // of a CSV file
	decoder *wire.Decoder // nil: the records are of another shape, and decoded where they are counted

	full chan *lineBlock
	free chan *lineBlock
	stop chan struct{}
	now  *lineBlock
	next int // line of now
}

// start begins to read; close ends it.
func (a *linesAhead) start() {
	a.full, a.free, a.stop = make(chan *lineBlock, blocks), make(chan *lineBlock, blocks), make(chan struct{})
	for range blocks {
		a.free <- &lineBlock{}
	}
	if a.decoder != nil {
		a.decoder.Keep()
	}
	go func() {
		defer close(a.full)
		for {
			select {
			case <-a.stop:
				return
			case b := <-a.free:
				a.fill(b)
				a.full <- b // there is room for every block
				if b.err != nil {
					return
				}
			}
		}
	}()
}

// fill reads lines into a block: as many as there are at hand, so that a line that is written now does not wait for others.
func (a *linesAhead) fill(b *lineBlock) {
	b.lines, b.bytes = b.lines[:0], b.bytes[:0]
	if a.decoder != nil {
		a.decoder.Forget()
	}
	for len(b.lines) < blockLines && len(b.bytes) < blockBytes && b.err == nil && (len(b.lines) == 0 || a.in.atHand()) {
		var text []byte
		var number int64
		if text, number, b.err = a.in.next(); b.err == nil {
			a.take(b, text, number)
		}
	}
	b.read = a.in.raw.n.Load()
}

func (a *linesAhead) take(b *lineBlock, text []byte, number int64) {
	if len(b.lines) < cap(b.lines) {
		b.lines = b.lines[:len(b.lines)+1] // its event has room for labels
	} else {
		b.lines = append(b.lines, line{})
	}
	l := &b.lines[len(b.lines)-1]
	l.number, l.text, l.rejected = number, b.keep(text), nil
	if l.record = l.text; a.rows != nil {
		l.record = b.keep(a.rows.object(text))
	}
	if a.decoder != nil {
		l.rejected = a.decoder.Decode(l.record, -1, &l.event)
	}
}

// keep copies what the reader will overwrite.
func (b *lineBlock) keep(text []byte) []byte {
	from := len(b.bytes)
	b.bytes = append(b.bytes, text...)
	return b.bytes[from:len(b.bytes):len(b.bytes)]
}

// line is the next one, until the next call; at the end the error is io.EOF.
func (a *linesAhead) line(ctx context.Context) (*line, error) {
	for a.now == nil || a.next == len(a.now.lines) {
		if a.now != nil {
			if a.now.err != nil {
				return nil, a.now.err
			}
			a.free <- a.now
		}
		select {
		case a.now = <-a.full:
			a.next = 0
		case <-ctx.Done():
			a.now = nil
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
	return a.in.close()
}
