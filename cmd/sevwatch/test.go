package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sevwatch/detector/ruletest"
	"sevwatch/rules"
)

type testCmd struct {
	JUnit   string   `name:"junit" help:"Write the results as JUnit XML too." placeholder:"FILE"`
	Watch   bool     `help:"Run again whenever a test or rule file changes."`
	Verbose bool     `short:"v" help:"Name the tests that passed too."`
	Files   []string `arg:"" optional:"" name:"file" help:"Files of rule tests; default: the embedded runbook's own."`
}

// Run runs the tests of all files.
func (c *testCmd) Run(w world) error {
	if !c.Watch {
		return c.once(w)
	}
	for before := ""; ; {
		if now := c.contents(); now != before {
			before = now
			if err := c.once(w); err != nil && err.Error() != "" {
				fmt.Fprintf(w.stderr, "sevwatch: %s\n", err)
			}
			fmt.Fprintln(w.stderr, "waiting for a change")
		}
		select {
		case <-w.ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// contents are those of all files that the tests hang on, to see whether any has changed.
func (c *testCmd) contents() string {
	var b strings.Builder
	for _, path := range c.inputs() {
		_, data, err := readFile(path)
		fmt.Fprintf(&b, "%q %v\n", data, err)
	}
	return b.String()
}

// inputs are the files of tests and those of the rules that they name, whatever else is wrong with them.
func (c *testCmd) inputs() (inputs []string) {
	for _, path := range c.Files {
		inputs = append(inputs, path)
		_, data, err := readFile(path)
		var named struct {
			Rules string `yaml:"rules"`
		}
		if err == nil && yaml.Unmarshal(data, &named) == nil && named.Rules != "" {
			inputs = append(inputs, beside(path, named.Rules))
		}
	}
	return inputs
}

// keepApart refuses results that would overwrite what is read.
func (c *testCmd) keepApart(w world) error {
	var read []path
	for _, name := range c.inputs() {
		read = append(read, writes("", name))
	}
	return keepApart(read, []path{{name: "stdout", info: infoOf(w.stdout)}, writes("--junit", c.JUnit)})
}

// beside is the path of a file that is named in another.
func beside(path, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

func (c *testCmd) once(w world) error {
	if err := c.keepApart(w); err != nil {
		return err
	}
	var suites []ruletest.Suite
	if len(c.Files) == 0 {
		name, data := rules.RunbookTests()
		suites = append(suites, runSuite(name, data, func(*ruletest.File) string { return "" }))
	}
	for _, path := range c.Files {
		_, data, err := readFile(path)
		if err != nil {
			return exit{exitUsage, fmt.Errorf("cannot read the tests: %w", err)}
		}
		suites = append(suites, runSuite(path, data, func(f *ruletest.File) string { return rulesOf(path, f) }))
	}
	out := bufio.NewWriter(w.stdout)
	code := c.print(out, w.stderr, suites)
	if err := out.Flush(); err != nil {
		return exit{exitWorld, err}
	}
	if c.JUnit != "" {
		data, err := ruletest.JUnit(suites)
		if err == nil {
			err = os.WriteFile(c.JUnit, data, 0o666)
		}
		if err != nil {
			return exit{exitWorld, fmt.Errorf("cannot write the results: %w", err)}
		}
	}
	if code != exitDone {
		return exit{code, errQuiet}
	}
	return nil
}

// rulesOf is the path of the rule file that tests are about, "" for the embedded runbook.
func rulesOf(path string, f *ruletest.File) string {
	if f.Rules == "" {
		return ""
	}
	return beside(path, f.Rules)
}

// runSuite runs one file of tests, by the rules in the file that under names.
func runSuite(path string, data []byte, under func(*ruletest.File) string) ruletest.Suite {
	s := ruletest.Suite{File: path}
	tests, err := ruletest.Parse(path, data)
	if err != nil {
		s.Err = err
		return s
	}
	file, err := loadRules(under(tests), tests.Options())
	if err == nil {
		err = tests.Check(file)
	}
	if err != nil {
		s.Err = err
		return s
	}
	for i := range tests.Tests {
		start := time.Now()
		r, err := tests.Run(i, file)
		if err != nil {
			r.Diff = err.Error() + "\n"
		}
		s.Results, s.Seconds = append(s.Results, r), append(s.Seconds, time.Since(start).Seconds())
	}
	return s
}

// print says what came of the tests, and gives the exit code.
func (c *testCmd) print(out, people io.Writer, suites []ruletest.Suite) (code int) {
	passed, failed, took := 0, 0, 0.0
	for _, s := range suites {
		if s.Err != nil {
			fmt.Fprintln(out, s.Err)
			code = exitUsage
		}
		for i, r := range s.Results {
			took += s.Seconds[i]
			if r.Diff == "" {
				passed++
				if c.Verbose {
					fmt.Fprintf(out, "%s:%d: passed in %.1f ms: %s\n", s.File, r.Pos.Line, s.Seconds[i]*1000, r.Name)
				}
				continue
			}
			failed++
			fmt.Fprintf(out, "%s:%d: failed: %s (- expected, + told)\n", s.File, r.Pos.Line, r.Name)
			for line := range strings.Lines(r.Diff) {
				fmt.Fprint(out, "    "+line)
			}
		}
	}
	fmt.Fprintf(people, "%s passed, %d failed, in %.1f ms\n", counted(int64(passed), "test"), failed, took*1000)
	if code == exitDone && failed > 0 {
		code = exitFound
	}
	return code
}
