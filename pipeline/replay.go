package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// Replay runs the two stages over files, joined in memory: the same engine and the same messages as live. It touches no topic.
type Replay struct {
	Config detector.Config
	Rules  *rules.File
	Files  []string // each is one partition; "-" is Stdin
	Stdin  io.Reader
	Source *SourceConfig // whose records the files hold; nil: events of our own shape
	Until  int64         // event time up to which the input is known to be complete, epoch ms; 0: the end of input advances nothing

	// Control are people's words, in the order of their offsets.
	Control []ControlRecord

	// Output takes every message in the order (at, id, revision, type).
	Output func(detector.Output) error
	// Rejected and Late, where given, take the records that were not counted.
	Rejected func(wire.Origin, *wire.Reject)
	Late     func(o wire.Origin, eventTime, lateMs int64)
	// Progress, where given, is called now and then, with what was read so far and the event time reached.
	Progress func(detector.Totals, int64)
}

// Summary is what a replay did.
type Summary struct {
	Totals   detector.Totals
	Edge     int64 // event time up to which everything was judged
	Open     int   // incidents that are not over
	LateHere int64 // events for panes closed already: 0 unless a promise is broken
}

// progressEvery is how many records lie between two calls of Progress.
const progressEvery = 1 << 16

// input is one file while it is read.
type input struct {
	lines   *lineReader
	part    *detector.Partition
	decoder *wire.Decoder
	foreign *wire.Input // reads records of another shape; nil: the decoder does
	event   [1]detector.Event
	held    map[int64]suspect // records that the future guard holds, by offset
	done    bool
}

// suspect is a held event's record and why it is rejected if it is not believed.
type suspect struct {
	wire.Origin
	*wire.Reject
}

// Run reads all input to its end.
func (r *Replay) Run(ctx context.Context) (sum Summary, err error) {
	engine := detector.NewLocal(r.Config, r.Rules)
	for _, c := range r.Control {
		hear(engine.Judge, 0, c.Offset, c.Control)
	}
	set := detector.PartitionSet{Version: 1, Topics: map[string]int{}}
	var inputs []*input
	for i, name := range r.Files {
		lines, err := openLines(name, r.Stdin)
		if err != nil {
			return sum, err
		}
		defer func() { err = errors.Join(err, lines.close()) }()
		in := &input{lines: lines, held: map[int64]suspect{}, decoder: wire.NewDecoder(rules.NoKind, r.Config.Labels)}
		if r.Source != nil {
			in.decoder = wire.NewDecoder(r.Source.Kind.Kind, r.Config.Labels)
			in.decoder.MaxBytes, in.foreign = r.Source.MaxBytes, r.Source.Input(r.Config.Labels, nil)
		}
		in.part = engine.Add(detector.Source{Topic: "file", Partition: i}, 0, detector.NewPartitionState())
		inputs = append(inputs, in)
	}
	set.Topics["file"] = len(inputs)
	engine.SetPartitions(set)
	if err := r.read(ctx, engine, inputs); err != nil {
		return sum, err
	}
	for _, p := range engine.Partitions() {
		if r.Until != 0 {
			engine.Advance(p, r.Until, true)
		}
	}
	err = r.settle(engine)
	judge := engine.Judge
	return Summary{Totals: judge.Totals(), Edge: judge.Edge(), Open: judge.Open(), LateHere: judge.Late()}, err
}

// read takes records from the partition that is furthest behind, so that memory stays small and no partition makes another late.
func (r *Replay) read(ctx context.Context, engine *detector.Local, inputs []*input) error {
	for n := 1; ; n++ {
		in := furthestBehind(inputs)
		if in == nil {
			return nil
		}
		if err := r.record(engine.Aggregator, in); err != nil {
			return err
		}
		if now := furthestBehind(inputs); now != nil && now.part.Edge() > engine.Edge() {
			follow(engine.Aggregator, inputs)
		}
		if n%progressEvery == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if r.Progress != nil {
				r.Progress(engine.Judge.Totals(), engine.Judge.Edge())
			}
		}
		if engine.Due() {
			if err := r.settle(engine); err != nil {
				return err
			}
		}
	}
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

// record takes the next record of an input.
func (r *Replay) record(agg *detector.Aggregator, in *input) error {
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
	events, rejected := in.decode(line)
	if rejected != nil {
		in.part.Reject(number)
		if r.Rejected != nil {
			r.Rejected(origin(), rejected)
		}
		return nil
	}
	outcome := agg.CountAll(in.part, number, events)
	for _, offset := range outcome.Future {
		if r.Rejected != nil {
			r.Rejected(in.held[offset].Origin, in.held[offset].Reject)
		}
	}
	switch {
	case outcome.Held:
		o := origin()
		o.Value = bytes.Clone(line)
		in.held[number] = suspect{o, wire.Future(outcome.Newest, outcome.AheadMs)}
	case outcome.LateMs > 0 && r.Late != nil:
		r.Late(origin(), in.part.Edge()-outcome.LateMs, outcome.LateMs)
	}
	if len(in.held) > 0 {
		maps.DeleteFunc(in.held, func(offset int64, _ suspect) bool { return !in.part.Holds(offset) })
	}
	return nil
}

// decode gives the events of a line.
func (in *input) decode(line []byte) ([]detector.Event, *wire.Reject) {
	if in.foreign != nil {
		return in.foreign.Read(&wire.Record{Value: line, Time: -1})
	}
	return in.event[:], in.decoder.Decode(line, -1, &in.event[0])
}

// settle judges what can be judged, and gives out what there is to tell.
func (r *Replay) settle(engine *detector.Local) error {
	outputs, err := engine.Settle()
	for _, o := range outputs {
		err = errors.Join(err, r.Output(o))
	}
	return err
}
