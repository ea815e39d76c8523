package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"sevwatch/pipeline"
	"sevwatch/pipeline/postmortem"
)

type postmortemCmd struct {
	Config string   `help:"Configuration file of the pipeline whose topics are read; without it, FILEs are." placeholder:"FILE"`
	ID     string   `arg:"" name:"id" help:"The incident's id, or how it begins."`
	Files  []string `arg:"" optional:"" name:"file" help:"Messages as replay prints them, one a line; - is stdin."`
}

// Run writes the post-mortem of one incident as Markdown.
func (c *postmortemCmd) Run(w world) error {
	var story postmortem.Story
	switch {
	case (c.Config == "") == (len(c.Files) == 0):
		return exit{exitUsage, fmt.Errorf("expected either --config or files of messages")}
	case c.Config != "":
		cfg, client, err := connect(w, c.Config)
		if err != nil {
			return err
		}
		if err := pipeline.ReadMessages(w.ctx, cfg, client, func(value []byte) error { return story.Take(c.ID, value) }); err != nil {
			return exit{exitWorld, err}
		}
	}
	for _, name := range c.Files {
		if err := c.read(w, &story, name); err != nil {
			return exit{exitUsage, err}
		}
	}
	text, err := story.Markdown()
	if err != nil {
		return exit{exitFound, fmt.Errorf("no post-mortem of %s: %w", c.ID, err)}
	}
	_, err = io.WriteString(w.stdout, text)
	return err
}

func (c *postmortemCmd) read(w world, story *postmortem.Story, name string) error {
	in := w.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("cannot open the messages: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := story.Take(c.ID, lines.Bytes()); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	return lines.Err()
}
