package ruletest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sevwatch/detector"
	"sevwatch/detector/stream"
	"sevwatch/rules"
	"sevwatch/rules/strictyaml"
)

// Result is what came of one test. It passed if Diff is "".
type Result struct {
	Name string
	Pos  strictyaml.Pos
	Diff string // what was told against what was expected, a line each: - was expected, + was told
	Late int64  // events that came too late to be counted
}

// Run runs test number i by the rules.
func (f *File) Run(i int, file *rules.File) (Result, error) {
	t := &f.Tests[i]
	told, late, err := t.tell(f.config(), file)
	r := Result{Name: t.Name, Pos: t.Where.Pos, Late: late}
	if err != nil {
		return r, fmt.Errorf("cannot run the test %q: %w", t.Name, err)
	}
	r.Diff = difference(t.Expect, told)
	return r, nil
}

// arrival is one thing that happens to the source: an event, or a mark.
type arrival struct {
	at        int64 // ms, in the order of which everything happens
	partition int   // -1: dealt out in turn
	event     stream.Event
	twice     bool
	silence   *Stretch
}

// arrivals are all steps beside each other, in the order of arrival.
func (t *Test) arrivals(pane int64) []arrival {
	var out []arrival
	for i := range t.Input {
		out = append(out, t.Input[i].arrivals(int64(t.Start), pane)...)
	}
	slices.SortStableFunc(out, func(x, y arrival) int { return cmp.Compare(x.at, y.at) })
	return out
}

func (s *Step) arrivals(start, pane int64) []arrival {
	if s.Silence != nil {
		return []arrival{{at: start + int64(s.Silence.To), silence: s.Silence}}
	}
	var events []stream.Event
	for i := range s.Events {
		if s.Feed != nil {
			events = append(events, s.Events[i].Between(start+int64(s.Feed.From), start+int64(s.Feed.To), pane)...)
		} else {
			events = append(events, s.Events[i].At(start+int64(*s.At))...)
		}
	}
	slices.SortStableFunc(events, func(x, y stream.Event) int { return cmp.Compare(x.Time, y.Time) })
	partition := -1
	if s.Partition != nil {
		partition = *s.Partition
	}
	out := make([]arrival, len(events))
	for n, e := range events {
		out[n] = arrival{
			at: e.Time + int64(s.Late) + int64(float64(s.Shuffle)*stream.Spread(n)), partition: partition, event: e,
			twice: stream.Hit(n, int64(s.Duplicate)),
		}
	}
	return out
}

// teller runs one test.
type teller struct {
	cfg        detector.Config
	file       *rules.File
	engine     *detector.Local
	partitions []*detector.Partition
	offsets    []int64
	outputs    []detector.Output
}

// tell runs the engine over the input and gives what it told of the rules that the test is about.
func (t *Test) tell(cfg detector.Config, file *rules.File) (told []Line, late int64, err error) {
	e := &teller{cfg: cfg, file: file, engine: detector.NewLocal(cfg, file), offsets: make([]int64, t.Partitions)}
	for p := range t.Partitions {
		e.partitions = append(e.partitions, e.engine.Add(detector.Source{Topic: topic, Partition: p}, 0, detector.NewPartitionState()))
	}
	e.engine.SetPartitions(detector.PartitionSet{Version: 1, Topics: map[string]int{topic: t.Partitions}})
	dealt := 0
	for _, a := range t.arrivals(cfg.Pane) {
		if a.silence != nil {
			e.advance(int64(t.Start)+int64(a.silence.From), false)
			e.advance(int64(t.Start)+int64(a.silence.To), true)
		} else {
			if a.partition < 0 {
				a.partition = dealt % t.Partitions
				dealt++
			}
			e.take(a)
		}
		if e.engine.Due() {
			if err := e.settle(); err != nil {
				return nil, 0, err
			}
		}
	}
	e.advance(int64(t.Start)+t.until(cfg.Pane), false)
	if err := e.settle(); err != nil {
		return nil, 0, err
	}
	return e.lines(t), e.engine.Judge.Totals().Late, nil
}

// until is the end of the pane that the last step ends in, unless the test says something else. A moment on an edge is in the pane behind it.
func (t *Test) until(pane int64) int64 {
	if t.Until > 0 {
		return int64(t.Until)
	}
	end := int64(0)
	for i := range t.Input {
		last := int64(t.Input[i].end())
		if t.Input[i].At == nil {
			last--
		}
		end = max(end, (last/pane+1)*pane)
	}
	return end
}

// advance moves all partitions on to a time.
func (e *teller) advance(to int64, silent bool) {
	for _, p := range e.partitions {
		e.engine.Advance(p, to, silent)
	}
}

// take lets an event arrive. One of kind pipeline is no record: it happens to the pipeline.
func (e *teller) take(a arrival) {
	if a.event.Kind == rules.KindPipeline {
		about := e.partitions[a.partition].Source
		e.engine.Happened(detector.Happening{Source: about, Name: a.event.Labels["name"], Pane: e.cfg.PaneOf(a.event.Time), Count: 1})
		return
	}
	event := detector.Event{Time: a.event.Time, Kind: a.event.Kind, Session: []byte(a.event.Session), Value: a.event.Value, HasValue: a.event.Valued}
	for _, name := range e.cfg.Labels {
		event.Labels = append(event.Labels, []byte(a.event.Labels[name]))
	}
	copies := 1
	if a.twice {
		copies = 2
	}
	for range copies {
		e.engine.Count(e.partitions[a.partition], e.offsets[a.partition], &event)
		e.offsets[a.partition]++
	}
}

func (e *teller) settle() error {
	outputs, err := e.engine.Settle()
	e.outputs = append(e.outputs, outputs...)
	return err
}

// lines are the messages about the test's rules, in the notation of expect.
func (e *teller) lines(t *Test) []Line {
	var out []Line
	about := map[string]string{} // by incident
	for _, o := range e.outputs {
		if i := o.Incident; i != nil && about[i.ID] == "" {
			about[i.ID] = i.Subject(e.file)
		}
		rule, _, _ := strings.Cut(about[o.ID()], "{")
		if len(t.About) > 0 && !slices.Contains(t.About, rule) {
			continue
		}
		l := Line{at: rules.Duration(int64(o.At()) - int64(t.Start)), about: about[o.ID()]}
		if o.Recovery != nil {
			l.what, l.transition, l.because = o.Recovery.Action, string(o.Recovery.Transition), o.Recovery.Evidence
		} else {
			l.what, l.transition, l.because = o.Incident.Severity.String(), string(o.Incident.Transition), o.Incident.Reason
		}
		l.text = fmt.Sprintf("%s %s %s %s because %s", l.at, l.what, l.transition, l.about, l.because)
		out = append(out, l)
	}
	return out
}
