package sets

import (
	"fmt"
	"regexp"
	"unicode/utf8"
)

// logLine is what an ERROR line says.
type logLine struct {
	errorType string // the exception if the line names one, else the logger
	text      string // what follows the trace and span ids
}

var (
	logHead   = regexp.MustCompile(`^\S+ +ERROR +(\S+)#\d+ TraceID: \S* SpanID: \S* `)
	exception = regexp.MustCompile(`nested exception is (?:[\w$]+\.)*([\w$]+)(:?)`)
)

// parseLogLine reads "17:33:14.720 ERROR logger#175 TraceID: .. SpanID: .. text". The number after
// the logger is a line of code, which moves with each release, so it is no part of the type. The
// publisher cut the lines at 300 bytes: a class name that the cut hit ends in a star.
func parseLogLine(message string) (logLine, error) {
	head := logHead.FindStringSubmatch(message)
	if head == nil {
		return logLine{}, fmt.Errorf("not an ERROR line: %q", message)
	}
	line := logLine{errorType: head[1], text: message[len(head[0]):]}
	if class := exception.FindStringSubmatch(line.text); class != nil {
		line.errorType = class[1]
		if class[2] == "" {
			line.errorType += "*"
		}
	}
	return line, nil
}

// shorten cuts a text to at most n bytes, between two characters.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
