package detector

import (
	"encoding/binary"
	"slices"

	"sevwatch/rules"
)

// selection is the rules that select a series, and what it is to them. Most series have one of a few.
type selection struct {
	id    uint64
	rules []selected
}

// selected is that a rule selects a series, as its numerator, its denominator or both.
type selected struct {
	rule     *ruleState
	num, den bool
}

// role is the part that a series plays in the groups of rules. Series whose labels differ only where no rule looks play the same one: what they have
// in a pane is summed up, and added to the windows of the groups at once.
type role struct {
	key      string
	bindings []binding
	uses     []use // by number of the window, and of all together behind the last
	kind     rules.Kind
	refs     int  // series that play it
	sum      *sum // while a pane is summed up; nil until it has something of them
}

// binding is what a role is to a group.
type binding struct {
	group    *group
	num, den bool
}

// use is what is asked of a cell.
type use uint8

const (
	useCount use = 1 << iota
	useValues
	useSessions
)

// use is what the rule asks of a cell.
func (r *ruleState) use() use {
	switch {
	case r.hist:
		return useValues
	case r.distinct:
		return useSessions
	default:
		return useCount
	}
}

// selectionOf is the rules that select a series, if they are among those that there are already the same.
func (d *domain) selectionOf(s *series) *selection {
	d.key = append(d.key[:0], byte(s.kind))
	var room [8]selected
	chosen := room[:0]
	for i, r := range d.rules {
		p := selected{rule: r, num: s.picked(r.Signal.Num), den: s.picked(r.Signal.Den)}
		if !p.num && !p.den || s.overflow && len(r.By) > 0 {
			continue
		}
		chosen = append(chosen, p)
		flags := 0
		if p.num {
			flags++
		}
		if p.den {
			flags += 2
		}
		d.key = binary.AppendUvarint(d.key, uint64(4*i+flags))
	}
	sel := d.selections[string(d.key)]
	if sel == nil {
		sel = &selection{id: uint64(len(d.selections)), rules: slices.Clone(chosen)}
		d.selections[string(d.key)] = sel
	}
	return sel
}

// hist says whether some rule that is made of values takes the series' values.
func (sel *selection) hist() bool {
	return slices.ContainsFunc(sel.rules, func(p selected) bool { return p.rule.hist && p.num })
}

// bind makes a series play its part in its groups, if it does not yet.
func (d *domain) bind(s *series) {
	if d.roles[s.number] != nil {
		return
	}
	if !s.own {
		d.live++
	}
	d.key = binary.AppendUvarint(append(d.key[:0], byte(s.kind)), s.selection.id)
	var room [8]binding
	bindings := room[:0]
	for _, p := range s.selection.rules {
		g := d.groupOf(p.rule, s)
		g.refs++
		bindings = append(bindings, binding{g, p.num, p.den})
		d.key = binary.AppendUvarint(d.key, g.id)
	}
	r := d.roleOf[string(d.key)]
	if r == nil {
		r = d.newRole(s.kind, string(d.key), bindings)
		d.roleOf[r.key] = r
	}
	r.refs++
	d.roles[s.number] = r
}

func (d *domain) newRole(kind rules.Kind, key string, bindings []binding) *role {
	windows := len(d.heads)
	r := &role{kind: kind, key: key, bindings: slices.Clone(bindings), uses: make([]use, windows+1)}
	for _, b := range bindings {
		rule := b.group.rule
		r.uses[rule.window] |= rule.use()
		if rule.short >= 0 {
			r.uses[rule.short] |= rule.use()
		}
		r.uses[windows] |= rule.use()
	}
	if kind == rules.KindChange {
		r.uses[windows] |= useCount
	}
	return r
}

// unbind takes a series out of its groups, if it is in them.
func (d *domain) unbind(s *series) {
	r := d.roles[s.number]
	if r == nil {
		return
	}
	d.roles[s.number] = nil
	if !s.own {
		d.live--
	}
	for _, b := range r.bindings {
		b.group.refs--
	}
	if r.refs--; r.refs == 0 {
		delete(d.roleOf, r.key)
	}
}

// bindings are what a series is to groups, none while it is not bound.
func (d *domain) bindings(s *series) []binding {
	if r := d.roles[s.number]; r != nil {
		return r.bindings
	}
	return nil
}

// sum is what all cells of a role have in a pane.
type sum struct {
	Cell          // but for its buckets
	own  bool     // the set of sessions is its own, not that of a cell
	few  []uint32 // buckets, as they are packed
	many dense    // the values that few had no room for
	hist bool     // there are any in many
}

// sumWords is how many words of buckets are kept as they are: to count them by code is worth it for more.
const sumWords = 256

// add takes in what is used of a cell.
func (s *sum) add(p *pane, c *seriesCell, u use) {
	if c.dist == 0 {
		s.Count += int64(c.count)
		return
	}
	h := &p.dists.heads[c.dist-1]
	s.Count += h.count
	if h.valued > 0 && (s.Valued == 0 || h.max > s.Max) {
		s.Max = h.max
	}
	s.Valued += h.valued
	s.Sum = s.Sum.Add(h.sum)
	s.Sessioned += h.sessioned
	if u&useValues != 0 {
		if len(s.few) > 0 && len(s.few)+int(h.n) > sumWords {
			s.many.addPacked(s.few, 1)
			s.few, s.hist = s.few[:0], true
		}
		s.few = append(s.few, p.dists.histogram(h)...)
	}
	if u&useSessions != 0 && h.sessions != nil {
		switch {
		case s.Sessions == nil:
			s.Sessions = h.sessions
			return
		case !s.own:
			s.Sessions, s.own = s.Sessions.clone(), true
		}
		s.Sessions.Union(h.sessions)
	}
}

// addTo adds the values to a histogram, sign times.
func (s *sum) addTo(d *dense, sign int64) {
	d.addPacked(s.few, sign)
	if s.hist {
		d.addAll(&s.many, sign)
	}
}

// valued says whether there are any buckets.
func (s *sum) valued() bool { return s.hist || len(s.few) > 0 }

// sumUp sums up what a closed pane has of each role that counts in the window of that number, len(d.heads) for any, and calls f with it.
func (d *domain) sumUp(p *pane, window int, f func(*role)) {
	d.summed = d.summed[:0]
	for i := range p.cells {
		c := &p.cells[i]
		r := d.roles[c.number]
		u := r.uses[window]
		if u == 0 {
			continue
		}
		if r.sum == nil {
			r.sum = d.newSum()
			d.summed = append(d.summed, r)
		}
		r.sum.add(p, c, u)
	}
	for _, r := range d.summed {
		f(r)
		d.reuse(r.sum)
		r.sum = nil
	}
}

// maxSums is how many sums are kept to be used again.
const maxSums = 1 << 10

func (d *domain) newSum() *sum {
	n := len(d.sums)
	if n == 0 {
		return &sum{}
	}
	s := d.sums[n-1]
	d.sums = d.sums[:n-1]
	return s
}

func (d *domain) reuse(s *sum) {
	if len(d.sums) == maxSums {
		return
	}
	clear(s.many.counts)
	*s = sum{few: s.few[:0], many: s.many}
	d.sums = append(d.sums, s)
}
