package rules

import (
	"slices"
	"strings"
)

// AnswerTo names what data can say to a step of a playbook.
type AnswerTo string

// The questions that are answered. None stands for a step that data say nothing to.
const (
	AnswerNone        AnswerTo = "none"
	AnswerErrors      AnswerTo = "errors"      // which error types, endpoints, versions and regions explain what goes wrong
	AnswerDeployments AnswerTo = "deployments" // what was changed lately
	AnswerRollback    AnswerTo = "rollback"    // whether the new version is to blame
	AnswerAPI         AnswerTo = "api"         // whether requests fail, and where
	AnswerCapacity    AnswerTo = "capacity"    // how busy the machines are
	AnswerNetwork     AnswerTo = "network"     // what the network readings are
	AnswerRequests    AnswerTo = "requests"    // how many requests there are, and to what
	AnswerJourney     AnswerTo = "journey"     // where visitors stop
	AnswerClient      AnswerTo = "client"      // who reports errors
)

var answers = []AnswerTo{
	AnswerNone, AnswerErrors, AnswerDeployments, AnswerRollback, AnswerAPI, AnswerCapacity, AnswerNetwork, AnswerRequests, AnswerJourney, AnswerClient,
}

// playbook checks that there is an answer to each step, or to none.
func (v *validator) playbook(name string, p *Playbook) {
	if p.Answers == nil {
		return
	}
	if len(p.Answers) != len(p.Steps) {
		v.fail(p.Where.Of("answers"), "playbook %s has %d answers to %d steps, expected one a step, none where there is no answer",
			name, len(p.Answers), len(p.Steps))
	}
	for _, a := range p.Answers {
		if !slices.Contains(answers, a) {
			v.fail(p.Where.Of("answers"), "answer %q of playbook %s is unknown, expected one of %s", a, name, joined(answers))
		}
	}
}

func joined(in []AnswerTo) string {
	var out []string
	for _, a := range in {
		out = append(out, string(a))
	}
	return strings.Join(out, ", ")
}
