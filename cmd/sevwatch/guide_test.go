package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every command of the guide's worked case does what the guide says: it ends well, and what stands behind # is in what it prints.
func TestGuidesWorkedCase(t *testing.T) {
	if os.Getenv("SEVWATCH_DATA") == "" {
		t.Skip("SKIP: SEVWATCH_DATA is not set")
	}
	guide, err := os.ReadFile("../../docs/analysts.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "sevwatch"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	_, worked, _ := strings.Cut(string(guide), "## A worked case")
	commands := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(worked, -1) {
		for line := range strings.Lines(block[1]) {
			command, want, _ := strings.Cut(strings.TrimSpace(line), " # ")
			shell := exec.CommandContext(t.Context(), "sh", "-c", command)
			shell.Dir = "../.."
			shell.Env = append(os.Environ(), "OUT="+dir, "PATH="+dir+":"+os.Getenv("PATH"))
			var stdout, stderr bytes.Buffer
			shell.Stdout, shell.Stderr = &stdout, &stderr
			if err := shell.Run(); err != nil || !strings.Contains(stdout.String(), want) {
				t.Errorf("%s: %v, expected %q in\n%s\n%s", command, err, want, stdout.String(), stderr.String())
			}
			commands++
		}
	}
	if commands < 10 {
		t.Errorf("found only %d commands: the test looks in the wrong place", commands)
	}
}

// Every command that README shows is one: all that is wrong with it here is that its files are not there.
func TestReadmesCommands(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	commands := 0
	for _, line := range regexp.MustCompile("(?m)^sevwatch ([a-z]+ [^#|\n]*)(#|$)").FindAllStringSubmatch(string(readme), -1) {
		code, stdout, stderr := call(t, "", strings.Fields(line[1])...)
		if said := stdout + stderr; code == exitDone || !strings.Contains(said, "no such file") {
			t.Errorf("sevwatch %s: %d, %s", line[1], code, said)
		}
		commands++
	}
	if commands < 8 {
		t.Errorf("found only %d commands: the test looks in the wrong place", commands)
	}
}
