package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"sevwatch/detector"
)

// JSON is a message's value: its JSON without a line break, field order fixed, nothing escaped for HTML.
func JSON(message any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(message); err != nil {
		panic(fmt.Sprintf("BUG: cannot encode %T: %v", message, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Value is the JSON of an incident's revision or of a recovery.
func Value(o detector.Output) []byte {
	if o.Incident != nil {
		return JSON(o.Incident)
	}
	return JSON(o.Recovery)
}

// HeaderSource is the header that says which pipeline has published a message (SourceOf).
const HeaderSource = "ce_source"

// SourceOf is how a pipeline of that name calls itself as the source of its messages.
func SourceOf(pipeline string) string { return "/sevwatch/" + pipeline }

// Message is an output as a CloudEvents 1.0 record in Kafka's binary mode (cloudevents/spec, bindings/kafka-protocol-binding.md).
// pipeline names the source.
func Message(pipeline string, o detector.Output) Record {
	severity := o.Severity()
	header := func(key, value string) Header { return Header{key, []byte(value)} }
	return Record{
		Key:   []byte(o.ID()),
		Value: Value(o),
		Time:  int64(o.At()),
		Headers: []Header{
			header("ce_specversion", "1.0"),
			header("ce_id", o.EventID()),
			header(HeaderSource, SourceOf(pipeline)),
			header("ce_type", o.Type()),
			header("ce_time", o.At().String()),
			header("ce_subject", o.ID()),
			header("ce_severitytext", severity.Text()),
			header("ce_severitynumber", strconv.Itoa(severity.Number())),
			header("content-type", "application/json"),
		},
	}
}
