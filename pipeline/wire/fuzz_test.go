package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sevwatch/detector"
	"sevwatch/rules"
)

// FuzzDecode compares Decode with a slow model of it over encoding/json, time and math/big.
func FuzzDecode(f *testing.F) {
	doc, err := os.ReadFile("../../docs/messages.md")
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```json event\n(.*?)\n```$").FindAllSubmatch(doc, -1) {
		f.Add(m[1], uint8(0), int64(-1))
	}
	for _, in := range []string{
		`{}`, ``, `[1]`, `{"duration_ms":1,"duration_ms":2`, `{"a":{"b":[1,2,"\ud83d\ude00"]},"time":null}`, "\ufeff{}", "{\"x\":\"\xff\"}",
		`{"time":"2026-12-31T23:59:60+01:00","status":5.0e2,"duration_ms":-0.0000004e-1}`, `{"kind":"step","step":"a","action":"enter"}`,
		`{"kind":"change","change":"deploy"}`, `{"time":1.793534403e12}`, `{"\u0074ime":5,"x":"\ud800","service":null}`,
	} {
		f.Add([]byte(in), uint8(2), int64(5))
	}
	f.Fuzz(func(t *testing.T, data []byte, kind uint8, timestamp int64) {
		compareToModel(t, data, rules.Kind(kind)%(rules.KindChange+1), timestamp)
	})
}

// TestDecodeAgainstModel does the same with records put together at random.
func TestDecodeAgainstModel(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewSource(seed))
	events := 0
	for n := range 8000 {
		data := randomRecord(r)
		if compareToModel(t, data, rules.Kind(r.Intn(int(rules.KindChange)+1)), int64(r.Intn(3)-1)) {
			events++
		}
		if t.Failed() {
			t.Fatalf("seed %d, record %d: %s", seed, n, data)
		}
	}
	if events < 1600 || events > 6400 {
		t.Errorf("%d of 8000 records are events, so too little is tried of one or the other", events)
	}
}

func compareToModel(t *testing.T, data []byte, kind rules.Kind, timestamp int64) (event bool) {
	t.Helper()
	var e detector.Event
	r := NewDecoder(kind, rules.DefaultLabels()).Decode(data, timestamp, &e)
	compareToAgain(t, data, kind, timestamp, r, &e)
	compareToDropped(t, data, kind, timestamp, r, &e)
	if r != nil && (r.Detail == "" || !utf8.ValidString(r.Detail) || len(r.Detail) > 400) {
		t.Errorf("the detail is %q", r.Detail)
	}
	m := newModel(data, kind, timestamp)
	switch {
	case m.sure != "":
		if r == nil || !slices.Contains(strings.Fields(m.sure), string(r.Reason)) {
			t.Errorf("got %v, expected %s", r, m.sure)
		}
	case r != nil && m.tooDeep && r.Reason == NotJSON:
	case len(m.wrong) > 0:
		if r == nil || !m.wrong[r.Reason] {
			t.Errorf("got %v, expected one of %v", r, m.wrong)
		}
	case r != nil:
		t.Errorf("got %v, expected the event %+v", r, m.event)
	default:
		for i, label := range e.Labels {
			if len(label) > 0 && e.Present > 0 && e.Present>>i&1 == 0 {
				t.Errorf("label %d is %q, but not among those that are present, %b", i, label, e.Present)
			}
		}
		m.event.Present = e.Present
		if diff := cmp.Diff(m.event, e, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("another event (-want +got):\n%s", diff)
		}
	}
	return r == nil
}

// full has a value of everything that one record can leave behind for the next.
const full = `{"time":"2026-11-01T12:00:59.999Z","kind":"step","session":"s","id":"i","service":"a","endpoint":"b","step":"c","region":"d",` +
	`"version":"e","error_type":"f","category":"g","name":"h","action":"enter","change":"deploy","previous_version":"j","state":"k",` +
	`"status":404,"duration_ms":1,"dwell_ms":2,"value":3,"score":4}`

// compareToAgain compares the first decoding of a record with that by a decoder that knows the order of its keys, and has decoded another one.
func compareToAgain(t *testing.T, data []byte, kind rules.Kind, timestamp int64, first *Reject, want *detector.Event) {
	t.Helper()
	d := NewDecoder(kind, rules.DefaultLabels())
	var got detector.Event
	mustDecode(t, d, []byte(full), &got)
	_ = d.Decode(data, timestamp, &got)
	mustDecode(t, d, []byte(full), &got)
	_ = d.Decode(data, timestamp, &got)
	mustDecode(t, NewDecoder(kind, rules.DefaultLabels()), []byte(full), &got)
	again := d.Decode(data, timestamp, &got)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Fatalf("again (-first +again):\n%s", diff)
	}
	if diff := cmp.Diff(*want, got, cmpopts.EquateEmpty()); first == nil && diff != "" {
		t.Errorf("another event the second time (-first +again):\n%s", diff)
	}
}

// compareToDropped compares the decoding of a record with that by a decoder that drops labels: it is the same but for them.
func compareToDropped(t *testing.T, data []byte, kind rules.Kind, timestamp int64, first *Reject, want *detector.Event) {
	t.Helper()
	d := NewDecoder(kind, rules.DefaultLabels())
	names := []string{"service", "step", "status_class"}
	d.Drop(names)
	var got detector.Event
	_ = d.Decode(data, timestamp, &got)
	mustDecode(t, NewDecoder(kind, rules.DefaultLabels()), []byte(full), &got)
	dropped := d.Decode(data, timestamp, &got)
	if first != nil && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(first.Detail, name+" has ") }) {
		return // its length, of which nothing is asked now
	}
	if first != nil || dropped != nil {
		if diff := cmp.Diff(first, dropped); diff != "" {
			t.Fatalf("with labels dropped (-without +with):\n%s", diff)
		}
		return
	}
	e := *want
	e.Labels, e.Present = slices.Clone(want.Labels), got.Present
	for _, name := range names {
		i := slices.Index(rules.DefaultLabels(), name)
		e.Labels[i] = nil
		if got.Present>>i&1 != 0 {
			t.Errorf("%s is dropped, but among the labels that are present, %b", name, got.Present)
		}
	}
	if diff := cmp.Diff(e, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("with labels dropped (-expected +got):\n%s", diff)
	}
}

// Of the values of a key the first is a good one.
var values = map[string][]string{
	"time":        {`"2026-11-01T12:00:03.12Z"`, `1793534403120`, `1.5e12`, `"2026-11-01t12:00:03+01:00"`, `"2026-02-29T00:00:00Z"`, `-5`, `1.5`, `"x"`, `null`, `[]`},
	"kind":        {`"error"`, `"latency"`, `"step"`, `"vital"`, `"resource"`, `"satisfaction"`, `"change"`, `"err\u006fr"`, `"errors"`, `null`, `5`},
	"status":      {`200`, `5.04e2`, `599`, `99`, `600`, `200.5`, `"200"`, `null`},
	"duration_ms": {`5`, `0.0000005`, `1e3`, `-0`, `-1`, `1e13`, `"5"`, `null`, `12345.678901`, `1844674407370.9551529`},
	"dwell_ms":    {`5`, `-0.1`, `null`, `0e5`, `{}`},
	"value":       {`5`, `-5.5`, `1e-9`, `9.3e12`, `true`, `null`},
	"score":       {`5`, `-5`, `"good"`},
	"step":        {`"a"`, `""`, `null`, `7`, `"\u00e9\ud83d\ude00"`},
	"action":      {`"enter"`, `"complete"`, `"abandon"`, `"leave"`, `null`},
	"name":        {`"LCP"`, `""`, `"\ud83d"`},
	"change":      {`"deploy"`, `"breaker"`, `"reboot"`, `null`},
	"service":     {`"a"`, `"a\nb"`, `"` + strings.Repeat("x", 300) + `"`, `5`, `null`, `"` + "\xff" + `"`},
	"session":     {`"a"`, `"\"\\\/"`, `[1]`},
	"message":     {`"a"`, `{"a":[1,2]}`, `null`},
	"tenant":      {`"a"`, `1`},
	"x":           {`1`, `[[],{},"\u12","a"]`, `{"time":"x"}`, `tru`, `"\udc00"`, `01`, `[1,]`, strings.Repeat("[", 70) + strings.Repeat("]", 70)},
}

// randomRecord has some of the keys, most of them with good values, and sometimes a byte that does not belong.
func randomRecord(r *rand.Rand) []byte {
	keys := slices.Sorted(maps.Keys(values))
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	var fields []string
	for _, key := range keys[:r.Intn(len(keys)+1)] {
		value := values[key][0]
		if r.Intn(12) == 0 {
			value = values[key][r.Intn(len(values[key]))]
		}
		if r.Intn(20) == 0 {
			key = fmt.Sprintf("\\u%04x%s", key[0], key[1:])
		}
		fields = append(fields, `"`+key+`":`+value)
		if r.Intn(60) == 0 {
			fields = append(fields, fields[r.Intn(len(fields))])
		}
	}
	data := []byte("{" + strings.Join(fields, []string{",", " , ", ",\r\n\t"}[r.Intn(3)]) + "}")
	switch r.Intn(25) {
	case 0:
		data = data[:r.Intn(len(data))]
	case 1:
		data[r.Intn(len(data))] = byte(r.Intn(256))
	}
	return data
}

// model is what should become of a record: the reasons of which one is sure to be given, or all that is wrong with it, or the event.
type model struct {
	sure    string
	tooDeep bool // for Decode, perhaps; encoding/json goes deeper
	wrong   map[Reason]bool
	event   detector.Event

	fields map[string]json.RawMessage // those that are not null
}

func newModel(data []byte, kind rules.Kind, timestamp int64) *model {
	m := &model{wrong: map[Reason]bool{}, fields: map[string]json.RawMessage{}}
	m.tooDeep = bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > maxDepth
	switch trimmed := bytes.TrimLeft(data, " \t\r\n"); {
	case len(data) > MaxRecord:
		m.sure = "too_large"
	case !json.Valid(data):
		m.sure = "not_json bad_utf8"
	case !utf8.Valid(data) || loneSurrogate(data):
		m.sure = "bad_utf8"
		if m.tooDeep {
			m.sure = "bad_utf8 not_json"
		}
	case trimmed[0] != '{':
		if m.sure = "not_an_object"; m.tooDeep {
			m.sure = "not_an_object not_json"
		}
	default:
		m.read(data)
		m.judge(kind, timestamp)
	}
	return m
}

// loneSurrogate says whether a string of valid JSON has half of a surrogate pair: encoding/json replaces it, as it does nothing else
// in valid UTF-8.
func loneSurrogate(data []byte) bool {
	inString := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\' && data[i+1] == 'u':
			r := hexOf(data[i+2:])
			i += 5
			if r < 0xd800 || r > 0xdfff {
				continue
			}
			if r > 0xdbff || !bytes.HasPrefix(data[i+1:], []byte(`\u`)) {
				return true
			}
			if low := hexOf(data[i+3:]); low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 6
		case inString && c == '\\':
			i++
		}
	}
	return false
}

func hexOf(data []byte) int64 {
	v, _ := strconv.ParseInt(string(data[:4]), 16, 64)
	return v
}

// read takes the fields of the object apart and finds those that are there twice.
func (m *model) read(data []byte) {
	known := append(rules.DefaultLabels(), "time", "kind", "session", "message", "status", "duration_ms", "dwell_ms", "value", "score", "tenant")
	seen := map[string]bool{}
	d := json.NewDecoder(bytes.NewReader(data))
	_, _ = d.Token()
	for d.More() {
		token, err := d.Token()
		if err != nil {
			panic(err)
		}
		key := token.(string)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			panic(err)
		}
		if !slices.Contains(known, key) || key == "status_class" {
			continue
		}
		if seen[key] {
			m.wrong[DuplicateKey] = true
			continue
		}
		seen[key] = true
		if string(value) != "null" {
			m.fields[key] = value
		}
	}
}

func (m *model) text(key string) string {
	value, ok := m.fields[key]
	if !ok {
		return ""
	}
	var text string
	if value[0] != '"' || json.Unmarshal(value, &text) != nil {
		m.wrong[WrongType] = true
	}
	return text
}

// number is the value of key in millionths.
func (m *model) number(key string) (v int64, there bool) {
	value, ok := m.fields[key]
	if !ok {
		return 0, false
	}
	if !jsonNumber.Match(value) {
		m.wrong[WrongType] = true
		return 0, true
	}
	v, fits := slowMillionths(string(value))
	if !fits {
		m.wrong[OutOfRange] = true
	}
	return v, true
}

func (m *model) judge(kind rules.Kind, timestamp int64) {
	e := &m.event
	e.Kind, e.Time = kind, timestamp
	if _, ok := m.fields["kind"]; ok {
		if e.Kind = rules.KindOf(m.text("kind")); e.Kind == rules.NoKind {
			m.wrong[UnknownValue] = true
		}
	}
	m.time()
	for _, name := range rules.DefaultLabels() {
		var value string
		if name != "status_class" {
			value = m.text(name)
		}
		if len(value) > MaxLabel {
			m.wrong[OutOfRange] = true
		}
		e.Labels = append(e.Labels, []byte(value))
	}
	m.text("message")
	m.text("tenant")
	e.Session = []byte(m.text("session"))
	m.status()
	values := map[string]int64{}
	for _, key := range []string{"duration_ms", "dwell_ms", "value", "score"} {
		v, _ := m.number(key)
		if v < 0 && strings.HasSuffix(key, "_ms") {
			m.wrong[OutOfRange] = true
		}
		values[key] = v
	}
	if len(m.wrong) == 0 {
		m.complete(values)
	}
}

func (m *model) time() {
	value, ok := m.fields["time"]
	switch {
	case !ok:
	case value[0] == '"':
		ms, ok := slowTime(m.text("time"))
		if m.event.Time = ms; !ok {
			m.wrong[BadTime] = true
		}
	case jsonNumber.Match(value):
		v, fits := slowMillionths(string(value))
		m.event.Time = v / 1e6
		if digits := regexp.MustCompile(`^(0|[1-9]\d{0,14})$`); digits.Match(value) { // beyond the year 2262
			m.event.Time, _ = strconv.ParseInt(string(value), 10, 64)
			v, fits = 0, m.event.Time <= maxTime
		}
		if !fits || v < 0 || v%1e6 != 0 {
			m.wrong[BadTime] = true
		}
	default:
		m.wrong[WrongType] = true
	}
}

func (m *model) status() {
	value, ok := m.fields["status"]
	if !ok {
		return
	}
	v, fits := int64(0), false
	if jsonNumber.Match(value) {
		v, fits = slowMillionths(string(value))
	}
	switch {
	case !jsonNumber.Match(value), fits && v%1e6 != 0:
		m.wrong[WrongType] = true
	case !fits || v < 100e6 || v > 599e6:
		m.wrong[OutOfRange] = true
	default:
		m.event.Labels[slices.Index(rules.DefaultLabels(), "status_class")] = fmt.Appendf(nil, "%dxx", v/100e6)
	}
}

// complete checks what the kind needs.
func (m *model) complete(values map[string]int64) {
	e := &m.event
	if e.Kind == rules.NoKind {
		m.wrong[Missing] = true
		return
	}
	if e.Time < 0 {
		m.wrong[NoTime] = true
		return
	}
	need := func(keys ...string) {
		for _, key := range keys {
			if value, ok := m.fields[key]; !ok || string(value) == `""` {
				m.wrong[Missing] = true
			}
		}
	}
	among := func(key string, allowed string) {
		need(key)
		if !slices.Contains(strings.Fields(allowed), m.text(key)) {
			m.wrong[UnknownValue] = true
		}
	}
	key := ""
	switch e.Kind {
	case rules.KindLatency:
		key = "duration_ms"
		need(key)
	case rules.KindStep:
		key = "dwell_ms"
		need("step")
		among("action", "enter complete abandon")
	case rules.KindVital, rules.KindResource:
		key = "value"
		need("name", key)
	case rules.KindSatisfaction:
		key = "score"
		need(key)
	case rules.KindChange:
		among("change", "deploy rollback config breaker")
	}
	if _, there := m.fields[key]; there {
		e.Value, e.HasValue = values[key], true
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// FuzzMillionths compares the fast conversion of numbers with exact arithmetic.
func FuzzMillionths(f *testing.F) {
	for _, in := range []string{
		"0", "-0", "5", "2003.114", "0.0000005", "-0.0000005", "1e-7", "5e-7", "9223372036854.775807", "9223372036854.7758074999", "9223372036854.7758075",
		"-9223372036854.775808", "1844674407370.9551529", "18446744073709551615999e-9", "1e12", "1E+13", "1e-400", "0e99999999999999999999",
		"1e99999999999999999999", "1e-99999999999999999999", "0.000000000000000000000000000001e30", "123456789012345678901234567890e-20",
	} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if !jsonNumber.MatchString(in) || len(in) > 1000 {
			return
		}
		got, ok := millionths([]byte(in))
		want, fits := slowMillionths(in)
		if ok != fits || ok && got != want {
			t.Errorf("%s is %d, %t; expected %d, %t", in, got, ok, want, fits)
		}
		ms, whole := epochMillis([]byte(in))
		if whole && ms <= maxTime/1000 && (!fits || want != ms*1e6) {
			t.Errorf("%s is the time %d; expected %d millionths", in, ms, want)
		}
		if !whole && fits && want >= 0 && want%1e6 == 0 {
			t.Errorf("%s is no time, although it is whole", in)
		}
	})
}

// slowMillionths is millionths by exact arithmetic. Numbers out of all proportion are told by their size.
func slowMillionths(in string) (int64, bool) {
	digits, exp, _ := strings.Cut(strings.ToLower(in), "e")
	if strings.Trim(digits, "-0.") == "" {
		return 0, true
	}
	if e, err := strconv.Atoi(exp); exp != "" && (err != nil || e > 100_000 || e < -100_000) {
		return 0, strings.HasPrefix(exp, "-")
	}
	exact, ok := new(big.Rat).SetString(in)
	if !ok {
		panic("no number: " + in)
	}
	half := big.NewRat(1, 2)
	exact.Mul(exact, big.NewRat(1e6, 1))
	negative := exact.Sign() < 0
	exact.Add(exact.Abs(exact), half)
	rounded := new(big.Int).Quo(exact.Num(), exact.Denom())
	if negative {
		rounded.Neg(rounded)
	}
	if !rounded.IsInt64() || rounded.Int64() == -1<<63 {
		return 0, false
	}
	return rounded.Int64(), true
}

// FuzzTime compares parseTime with package time's strict reading of RFC 3339.
func FuzzTime(f *testing.F) {
	for _, in := range []string{
		"2026-11-01T12:00:03.120Z", "2026-11-01t12:00:03z", "2028-02-29T23:59:59.999999999+23:59", "1970-01-01T00:00:00-00:01", "1969-12-31T23:59:59Z",
		"2026-12-31T23:59:60Z", "2026-11-01T12:00:03,1Z", "2026-11-01T1:00:03Z", "9999-12-31T23:59:60Z", "2100-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "1969-12-31T23:30:00-01:00", "0001-01-01T00:00:00Z",
	} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, ok := parseTime([]byte(in))
		want, fits := slowTime(in)
		if ok != fits || ok && got != want {
			t.Errorf("%q is %d, %t; expected %d, %t", in, got, ok, want, fits)
		}
	})
}

var timeShape = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[-+]([01]\d|2[0-3]):[0-5]\d)$`)

// slowTime is parseTime by package time, which knows no leap second and no lower case, but times of other shapes.
func slowTime(in string) (int64, bool) {
	if !timeShape.MatchString(in) {
		return 0, false
	}
	leap := time.Duration(0)
	if in[17:19] == "60" {
		in, leap = in[:17]+"59"+in[19:], time.Second
	}
	at, err := time.Parse(time.RFC3339Nano, strings.ToUpper(in))
	ms := at.Add(leap).UnixMilli()
	return ms, err == nil && in >= "1970" && ms >= 0 && ms <= maxTime
}

// FuzzDelta: no bytes make DecodeDelta panic or take much more memory than they have; what is read is written and read the same.
func FuzzDelta(f *testing.F) {
	for seed := range int64(4) {
		for _, value := range EncodeDelta(randomDelta(seed, 3)) {
			f.Add(value)
		}
	}
	f.Add([]byte{1, 0, 0, 0})
	f.Add([]byte{1, 0, 255, 255, 255, 255, 15, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d, err := DecodeDelta("domain", data)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(100*len(data)+1<<20) {
			t.Errorf("%d bytes took %d bytes of memory", len(data), used)
		}
		if err != nil {
			return
		}
		compareToKnown(t, d, data)
		again := decodeAll(t, "domain", EncodeDelta(d))
		if len(d.Series) == 0 {
			return
		}
		if diff := cmp.Diff(d, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("written and read it is another (-want +got):\n%s", diff)
		}
		first, second := EncodeDelta(d), EncodeDelta(again)
		if !slices.EqualFunc(first, second, bytes.Equal) {
			t.Errorf("written twice it is %x and %x", first, second)
		}
	})
}

var runbook = sync.OnceValues(func() (*rules.File, error) {
	name, text := rules.Runbook()
	return rules.Parse(name, text, rules.Options{Labels: rules.DefaultLabels(), Pane: 10_000})
})

// compareToKnown reads a delta again and again for a judge that knows more and more of it: it stays the same.
func compareToKnown(t *testing.T, want *detector.Delta, data []byte) {
	t.Helper()
	file, err := runbook()
	if err != nil {
		t.Fatal(err)
	}
	judge := detector.NewJudge(detector.DefaultConfig(), file)
	decoder := DeltaDecoder{Known: judge.Known}
	for n := range 4 {
		got, err := decoder.Decode("domain", data)
		if err != nil {
			t.Fatalf("time %d: %v", n, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(detector.SeriesDelta{}, "Known")); diff != "" {
			t.Fatalf("time %d (-want +got):\n%s", n, diff)
		}
		judge.Delta(got)
	}
}

// decodeAll joins the values of one delta.
func decodeAll(t *testing.T, domain string, values [][]byte) *detector.Delta {
	t.Helper()
	var out *detector.Delta
	for _, value := range values {
		d, err := DecodeDelta(domain, value)
		if err != nil {
			t.Fatal(err)
		}
		if out == nil {
			out = d
			continue
		}
		out.Series = append(out.Series, d.Series...)
	}
	return out
}
