package rules

import (
	"strings"
	"unicode/utf8"
)

// Slack is the texts as Slack's Block Kit has them: what goes into `blocks` of chat.postMessage, with the text itself as its `text`.
type Slack struct {
	Initial    []Block `json:"initial"`
	Update     []Block `json:"update,omitempty"`
	Resolution []Block `json:"resolution,omitempty"`
}

// Block is a header or a section of a message in Slack.
type Block struct {
	Type string    `json:"type"`
	Text BlockText `json:"text"`
}

// BlockText is what a block says.
type BlockText struct {
	Type string `json:"type"` // plain_text or mrkdwn
	Text string `json:"text"`
}

// Slack's limits: characters of a header, and of a section. A message of several long sections is refused as a whole above some 13,000
// characters (bolt-js 2509), so that a section has less than its 3000.
const (
	maxHeader  = 150
	maxSection = 2000
)

// blocks are a text's lines: the first is the header, "Key: value" of the others a section each, its key in bold.
func blocks(text string) []Block {
	if text == "" {
		return nil
	}
	title, rest, _ := strings.Cut(text, "\n")
	out := []Block{{Type: "header", Text: BlockText{Type: "plain_text", Text: shorten(title, maxHeader, keep)}}}
	for line := range strings.SplitSeq(rest, "\n") {
		if key, value, ok := strings.Cut(line, ": "); ok {
			bold := "*" + key + ":* "
			out = append(out, Block{Type: "section", Text: BlockText{Type: "mrkdwn", Text: bold + shorten(value, maxSection-len(bold), escape)}})
		}
	}
	return out
}

// shorten is a text of at most limit characters, each written as put says; what is cut ends in an ellipsis.
func shorten(text string, limit int, put func(r rune) string) string {
	var whole strings.Builder
	fits, length := 0, 0 // bytes that leave room for the ellipsis, characters
	for _, r := range text {
		s := put(r)
		whole.WriteString(s)
		if length += utf8.RuneCountInString(s); length < limit {
			fits = whole.Len()
		}
	}
	if length <= limit {
		return whole.String()
	}
	return whole.String()[:fits] + "…"
}

func keep(r rune) string { return string(r) }

// escape writes what mrkdwn would take for its own.
func escape(r rune) string {
	switch r {
	case '&':
		return "&amp;"
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	default:
		return string(r)
	}
}
