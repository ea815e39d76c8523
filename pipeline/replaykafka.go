package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// recorded is one source partition of a replay: [first, end) is what is read of it.
type recorded struct {
	*source
	first, end int64
	last       int64 // of an exported file: behind its last record
	read       bool  // up to there
	paused     bool
	event      [1]detector.Event
	held       suspects
	happened   []detector.Happening // to it, which live counted
}

func (s *recorded) done() bool { return s.read || s.Position() >= s.end }

// topicReplay is a replay of topics while it runs. One goroutine owns it; the fetcher reads the partitions beside it.
type topicReplay struct {
	*Replay
	engine  *detector.Local
	sources map[detector.Source]*recorded
	order   []*recorded
	fetch   fetch.Config
	fetcher reader
	heard   bool          // there are control records
	inForce []*rules.File // the rules that are in force at From or later
	schemas *schemas
}

func (r *Replay) topics(ctx context.Context, engine *detector.Local) *topicReplay {
	return &topicReplay{Replay: r, engine: engine, sources: map[detector.Source]*recorded{}, inForce: []*rules.File{r.Rules}, schemas: newSchemas(ctx, &r.Pipeline.Registry, r.patience())}
}

// kafka replays the sources of a configuration from Kafka, as far as they went when it began. What live decided on time is read from the
// marks first and applied between the very records where live applied it (source.take), so whether a record is late is decided as live did.
func (r *Replay) kafka(ctx context.Context, engine *detector.Local) error {
	t := r.topics(ctx, engine)
	t.fetch = fetch.Config{Dialer: r.Pipeline.newDialer(), Brokers: r.Pipeline.Brokers, Isolation: kafka.ReadCommitted, OnError: r.Kafka.OnError}
	if err := t.readControl(ctx); err != nil {
		return err
	}
	t.warmUp()
	if err := t.open(ctx); err != nil {
		return err
	}
	if err := t.readMarks(ctx); err != nil {
		return err
	}
	var starts []fetch.Start
	for _, s := range t.order {
		s.applyMarks(engine.Aggregator, s.Offset())
		if !s.done() {
			starts = append(starts, fetch.Start{Topic: s.Topic, Partition: s.Source.Partition, Offset: s.first, Uncommitted: s.uncommitted})
		}
	}
	if len(starts) > 0 {
		t.fetcher = t.fetcherOf(starts)
		if err := reading(ctx, t.fetcher, t.loop); err != nil {
			return err
		}
	}
	t.end()
	for _, s := range t.order {
		r.unknown(s.decoder.Unknown(), s.input)
	}
	return r.settle(engine)
}

func (r *Replay) patience() time.Duration { return cmp.Or(r.GiveUpAfter, Patience) }

// fetcherOf reads partitions as the replay reads all of them.
func (t *topicReplay) fetcherOf(starts []fetch.Start) reader {
	return &impatient{fetch.New(t.fetch, starts), make(chan fetch.Response), t.patience()}
}

// warmUp decides how much before From is read: enough for all rules that are in force from then on.
func (t *topicReplay) warmUp() {
	t.sum.Before = t.Kafka.WarmUp
	if t.sum.Before < 0 {
		for _, file := range append(t.inForce, t.Kafka.Beside...) {
			t.sum.Before = max(t.sum.Before, t.Config.WarmUp(file))
		}
	}
}

// open finds the partitions of all sources, and where to begin and end in each.
func (t *topicReplay) open(ctx context.Context) error {
	c := t.Pipeline
	var topics []string
	for _, s := range c.Sources {
		topics = append(topics, s.Topic)
	}
	found, err := c.partitionsOf(ctx, topics)
	if err != nil {
		return err
	}
	var missing []error
	for _, topic := range topics {
		if found[topic] == 0 {
			missing = append(missing, fmt.Errorf("topic %s is missing", topic))
		}
	}
	if len(missing) > 0 {
		return &InputError{errors.Join(missing...)}
	}
	set := detector.PartitionSet{Version: 1, Topics: found}
	t.engine.SetPartitions(set)
	for _, topic := range slices.Sorted(maps.Keys(found)) {
		if err := t.openTopic(ctx, topic, found[topic]); err != nil {
			return err
		}
	}
	return nil
}

func (t *topicReplay) openTopic(ctx context.Context, topic string, partitions int) error {
	ids := make([]int, partitions)
	for id := range ids {
		ids[id] = id
	}
	c := t.Pipeline
	cfg := c.Sources[slices.IndexFunc(c.Sources, func(s SourceConfig) bool { return s.Topic == topic })]
	spans, err := ends(ctx, t.Kafka.Client, topic, ids, cfg.Isolation.level())
	if err != nil {
		return err
	}
	starts := map[int]int64{}
	if t.From != 0 {
		if starts, err = offsetsAt(ctx, t.Kafka.Client, topic, ids, t.From-t.sum.Before); err != nil {
			return err
		}
	}
	for _, id := range ids {
		s := &recorded{first: spans[id].first, end: spans[id].end, held: suspects{}}
		if at, ok := starts[id]; ok {
			s.first = min(max(s.first, at), s.end)
		}
		key := detector.Source{Topic: topic, Partition: id}
		s.source = &source{Partition: t.engine.Add(key, s.first, detector.NewPartitionState()), decoder: cfg.Decoder(c.Labels)}
		s.input, s.uncommitted = cfg.Input(c.Labels, t.schemas), cfg.Isolation == ReadUncommitted
		if s.first > 0 && (t.From == 0 || s.first == spans[id].first) {
			t.sum.Doubts = append(t.sum.Doubts, fmt.Sprintf("%s/%d begins at offset %d: what came before is gone", topic, id, s.first))
		}
		t.sources[key] = s
		t.order = append(t.order, s)
	}
	return nil
}

// offsetsAt are the first offsets whose records are from at or later, by the records' timestamps; where there is none, the largest int64.
func offsetsAt(ctx context.Context, client *kafka.Client, topic string, partitions []int, at int64) (map[int]int64, error) {
	var ask []kafka.OffsetRequest
	for _, id := range partitions {
		ask = append(ask, kafka.TimeOffsetOf(id, time.UnixMilli(max(at, 0))))
	}
	res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: ask}})
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the offsets of %s at %s: %w", topic, detector.Millis(at), err)
	}
	out := map[int]int64{}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("cannot ask for the offset of %s/%d at %s: %w", topic, p.Partition, detector.Millis(at), p.Error)
		}
		out[p.Partition] = noLow
		for offset := range p.Offsets {
			if offset >= 0 {
				out[p.Partition] = offset
			}
		}
	}
	return out, nil
}

// readMarks reads what live decided on time, for the records that are replayed. Lines that follow each other before the same record are
// kept as one, so that a partition that was silent for a month is one line.
func (t *topicReplay) readMarks(ctx context.Context) error {
	topic := t.Pipeline.Topics.Marks
	found, err := t.Pipeline.partitionsOf(ctx, []string{topic})
	if err != nil {
		return err
	}
	if found[topic] == 0 {
		t.doubt("topic " + topic + " is missing")
		return nil
	}
	lines, cut := 0, false
	for id := range found[topic] {
		spans, err := ends(ctx, t.Kafka.Client, topic, []int{id}, kafka.ReadCommitted)
		if err != nil {
			return err
		}
		cut = cut || spans[id].first > 0
		err = readRange(ctx, t.fetcherOf, fetch.Start{Topic: topic, Partition: id, Offset: spans[id].first}, spans[id].end, func(r *fetch.Record) error {
			m, err := wire.DecodeMark(r.Value)
			if err != nil {
				return fmt.Errorf("cannot read the mark at %s/%d offset %d: %w", topic, id, r.Offset, err)
			}
			lines += len(m.Idle)
			for _, p := range pendingOf(m, r.Time) {
				t.expect(p.about, p.pendingMark)
			}
			for _, h := range m.Happened {
				if s := t.sources[h.Source]; s != nil {
					s.happened = append(s.happened, h)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	switch {
	case lines == 0:
		t.doubt("there are no marks in " + topic)
	case cut:
		t.doubt("the oldest marks in " + topic + " are gone")
	}
	return nil
}

// readControl lets the judges hear what people said and how the rules changed, which it applies at the edges that the log says.
func (t *topicReplay) readControl(ctx context.Context) error {
	topic := t.Pipeline.Topics.Control
	found, err := t.Pipeline.partitionsOf(ctx, []string{topic})
	if err != nil {
		return err
	}
	if found[topic] > 0 {
		if err := t.heardLive(ctx); err != nil && ctx.Err() == nil {
			t.sum.Doubts = append(t.sum.Doubts, fmt.Sprintf("how far live has heard what people said is not known: %s", err))
		}
		spans, err := ends(ctx, t.Kafka.Client, topic, []int{0}, kafka.ReadUncommitted) // behind what is open now may be what is committed
		if err != nil {
			return err
		}
		err = readRange(ctx, t.fetcherOf, fetch.Start{Topic: topic, Offset: spans[0].first}, spans[0].end, func(r *fetch.Record) error {
			t.hearRecord(r.Offset, r.Value)
			return nil
		})
		if err != nil {
			return err
		}
		if len(t.live) > 0 {
			for _, j := range t.engine.Judges {
				j.ForgetUnapplied()
			}
		}
	}
	t.doubtControl("there is nothing in " + topic)
	return nil
}

// heardLive looks how far into the control log the judges have heard, where there are any: what they have not heard has changed nothing yet.
func (t *topicReplay) heardLive(ctx context.Context) error {
	t.live = nil
	found, err := t.Pipeline.partitionsOf(ctx, []string{t.Pipeline.Topics.State})
	if err != nil || found[t.Pipeline.Topics.State] == 0 {
		return err
	}
	w := onlooker(t.Pipeline, t.Kafka.Client)
	var live []int64
	for task := range t.Pipeline.Tasks.Judge {
		records, _, err := w.readState(ctx, task)
		if err != nil {
			return err
		}
		next, ok, err := detector.HeardOf(records)
		if err != nil || !ok {
			return err
		}
		live = append(live, next)
	}
	t.live = live
	return nil
}

// hearRecord lets the judges hear a control record. One that cannot be read says nothing to a judge, as live.
func (t *topicReplay) hearRecord(offset int64, value []byte) {
	t.heard = true
	c, err := wire.DecodeControl(value, t.Config.RuleOptions())
	if err != nil {
		const unread = "rules on the control topic cannot be read"
		var head detector.Act
		_ = json.Unmarshal(value, &head)
		if head.Act == detector.ActRules && !slices.ContainsFunc(t.sum.Doubts, func(d string) bool { return strings.HasPrefix(d, unread) }) {
			t.sum.Doubts = append(t.sum.Doubts, fmt.Sprintf("%s, the first at offset %d: %.300s", unread, offset, err))
		}
		t.hear(t.engine, offset, nil)
		return
	}
	t.hear(t.engine, offset, c)
	t.hearSettings(c)
	if c.Rules == nil || t.OnlyRules {
		return
	}
	if c.Time != 0 && int64(c.Time) <= t.From {
		t.inForce = nil
	}
	t.inForce = append(t.inForce, c.Rules)
}

// doubtControl notes what of people's words and the rules may not be known.
func (t *topicReplay) doubtControl(missing string) {
	if !t.heard && len(t.Control) == 0 {
		t.sum.Doubts = append(t.sum.Doubts, missing+": what people said live is not known, nor by which rules live judged: here they are those given")
	}
}

// doubt notes why the replay may not be what live said.
func (t *topicReplay) doubt(why string) {
	t.sum.Doubts = append(t.sum.Doubts, why+": where a partition was idle live, records that were late there are counted here, "+
		"and silence is not on record, so absence rules may not tell what they told live")
}

// expect keeps a mark's line until its partition comes to it.
func (t *topicReplay) expect(about detector.Source, m pendingMark) {
	s := t.sources[about]
	if s != nil && m.resume > 0 {
		m.before = max(m.before, s.first) // live followed nobody up to resume
	}
	if s == nil || m.before < s.first || m.before > s.end {
		return
	}
	if m.resume > 0 {
		if follows, _ := s.Follows(); !follows {
			return // the configuration is another now
		}
	} else if n := len(s.idle); n > 0 && s.idle[n-1].before == m.before && s.idle[n-1].silent == m.silent && s.idle[n-1].resume == 0 {
		s.idle[n-1].to = max(s.idle[n-1].to, m.to)
		return
	}
	s.idle = append(s.idle, m)
}

// loop takes what comes until everything is read, or judged up to To.
func (t *topicReplay) loop(ctx context.Context) error {
	for !t.finished() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case res := <-t.fetcher.Responses():
			err := t.response(ctx, &res)
			res.Release()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *topicReplay) finished() bool {
	return t.over(t.engine) || !slices.ContainsFunc(t.order, func(s *recorded) bool { return !s.done() })
}

func (t *topicReplay) response(ctx context.Context, res *fetch.Response) error {
	for i := range res.Chunks {
		c := &res.Chunks[i]
		if c.Err != nil {
			return cannotRead(c)
		}
		s := t.sources[detector.Source{Topic: c.Topic, Partition: c.Partition}]
		if err := t.take(ctx, s, c); err != nil {
			return err
		}
	}
	t.follow()
	t.hold()
	if t.engine.Due() {
		return t.settle(t.engine)
	}
	return nil
}

// take goes through what came of a partition, up to its end: marks that come before a record are applied before it is taken.
func (t *topicReplay) take(ctx context.Context, s *recorded, c *fetch.Chunk) error {
	s.walker.Reset(c, s.Position())
	for s.walker.Next() && s.walker.Record().Offset < s.end {
		s.applyMarks(t.engine.Aggregator, s.walker.Record().Offset)
		if err := t.record(s, s.walker.Record()); err != nil {
			return err
		}
		if err := t.tick(ctx, t.engine, t.share); err != nil {
			return err
		}
	}
	if err := s.walker.Err(); err != nil {
		return fmt.Errorf("cannot read %s/%d: %w", c.Topic, c.Partition, err)
	}
	position := min(s.walker.Position(), s.end)
	s.applyMarks(t.engine.Aggregator, position)
	s.Skip(position)
	return nil
}

func (t *topicReplay) record(s *recorded, r *fetch.Record) error {
	if r.Control {
		s.Control(r.Offset)
		return nil
	}
	if s.input != nil && s.input.Waiting(r.Value) {
		return t.schemas.err
	}
	events, rejected := s.events(r)
	if rejected != nil {
		s.Reject(r.Offset)
		if t.Rejected != nil {
			t.Rejected(origin(s.source, r), rejected)
		}
		return nil
	}
	before := s.Edge()
	for i := range events {
		events[i].Recorded = r.Time
	}
	t.outcome(s.held, s.Partition, r.Offset, func() wire.Origin { return origin(s.source, r) }, t.engine.CountAll(s.Partition, r.Offset, events))
	t.tellHappened(s, before)
	return nil
}

// tellHappened counts what happened to the partition when it stood at a pane's edge, as live did. What happened before the first record that
// is replayed is not part of the replay.
func (t *topicReplay) tellHappened(s *recorded, before int64) {
	for len(s.happened) > 0 && s.happened[0].Pane <= s.Edge() {
		if before != unknown {
			t.engine.Happened(s.happened[0])
		}
		s.happened = s.happened[1:]
	}
}

// events reads a record.
func (s *recorded) events(r *fetch.Record) ([]detector.Event, *wire.Reject) {
	if s.input != nil {
		return s.foreign(r)
	}
	return s.event[:], s.decoder.Decode(r.Value, r.Time, &s.event[0])
}

// share is how much is read, by offsets.
func (t *topicReplay) share() float64 {
	var read, all int64
	for _, s := range t.order {
		read, all = read+s.Position()-s.first, all+s.end-s.first
	}
	return float64(read) / float64(max(1, all))
}

// behind is the least watermark of the partitions that are still read, noLow if there is none.
func (t *topicReplay) behind() int64 {
	low := noLow
	for _, s := range t.order {
		if !s.done() {
			low = min(low, s.Clock())
		}
	}
	return low
}

// follow moves partitions that are read to their ends on to where the others are: the end says that there is nothing more, not that time
// stands still.
func (t *topicReplay) follow() {
	low := t.behind()
	if low == noLow || low == unknown {
		return
	}
	for _, s := range t.order {
		if s.done() {
			t.engine.Advance(s.Partition, s.WatermarkAt(low), false)
		}
	}
}

// end moves all partitions on to the one that is furthest, whatever the order in which they ended.
func (t *topicReplay) end() {
	high := unknown
	for _, s := range t.order {
		high = max(high, s.Clock())
	}
	for _, s := range t.order {
		if s.done() && high != unknown {
			t.engine.Advance(s.Partition, s.WatermarkAt(high), false)
		}
	}
}

// maxSkew is how far ahead of the others a partition is read, in ms: what is read of it waits in memory until they come.
const maxSkew = int64(time.Hour / time.Millisecond)

// hold stops the partitions that are far ahead of the others, and those that are read to their ends.
func (t *topicReplay) hold() {
	low, apart := t.behind(), maxSkew
	for _, j := range t.engine.Judges {
		if t.Config.Limits.Series > 0 && j.Waiting() > t.Config.Limits.Series {
			apart = min(apart, t.Config.Settle())
		}
	}
	for _, s := range t.order {
		pause := s.done() || low != unknown && low != noLow && s.Clock() > low+apart
		if pause != s.paused {
			s.paused = pause
			t.fetcher.Pause(s.Topic, s.Source.Partition, pause)
		}
	}
}
