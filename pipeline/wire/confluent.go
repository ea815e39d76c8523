package wire

import (
	"encoding/binary"
)

// FormatConfluent is the wire format of Confluent's serializers: a zero byte, the number of a schema, a body.
const FormatConfluent Format = "confluent"

// Schemas finds the schemas that records name by their numbers.
type Schemas interface {
	// Schema is the schema of a number, nil as long as it is being asked for. One that does not exist is a NoSuchSchema.
	Schema(id uint32) Schema
}

// Schema turns bodies into JSON. It is safe for concurrent use.
type Schema interface {
	AppendJSON(dst, body []byte) ([]byte, *Reject)
}

// NoSuchSchema stands for a schema that cannot be had, and rejects every body.
type NoSuchSchema struct{ Why string }

// AppendJSON rejects.
func (n NoSuchSchema) AppendJSON(dst, _ []byte) ([]byte, *Reject) {
	return dst, reject(UnknownSchema, "%s", n.Why)
}

const confluentHead = 5 // bytes before the body

// Waits says whether records of the input can ever be Waiting.
func (in *Input) Waits() bool { return in.spec.Format == FormatConfluent }

// Waiting says whether a record cannot be read yet because its schema is being asked for. It has to be asked before each Read.
func (in *Input) Waiting(value []byte) bool {
	if in.spec.Format != FormatConfluent || len(value) < confluentHead || value[0] != 0 {
		return false
	}
	id := binary.BigEndian.Uint32(value[1:])
	if _, unknown := in.schema.(NoSuchSchema); in.schema == nil || unknown || in.schemaID != id {
		in.schemaID, in.schema = id, in.spec.Schemas.Schema(id)
	}
	return in.schema == nil
}

// body is a record's body as JSON.
func (in *Input) body(value []byte) ([]byte, *Reject) {
	if len(value) < confluentHead || value[0] != 0 {
		return nil, reject(NoSchema, "the record has %d bytes that begin with %#x, expected a zero byte and the number of a schema", len(value), head(value))
	}
	if in.schema == nil || in.schemaID != binary.BigEndian.Uint32(value[1:]) {
		panic("BUG: a record is read without asking whether it has to wait")
	}
	var rejected *Reject
	in.envelope, rejected = in.schema.AppendJSON(in.envelope[:0], value[confluentHead:])
	if rejected != nil {
		return nil, reject(rejected.Reason, "schema %d: %s", in.schemaID, rejected.Detail)
	}
	return in.envelope, nil
}

func head(value []byte) []byte { return value[:min(len(value), confluentHead)] }
