package pipeline

import (
	"context"
	"errors"
	"io"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// input is one file while it is read.
type input struct {
	lines   *lineReader
	rows    *csvLines // of a CSV file
	part    *detector.Partition
	decoder *wire.Decoder
	foreign *wire.Input // reads records of another shape; nil: the decoder does
	event   [1]detector.Event
	held    suspects
	done    bool
}

// fileTopic is the topic that files without one are of.
const fileTopic = "file"

// files replays files.
func (r *Replay) files(ctx context.Context, engine *detector.Local) (err error) {
	var inputs []*input
	for i, name := range r.Files {
		lines, err := openLines(name, r.Stdin)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lines.close()) }()
		in := &input{lines: lines, held: suspects{}, decoder: wire.NewDecoder(rules.NoKind, r.Config.Labels)}
		if isCSV(name) {
			if in.rows, err = readHead(lines); err != nil {
				return err
			}
		}
		if r.Source != nil {
			in.decoder, in.foreign = r.Source.Decoder(r.Config.Labels), r.Source.Input(r.Config.Labels, nil)
		}
		in.part = engine.Add(detector.Source{Topic: fileTopic, Partition: i}, 0, detector.NewPartitionState())
		inputs = append(inputs, in)
	}
	engine.SetPartitions(detector.PartitionSet{Version: 1, Topics: map[string]int{fileTopic: len(inputs)}})
	if err := r.readFiles(ctx, engine, inputs); err != nil {
		return err
	}
	for _, p := range engine.Partitions() {
		if r.Until != 0 {
			engine.Advance(p, r.Until, true)
		}
	}
	return r.settle(engine)
}

// readFiles takes records from the file that is furthest behind, so that memory stays small and no file makes another late.
func (r *Replay) readFiles(ctx context.Context, engine *detector.Local, inputs []*input) error {
	done := func() float64 { return shareRead(inputs) }
	for in := furthestBehind(inputs); in != nil && !r.over(engine); in = furthestBehind(inputs) {
		if err := r.line(engine.Aggregator, in); err != nil {
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
		if in.lines.size == 0 {
			return -1
		}
		read, size = read+in.lines.raw.n, size+in.lines.size
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
func (r *Replay) line(agg *detector.Aggregator, in *input) error {
	line, number, err := in.lines.next()
	if errors.Is(err, io.EOF) {
		in.done = true
		agg.Release(in.part)
		return nil
	}
	if err != nil {
		return err
	}
	in.part.Skip(number) // blank lines
	origin := func() wire.Origin {
		return wire.Origin{Source: in.part.Source, Offset: number, Record: wire.Record{Value: line, Time: -1}}
	}
	record := line
	if in.rows != nil {
		record = in.rows.object(line)
	}
	events, rejected := in.decode(record)
	if rejected != nil {
		in.part.Reject(number)
		if r.Rejected != nil {
			r.Rejected(origin(), rejected)
		}
		return nil
	}
	r.outcome(in.held, in.part, number, origin, agg.CountAll(in.part, number, events))
	return nil
}

// decode gives the events of a line.
func (in *input) decode(line []byte) ([]detector.Event, *wire.Reject) {
	if in.foreign != nil {
		return in.foreign.Read(&wire.Record{Value: line, Time: -1})
	}
	return in.event[:], in.decoder.Decode(line, -1, &in.event[0])
}
