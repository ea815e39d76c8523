// Command severity replays the public sets whose source tells how bad each stretch of time was, and prints in Markdown, fault by fault, the
// severity that was measured against the one that was told, how soon, and what was told where the source knows of no fault.
// docs/detection.md holds its output.
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
		Rules string `help:"Rule file; default: the embedded runbook."`
	}
	kong.Parse(&c, kong.Description("How severities agree with measured impact ($SEVWATCH_DATA)."))
	if err := run(os.Stdout, c.Rules); err != nil {
		fmt.Fprintln(os.Stderr, "severity:", err)
		os.Exit(3)
	}
}

// views are the sets, and where in them a fault is looked for.
var views = []struct {
	set, title string
	place      func(sets.Fault) string
}{
	{"nezha-onlineboutique-2022-08-22-minutes", "OnlineBoutique, at its front door", func(sets.Fault) string { return "frontend" }},
	{"petshop-low-traffic-issues", "PetShop, at its front door", func(sets.Fault) string { return "PetSite" }},
	{"petshop-low-traffic-issues", "PetShop, at the faulty component", func(f sets.Fault) string { return f.Service }},
	{"petshop-low-traffic-noissue", "PetShop without issues", nil},
}

func run(out io.Writer, path string) error {
	file, err := played.Rules(path)
	if err != nil {
		return err
	}
	fsys, err := sets.Open()
	if err != nil {
		return err
	}
	for _, v := range views {
		r, err := Agree(context.Background(), fsys, v.set, file, v.place)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "### %s\n\n%s\n", v.title, r.Markdown()); err != nil {
			return err
		}
	}
	return nil
}
