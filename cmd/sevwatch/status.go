package main

import (
	"encoding/json"

	"sevwatch/pipeline/status"
	"sevwatch/rules"
)

type statusCmd struct {
	messageFlags `embed:""`
	Title        string         `help:"Title of the feed." default:"Assessment flow"`
	Limit        int            `help:"How many incidents it has at most, 0 for all: open ones first, then the last told." default:"50"`
	Mildest      rules.Severity `help:"Leave out incidents that were milder than that at their worst: sev1 to sev4." placeholder:"SEV"`
}

// Run writes the feed.
func (c *statusCmd) Run(w world) error {
	page := status.Page{Mildest: c.Mildest, Limit: c.Limit}
	if err := c.each(w, page.Take); err != nil {
		return err
	}
	out := json.NewEncoder(w.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(page.Feed(c.Title))
}
