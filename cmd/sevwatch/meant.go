package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline"
)

// meant is the incident that a word is about, looked for among the published messages.
type meant struct {
	begins  string          // what was given: the id, or its beginning
	ids     map[string]last // all that begin so
	actions map[string]last // that were asked for
}

// last is what was told last: of an incident, or of an action.
type last struct {
	ID         string `json:"id"`
	IncidentID string `json:"incident_id"`
	Revision   int    `json:"revision"`
	Status     struct {
		Phase detector.Phase `json:"phase"`
	} `json:"status"`
	Action     string                      `json:"action"`
	Attempt    int                         `json:"attempt"`
	Transition detector.RecoveryTransition `json:"transition"`
	Mode       string                      `json:"mode"`
}

// take reads one message. What is none must not keep anybody from saying something.
func (m *meant) take(value []byte) error {
	var told last
	_ = json.Unmarshal(value, &told)
	id := cmp.Or(told.IncidentID, told.ID)
	if id == "" || !strings.HasPrefix(id, m.begins) {
		return nil
	}
	if told.Action == "" && told.Revision >= m.ids[id].Revision {
		m.ids[id] = told
	} else if _, known := m.ids[id]; !known {
		m.ids[id] = last{}
	}
	if told.Action != "" && told.Attempt >= m.actions[told.Action].Attempt {
		m.actions[told.Action] = told
	}
	return nil
}

// settle puts the whole id into the word. Judges pass over a word about an incident that there is not, and nobody would be told: so it is not written.
func settle(w world, cfg *pipeline.Config, client *kafka.Client, a *detector.Act) error {
	m := meant{begins: strings.ToLower(a.IncidentID), ids: map[string]last{}, actions: map[string]last{}}
	if err := pipeline.ReadMessages(w.ctx, cfg, client, m.take); err != nil {
		return topicsError(err)
	}
	ids := slices.Sorted(maps.Keys(m.ids))
	var wrong string
	switch {
	case len(ids) == 0:
		wrong = fmt.Sprintf("no incident on %s has an id that is, or begins with, %q", cfg.Topics.Alerts, m.begins)
	case len(ids) > 1:
		wrong = fmt.Sprintf("the ids of %d incidents begin with %q, among them %s and %s: give more of it", len(ids), m.begins, ids[0], ids[1])
	default:
		wrong = m.void(ids[0], a)
	}
	if wrong != "" {
		return exit{exitUsage, fmt.Errorf("%s; nothing was written", wrong)}
	}
	a.IncidentID = ids[0]
	return nil
}

// void says why a word about the incident could have no effect, "" where it can.
func (m *meant) void(id string, a *detector.Act) string {
	switch phase := m.ids[id].Status.Phase; phase {
	case detector.PhaseResolved, detector.PhaseExpired, detector.PhaseSuperseded:
		return fmt.Sprintf("the incident %s is over: it is %s", id, phase)
	}
	if a.Act != detector.ActApprove {
		return ""
	}
	asked, found := m.actions[a.Action]
	switch {
	case len(m.actions) == 0:
		return fmt.Sprintf("the incident %s has asked for no action", id)
	case !found:
		return fmt.Sprintf("the incident %s has not asked for %q, only for %s", id, a.Action, strings.Join(slices.Sorted(maps.Keys(m.actions)), " and "))
	case asked.Transition != detector.RecoveryRequested:
		return fmt.Sprintf("the action %s of the incident %s waits for nobody: it was last told as %q", a.Action, id, asked.Transition)
	case asked.Mode == "automatic":
		return fmt.Sprintf("the action %s of the incident %s waits for nobody: it was asked for as automatic", a.Action, id)
	}
	return ""
}
