package wire

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// Format is what the value of a record is.
type Format string

// The formats.
const (
	FormatJSON        Format = "json"
	FormatCloudEvents Format = "cloudevents" // CloudEvents 1.0, structured or binary
)

// Formats are the names of all formats.
func Formats() []string {
	return []string{string(FormatJSON), string(FormatCloudEvents), string(FormatOTLP), string(FormatConfluent)}
}

const (
	attributePrefix = "ce_"
	contentType     = "content-type"
	cloudEventsType = "application/cloudevents"
)

// opened is a CloudEvent: the whole of it as one JSON object, as in structured mode, and its data.
type opened struct {
	event []byte
	data  []byte // nil: it has none, or none that is JSON
	time  int64  // the attribute time, epoch ms; -1: it has none
}

// openCloudEvent reads a record in either mode of the Kafka binding. Without the headers that say which, as in a file, it is structured.
func (in *Input) openCloudEvent(r *Record) (opened, *Reject) {
	media := string(r.Header(contentType))
	structured := strings.HasPrefix(strings.ToLower(media), cloudEventsType)
	switch {
	case structured && !strings.HasPrefix(strings.ToLower(media), cloudEventsType+"+json"):
		return opened{}, reject(UnknownValue, "content-type is %q, expected %s+json", clip([]byte(media)), cloudEventsType)
	case !structured && r.Header(attributePrefix+"specversion") != nil:
		return in.binaryEvent(r, media)
	default:
		return in.structuredEvent(r.Value)
	}
}

func (in *Input) structuredEvent(value []byte) (opened, *Reject) {
	if rejected := checkObject(value); rejected != nil {
		return opened{}, rejected
	}
	c := opened{event: value, time: -1}
	data := gjson.GetBytes(value, "data")
	if base := gjson.GetBytes(value, "data_base64"); !data.Exists() && base.Type == gjson.String {
		raw, err := base64.StdEncoding.DecodeString(base.Str)
		if err != nil {
			return c, reject(WrongType, "data_base64 is no base64: %v", err)
		}
		// It goes behind the last attribute, which is there: the object is not empty.
		end := bytes.LastIndexByte(value, '}')
		in.envelope = append(append(in.envelope[:0], value[:end]...), `,"data":`...)
		var rejected *Reject
		if c.data, rejected = in.appendData(raw, gjson.GetBytes(value, "datacontenttype").Str); rejected != nil {
			return c, rejected
		}
		in.envelope = append(in.envelope, '}')
		c.event = in.envelope
	} else if data.IsObject() {
		c.data = []byte(data.Raw)
	}
	return c, c.attributes()
}

// binaryEvent puts the attributes of the headers and the data into one object.
func (in *Input) binaryEvent(r *Record, media string) (opened, *Reject) {
	in.envelope = append(in.envelope[:0], '{')
	for i, h := range r.Headers {
		name, attribute := strings.CutPrefix(h.Key, attributePrefix)
		if !attribute || name == "data" || name == "datacontenttype" || repeated(r.Headers[:i], h.Key) {
			continue
		}
		in.envelope = append(gjson.AppendJSONString(in.envelope, name), ':')
		in.envelope = append(gjson.AppendJSONString(in.envelope, string(h.Value)), ',')
	}
	if media != "" {
		in.envelope = append(in.envelope, `"datacontenttype":`...)
		in.envelope = append(gjson.AppendJSONString(in.envelope, media), ',')
	}
	in.envelope = append(in.envelope, `"data":`...)
	data, rejected := in.appendData(r.Value, media)
	in.envelope = append(in.envelope, '}')
	c := opened{event: in.envelope, data: data, time: -1}
	if rejected != nil {
		return c, rejected
	}
	return c, c.attributes()
}

// identify notes what makes a CloudEvent one: its source and its id.
func (in *Input) identify(c *opened) {
	in.id = in.id[:0]
	if !in.spec.IDs {
		return
	}
	source, id := gjson.GetBytes(c.event, "source").Str, gjson.GetBytes(c.event, "id").Str
	if id != "" {
		in.id = append(append(append(in.id, source...), 0), id...)
	}
}

// repeated says whether a header is there already: the first counts, as in Record.Header.
func repeated(headers []Header, key string) bool {
	for _, h := range headers {
		if h.Key == key {
			return true
		}
	}
	return false
}

// appendData appends what an event carries to the envelope: JSON as it is, another text as text. The result is data that is an object.
func (in *Input) appendData(raw []byte, media string) (data []byte, _ *Reject) {
	kind, _, _ := strings.Cut(strings.ToLower(media), ";")
	kind = strings.TrimSpace(kind)
	switch {
	case len(raw) == 0:
		in.envelope = append(in.envelope, "null"...)
		return nil, nil
	case kind == "" || kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json"):
		in.envelope = append(in.envelope, raw...)
		object, rejected := checkJSON(raw)
		if !object {
			raw = nil
		}
		return raw, rejected
	case !utf8.Valid(raw):
		return nil, reject(BadUTF8, "the data is %s and not UTF-8", clip([]byte(kind)))
	default:
		in.envelope = gjson.AppendJSONString(in.envelope, string(raw))
		return nil, nil
	}
}

// attributes checks those that we depend on.
func (c *opened) attributes() *Reject {
	version := gjson.GetBytes(c.event, "specversion")
	switch {
	case !version.Exists():
		return reject(Missing, "specversion is missing, which every CloudEvent has")
	case version.Str != "1.0":
		return reject(UnknownValue, "specversion is %s, expected 1.0", clip([]byte(version.Raw)))
	}
	if at := gjson.GetBytes(c.event, "time"); at.Exists() && at.Type != gjson.Null {
		ms, ok := parseTime([]byte(at.Str))
		if !ok {
			return reject(BadTime, "time is %s, expected RFC 3339 such as 2026-11-01T12:00:03.120Z, from 1970 to 9999", clip([]byte(at.Raw)))
		}
		c.time = ms
	}
	return nil
}
