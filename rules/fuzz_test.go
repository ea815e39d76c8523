package rules

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/util/strutil"

	"sevwatch/rules/strictyaml"
)

// FuzzRules: no input makes Parse panic; what it says is wrong lies within the file, in order; what is right has sound rules.
func FuzzRules(f *testing.F) {
	for _, pattern := range []string{"testdata/*.bad.yaml", "testdata/*.good.yaml"} {
		for _, path := range testFiles(f, pattern) {
			f.Add(readFile(f, path))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("f", data, Options{})
		if err == nil {
			checkSound(t, file)
			return
		}
		var mistakes strictyaml.Errors
		if !errors.As(err, &mistakes) || len(mistakes) == 0 || file != nil {
			t.Fatalf("Parse gives %v and the error %v", file, err)
		}
		if utf8.Valid(data) && !strings.ContainsAny(string(data), "\r\u0085\u2028\u2029\ufeff") { // line breaks of YAML 1.1
			checkPlaces(t, data, mistakes)
		}
	})
}

// checkSound looks for what the engine counts on.
func checkSound(t *testing.T, file *File) {
	t.Helper()
	for _, r := range file.Rules() {
		switch {
		case r.Alert == "" || r.Signal.Type == "" || r.Signal.Unit == "" || len(r.Signal.Num) == 0 || len(r.Severities) == 0:
			t.Fatalf("the rule %+v is accepted", r)
		case r.Window <= 0 || r.Window%10_000 != 0 || *r.Recover.KeepFiringFor < 0 || r.NoDataAfter <= 0:
			t.Fatalf("the durations of the rule %+v are accepted", r)
		}
		for i, tier := range r.Severities {
			if tier.Severity < Sev1 || tier.Severity > Sev4 || !tier.judged() || tier.For < 0 || tier.threshold()-tier.threshold() != 0 {
				t.Fatalf("the tier %+v is accepted", tier)
			}
			if i > 0 && tier.Severity <= r.Severities[i-1].Severity {
				t.Fatalf("the ladder %+v is accepted", r.Severities)
			}
		}
		if len(r.Identity()) != 12 {
			t.Fatalf("the identity is %s", r.Identity())
		}
	}
}

// FuzzSelector: what is read is written so that it reads the same, and has only what Prometheus' grammar allows: label names, strings
// in its three quotes, and every character outside of strings accounted for.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{
		"error", ` latency { region = "eu" , step!~"a|b", } `, "step{a='x\\'y'}", "vital{a=`\\`}", `error{a="\x41\u00e9\101"}`,
		`error{a="b"c="d"}`, `error{a=~"("}`, "change{}", "error{9a=''}", `error{a="\xff"}`, "error{a='x}'}", "error{a=\"b\"}}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var s, again Selector
		if err := s.UnmarshalText([]byte(in)); err != nil {
			if !strings.HasPrefix(err.Error(), "expected ") {
				t.Errorf("%q: the error %q does not say what was expected", in, err)
			}
			return
		}
		for _, m := range s.Matchers {
			if !model.LegacyValidation.IsValidLabelName(m.Name) {
				t.Errorf("%q has the label name %q", in, m.Name)
			}
			if value, err := strutil.Unquote(strings.TrimLeft(strings.TrimPrefix(m.String(), m.Name), "=~!")); err != nil || value != m.Value {
				t.Errorf("%q has the matcher %s, whose value reads %q, %v", in, m, value, err)
			}
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again.String() != s.String() || len(again.Matchers) != len(s.Matchers) {
			t.Errorf("%q is written as %s and then read as %s, %v", in, s, again, err)
		}
		bare := strings.Map(func(r rune) rune {
			if strings.ContainsRune(space, r) {
				return -1
			}
			return r
		}, in)
		if !strings.HasPrefix(bare, s.Kind.String()) || strings.Contains(bare, "{") != strings.HasSuffix(bare, "}") {
			t.Errorf("%q is read as %s", in, s)
		}
	})
}
