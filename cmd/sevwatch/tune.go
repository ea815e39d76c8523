package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sevwatch/detector/history"
	"sevwatch/rules"
)

type tuneCmd struct {
	Rule string `arg:"" help:"The rule's name."`
	inputFlags
	Rules       string            `help:"Rule file; default: that of --config, or the embedded runbook." placeholder:"FILE"`
	Labels      string            `help:"CSV of known incidents, as for replay." placeholder:"FILE"`
	LabelsWhere map[string]string `help:"Count only windows whose column has that value." placeholder:"COLUMN=VALUE"`
	Grace       rules.Duration    `help:"How long behind a window's end an incident still belongs to it." default:"5m"`
	AtMost      float64           `help:"Without --labels: how many incidents a week of Sev1 are bearable; twice as many of each milder severity." default:"1"`
	Write       bool              `help:"Write the proposed thresholds into --rules; without, nothing is written."`
}

// Run replays the input once by the rule at many thresholds, and prints how each did.
func (c *tuneCmd) Run(w world) error {
	switch {
	case c.Write && c.Rules == "":
		return exit{exitUsage, errors.New("--write needs --rules: a file to write")}
	case c.AtMost < 0:
		return exit{exitUsage, fmt.Errorf("--at-most is %g, expected 0 or more", c.AtMost)}
	}
	in, err := c.open(w)
	if err != nil {
		return err
	}
	file, err := in.rules(c.Rules)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(file.Rules(), func(r *rules.Rule) bool { return r.Alert == c.Rule })
	if n < 0 {
		return exit{exitUsage, fmt.Errorf("there is no rule %q in %s", c.Rule, file.Name)}
	}
	rule := file.Rules()[n]
	in.only = true
	flags := scoreFlags{Labels: c.Labels, LabelsWhere: c.LabelsWhere, Grace: c.Grace}
	scoring, err := flags.scoring(in, file)
	if err != nil {
		return err
	}
	if scoring == nil {
		scoring = &against{Scoring: history.Scoring{AtMost: c.AtMost}}
	}
	if err := scoring.about(w, c.Rule); err != nil {
		return err
	}
	many, variants := history.Variants(file, rule)
	if variants, err = movable(w, rule, variants); err != nil {
		return err
	}
	past := history.New(many)
	sum, err := in.replay(w, many, hearing(past))
	if err != nil {
		return err
	}
	sum.Open = -1 // they are of many variants of one rule
	in.summarize(w, sum)
	from, until := in.span(sum)
	if err := scoring.bound(w, from, until); err != nil {
		return err
	}
	tuned := scoring.Tune(past.Since(millis(c.From.Time), sum.Edge), variants)
	if err := c.print(w, tuned); err != nil {
		return exit{exitWorld, err}
	}
	if c.Labels == "" {
		c.explain(w, rules.Duration(scoring.Until-scoring.From))
	}
	if !c.Write {
		return nil
	}
	return c.write(w, rule, tuned)
}

// movable are the variants of the tiers whose present threshold is among them. One that is a bound itself, such as a share of 0, has none: shares of it
// are the same again. It stays, and that is said.
func movable(w world, rule *rules.Rule, variants []history.Variant) ([]history.Variant, error) {
	var stay []string
	for n, tier := range rule.Severities {
		if !slices.ContainsFunc(variants, func(v history.Variant) bool { return v.Tier == n && v.Now }) {
			stay = append(stay, fmt.Sprintf("%s of %s", number(rule.Threshold(n)), tier.Severity))
			variants = slices.DeleteFunc(variants, func(v history.Variant) bool { return v.Tier == n })
		}
	}
	switch {
	case len(variants) == 0:
		return nil, exit{exitUsage, fmt.Errorf("%s has no threshold that can be moved: %s", rule.Alert, strings.Join(stay, ", "))}
	case len(stay) > 0:
		fmt.Fprintf(forPeople(w.stderr), "thresholds that cannot be moved stay: %s\n", strings.Join(stay, ", "))
	}
	return variants, nil
}

func (c *tuneCmd) print(w world, tuned []history.Tuned) error {
	t := tabwriter.NewWriter(forPeople(w.stdout), 0, 0, 2, ' ', 0)
	if c.Labels == "" {
		fmt.Fprintln(t, "tier\tthreshold\tincidents a week\tof those now\tdelay\t")
	} else {
		fmt.Fprintln(t, "tier\tthreshold\tincidents a week\tprecision (95 %)\trecall (95 %)\ttime to detect\t")
	}
	for _, v := range tuned {
		detect, remark := "-", ""
		if ms := v.MedianDetect(); ms >= 0 {
			detect = rules.Duration(ms).String()
		}
		if v.Now {
			remark = "now"
		}
		switch {
		case v.TooMuch:
			remark = strings.TrimSpace(remark + " too many, as all are")
		case v.Proposed:
			remark = strings.TrimSpace(remark + " proposed")
		}
		how := fmt.Sprintf("%s\t%s", share(v.Precision), share(v.Recall))
		if c.Labels == "" {
			how = fmt.Sprintf("%d of %d", v.Recall.K, v.Recall.N)
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%s\t%s\t%s\n", v.Severity, number(v.Threshold), v.Week, how, detect, remark)
	}
	return t.Flush()
}

// explain says what a proposal without labels is worth.
func (c *tuneCmd) explain(w world, span rules.Duration) {
	w.stderr = forPeople(w.stderr)
	fmt.Fprintf(w.stderr, "proposed without labels: the most sensitive threshold of each tier with no more incidents than %g a week for Sev1, and twice as many for "+
		"each milder severity (--at-most). Nothing here says which incidents are right\n", c.AtMost)
	if week := rules.Duration(7 * 24 * time.Hour / time.Millisecond); span < week {
		fmt.Fprintf(w.stderr, "the history is %s long, less than a week: it may have a week's incidents, and those a week are what it would come to\n", span)
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// write puts the proposed thresholds into the rule file, where the present ones stand, and nothing else. Those of tiers that are told of too often with any
// threshold stay, and thresholds that would turn the ladder round are not written.
func (c *tuneCmd) write(w world, rule *rules.Rule, tuned []history.Tuned) error {
	_, data, err := readFile(c.Rules)
	if err != nil {
		return exit{exitUsage, fmt.Errorf("cannot read the rules: %w", err)}
	}
	lines := bytes.Split(data, []byte("\n"))
	for n := len(rule.Severities) - 1; n >= 0; n-- { // the last first: what is written does not move what comes before
		tier := rule.Severities[n]
		at := slices.IndexFunc(tuned, func(t history.Tuned) bool { return t.Tier == n && t.Proposed })
		if at < 0 { // it cannot be moved, which was said
			continue
		}
		proposed := tuned[at]
		if proposed.TooMuch {
			fmt.Fprintf(w.stderr, "the threshold of %s stays: with each that was tried it tells of more than --at-most\n", tier.Severity)
			continue
		}
		key := "above"
		if tier.Below != nil {
			key = "below"
		}
		pos := tier.Where.Of(key)
		line, col := lines[pos.Line-1], pos.Col-1
		end := col
		for end < len(line) && strings.IndexByte("+-.0123456789eE", line[end]) >= 0 {
			end++
		}
		lines[pos.Line-1] = slices.Concat(line[:col], []byte(number(proposed.Threshold)), line[end:])
	}
	written := bytes.Join(lines, []byte("\n"))
	if _, err := rules.Parse(c.Rules, written, rules.Options{}); err != nil {
		return exit{exitFound, fmt.Errorf("nothing was written, because the proposed thresholds do not go together: %w", err)}
	}
	if err := os.WriteFile(c.Rules, written, 0o666); err != nil {
		return exit{exitWorld, fmt.Errorf("cannot write the rules: %w", err)}
	}
	fmt.Fprintf(w.stderr, "%s: the thresholds of %s were written\n", c.Rules, rule.Alert)
	return nil
}
