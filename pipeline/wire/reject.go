package wire

import (
	"fmt"

	"sevwatch/detector"
)

// Reason is why a record was rejected, in one word: the value of the header sevwatch_reason and of a metric's label.
type Reason string

// The reasons.
const (
	NotJSON      Reason = "not_json"
	NotAnObject  Reason = "not_an_object"
	BadUTF8      Reason = "bad_utf8"
	WrongType    Reason = "wrong_type"
	Missing      Reason = "missing"
	UnknownValue Reason = "unknown_value"
	OutOfRange   Reason = "out_of_range"
	DuplicateKey Reason = "duplicate_key"
	BadTime      Reason = "bad_time"
	NoTime       Reason = "no_time"
	TooLarge     Reason = "too_large"
	FutureEvent  Reason = "future"

	NoSchema       Reason = "no_schema" // of the format confluent
	UnknownSchema  Reason = "unknown_schema"
	SchemaMismatch Reason = "schema_mismatch"
)

// Reject is why a record is no event. It is not an error of the program: the record is kept on the rejected topic.
type Reject struct {
	Reason Reason
	Detail string // a sentence with the field and the value found
}

func (r *Reject) Error() string { return string(r.Reason) + ": " + r.Detail }

// Future is the reject of an event that its partition's later events have contradicted: aheadMs is by how much it was ahead of them.
func Future(eventTime, aheadMs int64) *Reject {
	return reject(FutureEvent, "event time %s is %d ms ahead of its partition, which was at %s, and what came behind it was not",
		detector.Millis(eventTime), aheadMs, detector.Millis(eventTime-aheadMs))
}

func reject(reason Reason, format string, args ...any) *Reject {
	return &Reject{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
