package kafkatest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/segmentio/kafka-go"
)

// Record is a record as kcat read it. A nil Key or Value is Kafka's null; an empty one is empty.
type Record struct {
	Partition   int
	Offset      int64
	TimestampMs int64
	Key         []byte
	Value       []byte
	Headers     []kafka.Header
}

// Kcat returns the path of kcat. Without it the test is skipped, or with CI=true in the environment it fails.
func Kcat(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		failOrSkip(t, &MissingError{Program: "kcat", Err: err})
	}
	return path
}

// Consume reads a topic with kcat from its beginning to its end, committed records only, and returns them ordered by
// partition and offset. The extra arguments go to kcat after ours: "-p", "0" or "-X", "isolation.level=...".
func Consume(t testing.TB, addr, topic string, extra ...string) []Record {
	t.Helper()
	const limit = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	args := []string{
		"-C", "-b", addr, "-t", topic, "-o", "beginning", "-e", "-q", "-J", "-F", "none",
		"-X", "isolation.level=read_committed",
	}
	out, err := run(ctx, exec.Command(Kcat(t), append(args, extra...)...))
	if err != nil {
		t.Fatalf("cannot consume %s: %v", topic, err)
	}
	records, err := parseKcat([]byte(out))
	if err != nil {
		t.Fatalf("cannot consume %s: %v", topic, err)
	}
	return records
}

// parseKcat reads the lines of kcat -J. They are JSON but for one thing: the bytes of keys, values and headers stand in
// them as they are, UTF-8 or not. (Its -f format gives lengths for keys and values, but none for headers.) So each byte
// is read as one Latin-1 character, and the characters of the decoded strings are the bytes again.
func parseKcat(out []byte) ([]Record, error) {
	var records []Record
	for line := range bytes.Lines(out) {
		var m struct {
			Partition int
			Offset    int64
			TS        int64
			Key       latin1
			Payload   latin1
			Headers   []latin1 // name, value, name, value
		}
		if err := json.Unmarshal(widen(line), &m); err != nil {
			return nil, fmt.Errorf("cannot read kcat's line %q: %w", line, err)
		}
		if len(m.Headers)%2 != 0 {
			return nil, fmt.Errorf("cannot read kcat's line %q: a header without a value", line)
		}
		r := Record{Partition: m.Partition, Offset: m.Offset, TimestampMs: m.TS, Key: m.Key, Value: m.Payload}
		for pair := range slices.Chunk(m.Headers, 2) {
			r.Headers = append(r.Headers, kafka.Header{Key: string(pair[0]), Value: pair[1]})
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return records, nil
}

// widen turns every byte into the character of its number.
func widen(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}

// latin1 holds bytes that widen turned into characters. JSON's null is nil.
type latin1 []byte

func (l *latin1) UnmarshalJSON(text []byte) error {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return err
	}
	*l = make([]byte, 0, len(*s))
	for _, r := range *s {
		if r > 0xff {
			return fmt.Errorf("character %q is not a byte", r)
		}
		*l = append(*l, byte(r))
	}
	return nil
}
