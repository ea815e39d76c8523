package wire

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// FormatOTLP is a traces export request of OTLP in JSON, or one span of it.
const FormatOTLP Format = "otlp"

// spanReader writes spans as objects of our own shape: a latency event for every request that was served, and an error event besides for
// every one that failed.
type spanReader struct {
	keys      []string        // that attributes can become, as an object has them: "service":
	slots     map[string]slot // attributes by their names in the semantic conventions
	labels    map[string]slot // other attributes, by the label's name
	name      []byte
	resource  []attribute // of the present resource, by key
	span      []attribute // of the present span
	endpoint  int
	status    int
	errorType int
}

// slot is which key an attribute becomes; where several become the same, the one of the lowest rank.
type slot struct {
	key  int
	rank int
}

// attribute is a value that was found; rank 0 is none.
type attribute struct {
	value gjson.Result
	rank  int
}

// conventions are the attributes of OpenTelemetry's semantic conventions that we know, old names behind new ones.
var conventions = []struct {
	key        string
	attributes []string
}{
	{"service", []string{"service.name"}},
	{"version", []string{"service.version"}},
	{"region", []string{"cloud.region"}},
	{"endpoint", []string{"http.route", "url.path", "http.target"}},
	{"status", []string{"http.response.status_code", "http.status_code"}},
	{"error_type", []string{"error.type", "exception.type"}},
	{"session", []string{"session.id", "user.id", "enduser.id"}},
}

func newSpanReader(labels []string) *spanReader {
	r := &spanReader{slots: map[string]slot{}, labels: map[string]slot{}}
	index := map[string]int{}
	key := func(name string) int {
		if _, known := index[name]; !known {
			index[name] = len(r.keys)
			r.keys = append(r.keys, string(gjson.AppendJSONString(nil, name))+":")
		}
		return index[name]
	}
	for _, c := range conventions {
		for i, attribute := range c.attributes {
			r.slots[attribute] = slot{key(c.key), i + 1}
		}
	}
	for _, label := range labels {
		if _, number := numbers[label]; !number && label != "status_class" && label != "kind" && label != "time" {
			r.labels[label] = slot{key(label), len(r.slots)}
		}
	}
	r.endpoint, r.status, r.errorType = index["endpoint"], index["status"], index["error_type"]
	r.resource, r.span = make([]attribute, len(r.keys)), make([]attribute, len(r.keys))
	return r
}

// read calls add for every object of our own shape that the spans of a valid JSON object are; add gets what the object was appended to.
func (r *spanReader) read(value []byte, dst []byte, add func(grown []byte)) ([]byte, *Reject) {
	whole := gjson.ParseBytes(value)
	resources := whole.Get("resourceSpans")
	if !resources.Exists() {
		if !whole.Get("endTimeUnixNano").Exists() {
			return dst, reject(Missing, "resourceSpans is missing, expected a traces export request or one span")
		}
		r.ofResource(whole.Get("resource"))
		return r.one(whole, dst, add)
	}
	rejected := each("resourceSpans", resources, func(spans gjson.Result) (bad *Reject) {
		r.ofResource(spans.Get("resource"))
		return each("scopeSpans", spans.Get("scopeSpans"), func(scope gjson.Result) *Reject {
			return each("spans", scope.Get("spans"), func(span gjson.Result) (bad *Reject) {
				dst, bad = r.one(span, dst, add)
				return bad
			})
		})
	})
	return dst, rejected
}

// each calls f for the objects of a list until one is rejected; a list that is not there is empty.
func each(name string, list gjson.Result, f func(gjson.Result) *Reject) (rejected *Reject) {
	if list.Type == gjson.Null {
		return nil
	}
	if !list.IsArray() {
		return reject(WrongType, "%s is %s, expected a list", name, clip([]byte(list.Raw)))
	}
	list.ForEach(func(_, item gjson.Result) bool {
		if !item.IsObject() {
			rejected = reject(WrongType, "an item of %s is %s, expected an object", name, clip([]byte(item.Raw)))
		} else {
			rejected = f(item)
		}
		return rejected == nil
	})
	return rejected
}

func (r *spanReader) ofResource(resource gjson.Result) {
	clear(r.resource)
	r.attributes(resource.Get("attributes"), r.resource)
}

// attributes notes those that become keys.
func (r *spanReader) attributes(list gjson.Result, into []attribute) {
	list.ForEach(func(_, item gjson.Result) bool {
		name := item.Get("key").Str
		to, known := r.slots[name]
		if !known {
			r.name = r.name[:0]
			for _, c := range []byte(name) {
				if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
					c = '_'
				}
				r.name = append(r.name, c)
			}
			to, known = r.labels[string(r.name)]
		}
		if value := scalar(item.Get("value")); known && value.Type != gjson.Null && (into[to.key].rank == 0 || to.rank < into[to.key].rank) {
			into[to.key] = attribute{value, to.rank}
		}
		return true
	})
}

// scalar is the value of an attribute that is a text, a number or a truth value.
func scalar(value gjson.Result) (out gjson.Result) {
	value.ForEach(func(kind, v gjson.Result) bool {
		switch kind.Str {
		case "stringValue", "intValue", "doubleValue", "boolValue":
			out = v
		}
		return false
	})
	if out.Type == gjson.JSON {
		return gjson.Result{}
	}
	return out
}

// one appends the events of a span.
func (r *spanReader) one(span gjson.Result, dst []byte, add func([]byte)) ([]byte, *Reject) {
	switch kind := span.Get("kind"); kind.String() {
	case "2", "5", "SPAN_KIND_SERVER", "SPAN_KIND_CONSUMER":
	default:
		return dst, nil // its caller or its callee tells of it
	}
	start, rejected := nanos(span, "startTimeUnixNano")
	if rejected != nil {
		return dst, rejected
	}
	end, rejected := nanos(span, "endTimeUnixNano")
	if rejected != nil {
		return dst, rejected
	}
	copy(r.span, r.resource)
	for i := range r.span {
		r.span[i].rank *= len(r.slots) + 1 // any of the span's own comes before
	}
	r.attributes(span.Get("attributes"), r.span)
	failed := isError(span.Get("status.code"))
	if failed {
		r.attributes(span.Get(`events.#(name=="exception").attributes`), r.span)
	}
	if name := span.Get("name"); r.span[r.endpoint].rank == 0 && name.Type == gjson.String {
		r.span[r.endpoint] = attribute{name, 1}
	}
	dst = r.object(dst, end, "latency", r.errorType)
	dst = append(dst, `,"duration_ms":`...)
	dst = appendShifted(dst, strconv.FormatInt(end-start, 10), -6)
	dst = append(dst, '}')
	add(dst)
	if failed {
		dst = r.object(dst, end, "error", r.status)
		if message := span.Get("status.message"); message.Type == gjson.String {
			dst = append(append(dst, `,"message":`...), message.Raw...)
		}
		dst = append(dst, '}')
		add(dst)
	}
	return dst, nil
}

// object begins an event, with all attributes but one.
func (r *spanReader) object(dst []byte, end int64, kind string, without int) []byte {
	dst = append(dst, `{"time":`...)
	dst = strconv.AppendInt(dst, end/1e6, 10)
	dst = append(dst, `,"kind":"`...)
	dst = append(dst, kind...)
	dst = append(dst, '"')
	for i, a := range r.span {
		if a.rank == 0 || i == without {
			continue
		}
		dst = append(append(dst, ','), r.keys[i]...)
		number, isNumber := numberOf(a.value)
		switch {
		case i == r.status && isNumber:
			dst = append(dst, number...)
		case a.value.Type == gjson.String:
			dst = append(dst, a.value.Raw...)
		default:
			dst = append(append(append(dst, '"'), a.value.Raw...), '"')
		}
	}
	return dst
}

func isError(code gjson.Result) bool { return code.String() == "2" || code.Str == "STATUS_CODE_ERROR" }

// nanos reads a time of a span, which is in quotes, as Protobuf's JSON has it, or not.
func nanos(span gjson.Result, name string) (int64, *Reject) {
	found := span.Get(name)
	text, number := numberOf(found)
	v, err := strconv.ParseInt(text, 10, 64)
	switch {
	case found.Type == gjson.Null || v == 0 && err == nil:
		return 0, reject(Missing, "%s is missing in the span %s", name, clip([]byte(span.Get("spanId").Raw)))
	case !number || err != nil || strings.HasPrefix(text, "-"):
		return 0, reject(BadTime, "%s is %s, expected nanoseconds since 1970", name, clip([]byte(found.Raw)))
	}
	return v, nil
}

// MaxEvents is how many events a record can hold.
const MaxEvents = 10_000

// spans makes an object of each event in a record.
func (in *Input) spans(value []byte) *Reject {
	if rejected := checkObject(value); rejected != nil {
		return rejected
	}
	in.ends = in.ends[:0]
	var rejected *Reject
	in.shaped, rejected = in.spanReader.read(value, in.shaped[:0], func(grown []byte) { in.ends = append(in.ends, len(grown)) })
	if rejected != nil {
		return rejected
	}
	if len(in.ends) > MaxEvents {
		return reject(TooLarge, "the record holds %d events, at most %d are read", len(in.ends), MaxEvents)
	}
	from := 0
	for _, end := range in.ends {
		in.objects = append(in.objects, slices.Clip(in.shaped[from:end]))
		from = end
	}
	return nil
}
