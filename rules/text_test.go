package rules

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func TestDurationText(t *testing.T) {
	f := func(in string, ms int64, out string) {
		t.Helper()
		var d Duration
		if err := d.UnmarshalText([]byte(in)); err != nil || int64(d) != ms {
			t.Errorf("%q is read as %d ms, %v, expected %d", in, int64(d), err, ms)
		}
		if d.String() != out {
			t.Errorf("%q is written as %q, expected %q", in, d, out)
		}
		var again Duration
		if text, _ := d.MarshalText(); again.UnmarshalText(text) != nil || again != d {
			t.Errorf("%q is written as %q and then read as %d ms", in, text, int64(again))
		}
	}
	f("0", 0, "0s")
	f("0s", 0, "0s")
	f("1ms", 1, "1ms")
	f("30s", 30_000, "30s")
	f("90s", 90_000, "1m30s")
	f("5m", 300_000, "5m")
	f("300s", 300_000, "5m")
	f("1h30m", 5_400_000, "1h30m")
	f("1d", 86_400_000, "1d")
	f("7d", 7*86_400_000, "1w")
	f("1w2d3h4m5s6ms", ((9*24+3)*3600+4*60+5)*1000+6, "9d3h4m5s6ms")
	f("292y", 292*365*86_400_000, "292y")

	bad := func(in string) {
		t.Helper()
		var d Duration
		if err := d.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is read as %s", in, d)
		}
	}
	bad("")
	bad("5")
	bad("-5m")
	bad("5 m")
	bad("1.5h")
	bad("1m1h")
	bad("5M")
	bad("300y")
	bad("99999999999999999999s")
}

func TestSeverityText(t *testing.T) {
	f := func(in string, want Severity, out, text string, number int) {
		t.Helper()
		var s Severity
		if err := s.UnmarshalText([]byte(in)); err != nil || s != want {
			t.Errorf("%q is read as %s, %v, expected %s", in, s, err, want)
		}
		if written, _ := s.MarshalText(); string(written) != out || s.Text() != text || s.Number() != number {
			t.Errorf("%q is written as %s, %s, %d, expected %s, %s, %d", in, written, s.Text(), s.Number(), out, text, number)
		}
		var again Severity
		if written, _ := s.MarshalText(); again.UnmarshalText(written) != nil || again != s {
			t.Errorf("%q is written as %s and then read as %s", in, written, again)
		}
	}
	f("sev1", Sev1, "Sev1", "SEV1", 21)
	f("Sev1", Sev1, "Sev1", "SEV1", 21)
	f("sev2", Sev2, "Sev2", "SEV2", 17)
	f("sev3", Sev3, "Sev3", "SEV3", 13)
	f("Sev4", Sev4, "Sev4", "SEV4", 9)
	for _, in := range []string{"", "sev0", "sev5", "SEV1", "1", "sev", "sev11", "critical", " sev1"} {
		var s Severity
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is read as %s", in, s)
		}
	}
}

func TestClock(t *testing.T) {
	f := func(in string, minutes int) {
		t.Helper()
		if d, ok := clock(in); !ok || d != time.Duration(minutes)*time.Minute {
			t.Errorf("%q is %s, %t, expected %d minutes", in, d, ok, minutes)
		}
	}
	f("00:00", 0)
	f("9:05", 545)
	f(" 09:00 ", 540)
	f("23:59", 1439)
	f("24:00", 1440)
	for _, in := range []string{"", "9", "9:5", "9:60", "24:01", "25:00", "-1:00", "+9:00", "9:+5", "9:00:00", "9.00", "9:000"} {
		if d, ok := clock(in); ok {
			t.Errorf("%q is %s", in, d)
		}
	}
}

func TestKindText(t *testing.T) {
	for i, name := range Kinds() {
		if k := KindOf(name); k != Kind(i+1) || k.String() != name {
			t.Errorf("%q is kind %d, %s, expected %d", name, k, k, i+1)
		}
	}
	for _, name := range []string{"", "Error", "errors", "unknown"} {
		if k := KindOf(name); k != NoKind {
			t.Errorf("%q is the kind %s", name, k)
		}
	}
	if got := Kind(200).String(); got != "unknown" {
		t.Errorf("kind 200 is %q", got)
	}
}

func TestNumberText(t *testing.T) {
	f := func(in string) {
		t.Helper()
		var n, again Number
		if err := n.UnmarshalText([]byte(in)); err != nil {
			t.Errorf("%q is not read: %v", in, err)
			return
		}
		data, err := json.Marshal(n)
		if err != nil || string(data) != in {
			t.Errorf("%q is written as %s, %v", in, data, err)
		}
		if err := json.Unmarshal(data, &again); err != nil || again != n {
			t.Errorf("%q is written as %s and then read as %q, %v", in, data, again, err)
		}
	}
	f("0")
	f("10")
	f("0.50")
	f("-1.5e3")
	f("30000")
	for _, in := range []string{"", "ten", "null", " 5", "5 ", "010", ".5", "0x10", "1e999", `"5"`, "true", "[5]", "5,6"} {
		var n Number
		if err := n.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is read as %s", in, n)
		}
	}
}

func TestSelectorText(t *testing.T) {
	f := func(in, out string) {
		t.Helper()
		var s, again Selector
		if err := s.UnmarshalText([]byte(in)); err != nil {
			t.Errorf("%s: %v", in, err)
			return
		}
		if s.String() != out {
			t.Errorf("%s is written as %s, expected %s", in, s, out)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again.String() != out {
			t.Errorf("%s is written as %s and then read as %s, %v", in, s, again, err)
		}
	}
	f("error", "error")
	f(" error\n", "error")
	f("error{}", "error")
	f("error { } ", "error")
	f(`latency{region="eu"}`, `latency{region="eu"}`)
	f(`latency{region='eu'}`, `latency{region="eu"}`)
	f("latency{region=`eu`}", `latency{region="eu"}`)
	f("latency\t{\n region = \"eu\" ,\r\n step!=\"a\" , }", `latency{region="eu",step!="a"}`)
	f(`latency{region=~"eu-.*",step!~"a|b"}`, `latency{region=~"eu-.*",step!~"a|b"}`)
	f(`latency{region="a\"b\\c\u00e9\n"}`, `latency{region="a\"b\\cé\n"}`)
	f(`latency{region='a"b\'c'}`, `latency{region="a\"b'c"}`)
	f("latency{region=`a\\`}", `latency{region="a\\"}`)
	f("latency{region=~`a\\d\"`}", `latency{region=~"a\\d\""}`)
	f(`latency{region=""}`, `latency{region=""}`)
	f(`latency{region="}",step="{"}`, `latency{region="}",step="{"}`)
	f(`latency{_a9="x",_a9!="y"}`, `latency{_a9="x",_a9!="y"}`)
}

func TestSelectorMatches(t *testing.T) {
	f := func(selector string, kind Kind, series string, want bool) {
		t.Helper()
		var s Selector
		if err := s.UnmarshalText([]byte(selector)); err != nil {
			t.Fatal(err)
		}
		value := func(name string) string {
			for _, pair := range strings.Fields(series) {
				if k, v, _ := strings.Cut(pair, "="); k == name {
					return v
				}
			}
			return ""
		}
		if got := s.Matches(kind, value); got != want {
			t.Errorf("%s picks %s{%s}: %t, expected %t", s, kind, series, got, want)
		}
	}
	f(`error`, KindError, "", true)
	f(`error`, KindLatency, "", false)
	f(`error{a="x"}`, KindError, "a=x", true)
	f(`error{a="x"}`, KindError, "a=xy", false)
	f(`error{a="x"}`, KindError, "", false)
	f(`error{a=""}`, KindError, "", true)
	f(`error{a!="x"}`, KindError, "", true)
	f(`error{a=~"x|y"}`, KindError, "a=y", true)
	f(`error{a=~"x"}`, KindError, "a=xx", false) // anchored
	f(`error{a=~"x.*"}`, KindError, "a=xx", true)
	f(`error{a!~"x.*"}`, KindError, "a=xx", false)
	f(`error{a="x",b="y"}`, KindError, "a=x b=y", true)
	f(`error{a="x",b="y"}`, KindError, "a=x", false)
	f(`error{a="x"}`, KindLatency, "a=x", false)

	matchers := append(make([]*labels.Matcher, 0, 4), labels.MustNewMatcher(labels.MatchEqual, "a", "x"))
	narrowed := Selector{Kind: KindStep, Matchers: matchers}
	complete, abandon := narrowed.with("action", "complete"), narrowed.with("action", "abandon")
	if got := complete.String() + abandon.String(); got != `step{a="x",action="complete"}step{a="x",action="abandon"}` {
		t.Errorf("two selectors narrowed are %s", got)
	}
}
