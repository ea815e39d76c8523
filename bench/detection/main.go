// Command detection replays a labelled public set under a rule file and prints, fault by fault, which incident found it and how fast, as a
// Markdown table. docs/detection.md holds its output.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"sevwatch/bench/convert/sets"
	"sevwatch/bench/played"
)

func main() {
	var c struct {
		Set   string `help:"Name of the set." default:"nezha-trainticket-2023-01-29"`
		Rules string `help:"Rule file; default: the embedded runbook."`
	}
	kong.Parse(&c, kong.Description("How the rules do on a labelled set ($SEVWATCH_DATA)."))
	if err := run(os.Stdout, c.Set, c.Rules); err != nil {
		fmt.Fprintln(os.Stderr, "detection:", err)
		os.Exit(3)
	}
}

func run(out io.Writer, name, path string) error {
	file, err := played.Rules(path)
	if err != nil {
		return err
	}
	fsys, err := sets.Open()
	if err != nil {
		return err
	}
	r, err := Detect(context.Background(), fsys, name, file)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, r.Markdown())
	return err
}
