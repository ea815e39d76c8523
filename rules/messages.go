package rules

import (
	"fmt"
	"strings"
	"time"
)

// Texts are the runbook's three communication templates with their values put in.
type Texts struct {
	Initial    string `json:"initial"`
	Update     string `json:"update,omitempty"`
	Resolution string `json:"resolution,omitempty"`
	Slack      Slack  `json:"slack"`
}

// Story is what the templates ask for.
type Story struct {
	Severity  Severity
	Impact    string
	Channel   string
	Status    string // the phase and the reason
	NextSteps []string
	RespondBy int64  // epoch ms
	Started   int64  // epoch ms
	Resolved  int64  // epoch ms, 0 while it goes on
	First     bool   // the first telling: no update yet
	Actions   string // what became of recovery actions; "" while none was asked for
	Cause     string // what a person gave as the root cause; "" while nobody did
}

// Render puts the story into the runbook's templates, as text and as blocks of Slack.
func (s Story) Render() Texts {
	t := s.texts()
	t.Slack = Slack{Initial: blocks(t.Initial), Update: blocks(t.Update), Resolution: blocks(t.Resolution)}
	return t
}

func (s Story) texts() Texts {
	t := Texts{Initial: fmt.Sprintf("🔴 Incident Started: Assessment Flow Issue\nSeverity: %s\nImpact: %s\nStatus: Investigating\nUpdates: %s",
		s.Severity, s.Impact, s.Channel)}
	if s.Resolved > 0 {
		cause := "not yet named"
		if s.Cause != "" {
			cause = s.Cause
		}
		resolution := s.Status
		if s.Actions != "" {
			resolution = s.Actions + "; " + s.Status
		}
		t.Resolution = fmt.Sprintf("🟢 Incident Resolved: Assessment Flow\nDuration: %s\nRoot Cause: %s\nResolution: %s\nPrevention: to be written in the post-mortem",
			Duration(s.Resolved-s.Started), cause, resolution)
		return t
	}
	if !s.First {
		next := "none in the playbook"
		if len(s.NextSteps) > 0 {
			next = strings.Join(s.NextSteps, "; ")
		}
		actions := "none reported"
		if s.Actions != "" {
			actions = s.Actions
		}
		t.Update = fmt.Sprintf("🟡 Incident Update: Assessment Flow\nCurrent Status: %s\nActions Taken: %s\nNext Steps: %s\nETA: response due by %s",
			s.Status, actions, next, time.UnixMilli(s.RespondBy).UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return t
}

// Channel is the runbook's incident channel for an incident that began at (epoch ms): its date is that of the calendar's zone.
func (f *File) Channel(at int64) string {
	return "#incident-assessment-" + time.UnixMilli(at).In(f.Calendar.zone).Format(time.DateOnly)
}

// Link is where the runbook treats of a playbook: GitHub's anchor of its heading.
func (f *File) Link(playbook string) string {
	if f.Runbook == "" {
		return ""
	}
	p, ok := f.Playbooks[playbook]
	if !ok {
		return f.Runbook
	}
	return f.Runbook + "#" + strings.ReplaceAll(strings.ToLower(p.Title), " ", "-")
}
