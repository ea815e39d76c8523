package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"sevwatch/detector"
)

// A record of the rejected or late topic is cut to cutValue bytes when it is longer than wholeValue.
const (
	wholeValue = 512 << 10
	cutValue   = 64 << 10
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
	rec := Record{Key: bytes.Clone(o.Key), Time: o.Time}
	for _, h := range o.Headers {
		rec.Headers = append(rec.Headers, Header{h.Key, bytes.Clone(h.Value)})
	}
	add := func(key, value string) { rec.Headers = append(rec.Headers, Header{key, []byte(value)}) }
	add("sevwatch_reason", reason)
	add("sevwatch_detail", detail)
	add("sevwatch_topic", o.Source.Topic)
	add("sevwatch_partition", strconv.Itoa(o.Source.Partition))
	add("sevwatch_offset", strconv.FormatInt(o.Offset, 10))
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
