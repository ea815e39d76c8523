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
	ids     map[string]bool // all that begin so
	actions map[string]bool // that were asked for
}

// take reads one message. What is none must not keep anybody from saying something.
func (m *meant) take(value []byte) error {
	var head struct {
		ID         string `json:"id"`
		IncidentID string `json:"incident_id"`
		Action     string `json:"action"`
	}
	_ = json.Unmarshal(value, &head)
	id := cmp.Or(head.IncidentID, head.ID)
	if id == "" || !strings.HasPrefix(id, m.begins) {
		return nil
	}
	if m.ids[id] = true; head.Action != "" {
		m.actions[head.Action] = true
	}
	return nil
}

// settle puts the whole id into the word. Judges pass over a word about an incident that there is not, and nobody would be told: so it is not written.
func settle(w world, cfg *pipeline.Config, client *kafka.Client, a *detector.Act) error {
	m := meant{begins: a.IncidentID, ids: map[string]bool{}, actions: map[string]bool{}}
	if err := pipeline.ReadMessages(w.ctx, cfg, client, m.take); err != nil {
		return topicsError(err)
	}
	ids := slices.Sorted(maps.Keys(m.ids))
	switch asked := slices.Sorted(maps.Keys(m.actions)); {
	case len(ids) == 0:
		return exit{exitUsage, fmt.Errorf("no incident on %s has an id that is, or begins with, %q: nothing was written", cfg.Topics.Alerts, m.begins)}
	case len(ids) > 1:
		return exit{exitUsage, fmt.Errorf("the ids of %d incidents begin with %q, among them %s and %s: give more of it; nothing was written",
			len(ids), m.begins, ids[0], ids[1])}
	case a.Act == detector.ActApprove && len(asked) == 0:
		return exit{exitUsage, fmt.Errorf("the incident %s has asked for no action: nothing was written", ids[0])}
	case a.Act == detector.ActApprove && !m.actions[a.Action]:
		return exit{exitUsage, fmt.Errorf("the incident %s has not asked for %q, only for %s: nothing was written", ids[0], a.Action, strings.Join(asked, " and "))}
	}
	a.IncidentID = ids[0]
	return nil
}
