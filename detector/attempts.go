package detector

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sevwatch/rules"
)

// Sessions is how long each partition of a topic waits for visitors who entered a step. The zero value follows nobody. A session has to stay in
// one partition.
type Sessions struct {
	Timeout  int64            // ms of event time; 0: only the steps of Timeouts are followed
	Timeouts map[string]int64 // of steps that have another; 0: they are not followed
	Max      int              // visits that a partition remembers; known ones may become twice as many
	Shape    string           // of what events are read; under another one a visit's session, step and action may be others
}

// Names of what happens to the pipeline where sessions are followed, as events of kind pipeline: so many visitors who entered a step were not
// followed, or no longer; a partition's open attempts became void.
const (
	SessionsFull = "sessions_full"
	SessionsVoid = "sessions_void"
)

// moving is how long, in ms, producers may go on as if nothing had changed after partitions were added: their metadata.max.age.ms.
const moving = 5 * 60_000

// timeout is that of a step, 0 where it is not followed.
func (s *Sessions) timeout(step []byte) int64 {
	if t, ok := s.Timeouts[string(step)]; ok {
		return t
	}
	return s.Timeout
}

// On says whether any step is followed.
func (s *Sessions) On() bool {
	return s.Timeout > 0 || slices.ContainsFunc(SortedKeys(s.Timeouts), func(step string) bool { return s.Timeouts[step] > 0 })
}

// MaxTimeout is the longest of all timeouts of all sources, in ms.
func (c *Config) MaxTimeout() (longest int64) {
	for _, topic := range SortedKeys(c.Sessions) {
		s := c.Sessions[topic]
		longest = max(longest, s.Timeout)
		for _, step := range SortedKeys(s.Timeouts) {
			longest = max(longest, s.Timeouts[step])
		}
	}
	return longest
}

// Visit is an event by which a session entered a step, or completed it.
type Visit struct {
	Key      ID    // of session, step and domain
	Time     int64 // epoch ms
	Deadline int64 // its step's timeout later
	Complete bool
	Void     bool    // it only shows that the attempt before goes on: it is not told how its own ends
	Labels   []Label // of the series of one that enters
	Session  uint64  // its hash, of one that enters where sessions are counted; else 0
}

// Size is about how many bytes the visit takes in a changelog, if nobody else has its labels.
func (v *Visit) Size() int {
	n := 96
	if v.Session != 0 {
		n += 28
	}
	for _, l := range v.Labels {
		n += len(l.Name) + len(l.Value) + 32
	}
	return n
}

// followed says whether the visit entered, and it is to be told how that ended.
func (v *Visit) followed() bool { return !v.Complete && !v.Void }

func compareVisits(x, y *Visit) int {
	if c := cmp.Compare(x.Time, y.Time); c != 0 {
		return c
	}
	if x.Complete != y.Complete {
		if y.Complete {
			return -1
		}
		return 1
	}
	return slices.CompareFunc(x.Labels, y.Labels, func(a, b Label) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	})
}

// attempts are the visits of a partition from which it derives how attempts at a step ended. What becomes of one that enters is told by the next
// visit of the same session to the same step before its deadline: it is completed; or it is entered anew, which is the same attempt, with a
// new deadline; without a next visit it is abandoned. It is decided when the partition has closed the pane of the deadline, and counts there:
// then nothing can come that belongs before. So the order in which visits came within the lateness means nothing.
type attempts struct {
	Sessions
	cfg            *Config
	topic          string
	known          map[ID][]*Visit // in order
	chunks[*Visit]                 // by the panes of the deadlines
	until          int64           // what was entered before this event time is not followed
	resume         int64           // offset: what is entered before an event from there or behind it, or moving after that, is not followed; 0: that has come
	terms, kept    string          // under which it is decided; under which what is known was kept
}

func newAttempts(cfg *Config, topic string, partitions int) *attempts {
	s := cfg.Sessions[topic]
	if !s.On() {
		return nil
	}
	x := &attempts{Sessions: s, cfg: cfg, topic: topic, known: map[ID][]*Visit{}, chunks: chunks[*Visit]{size: (*Visit).Size}, until: never}
	x.terms = fmt.Sprintf("%d partitions, panes of %d, domain %q, shape %q, %d", partitions, cfg.Pane, cfg.Domain, s.Shape, s.Timeout)
	for _, step := range SortedKeys(s.Timeouts) {
		x.terms += fmt.Sprintf(", %q %d", step, s.Timeouts[step])
	}
	x.kept = x.terms
	return x
}

// begin begins in the middle of a log: nobody knows who completed a step before the offset. Where events were read up to there, what is open
// has to be made void, in case a replay knows of it.
func (x *attempts) begin(offset int64, read bool) {
	x.resume = offset + 1
	if read {
		x.kept = ""
	}
}

// visitOf is the visit that an event tells of; ok is false if it tells of none that is followed.
func (x *attempts) visitOf(e *Event, labels []Label) (v *Visit, ok bool) {
	if e.Kind != rules.KindStep || len(e.Session) == 0 {
		return nil, false
	}
	var step, action, domain []byte
	for i, name := range x.cfg.Labels {
		switch name {
		case "step":
			step = e.Labels[i]
		case "action":
			action = e.Labels[i]
		case x.cfg.Domain:
			domain = e.Labels[i]
		}
	}
	timeout := x.timeout(step)
	v = &Visit{Time: e.Time, Deadline: e.Time + timeout, Complete: string(action) == "complete"}
	if len(step) == 0 || timeout == 0 || !v.Complete && string(action) != "enter" {
		return nil, false
	}
	if !v.Complete {
		v.Labels = labels
	}
	if !v.Complete && x.cfg.CountSessions[x.topic] {
		v.Session = SessionHash(e.Session)
	}
	v.Key = IDOf(slices.Concat(domain, []byte{SeriesKeyEnd}, step, []byte{SeriesKeyEnd}, e.Session))
	return v, true
}

// follow takes in what an event that was counted tells of its session.
func (a *Aggregator) follow(p *Partition, e *Event, labels []Label) {
	x := p.attempts
	if x.resume > 0 {
		x.until = max(x.until, p.watermark+2*p.lateness+x.cfg.Pane+moving) // with what came before, and is not late
		if p.to >= x.resume {
			x.resume = 0
		}
	}
	v, ok := x.visitOf(e, labels)
	if !ok {
		return
	}
	if _, _, known := x.find(v); known {
		return
	}
	full := func(n int64) {
		if n > 0 {
			a.Happened(Happening{Source: p.Source, Name: SessionsFull, Pane: a.cfg.PaneOf(e.Time), Count: n})
		}
	}
	if x.count >= 2*x.Max {
		entered, newest := x.forget()
		x.until = max(x.until, newest+1)
		full(entered)
	}
	matters := x.matters(v)
	if x.count >= x.Max && !matters {
		x.until = max(x.until, v.Time+1) // one who entered before, and comes later, is not to be followed without it
		if !v.Complete {
			full(1)
		}
		return
	}
	if v.Time < x.until {
		if !matters {
			return
		}
		v.Void = true
	}
	x.put(v)
	x.add(x.cfg.PaneOf(v.Deadline), v)
}

// find is where the visit is among those of its session to its step, or would be. One that is like another in everything is the same.
func (x *attempts) find(v *Visit) (of []*Visit, i int, there bool) {
	of = x.known[v.Key]
	i, there = slices.BinarySearchFunc(of, v, compareVisits)
	return of, i, there
}

// matters says whether a visit changes what becomes of an attempt that is followed.
func (x *attempts) matters(v *Visit) bool {
	of, i, _ := x.find(v)
	return i > 0 && of[i-1].followed() && v.Time < of[i-1].Deadline
}

func (x *attempts) put(v *Visit) bool {
	of, i, there := x.find(v)
	if !there {
		x.known[v.Key] = slices.Insert(of, i, v)
	}
	return !there
}

// forget forgets the visits of the next deadlines, and says how many of them entered, and when the newest was. What is left is decided as it
// would have been: a visit matters only to those before it, whose deadlines are not later.
func (x *attempts) forget() (entered, newest int64) {
	newest = never
	for _, v := range x.drop() {
		newest = max(newest, v.Time)
		if v.followed() {
			entered++
		}
		of, i, _ := x.find(v)
		switch {
		case len(of) == 1:
			delete(x.known, v.Key)
		case i == 0:
			x.known[v.Key] = of[1:]
		default:
			x.known[v.Key] = slices.Delete(of, i, i+1)
		}
	}
	return entered, newest
}

// ended is how the attempt of one that entered has ended, "" if it goes on with the next visit.
func (x *attempts) ended(v *Visit) string {
	of, i, _ := x.find(v)
	switch {
	case i+1 == len(of) || of[i+1].Time >= v.Deadline:
		return "abandon"
	case of[i+1].Complete:
		return "complete"
	default:
		return ""
	}
}

// decide counts the attempts whose deadlines lie in panes that the partition has closed.
func (a *Aggregator) decide(p *Partition) {
	x := p.attempts
	if x == nil {
		return
	}
	for len(x.panes) > 0 && x.panes[0].start < p.edge {
		for _, v := range x.panes[0].items {
			if action := x.ended(v); v.followed() && action != "" {
				pane := a.pane(x.panes[0].start)
				cell := a.cell(pane, x.attempt(v, action))
				cell.count++
				if v.Session != 0 {
					a.session(pane, cell, v.Session)
				}
			}
		}
		x.forget()
	}
}

// attempt is what is counted: an attempt has the labels with which the step was entered last.
func (x *attempts) attempt(v *Visit, action string) *Event {
	e := Event{Kind: rules.KindAttempt}
	for _, name := range x.cfg.Labels {
		value := action
		if name != "action" {
			value = valueOf(v.Labels, name)
		}
		e.Labels = append(e.Labels, []byte(value))
	}
	return &e
}

// Void is one line of a mark: what was open in a partition is void.
type Void struct {
	Source
	Before int64 `json:"before"` // it applies between the records Before-1 and Before
	Resume int64 `json:"resume"` // offset
}

// Void gives up what is open in the partition, because nobody can tell how it ended: records are lost, or a session's next records may be in
// another partition, or the timeouts were others, or nobody was followed. It counts that in the partition's first open pane, if it has an event time yet. Nobody is
// followed again who enters before five minutes behind the first event from the offset resume on.
func (a *Aggregator) Void(p *Partition, resume int64) {
	x := p.attempts
	for len(x.panes) > 0 {
		x.forget()
	}
	x.resume, x.kept, p.changed = resume, x.terms, true
	if p.watermark != never {
		a.Happened(Happening{Source: p.Source, Name: SessionsVoid, Pane: p.edge, Count: 1})
	}
}

// Follows says whether sessions are followed in the partition, and outdated whether what is open was kept when its topic had fewer partitions,
// or where visits were others, as by other timeouts, or not at all: it has to be made void.
func (p *Partition) Follows() (follows, outdated bool) {
	x := p.attempts
	return x != nil, x != nil && x.kept != x.terms
}

// Visits are how many visits all partitions remember.
func (a *Aggregator) Visits() int {
	n := 0
	for _, p := range a.partitions {
		if p.attempts != nil {
			n += p.attempts.count
		}
	}
	return n
}

// keep puts what is remembered beyond the changes of the visits into what is kept.
func (x *attempts) keep(k *Kept) {
	k.Visits, k.Terms, k.Until, k.Resume = append(k.Visits, x.changes()...), x.kept, x.until, x.resume
}

// restore takes up what was kept where somebody was followed. What should have been decided before the edge is forgotten: nobody was followed
// while the edge moved.
func (x *attempts) restore(k *Kept, edge int64) error {
	x.kept, x.until, x.resume = k.Terms, k.Until, k.Resume
	err := x.chunks.restore(k.Visits, func(v *Visit) error {
		if !x.put(v) {
			return fmt.Errorf("the visit %x at %d is kept twice", v.Key, v.Time)
		}
		return nil
	})
	for err == nil && len(x.panes) > 0 && x.panes[0].start < edge {
		x.forget()
	}
	return err
}
