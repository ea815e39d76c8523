package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
)

// taken is what is known of how far an aggregate task's partitions were read.
type taken struct {
	group   string
	offsets map[partition]kafka.OffsetFetchPartition       // of the group
	told    map[detector.Source]detector.PartitionProgress // what the log knows, where the group has no offset of some partition
	notes   notes
}

// startAt is where a source partition is taken up.
type startAt struct {
	offset int64
	state  detector.PartitionState
	lost   int64 // up to which everything was accounted for: the offsets [lost, offset), if any, are gone and were never read
}

// where takes a partition up at the committed offset or, where the group has none, at what the log knows of it; known says that there was
// either. What the topic has let go of meanwhile is lost, and told. Of another topic than the one that was read nothing is known: that is an error.
func (t *taken) where(s detector.Source, topic fetch.TopicID, there span) (at startAt, known bool, err error) {
	at = startAt{offset: there.first, state: detector.NewPartitionState()}
	committed, known := t.offsets[partition{s.Topic, s.Partition}]
	progress, told := t.told[s]
	byHand := known && committed.Metadata == "" && told
	switch {
	case byHand && committed.CommittedOffset < progress.To:
		return at, known, fmt.Errorf("cannot go on with %s/%d: the offset %d that the group %s has was committed by hand, and it was read up to offset %d: commit that",
			s.Topic, s.Partition, committed.CommittedOffset, t.group, progress.To)
	case byHand && committed.CommittedOffset == progress.To, told && !known:
		if err := t.same(s, topic, known, progress); err != nil {
			return at, known, err
		}
		at.offset, at.state.Watermark, at.state.Totals, known = progress.To, progress.Watermark, progress.Totals, progress.Watermark != unknown
		at.state.Totals.Aborted += at.state.Totals.Held // nobody knows any more which records were held
		at.state.Totals.Held = 0
	case known:
		b, err := readBeside(committed)
		switch {
		case err != nil:
			return at, known, fmt.Errorf("cannot read what was kept with the offset of %s/%d: %w", s.Topic, s.Partition, err)
		case topic == (fetch.TopicID{}) && b.Topic != topic:
			return at, known, unknownTopic(s)
		case b.Topic != topic && b.Topic != (fetch.TopicID{}):
			return at, known, t.another(s, max(committed.CommittedOffset, b.Read), otherID(b.Topic, topic))
		}
		at.offset, at.state = committed.CommittedOffset, b.PartitionState
	}
	if at.offset > there.end {
		return at, known, fmt.Errorf("cannot go on at offset %d of %s/%d: the log ends at %d; was the topic made anew?",
			at.offset, s.Topic, s.Partition, there.end)
	}
	at.offset, at.lost = at.state.Begin(at.offset, there.first)
	return at, known, nil
}

// same says why a topic that the log knows is another one now, nil if it is the same or nobody knows better. An offset that was committed by hand says that it is.
func (t *taken) same(s detector.Source, topic fetch.TopicID, byHand bool, progress detector.PartitionProgress) error {
	was := t.notes.Topics[noteOf(s.Topic)]
	switch {
	case byHand || progress.Sum() == 0: // one that was added and not read yet has no offset either
		return nil
	case topic == (fetch.TopicID{}):
		return unknownTopic(s)
	case was == topic:
		return nil
	case was != (fetch.TopicID{}):
		return t.another(s, progress.To, otherID(was, topic))
	case t.notes.Sources != nil && t.notes.has(s.Topic):
		return t.another(s, progress.To, "and the broker has let go of that offset alone, as it does when a topic is deleted")
	}
	return nil
}

func unknownTopic(s detector.Source) error {
	return fmt.Errorf("cannot go on with %s/%d yet: the broker that was asked does not know the topic", s.Topic, s.Partition)
}

func otherID(was, now fetch.TopicID) string {
	return fmt.Sprintf("while the topic's id was %s; it is %s now", was, now)
}

// another is why a partition is not read on.
func (t *taken) another(s detector.Source, offset int64, why string) error {
	return fmt.Errorf("cannot go on with %s/%d: it was read up to offset %d, %s. What has its name now is another topic: without it among the sources the others go on; "+
		"give it another name, or read it by a pipeline of its own. If it is the same one, commit offset %d of it for the group %s while no worker is at work",
		s.Topic, s.Partition, offset, why, offset, t.group)
}

// beside is what is kept beside the offset of a source partition.
type beside struct {
	detector.PartitionState
	Topic fetch.TopicID `json:"topic,omitzero"`
}

// readBeside is what was kept beside an offset; nothing where it was committed by hand.
func readBeside(committed kafka.OffsetFetchPartition) (beside, error) {
	b := beside{PartitionState: detector.NewPartitionState()}
	if committed.Metadata == "" {
		return b, nil
	}
	return b, json.Unmarshal([]byte(committed.Metadata), &b)
}

// notes are what a task notes beside its offset in the marks topic. Sources are known by a hash of their topics' names.
type notes struct {
	Sources  []string                 `json:"sources"`            // that it has partitions of; none: the task is of before there were notes
	Settings string                   `json:"settings,omitempty"` // a hash
	Topics   map[string]fetch.TopicID `json:"topics,omitempty"`   // by source, also of those that it had once
}

func notesOf(noted string) (n notes, err error) {
	if noted == "" {
		return n, nil
	}
	if err = json.Unmarshal([]byte(noted), &n); err != nil {
		err = fmt.Errorf("cannot read what was kept with an offset: %w", err)
	}
	return n, err
}

// has says whether the task had noted the source.
func (n *notes) has(topic string) bool {
	return n.Sources == nil || slices.Contains(n.Sources, noteOf(topic))
}

// A broker takes 4,096 bytes beside an offset. So many are left to lists of sources, of which each takes so many, and its id.
const (
	roomOfNotes = 3800
	noteBytes   = len(`"0123abcd",`)
	idBytes     = len(`"0123abcd":"AAAAAAAAAAAAAAAAAAAAAA",`)
)

// keep keeps ids of sources that are not kept yet, as many as there is room for.
func (n *notes) keep(ids map[string]fetch.TopicID) {
	room := (roomOfNotes - noteBytes*len(n.Sources)) / idBytes
	for _, source := range slices.Sorted(maps.Keys(ids)) {
		if _, ok := n.Topics[source]; !ok && len(n.Topics) < room {
			n.Topics[source] = ids[source]
		}
	}
}

func noteOf(topic string) string {
	hash := sha256.Sum256([]byte(topic))
	return hex.EncodeToString(hash[:4])
}
