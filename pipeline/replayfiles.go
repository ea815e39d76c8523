package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// input is one file while it is read.
type input struct {
	linesAhead
	first   int64 // line
	part    *detector.Partition
	foreign *wire.Input // reads records of another shape
	held    suspects
	done    bool
}

// fileTopic is the topic that files without one are of.
const fileTopic = "file"

// files replays files.
func (r *Replay) files(ctx context.Context, engine *detector.Local) (err error) {
	r.sum.Plain = true
	var inputs []*input
	defer func() {
		for _, in := range inputs {
			err = errors.Join(err, in.close())
		}
	}()
	for i, name := range r.Files {
		in, err := r.open(name)
		if err != nil {
			return err
		}
		in.part = engine.Add(detector.Source{Topic: fileTopic, Partition: i}, in.first, detector.NewPartitionState())
		inputs = append(inputs, in)
	}
	engine.SetPartitions(detector.PartitionSet{Version: 1, Topics: map[string]int{fileTopic: len(inputs)}})
	if err := r.readFiles(ctx, engine, inputs); err != nil {
		return err
	}
	for _, in := range inputs {
		r.unknown(in.unknown, in.foreign)
	}
	if r.Until != 0 {
		if err := r.complete(ctx, engine, untilPanes*r.Config.Pane); err != nil {
			return err
		}
	}
	return r.settle(engine)
}

// untilPanes is how many panes are judged at once where nothing comes any more: behind them it is seen whether the replay is to end.
const untilPanes = 100

// complete judges up to Until, which the files are known to be complete up to, some event time (ms) at a step.
func (r *Replay) complete(ctx context.Context, engine *detector.Local, step int64) error {
	at := r.Until
	for _, p := range engine.Partitions() {
		if p.Watermark() != unknown {
			at = min(at, p.Watermark())
		}
	}
	for {
		at = min(at+step, r.Until)
		for _, p := range engine.Partitions() {
			engine.Advance(p, at, true)
		}
		if at == r.Until {
			return nil
		}
		if err := errors.Join(r.settle(engine), ctx.Err()); err != nil {
			return err
		}
	}
}

// open opens a file and begins to read it.
func (r *Replay) open(name string) (*input, error) {
	lines, err := openLines(name, r.Stdin)
	if err != nil {
		return nil, err
	}
	in := &input{linesAhead: linesAhead{in: lines}, held: suspects{}}
	if isCSV(name) {
		if in.rows, err = readHead(lines, r.knownTitles); err != nil {
			return nil, errors.Join(err, lines.close())
		}
		in.first = lines.number
	}
	switch {
	case r.Source == nil:
		in.newDecoder = func() *wire.Decoder { return wire.NewDecoder(rules.NoKind, r.Config.Labels) }
	case r.Source.plain():
		in.newDecoder = func() *wire.Decoder { return r.Source.Decoder(r.Config.Labels) }
	default:
		in.foreign = r.Source.Input(r.Config.Labels, nil)
	}
	in.start()
	return in, nil
}

// readFiles takes records from the file that is furthest behind, so that memory stays small and no file makes another late.
func (r *Replay) readFiles(ctx context.Context, engine *detector.Local, inputs []*input) error {
	done := func() float64 { return shareRead(inputs) }
	for in := furthestBehind(inputs); in != nil && !r.over(engine); in = furthestBehind(inputs) {
		if err := r.line(ctx, engine.Aggregator, in); err != nil {
			return err
		}
		if err := r.tick(ctx, engine, done); err != nil {
			return err
		}
		if now := furthestBehind(inputs); now != nil && now.part.Edge() > engine.Edge() {
			follow(engine.Aggregator, inputs)
		}
		if engine.Due() {
			if err := r.settle(engine); err != nil {
				return err
			}
		}
	}
	return nil
}

func furthestBehind(inputs []*input) *input {
	var last *input
	for _, in := range inputs {
		if !in.done && (last == nil || in.part.Watermark() < last.part.Watermark()) {
			last = in
		}
	}
	return last
}

// shareRead is how much of all files is read, by their bytes; -1 where one has no size.
func shareRead(inputs []*input) float64 {
	var read, size int64
	for _, in := range inputs {
		if in.in.pipe {
			return -1
		}
		if size += in.in.size; in.now != nil {
			read += in.now.read
		}
	}
	return float64(read) / float64(size)
}

// follow moves files that have ended on to where the others are: while one of several is still read, the end of another says that it
// has nothing more, not that time stands still.
func follow(agg *detector.Aggregator, inputs []*input) {
	last := furthestBehind(inputs)
	for _, in := range inputs {
		if in.done && last != nil {
			agg.Advance(in.part, last.part.Watermark(), false)
		}
	}
}

// line takes the next record of a file.
func (r *Replay) line(ctx context.Context, agg *detector.Aggregator, in *input) error {
	l, err := in.line(ctx)
	if errors.Is(err, io.EOF) {
		in.done = true
		agg.Release(in.part)
		return nil
	}
	if err != nil {
		return err
	}
	in.part.Skip(l.number) // blank lines
	origin := func() wire.Origin {
		return wire.Origin{Source: in.part.Source, Offset: l.number, Record: wire.Record{Value: l.text, Time: -1}}
	}
	var events []detector.Event
	rejected := l.rejected
	if in.foreign != nil {
		events, rejected = in.foreign.Read(&wire.Record{Value: l.record, Time: -1})
	}
	if rejected != nil {
		if l.number == 0 && isExported(l.text) { // of a file that would be known
			return &InputError{fmt.Errorf("%s carries topic, partition and offset: put it into a file, because such input is read twice", in.in.name)}
		}
		in.part.Reject(l.number)
		if r.Rejected != nil {
			r.Rejected(origin(), rejected)
		}
		return nil
	}
	var outcome detector.Outcome
	if in.foreign != nil {
		outcome = agg.CountAll(in.part, l.number, events)
	} else {
		outcome = agg.Count(in.part, l.number, &l.event)
	}
	r.outcome(in.held, in.part, l.number, origin, outcome)
	return nil
}
