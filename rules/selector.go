package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/util/strutil"

	"sevwatch/rules/strictyaml"
)

// Selector picks series: a kind and label matchers, written as Prometheus writes them, `latency{region=~"eu-.*"}`.
type Selector struct {
	Kind     Kind
	Matchers []*labels.Matcher
}

// String is the selector in one notation, whatever spaces and quotes it was written with: UnmarshalText reads the same from it.
func (s Selector) String() string {
	if len(s.Matchers) == 0 {
		return s.Kind.String()
	}
	matchers := make([]string, len(s.Matchers))
	for i, m := range s.Matchers {
		matchers[i] = m.String()
	}
	return s.Kind.String() + "{" + strings.Join(matchers, ",") + "}"
}

// MarshalText is String.
func (s Selector) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Matches says whether a series of that kind whose label name has the value value(name) is picked. A label that is absent has
// the value "".
func (s Selector) Matches(kind Kind, value func(name string) string) bool {
	if kind != s.Kind {
		return false
	}
	for _, m := range s.Matchers {
		if !m.Matches(value(m.Name)) {
			return false
		}
	}
	return true
}

// with is the selector narrowed by one more equality.
func (s Selector) with(name, value string) Selector {
	s.Matchers = append(slices.Clone(s.Matchers), labels.MustNewMatcher(labels.MatchEqual, name, value))
	return s
}

// UnmarshalText reads `kind` or `kind{label="value", other=~"regexp"}`.
func (s *Selector) UnmarshalText(text []byte) error {
	name, rest, braced := strings.Cut(string(text), "{")
	kind := Kind(max(0, slices.Index(kindNames[:], strings.Trim(name, space))))
	if kind == NoKind {
		return strictyaml.ErrExpected("a selector that begins with a kind: " + strings.Join(kindNames[1:], ", "))
	}
	parsed := Selector{Kind: kind}
	if braced {
		matchers, err := parseMatchers(rest)
		if err != nil {
			return err
		}
		parsed.Matchers = matchers
	}
	*s = parsed
	return nil
}

// space is what may stand between the parts of a selector.
const space = " \t\n\r"

// parseMatchers reads what stands behind the opening brace.
func parseMatchers(in string) ([]*labels.Matcher, error) {
	var matchers []*labels.Matcher
	for {
		in = strings.TrimLeft(in, space)
		if rest, closed := strings.CutPrefix(in, "}"); closed {
			if rest = strings.Trim(rest, space); rest != "" {
				return nil, strictyaml.ErrExpected("nothing behind the closing brace, where " + strconv.Quote(rest) + " stands")
			}
			return matchers, nil
		}
		m, rest, err := parseMatcher(in)
		if err != nil {
			return nil, err
		}
		matchers = append(matchers, m)
		in = strings.TrimLeft(rest, space)
		if next, comma := strings.CutPrefix(in, ","); comma {
			in = next
		} else if !strings.HasPrefix(in, "}") {
			return nil, strictyaml.ErrExpected("a comma or a closing brace after " + m.String())
		}
	}
}

var matchTypes = []struct {
	sign string
	kind labels.MatchType
}{{"=~", labels.MatchRegexp}, {"!~", labels.MatchNotRegexp}, {"!=", labels.MatchNotEqual}, {"=", labels.MatchEqual}}

// parseMatcher reads one `label="value"`.
func parseMatcher(in string) (*labels.Matcher, string, error) {
	end := strings.IndexFunc(in, func(r rune) bool { return !isLabelRune(r) })
	if in == "" {
		return nil, "", strictyaml.ErrExpected("a label name or a closing brace at the end")
	}
	if end < 0 {
		end = len(in)
	}
	if end == 0 || in[0] >= '0' && in[0] <= '9' {
		return nil, "", strictyaml.ErrExpected("a label name at " + strconv.Quote(in))
	}
	name, rest := in[:end], strings.TrimLeft(in[end:], space)
	for _, t := range matchTypes {
		after, ok := strings.CutPrefix(rest, t.sign)
		if !ok {
			continue
		}
		value, after, ok := cutQuoted(strings.TrimLeft(after, space))
		if !ok {
			return nil, "", strictyaml.ErrExpected("a quoted value for label " + name)
		}
		m, err := labels.NewMatcher(t.kind, name, value)
		if err != nil {
			return nil, "", strictyaml.ErrExpected(fmt.Sprintf("a regular expression for label %s: %s", name, regexpMistake(err)))
		}
		return m, after, nil
	}
	return nil, "", strictyaml.ErrExpected("=, !=, =~ or !~ after label " + name)
}

// cutQuoted reads a string in one of Prometheus' three quotes.
func cutQuoted(in string) (value, after string, ok bool) {
	if in == "" {
		return "", "", false
	}
	quote := in[0]
	for i := 1; i < len(in); i++ {
		switch {
		case in[i] == '\\' && quote != '`':
			i++
		case in[i] == quote:
			value, err := strutil.Unquote(in[:i+1])
			return value, in[i+1:], err == nil
		}
	}
	return "", "", false
}

// regexpMistake is the error without what is put around every regular expression.
func regexpMistake(err error) string {
	text := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	text, _, _ = strings.Cut(text, ": `^(?s:")
	return text
}

func isLabelRune(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// Matchers pick label sets, written as Prometheus writes them: `{service="assessment-api",region=~"eu-.*"}`.
type Matchers []*labels.Matcher

// UnmarshalText reads what stands in braces.
func (m *Matchers) UnmarshalText(text []byte) error {
	rest, braced := strings.CutPrefix(strings.Trim(string(text), space), "{")
	if !braced {
		return fmt.Errorf("matchers are %q, expected them in braces: {label=\"value\"}", text)
	}
	parsed, err := parseMatchers(rest)
	if err != nil {
		return fmt.Errorf("matchers are %q, %w", text, err)
	}
	*m = parsed
	return nil
}

// String is the matchers in one notation, which UnmarshalText reads.
func (m Matchers) String() string {
	texts := make([]string, len(m))
	for i, x := range m {
		texts[i] = x.String()
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// MarshalText is String.
func (m Matchers) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Match says whether a label set, whose label name has the value value(name), is picked by all matchers.
func (m Matchers) Match(value func(name string) string) bool {
	return !slices.ContainsFunc(m, func(x *labels.Matcher) bool { return !x.Matches(value(x.Name)) })
}
