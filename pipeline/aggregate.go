package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
)

// aggregateTask is one task of the first stage: it reads its source partitions, and what it decided on time from its partition of the
// marks topic, and commits pane deltas, progress, rejected and late records and its offsets in one transaction. One goroutine owns it.
type aggregateTask struct {
	w       *Worker
	a       assignment
	seat    *seat
	commits commits
	agg     *detector.Aggregator
	reader  reader
	sources map[detector.Source]*source
	order   []*source // by topic and partition
	marks   *markReader
	clock   *clock
	event   detector.Event
	encoder wire.DeltaEncoder

	aside     pile                 // rejected and late records since the last flush
	deltas    pile                 // likewise, of panes that have closed
	attempts  map[string]int64     // in these, that sessions ended, by how
	happened  []detector.Happening // to the pipeline since the last flush
	voids     []detector.Void      // likewise
	topics    map[string]int       // partitions of the sources
	seen      *map[string]int      // partitions of topics, as the stage had seen them when that was looked at last
	forgotten []wire.Record        // of the changelog, since the last flush
	noted     string               // beside the offset of the marks
	at        atWork
	unsent    *batch        // flushed, and not committed yet
	edge      int64         // that was flushed
	settle    int64         // ms: panes so far ahead of the slowest partition are not made smaller by the judges
	apart     int64         // ms: what is further ahead of the slowest partition waits
	handed    map[int64]int // series that were handed over, by pane, while the slowest partition has not come there
	flushed   time.Time
	committed map[detector.Source]int64
}

// pile is messages that wait for the next transaction, and about how many bytes they are.
type pile struct {
	messages []kafka.Message
	size     int
}

func (p *pile) add(m kafka.Message) {
	p.messages = append(p.messages, m)
	p.size += len(m.Value) + len(m.Key) + perMessage
}

// perMessage is about what a message takes beside its key and value.
const perMessage = 512

// batch is what one transaction of an aggregate task commits.
type batch struct {
	messages []kafka.Message
	offsets  map[string][]kafka.TxnOffsetCommit
	mark     *wire.Mark
	events   []detector.PaneEvents
	attempts map[string]int64 // that sessions ended, by how
}

// runAggregate runs one aggregate task until ctx is done or something fails.
func (w *Worker) runAggregate(ctx context.Context, a assignment, seat *seat) error {
	t, err := w.openAggregate(ctx, a, seat)
	if err != nil {
		return err
	}
	defer w.retire("aggregate", a.task)
	return reading(ctx, t.reader, t.loop)
}

// reading runs a loop beside the reader that feeds it. A reader that fails ends the loop.
func reading(ctx context.Context, r reader, loop func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		err := r.Run(ctx)
		cancel()
		done <- err
	}()
	err := loop(ctx)
	cancel()
	if failed := ignoreCancelled(<-done); failed != nil {
		return errors.Join(ignoreCancelled(err), failed)
	}
	return err
}

// openAggregate takes over a task and takes up its partitions where its last owner committed them.
func (w *Worker) openAggregate(ctx context.Context, a assignment, seat *seat) (*aggregateTask, error) {
	engine := w.cfg.Engine()
	t := &aggregateTask{
		w: w, a: a, seat: seat, sources: map[detector.Source]*source{}, committed: map[detector.Source]int64{}, settle: engine.Settle(), handed: map[int64]int{},
		attempts: map[string]int64{},
		agg:      detector.NewAggregator(engine, a.task, w.cfg.Tasks.Aggregate), edge: unknown, flushed: w.now(),
	}
	p, err := w.broker.takeOver(ctx, w.transactionalID("aggregate", a.task))
	if err != nil {
		return nil, err
	}
	t.commits = newCommits(w, p, seat)
	return t, t.restore(ctx)
}

func ignoreCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// restore takes up the partitions where their last owner committed them.
func (t *aggregateTask) restore(ctx context.Context) error {
	offsets, err := t.w.broker.committed(ctx, t.w.groupID("aggregate"), t.a.partitions)
	if err != nil {
		return err
	}
	t.seen = t.w.seen.Load() // what was seen before is older than what is asked for here
	topics, err := t.w.broker.topics(ctx, t.w.sourceTopics())
	if err != nil {
		return err
	}
	set := partitionSet(countOf(topics))
	t.agg.SetPartitions(set)
	t.topics = set.Topics
	told, err := t.told(ctx, offsets)
	if err != nil {
		return err
	}
	var starts []fetch.Start
	next := map[detector.Source]int64{}
	taken := taken{group: t.w.groupID("aggregate"), offsets: offsets, told: told}
	t.noted = offsets[partition{t.w.cfg.Topics.Marks, t.a.task}].Metadata
	if taken.notes, err = notesOf(t.noted); err != nil {
		return err
	}
	for _, topic := range slices.Sorted(maps.Keys(t.a.partitions)) {
		partitions := t.a.partitions[topic]
		isolation := t.w.isolation(topic)
		spans, err := t.w.broker.ends(ctx, topic, partitions, isolation)
		if err != nil {
			return err
		}
		for _, id := range partitions {
			s := detector.Source{Topic: topic, Partition: id}
			at, known, err := taken.where(s, topics[topic].ID, spans[id])
			if err != nil {
				return err
			}
			starts = append(starts, fetch.Start{Topic: topic, ID: topics[topic].ID, Partition: id, Offset: at.offset, Uncommitted: isolation == kafka.ReadUncommitted})
			if topic == t.w.cfg.Topics.Marks {
				t.marks = newMarkReader(s, at.offset, spans[id].end, known)
				t.committed[s] = at.offset
				continue
			}
			t.addSource(s, topics[topic].ID, at, known && taken.notes.has(topic), spans[id].end)
			next[s] = at.lost
		}
	}
	if t.marks == nil {
		return fmt.Errorf("task %d has no partition of %s: the topic has fewer partitions than tasks", t.a.task, t.w.cfg.Topics.Marks)
	}
	slices.SortFunc(t.order, func(x, y *source) int { return compareSources(x.Source, y.Source) })
	if err := t.restoreKept(ctx, next); err != nil {
		return err
	}
	t.at = newAtWork(t.w.cfg.counting(), cameTo(t.order))
	t.clock = newClock(t.w.hints, t.a.task, t.w.cfg, told)
	t.reader = t.w.broker.read(starts)
	for _, s := range t.order {
		// A partition that was added while the task was at work begins where event time is, and a mark says so before it is read.
		s.added = s.added && t.marks.known
		s.waiting = s.added
		if follows, outdated := s.Follows(); follows && (outdated || s.added || next[s.Source] < s.Position()) {
			s.void = &detector.Void{Source: s.Source, Before: s.Offset(), Resume: s.end + 1}
		}
		t.pauseSource(s)
	}
	if t.marks.ready() {
		t.begin()
	}
	return nil
}

// told is what the log knows of source partitions, where the group has no offset of one: it is new, or the group was away for so long that the broker forgot it.
func (t *aggregateTask) told(ctx context.Context, offsets map[partition]kafka.OffsetFetchPartition) (map[detector.Source]detector.PartitionProgress, error) {
	if t.a.committedAll(offsets) {
		return nil, nil
	}
	return t.w.told(ctx)
}

// slowest is the partition that has come least far in event time, nil where there is none. Idle ones are moved to where it is: of several it is one that was
// not read to its end.
func (t *aggregateTask) slowest() *source {
	if len(t.order) == 0 {
		return nil
	}
	return slices.MinFunc(t.order, func(x, y *source) int {
		return cmp.Or(cmp.Compare(x.Watermark(), y.Watermark()), compareBools(x.caughtUp, y.caughtUp))
	})
}

func compareBools(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

// committedAll says whether the group has an offset for each of the task's partitions, with what a task keeps beside it.
func (a *assignment) committedAll(offsets map[partition]kafka.OffsetFetchPartition) bool {
	for topic, partitions := range a.partitions {
		for _, id := range partitions {
			if at, ok := offsets[partition{topic, id}]; !ok || at.Metadata == "" {
				return false
			}
		}
	}
	return true
}

func (t *aggregateTask) addSource(s detector.Source, id fetch.TopicID, at startAt, known bool, end int64) {
	cfg := t.w.cfg.source(s.Topic)
	src := &source{
		Partition: t.agg.Add(s, at.offset, at.state), topic: id, decoder: cfg.Decoder(t.w.cfg.Labels), active: t.w.now(), added: !known, end: end,
		input: cfg.Input(t.w.cfg.Labels, t.w.schemas), uncommitted: cfg.Isolation == ReadUncommitted,
		suspects: map[int64]wire.Record{}, stalled: unknown,
	}
	src.began = src.Clock()
	t.sources[s] = src
	t.order = append(t.order, src)
	if at.lost >= at.offset {
		return
	}
	t.w.log.Error("records are lost: the topic let go of them before they were read", zap.String("topic", s.Topic),
		zap.Int("partition", s.Partition), zap.Int64("from", at.lost), zap.Int64("to", at.offset))
	if h, ok := src.Lost(at.lost, at.offset); ok {
		t.happened = append(t.happened, h)
	}
}

// pauseSource asks for the partition's records only while they may be taken: marks from before come first, and a mark that is on its way.
func (t *aggregateTask) pauseSource(s *source) {
	t.reader.Pause(s.Topic, s.Source.Partition, s.waiting || s.stuck != nil || s.ahead || !t.marks.ready())
}

// tick is how often time is looked at when nothing comes.
const tick = 100 * time.Millisecond

func (t *aggregateTask) loop(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, t.commits.finish(t.ended)) }()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		responses := t.reader.Responses()
		if t.full() {
			responses = nil
		}
		var res *fetch.Response
		select {
		case <-ctx.Done():
			return nil
		case r := <-responses:
			res = &r
		case e := <-t.commits.ended:
			if err := t.ended(e); err != nil {
				return err
			}
		case <-t.commits.changed:
		case <-ticker.C:
		}
		err := t.step(ctx, res)
		if res != nil {
			res.Release()
		}
		if err != nil {
			return err
		}
	}
}

// step takes what a broker sent, if anything, and begins to commit what is due. What comes meanwhile is part of the next transaction.
func (t *aggregateTask) step(ctx context.Context, res *fetch.Response) error {
	if res != nil {
		if err := t.response(res); err != nil {
			return err
		}
		t.handOver(t.agg.Closed())
	}
	if err := t.retryStuck(); err != nil {
		return err
	}
	t.report()
	t.skew()
	if err := t.grown(); err != nil {
		return err
	}
	if t.unsent == nil {
		mark := t.clock.decide(t)
		if mark == nil && !t.due() {
			return nil
		}
		t.flush(mark)
	}
	t.commits.begin(ctx, t.unsent.messages, t.unsent.offsets)
	return nil
}

// grown takes in that there are other partitions than the task knows of, as the stage has seen: while one task names some that nobody reads, judges wait for them.
// What the task reads itself it goes on naming, whatever a broker says. A task that follows sessions ends: it has to begin again and make void what is open.
func (t *aggregateTask) grown() error {
	seen := t.w.seen.Load()
	if seen == nil || seen == t.seen {
		return nil
	}
	t.seen = seen
	topics := map[string]int{}
	for _, topic := range t.w.sourceTopics() {
		n := (*seen)[topic]
		if own := t.a.partitions[topic]; len(own) > 0 && slices.Max(own) >= n {
			n = t.topics[topic]
		}
		if n > 0 {
			topics[topic] = n
		}
	}
	if maps.Equal(topics, t.topics) {
		return nil
	}
	if t.w.cfg.follows() {
		return fmt.Errorf("there are other partitions now: %v, known %v", topics, t.topics)
	}
	t.agg.SetPartitions(partitionSet(topics))
	t.topics = topics
	return nil
}

// full says whether enough is gathered while what was flushed is not committed.
func (t *aggregateTask) full() bool {
	return t.unsent != nil && t.much()
}

// much says whether so much is gathered that it has to be flushed.
func (t *aggregateTask) much() bool {
	return t.agg.Pending() > flushCells || t.aside.size > flushPile || t.deltas.size > flushPile
}

// response takes what a broker sent.
func (t *aggregateTask) response(res *fetch.Response) error {
	for i := range res.Chunks {
		c := &res.Chunks[i]
		if c.Err != nil {
			return cannotRead(c)
		}
		if c.Topic == t.w.cfg.Topics.Marks {
			if err := t.readMarks(c); err != nil {
				return err
			}
			continue
		}
		if err := t.chunk(t.sources[detector.Source{Topic: c.Topic, Partition: c.Partition}], c); err != nil {
			return err
		}
	}
	return nil
}

// chunk takes what came of one source partition. While a mark is on its way, or a schema is being asked for, it is put aside.
func (t *aggregateTask) chunk(s *source, c *fetch.Chunk) error {
	if s.waiting || s.stuck != nil {
		if len(c.Batches) > 0 {
			s.held = append(s.held, copyChunk(c))
		}
		return nil
	}
	if s.input != nil && s.input.Waits() {
		own := copyChunk(c) // the walker may have to stand in it for longer than the response lives
		c = &own
	}
	s.walker.Reset(c, s.Position())
	return t.walk(s, c)
}

// walk takes the records from the walker on, until one of them has to wait.
func (t *aggregateTask) walk(s *source, c *fetch.Chunk) error {
	for s.walker.Next() {
		if s.Known(s.walker.Record().Offset) {
			continue
		}
		if !t.record(s, s.walker.Record()) {
			t.stick(s, c)
			return nil
		}
	}
	if err := s.walker.Err(); err != nil {
		return fmt.Errorf("cannot read %s/%d: %w", c.Topic, c.Partition, err)
	}
	s.applyMarks(t.agg, s.walker.Position())
	s.Skip(s.walker.Position())
	s.forget()
	s.lag = c.HighWatermark - s.Position()
	s.caughtUp = !s.ahead && len(c.Batches) == 0 && s.Position() == c.HighWatermark && (c.HighWatermark == c.LastStable || s.uncommitted)
	s.asked = c.Asked
	if len(c.Batches) > 0 {
		s.active = t.w.now()
	}
	return nil
}

func copyChunk(c *fetch.Chunk) fetch.Chunk {
	d := *c
	d.Batches = slices.Clone(c.Batches)
	return d
}

// record takes one record: an event, a reject, a late one, or a transaction's marker; false if it has to wait.
func (t *aggregateTask) record(s *source, r *fetch.Record) bool {
	if s.input != nil && !r.Control && s.input.Waiting(r.Value) {
		return false
	}
	s.applyMarks(t.agg, r.Offset)
	if r.Control {
		s.Control(r.Offset)
		return true
	}
	if s.input != nil {
		t.foreign(s, r)
		return true
	}
	if rejected := s.decoder.Decode(r.Value, r.Time, &t.event); rejected != nil {
		t.reject(s, r, rejected)
		return true
	}
	t.event.Recorded = r.Time
	t.outcome(s, r, t.agg.Count(s.Partition, r.Offset, &t.event))
	return true
}

// foreign takes a record of another shape, which may hold no event, or several.
func (t *aggregateTask) foreign(s *source, r *fetch.Record) {
	events, rejected := s.foreign(r)
	if rejected != nil {
		t.reject(s, r, rejected)
		return
	}
	for i := range events {
		events[i].Recorded = r.Time
	}
	t.outcome(s, r, t.agg.CountAll(s.Partition, r.Offset, events))
}

// outcome puts aside what was not counted: the record itself, or held ones that it contradicts.
func (t *aggregateTask) outcome(s *source, r *fetch.Record, o detector.Outcome) {
	for _, offset := range o.Future {
		t.w.metrics.reject(s.Topic, string(wire.FutureEvent))
		s.aside.rejected++
		t.putAside(t.w.cfg.Topics.Rejected, s.suspects[offset])
	}
	switch {
	case o.Known:
		t.w.metrics.duplicate(s.Topic)
	case o.Held:
		s.suspects[r.Offset] = wire.Rejected(origin(s, r), wire.Future(o.Newest, o.AheadMs))
	case o.LateMs > 0:
		t.late(s, r, o.LateMs)
	}
}

// forget lets go of held records that were counted or rejected.
func (s *source) forget() {
	maps.DeleteFunc(s.suspects, func(offset int64, _ wire.Record) bool { return !s.Holds(offset) })
}

func (t *aggregateTask) reject(s *source, r *fetch.Record, why *wire.Reject) {
	s.Reject(r.Offset)
	s.aside.rejected++
	t.w.metrics.reject(s.Topic, string(why.Reason))
	t.putAside(t.w.cfg.Topics.Rejected, wire.Rejected(origin(s, r), why))
}

// late puts a late record aside; it did not move the edge that it is behind.
func (t *aggregateTask) late(s *source, r *fetch.Record, late int64) {
	t.w.metrics.late(s.Topic)
	s.aside.late++
	s.aside.most = max(s.aside.most, late)
	t.putAside(t.w.cfg.Topics.Late, wire.Late(origin(s, r), s.Edge()-late, late))
}

func (t *aggregateTask) putAside(topic string, r wire.Record) {
	t.aside.add(t.w.message(topic, r))
}

// asides are the records of a partition that were put aside since it was told.
type asides struct {
	late, rejected int64
	most           int64 // ms: how late the latest was
	told           time.Time
}

// tellAsides says that records were put aside, at once and then once a minute at most: they are not lost, but nobody counts them.
func (t *aggregateTask) tellAsides(s *source) {
	a := &s.aside
	if now := t.w.now(); a.late+a.rejected > 0 && now.Sub(a.told) >= time.Minute {
		t.w.log.Warn("records are not counted: they are on the late and the rejected topic; sevwatch rejected, with --late for the late ones, lists them",
			zap.String("topic", s.Topic), zap.Int("partition", s.Source.Partition), zap.Int64("late", a.late), zap.Duration("latest_by", time.Duration(a.most)*time.Millisecond),
			zap.Int64("rejected", a.rejected))
		*a = asides{told: now}
	}
}

// Bounds of what a task gathers between two flushes.
const (
	flushCells   = 50_000
	flushPile    = 4 << 20
	flushBacklog = 200 * time.Millisecond // between flushes while panes close faster than that
	flushAsides  = time.Second            // that a rejected record waits
)

// due says whether to flush now: a pane has closed, too much is gathered, or records wait to be told of.
func (t *aggregateTask) due() bool {
	since := t.w.now().Sub(t.flushed)
	switch {
	case !t.marks.ready():
		return false
	case t.much():
		return true
	case len(t.order) > 0 && t.agg.Edge() > t.edge:
		return t.rested()
	case len(t.aside.messages) > 0 || len(t.happened)+len(t.voids) > 0 || t.agg.Untold():
		return since > flushAsides
	default:
		return false
	}
}

// rested says whether to flush as soon as a pane closes: nothing more waits to be read, or the last flush was long ago.
func (t *aggregateTask) rested() bool { return t.calm() || t.w.now().Sub(t.flushed) > flushBacklog }

// calm says whether all sources are read to their ends, so that waiting would gather nothing.
func (t *aggregateTask) calm() bool {
	return !slices.ContainsFunc(t.order, func(s *source) bool { return s.lag > 0 })
}

// flush hands over everything since the last flush, and the mark, if there is one, to be committed.
func (t *aggregateTask) flush(mark *wire.Mark) {
	begins := t.begins()
	t.unsent = &batch{messages: append(t.keptMessages(), begins...), offsets: t.offsets(), mark: mark}
	for _, h := range t.happened {
		t.agg.Happened(h)
	}
	untold := t.agg.Untold()
	deltas, progress := t.agg.Flush()
	t.handOver(deltas)
	t.unsent.events, t.unsent.attempts = progress.Events, t.attempts
	send := func(m kafka.Message) { t.unsent.messages = append(t.unsent.messages, m) }
	for _, m := range t.deltas.messages {
		send(m)
	}
	if untold || len(progress.Partitions) > 0 || len(t.deltas.messages) > 0 {
		for p := range t.w.cfg.Tasks.Judge {
			m := t.w.message(t.w.cfg.Topics.Panes, wire.Record{
				Value: wire.EncodeProgress(progress), Headers: []wire.Header{{Key: wire.HeaderType, Value: []byte(wire.TypeProgress)}},
			})
			m.Partition = p
			send(m)
		}
	}
	for _, m := range t.aside.messages {
		send(m)
	}
	toMarks := func(mark *wire.Mark) {
		m := t.w.message(t.w.cfg.Topics.Marks, wire.Record{Value: wire.JSON(mark)})
		m.Partition = t.a.task
		send(m)
	}
	if len(t.happened)+len(t.voids) > 0 {
		toMarks(&wire.Mark{V: 1, Task: t.a.task, Happened: t.happened, Void: t.voids})
		t.happened, t.voids = nil, nil
	}
	if mark != nil {
		toMarks(mark)
		t.sent(mark)
	}
	for _, s := range t.order {
		t.w.metrics.behind(s.Topic, s.TakeBehind())
		t.tellAsides(s)
	}
	t.aside, t.deltas, t.attempts, t.edge, t.flushed = pile{}, pile{}, map[string]int64{}, t.agg.Edge(), t.w.now()
}

// handOver writes deltas for the next transaction.
func (t *aggregateTask) handOver(deltas []detector.Delta) {
	for i := range deltas {
		countAttempts(&deltas[i], t.attempts)
		t.handed[deltas[i].Pane] += len(deltas[i].Series)
		for _, value := range t.encoder.Encode(&deltas[i]) {
			m := t.w.message(t.w.cfg.Topics.Panes, wire.Record{
				Key: []byte(deltas[i].Domain), Value: value, Headers: []wire.Header{{Key: wire.HeaderType, Value: []byte(wire.TypeDelta)}},
			})
			m.Partition = t.w.judgeOf(deltas[i].Domain)
			t.deltas.add(m)
		}
	}
}

// ended goes on after a transaction.
func (t *aggregateTask) ended(e ended) error {
	committed, err := t.commits.end(e)
	if !committed {
		return err
	}
	b := t.unsent
	t.unsent = nil
	t.w.metrics.commit("aggregate", t.commits.took)
	for _, e := range b.events {
		t.w.metrics.counted.Add(int(e.Events))
	}
	t.w.metrics.sessions(t.a.task, t.agg.Visits(), b.attempts)
	return nil
}

// offsets are those that moved since the last flush, with the partitions' states beside them.
func (t *aggregateTask) offsets() map[string][]kafka.TxnOffsetCommit {
	out := map[string][]kafka.TxnOffsetCommit{}
	add := func(s detector.Source, offset int64, metadata string) {
		out[s.Topic] = append(out[s.Topic], kafka.TxnOffsetCommit{Partition: s.Partition, Offset: offset, Metadata: metadata})
	}
	for _, s := range t.order {
		if s.Moved() && !s.added { // one that is added is no more when it is committed
			add(s.Source, s.Commit(), string(wire.JSON(beside{s.State(), s.topic})))
		}
	}
	m, next := t.marks, t.needed()
	if noted := t.present(); next != t.committed[m.source] || !m.known || noted != t.noted {
		t.committed[m.source], m.known, t.noted = next, true, noted
		add(m.source, next, noted)
	}
	return out
}

// begins tells what the task counts with, where it is something else than it did last.
func (t *aggregateTask) begins() []kafka.Message {
	if was, err := notesOf(t.noted); err == nil && was.Settings == t.at.hash {
		return nil
	}
	return []kafka.Message{t.at.tell(t.w, wire.Control{Aggregate: &t.a.task})}
}

// present is what a task notes beside its offset in the marks topic: what it counts with, and of which sources it has partitions. One of a source that is
// not among them has been away, if it has been there before: event time has gone on without it, and it begins as one that is added.
func (t *aggregateTask) present() string {
	has := map[string]bool{}
	for _, s := range t.order { // one mark is for all of a source that was away; of a topic that has grown the new ones are known by having no offset
		has[s.Topic] = has[s.Topic] || !s.added
	}
	was, err := notesOf(t.noted)
	for _, topic := range t.w.sourceTopics() { // one that is missing has not been taken out of the sources
		if err == nil && was.has(topic) && t.noted != "" && t.topics[topic] == 0 {
			has[topic] = true
		}
	}
	noted := notes{Sources: []string{}, Settings: t.at.hash, Topics: map[string]fetch.TopicID{}}
	for _, topic := range slices.Sorted(maps.Keys(has)) {
		if has[topic] {
			noted.Sources = append(noted.Sources, noteOf(topic))
		}
	}
	now := map[string]fetch.TopicID{}
	for _, s := range t.order {
		if s.topic != (fetch.TopicID{}) {
			now[noteOf(s.Topic)] = s.topic
		}
	}
	noted.keep(now)
	noted.keep(was.Topics)
	return string(wire.JSON(noted))
}

// report tells the worker's health how far the task is.
func (t *aggregateTask) report() {
	h := wire.HealthTask{Task: t.a.task, Lag: new(int64)}
	for _, s := range t.order {
		*h.Lag += s.lag
	}
	if s := t.slowest(); s != nil {
		h.Watermark = known(s.Watermark())
		h.Slowest = &wire.HealthSlowest{Source: s.Source, Watermark: h.Watermark, Lag: s.lag}
	}
	t.w.report("aggregate", h)
}
