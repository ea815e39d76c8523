package detector

import (
	"encoding/binary"
	"slices"

	"sevwatch/rules"
)

// selection is the rules that select a series, and what it is to them. Most series have one of a few.
type selection struct {
	id    uint64
	kind  rules.Kind
	rules []selected
	uses  []use // by number of the window, and of all together behind the last
}

// selected is that a rule selects a series, as its numerator, its denominator or both.
type selected struct {
	rule     *ruleState
	num, den bool
}

// role is the part that a series plays in the groups of rules. Series whose labels differ only where no rule looks play the same one: what they have
// in a pane is summed up, and added to the windows of the groups at once.
type role struct {
	*selection
	groups []*group // of the selection's rules
	next   *role    // another one of the same hash
	sum    *sum     // while a pane is summed up: of more than one cell
	first  int32    // likewise: one more than the number of the first cell in the pane; 0: there was none yet
	refs   int32    // series that play it
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
		sel = d.newSelection(s.kind, slices.Clone(chosen))
		d.selections[string(d.key)] = sel
	}
	return sel
}

func (d *domain) newSelection(kind rules.Kind, chosen []selected) *selection {
	windows := len(d.heads)
	sel := &selection{id: uint64(len(d.selections)), kind: kind, rules: chosen, uses: make([]use, windows+1)}
	for _, c := range chosen {
		sel.uses[c.rule.window] |= c.rule.use()
		if c.rule.short >= 0 {
			sel.uses[c.rule.short] |= c.rule.use()
		}
		sel.uses[windows] |= c.rule.use()
	}
	if kind == rules.KindChange {
		sel.uses[windows] |= useCount
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
	var room [8]*group
	groups := room[:0]
	for _, c := range s.selection.rules {
		g := d.groupOf(c.rule, s)
		g.refs++
		groups = append(groups, g)
	}
	hash := hashOfRole(s.selection, groups)
	r := d.roleOf[hash]
	for r != nil && (r.selection != s.selection || !slices.Equal(r.groups, groups)) {
		r = r.next
	}
	if r == nil {
		r = &role{selection: s.selection, groups: slices.Clone(groups), next: d.roleOf[hash]}
		d.roleOf[hash] = r
	}
	r.refs++
	d.roles[s.number] = r
}

// hashOfRole is a hash by which a role is found.
func hashOfRole(sel *selection, groups []*group) uint64 {
	h := mix(prime0^sel.id, prime1)
	for _, g := range groups {
		h = mix(h^g.id, prime1)
	}
	return h
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
	for _, g := range r.groups {
		g.refs--
	}
	if r.refs--; r.refs == 0 {
		d.dropRole(r)
	}
}

// dropRole lets go of a role that nobody plays any more.
func (d *domain) dropRole(r *role) {
	hash := hashOfRole(r.selection, r.groups)
	x := d.roleOf[hash]
	switch {
	case x == r && r.next == nil:
		delete(d.roleOf, hash)
		return
	case x == r:
		d.roleOf[hash] = r.next
		return
	}
	for x.next != r {
		x = x.next
	}
	x.next = r.next
}

// partIn is what a series is to a group: part of its numerator, of its denominator, of both or of neither.
func (d *domain) partIn(g *group, s *series) (num, den bool) {
	r := d.roles[s.number]
	if r == nil {
		return false, false
	}
	i := slices.Index(r.groups, g)
	if i < 0 {
		return false, false
	}
	return r.rules[i].num, r.rules[i].den
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
func (d *domain) sumUp(p *pane, window int, f func(*role, *sum)) {
	d.summed = d.summed[:0]
	for i := range p.cells {
		c := &p.cells[i]
		r := d.roles[c.number]
		u := r.uses[window]
		switch {
		case u == 0:
		case r.first == 0:
			r.first = int32(i + 1)
			d.summed = append(d.summed, r)
		case r.sum == nil:
			r.sum = d.newSum()
			r.sum.add(p, &p.cells[r.first-1], u)
			fallthrough
		default:
			r.sum.add(p, c, u)
		}
	}
	for _, r := range d.summed {
		s := r.sum
		if s == nil {
			s = d.newSum()
			s.add(p, &p.cells[r.first-1], r.uses[window])
		}
		f(r, s)
		d.reuse(s)
		r.sum, r.first = nil, 0
	}
}

// maxSums is how many sums are kept to be used again.
const maxSums = 1 << 12

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
	if s.hist {
		clear(s.many.counts)
	}
	*s = sum{few: s.few[:0], many: s.many}
	d.sums = append(d.sums, s)
}
