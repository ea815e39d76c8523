package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sevwatch/detector"
)

// Control is a record of the control topic: a person's word, or a judge's that it was applied. docs/messages.md says which fields go with
// which act.
type Control struct {
	V int `json:"v"`
	detector.Act

	Offset *int64          `json:"offset,omitempty"` // applied: of the act
	Judge  *int            `json:"judge,omitempty"`  // applied: the task
	Edge   detector.Millis `json:"edge,omitzero"`    // applied
}

// ActApplied is the act of a judge.
const ActApplied detector.ActKind = "applied"

// Applied is the record that says at which edge a judge applied an act.
func Applied(judge int, a detector.Applied) Record {
	return Record{Value: JSON(Control{
		V: 1, Act: detector.Act{Act: ActApplied}, Offset: &a.Offset, Judge: &judge, Edge: detector.Millis(a.Edge),
	})}
}

// maxControl bounds a control record: it is kept in the judges' state and told in revisions.
const maxControl = 8 << 10

// DecodeControl reads a control record, and says everything that is wrong with it.
func DecodeControl(value []byte) (*Control, error) {
	var c Control
	if len(value) > maxControl {
		return nil, fmt.Errorf("cannot read the record: it has %d bytes, expected at most %d", len(value), maxControl)
	}
	if err := decodeInside(value, &c, &c.V); err != nil {
		return nil, err
	}
	return &c, c.Check()
}

// Check says what is missing or out of place.
func (c *Control) Check() error {
	needs, known := controlFields[c.Act.Act]
	if !known {
		return fmt.Errorf("act is %q, expected acknowledge, silence, resolve or approve", c.Act.Act)
	}
	var problems []string
	there := map[string]bool{
		"incident_id": c.IncidentID != "", "matchers": len(c.Matchers) > 0, "until": c.Until != 0, "action": c.Action != "", "cause": c.Cause != "",
		"by": c.By != "", "comment": c.Comment != "", "time": c.Time != 0, "offset": c.Offset != nil, "judge": c.Judge != nil, "edge": c.Edge != 0,
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
	ActApplied:              {"offset", "judge", "edge"},
}
