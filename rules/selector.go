package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"sevwatch/rules/strictyaml"
)

// Selector picks series: a kind and label matchers, written as Prometheus writes them, `latency{region=~"eu-.*"}`.
type Selector struct {
	Kind     Kind
	Matchers []*labels.Matcher
	text     string
}

// String is the selector as it was written.
func (s Selector) String() string { return s.text }

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
	s.text += fmt.Sprintf("{%s=%q}", name, value)
	return s
}

// UnmarshalText reads `kind` or `kind{label="value", other=~"regexp"}`.
func (s *Selector) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	name, rest, braced := strings.Cut(in, "{")
	kind := KindOf(strings.TrimSpace(name))
	if kind == NoKind {
		return strictyaml.ErrExpected("a selector that begins with a kind: " + strings.Join(Kinds(), ", "))
	}
	parsed := Selector{Kind: kind, text: in}
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

// parseMatchers reads what stands behind the opening brace.
func parseMatchers(in string) ([]*labels.Matcher, error) {
	var matchers []*labels.Matcher
	for {
		in = strings.TrimLeft(in, " \t\n")
		if rest, closed := strings.CutPrefix(in, "}"); closed {
			if strings.TrimSpace(rest) != "" {
				return nil, fmt.Errorf("%q stands behind the closing brace", rest)
			}
			return matchers, nil
		}
		m, rest, err := parseMatcher(in)
		if err != nil {
			return nil, err
		}
		matchers = append(matchers, m)
		in = strings.TrimLeft(rest, " \t\n")
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
	if end <= 0 {
		return nil, "", strictyaml.ErrExpected("a label name at " + strconv.Quote(in))
	}
	name, rest := in[:end], strings.TrimLeft(in[end:], " \t\n")
	for _, t := range matchTypes {
		after, ok := strings.CutPrefix(rest, t.sign)
		if !ok {
			continue
		}
		after = strings.TrimLeft(after, " \t\n")
		quoted, err := strconv.QuotedPrefix(after)
		if err != nil {
			return nil, "", strictyaml.ErrExpected("a quoted value for label " + name)
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, "", strictyaml.ErrExpected("a quoted value for label " + name)
		}
		m, err := labels.NewMatcher(t.kind, name, value)
		if err != nil {
			return nil, "", fmt.Errorf("regular expression %q of label %s: %w", value, name, err)
		}
		return m, after[len(quoted):], nil
	}
	return nil, "", strictyaml.ErrExpected("=, !=, =~ or !~ after label " + name)
}

func isLabelRune(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
