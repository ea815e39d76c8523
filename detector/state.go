package detector

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sevwatch/rules"
)

// stateVersion is the format of everything below. Version 1 did not say which severity a timer belongs to, nor by which rules the state
// came about; it is still read (upgrade).
const stateVersion = 2

// Record is one entry of a judge's state: a key and its present value, nil when it is forgotten.
type Record struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// edgeState is how far the judge has come, and what it knows of panes that are still open, besides their deltas.
type edgeState struct {
	V      int                  `json:"v"`
	Edge   int64                `json:"edge"`
	Set    PartitionSet         `json:"set"`
	Same   []int                `json:"same,omitempty"`  // tasks that named this set last
	Other  map[int]PartitionSet `json:"other,omitempty"` // what the others named
	Open   []PaneEvents         `json:"open,omitempty"`
	Silent []Span               `json:"silent,omitempty"`
	Lost   int64                `json:"lost,omitempty"`
	Late   int64                `json:"late,omitempty"`

	Rules   string `json:"rules"`           // hash of the rule file
	Longest int64  `json:"longest"`         // its longest window, ms
	Since   int64  `json:"since,omitempty"` // panes before it were not kept when the rules changed: they count for nobody
}

// wordsState is what people have said.
type wordsState struct {
	V int `json:"v"`
	words
}

// changesState is the changes that a domain remembers.
type changesState struct {
	V       int      `json:"v"`
	Changes []Change `json:"changes"`
}

// askedState is the actions that were asked for in a domain, not long ago.
type askedState struct {
	V     int     `json:"v"`
	Asked []asked `json:"asked"`
}

// refusedState is how many incidents could not be opened, by the pane that began then.
type refusedState struct {
	V       int          `json:"v"`
	Refused []PaneEvents `json:"refused"`
}

// limitState says which series a pane counts apart: those with a smaller hash than the limit, and those whose hashes, of eight bytes
// each, are in Exact. A pane may have several, with the same limit.
type limitState struct {
	V     int    `json:"v"`
	Pane  int64  `json:"pane"`
	Limit uint64 `json:"limit"`
	Exact []byte `json:"exact,omitempty"`
}

// maxExact is how many hashes a limitState has at most, so that its record stays well below what Kafka takes.
const maxExact = 32_768

// groupState is what is kept of a group besides its window. Where the window has data, Last is 0: the panes tell it.
type groupState struct {
	V        int       `json:"v"`
	Rule     string    `json:"rule"`
	RuleHash string    `json:"rule_hash"`
	Labels   []Label   `json:"labels,omitempty"`
	First    int64     `json:"first_pane"`
	Last     int64     `json:"last_data,omitempty"`
	Silent   int64     `json:"silent,omitempty"`
	Alive    bool      `json:"alive,omitempty"`
	Usual    *baseline `json:"usual,omitempty"`
	life
}

// digest stands for a record's value, which is large where there are many.
type digest [16]byte

func digestOf(value []byte) digest {
	sum := sha256.Sum256(value)
	return digest(sum[:16])
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: cannot encode %T: %v", v, err))
	}
	return data
}

// Changes are the records of the state that differ from those that were returned before, in order of their keys. Together with the
// deltas of the panes from Needs on they are all there is to a judge.
func (j *Judge) Changes() []Record {
	changed := map[string][]byte{}
	forget := func() {
		for _, key := range j.gone {
			changed[key] = nil
		}
		j.gone = j.gone[:0]
	}
	if j.anew {
		j.forgetTold()
	}
	forget() // first: what went may have come back since
	j.state(func(key string, value []byte) { changed[key] = value }, false)
	forget()
	j.seenUpTo = j.edge
	for _, s := range sortedSources(j.partitions) {
		j.told[s] = *j.partitions[s]
	}
	var out []Record
	for _, key := range SortedKeys(changed) {
		value := changed[key]
		before, told := j.saved[key]
		switch d := digestOf(value); {
		case value == nil && !told, told && value != nil && d == before:
			continue
		case value == nil:
			delete(j.saved, key)
		default:
			j.saved[key] = d
		}
		out = append(out, Record{key, value})
	}
	return out
}

// Needs is the start of the first pane whose deltas the judge would need to be restored.
func (j *Judge) Needs() int64 {
	if j.edge == never {
		return never
	}
	return j.edge - max(j.longest().length, j.cfg.kept())
}

// longest is the count of the longest window.
func (j *Judge) longest() *windowCount {
	if len(j.windows) == 0 {
		return &windowCount{panes: 1}
	}
	return slices.MaxFunc(j.windows, func(x, y *windowCount) int { return cmp.Compare(x.length, y.length) })
}

// state emits every record of the state; without all, those of groups that surely did not change may be left out.
func (j *Judge) state(emit func(key string, value []byte), all bool) {
	if j.edge != never || len(j.partitions) > 0 {
		s := edgeState{
			V: stateVersion, Edge: j.edge, Set: j.set, Silent: j.silent, Lost: j.lost, Late: j.late,
			Rules: j.file.Hash, Longest: j.longest().length, Since: j.since,
		}
		for _, task := range SortedKeys(j.sets) {
			if set := j.sets[task]; set.same(j.set) {
				s.Same = append(s.Same, task)
			} else {
				if s.Other == nil {
					s.Other = map[int]PartitionSet{}
				}
				s.Other[task] = set
			}
		}
		for _, start := range SortedKeys(j.events) {
			s.Open = append(s.Open, PaneEvents{start, j.events[start]})
		}
		emit(keyEdge, encode(s))
	}
	if j.words.Next > 0 {
		emit(keyWords, encode(wordsState{stateVersion, j.words}))
	}
	if j.logged {
		emit(keyRules, j.file.Text)
	}
	for i := range j.words.Due {
		if d := &j.words.Due[i]; d.Rules != nil {
			emit(d.rulesKey(), d.Rules.Text)
		}
	}
	for _, s := range sortedSources(j.partitions) {
		p := j.partitions[s]
		if told, ok := j.told[s]; all || !ok || p.To != told.To || p.Watermark != told.Watermark {
			emit(key(keySource, s.Topic, strconv.Itoa(s.Partition)), encode(p))
		}
	}
	w := j.longest()
	for _, x := range slices.Backward(w.inside) {
		if !all && x.Start < j.seenUpTo {
			break
		}
		emit(key(keySeen, strconv.FormatInt(x.Start/j.cfg.Pane%w.panes, 10)), encode(x))
	}
	for _, name := range SortedKeys(j.domains) {
		j.domains[name].state(emit, all)
	}
}

func (d *domain) state(emit func(key string, value []byte), all bool) {
	if len(d.changes) > 0 {
		emit(key(keyChanges, d.name), encode(changesState{stateVersion, d.changes}))
	} else if !all {
		*d.gone = append(*d.gone, key(keyChanges, d.name))
	}
	if len(d.asked) > 0 {
		emit(key(keyAsked, d.name), encode(askedState{stateVersion, d.asked}))
	} else if !all {
		*d.gone = append(*d.gone, key(keyAsked, d.name))
	}
	if len(d.refused) > 0 {
		emit(key(keyRefused, d.name), encode(refusedState{stateVersion, d.refused}))
	} else if !all {
		*d.gone = append(*d.gone, key(keyRefused, d.name))
	}
	for n, p := range d.panes {
		if p.limit < noLimit && (all || !p.final) {
			d.stateOfLimit(p, emit, all, n < d.closed)
		}
	}
	for _, g := range d.order {
		switch {
		case g.first != never && all:
			emit(d.stateKey(g), encode(g.state()))
		case g.first != never && !g.settled():
			g.known, g.wasClean = true, g.life.clean() && !g.alive
			emit(d.stateKey(g), encode(g.state()))
		case g.first == never && g.known && !all:
			g.known = false
			*d.gone = append(*d.gone, d.stateKey(g))
		}
	}
}

// stateOfLimit emits which series a pane counts apart. That of an open pane changes.
func (d *domain) stateOfLimit(p *pane, emit func(key string, value []byte), all, closed bool) {
	n := 0
	for exact := d.beyond(p); n == 0 || len(exact) > 0; n++ {
		s := limitState{V: stateVersion, Pane: p.start, Limit: p.limit}
		for _, h := range exact[:min(len(exact), maxExact)] {
			s.Exact = binary.BigEndian.AppendUint64(s.Exact, h)
		}
		exact = exact[min(len(exact), maxExact):]
		emit(d.limitKey(p, n), encode(s))
	}
	if all {
		return
	}
	for ; p.told > n; p.told-- {
		*d.gone = append(*d.gone, d.limitKey(p, p.told-1))
	}
	p.told, p.final = n, closed
}

func (d *domain) limitKey(p *pane, n int) string {
	return key(keyLimit, d.name, strconv.FormatInt(p.start, 10), strconv.Itoa(n))
}

// forgetLimit forgets the limit of a pane that is let go.
func (d *domain) forgetLimit(p *pane) {
	for n := range p.told {
		*d.gone = append(*d.gone, d.limitKey(p, n))
	}
}

// limited sets the limit of a pane that is restored.
func (d *domain) limited(s *limitState) {
	p := d.pane(s.Pane)
	p.limit = s.Limit
	p.told++
	for b := s.Exact; len(b) >= 8; b = b[8:] {
		p.exact = append(p.exact, binary.BigEndian.Uint64(b))
	}
	slices.Sort(p.exact)
}

func (d *domain) stateKey(g *group) string { return key(keyGroup, d.name, g.rule.Alert, g.key) }

// settled says cheaply that nothing changed since the state was told: a healthy group, known before, whose only news are data.
func (g *group) settled() bool {
	return g.known && g.wasClean && g.life.clean() && g.usual == nil && !g.alive && g.events > 0
}

func (g *group) state() groupState {
	s := groupState{
		V: stateVersion, Rule: g.rule.Alert, RuleHash: g.rule.identity, Labels: g.labels,
		First: g.first, Alive: g.alive, Usual: g.usual, life: g.life,
	}
	if g.rule.Signal.Type == rules.SignalAbsence {
		s.Silent = g.silent
	}
	if g.events == 0 {
		s.Last = g.last
	}
	return s
}

// EdgeOf is up to where a judge had told everything that wrote these records; the smallest int64 where it has told nothing.
func EdgeOf(records []Record) (int64, error) {
	for _, r := range records {
		if r.Key == keyEdge {
			var s edgeState
			if err := json.Unmarshal(r.Value, &s); err != nil {
				return never, fmt.Errorf("cannot read the state record %q: %w", r.Key, err)
			}
			return s.Edge, nil
		}
	}
	return never, nil
}

// HeardOf is the offset of the control log behind the last record that a judge had heard which wrote these records; ok is false where it has heard nothing.
func HeardOf(records []Record) (next int64, ok bool, err error) {
	for _, r := range records {
		if r.Key == keyWords {
			var s wordsState
			if err := json.Unmarshal(r.Value, &s); err != nil {
				return 0, false, fmt.Errorf("cannot read the state record %q: %w", r.Key, err)
			}
			return s.Next, true, nil
		}
	}
	return 0, false, nil
}

// Load begins to restore a judge that has heard nothing yet: records are its whole state. After it the deltas of all panes from Needs
// on have to be given to Delta again, and then Ready be called.
func (j *Judge) Load(records []Record) error {
	waiting := j.loadRules(records)
	j.loading = []groupOf{}
	for _, r := range records {
		if len(r.Value) == 0 {
			continue
		}
		if err := j.load(r); err != nil {
			return fmt.Errorf("cannot restore the state record %q: %w", strings.ReplaceAll(r.Key, keySeparator, "/"), err)
		}
		j.saved[r.Key] = digestOf(r.Value)
	}
	for i := range j.words.Due {
		d := &j.words.Due[i]
		if d.Rules = waiting[d.rulesKey()]; d.Rules != nil {
			j.expect(d.Rules)
		}
	}
	j.words.Due = slices.DeleteFunc(j.words.Due, func(d dueAct) bool { return d.Act.Act == ActRules && d.Rules == nil })
	for _, w := range j.windows {
		slices.SortFunc(w.inside, func(x, y seen) int { return cmp.Compare(x.Start, y.Start) })
		if j.edge != never {
			w.slide(j.edge, seen{}, false)
		}
	}
	j.seenUpTo = j.edge
	return nil
}

// groupOf is a group's state while the panes of its window are being read again.
type groupOf struct {
	domain string
	key    string // of its record
	state  groupState
}

// readState reads a record's value, which says its version unless version is nil.
func readState(value []byte, v any, version *int) error {
	if err := json.Unmarshal(value, v); err != nil {
		return err
	}
	if version != nil && (*version < 1 || *version > stateVersion) {
		return fmt.Errorf("it is of version %d, expected 1 to %d", *version, stateVersion)
	}
	return nil
}

func (j *Judge) load(r Record) error {
	kind, rest, more := strings.Cut(r.Key, keySeparator)
	read := func(v any, version *int) error { return readState(r.Value, v, version) }
	if alone := kind == keyEdge || kind == keyWords; more == alone && kind != keyRules {
		return errors.New("nobody knows what it is")
	}
	switch kind {
	case keyEdge:
		var s edgeState
		if err := read(&s, &s.V); err != nil {
			return err
		}
		j.loadEdge(s)
		return nil
	case keyWords:
		var s wordsState
		err := read(&s, &s.V)
		j.words = s.words
		return err
	case keyRules:
		return nil // loadRules has it
	case keySource:
		var p PartitionProgress
		err := read(&p, nil)
		j.partitions[p.Source], j.told[p.Source] = &p, p
		return err
	case keySeen:
		var x seen
		err := read(&x, nil)
		for _, w := range j.windows {
			w.inside = append(w.inside, x)
			w.stream += x.Events
			w.observed++
		}
		return err
	case keyChanges:
		var s changesState
		err := read(&s, &s.V)
		j.domain(rest).changes = s.Changes
		return err
	case keyAsked:
		var s askedState
		err := read(&s, &s.V)
		j.domain(rest).asked = s.Asked
		return err
	case keyRefused:
		var s refusedState
		err := read(&s, &s.V)
		j.domain(rest).refused = s.Refused
		return err
	case keyLimit:
		var s limitState
		if err := read(&s, &s.V); err != nil {
			return err
		}
		domain, err := domainOfLimit(rest)
		if err == nil {
			j.domain(domain).limited(&s)
		}
		return err
	case keyGroup:
		var s groupState
		if err := read(&s, &s.V); err != nil {
			return err
		}
		domain, err := domainOfGroup(rest, &s)
		j.loading = append(j.loading, groupOf{domain, r.Key, s})
		return cmp.Or(err, s.check())
	default:
		return errors.New("nobody knows what it is")
	}
}

// check says what is missing without which it could not be told again.
func (s *groupState) check() error {
	for _, o := range []*ongoing{s.Incident, s.Past} {
		if o != nil && (o.Severity == 0 || o.Peak == 0) {
			return fmt.Errorf("the incident %q has no severity or no peak", o.ID)
		}
	}
	return nil
}

// loadEdge goes on where a judge had come.
func (j *Judge) loadEdge(s edgeState) {
	j.edge, j.set, j.silent, j.lost, j.late, j.since = s.Edge, s.Set, s.Silent, s.Lost, s.Late, s.Since
	for _, task := range s.Same {
		j.sets[task] = s.Set
	}
	for _, task := range SortedKeys(s.Other) {
		j.sets[task] = s.Other[task]
	}
	if s.V > 1 && s.Rules != j.file.Hash {
		j.rulesChanged(s)
	}
	for _, e := range s.Open {
		j.events[e.Pane] = e.Events
	}
}

// Ready ends what Load began: windows hold the closed panes again, groups their lives.
func (j *Judge) Ready() error {
	if j.edge != never {
		for _, name := range SortedKeys(j.domains) {
			d := j.domains[name]
			d.refill(j.edge, j.windows)
			for _, p := range d.panes[d.closed:] {
				p.exact = nil
				d.shed(p)
			}
		}
	}
	for _, l := range j.loading {
		d := j.domain(l.domain)
		g := d.successor(&l.state)
		if g == nil {
			ended, err := d.supersede(&l.state, j.edge)
			if err != nil {
				return err
			}
			j.pending = append(j.pending, ended...)
			j.gone = append(j.gone, l.key)
			continue
		}
		g.restore(l.state)
	}
	slices.SortFunc(j.pending, Output.Compare)
	j.loading = nil
	return nil
}

func (g *group) restore(s groupState) {
	last := g.last // as the panes tell it
	g.first, g.last, g.silent, g.alive, g.life = s.First, max(s.Last, last), s.Silent, s.Alive, s.life
	if s.Usual != nil {
		g.usual = s.Usual
	}
	g.known, g.wasClean = true, g.life.clean() && !g.alive
}

// refill brings the panes before edge into the windows, without judging. What they count apart was decided when they closed.
func (d *domain) refill(edge int64, windows []*windowCount) {
	for _, r := range d.refused {
		if r.Pane < edge {
			d.tellRefused(r.Pane)
		}
	}
	for d.closed < len(d.panes) && d.panes[d.closed].start < edge {
		p := d.panes[d.closed]
		d.settled(p)
		p.finish(d.spareRoom)
		d.sumUp(p, len(d.heads), func(r *role, sum *sum) {
			for i, g := range r.groups {
				if !g.concerns(sum) {
					continue
				}
				g.enter(&r.rules[i], sum, p.start)
				g.last = max(g.last, p.start+d.cfg.Pane)
				if g.usual != nil {
					g.usual.clear()
				}
			}
		})
		d.closed++
	}
	d.leave(edge, windows)
}

// Restore is the judge that a snapshot was taken of. Where no control record has put rules in force, it goes on under those that are given,
// which may be others than those of then.
func Restore(cfg Config, file *rules.File, data []byte) (*Judge, error) {
	var s snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("cannot read the snapshot: %w", err)
	}
	if s.V < 1 || s.V > stateVersion {
		return nil, fmt.Errorf("cannot read a snapshot of version %d, expected 1 to %d", s.V, stateVersion)
	}
	j := NewJudge(cfg, file)
	return j, s.restore(j)
}

func (s *snapshot) restore(j *Judge) error {
	if err := j.Load(s.Records); err != nil {
		return err
	}
	for _, d := range s.Domains {
		for i := range d.Panes {
			if err := d.Panes[i].check(); err != nil {
				return fmt.Errorf("cannot restore the pane %s: %w", Millis(d.Panes[i].Pane), err)
			}
			d.Panes[i].Domain = d.Name
			j.Delta(&d.Panes[i])
		}
	}
	return j.Ready()
}

// snapshot is a whole judge as bytes.
type snapshot struct {
	V       int              `json:"v"`
	Records []Record         `json:"records"`
	Domains []domainSnapshot `json:"domains"`
}

type domainSnapshot struct {
	Name  string  `json:"name"`
	Panes []Delta `json:"panes"`
}

// Snapshot is the judge as bytes: its state and the panes that its windows need. It takes the same way as a restart: Load, Delta, Ready.
func (j *Judge) Snapshot() []byte { return encode(j.snapshot()) }

func (j *Judge) snapshot() *snapshot {
	s := &snapshot{V: stateVersion}
	j.state(func(key string, value []byte) { s.Records = append(s.Records, Record{key, value}) }, true)
	for _, name := range SortedKeys(j.domains) {
		if panes := j.domains[name].deltas(); len(panes) > 0 {
			s.Domains = append(s.Domains, domainSnapshot{name, panes})
		}
	}
	return s
}

func (d *domain) deltas() []Delta {
	var out []Delta
	for _, p := range d.panes {
		delta := Delta{Domain: d.name, Pane: p.start}
		var room Cell
		for i := range p.cells {
			c := &p.cells[i]
			s := d.of(c)
			if s.made {
				continue
			}
			cell := *p.cell(c, &room)
			cell.Buckets = slices.Clone(cell.Buckets)
			delta.Series = append(delta.Series, SeriesDelta{Kind: s.kind, Labels: s.labels, Cell: cell})
		}
		out = append(out, delta)
	}
	return out
}
