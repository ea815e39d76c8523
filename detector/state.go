package detector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sevwatch/rules"
)

// stateVersion is the format of everything below.
const stateVersion = 1

// Record is one entry of a judge's state: a key and its present value, nil when it is forgotten.
type Record struct {
	Key   string
	Value []byte
}

// groupState is what is kept of a group besides its window.
type groupState struct {
	V        int       `json:"v"`
	Rule     string    `json:"rule"`
	RuleHash string    `json:"rule_hash"`
	Labels   []Label   `json:"labels,omitempty"`
	First    int64     `json:"first_pane"`
	Last     int64     `json:"last_data"`
	Silent   int64     `json:"silent,omitempty"`
	Alive    bool      `json:"alive,omitempty"`
	Usual    *baseline `json:"usual,omitempty"`
	life
}

// domainState is what is kept of a domain besides its groups.
type domainState struct {
	V       int      `json:"v"`
	Changes []Change `json:"changes"`
}

type edgeState struct {
	V    int   `json:"v"`
	Edge int64 `json:"edge"`
}

const keySeparator = "\x1f"

// Changes are the records of the state that differ from those returned before, in order of their keys. Together with the panes that
// a window still needs they are all there is to a judge.
func (j *Judge) Changes() []Record {
	var out []Record
	for _, name := range sortedKeys(j.domains) {
		out = append(out, j.domains[name].changesOfState()...)
	}
	if len(out) > 0 || j.edge != never {
		out = append(out, Record{Key: "edge", Value: encode(edgeState{stateVersion, j.edge})})
	}
	slices.SortFunc(out, func(x, y Record) int { return strings.Compare(x.Key, y.Key) })
	return out
}

func (d *domain) changesOfState() []Record {
	var out []Record
	for _, g := range d.order {
		if g.first == never && g.saved == nil || g.settled() {
			continue
		}
		value := g.encode()
		if !bytes.Equal(value, g.saved) {
			g.saved = value
			out = append(out, Record{Key: d.name + keySeparator + g.rule.Alert + keySeparator + g.key, Value: value})
		}
	}
	if value := encode(domainState{stateVersion, d.changes}); len(d.changes) > 0 && !bytes.Equal(value, d.saved) {
		d.saved = value
		out = append(out, Record{Key: d.name + keySeparator + "changes", Value: value})
	}
	return out
}

// settled says cheaply that nothing changed since the state was saved: a healthy group, known before, whose only news are data.
func (g *group) settled() bool {
	return g.saved != nil && g.savedClean && g.first != never && g.life.clean() && g.usual == nil && g.rule.Signal.Type != rules.SignalAbsence
}

// encode is the group's state, nil if it is unknown. When it last had data is told only if the panes in the window do not.
func (g *group) encode() []byte {
	if g.first == never {
		g.savedClean = false
		return nil
	}
	s := g.state()
	if g.cells > 0 {
		s.Last = 0
	}
	g.savedClean = g.life.clean()
	return encode(s)
}

func (g *group) state() groupState {
	return groupState{
		V: stateVersion, Rule: g.rule.Alert, RuleHash: g.rule.identity, Labels: g.labels,
		First: g.first, Last: g.last, Silent: g.silent, Alive: g.alive, Usual: g.usual, life: g.life,
	}
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: cannot encode %T: %v", v, err))
	}
	return data
}

// snapshot is a whole judge as bytes: its state and the panes that its windows need.
type snapshot struct {
	V          int                 `json:"v"`
	Edge       int64               `json:"edge"`
	Set        PartitionSet        `json:"set"`
	Partitions []PartitionProgress `json:"partitions"`
	Events     []PaneEvents        `json:"events"`
	Silent     []Span              `json:"silent"`
	Seen       []seen              `json:"seen"` // observed panes of the longest window
	Lost       int64               `json:"lost"`
	Late       int64               `json:"late"`
	Domains    []domainSnapshot    `json:"domains"`
}

type domainSnapshot struct {
	Name    string       `json:"name"`
	Panes   []Delta      `json:"panes"`
	Groups  []groupState `json:"groups"`
	Changes []Change     `json:"changes"`
}

// Snapshot is the judge as bytes. A judge restored from it goes on as if nothing had happened.
func (j *Judge) Snapshot() []byte {
	s := snapshot{V: stateVersion, Edge: j.edge, Set: j.set, Silent: j.silent, Lost: j.lost, Late: j.late}
	for _, source := range j.sources() {
		s.Partitions = append(s.Partitions, *j.partitions[source])
	}
	for _, start := range sortedKeys(j.events) {
		s.Events = append(s.Events, PaneEvents{start, j.events[start]})
	}
	longest := int64(0)
	for _, w := range j.windows {
		if w.length > longest {
			longest, s.Seen = w.length, w.inside
		}
	}
	for _, name := range sortedKeys(j.domains) {
		s.Domains = append(s.Domains, j.domains[name].snapshot())
	}
	return encode(s)
}

func (d *domain) snapshot() domainSnapshot {
	s := domainSnapshot{Name: d.name, Changes: d.changes}
	for _, p := range d.panes {
		delta := Delta{Domain: d.name, Pane: p.start}
		for _, c := range p.cells {
			delta.Series = append(delta.Series, SeriesDelta{c.series.kind, c.series.labels, c.Cell})
		}
		s.Panes = append(s.Panes, delta)
	}
	for _, g := range d.order {
		if g.first != never {
			s.Groups = append(s.Groups, g.state())
		}
	}
	return s
}

// Restore is the judge that a snapshot was taken of. The rules must be those of then.
func Restore(cfg Config, file *rules.File, data []byte) (*Judge, error) {
	var s snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("cannot read the snapshot: %w", err)
	}
	if s.V != stateVersion {
		return nil, fmt.Errorf("cannot read a snapshot of version %d, expected %d", s.V, stateVersion)
	}
	j := NewJudge(cfg, file)
	j.edge, j.set, j.silent, j.lost, j.late = s.Edge, s.Set, s.Silent, s.Lost, s.Late
	for _, p := range s.Partitions {
		j.partitions[p.Source] = &p
	}
	for _, e := range s.Events {
		j.events[e.Pane] = e.Events
	}
	for _, w := range j.windows {
		for _, x := range s.Seen {
			if x.Start >= s.Edge-w.length {
				w.slide(s.Edge, x, true)
			}
		}
	}
	for _, ds := range s.Domains {
		if err := j.domain(ds.Name).restore(ds, s.Edge, j.windows); err != nil {
			return nil, err
		}
	}
	return j, nil
}

func (d *domain) restore(s domainSnapshot, edge int64, windows []*windowCount) error {
	d.changes = s.Changes
	for i := range s.Panes {
		d.merge(&s.Panes[i])
	}
	for d.closed < len(d.panes) && d.panes[d.closed].start < edge {
		p := d.panes[d.closed]
		p.index = nil
		for i := range p.cells {
			for k := range p.cells[i].series.bindings {
				b := &p.cells[i].series.bindings[k]
				b.group.move(b, &p.cells[i].Cell, 1)
			}
		}
		d.closed++
	}
	d.leave(edge, windows)
	for _, gs := range s.Groups {
		i := slices.IndexFunc(d.rules, func(r *ruleState) bool { return r.identity == gs.RuleHash })
		if i < 0 || len(gs.Tiers) != len(d.rules[i].Severities) {
			return fmt.Errorf("cannot restore a group of rule %s: the rules have changed", gs.Rule)
		}
		g := d.groupFor(d.rules[i], gs.Labels)
		g.first, g.last, g.silent, g.alive, g.life = gs.First, gs.Last, gs.Silent, gs.Alive, gs.life
		if gs.Usual != nil {
			g.usual = gs.Usual
		}
	}
	return nil
}
