package main

import (
	"fmt"
	"io"
	"strings"

	"sevwatch/pipeline/postmortem"
)

type postmortemCmd struct {
	ID           string `arg:"" name:"id" help:"The incident's id, or how it begins."`
	messageFlags `embed:""`
}

// Run writes the post-mortem of one incident as Markdown.
func (c *postmortemCmd) Run(w world) error {
	c.ID = strings.ToLower(c.ID)
	var story postmortem.Story
	if err := c.each(w, func(value []byte) error { return story.Take(c.ID, value) }); err != nil {
		return err
	}
	text, err := story.Markdown()
	if err != nil {
		return exit{exitFound, fmt.Errorf("no post-mortem of %s: %w", c.ID, err)}
	}
	_, err = io.WriteString(w.stdout, text)
	return err
}
