package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline"
)

// newProgress tells how far a replay has come: a bar on a terminal, one line every ten seconds elsewhere.
func newProgress(w io.Writer) func(pipeline.Position) {
	terminal := onTerminal(w)
	every := 10 * time.Second
	if terminal {
		every = 100 * time.Millisecond
	}
	start, last := time.Now(), time.Now()
	return func(p pipeline.Position) {
		now := time.Now()
		if now.Sub(last) < every {
			return
		}
		last = now
		if line := progressLine(p, now.Sub(start)); terminal {
			line = bar(p.Done) + " " + line
			fmt.Fprintf(w, "\r\x1b[K%s", line[:min(len(line), columns(w)-1)])
		} else {
			fmt.Fprintln(w, line)
		}
	}
}

// clearLine takes the bar away.
func clearLine(w io.Writer) {
	if onTerminal(w) {
		fmt.Fprint(w, "\r\x1b[K")
	}
}

// bar is the share that is done as a bar, "" if that is not known.
func bar(done float64) string {
	const width = 24
	if done < 0 {
		return ""
	}
	n := int(min(done, 1) * width)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}

// progressLine is rate, event time and time left.
func progressLine(p pipeline.Position, took time.Duration) string {
	line := fmt.Sprintf("%s, %.0f a second", counted(p.Records, "record"), float64(p.Records)/took.Seconds())
	if p.Edge > 0 {
		line += ", at " + detector.Millis(p.Edge).String()
	}
	if p.Done > 0 {
		left := time.Duration(float64(took) * (1 - min(p.Done, 1)) / p.Done)
		line += fmt.Sprintf(", %.0f %%, %s left", p.Done*100, left.Round(time.Second))
	}
	return line
}
