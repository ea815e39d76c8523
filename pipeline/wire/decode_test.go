package wire

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/rules"
)

// recordTime is the timestamp of the records in these tests.
const recordTime = 1793534400123

// decoded is the event, or the reject, as text: `latency at=1 value=2000000 service=a` or `out_of_range: duration_ms is -3, ...`.
func decoded(d *Decoder, e *detector.Event, in string, timestamp int64) string {
	if r := d.Decode([]byte(in), timestamp, e); r != nil {
		return r.Error()
	}
	out := []string{e.Kind.String()}
	if e.Time != recordTime {
		out = append(out, fmt.Sprintf("at=%d", e.Time))
	}
	if e.HasValue {
		out = append(out, fmt.Sprintf("value=%d", e.Value))
	}
	for i, name := range rules.DefaultLabels() {
		if len(e.Labels[i]) > 0 {
			out = append(out, name+"="+string(e.Labels[i]))
		}
	}
	if len(e.Session) > 0 {
		out = append(out, "session="+string(e.Session))
	}
	return strings.Join(out, " ")
}

// tester checks what becomes of a record on a topic of that kind.
func tester(t *testing.T, kind rules.Kind) func(in, want string) {
	d := NewDecoder(kind, rules.DefaultLabels())
	var e detector.Event // the same for all records, as in the program
	return func(in, want string) {
		t.Helper()
		if got := decoded(d, &e, in, recordTime); got != want {
			t.Errorf("%.200q\ngot      %.300s\nexpected %.300s", in, got, want)
		}
	}
}

func TestDecodeKinds(t *testing.T) {
	f := tester(t, rules.NoKind)
	f(`{"kind":"error"}`, `error`)
	f(`{"kind":"error","service":"a","error_type":"E","category":"minor","message":"m","session":"s"}`,
		`error service=a error_type=E category=minor session=s`)
	f(`{"kind":"error","duration_ms":5,"value":6,"dwell_ms":7,"score":8}`, `error`) // values of other kinds
	f(`{"kind":"latency","duration_ms":5}`, `latency value=5000000`)
	f(`{"kind":"latency","duration_ms":0,"status":404}`, `latency value=0 status_class=4xx`)
	f(`{"kind":"latency"}`, `missing: duration_ms is missing, which events of kind latency have`)
	f(`{"kind":"latency","duration_ms":null}`, `missing: duration_ms is missing, which events of kind latency have`)
	f(`{"kind":"step","step":"a","action":"enter"}`, `step step=a action=enter`)
	f(`{"kind":"step","step":"a","action":"complete","dwell_ms":1500}`, `step value=1500000000 step=a action=complete`)
	f(`{"kind":"step","step":"a","action":"abandon","dwell_ms":null}`, `step step=a action=abandon`)
	f(`{"kind":"step","action":"enter"}`, `missing: step is missing, which events of kind step have`)
	f(`{"kind":"step","step":"","action":"enter"}`, `missing: step is missing, which events of kind step have`)
	f(`{"kind":"step","step":"a"}`, `missing: action is missing, which events of kind step have`)
	f(`{"kind":"step","step":"a","action":"leave"}`, `unknown_value: action is "leave", expected one of [enter complete abandon]`)
	f(`{"kind":"vital","name":"LCP","value":2411.5}`, `vital value=2411500000 name=LCP`)
	f(`{"kind":"vital","value":1}`, `missing: name is missing, which events of kind vital have`)
	f(`{"kind":"vital","name":"LCP"}`, `missing: value is missing, which events of kind vital have`)
	f(`{"kind":"resource","name":"cpu","value":-0.83}`, `resource value=-830000 name=cpu`)
	f(`{"kind":"resource","name":"cpu"}`, `missing: value is missing, which events of kind resource have`)
	f(`{"kind":"resource","value":1}`, `missing: name is missing, which events of kind resource have`)
	f(`{"kind":"satisfaction","score":4}`, `satisfaction value=4000000`)
	f(`{"kind":"satisfaction"}`, `missing: score is missing, which events of kind satisfaction have`)
	f(`{"kind":"change","change":"deploy","version":"2","previous_version":"1"}`, `change version=2 change=deploy previous_version=1`)
	f(`{"kind":"change","change":"breaker","state":"open"}`, `change change=breaker state=open`)
	f(`{"kind":"change"}`, `missing: change is missing, which events of kind change have`)
	f(`{"kind":"change","change":"reboot"}`, `unknown_value: change is "reboot", expected one of [deploy rollback config breaker]`)
	f(`{}`, `missing: kind is missing, and the topic has none of its own`)
	f(`{"kind":null}`, `missing: kind is missing, and the topic has none of its own`)
	f(`{"kind":""}`, `unknown_value: kind is "", expected one of [error latency step vital resource satisfaction change]`)
	f(`{"kind":"Error"}`, `unknown_value: kind is "Error", expected one of [error latency step vital resource satisfaction change]`)
	f(`{"kind":3}`, `wrong_type: kind is 3, expected text`)

	f = tester(t, rules.KindLatency)
	f(`{"duration_ms":1}`, `latency value=1000000`)
	f(`{"duration_ms":1,"kind":null}`, `latency value=1000000`)
	f(`{"duration_ms":1,"kind":"error"}`, `error`) // the record knows better than the topic
	f(`{"kind":"error"}`, `error`)
}

func TestDecodeJSON(t *testing.T) {
	f := tester(t, rules.KindError)
	f(``, `not_json: the JSON ends after 0 bytes`)
	f(" \t\r\n ", `not_json: the JSON ends after 5 bytes`)
	f(`{}`, `error`)
	f("\r\n { \"service\" :\t\"a\" ,\r\n \"region\":\"b\"\n}\r\n", `error service=a region=b`)
	f("\ufeff{}", `not_json: the record begins with a byte order mark`)
	f("{}\ufeff", `not_json: unexpected byte 0xef at byte 2`)
	f("{}\x00", `not_json: unexpected byte 0x00 at byte 2`)
	f("\x00{}", `not_json: unexpected byte 0x00 at byte 0`)
	f("{}{}", `not_json: unexpected '{' at byte 2`)
	f("{},", `not_json: unexpected ',' at byte 2`)
	f(`{`, `not_json: the JSON ends after 1 bytes`)
	f(`}`, `not_json: unexpected '}' at byte 0`)
	f(`{"service"`, `not_json: the JSON ends after 10 bytes`)
	f(`{"service":`, `not_json: the JSON ends after 11 bytes`)
	f(`{"service":"a`, `not_json: the JSON ends after 13 bytes`)
	f(`{"service":"a"`, `not_json: the JSON ends after 14 bytes`)
	f(`{"service":"a",`, `not_json: the JSON ends after 15 bytes`)
	f(`{"service":"a",}`, `not_json: unexpected '}' at byte 15`)
	f(`{"service" "a"}`, `not_json: unexpected '"' at byte 11`)
	f(`{service:"a"}`, `not_json: unexpected 's' at byte 1`)
	f(`{'service':"a"}`, `not_json: unexpected '\'' at byte 1`)
	f(`{"service":'a'}`, `not_json: unexpected '\'' at byte 11`)
	f(`{"a":1 /* one */}`, `not_json: unexpected '/' at byte 7`)
	f(`[]`, `not_an_object: the record is JSON but no object`)
	f(`[{"service":"a"}]`, `not_an_object: the record is JSON but no object`)
	f(`"text"`, `not_an_object: the record is JSON but no object`)
	f(`5`, `not_an_object: the record is JSON but no object`)
	f(` null `, `not_an_object: the record is JSON but no object`)
	f(`true`, `not_an_object: the record is JSON but no object`)
	f(`tru`, `not_json: the JSON ends after 3 bytes`)
	f(`nulL`, `not_json: unexpected 'L' at byte 3`)
	f(`5 6`, `not_json: unexpected '6' at byte 2`)
	f(`[1,2`, `not_json: the JSON ends after 4 bytes`)
	f(`{"x":[1,2,{"y":[true,false,null]}],"z":{}}`, `error`)
	f(`{"x":[1,2,{"y":[true,false,nul]}]}`, `not_json: unexpected ']' at byte 30`)
	f(`{"x":[1,]}`, `not_json: unexpected ']' at byte 8`)
	f(`{"x":[,1]}`, `not_json: unexpected ',' at byte 6`)
	f(`{"x":{"y":1,}}`, `not_json: unexpected '}' at byte 12`)
	f(`{"x":{y:1}}`, `not_json: unexpected 'y' at byte 6`)
	f(`{"x":}`, `not_json: unexpected '}' at byte 5`)
	f(`{"x":1]`, `not_json: unexpected ']' at byte 6`)
	f(`{"x":nullx}`, `not_json: unexpected 'x' at byte 9`)
	f(`{"x":`+strings.Repeat("[", 64)+strings.Repeat("]", 64)+`}`, `error`)
	f(`{"x":`+strings.Repeat("[", 65)+strings.Repeat("]", 65)+`}`, `not_json: values are nested more than 64 deep`)
	f(`{"x":`+strings.Repeat(`{"y":`, 10_000), `not_json: values are nested more than 64 deep`)
	f(strings.Repeat("[", 60_000), `not_json: values are nested more than 64 deep`)
}

// TestDecodeSyntaxFirst: what is not JSON is not JSON, whatever else is wrong with it.
func TestDecodeSyntaxFirst(t *testing.T) {
	f := tester(t, rules.KindLatency)
	f(`{"duration_ms":-3`, `not_json: the JSON ends after 17 bytes`)
	f(`{"duration_ms":-3}`, `out_of_range: duration_ms is -3, expected 0 or more`)
	f(`{"duration_ms":1,"duration_ms":2`, `not_json: the JSON ends after 32 bytes`)
	f(`{"duration_ms":1,"duration_ms":2}`, `duplicate_key: the key "duration_ms" is there twice`)
	f(`{"duration_ms":1,"duration_ms":}`, `not_json: unexpected '}' at byte 31`)
	f(`{"duration_ms":"1","x":"`+"\xff"+`"}`, `bad_utf8: the string at byte 24 is not UTF-8`)
	f(`{"duration_ms":"1","x":5}`, `wrong_type: duration_ms is "1", expected a number`)
	f(`{"duration_ms":-3,"time":"x","service":5}`, `out_of_range: duration_ms is -3, expected 0 or more`) // the first of them
	f(`{"time":"x"}`, `bad_time: time is "x", expected RFC 3339 such as 2026-11-01T12:00:03.120Z, from 1970 to 9999`)
	f(`{"time":"x`, `not_json: the JSON ends after 10 bytes`)
	f(`{"kind":"x",}`, `not_json: unexpected '}' at byte 12`)
	f(`{"status":99,}`, `not_json: unexpected '}' at byte 13`)
}

func TestDecodeText(t *testing.T) {
	f := tester(t, rules.KindError)
	f(`{"service":"é漢😀"}`, `error service=é漢😀`)
	f(`{"service":"\u00e9\u6f22\ud83d\ude00"}`, `error service=é漢😀`)
	f(`{"service":"\"\\\/\b\f\n\r\t"}`, "error service=\"\\/\b\f\n\r\t")
	f(`{"service":"a\u0000b"}`, "error service=a\x00b")
	f(`{"service":"\u00E9\uABCD"}`, `error service=é`+"\uabcd")
	f(`{"service":"a\nb","region":"c\td","session":"\u0065"}`, "error service=a\nb region=c\td session=e")
	f(`{"\u0073ervice":"a"}`, `error service=a`)
	f(`{"\u0073ervice":"a","service":"b"}`, `duplicate_key: the key "service" is there twice`)
	f(`{"service":"a","service":"a"}`, `duplicate_key: the key "service" is there twice`)
	f(`{"service":null,"service":"a"}`, `duplicate_key: the key "service" is there twice`)
	f(`{"message":"a","message":"b"}`, `duplicate_key: the key "message" is there twice`)
	f(`{"x":1,"x":2}`, `error`) // nobody knows x
	f(`{"service":null,"session":null,"message":null}`, `error`)
	f(`{"service":""}`, `error`)
	f(`{"service":5}`, `wrong_type: service is 5, expected text`)
	f(`{"service":true}`, `wrong_type: service is true, expected text`)
	f(`{"service":{"a":[1, 2,`+"\n\t"+`3]}}`, `wrong_type: service is {"a":[1, 2, 3]}, expected text`)
	f(`{"session":5}`, `wrong_type: session is 5, expected text`)
	f(`{"message":5}`, `wrong_type: message is 5, expected text`)
	f(`{"tenant":5}`, `wrong_type: tenant is 5, expected text`)
	f(`{"tenant":"a"}`, `error`)
	f(`{"service":"`+strings.Repeat("é", 128)+`"}`, `error service=`+strings.Repeat("é", 128))
	f(`{"service":"`+strings.Repeat("é", 128)+`a"}`, `out_of_range: service has 257 bytes, expected 256 at most`)
	f(`{"message":"`+strings.Repeat("a", 60_000)+`"}`, `error`)
	f(`{"session":"`+strings.Repeat("a", 300)+`"}`, `error session=`+strings.Repeat("a", 300))
	f(`{"service":["`+strings.Repeat("é", 60)+`"]}`, `wrong_type: service is ["`+strings.Repeat("é", 31)+`, expected text`)
	f(`{"kind":"`+strings.Repeat("漢", 60)+`"}`,
		`unknown_value: kind is "`+strings.Repeat("漢", 21)+`", expected one of [error latency step vital resource satisfaction change]`)

	f("{\"service\":\"a\xff\"}", `bad_utf8: the string at byte 12 is not UTF-8`)
	f("{\"service\":\"\\n\xff\"}", `bad_utf8: the string at byte 12 is not UTF-8`)
	f("{\"x\":\"\xc3\"}", `bad_utf8: the string at byte 6 is not UTF-8`)
	f("{\"\xc3\":1}", `bad_utf8: the string at byte 2 is not UTF-8`)
	f("{\"x\":\"\xed\xa0\x80\"}", `bad_utf8: the string at byte 6 is not UTF-8`) // a surrogate in UTF-8
	f("{\"x\":\"\xc0\xaf\"}", `bad_utf8: the string at byte 6 is not UTF-8`)     // too long a form
	f(`{"x":"\ud800"}`, `bad_utf8: half of a surrogate pair at byte 12`)
	f(`{"x":"\ud800x"}`, `bad_utf8: half of a surrogate pair at byte 12`)
	f(`{"x":"\udc00\ud800"}`, `bad_utf8: half of a surrogate pair at byte 18`)
	f(`{"x":"\ud800\u0041"}`, `bad_utf8: half of a surrogate pair at byte 18`)
	f(`{"x":"\ud83d\ude0"}`, `not_json: unexpected '"' at byte 17`)
	f(`{"x":"\uD83D\uDE00"}`, `error`)
	f(`{"x":"\u12"}`, `not_json: unexpected '"' at byte 10`)
	f(`{"x":"\u12g4"}`, `not_json: unexpected 'g' at byte 10`)
	f(`{"x":"\x41"}`, `not_json: unexpected 'x' at byte 7`)
	f(`{"x":"\'"}`, `not_json: unexpected '\'' at byte 7`)
	f(`{"x":"\`, `not_json: the JSON ends after 7 bytes`)
	f(`{"x":"\u00`, `not_json: the JSON ends after 10 bytes`)
	f(`{"x":"\n`, `not_json: the JSON ends after 8 bytes`)
	f("{\"x\":\"a\nb\"}", `not_json: unexpected byte 0x0a at byte 7`)
	f("{\"x\":\"\\ta\tb\"}", `not_json: unexpected byte 0x09 at byte 9`)
	f("{\"x\":\"a\x7fb\"}", `error`)
}

func TestDecodeNumbers(t *testing.T) {
	f := tester(t, rules.KindLatency)
	f(`{"duration_ms":0}`, `latency value=0`)
	f(`{"duration_ms":-0}`, `latency value=0`)
	f(`{"duration_ms":-0.0e5}`, `latency value=0`)
	f(`{"duration_ms":2003.114}`, `latency value=2003114000`)
	f(`{"duration_ms":0.0000004}`, `latency value=0`)
	f(`{"duration_ms":0.0000005}`, `latency value=1`)
	f(`{"duration_ms":-0.0000004}`, `latency value=0`) // it is 0 in the precision that we have
	f(`{"duration_ms":-0.0000005}`, `out_of_range: duration_ms is -0.0000005, expected 0 or more`)
	f(`{"duration_ms":1e3}`, `latency value=1000000000`)
	f(`{"duration_ms":1E+3}`, `latency value=1000000000`)
	f(`{"duration_ms":1500e-3}`, `latency value=1500000`)
	f(`{"duration_ms":1.5e-400}`, `latency value=0`)
	f(`{"duration_ms":0e999999999999999999999}`, `latency value=0`)
	f(`{"duration_ms":0.000000000000000000000000000001e30}`, `latency value=1000000`)
	f(`{"duration_ms":1000000000000000000000000000000e-30}`, `latency value=1000000`)
	f(`{"duration_ms":0.`+strings.Repeat("0", 20_000)+`1e20001}`, `latency value=1000000`)
	f(`{"duration_ms":1`+strings.Repeat("0", 20_000)+`e-20000}`, `latency value=1000000`)
	f(`{"duration_ms":0.0000009999999999999999999}`, `latency value=1`)
	f(`{"duration_ms":9223372036854.775807}`, `latency value=9223372036854775807`)
	f(`{"duration_ms":9223372036854.7758074}`, `latency value=9223372036854775807`)
	f(`{"duration_ms":9223372036854.7758075}`, `out_of_range: duration_ms is 9223372036854.7758075, expected less than 9.2e12 either way`)
	f(`{"duration_ms":1844674407370.9551529}`, `latency value=1844674407370955153`)
	f(`{"duration_ms":1e13}`, `out_of_range: duration_ms is 1e13, expected less than 9.2e12 either way`)
	f(`{"duration_ms":1e400}`, `out_of_range: duration_ms is 1e400, expected less than 9.2e12 either way`)
	f(`{"duration_ms":-1e400}`, `out_of_range: duration_ms is -1e400, expected 0 or more`)
	f(`{"duration_ms":-3}`, `out_of_range: duration_ms is -3, expected 0 or more`)
	f(`{"duration_ms":`+strings.Repeat("9", 100)+`}`,
		`out_of_range: duration_ms is `+strings.Repeat("9", 64)+`, expected less than 9.2e12 either way`)
	f(`{"duration_ms":1,"dwell_ms":-1}`, `out_of_range: dwell_ms is -1, expected 0 or more`)
	f(`{"duration_ms":1,"value":-1,"score":-1}`, `latency value=1000000`)
	f(`{"duration_ms":1,"value":-1e13}`, `out_of_range: value is -1e13, expected less than 9.2e12 either way`)
	f(`{"duration_ms":"5"}`, `wrong_type: duration_ms is "5", expected a number`)
	f(`{"duration_ms":"NaN"}`, `wrong_type: duration_ms is "NaN", expected a number`)
	f(`{"duration_ms":true}`, `wrong_type: duration_ms is true, expected a number`)
	f(`{"duration_ms":[5]}`, `wrong_type: duration_ms is [5], expected a number`)
	f(`{"duration_ms":{}}`, `wrong_type: duration_ms is {}, expected a number`)
	f(`{"duration_ms":NaN}`, `not_json: unexpected 'N' at byte 15`)
	f(`{"duration_ms":Infinity}`, `not_json: unexpected 'I' at byte 15`)
	f(`{"duration_ms":-Infinity}`, `not_json: unexpected 'I' at byte 16`)
	f(`{"duration_ms":+5}`, `not_json: unexpected '+' at byte 15`)
	f(`{"duration_ms":.5}`, `not_json: unexpected '.' at byte 15`)
	f(`{"duration_ms":5.}`, `not_json: unexpected '}' at byte 17`)
	f(`{"duration_ms":05}`, `not_json: unexpected '5' at byte 16`)
	f(`{"duration_ms":-}`, `not_json: unexpected '}' at byte 16`)
	f(`{"duration_ms":--5}`, `not_json: unexpected '-' at byte 16`)
	f(`{"duration_ms":5e}`, `not_json: unexpected '}' at byte 17`)
	f(`{"duration_ms":5e+}`, `not_json: unexpected '}' at byte 18`)
	f(`{"duration_ms":5e1.5}`, `not_json: unexpected '.' at byte 18`)
	f(`{"duration_ms":0x10}`, `not_json: unexpected 'x' at byte 16`)
	f(`{"duration_ms":1_000}`, `not_json: unexpected '_' at byte 16`)
	f(`{"duration_ms":5`, `not_json: the JSON ends after 16 bytes`)
	f(`{"duration_ms":-`, `not_json: the JSON ends after 16 bytes`)
}

func TestDecodeStatus(t *testing.T) {
	f := tester(t, rules.KindLatency)
	for status := 100; status <= 599; status++ {
		f(fmt.Sprintf(`{"duration_ms":1,"status":%d}`, status), fmt.Sprintf("latency value=1000000 status_class=%dxx", status/100))
	}
	f(`{"duration_ms":1,"status":null}`, `latency value=1000000`)
	f(`{"duration_ms":1,"status":200.0}`, `latency value=1000000 status_class=2xx`)
	f(`{"duration_ms":1,"status":5.04e2}`, `latency value=1000000 status_class=5xx`)
	f(`{"duration_ms":1,"status":200.5}`, `wrong_type: status is 200.5, expected a whole number`)
	f(`{"duration_ms":1,"status":99}`, `out_of_range: status is 99, expected 100 to 599`)
	f(`{"duration_ms":1,"status":600}`, `out_of_range: status is 600, expected 100 to 599`)
	f(`{"duration_ms":1,"status":0}`, `out_of_range: status is 0, expected 100 to 599`)
	f(`{"duration_ms":1,"status":-200}`, `out_of_range: status is -200, expected 100 to 599`)
	f(`{"duration_ms":1,"status":1e30}`, `out_of_range: status is 1e30, expected 100 to 599`)
	f(`{"duration_ms":1,"status":"200"}`, `wrong_type: status is "200", expected a whole number`)
	f(`{"duration_ms":1,"status_class":"9xx"}`, `latency value=1000000`) // it is made, not taken

	d := NewDecoder(rules.KindLatency, []string{"service"})
	var e detector.Event
	if r := d.Decode([]byte(`{"duration_ms":1,"status":500,"service":"a","region":"b"}`), 0, &e); r != nil || len(e.Labels) != 1 || string(e.Labels[0]) != "a" {
		t.Errorf("with one label: %v, %s", r, e.Labels)
	}
}

func TestDecodeTime(t *testing.T) {
	f := tester(t, rules.KindError)
	const bad = ", expected RFC 3339 such as 2026-11-01T12:00:03.120Z, from 1970 to 9999"
	const badMillis = ", expected whole epoch milliseconds from 0 up to the year 9999"
	f(`{"time":"2026-11-01T12:00:03.120Z"}`, `error at=1793534403120`)
	f(`{"time":"2026-11-01T12:00:03Z"}`, `error at=1793534403000`)
	f(`{"time":"2026-11-01T12:00:03.1Z"}`, `error at=1793534403100`)
	f(`{"time":"2026-11-01T12:00:03.1239999999Z"}`, `error at=1793534403123`)
	f(`{"time":"2026-11-01t12:00:03z"}`, `error at=1793534403000`)
	f(`{"time":"2026-11-01T13:30:03+01:30"}`, `error at=1793534403000`)
	f(`{"time":"2026-11-01T00:00:03-12:00"}`, `error at=1793534403000`)
	f(`{"time":"2026-11-01T12:00:03-00:00"}`, `error at=1793534403000`)
	f(`{"time":"2026-12-31T23:59:60Z"}`, `error at=1798761600000`)
	f(`{"time":"2028-02-29T00:00:00Z"}`, `error at=1835395200000`)
	f(`{"time":"2000-02-29T00:00:00Z"}`, `error at=951782400000`)
	f(`{"time":"1970-01-01T00:00:00Z"}`, `error at=0`)
	f(`{"time":"9999-12-31T23:59:59.999Z"}`, `error at=253402300799999`)
	f(`{"time":"\u0032026-11-01T12:00:03Z"}`, `error at=1793534403000`)
	f(`{"time":1793534403120}`, `error at=1793534403120`)
	f(`{"time":1.79353440312e12}`, `error at=1793534403120`)
	f(`{"time":1793534403120.0}`, `error at=1793534403120`)
	f(`{"time":1793534403120000000e-6}`, `error at=1793534403120`)
	f(`{"time":0}`, `error at=0`)
	f(`{"time":253402300799999}`, `error at=253402300799999`)
	f(`{"time":null}`, `error`)
	f(`{"time":253402300800000}`, `bad_time: time is 253402300800000`+badMillis)
	f(`{"time":1793534403120.5}`, `bad_time: time is 1793534403120.5`+badMillis)
	f(`{"time":9.3e12}`, `bad_time: time is 9.3e12`+badMillis) // only as digits
	f(`{"time":9300000000000}`, `error at=9300000000000`)
	f(`{"time":-1}`, `bad_time: time is -1`+badMillis)
	f(`{"time":1e30}`, `bad_time: time is 1e30`+badMillis)
	f(`{"time":99999999999999999999999999}`, `bad_time: time is 99999999999999999999999999`+badMillis)
	f(`{"time":"1969-12-31T23:59:59.999Z"}`, `bad_time: time is "1969-12-31T23:59:59.999Z"`+bad)
	f(`{"time":"1969-12-31T23:30:00-01:00"}`, `bad_time: time is "1969-12-31T23:30:00-01:00"`+bad)
	f(`{"time":"1970-01-01T00:00:00+00:01"}`, `bad_time: time is "1970-01-01T00:00:00+00:01"`+bad)
	f(`{"time":"9999-12-31T23:59:59.999-00:01"}`, `bad_time: time is "9999-12-31T23:59:59.999-00:01"`+bad)
	for _, in := range []string{
		"", "2026-11-01", "2026-11-01T12:00:03", "2026-11-01 12:00:03Z", "2026-11-01T12:00Z", "2026-11-01T12:00:03.Z", "2026-11-01T12:00:03,1Z",
		"2026-13-01T12:00:03Z", "2026-00-01T12:00:03Z", "2026-02-29T12:00:03Z", "2026-11-00T12:00:03Z", "2026-11-31T12:00:03Z", "2100-02-29T00:00:00Z",
		"2026-11-01T24:00:00Z", "2026-11-01T12:60:03Z", "2026-11-01T12:00:61Z", "2026-11-01T12:00:03+24:00", "2026-11-01T12:00:03+01:60",
		"2026-11-01T12:00:03+0100", "2026-11-01T12:00:03+1:00", "2026-11-01T12:00:03UTC", "2026-11-01T12:00:03Z ", " 2026-11-01T12:00:03Z",
		"26-11-01T12:00:03Z", "+026-11-01T12:00:03Z", "20261101T120003Z", "2026-11-01T12:00:03ZZ", "yesterday", "1793534403120", "٢٠٢٦-11-01T12:00:03Z",
	} {
		f(`{"time":"`+in+`"}`, fmt.Sprintf("bad_time: time is %q", in)+bad)
	}
	f(`{"time":true}`, `wrong_type: time is true, expected RFC 3339 text or epoch milliseconds`)
	f(`{"time":{"seconds":1}}`, `wrong_type: time is {"seconds":1}, expected RFC 3339 text or epoch milliseconds`)

	d := NewDecoder(rules.KindError, rules.DefaultLabels())
	if got := decoded(d, &detector.Event{}, `{}`, -1); got != "no_time: time is missing, and the record has no timestamp" {
		t.Error(got)
	}
	if got := decoded(d, &detector.Event{}, `{"time":null}`, -1); got != "no_time: time is missing, and the record has no timestamp" {
		t.Error(got)
	}
	if got := decoded(d, &detector.Event{}, `{"time":5}`, -1); got != "error at=5" {
		t.Error(got)
	}
	if got := decoded(d, &detector.Event{}, `{}`, 0); got != "error at=0" {
		t.Error(got)
	}
}

func TestDecodeTooLarge(t *testing.T) {
	f := tester(t, rules.KindError)
	fill := func(size int) string { return `{"message":"` + strings.Repeat("a", size-len(`{"message":""}`)) + `"}` }
	f(fill(64<<10), `error`)
	f(fill(64<<10+1), `too_large: the record has 65537 bytes, at most 65536 are read`)
	f(fill(10<<20), `too_large: the record has 10485760 bytes, at most 65536 are read`)
	f(strings.Repeat("\xff", 64<<10+1), `too_large: the record has 65537 bytes, at most 65536 are read`)

	d := NewDecoder(rules.KindError, rules.DefaultLabels())
	d.MaxBytes = 1 << 20
	if got := decoded(d, &detector.Event{}, fill(1<<20), recordTime); got != "error" {
		t.Error(got)
	}
	if got := decoded(d, &detector.Event{}, fill(1<<20+1), recordTime); got != "too_large: the record has 1048577 bytes, at most 1048576 are read" {
		t.Error(got)
	}
}

// TestDecodeIsFresh: nothing of one record is left in the next one.
func TestDecodeIsFresh(t *testing.T) {
	f := tester(t, rules.KindError)
	full := `{"kind":"latency","time":5,"service":"a\n","session":"s\n","status":500,"duration_ms":7}`
	for range 2 {
		f(full, "latency at=5 value=7000000 service=a\n status_class=5xx session=s\n")
		f(`{}`, `error`)
		f(`{"kind":"latency"}`, `missing: duration_ms is missing, which events of kind latency have`)
		f(`{"service":"`+strings.Repeat(`\u0061`, 250)+`","region":"\u0062"}`, `error service=`+strings.Repeat("a", 250)+` region=b`)
		f(`{`, `not_json: the JSON ends after 1 bytes`)
		f(`{"service":"x","service":"y"}`, `duplicate_key: the key "service" is there twice`)
	}
}

// TestDecodeKeepsRecord: the bytes of the record stay as they are, for the rejected topic.
func TestDecodeKeepsRecord(t *testing.T) {
	d := NewDecoder(rules.KindError, rules.DefaultLabels())
	for _, in := range []string{`{"service":"\u0061\n","x":"\ud83d\ude00"}`, `{"service":"\ud800"}`} {
		data := []byte(in)
		var e detector.Event
		_ = d.Decode(data, 0, &e)
		if string(data) != in {
			t.Errorf("%s has become %s", in, data)
		}
	}
}

func TestUnknownKeys(t *testing.T) {
	d := NewDecoder(rules.KindError, []string{"service", "shop"})
	f := func(in string) {
		t.Helper()
		if got := refusal(d, in); got != "" {
			t.Errorf("%s: %s", in, got)
		}
	}
	f(`{"service":"a","shop":"b","region":"c","tenant":"d"}`) // configured, or of the contract
	if len(d.Unknown()) != 0 {
		t.Errorf("known keys are unknown: %v", d.Unknown())
	}
	f(`{"trace_id":"x","trace_id":"y","status_class":"5xx","":1,"Service":"z"}`)
	f(`{"trace_id":{"service":1},"tr\u0061ce_id":null}`)
	want := map[string]int64{"trace_id": 4, "status_class": 1, "": 1, "Service": 1}
	if !maps.Equal(d.Unknown(), want) {
		t.Errorf("unknown are %v, expected %v", d.Unknown(), want)
	}
	f(`{"` + strings.Repeat("k", MaxLabel+1) + `":1,"` + strings.Repeat("k", MaxLabel) + `":1}`)
	if got := d.Unknown(); got["other"] != 1 || got[strings.Repeat("k", MaxLabel)] != 1 || len(got) != 6 {
		t.Errorf("with a name that is too long: %v", got)
	}
	for i := range 200 {
		f(fmt.Sprintf(`{"key%d":1}`, i))
	}
	got := d.Unknown()
	if len(got) != 100 || got["other"] != 107 || got["key93"] != 1 || got["key94"] != 0 {
		t.Errorf("%d names, %d of others; %v", len(got), got["other"], slices.Sorted(maps.Keys(got)))
	}
	got["trace_id"] = 1000
	if d.Unknown()["trace_id"] != 4 {
		t.Error("whoever asks for the counts can change them")
	}
	taken := map[string]int64{"trace_id": 1}
	d.TakeUnknown(taken)
	if taken["trace_id"] != 5 || taken["other"] != 107 {
		t.Errorf("taken are %v", taken)
	}
	f(`{"trace_id":"x"}`)
	clear(taken)
	if d.TakeUnknown(taken); !maps.Equal(taken, map[string]int64{"trace_id": 1}) {
		t.Errorf("taken next are %v, expected what came since", taken)
	}
}

// refusal is why a record is no event, "" if it is one.
func refusal(d *Decoder, in string) string {
	var e detector.Event
	if r := d.Decode([]byte(in), 0, &e); r != nil {
		return r.Error()
	}
	return ""
}

// TestManyLabels: as many labels as there may be, each of them checked and put in its place.
func TestManyLabels(t *testing.T) {
	var labels []string
	fields := []string{`"kind":"error"`}
	for i := range detector.MaxLabels {
		labels = append(labels, fmt.Sprintf("label%d", i))
		fields = append(fields, fmt.Sprintf(`"label%d":"value%d"`, i, i))
	}
	d := NewDecoder(rules.NoKind, labels)
	var e detector.Event
	record := "{" + strings.Join(fields, ",") + "}"
	if r := d.Decode([]byte(record), 0, &e); r != nil {
		t.Fatal(r)
	}
	for i, v := range e.Labels {
		if string(v) != fmt.Sprintf("value%d", i) {
			t.Errorf("label%d is %s", i, v)
		}
	}
	for i := range detector.MaxLabels {
		twice := fmt.Sprintf(`%s,"label%d":"again"}`, strings.TrimSuffix(record, "}"), i)
		if r := d.Decode([]byte(twice), 0, &e); r == nil || r.Reason != DuplicateKey {
			t.Errorf("label%d twice: %v", i, r)
		}
	}
	defer func() {
		if got := fmt.Sprint(recover()); got != "BUG: 41 labels, at most 40 fit" {
			t.Errorf("one label more: %s", got)
		}
	}()
	NewDecoder(rules.NoKind, append(labels, "more"))
}
