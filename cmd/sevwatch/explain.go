package main

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/rules"
)

type explainCmd struct {
	ID string `arg:"" help:"The incident's id, or how it begins."`
	inputFlags
	Rules string `help:"Rule file, whatever the control records say; default: theirs, and before them that of --config, or the embedded runbook." placeholder:"FILE"`
}

// Run replays the input twice: to find the incident, and to watch its windows.
func (c *explainCmd) Run(w world) error {
	for _, f := range c.Files {
		if f == "-" {
			return exit{exitUsage, fmt.Errorf("stdin cannot be read twice: put it into a file")}
		}
	}
	if _, err := os.Stat(c.ID); err == nil && len(c.Files) == 0 {
		return exit{exitUsage, fmt.Errorf("%s is a file, expected the id of an incident before it: sevwatch explain ID %s", c.ID, c.ID)}
	}
	c.ID = strings.ToLower(c.ID)
	in, err := c.open(w)
	if err != nil {
		return err
	}
	file, err := in.rules(c.Rules)
	if err != nil {
		return err
	}
	past := history.New(file)
	sum, err := in.replay(w, file, hearing(past))
	if err != nil {
		return err
	}
	past = past.Since(millis(c.From.Time), sum.Edge)
	found, many := past.Find(c.ID)
	switch {
	case many:
		return exit{exitUsage, fmt.Errorf("several incidents begin with %s: give more of the id", c.ID)}
	case found == nil && partOf(past, c.ID) != nil:
		whole := partOf(past, c.ID)
		return exit{exitFound, fmt.Errorf("%s became part of the incident %s, %s, and has no story of its own: explain that one", c.ID, whole.ID, whole.Subject)}
	case found == nil:
		return exit{exitFound, fmt.Errorf("no incident begins with %s among the %d that this input gives: is it the same input, and the same rules?",
			c.ID, len(past.Incidents))}
	}
	in.summarize(w, sum)
	out := bufio.NewWriter(forPeople(w.stdout))
	e := explanation{out: out, domain: in.engine().Domain, incident: found, told: found.Told}
	fmt.Fprintf(out, "%s %s\nbegan %s, told first %s, at worst %s\n\n", found.ID, found.Subject, detector.Millis(found.Started), detector.Millis(found.Opened), found.Peak)
	if _, err = in.replay(w, file, watchers{output: func(detector.Output) error { return nil }, judgement: e.judgement}); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return exit{exitWorld, err}
	}
	return nil
}

// partOf is the incident that one whose id begins so became part of, nil if none tells of it.
func partOf(past *history.History, begins string) *history.Incident {
	for _, i := range past.Incidents {
		for _, r := range i.Told {
			if slices.ContainsFunc(r.Children, func(id string) bool { return begins != "" && strings.HasPrefix(id, begins) }) {
				return i
			}
		}
	}
	return nil
}

// explanation prints the windows of one incident as they are judged.
type explanation struct {
	out      *bufio.Writer
	domain   string // the label whose values are judged apart; "": none
	incident *history.Incident
	told     []*detector.Incident // not printed yet
}

// judgement prints a window of the incident: those from its start on, until it is over.
func (e *explanation) judgement(j *detector.Judgement) {
	within := j.End > e.incident.Started && (e.incident.Ended == 0 || j.End <= e.incident.Ended)
	if j.Rule.Alert != e.incident.Rule || !within || !e.sameGroup(j) {
		return
	}
	line := fmt.Sprintf("%s  %s", detector.Millis(j.End), windowSentence(j))
	if j.Held != 0 {
		line += "; held: " + j.Held.String()
	}
	fmt.Fprintln(e.out, line)
	for len(e.told) > 0 && int64(e.told[0].At) <= j.End {
		fmt.Fprintf(e.out, "%s  %s %s: %s\n", strings.Repeat(" ", 24), e.told[0].Severity, e.told[0].Transition, e.told[0].Reason)
		e.told = e.told[1:]
	}
}

// sameGroup says whether a judgement is of the incident's domain and group: a label that the one does not have, the other has not either.
func (e *explanation) sameGroup(j *detector.Judgement) bool {
	labels := maps.Clone(j.Rule.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, l := range j.Labels {
		labels[l.Name] = l.Value
	}
	if e.domain != "" && j.Domain != "" {
		labels[e.domain] = j.Domain
	}
	for _, name := range slices.Concat(j.Rule.By, []string{e.domain}) {
		if labels[name] != e.incident.Labels[name] {
			return false
		}
	}
	return true
}

// windowSentence says what a window was judged to be.
func windowSentence(j *detector.Judgement) string {
	m, v := j.Measure, j.Verdict
	switch {
	case v.Blind:
		return "no data, which the rule counts as a breach"
	case v.Evidence == rules.Nothing:
		return "no data"
	case v.Evidence == rules.TooSmall:
		return "too little to judge: " + counted(j.Rule.Samples(m), "event")
	}
	text := j.Rule.Signal.Print(v.Value)
	if len(j.Rule.Signal.Den) > 0 {
		text += fmt.Sprintf(" (%d of %d)", m.Num, max(m.Num, m.Den))
	} else if j.Rule.Signal.Type != rules.SignalAbsence {
		text += fmt.Sprintf(" (of %d)", j.Rule.Samples(m))
	}
	tiers := j.Rule.Severities
	switch {
	case v.Worst < len(tiers):
		return fmt.Sprintf("%s breaches %s", text, tiers[v.Worst].Severity)
	case v.Healthy == len(tiers):
		for _, t := range tiers {
			if floor := j.Rule.FloorAlone(t, m, v.Value); floor != "" {
				return fmt.Sprintf("%s is healthy: under the floor of %s", text, floor)
			}
		}
		return text + " is healthy"
	case v.Healthy > 0:
		return fmt.Sprintf("%s breaches none, is past the recovery of %s and worse", text, tiers[v.Healthy-1].Severity)
	default:
		return text + " breaches none and is not past any recovery bound"
	}
}
