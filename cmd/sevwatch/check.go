package main

import (
	"errors"
	"fmt"

	"sevwatch/rules"
)

type checkCmd struct {
	Files []string `arg:"" name:"file" help:"Rule files."`
}

// Run checks every file and prints all mistakes of all files.
func (c *checkCmd) Run(w world) error {
	bad := false
	for _, path := range c.Files {
		f, err := loadRules(path, rules.Options{})
		var mistakes interface{ Unwrap() error }
		switch {
		case err == nil:
			fmt.Fprintf(w.stderr, "%s: %d rules, nothing wrong\n", path, len(f.Rules()))
		case errors.As(err, &mistakes):
			fmt.Fprintln(w.stdout, err)
			bad = true
		}
	}
	if bad {
		return exit{exitFound, errQuiet}
	}
	return nil
}
