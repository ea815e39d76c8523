package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bufbuild/protocompile"
	"github.com/twmb/avro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// SchemaText is a schema as a registry has it.
type SchemaText struct {
	Name string // as those that refer to it call it
	Text string
}

// NewAvroSchema reads an Avro schema; those that it refers to come before those that refer to them.
func NewAvroSchema(text string, references []SchemaText) (Schema, error) {
	var known avro.SchemaCache
	for _, r := range references {
		if _, err := known.Parse(r.Text); err != nil {
			return nil, fmt.Errorf("cannot read the schema %s: %w", r.Name, err)
		}
	}
	s, err := known.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("cannot read the schema: %w", err)
	}
	return avroSchema{s}, nil
}

type avroSchema struct{ *avro.Schema }

func (s avroSchema) AppendJSON(dst, body []byte) ([]byte, *Reject) {
	var value any
	rest, err := s.Decode(body, &value)
	if err != nil {
		return dst, reject(SchemaMismatch, "the body of %d bytes does not fit: %s", len(body), brief(err))
	}
	if len(rest) > 0 {
		return dst, reject(SchemaMismatch, "behind the body stand %d bytes of %d", len(rest), len(body))
	}
	out, err := s.AppendEncodeJSON(dst, value)
	if err != nil {
		return dst, reject(SchemaMismatch, "the body cannot be written as JSON: %s", brief(err))
	}
	return out, nil
}

// brief is an error that is short enough for a detail.
func brief(err error) []byte { return cut([]byte(err.Error()), 200) }

// NewJSONSchema is the schema of bodies that are JSON already. What they have to look like is not checked: an event is.
func NewJSONSchema() Schema { return jsonSchema{} }

type jsonSchema struct{}

func (jsonSchema) AppendJSON(dst, body []byte) ([]byte, *Reject) { return append(dst, body...), nil }

// protoMain is what the file is called that nobody refers to.
const protoMain = "schema.proto"

// NewProtobufSchema compiles a .proto file and those that it imports.
func NewProtobufSchema(text string, references []SchemaText) (Schema, error) {
	files := map[string]string{protoMain: text}
	for _, r := range references {
		files[r.Name] = r.Text
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(files)}),
		MaxParallelism: 1,
	}
	out, err := compiler.Compile(context.Background(), protoMain)
	if err != nil {
		return nil, fmt.Errorf("cannot compile the schema: %w", err)
	}
	return protoSchema{out[0].Messages()}, nil
}

type protoSchema struct {
	messages protoreflect.MessageDescriptors
}

func (s protoSchema) AppendJSON(dst, body []byte) ([]byte, *Reject) {
	message, rest, err := s.message(body)
	if err != nil {
		return dst, reject(SchemaMismatch, "%s", brief(err))
	}
	m := dynamicpb.NewMessage(message)
	if err := proto.Unmarshal(rest, m); err != nil {
		return dst, reject(SchemaMismatch, "the body of %d bytes is no %s: %s", len(rest), message.FullName(), brief(err))
	}
	out, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.MarshalAppend(dst, m)
	if err != nil {
		return dst, reject(SchemaMismatch, "%s cannot be written as JSON: %s", message.FullName(), brief(err))
	}
	return out, nil
}

// maxIndexes bounds how deep in another a message can be declared.
const maxIndexes = 32

// message reads the indexes before the body: which message of the file, which message within it, and so on; none is the first.
func (s protoSchema) message(body []byte) (protoreflect.MessageDescriptor, []byte, error) {
	next := func() (int64, error) {
		v, n := binary.Varint(body)
		if n <= 0 {
			return 0, errors.New("the indexes of the message end early")
		}
		body = body[n:]
		return v, nil
	}
	count, err := next()
	if err != nil || count < 0 || count > maxIndexes {
		return nil, nil, errors.Join(err, fmt.Errorf("the message has %d indexes, expected 0 to %d", count, maxIndexes))
	}
	messages := s.messages
	var message protoreflect.MessageDescriptor
	for i := range max(count, 1) {
		index := int64(0)
		if count > 0 {
			if index, err = next(); err != nil {
				return nil, nil, err
			}
		}
		if index < 0 || index >= int64(messages.Len()) {
			return nil, nil, fmt.Errorf("index %d of the message is %d, and there are %d", i, index, messages.Len())
		}
		message = messages.Get(int(index))
		messages = message.Messages()
	}
	return message, body, nil
}
