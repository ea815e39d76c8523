package detector

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"sevwatch/rules"
)

// Aggregator is the first stage: events of some source partitions in, pane deltas and progress out. It keeps nothing between
// flushes but its partitions' watermarks and totals, so a task can change its owner at any flush.
type Aggregator struct {
	cfg         Config
	task, tasks int
	set         PartitionSet
	setTold     bool
	partitions  []*Partition // by topic and number
	series      lookup       // known series, a memory over flushes that no result depends on
	order       []*aggregate // the same by domain and key, as of the last flush
	panes       map[int64]*aggregatePane
	paneOrder   []int64
	last        *aggregatePane   // where the last event was counted
	spare       []*aggregatePane // to be used again
	spareBytes  int              // about what they take
	texts       Texts            // of labels, which many series have in common
	handed      handed           // lately
	gained      []PaneEvents     // of panes that were handed over since the last flush
	used        int              // the most cells that one of them had
	silent      []Span
	key         []byte
	cells       int
	listed      int // sessions in the cells' lists; as many take no more room when they are registers
	indexed     int // numbers in the indexes of open panes
}

// aggregate is one series as this task knows it.
type aggregate struct {
	domain string
	kind   rules.Kind
	labels []Label
	key    string
	number int32 // among the known series
	rank   int32 // in their order
}

// handed is the memory of what is handed over, to be used again.
type handed struct {
	series  []SeriesDelta
	buckets Buckets
	sorted  []uint64 // of a pane that has few of the series: rank and cell of each
}

// aggregatePane is what a pane has gained since it was handed over last.
type aggregatePane struct {
	start  int64
	events int64
	cells  []aggregateCell
	index  []int32 // by the number of the series: one more than its cell's, 0 without
	listed int     // its share of the aggregator's
}

// aggregateCell is what one series has counted.
type aggregateCell struct {
	series        *aggregate
	count, valued int64
	sum           Sum
	max           int64
	values        tally
	sessioned     int64
	sessions      *Distinct // nil without
}

// value takes one event's value in.
func (c *aggregateCell) value(v int64) {
	if c.valued == 0 || v > c.max {
		c.max = v
	}
	c.valued++
	c.sum = c.sum.Add(sumOf(v))
	c.values.add(codeOf(v))
}

// session takes in which session an event of the pane came from, by its hash.
func (a *Aggregator) session(p *aggregatePane, c *aggregateCell, hash uint64) {
	if c.sessions == nil {
		c.sessions = &Distinct{}
	}
	c.sessioned++
	few := len(c.sessions.Few)
	c.sessions.Add(hash)
	more := max(0, len(c.sessions.Few)-few)
	p.listed += more
	a.listed += more
}

// Partition is one source partition: its own clock and its own accounts. Nothing that another partition does changes what is late here.
type Partition struct {
	Source
	cfg       *Config
	lateness  int64 // ms
	from, to  int64
	watermark int64
	edge      int64 // of the watermark's pane
	told      bool  // in a progress record
	changed   bool
	silentAt  int64 // watermark where the present silence began; never while events come
	totals    Totals
	behind    Behind
	guard
	counts   bool      // of how many sessions its events come
	ids      *ids      // nil: duplicates are not looked for
	attempts *attempts // nil: sessions are not followed
	off      Kept      // what was kept of what is turned off, to be forgotten at the next flush
}

// NewAggregator is task number task of tasks, over no partitions yet.
func NewAggregator(cfg Config, task, tasks int) *Aggregator {
	if len(cfg.Labels) > MaxLabels {
		panic(fmt.Sprintf("BUG: %d labels, expected %d at most", len(cfg.Labels), MaxLabels))
	}
	return &Aggregator{cfg: cfg, task: task, tasks: tasks, series: newLookup(), panes: map[int64]*aggregatePane{}}
}

// SetPartitions says which partitions there are in all topics together.
func (a *Aggregator) SetPartitions(set PartitionSet) { a.set, a.setTold = set, false }

// PartitionState is what has to be kept about a partition between owners, beside the offset.
type PartitionState struct {
	Watermark int64  `json:"w"`
	SilentAt  int64  `json:"s"`
	Totals    Totals `json:"t"`

	// Where records are held, the committed offset is that of the first of them; reading begins again there.
	Read int64   `json:"r,omitempty"` // the next offset that is not accounted for
	Held []int64 `json:"h,omitempty"` // held records, as distances from the committed offset
}

// NewPartitionState is the state of a partition that nobody has read yet.
func NewPartitionState() PartitionState { return PartitionState{Watermark: never, SilentAt: never} }

// Add takes over a source partition that was read up to offset.
func (a *Aggregator) Add(s Source, offset int64, state PartitionState) *Partition {
	p := &Partition{
		Source: s, cfg: &a.cfg, lateness: a.cfg.latenessOf(s.Topic), from: offset, to: offset,
		watermark: state.Watermark, silentAt: state.SilentAt, totals: state.Totals,
	}
	p.edge = floor(p.watermark, a.cfg.Pane)
	p.counts = a.cfg.CountSessions[s.Topic]
	p.ids = newIDs(a.cfg.Duplicates[s.Topic], a.cfg.Pane)
	p.attempts = newAttempts(&a.cfg, s.Topic, a.set.Topics[s.Topic])
	p.takeBack(offset, &state)
	if p.attempts != nil && p.to > 0 {
		p.attempts.begin(p.to, p.watermark != never)
	}
	i, found := slices.BinarySearchFunc(a.partitions, p, comparePartitions)
	if found {
		panic(fmt.Sprintf("BUG: partition %v added twice", s))
	}
	a.partitions = slices.Insert(a.partitions, i, p)
	return p
}

func comparePartitions(x, y *Partition) int {
	return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
}

// State is what has to be kept with the committed offset.
func (p *Partition) State() PartitionState {
	s := PartitionState{Watermark: p.watermark, SilentAt: p.silentAt, Totals: p.totals}
	p.keep(&s)
	return s
}

// Moved says whether there is something to tell of the partition since the last flush.
func (p *Partition) Moved() bool { return p.changed || !p.told }

// Offset is the next offset to account for: all before it are in the totals.
func (p *Partition) Offset() int64 { return p.to }

// Watermark is the event time up to which the partition has said everything, or the smallest int64 if it has said nothing.
func (p *Partition) Watermark() int64 { return p.watermark }

// Lateness is how far the watermark stays behind the largest time, in ms.
func (p *Partition) Lateness() int64 { return p.lateness }

// Clock is the watermark that the partition would have with the pipeline's lateness: by it partitions of different sources are compared, and
// moved on to where others are. It is the smallest int64 if the partition has said nothing.
func (p *Partition) Clock() int64 {
	if p.watermark == never {
		return never
	}
	return p.watermark + p.lateness - p.cfg.Lateness
}

// WatermarkAt is the watermark of the partition when its clock is there.
func (p *Partition) WatermarkAt(clock int64) int64 { return clock - (p.lateness - p.cfg.Lateness) }

// TakeBehind is how far the partition's records came behind it since it was asked last, or taken over.
func (p *Partition) TakeBehind() Behind {
	b := p.behind
	p.behind = Behind{}
	return b
}

// Edge is the end of the partition's last closed pane: what is older is late.
func (p *Partition) Edge() int64 { return p.edge }

// move moves the watermark on, never back.
func (p *Partition) move(to int64) {
	if to <= p.watermark {
		return
	}
	p.watermark = to
	if p.edge == never || to-p.edge >= p.cfg.Pane {
		p.edge = floor(to, p.cfg.Pane)
		if p.ids != nil {
			p.ids.forget(p.edge)
		}
	}
}

// Late says by how many milliseconds an event of that time is too late, 0 if it is not.
func (p *Partition) Late(time int64) int64 {
	if time < p.edge {
		return p.edge - time
	}
	return 0
}

// pass accounts for the record at offset.
func (p *Partition) pass(offset int64, count *int64) {
	if p.isBack(offset) {
		p.totals.Held--
		*count++
		p.changed = true
		return
	}
	if offset < p.to {
		panic(fmt.Sprintf("BUG: offset %d of %v was passed already, expected %d or more", offset, p.Source, p.to))
	}
	p.totals.Aborted += offset - p.to
	*count++
	p.to = offset + 1
	p.changed = true
}

// Skip accounts for offsets up to next that hold no event: aborted records and offsets that compaction took.
func (p *Partition) Skip(next int64) {
	p.gone(next)
	if next > p.to {
		p.totals.Aborted += next - p.to
		p.to, p.changed = next, true
	}
}

// Happening is something that happened to the pipeline itself at a source partition: Count of kind pipeline in the pane that begins at Pane.
type Happening struct {
	Source
	Name  string `json:"name"` // lost: the offsets [From, To) were gone before they were read
	Pane  int64  `json:"pane"`
	Count int64  `json:"count"`
	From  int64  `json:"from,omitempty"`
	To    int64  `json:"to,omitempty"`
}

// Lost tells of offsets [from, to) of the partition that are gone, in its first open pane. ok is false while the partition has no event
// time yet: the gap in its progress is all that is told then.
func (p *Partition) Lost(from, to int64) (h Happening, ok bool) {
	if p.watermark == never {
		return Happening{}, false
	}
	return Happening{Source: p.Source, Name: "lost", Pane: p.Edge(), Count: to - from, From: from, To: to}, true
}

// Happened counts what happened to the pipeline, so that rules can select it. It makes no pane observed.
func (a *Aggregator) Happened(h Happening) {
	labels := []Label{{"name", h.Name}, {"partition", strconv.Itoa(h.Partition)}, {"topic", h.Topic}}
	if h.To > h.From {
		labels = slices.Insert(labels, 1, Label{"offsets", fmt.Sprintf("%d..%d", h.From, h.To-1)})
	}
	key := seriesKey(rules.KindPipeline, labels)
	number, hash := a.series.find(&Event{Kind: rules.KindPipeline, Labels: [][]byte{[]byte(key)}})
	if number < 0 {
		s := &aggregate{kind: rules.KindPipeline, labels: labels, key: key}
		a.series.put(s, hash)
		number = s.number
	}
	a.cellOf(a.pane(h.Pane), int(number)).count += h.Count
}

// Control accounts for a transaction marker at offset.
func (p *Partition) Control(offset int64) { p.pass(offset, &p.totals.Control) }

// Reject accounts for a record that could not be decoded.
func (p *Partition) Reject(offset int64) { p.pass(offset, &p.totals.Rejected) }

// take counts an event in its pane. It moves the partition's watermark, never another's.
func (a *Aggregator) take(p *Partition, e *Event) {
	p.silentAt = never
	p.move(e.Time - p.lateness)
	pane := a.last
	if pane == nil || e.Time < pane.start || e.Time-pane.start >= a.cfg.Pane {
		pane = a.pane(floor(e.Time, a.cfg.Pane))
		a.last = pane
	}
	pane.events++
	cell := a.cell(pane, e)
	cell.count++
	if e.HasValue {
		cell.value(e.Value)
	}
	if p.counts && len(e.Session) > 0 {
		a.session(pane, cell, SessionHash(e.Session))
	}
	if p.attempts != nil {
		a.follow(p, e, cell.series.labels)
	}
}

func (a *Aggregator) pane(start int64) *aggregatePane {
	p := a.panes[start]
	if p == nil {
		if n := len(a.spare); n > 0 {
			p, a.spare = a.spare[n-1], a.spare[:n-1]
			a.spareBytes -= p.bytes()
			a.indexed += len(p.index)
		} else {
			p = &aggregatePane{}
		}
		p.start = start
		a.panes[start] = p
		a.paneOrder = append(a.paneOrder, start)
	}
	return p
}

func (a *Aggregator) cell(p *aggregatePane, e *Event) *aggregateCell {
	number, hash := a.series.find(e)
	if number < 0 {
		number = a.newSeries(e, hash).number
	}
	return a.cellOf(p, int(number))
}

// cellOf is the cell of a series by its number.
func (a *Aggregator) cellOf(p *aggregatePane, n int) *aggregateCell {
	if n >= len(p.index) {
		a.indexed += len(a.series.all) - len(p.index)
		p.index = slices.Grow(p.index, len(a.series.all)-len(p.index))[:len(a.series.all)]
	}
	if p.index[n] == 0 {
		p.cells = append(p.cells, aggregateCell{series: a.series.all[n]})
		p.index[n] = int32(len(p.cells))
		a.cells++
	}
	return &p.cells[p.index[n]-1]
}

func (a *Aggregator) newSeries(e *Event, hash uint64) *aggregate {
	s := &aggregate{kind: e.Kind}
	var room [MaxLabels]Label
	labels := room[:0]
	a.key = append(a.key[:0], byte(e.Kind))
	for i, value := range e.Labels {
		a.key = binary.AppendUvarint(a.key, uint64(len(value)))
		a.key = append(a.key, value...)
		if len(value) == 0 {
			continue
		}
		text := a.texts.String(value)
		labels = append(labels, Label{a.cfg.Labels[i], text})
		if a.cfg.Domain != "" && a.cfg.Labels[i] == a.cfg.Domain {
			s.domain = text
		}
	}
	s.labels = slices.Clone(labels)
	s.key = string(a.key)
	slices.SortFunc(s.labels, func(x, y Label) int { return strings.Compare(x.Name, y.Name) })
	a.series.put(s, hash)
	return s
}

// Advance applies a mark's decree to the partition: event time there is at least to. With silent, nothing came from any partition
// in the time that has passed, and that is now on record.
func (a *Aggregator) Advance(p *Partition, to int64, silent bool) {
	a.advance(p, to, silent)
	a.decide(p)
}

func (a *Aggregator) advance(p *Partition, to int64, silent bool) {
	if to > p.watermark {
		a.reached(p, to+p.lateness)
	}
	if to <= p.watermark {
		return
	}
	if silent {
		if p.silentAt == never {
			p.silentAt = p.watermark
		}
		if p.silentAt != never {
			a.silent = append(a.silent, Span{p.silentAt, to})
		}
	} else {
		p.silentAt = never
	}
	p.move(to)
	p.changed = true
}

// Edge is the end of the last pane that all partitions of the task have closed.
func (a *Aggregator) Edge() int64 {
	edge := int64(1<<63 - 1)
	for _, p := range a.partitions {
		edge = min(edge, p.Edge())
	}
	return edge
}

// Partitions are all partitions of the task, by topic and number.
func (a *Aggregator) Partitions() []*Partition { return a.partitions }

// Untold says whether some partition was never told of, or the set of all: the judges wait for a first word of each, and until no task names what is
// no more.
func (a *Aggregator) Untold() bool {
	return !a.setTold || slices.ContainsFunc(a.partitions, func(p *Partition) bool { return !p.told })
}

// Pending is how many cells wait for the next flush, a measure of the memory in use: some of their sessions are as large as a cell, and so are some of
// the panes' indexes where there are many panes and series.
func (a *Aggregator) Pending() int {
	return a.cells + a.listed/listedACell + max(0, a.indexed-indexedFree)/indexedACell
}

// How many listed sessions, of 8 bytes, and numbers in indexes, of 4, take about as much room as a cell, and how many numbers are little.
const (
	listedACell  = 32
	indexedACell = 32
	indexedFree  = 4 << 20
)

// Closed hands over what was gained in panes that all partitions of the task have closed, sorted: they gain no more, and their memory is used again
// while it is still close at hand. The next Flush tells of their events. The deltas hold until the next call of either.
func (a *Aggregator) Closed() []Delta {
	if len(a.paneOrder) == 0 {
		return nil
	}
	return a.handOver(a.Edge())
}

// Flush hands over what was gained and not handed over yet, sorted, and the progress that goes behind all that was handed over since the last flush.
// Memory starts anew: the deltas hold until the next call of Flush or Closed.
func (a *Aggregator) Flush() ([]Delta, Progress) {
	progress := Progress{V: 1, Task: a.task, Tasks: a.tasks, Set: a.set, Silent: mergeSpans(a.silent)}
	for _, p := range a.partitions {
		if p.Moved() {
			progress.Partitions = append(progress.Partitions, PartitionProgress{p.Source, p.from, p.to, p.watermark, p.totals})
			p.from, p.changed, p.told = p.to, false, true
		}
	}
	a.setTold = true
	deltas := a.handOver(math.MaxInt64)
	progress.Events = mergeEvents(a.gained)
	if len(a.series.all) > a.mayKnow() {
		a.series, a.order, a.spare, a.spareBytes = newLookup(), nil, nil, 0
	}
	a.gained, a.used, a.silent = a.gained[:0], 0, nil
	return deltas, progress
}

// handOver hands over the panes that end no later than at edge.
func (a *Aggregator) handOver(edge int64) (deltas []Delta) {
	slices.Sort(a.paneOrder)
	n, cells := 0, 0
	for ; n < len(a.paneOrder) && a.paneOrder[n]+a.cfg.Pane <= edge; n++ {
		cells += len(a.panes[a.paneOrder[n]].cells)
	}
	if n == 0 {
		return nil
	}
	a.order = a.series.ordered(a.order)
	a.makeRoom(cells)
	for _, start := range a.paneOrder[:n] {
		pane := a.panes[start]
		delete(a.panes, start)
		a.gained = append(a.gained, PaneEvents{start, pane.events})
		a.used = max(a.used, len(pane.cells))
		a.cells -= len(pane.cells)
		a.listed -= pane.listed
		a.indexed -= len(pane.index)
		deltas = pane.deltas(deltas, a.order, &a.handed)
		a.reuse(pane)
	}
	a.paneOrder, a.last = slices.Delete(a.paneOrder, 0, n), nil
	return deltas
}

// mergeEvents sorts them by pane, and joins those of one pane, which may have gained something of the pipeline itself after it was handed over.
func mergeEvents(in []PaneEvents) (out []PaneEvents) {
	slices.SortFunc(in, func(x, y PaneEvents) int { return cmp.Compare(x.Pane, y.Pane) })
	for _, e := range in {
		if n := len(out); n > 0 && out[n-1].Pane == e.Pane {
			out[n-1].Events += e.Events
			continue
		}
		out = append(out, e)
	}
	return out
}

// mayKnow is how many series are known over a flush: a quarter more than a judge counts apart, so that they are when it is at its limit, and in any case
// four times those of a pane.
func (a *Aggregator) mayKnow() int {
	limit := a.cfg.Limits.Series
	if limit == 0 {
		limit = DefaultLimits().Series
	}
	return max(minKnown, limit+limit/4, 4*a.used)
}

// Bounds of what is kept over a flush only to be quick: series (some 600 bytes each), the memory of panes, what was handed over.
const (
	minKnown  = 1 << 12
	maxSpare  = 16 << 20 // bytes
	maxHanded = 1 << 16  // series, and as many buckets each as an open cell has codes
)

// makeRoom makes room for so many cells that are to be handed over, in what was handed over last if that was little. Of buckets there may be more.
func (a *Aggregator) makeRoom(cells int) {
	if cap(a.handed.series) > maxHanded || cap(a.handed.buckets) > fewCodes*maxHanded {
		a.handed = handed{}
	}
	a.handed.series = slices.Grow(a.handed.series[:0], cells)
	a.handed.buckets = slices.Grow(a.handed.buckets[:0], cells)
}

// bytes is about what the pane's memory takes.
func (p *aggregatePane) bytes() int {
	const cell, number = 144, 4
	return cell*cap(p.cells) + number*cap(p.index)
}

// reuse keeps the pane's memory, if there is room.
func (a *Aggregator) reuse(p *aggregatePane) {
	if a.spareBytes+p.bytes() > maxSpare {
		return
	}
	if 8*len(p.cells) < len(p.index) {
		for i := range p.cells {
			p.index[p.cells[i].series.number] = 0
		}
	} else {
		clear(p.index)
	}
	clear(p.cells)
	*p = aggregatePane{cells: p.cells[:0], index: p.index}
	a.spare = append(a.spare, p)
	a.spareBytes += p.bytes()
}

// deltas appends the pane's cells by domain. order has all series.
func (p *aggregatePane) deltas(out []Delta, order []*aggregate, room *handed) []Delta {
	first, begin := len(out), 0
	p.each(order, room, func(c *aggregateCell) {
		if n := len(out); n == first || out[n-1].Domain != c.series.domain {
			begin = len(room.series)
			out = append(out, Delta{Domain: c.series.domain, Pane: p.start})
		}
		from := len(room.buckets)
		room.buckets = c.values.appendTo(room.buckets)
		d := SeriesDelta{Kind: c.series.kind, Labels: c.series.labels, Cell: Cell{
			Count: c.count, Valued: c.valued, Sum: c.sum, Max: c.max, Sessioned: c.sessioned, Sessions: c.sessions,
		}}
		if to := len(room.buckets); to > from {
			d.Buckets = room.buckets[from:to:to]
		}
		room.series = append(room.series, d)
		out[len(out)-1].Series = room.series[begin:]
	})
	return out
}

// each calls f with every cell, in the order of the series.
func (p *aggregatePane) each(order []*aggregate, room *handed, f func(*aggregateCell)) {
	if 4*len(p.cells) < len(order) {
		room.sorted = room.sorted[:0]
		for i := range p.cells {
			room.sorted = append(room.sorted, uint64(p.cells[i].series.rank)<<32|uint64(i))
		}
		slices.Sort(room.sorted)
		for _, x := range room.sorted {
			f(&p.cells[uint32(x)])
		}
		return
	}
	for _, s := range order {
		if int(s.number) < len(p.index) && p.index[s.number] > 0 {
			f(&p.cells[p.index[s.number]-1])
		}
	}
}

// mergeSpans joins spans that touch or overlap.
func mergeSpans(in []Span) []Span {
	slices.SortFunc(in, func(x, y Span) int {
		return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To))
	})
	var out []Span
	for _, s := range in {
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, s.To)
			continue
		}
		out = append(out, s)
	}
	return out
}
