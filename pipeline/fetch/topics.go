package fetch

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

// Kafka's protocol: Metadata, version 12, which every broker of Kafka 4.0 or newer knows.
const (
	apiMetadata     = 3
	metadataVersion = 12
)

// TopicID is what tells a topic from another one that has its name afterwards (KIP-516). The zero value is none.
type TopicID [16]byte

// String is the id as Kafka's own tools print it.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// MarshalText is String.
func (id TopicID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what String gives.
func (id *TopicID) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.AppendDecode(nil, text)
	if err == nil && len(b) != len(id) {
		err = fmt.Errorf("%d bytes, expected %d", len(b), len(id))
	}
	if err != nil {
		return fmt.Errorf("%q is no topic id: %w", text, err)
	}
	copy(id[:], b)
	return nil
}

// Topic is what a broker knows of a topic.
type Topic struct {
	ID      TopicID
	Leaders []string // address of each partition's leader; "": it has none
}

// Topics asks a broker for topics by their names, past every cache; what it does not know is not in the answer.
func Topics(ctx context.Context, dialer *kafka.Dialer, broker string, names []string) (map[string]Topic, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	c, err := dial(ctx, dialer, broker)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.close() }()
	defer context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })()
	b := c.request(apiMetadata, metadataVersion)
	b = appendCount(b, len(names))
	for _, name := range names {
		b = append(b, make([]byte, len(TopicID{}))...) // by its name
		b = appendCompact(b, name)
		b = append(b, noTags)
	}
	b = append(b, 0, 0, noTags) // makes no topics, tells of no rights
	if err := c.write(b); err != nil {
		return nil, err
	}
	r, _, err := c.read(nil)
	if err != nil {
		return nil, err
	}
	topics, err := r.topics()
	if r.err != nil {
		return nil, r.err
	}
	return topics, err
}

// topics reads the response to a metadata request.
func (r *reader) topics() (map[string]Topic, error) {
	r.int32() // throttle time
	addresses := map[int32]string{}
	for range r.count(11) {
		id, host, port := r.int32(), r.compact(), r.int32()
		addresses[id] = net.JoinHostPort(host, strconv.Itoa(int(port)))
		r.compact() // rack
		r.tags()
	}
	r.compact() // the cluster's id
	r.int32()   // controller
	out := map[string]Topic{}
	var failed error
	for range r.count(26) {
		code, name := kafka.Error(r.int16()), r.compact()
		var t Topic
		copy(t.ID[:], r.take(len(t.ID)))
		r.take(1) // whether it is internal
		n := r.count(18)
		t.Leaders = make([]string, n)
		for range n {
			r.int16() // one without a leader has none
			id, leader := int(r.int32()), r.int32()
			if id >= 0 && id < n {
				t.Leaders[id] = addresses[leader]
			}
			r.int32() // the leader's epoch
			for range 3 {
				r.take(4 * r.count(4)) // replicas, those in sync, those offline
			}
			r.tags()
		}
		r.int32() // rights
		r.tags()
		switch code {
		case 0:
			out[name] = t
		case kafka.UnknownTopicOrPartition:
		default:
			failed = fmt.Errorf("the partitions of %s: %w", name, code)
		}
	}
	return out, failed
}

// Kafka's protocol since KIP-482: lengths are varints, one more than they say, and 0 is null; behind each structure come tagged fields.

const noTags = 0

func appendCount(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)+1) }

func appendCompact(b []byte, s string) []byte { return append(appendCount(b, len(s)), s...) }
