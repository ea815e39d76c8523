package detector

import (
	"fmt"
	"slices"

	"sevwatch/rules"
)

// Judge is the second stage: pane deltas and progress in, incidents out. It closes a pane when every source partition has said
// everything up to its end, moves the windows on by it, and asks every rule.
type Judge struct {
	cfg     Config
	file    *rules.File
	rules   []*ruleState
	windows []*windowCount // one for each length that rules have

	set        PartitionSet
	sets       map[int]PartitionSet // as each task told it last
	partitions map[Source]*PartitionProgress
	events     map[int64]int64 // of open panes, over all domains
	silent     []Span          // merged
	edge       int64           // panes that end here or earlier are closed; never before the first
	domains    map[string]*domain

	lost, late int64
	atLimits   AtLimits
	spareRoom  spareRoom // of all domains
	since      int64     // panes before it were not kept when the rules changed
	pending    []Output  // what a change of the rules made of open incidents
	words      words     // of people
	logged     bool      // the rules are those of a control record
	unread     error

	soon  []rules.Selector // whose distributions are needed by rules that wait for their edge
	short bool             // some rules were heard of when deltas had been taken in already, without those distributions
	stale bool

	saved    map[string]digest // of the records of the state as they were told
	told     map[Source]PartitionProgress
	seenUpTo int64
	gone     []string  // keys of records to be forgotten
	anew     bool      // the rules have changed: all records may have
	loading  []groupOf // not nil between Load and Ready
	watch    func(*Judgement)
}

// NewJudge is a judge that has heard nothing yet.
func NewJudge(cfg Config, file *rules.File) *Judge {
	j := &Judge{
		cfg: cfg, file: file, edge: never, since: never,
		sets: map[int]PartitionSet{}, partitions: map[Source]*PartitionProgress{}, events: map[int64]int64{}, domains: map[string]*domain{},
		saved: map[string]digest{}, told: map[Source]PartitionProgress{}, seenUpTo: never,
	}
	for _, r := range file.Rules() {
		short := -1
		if b := r.Signal.Burn; b != nil {
			short = j.windowOf(int64(b.Short))
		}
		j.rules = append(j.rules, &ruleState{
			Rule: r, window: j.windowOf(int64(r.Window)), short: short, identity: r.Identity(), hist: r.Signal.Valued(),
			distinct: r.Signal.Type == rules.SignalDistinct, max: r.Signal.Type == rules.SignalMax,
			own: !slices.ContainsFunc(r.Signal.Num, func(s rules.Selector) bool { return s.Kind != rules.KindPipeline }),
		})
	}
	return j
}

func (j *Judge) windowOf(length int64) int {
	i := slices.IndexFunc(j.windows, func(w *windowCount) bool { return w.length == length })
	if i < 0 {
		i = len(j.windows)
		j.windows = append(j.windows, &windowCount{length: length, panes: length / j.cfg.Pane})
	}
	return i
}

// Rules are the rules in force at the edge.
func (j *Judge) Rules() *rules.File { return j.file }

// Edge is the end of the last closed pane, or the smallest int64 before the first.
func (j *Judge) Edge() int64 { return j.edge }

// Late is how many events came for panes that were closed already. It stays 0 as long as every progress record is honest.
func (j *Judge) Late() int64 { return j.late }

// Lost is how many source offsets no progress record accounts for.
func (j *Judge) Lost() int64 { return j.lost }

// Open is how many incidents were told and are not over. Those that are part of another are not told.
func (j *Judge) Open() int {
	n := 0
	for _, name := range SortedKeys(j.domains) {
		for _, g := range j.domains[name].order {
			if o := g.life.Incident; o != nil && !o.untold() {
				n++
			}
		}
	}
	return n
}

// Totals are the accounts of all source partitions together.
func (j *Judge) Totals() Totals {
	var sum Totals
	for _, s := range sortedSources(j.partitions) {
		sum.Add(j.partitions[s].Totals)
	}
	return sum
}

// Delta takes in what a pane gained. It keeps nothing of the delta but labels.
func (j *Judge) Delta(d *Delta) {
	if d.Pane < j.since || j.loading != nil && d.Pane < j.Needs() {
		return // nobody needs it any more, and not all of it may be read again
	}
	if d.Pane < j.edge && j.loading == nil {
		for i := range d.Series {
			j.late += d.Series[i].Count
		}
		return
	}
	domain := j.domain(d.Domain)
	if p := domain.merge(d); j.loading == nil {
		domain.shed(p)
	}
}

// Known finds the series of a delta of the domain by its key, as AppendSeriesKey makes it, and fills it in: so whoever decodes a delta need
// not make the labels anew. It holds until the next Advance; whoever remembers the series has it Fill in another delta then.
func (j *Judge) Known(domain string, key []byte, s *SeriesDelta) bool {
	d := j.domains[domain]
	if d == nil {
		return false
	}
	known := d.series[string(key)]
	return known != nil && known.Fill(s)
}

func (j *Judge) domain(name string) *domain {
	d := j.domains[name]
	if d == nil {
		d = newDomain(name, &j.cfg, j.file, j.rules, j.windows)
		j.adopt(d)
		d.watch = j.watch
		j.domains[name] = d
	}
	return d
}

// adopt lets a domain look at what the judge keeps for all of them.
func (j *Judge) adopt(d *domain) {
	d.gone, d.soon, d.edge, d.atLimits, d.spareRoom = &j.gone, &j.soon, &j.edge, &j.atLimits, &j.spareRoom
}

// Progress takes in how far a task has come. Offsets that are told twice are an error: something would be counted twice.
func (j *Judge) Progress(p *Progress) error {
	j.heardSet(p)
	for _, next := range p.Partitions {
		last := j.partitions[next.Source]
		if last != nil && next.From < last.To {
			return fmt.Errorf("progress of task %d tells offsets %d to %d of %s/%d again, they were told up to %d",
				p.Task, next.From, next.To, next.Topic, next.Partition, last.To)
		}
		if last != nil {
			j.lost += next.From - last.To
			next.Watermark = max(next.Watermark, last.Watermark)
		}
		j.partitions[next.Source] = &next
	}
	for _, e := range p.Events {
		if e.Pane >= j.edge {
			j.events[e.Pane] += e.Events
		}
	}
	if len(p.Silent) > 0 {
		j.silent = mergeSpans(append(j.silent, p.Silent...))
	}
	return nil
}

// heardSet takes in which partitions there are, as a task says. Those count that any task named last: an added one from the first word of it on, one whose source
// is no more until every task does without it. What a task says holds until it says something else: one without partitions speaks only when it begins.
func (j *Judge) heardSet(p *Progress) {
	if j.sets[p.Task].same(p.Set) && j.set.covers(p.Set) {
		return
	}
	j.sets[p.Task] = p.Set
	all := PartitionSet{Version: p.Set.Version}
	if len(j.sets) < p.Tasks { // not all have spoken
		all = j.set
	}
	for _, task := range SortedKeys(j.sets) {
		all = union(all, j.sets[task])
	}
	j.set = all
}

// watermark is the event time up to which all partitions have said everything. One that was not heard of yet holds it back.
func (j *Judge) watermark() int64 {
	low := int64(1<<63 - 1)
	members := 0
	for _, topic := range SortedKeys(j.set.Topics) {
		for n := range j.set.Topics[topic] {
			members++
			p := j.partitions[Source{topic, n}]
			if p == nil {
				return never
			}
			low = min(low, p.Watermark)
		}
	}
	if members == 0 {
		return never
	}
	return low
}

// Stale says that the rules have changed at the edge, and that they may need more of the panes than the judge has kept for those of before. It
// has to be restored then, from its state and the deltas: Advance closes no more panes.
func (j *Judge) Stale() bool { return j.stale }

// Advance closes every pane that the watermark has passed, in order, and returns what there is to tell, ordered as outputs are.
func (j *Judge) Advance() []Output {
	out := j.pending
	j.pending = nil
	target := floor(j.watermark(), j.cfg.Pane)
	if target == never {
		return out
	}
	if j.edge == never {
		first := min(target, j.firstPane(target))
		j.words.begin(first)
		if j.changeRules(); j.stale {
			return out
		}
		j.edge = first
	}
	for j.edge < target && !j.stale {
		if j.idle() {
			j.jump(min(target, j.firstPane(target), j.words.nextRules(j.edge+j.cfg.Pane)))
			j.words.due(j.edge) // there is no incident that they could be about
			j.changeRules()
			continue
		}
		out = append(out, j.closePane()...)
	}
	return out
}

// firstPane is the start of the first open pane that holds anything, or otherwise.
func (j *Judge) firstPane(otherwise int64) int64 {
	if starts := SortedKeys(j.events); len(starts) > 0 {
		return starts[0]
	}
	return otherwise
}

// idle says whether closing the next panes changes nothing until one comes that holds something.
func (j *Judge) idle() bool {
	if j.firstPane(never) == j.edge {
		return false
	}
	for _, w := range j.windows {
		if len(w.inside) > 0 {
			return false
		}
	}
	for _, name := range SortedKeys(j.domains) {
		if !j.domains[name].idle() {
			return false
		}
	}
	return true
}

// jump passes over panes in which there is nothing to judge. Whether they were observed still counts for the windows after them.
func (j *Judge) jump(to int64) {
	longest := int64(0)
	for _, w := range j.windows {
		longest = max(longest, w.length)
	}
	if from := to - longest; from > j.edge {
		j.edge = floor(from, j.cfg.Pane)
	}
	for ; j.edge < to; j.edge += j.cfg.Pane {
		j.slide(j.edge, j.edge+j.cfg.Pane)
	}
}

// slide moves all windows on by the pane [start, edge) and says whether it was observed.
func (j *Judge) slide(start, edge int64) bool {
	s := seen{Start: start, Events: j.events[start]}
	observed := s.Events > 0 || j.silentIn(start, edge)
	for _, w := range j.windows {
		w.slide(edge, s, observed)
	}
	delete(j.events, start)
	return observed
}

// silentIn says whether it is on record that nothing came in [from, to).
func (j *Judge) silentIn(from, to int64) bool {
	for len(j.silent) > 0 && j.silent[0].To <= from {
		j.silent = j.silent[1:]
	}
	return len(j.silent) > 0 && j.silent[0].From <= from && j.silent[0].To >= to
}

func (j *Judge) closePane() []Output {
	start, edge := j.edge, j.edge+j.cfg.Pane
	observed := j.slide(start, edge)
	j.edge = edge
	said := j.words.due(edge)
	var out []Output
	for _, name := range SortedKeys(j.domains) {
		d := j.domains[name]
		d.said, d.silences = said, j.words.Silences
		out = append(out, d.close(start, edge, j.windows, observed)...)
		if d.idle() && len(d.panes) == 0 && len(d.changes) == 0 && len(d.asked) == 0 && len(d.refused) == 0 {
			j.gone = append(j.gone, key(keyChanges, name), key(keyAsked, name), key(keyRefused, name))
			delete(j.domains, name)
		}
	}
	j.changeRules()
	out, j.pending = append(out, j.pending...), nil
	slices.SortFunc(out, Output.Compare)
	return out
}
