package main

import (
	"encoding/json"
	"fmt"

	"sevwatch/detector"
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
	err := c.each(w, func(value []byte) error {
		if err := ours(value); err != nil {
			return err
		}
		return page.Take(value)
	})
	if err != nil {
		return err
	}
	out := json.NewEncoder(w.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(page.Feed(c.Title))
}

// ours says what a message lacks of what each incident has. Recoveries are ours: they name an incident.
func ours(value []byte) error {
	var i struct {
		detector.Incident
		Of string `json:"incident_id"`
	}
	if err := json.Unmarshal(value, &i); err != nil {
		return fmt.Errorf("cannot read the message: %w", err)
	}
	if i.Of != "" {
		return nil
	}
	for _, field := range []struct {
		name string
		has  bool
	}{
		{"id", i.ID != ""},
		{"revision", i.Revision > 0},
		{"severity", i.Severity != 0},
		{"peak_severity", i.PeakSeverity != 0},
		{"status.phase", i.Status.Phase != ""},
		{"rule.name", i.Rule.Name != ""},
		{"started_at", i.StartedAt != 0},
		{"at", i.At != 0},
	} {
		if !field.has {
			return fmt.Errorf("a message is no incident: it has no %s: %.60q", field.name, value)
		}
	}
	return nil
}
