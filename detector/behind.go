package detector

import "math/bits"

// Behind counts how far records came behind their partition: behind the largest time that was accepted there, or that marks moved it on to.
// It says which lateness would have been enough, and is part of no message and no state. It costs a few instructions a record and no memory.
//
// A lateness of a record's distance would have kept it, whatever the lateness was. Distances are counted in buckets, eight to a power of two
// of milliseconds, and the answer is the upper bound of one: never too small, and at most an eighth too large. A shorter lateness may have
// been enough by up to a pane, because only what is older than a whole closed pane is late. The distance of a record of several events is
// that of its oldest; records that the guard holds are not counted.
type Behind struct {
	counts [behindBuckets]int64
}

// Distances of up to 2^40 ms are told apart; the last bucket has all beyond.
const (
	behindSteps   = 8
	behindBuckets = behindSteps * (40 - 2)
)

// note counts a record that came so many milliseconds behind; below 0: ahead.
func (b *Behind) note(ms int64) { b.counts[behindBucket(max(0, ms))]++ }

// behindBucket is the bucket of ms: those below 8 have one each, then there are eight from a power of two to the next.
func behindBucket(ms int64) int {
	if ms < behindSteps {
		return int(ms)
	}
	octave := bits.Len64(uint64(ms)) - 4 // 8 to 15: 0
	return min(behindSteps*octave+int(ms>>octave), behindBuckets-1)
}

// behindBound is the largest distance of a bucket.
func behindBound(bucket int) int64 {
	if bucket < 2*behindSteps {
		return int64(bucket)
	}
	octave := bucket/behindSteps - 1
	return (int64(bucket%behindSteps+behindSteps)+1)<<octave - 1
}

// Add counts what another has counted.
func (b *Behind) Add(o Behind) {
	for i, n := range o.counts {
		b.counts[i] += n
	}
}

// Records is how many were counted.
func (b *Behind) Records() int64 {
	var n int64
	for _, c := range b.counts {
		n += c
	}
	return n
}

// Lateness is the least one, in milliseconds, that would have kept the share of perMille/1000 of the records; 0 of none.
func (b *Behind) Lateness(perMille int64) int64 {
	n := b.Records()
	want := n - n*(1000-perMille)/1000
	var seen int64
	for i, c := range b.counts {
		if seen += c; seen >= want {
			return behindBound(i)
		}
	}
	panic("BUG: more records are wanted than there are")
}
