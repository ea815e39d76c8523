package detector

import (
	"math/bits"

	"sevwatch/rules"
)

// Sum is a sum of integers that cannot overflow: Hi*2^64 + Lo, in millionths of a unit.
type Sum struct {
	Hi int64  `json:"hi"`
	Lo uint64 `json:"lo"`
}

// Add is s + o.
func (s Sum) Add(o Sum) Sum {
	lo, carry := bits.Add64(s.Lo, o.Lo, 0)
	return Sum{Hi: s.Hi + o.Hi + int64(carry), Lo: lo}
}

// times is s or, for a sign of -1, -s.
func (s Sum) times(sign int64) Sum {
	if sign > 0 {
		return s
	}
	lo, borrow := bits.Sub64(0, s.Lo, 0)
	return Sum{Hi: -s.Hi - int64(borrow), Lo: lo}
}

// mean is the mean of n values, in units, whose sum it is; 0 of nothing. It is exact where it is a whole number of millionths that a float64 holds.
func (s Sum) mean(n int64) float64 {
	if n == 0 {
		return 0
	}
	if s.Hi < 0 {
		return -s.times(-1).mean(n)
	}
	whole, rest := bits.Div64(uint64(s.Hi), s.Lo, uint64(n))
	return (float64(whole) + float64(rest)/float64(n)) / 1e6
}

func sumOf(v int64) Sum { return Sum{Hi: v >> 63, Lo: uint64(v)} }

// Cell is what one series counted in one pane.
type Cell struct {
	Count   int64   `json:"count"`
	Valued  int64   `json:"valued,omitempty"` // how many of them carried a value
	Sum     Sum     `json:"sum,omitzero"`     // of the values, in millionths
	Max     int64   `json:"max,omitempty"`    // largest value; of no meaning without values
	Buckets Buckets `json:"buckets,omitzero"` // of the values

	Sessioned int64     `json:"sessioned,omitempty"` // how many told of their session, where sessions are counted
	Sessions  *Distinct `json:"sessions,omitempty"`  // which sessions those were; nil without
}

// Mean is the mean of the values, in their unit; 0 of nothing.
func (c *Cell) Mean() float64 { return c.Sum.mean(c.Valued) }

// Merge adds what another cell counted. It gives the same in any order.
func (c *Cell) Merge(o *Cell) {
	if o.Valued > 0 && (c.Valued == 0 || o.Max > c.Max) {
		c.Max = o.Max
	}
	c.Count += o.Count
	c.Valued += o.Valued
	c.Sum = c.Sum.Add(o.Sum)
	c.Buckets.merge(o.Buckets, 1)
	c.Sessioned += o.Sessioned
	c.Sessions = united(c.Sessions, o.Sessions)
}

// SeriesDelta is what one series gained in the delta's pane.
type SeriesDelta struct {
	Kind   rules.Kind
	Labels []Label // sorted by name, no empty values
	Cell
	Known *KnownSeries `json:"-"` // as Judge.Known has found it; nil: it was not asked
}

// Delta is what one pane of one domain gained since the task's last flush. Deltas may be merged in any order and grouping.
type Delta struct {
	Domain string
	Pane   int64 // start of the pane, epoch ms
	Series []SeriesDelta
}

// check says what is wrong with the histograms and the sets of sessions of a delta that was read.
func (d *Delta) check() error {
	for i := range d.Series {
		if err := d.Series[i].Buckets.check(); err != nil {
			return err
		}
		if set := d.Series[i].Sessions; set != nil {
			if err := set.Check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// PartitionSet names all source partitions there are, as a task knows them.
type PartitionSet struct {
	Version int            `json:"version"` // how many they are
	Topics  map[string]int `json:"topics"`  // partitions a topic
}

// covers says whether it names all partitions that another names.
func (s PartitionSet) covers(other PartitionSet) bool {
	for _, topic := range SortedKeys(other.Topics) {
		if s.Topics[topic] < other.Topics[topic] {
			return false
		}
	}
	return true
}

// same says whether both name the same partitions.
func (s PartitionSet) same(other PartitionSet) bool { return s.covers(other) && other.covers(s) }

// union names the partitions that either names.
func union(x, y PartitionSet) PartitionSet {
	all := PartitionSet{max(x.Version, y.Version), map[string]int{}}
	for _, s := range []PartitionSet{x, y} {
		for _, topic := range SortedKeys(s.Topics) {
			all.Topics[topic] = max(all.Topics[topic], s.Topics[topic])
		}
	}
	return all
}

// Totals count every record of a partition since the topics were made; together they are all that was consumed. All but Held only grow.
type Totals struct {
	Counted   int64 `json:"counted"`
	Late      int64 `json:"late"`
	Rejected  int64 `json:"rejected"`
	Duplicate int64 `json:"duplicate"`
	Control   int64 `json:"control"`        // offsets that hold a transaction's marker
	Aborted   int64 `json:"aborted"`        // offsets of an aborted transaction, or compacted away
	Held      int64 `json:"held,omitempty"` // records that the future guard holds now; each is counted or rejected in the end
}

// Sum is how many offsets the totals account for.
func (t Totals) Sum() int64 {
	return t.Counted + t.Late + t.Rejected + t.Duplicate + t.Control + t.Aborted + t.Held
}

// Add adds the totals of another partition.
func (t *Totals) Add(o Totals) {
	t.Counted += o.Counted
	t.Late += o.Late
	t.Rejected += o.Rejected
	t.Duplicate += o.Duplicate
	t.Control += o.Control
	t.Aborted += o.Aborted
	t.Held += o.Held
}

// Before says whether the totals are those of an earlier time than o, of the same partitions.
func (t Totals) Before(o Totals) bool {
	return t.Sum() < o.Sum() || t.Sum() == o.Sum() && t.Held > o.Held
}

// PartitionProgress says how far one source partition has come: the offsets [From, To) are in the deltas before this record.
type PartitionProgress struct {
	Source
	From      int64 `json:"from"`
	To        int64 `json:"to"`
	Watermark int64 `json:"watermark"`
	Totals
}

// PaneEvents says how many events a pane gained over all domains.
type PaneEvents struct {
	Pane   int64 `json:"pane"`
	Events int64 `json:"events"`
}

// Span is a stretch of event time, [From, To).
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Progress is how far an aggregate task has come. All deltas of the same flush come before it.
type Progress struct {
	V          int                 `json:"v"`
	Task       int                 `json:"task"`
	Tasks      int                 `json:"tasks"`
	Set        PartitionSet        `json:"set"`
	Partitions []PartitionProgress `json:"partitions"`
	Events     []PaneEvents        `json:"events"`
	Silent     []Span              `json:"silent"` // it is on record that nothing came, although all were listening
}

// Idle is one line of a mark: a partition has nothing more to say for now, and event time there is To, plus the broker time
// between Since and the mark's own LogAppendTime where Since is given.
type Idle struct {
	Source
	Before int64 `json:"before"` // the mark applies between the records Before-1 and Before
	To     int64 `json:"to"`
	Since  int64 `json:"since,omitempty"` // broker time, epoch ms
}
