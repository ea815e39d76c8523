package main

import (
	_ "embed" // the page
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/rules"
)

//go:embed diff.html
var diffPage string

type diffCmd struct {
	inputFlags
	Rules  []string `help:"The two rule files, before and after." placeholder:"FILE" required:"" sep:"none"`
	Format string   `help:"text, json or html." enum:"text,json,html" default:"text"`
}

// Run replays the input by both rule files and says what differs. It ends with 1 if anything does.
func (c *diffCmd) Run(w world) error {
	if len(c.Rules) != 2 {
		return exit{exitUsage, fmt.Errorf("--rules is given %d times, expected twice: --rules BEFORE --rules AFTER", len(c.Rules))}
	}
	if slices.Contains(c.Files, "-") {
		return exit{exitUsage, errors.New("stdin cannot be read twice: put it into a file")}
	}
	in, err := c.open(w)
	if err != nil {
		return err
	}
	var pasts []*history.History
	var files []*rules.File
	for _, path := range c.Rules {
		file, err := in.rules(path)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	if in.input != nil {
		in.input.Beside = files
	}
	until := int64(0)
	for _, file := range files {
		past := history.New(file)
		sum, err := in.replay(w, file, hearing(past))
		if err != nil {
			return err
		}
		pasts, until = append(pasts, past), max(until, sum.Edge)
		in.summarize(w, sum)
	}
	if c.Format == "text" {
		w.stdout = forPeople(w.stdout)
	}
	from := millis(c.From.Time)
	changes := slices.DeleteFunc(history.Diff(pasts[0], pasts[1], from, until), history.Change.Same)
	if err := printChanges(w.stdout, c.Format, changes); err != nil {
		return exit{exitWorld, err}
	}
	fmt.Fprintf(w.stderr, "%s before, %d after, %d different\n", counted(int64(len(pasts[0].Since(from, until).Incidents)), "incident"),
		len(pasts[1].Since(from, until).Incidents), len(changes))
	if len(changes) > 0 {
		return exit{exitFound, errQuiet}
	}
	return nil
}

// changeJSON is a change as machines read it. Times are RFC 3339; what has no side is left out.
type changeJSON struct {
	Subject string       `json:"subject"`
	What    []string     `json:"what"`
	Before  *changedJSON `json:"before,omitempty"`
	After   *changedJSON `json:"after,omitempty"`
}

type changedJSON struct {
	ID     string          `json:"id"`
	Peak   rules.Severity  `json:"peak_severity"`
	Opened detector.Millis `json:"opened_at"`
	Ended  detector.Millis `json:"ended_at,omitzero"`
}

func printChanges(w io.Writer, format string, changes []history.Change) error {
	out := []changeJSON{}
	for _, c := range changes {
		j := changeJSON{Before: changed(c.Before), After: changed(c.After), What: whatChanged(c)}
		if c.Before != nil {
			j.Subject = c.Before.Subject
		} else {
			j.Subject = c.After.Subject
		}
		out = append(out, j)
	}
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(out)
	}
	if format == "html" {
		page, err := template.New("diff").Parse(diffPage)
		if err != nil {
			return fmt.Errorf("BUG: the page: %w", err)
		}
		return page.Execute(w, out)
	}
	for _, j := range out {
		first := j.Before
		if first == nil {
			first = j.After
		}
		line := fmt.Sprintf("%s  %s  %s:", first.Opened, first.Peak, j.Subject)
		for i, what := range j.What {
			line += map[bool]string{true: " ", false: ", "}[i == 0] + what
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func changed(i *history.Incident) *changedJSON {
	if i == nil {
		return nil
	}
	return &changedJSON{i.ID, i.Peak, detector.Millis(i.Opened), detector.Millis(i.Ended)}
}

// whatChanged says in words how an incident differs.
func whatChanged(c history.Change) []string {
	switch {
	case c.Opened:
		return []string{"opens now"}
	case c.Closed:
		return []string{"opens no more"}
	}
	var out []string
	if c.Severity {
		out = append(out, fmt.Sprintf("%s becomes %s", c.Before.Peak, c.After.Peak))
	}
	by := func(what string, d int64, more, less string) {
		switch {
		case d > 0:
			out = append(out, fmt.Sprintf("%s %s %s", what, rules.Duration(d), more))
		case d < 0:
			out = append(out, fmt.Sprintf("%s %s %s", what, rules.Duration(-d), less))
		}
	}
	by("opens", c.Earlier, "earlier", "later")
	by("ends", c.Longer, "later", "earlier")
	return out
}
