package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sevwatch/detector"
)

// A broker takes a record batch of 1 MiB. A source topic may allow more, or its batch was compressed; so what is put aside is cut, and always
// stays below 900,000 bytes: a value longer than wholeValue to cutValue, a key to wholeKey, and headers that no longer fit into wholeHeaders are left out.
const (
	wholeValue   = 512 << 10
	cutValue     = 64 << 10
	wholeKey     = 64 << 10
	wholeHeaders = 128 << 10
	headerSize   = 10 // that a header's two lengths take at most
)

// Origin is a consumed record and where it came from.
type Origin struct {
	Source detector.Source
	Offset int64
	Record
}

// Rejected is the record for the rejected topic: the original and why it is no event.
func Rejected(o Origin, r *Reject) Record {
	return aside(o, string(r.Reason), r.Detail)
}

// Late is the record for the late topic: the original, and by how many milliseconds its event time is before the closed edge.
func Late(o Origin, eventTime, lateMs int64) Record {
	detail := "event time " + detector.Millis(eventTime).String() + " is " + strconv.FormatInt(lateMs, 10) +
		" ms before the closed edge " + detector.Millis(eventTime+lateMs).String()
	rec := aside(o, "late", detail)
	rec.Headers = append(rec.Headers, Header{"sevwatch_late_ms", strconv.AppendInt(nil, lateMs, 10)})
	return rec
}

// aside copies the record, so that it may outlive the buffer it was read into. What is null stays null, what is empty stays empty.
func aside(o Origin, reason, detail string) Record {
	rec := Record{Key: bytes.Clone(o.Key[:min(len(o.Key), wholeKey)]), Time: o.Time}
	size, dropped := 0, 0
	for _, h := range o.Headers {
		if n := headerSize + len(h.Key) + len(h.Value); size+n > wholeHeaders {
			dropped++
		} else {
			size += n
			rec.Headers = append(rec.Headers, Header{h.Key, bytes.Clone(h.Value)})
		}
	}
	add := func(key, value string) { rec.Headers = append(rec.Headers, Header{key, []byte(value)}) }
	add("sevwatch_reason", reason)
	add("sevwatch_detail", detail)
	add("sevwatch_topic", o.Source.Topic)
	add("sevwatch_partition", strconv.Itoa(o.Source.Partition))
	add("sevwatch_offset", strconv.FormatInt(o.Offset, 10))
	if len(o.Key) > wholeKey {
		add("sevwatch_key_size", strconv.Itoa(len(o.Key)))
	}
	if dropped > 0 {
		add("sevwatch_headers_dropped", strconv.Itoa(dropped))
	}
	value := o.Value
	if len(value) > wholeValue {
		sum := sha256.Sum256(value)
		add("sevwatch_size", strconv.Itoa(len(value)))
		add("sevwatch_sha256", hex.EncodeToString(sum[:]))
		value = value[:cutValue]
	}
	rec.Value = bytes.Clone(value)
	return rec
}

// Aside is a record of the rejected or late topic, taken apart again.
type Aside struct {
	Origin
	Reason string
	Detail string
	Cut    bool // not all of the record is there
}

const asidePrefix = "sevwatch_"

// ReadAside takes a record of the rejected or late topic apart. The headers that were added are told from the record's own by their prefix;
// where one is there twice, the last is ours.
func ReadAside(r Record) (Aside, error) {
	a := Aside{Origin: Origin{Record: Record{Key: r.Key, Value: r.Value, Time: r.Time}}}
	added := map[string]string{}
	for _, h := range r.Headers {
		if name, ours := strings.CutPrefix(h.Key, asidePrefix); ours {
			added[name] = string(h.Value)
		} else {
			a.Headers = append(a.Headers, h)
		}
	}
	a.Reason, a.Detail, a.Source.Topic = added["reason"], added["detail"], added["topic"]
	for _, cut := range []string{"sha256", "key_size", "headers_dropped"} {
		_, is := added[cut]
		a.Cut = a.Cut || is
	}
	var err, bad error
	a.Source.Partition, err = strconv.Atoi(added["partition"])
	a.Offset, bad = strconv.ParseInt(added["offset"], 10, 64)
	if err = errors.Join(err, bad); err != nil || a.Reason == "" || a.Source.Topic == "" {
		return a, fmt.Errorf("cannot tell where the record came from: its headers are %v", added)
	}
	return a, nil
}
