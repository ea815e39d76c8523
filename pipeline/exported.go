package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// exportedRecord is one line of a file that was exported from Kafka, as `kcat -C -J` writes it: the record with where it came from. Such a
// file holds several partitions, and may hold the marks and the control records.
type exportedRecord struct {
	Topic     *string         `json:"topic"`
	Partition *int            `json:"partition"`
	Offset    *int64          `json:"offset"`
	Time      int64           `json:"ts"`
	Headers   []exportedBytes `json:"headers"` // name, value, name, value
	Key       exportedBytes   `json:"key"`
	Payload   exportedBytes   `json:"payload"`
}

// exportedBytes stand in JSON text as they are, UTF-8 or not; null is nil.
type exportedBytes []byte

// UnmarshalJSON reads text. Where it is no UTF-8, each byte is taken for one character, and is a byte again afterwards.
func (b *exportedBytes) UnmarshalJSON(text []byte) error {
	var s *string
	if utf8.Valid(text) {
		err := json.Unmarshal(text, &s)
		if s != nil {
			*b = []byte(*s)
		}
		return err
	}
	var wide []byte
	for _, c := range text {
		wide = utf8.AppendRune(wide, rune(c))
	}
	if err := json.Unmarshal(wide, &s); err != nil || s == nil {
		return err
	}
	*b = make([]byte, 0, len(*s))
	for _, c := range *s {
		*b = append(*b, byte(c))
	}
	return nil
}

// readExported reads a line; false if it is no exported record.
func readExported(line []byte) (r exportedRecord, ok bool) {
	err := json.Unmarshal(line, &r)
	return r, err == nil && r.Topic != nil && r.Partition != nil && r.Offset != nil
}

func isExported(line []byte) bool {
	_, ok := readExported(line)
	return ok
}

// firstLine is the first line of a file that is not blank, nil if there is none.
func firstLine(name string) ([]byte, error) {
	lines, err := openLines(name, nil)
	if err != nil {
		return nil, err
	}
	line, _, err := lines.next()
	line = bytes.Clone(line)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return line, errors.Join(err, lines.close())
}

// anyExported says whether the files are exported ones. Of stdin that cannot be known before it is read: there each line is an event.
func (r *Replay) anyExported() (bool, error) {
	exported, plain := 0, 0
	for _, name := range r.Files {
		if name == "-" || isCSV(name) {
			plain++
			continue
		}
		line, err := firstLine(name)
		if err != nil {
			return false, err
		}
		if isExported(line) {
			exported++
		} else if line != nil {
			plain++
		}
	}
	if exported > 0 && plain > 0 {
		return false, &InputError{errors.New("some of the files carry topic, partition and offset and some do not: replay them apart")}
	}
	return exported > 0, nil
}

// exported replays exported files: once over them to know the partitions and the marks, and once more to judge.
func (r *Replay) exported(ctx context.Context, engine *detector.Local) error {
	t := r.topics(ctx, engine)
	if err := t.survey(); err != nil {
		return err
	}
	var inputs []*exportedFile
	for _, name := range r.Files {
		lines, err := openLines(name, nil)
		if err != nil {
			return err
		}
		f := &exportedFile{lines: lines}
		defer func() { _ = lines.close() }()
		inputs = append(inputs, f)
	}
	for _, s := range t.order {
		s.applyMarks(engine.Aggregator, s.Offset())
	}
	for next := nextExported(inputs); next != nil && !r.over(engine); next = nextExported(inputs) {
		if err := t.exportedLine(ctx, next, inputs); err != nil {
			return err
		}
	}
	t.end()
	for _, s := range t.order {
		r.unknown(s.decoder.Unknown(), s.input)
	}
	return r.settle(engine)
}

// exportedFile is one file while it is read; at is how far the partition of its last record is.
type exportedFile struct {
	lines *lineReader
	at    int64
	done  bool
}

// nextExported is the file that is furthest behind.
func nextExported(inputs []*exportedFile) *exportedFile {
	var next *exportedFile
	for _, f := range inputs {
		if !f.done && (next == nil || f.at < next.at) {
			next = f
		}
	}
	return next
}

// survey is what a first pass over exported files finds: where each partition begins and ends, and the marks.
type survey struct {
	spans    map[detector.Source]span
	marks    []aboutPartition
	happened []detector.Happening
}

// survey finds the partitions with their first and last offsets, and the marks, and lets the judges hear the control records.
func (t *topicReplay) survey() error {
	found := survey{spans: map[detector.Source]span{}}
	if err := t.eachExported(func(r *exportedRecord, _ string) error { return t.look(&found, r) }); err != nil {
		return err
	}
	topics := &t.Pipeline.Topics
	spans := found.spans
	maps.DeleteFunc(spans, func(s detector.Source, _ span) bool { return s.Topic == topics.Marks || s.Topic == topics.Control })
	for _, m := range found.marks {
		if _, ok := spans[m.about]; !ok {
			spans[m.about] = span{m.before, m.before} // a partition that nothing was exported of
		}
	}
	set := detector.PartitionSet{Version: 1, Topics: map[string]int{}}
	for s := range spans {
		set.Topics[s.Topic] = max(set.Topics[s.Topic], s.Partition+1)
	}
	t.engine.SetPartitions(set)
	for _, topic := range slices.Sorted(maps.Keys(set.Topics)) {
		for id := range set.Topics[topic] {
			key := detector.Source{Topic: topic, Partition: id}
			t.addExported(key, spans[key])
		}
	}
	for _, m := range found.marks {
		t.expect(m.about, m.pendingMark)
	}
	for _, h := range found.happened {
		if s := t.sources[h.Source]; s != nil {
			s.happened = append(s.happened, h)
		}
	}
	if len(found.marks) == 0 {
		t.doubt("the files hold no marks of " + topics.Marks)
	}
	t.doubtControl("the files hold nothing of " + topics.Control)
	return nil
}

// look takes a record of the first pass.
func (t *topicReplay) look(found *survey, r *exportedRecord) error {
	s := detector.Source{Topic: *r.Topic, Partition: *r.Partition}
	if err := possible(s, *r.Offset); err != nil {
		return err
	}
	known, ok := found.spans[s]
	if ok && *r.Offset < known.end {
		return fmt.Errorf("offset %d of %s/%d comes after offset %d: expected the order of the partition", *r.Offset, s.Topic, s.Partition, known.end-1)
	}
	if !ok {
		known.first = *r.Offset
	}
	known.end = *r.Offset + 1
	found.spans[s] = known
	switch {
	case r.Payload == nil:
	case s.Topic == t.Pipeline.Topics.Control && len(t.Control) > 0:
		return fmt.Errorf("it is a record of %s, and control records are given apart: expected one of the two", s.Topic)
	case s.Topic == t.Pipeline.Topics.Control:
		t.hearRecord(*r.Offset, r.Payload)
	case s.Topic == t.Pipeline.Topics.Marks:
		m, err := wire.DecodeMark(r.Payload)
		if err != nil {
			return fmt.Errorf("cannot read the mark: %w", err)
		}
		for _, p := range pendingOf(m, r.Time) {
			if err := possible(p.about, p.before); err != nil {
				return fmt.Errorf("cannot read the mark: %w", err)
			}
		}
		found.happened = append(found.happened, m.Happened...)
		found.marks = append(found.marks, pendingOf(m, r.Time)...)
	}
	return nil
}

// maxExported bounds the partitions of a topic in exported files: all below the largest one are replayed, whether there is anything of them or not.
const maxExported = 10_000

// possible says what is wrong with where a record lies, or a mark is.
func possible(s detector.Source, offset int64) error {
	switch {
	case s.Partition < 0 || s.Partition >= maxExported:
		return fmt.Errorf("the partition of %s is %d, expected 0 to %d", s.Topic, s.Partition, maxExported-1)
	case offset < 0:
		return fmt.Errorf("the offset in %s/%d is %d, expected 0 or more", s.Topic, s.Partition, offset)
	}
	return nil
}

func (t *topicReplay) addExported(key detector.Source, at span) {
	s := &recorded{first: at.first, last: at.end, end: noLow, held: suspects{}} // marks may come behind the last record: behind a transaction's marker
	s.source = &source{Partition: t.engine.Add(key, at.first, detector.NewPartitionState()), decoder: wire.NewDecoder(rules.NoKind, t.Config.Labels)}
	for i := range t.Pipeline.Sources {
		if c := &t.Pipeline.Sources[i]; c.Topic == key.Topic {
			s.decoder, s.input = c.Decoder(t.Config.Labels), c.Input(t.Config.Labels, t.schemas)
		}
	}
	if at.first == at.end {
		s.read = true
	}
	t.sources[key] = s
	t.order = append(t.order, s)
}

// eachExported goes once through all files.
func (t *topicReplay) eachExported(f func(r *exportedRecord, at string) error) (err error) {
	for _, name := range t.Files {
		lines, err := openLines(name, nil)
		if err != nil {
			return err
		}
		for {
			line, number, err := lines.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return errors.Join(err, lines.close())
			}
			r, ok := readExported(line)
			if !ok {
				return errors.Join(&InputError{fmt.Errorf("%s:%d: the line has no topic, partition and offset, which the first line has", name, number+1)}, lines.close())
			}
			if err := f(&r, name); err != nil {
				return errors.Join(&InputError{fmt.Errorf("%s:%d: %w", name, number+1, err)}, lines.close())
			}
		}
		if err := lines.close(); err != nil {
			return err
		}
	}
	return nil
}

// exportedLine takes the next record of a file.
func (t *topicReplay) exportedLine(ctx context.Context, f *exportedFile, inputs []*exportedFile) error {
	line, _, err := f.lines.next()
	if errors.Is(err, io.EOF) {
		f.done = true
		return nil
	}
	if err != nil {
		return err
	}
	r, _ := readExported(line)
	if *r.Topic == t.Pipeline.Topics.Marks || *r.Topic == t.Pipeline.Topics.Control {
		return nil
	}
	s := t.sources[detector.Source{Topic: *r.Topic, Partition: *r.Partition}]
	s.applyMarks(t.engine.Aggregator, *r.Offset)
	s.Skip(*r.Offset)
	record := fetch.Record{Offset: *r.Offset, Time: r.Time, Key: r.Key, Value: r.Payload}
	for pair := range slices.Chunk(r.Headers, 2) {
		record.AddHeader(string(pair[0]), pair[len(pair)-1])
	}
	if err := t.record(s, &record); err != nil {
		return err
	}
	if s.Position() == s.last {
		s.read = true
		s.applyMarks(t.engine.Aggregator, noLow)
	}
	f.at = s.Clock()
	if err := t.tick(ctx, t.engine, func() float64 { return shareOf(inputs) }); err != nil {
		return err
	}
	t.follow()
	if t.engine.Due() {
		return t.settle(t.engine)
	}
	return nil
}

func shareOf(inputs []*exportedFile) float64 {
	var read, size int64
	for _, f := range inputs {
		read, size = read+f.lines.raw.n.Load(), size+f.lines.size
	}
	return float64(read) / float64(max(1, size))
}
