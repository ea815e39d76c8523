package detector

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"sevwatch/rules"
)

// Distinct is a set of sessions, or as much of it as is needed to say how many they are. It is a function of the set alone: in whatever
// order sessions are added and sets are united, and however often, the same set is the same Distinct. The zero value is the empty set.
type Distinct struct {
	Few  []uint64 `json:"few,omitempty"`  // the hashes of up to MaxFew sessions, in ascending order
	Many []byte   `json:"many,omitempty"` // of more: MaxFew*8 registers of HyperLogLog; then Few is nil
}

// MaxFew is how many sessions are counted exactly. The hashes of so many take as much room as the registers that more of them have.
const MaxFew = 256

// The registers of HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007): the first indexBits bits of a hash choose one, and it holds the
// largest rank of its hashes: one more than the number of zeros that the rest of the hash begins with. The standard error of the number
// is 1.04/sqrt(Registers), which is 2.3 %.
const (
	indexBits = 11
	Registers = 1 << indexBits
	MaxRank   = 64 - indexBits + 1
)

// SessionHash is what stands for a session in a set: the first 64 bits of SHA-256, the same on every machine and in every version. Of a
// hundred million sessions two have the same hash with a chance of one in four thousand.
func SessionHash(session []byte) uint64 {
	id := IDOf(session)
	return binary.BigEndian.Uint64(id[:])
}

// Check says what is wrong with a set that was read, which must not be empty.
func (d *Distinct) Check() error {
	if d.Many == nil {
		if n := len(d.Few); n == 0 || n > MaxFew {
			return fmt.Errorf("%d sessions are listed, expected 1 to %d", n, MaxFew)
		}
		for i := range d.Few[1:] {
			if d.Few[i] >= d.Few[i+1] {
				return errors.New("the sessions are not in order")
			}
		}
		return nil
	}
	if len(d.Few) > 0 || len(d.Many) != Registers {
		return fmt.Errorf("there are %d registers beside %d sessions, expected %d and none", len(d.Many), len(d.Few), Registers)
	}
	if high := slices.Max(d.Many); high == 0 || high > MaxRank {
		return fmt.Errorf("the largest register holds %d, expected 1 to %d", high, MaxRank)
	}
	return nil
}

// Add adds a session by its hash.
func (d *Distinct) Add(hash uint64) {
	if d.Many != nil {
		d.rank(hash)
		return
	}
	i, there := slices.BinarySearch(d.Few, hash)
	if there {
		return
	}
	d.Few = slices.Insert(d.Few, i, hash)
	if len(d.Few) > MaxFew {
		d.grow()
	}
}

// grow goes over to registers.
func (d *Distinct) grow() {
	few := d.Few
	d.Few, d.Many = nil, make([]byte, Registers)
	for _, hash := range few {
		d.rank(hash)
	}
}

// rank notes a hash in its register.
func (d *Distinct) rank(hash uint64) {
	rank := byte(min(bits.LeadingZeros64(hash<<indexBits)+1, MaxRank))
	if r := &d.Many[hash>>(64-indexBits)]; *r < rank {
		*r = rank
	}
}

// Union adds all sessions of another set. It keeps nothing of that.
func (d *Distinct) Union(o *Distinct) {
	if o.Many == nil {
		d.addAll(o.Few)
		return
	}
	if d.Many == nil {
		few := d.Few
		d.Few, d.Many = nil, slices.Clone(o.Many)
		for _, hash := range few {
			d.rank(hash)
		}
		return
	}
	largest(d.Many, o.Many)
}

// addAll adds hashes that are in ascending order.
func (d *Distinct) addAll(hashes []uint64) {
	if d.Many != nil {
		for _, hash := range hashes {
			d.rank(hash)
		}
		return
	}
	mine := d.Few
	all := make([]uint64, 0, len(mine)+len(hashes))
	for len(mine) > 0 && len(hashes) > 0 {
		next := min(mine[0], hashes[0])
		if mine[0] == next {
			mine = mine[1:]
		}
		if hashes[0] == next {
			hashes = hashes[1:]
		}
		all = append(all, next)
	}
	d.Few = append(append(all, mine...), hashes...)
	if len(d.Few) > MaxFew {
		d.grow()
	}
}

// largest makes each register of a the larger of the two, eight at a time: no rank has the highest bit of its byte, so a difference that keeps
// the bit tells that nothing was borrowed.
func largest(a, b []byte) {
	const high = 0x8080808080808080
	for i := 0; i < len(a); i += 8 {
		x, y := binary.LittleEndian.Uint64(a[i:]), binary.LittleEndian.Uint64(b[i:])
		keep := ((x | high) - y) & high >> 7 * 0xff // all bits of the bytes in which x is not the smaller one
		binary.LittleEndian.PutUint64(a[i:], x&keep|y&^keep)
	}
}

// clone shares nothing with the set.
func (d *Distinct) clone() *Distinct {
	return &Distinct{Few: slices.Clone(d.Few), Many: slices.Clone(d.Many)}
}

// united is the union of two sets of which each may be nil. It may be the first of them, changed; nothing of the second is kept.
func united(d, o *Distinct) *Distinct {
	switch {
	case o == nil:
		return d
	case d == nil:
		return o.clone()
	default:
		d.Union(o)
		return d
	}
}

// count is how many sessions are in the set, of so many events that came of them: exact, or an estimate that contradicts nothing that is known.
func (d *Distinct) count(events int64) rules.Sessions {
	if d.Many == nil {
		return rules.Sessions{N: int64(len(d.Few))}
	}
	n := min(max(d.estimate(), MaxFew+1), float64(events))
	return rules.Sessions{N: int64(n + 0.5), About: true}
}

// estimate is the improved raw estimator of Otmar Ertl, New cardinality estimation algorithms for HyperLogLog sketches (2017,
// arXiv:1702.01284), algorithm 6. It is unbiased over the whole range and needs no table. Square roots are exact in IEEE 754 and
// products are rounded before they are added, so it is the same on every machine.
func (d *Distinct) estimate() float64 {
	var of [MaxRank + 1]int // how many registers hold each rank
	for _, rank := range d.Many {
		of[rank]++
	}
	const m, alpha = float64(Registers), 0.7213475204444817 // 1/(2 ln 2)
	z := float64(m * tau(1-float64(of[MaxRank])/m))
	for rank := MaxRank - 1; rank >= 1; rank-- {
		z = (z + float64(of[rank])) / 2
	}
	z += float64(m * sigma(float64(of[0])/m))
	return alpha * m * m / z
}

// sigma stands for the registers that hold nothing, a share x of all: x + the sum over k of x^(2^k) * 2^(k-1).
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	for sum, weight := x, 1.0; ; weight *= 2 {
		x *= x
		next := sum + float64(x*weight)
		if next == sum {
			return sum
		}
		sum = next
	}
}

// tau stands for the registers that hold the largest rank; x is the share of the others.
func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	for sum, weight := 1-x, 0.5; ; weight /= 2 {
		x = math.Sqrt(x)
		next := sum - float64(float64((1-x)*(1-x))*weight)
		if next == sum {
			return sum / 3
		}
		sum = next
	}
}
