package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/pipeline"
	"sevwatch/rules"
)

type checkCmd struct {
	Files   []string `arg:"" name:"file" help:"Rule files and configuration files."`
	Against []string `help:"Recorded events: say which selectors match nothing in them, which rules never fire and which always do." placeholder:"FILE"`
}

// Run checks every file and prints all mistakes of all files.
func (c *checkCmd) Run(w world) error {
	w.stdout = forPeople(w.stdout)
	bad := false
	for _, path := range c.Files {
		said, err := check(path)
		var mistakes interface{ Unwrap() error }
		var unread *fs.PathError
		switch {
		case errors.As(err, &unread) && unread.Path == path:
			return exit{exitUsage, err}
		case err == nil:
			fmt.Fprintf(w.stderr, "%s: %s, nothing wrong\n", path, said)
		case errors.As(err, &mistakes):
			bad = true
			if _, err := fmt.Fprintln(w.stdout, err); err != nil {
				return exit{exitWorld, err}
			}
		}
		if err != nil || len(c.Against) == 0 {
			continue
		}
		found, err := c.against(w, path)
		if err != nil {
			return err
		}
		bad = bad || found
	}
	if bad {
		return exit{exitFound, errQuiet}
	}
	return nil
}

// against replays the history by the rules of a file that has nothing wrong, and prints what was found.
func (c *checkCmd) against(w world, path string) (found bool, err error) {
	flags := inputFlags{Files: c.Against}
	if _, data, err := readFile(path); err == nil && isConfig(data) {
		flags.Config, path = path, ""
	}
	in, err := flags.open(w)
	if err != nil {
		return false, err
	}
	file, err := in.rules(path)
	if err != nil {
		return false, err
	}
	usage := history.NewUsage(file, in.engine().Pane)
	joined := map[*rules.Rule]bool{} // fired without an incident of its own being told
	sum, err := in.replay(w, file, watchers{
		output: func(detector.Output) error { return nil }, delta: usage.Delta,
		judgement: func(j *detector.Judgement) {
			usage.Judgement(j)
			if j.Held != 0 && j.Incident == "" {
				joined[j.Rule] = true
			}
		},
	})
	if err != nil {
		return false, err
	}
	in.summarize(w, sum)
	for _, f := range usage.Findings() {
		at := fmt.Sprintf("%s:%d:%d: %s", file.Name, f.Rule.Where.Line, f.Rule.Where.Col, f.Rule.Alert)
		if joined[f.Rule] && strings.HasPrefix(f.Problem, "never fired") {
			fmt.Fprintf(forPeople(w.stderr), "%s: fired only as part of incidents of other rules (correlate): nothing is wrong with that\n", at)
			continue
		}
		found = true
		if _, err := fmt.Fprintf(w.stdout, "%s: %s\n  %s\n", at, f.Problem, f.Advice); err != nil {
			return found, exit{exitWorld, err}
		}
	}
	return found, nil
}

// check checks one file and says what it is. The rules that a configuration names are checked against its labels and panes.
func check(path string) (said string, err error) {
	_, data, err := readFile(path)
	if err == nil && isConfig(data) {
		cfg, err := loadConfig(path)
		if err != nil {
			return "", err
		}
		f, err := loadRules(cfg.Rules, cfg.RuleOptions())
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("the configuration of the pipeline %s, %s, %s", cfg.Pipeline, counted(int64(len(cfg.Sources)), "source"),
			counted(int64(len(f.Rules())), "rule")), nil
	}
	f, err := loadRules(path, rules.Options{})
	if err != nil {
		return "", err
	}
	return counted(int64(len(f.Rules())), "rule"), nil
}

// isConfig tells a configuration from a rule file by the keys that only it has.
func isConfig(data []byte) bool {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
		return false
	}
	var keys []string // one may be there twice
	for i := 0; i < len(doc.Content[0].Content); i += 2 {
		keys = append(keys, doc.Content[0].Content[i].Value)
	}
	return !slices.Contains(keys, "groups") && slices.ContainsFunc(pipeline.ConfigKeys(), func(key string) bool { return slices.Contains(keys, key) })
}
