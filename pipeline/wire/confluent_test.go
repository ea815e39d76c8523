package wire

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/avro"
	"google.golang.org/protobuf/encoding/protowire"

	"sevwatch/rules"
)

const requestAvro = `{"type":"record","name":"Request","fields":[
	{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"service","type":"string"},
	{"name":"route","type":["null","string"],"default":null},
	{"name":"seconds","type":"double"},
	{"name":"answer","type":"Answer"}]}`

const answerAvro = `{"type":"record","name":"Answer","fields":[{"name":"code","type":"int"}]}`

const requestProto = `syntax = "proto3";
package shop;
import "answer.proto";
import "google/protobuf/timestamp.proto";
message Unused { string x = 1; }
message Outer {
  message Request {
    google.protobuf.Timestamp at = 1;
    string service = 2;
    optional string route = 3;
    double seconds = 4;
    Answer answer = 5;
    int64 big = 6;
  }
}`

const answerProto = `syntax = "proto3"; package shop; message Answer { int32 code = 1; }`

// registered is a registry that knows its schemas by their numbers; 0 is being asked for.
type registered map[uint32]Schema

func (r registered) Schema(id uint32) Schema {
	if s, known := r[id]; known {
		return s
	}
	return NoSuchSchema{"the registry knows no such schema"}
}

func someSchemas(t testing.TB) registered {
	t.Helper()
	must := func(s Schema, err error) Schema {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return registered{
		0: nil,
		1: must(NewAvroSchema(requestAvro, []SchemaText{{"Answer", answerAvro}})),
		2: must(NewProtobufSchema(requestProto, []SchemaText{{"answer.proto", answerProto}})),
		3: NewJSONSchema(),
	}
}

func confluent(t testing.TB) *Input {
	t.Helper()
	m, err := NewMapping(map[string]Field{
		"time": {Path: "at", Unit: ""}, "service": {Path: "service"}, "endpoint": {Path: "route"}, "status": {Path: "answer.code"},
		"duration_ms": {Path: "seconds", Unit: Seconds}, "session": {Path: "big"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return NewInput(InputSpec{Format: FormatConfluent, Kind: rules.KindLatency, Labels: rules.DefaultLabels(), Mapping: m, Schemas: someSchemas(t)})
}

// framed puts the head of the wire format before a body.
func framed(id uint32, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, id), body...)
}

func avroBody(t testing.TB) []byte {
	t.Helper()
	var known avro.SchemaCache
	if _, err := known.Parse(answerAvro); err != nil {
		t.Fatal(err)
	}
	s, err := known.Parse(requestAvro)
	if err != nil {
		t.Fatal(err)
	}
	body, err := s.Encode(map[string]any{
		"at": int64(1793534403120), "service": "shop", "route": "/v1", "seconds": 0.1, "answer": map[string]any{"code": 503},
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// protoBody is a Request, field by field as Protobuf writes them.
func protoBody(indexes ...byte) []byte {
	at := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1793534403)
	at = protowire.AppendVarint(protowire.AppendTag(at, 2, protowire.VarintType), 120_000_000)
	out := protowire.AppendBytes(protowire.AppendTag(indexes, 1, protowire.BytesType), at)
	out = protowire.AppendString(protowire.AppendTag(out, 2, protowire.BytesType), "shop")
	out = protowire.AppendString(protowire.AppendTag(out, 3, protowire.BytesType), "/v1")
	out = protowire.AppendFixed64(protowire.AppendTag(out, 4, protowire.Fixed64Type), 0x3fb999999999999a) // 0.1
	out = protowire.AppendBytes(protowire.AppendTag(out, 5, protowire.BytesType), []byte{8, 0xf7, 3})
	return protowire.AppendVarint(protowire.AppendTag(out, 6, protowire.VarintType), 9007199254740993)
}

// inner are the indexes of Outer.Request: two of them, 1 and 0, in zigzag.
var inner = []byte{4, 2, 0}

func TestConfluent(t *testing.T) {
	in := confluent(t)
	want := fields{
		"time": int64(1793534403120), "kind": "latency", "service": "shop", "endpoint": "/v1", "status_class": "5xx", "value": int64(100_000_000),
	}
	f := func(value []byte, session string) {
		t.Helper()
		if in.Waiting(value) {
			t.Fatal("it waits")
		}
		e, r := readOne(in, &Record{Value: value, Time: 7})
		if r != nil {
			t.Fatal(r)
		}
		if session != "" {
			want["session"] = session
		}
		if diff := cmp.Diff(want, told(e, rules.DefaultLabels())); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	f(framed(1, avroBody(t)), "")
	f(framed(3, []byte(`{"at":1793534403120,"service":"shop","route":"/v1","seconds":0.1,"answer":{"code":503}}`)), "")
	f(framed(2, protoBody(inner...)), "9007199254740993")
}

// A record waits as long as its schema is being asked for, and only then.
func TestConfluentWaits(t *testing.T) {
	schemas := someSchemas(t)
	in := NewInput(InputSpec{Format: FormatConfluent, Kind: rules.KindError, Schemas: schemas})
	value := framed(0, []byte(`{"service":"api"}`))
	for range 2 {
		if !in.Waiting(value) {
			t.Fatal("it does not wait")
		}
	}
	if in.Waiting(framed(9, nil)) || in.Waiting([]byte("{}")) || in.Waiting(nil) {
		t.Error("it waits for what will not come")
	}
	schemas[0], schemas[9] = NewJSONSchema(), NewJSONSchema()
	for _, id := range []uint32{0, 9} {
		value := framed(id, []byte(`{"service":"api"}`))
		if in.Waiting(value) {
			t.Errorf("it still waits for schema %d", id)
		}
		if _, r := in.Read(&Record{Value: value}); r != nil {
			t.Errorf("schema %d: %v", id, r)
		}
	}
}

func TestConfluentRejects(t *testing.T) {
	in := confluent(t)
	f := func(value []byte, reason Reason, detail string) {
		t.Helper()
		if in.Waiting(value) {
			t.Fatal("it waits")
		}
		_, r := in.Read(&Record{Value: value, Time: 7})
		if r == nil || r.Reason != reason || !strings.Contains(r.Detail, detail) {
			t.Errorf("%q: %v, expected %s with %q", value, r, reason, detail)
		}
	}
	f(nil, NoSchema, "0 bytes that begin with")
	f([]byte{0, 0, 0, 0}, NoSchema, "4 bytes that begin with 0x00000000")
	f([]byte(`{"took":1}`), NoSchema, "begin with 0x7b22746f6f")
	f(framed(77, []byte("x")), UnknownSchema, "schema 77: the registry knows no such schema")
	f(framed(1, nil), SchemaMismatch, "schema 1: the body of 0 bytes does not fit")
	f(framed(1, append(avroBody(t), 1)), SchemaMismatch, "behind the body stand 1 bytes")
	f(framed(1, avroBody(t)[:20]), SchemaMismatch, "does not fit")
	f(framed(2, nil), SchemaMismatch, "indexes of the message end early")
	f(framed(2, []byte{2, 8}), SchemaMismatch, "index 0 of the message is 4, and there are 2")
	f(framed(2, []byte{1}), SchemaMismatch, "has -1 indexes")
	f(framed(2, []byte{200, 1}), SchemaMismatch, "has 100 indexes, expected 0 to 32")
	f(framed(2, append(bytes.Clone(inner), 0xff)), SchemaMismatch, "is no shop.Outer.Request")
	f(framed(2, []byte{4, 2, 0, 0x12, 1, 0xff}), SchemaMismatch, "is no shop.Outer.Request")
	f(framed(2, []byte{0}), Missing, "duration_ms is missing") // the first message, Unused
	f(framed(3, []byte(`x`)), NotJSON, "")
	f(framed(3, []byte(`[]`)), NotAnObject, "")
}

func TestSchemaMistakes(t *testing.T) {
	f := func(_ Schema, err error) {
		t.Helper()
		if err == nil || !strings.HasPrefix(err.Error(), "cannot ") {
			t.Errorf("got %v", err)
		}
	}
	f(NewAvroSchema(`{"type":"record"}`, nil))
	f(NewAvroSchema(requestAvro, nil))
	f(NewAvroSchema(requestAvro, []SchemaText{{"Answer", "{"}}))
	f(NewProtobufSchema(`message {`, nil))
	f(NewProtobufSchema(requestProto, nil))
}

// Whatever the body: an event, or a reason.
func FuzzConfluent(f *testing.F) {
	f.Add(uint32(1), avroBody(f))
	f.Add(uint32(2), protoBody(inner...))
	f.Add(uint32(2), []byte{0, 0x0a, 1, 'x'})
	f.Add(uint32(3), []byte(`{"at":5,"service":"shop","seconds":1}`))
	in := confluent(f)
	f.Fuzz(func(t *testing.T, id uint32, body []byte) {
		value := framed(1+id%4, body)
		if in.Waiting(value) {
			t.Fatal("it waits")
		}
		if _, r := in.Read(&Record{Value: value, Time: 7}); r != nil && (r.Detail == "" || len(r.Detail) > 800) {
			t.Errorf("the detail is %q", r.Detail)
		}
	})
}

func BenchmarkAvro(b *testing.B) {
	in := confluent(b)
	value := framed(1, avroBody(b))
	b.ReportAllocs()
	for b.Loop() {
		if in.Waiting(value) {
			b.Fatal("it waits")
		}
		if _, r := in.Read(&Record{Value: value}); r != nil {
			b.Fatal(r)
		}
	}
}

func BenchmarkProtobuf(b *testing.B) {
	in := confluent(b)
	value := framed(2, protoBody(inner...))
	b.ReportAllocs()
	for b.Loop() {
		if in.Waiting(value) {
			b.Fatal("it waits")
		}
		if _, r := in.Read(&Record{Value: value}); r != nil {
			b.Fatal(r)
		}
	}
}
