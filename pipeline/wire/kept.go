package wire

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sevwatch/detector"
)

// What a record of a partition's changelog is, by the first part of its key. docs/messages.md has the whole.
const (
	keptAt  = "kept" // up to which offset the changelog of the partition tells
	keptIDs = "ids"

	keptSeparator = "\x1f"
	idsVersion    = 1 // the first byte of a chunk of ids
)

// KeptPartition is the changelog of one source partition.
type KeptPartition struct {
	To int64 // offset: everything before it, and nothing else, is in Kept
	detector.Kept
	Keys []string // of all its records
}

// EncodeKept are the records that tell of what changed in what is kept of a partition, up to the offset to. A record without a value forgets
// one from before.
func EncodeKept(s detector.Source, to int64, k *detector.Kept) []Record {
	var out []Record
	add := func(value []byte, kind string, parts ...string) {
		key := append([]string{kind, s.Topic, strconv.Itoa(s.Partition)}, parts...)
		out = append(out, Record{Key: []byte(strings.Join(key, keptSeparator)), Value: value})
	}
	for _, ids := range k.IDs {
		var value []byte
		if len(ids.IDs) > 0 {
			value = append(make([]byte, 0, 1+len(detector.ID{})*len(ids.IDs)), idsVersion)
			for _, id := range ids.IDs {
				value = append(value, id[:]...)
			}
		}
		add(value, keptIDs, strconv.FormatInt(ids.Pane, 10), strconv.Itoa(ids.Chunk))
	}
	add(JSON(keptOffset{1, to}), keptAt)
	return out
}

type keptOffset struct {
	V  int   `json:"v"`
	To int64 `json:"to"`
}

// DecodeKept reads the records of a changelog, as compaction leaves them.
func DecodeKept(records []detector.Record) (map[detector.Source]*KeptPartition, error) {
	out := map[detector.Source]*KeptPartition{}
	for _, r := range records {
		if err := decodeKept(r, out); err != nil {
			return nil, fmt.Errorf("cannot read the state record %q: %w", r.Key, err)
		}
	}
	return out, nil
}

func decodeKept(r detector.Record, into map[detector.Source]*KeptPartition) error {
	parts := strings.Split(r.Key, keptSeparator)
	if len(parts) < 3 {
		return errors.New("its key is no partition's")
	}
	partition, err := strconv.Atoi(parts[2])
	if err != nil {
		return err
	}
	s := detector.Source{Topic: parts[1], Partition: partition}
	k := into[s]
	if k == nil {
		k = &KeptPartition{To: -1}
		into[s] = k
	}
	k.Keys = append(k.Keys, r.Key)
	switch kind, rest := parts[0], parts[3:]; {
	case kind == keptAt && len(rest) == 0:
		var at keptOffset
		err := decodeInside(r.Value, &at, &at.V)
		k.To = at.To
		return err
	case kind == keptIDs && len(rest) == 2:
		ids, err := decodeIDs(rest, r.Value)
		k.IDs = append(k.IDs, ids)
		return err
	default:
		return fmt.Errorf("%q with %d parts is unknown", kind, len(parts))
	}
}

func decodeIDs(key []string, value []byte) (k detector.KeptIDs, err error) {
	pane, err := strconv.ParseInt(key[0], 10, 64)
	chunk, bad := strconv.Atoi(key[1])
	if err = errors.Join(err, bad); err != nil {
		return k, err
	}
	k.Pane, k.Chunk = pane, chunk
	const size = len(detector.ID{})
	if len(value) <= 1 || value[0] != idsVersion || (len(value)-1)%size != 0 || len(value) > 1+size*detector.MaxChunk {
		return k, fmt.Errorf("%d bytes are no ids of version %d", len(value), idsVersion)
	}
	for id := range slices.Chunk(value[1:], size) {
		k.IDs = append(k.IDs, detector.ID(id))
	}
	return k, nil
}
