package rules

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestSlackKeepsItsLimits: the longest reasons, labels and playbooks still make a message that Slack takes.
func TestSlackKeepsItsLimits(t *testing.T) {
	f := func(long string) {
		t.Helper()
		s := Story{Severity: Sev1, Impact: long, Channel: long, Status: long, NextSteps: []string{long, long}, Started: 1, Actions: long, Cause: long}
		over := s
		over.Resolved = 2
		slack := s.Render().Slack
		for name, all := range map[string][]Block{"initial": slack.Initial, "update": slack.Update, "resolution": over.Render().Slack.Resolution} {
			if len(all) != 5 {
				t.Errorf("%s has %d blocks, expected a header and four sections", name, len(all))
			}
			whole := 0
			for _, b := range all {
				limit := map[string]int{"header": 150, "section": 3000}[b.Type]
				n := utf8.RuneCountInString(b.Text.Text)
				if whole += n; n < 1 || n > limit || !utf8.ValidString(b.Text.Text) {
					t.Errorf("%s: a %s has %d characters, expected 1 to %d: %.80s", name, b.Type, n, limit, b.Text.Text)
				}
			}
			if whole > 13_000 {
				t.Errorf("%s has %d characters in all", name, whole)
			}
		}
	}
	f("")
	f("short & <good>")
	f(strings.Repeat("&", 5000))
	f(strings.Repeat("ä€🔴", 5000))
}

func TestSlackBlocks(t *testing.T) {
	text := "🔴 Incident Started\nSeverity: Sev1\nImpact: 3 < 5 & so on: much"
	got := blocks(text)
	want := []Block{
		{"header", BlockText{"plain_text", "🔴 Incident Started"}},
		{"section", BlockText{"mrkdwn", "*Severity:* Sev1"}},
		{"section", BlockText{"mrkdwn", "*Impact:* 3 &lt; 5 &amp; so on: much"}},
	}
	if len(got) != len(want) {
		t.Fatalf("%d blocks, expected %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("block %d is %+v, expected %+v", i, got[i], want[i])
		}
	}
	if blocks("") != nil {
		t.Error("no text has blocks")
	}
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"a&b", 7, "a&amp;b"}, {"a&b", 6, "a…"}, {"&&", 9, "&amp;…"}} {
		if got := shorten(c.text, c.limit, escape); got != c.want {
			t.Errorf("%q in %d is %q, expected %q", c.text, c.limit, got, c.want)
		}
	}
}
