package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Control is a record of the control topic: a person's word, a change of the rules, a judge's word that one of them was applied, or a worker's settings. docs/messages.md says which fields go with
// which act.
type Control struct {
	V int `json:"v"`
	detector.Act

	Offset *int64          `json:"offset,omitempty"` // applied: of the act
	Judge  *int            `json:"judge,omitempty"`  // applied, settings: the task
	Edge   detector.Millis `json:"edge,omitzero"`    // applied

	Hash string `json:"hash,omitempty"`  // rules: of Text, as in the messages
	Text string `json:"rules,omitempty"` // rules: the whole rule file

	Settings  *Settings `json:"settings,omitempty"`  // settings
	Aggregate *int      `json:"aggregate,omitempty"` // settings: the task, where it is none of a judge
}

// Settings are what decides, besides the rules, what records count as, by the names of the configuration.
type Settings struct {
	Pipeline map[string]string            `json:"pipeline"`
	Sources  map[string]map[string]string `json:"sources"` // by topic
}

// ActApplied is the act of a judge.
const ActApplied detector.ActKind = "applied"

// Applied is the record that says at which edge a judge applied an act.
func Applied(judge int, a detector.Applied) Record {
	return Record{Value: JSON(Control{
		V: 1, Act: detector.Act{Act: ActApplied}, Offset: &a.Offset, Judge: &judge, Edge: detector.Millis(a.Edge),
	})}
}

// ActSettings is the act of a task that begins with other settings than it was at work with last.
const ActSettings detector.ActKind = "settings"

// Counts names the task that a record of settings is of.
func (c *Control) Counts() string {
	if c.Judge != nil {
		return fmt.Sprintf("judge/%d", *c.Judge)
	}
	return fmt.Sprintf("aggregate/%d", *c.Aggregate)
}

// Rules is the control record that puts a rule file in force.
func Rules(file *rules.File, at detector.Millis, by string) Control {
	return Control{
		V: 1, Act: detector.Act{Time: at, Act: detector.ActRules, By: by, Rules: file}, Hash: file.Hash, Text: string(file.Text),
	}
}

// maxControl bounds a person's word: it is kept in the judges' state and told in revisions.
const maxControl = 8 << 10

// DecodeControl reads a control record, and says everything that is wrong with it. Rules are checked as opt says.
func DecodeControl(value []byte, opt rules.Options) (*Control, error) {
	var c Control
	if err := decodeInside(value, &c, &c.V); err != nil {
		return nil, err
	}
	if c.Act.Act != detector.ActRules && c.Act.Act != ActSettings && len(value) > maxControl {
		return nil, fmt.Errorf("cannot read the record: it has %d bytes, expected at most %d", len(value), maxControl)
	}
	err := c.Check()
	if c.Text == "" || err != nil {
		return &c, err
	}
	opt.InForce = true // what is in the log may have been for long
	if c.Rules, err = rules.Parse(detector.RulesName, []byte(c.Text), opt); err != nil {
		return nil, fmt.Errorf("cannot read the rules: %w", err)
	}
	if c.Rules.Hash != c.Hash {
		return nil, fmt.Errorf("cannot read the rules: their hash is %s, expected %s", c.Rules.Hash, c.Hash)
	}
	return &c, nil
}

// Check says what is missing or out of place.
func (c *Control) Check() error {
	needs, known := controlFields[c.Act.Act]
	if !known {
		return fmt.Errorf("act is %q, expected acknowledge, silence, resolve, approve or rules", c.Act.Act)
	}
	var problems []string
	there := map[string]bool{
		"incident_id": c.IncidentID != "", "matchers": len(c.Matchers) > 0, "until": c.Until != 0, "action": c.Action != "", "cause": c.Cause != "",
		"by": c.By != "", "comment": c.Comment != "", "time": c.Time != 0, "offset": c.Offset != nil, "judge": c.Judge != nil, "edge": c.Edge != 0,
		"hash": c.Hash != "", "rules": c.Text != "", "settings": c.Settings != nil, "aggregate": c.Aggregate != nil,
	}
	for _, name := range needs {
		if names := strings.Split(name, "|"); !slices.ContainsFunc(names, func(n string) bool { return there[n] }) {
			problems = append(problems, fmt.Sprintf("%s needs %s", c.Act.Act, strings.Join(names, " or ")))
		}
	}
	allowed := strings.Split(strings.Join(needs, "|")+"|time|comment", "|")
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range there {
			if there[name] && !slices.Contains(allowed, name) && !yield(name) {
				return
			}
		}
	}) {
		problems = append(problems, fmt.Sprintf("%s has no %s", c.Act.Act, name))
	}
	if c.IncidentID != "" && len(c.Matchers) > 0 {
		problems = append(problems, "a silence is about an incident_id or about matchers, not both")
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// controlFields are the fields that each act needs; a|b is one of the two at least.
var controlFields = map[detector.ActKind][]string{
	detector.ActAcknowledge: {"incident_id", "by"},
	detector.ActSilence:     {"incident_id|matchers", "until", "by"},
	detector.ActResolve:     {"incident_id", "cause", "by"},
	detector.ActApprove:     {"incident_id", "action", "by"},
	detector.ActRules:       {"hash", "rules", "by"},
	ActApplied:              {"offset", "judge", "edge"},
	ActSettings:             {"settings", "aggregate|judge", "by"},
}
