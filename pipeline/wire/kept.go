package wire

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sevwatch/detector"
	"sevwatch/rules"
)

// What a record of a partition's changelog is, by the first part of its key. docs/messages.md has the whole.
const (
	keptAt     = "kept" // up to which offset the changelog of the partition tells
	keptIDs    = "ids"
	keptVisits = "visits"

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
	chunk := func(value []byte, kind string, pane int64, chunk int) {
		add(value, kind, strconv.FormatInt(pane, 10), strconv.Itoa(chunk))
	}
	for _, ids := range k.IDs {
		var value []byte
		if len(ids.Items) > 0 {
			value = append(make([]byte, 0, 1+len(detector.ID{})*len(ids.Items)), idsVersion)
			for _, id := range ids.Items {
				value = append(value, id[:]...)
			}
		}
		chunk(value, keptIDs, ids.Pane, ids.Chunk)
	}
	for _, visits := range k.Visits {
		chunk(encodeVisits(visits.Items), keptVisits, visits.Pane, visits.Chunk)
	}
	at := keptOffset{V: 1, To: to}
	if k.Terms != "" {
		at.Sessions = &keptSessions{k.Terms, k.Until, k.Resume}
	}
	add(JSON(at), keptAt)
	return out
}

type keptOffset struct {
	V        int           `json:"v"`
	To       int64         `json:"to"`
	Sessions *keptSessions `json:"sessions,omitempty"`
}

type keptSessions struct {
	Terms  string `json:"terms"`
	Until  int64  `json:"until"`
	Resume int64  `json:"resume"`
}

// visits is a chunk of visits. Labels are those of the visits that entered: each set of them once.
type visits struct {
	V      int                `json:"v"`
	Labels [][]detector.Label `json:"labels"`
	Visits []visit            `json:"visits"`
}

type visit struct {
	Key      []byte `json:"k"`
	Time     int64  `json:"t"`
	Deadline int64  `json:"d"`
	Labels   int    `json:"l,omitempty"` // one more than their place; 0: it is a completion
	Void     bool   `json:"x,omitempty"`
	Session  uint64 `json:"s,omitempty"`
}

func encodeVisits(items []*detector.Visit) []byte {
	if len(items) == 0 {
		return nil
	}
	out := visits{V: 1}
	places := map[string]int{}
	for _, v := range items {
		w := visit{Key: v.Key[:], Time: v.Time, Deadline: v.Deadline, Void: v.Void, Session: v.Session}
		if !v.Complete {
			key := string(detector.AppendSeriesKey(nil, rules.KindStep, v.Labels))
			if places[key] == 0 {
				out.Labels = append(out.Labels, v.Labels)
				places[key] = len(out.Labels)
			}
			w.Labels = places[key]
		}
		out.Visits = append(out.Visits, w)
	}
	return JSON(out)
}

func decodeVisits(value []byte) (items []*detector.Visit, err error) {
	var in visits
	if err := decodeInside(value, &in, &in.V); err != nil {
		return nil, err
	}
	if len(in.Visits) == 0 {
		return nil, errors.New("there are no visits in it")
	}
	for _, w := range in.Visits {
		v := &detector.Visit{Time: w.Time, Deadline: w.Deadline, Complete: w.Labels == 0, Void: w.Void, Session: w.Session}
		if len(w.Key) != len(v.Key) || w.Labels < 0 || w.Labels > len(in.Labels) {
			return nil, fmt.Errorf("a visit has a key of %d bytes and labels %d of %d", len(w.Key), w.Labels, len(in.Labels))
		}
		copy(v.Key[:], w.Key)
		if !v.Complete {
			v.Labels = in.Labels[w.Labels-1]
		}
		items = append(items, v)
	}
	return items, nil
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
		if s := at.Sessions; s != nil {
			k.Terms, k.Until, k.Resume = s.Terms, s.Until, s.Resume
		}
		return err
	case kind == keptIDs && len(rest) == 2:
		k.IDs, err = decodeChunk(k.IDs, rest, r.Value, decodeIDs)
		return err
	case kind == keptVisits && len(rest) == 2:
		k.Visits, err = decodeChunk(k.Visits, rest, r.Value, decodeVisits)
		return err
	default:
		return fmt.Errorf("%q with %d parts is unknown", kind, len(parts))
	}
}

// decodeChunk reads one more chunk, by the last parts of its key.
func decodeChunk[T any](before []detector.Chunk[T], key []string, value []byte, items func([]byte) ([]T, error)) ([]detector.Chunk[T], error) {
	pane, err1 := strconv.ParseInt(key[0], 10, 64)
	chunk, err2 := strconv.Atoi(key[1])
	read, err3 := items(value)
	return append(before, detector.Chunk[T]{Pane: pane, Chunk: chunk, Items: read}), errors.Join(err1, err2, err3)
}

func decodeIDs(value []byte) (ids []detector.ID, err error) {
	const size = len(detector.ID{})
	if len(value) <= 1 || value[0] != idsVersion || (len(value)-1)%size != 0 || len(value) > 1+detector.MaxChunk {
		return nil, fmt.Errorf("%d bytes are no ids of version %d", len(value), idsVersion)
	}
	for id := range slices.Chunk(value[1:], size) {
		ids = append(ids, detector.ID(id))
	}
	return ids, nil
}
