package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"sevwatch/rules/strictyaml"
)

// File is one rule file: rules, and what the runbook says around them.
type File struct {
	Where     strictyaml.Where      `json:"-"`
	Runbook   string                `yaml:"runbook"` // link to the runbook; a playbook's anchor is put behind it
	Calendar  Calendar              `yaml:"calendar"`
	Contacts  map[Severity][]string `yaml:"contacts"`
	Playbooks map[string]Playbook   `yaml:"playbooks"`
	Actions   map[string]Action     `yaml:"actions"`
	Correlate *Correlate            `yaml:"correlate"` // which incidents are one; default: each stands alone
	Renotify  map[Severity]Duration `yaml:"renotify"`  // how often an open incident that nobody has answered is told again; default never
	Groups    []Group               `yaml:"groups,required"`

	Name string `yaml:"-"` // that it was read under
	Hash string `yaml:"-"` // "sha256:" and the hex digest of Text
	Text []byte `yaml:"-"` // the file's bytes
}

// Playbook is what to do, in order.
type Playbook struct {
	Where   strictyaml.Where `json:"-"`
	Title   string           `yaml:"title,required"`
	Steps   []string         `yaml:"steps,required"`
	Answers []AnswerTo       `yaml:"answers"` // what the data say to each step; nil: nothing to any
}

// Action is something that a recovery system can carry out.
type Action struct {
	Where      strictyaml.Where  `json:"-"`
	Target     map[string]string `yaml:"target"`
	Parameters map[string]Number `yaml:"parameters"`
	Inspect    string            `yaml:"inspect"`
	Apply      string            `yaml:"apply,required"`
	Verify     string            `yaml:"verify"`
	Expires    Duration          `yaml:"expires"`         // default 15m
	Attempts   int               `yaml:"attempts"`        // how often it is asked for in one incident; default 1
	Cooldown   Duration          `yaml:"cooldown"`        // at least so long between two requests in a domain; default 0s
	Budget     int               `yaml:"budget_per_hour"` // at most so many requests an hour in a domain; default no limit
	AfterOnly  string            `yaml:"after_change"`    // asked for only when such a change (deploy) precedes the incident and explains it

	about []string // what Target says, sorted
}

// Group is a named list of rules.
type Group struct {
	Where strictyaml.Where `json:"-"`
	Name  string           `yaml:"name,required"`
	Rules []*Rule          `yaml:"rules,required"`
}

// Rule is one signal, its ladder and its life.
type Rule struct {
	Where       strictyaml.Where  `json:"-"`
	Alert       string            `yaml:"alert,required"`
	Signal      Signal            `yaml:"signal,required"`
	By          []string          `yaml:"by"`
	Window      Duration          `yaml:"window,required"`
	Sample      Sample            `yaml:"sample"`
	Severities  []Tier            `yaml:"severities,required"`
	Recover     Recover           `yaml:"recover"`
	NoData      NoData            `yaml:"no_data"`         // default keep_state
	NoDataAfter Duration          `yaml:"no_data_timeout"` // default 24h: a label set gone for so long expires
	ReopenFor   Duration          `yaml:"reopen_within"`   // a breach so soon after the end goes on with the incident; default never
	FlapLimit   *int              `yaml:"flap_limit"`      // default 8, 0 never: more edges than that within flap_window are told once
	FlapWindow  Duration          `yaml:"flap_window"`     // default 1h
	Alone       bool              `yaml:"alone"`           // it is never part of another incident
	AfterDeploy *AfterDeploy      `yaml:"after_deploy"`    // default: a deploy changes nothing
	Actions     []Request         `yaml:"recovery"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`

	Group string `yaml:"-"`
}

// Sample is how much has to be known before a window is judged.
type Sample struct {
	Where  strictyaml.Where `json:"-"`
	Min    int64            `yaml:"min"`
	Wilson float64          `yaml:"wilson_lower"`
}

// Tier is one step of the ladder.
type Tier struct {
	Where    strictyaml.Where `json:"-"`
	Severity Severity         `yaml:"severity,required"`
	Above    *float64         `yaml:"above"`
	Below    *float64         `yaml:"below"`
	Floor    float64          `yaml:"floor"` // deviation: as the signal's floor, for this tier alone
	For      Duration         `yaml:"for"`
}

// Recover is what it takes to come down again.
type Recover struct {
	Where          strictyaml.Where `json:"-"`
	ThresholdShare *float64         `yaml:"threshold_share"` // default 0.8
	KeepFiringFor  *Duration        `yaml:"keep_firing_for"` // default 5m
}

// AfterDeploy has the incidents told as silenced that begin within a time after a deploy of the same service.
type AfterDeploy struct {
	Where strictyaml.Where `json:"-"`
	For   Duration         `yaml:"for,required"` // at most maxAfterDeploy
	Bar   Severity         `yaml:"bar"`          // what is at least that bad is told aloud; default nothing
}

// Request asks for an action when the incident is at least that bad.
type Request struct {
	Where     strictyaml.Where `json:"-"`
	Action    string           `yaml:"action,required"`
	Severity  Severity         `yaml:"severity,required"`
	Automatic bool             `yaml:"automatic"` // default: needs a person's approval
}

// NoData is what an empty window means for a rule.
type NoData string

// KeepState leaves an incident as it is and never resolves it; Fire counts an observed empty window as a breach of every tier.
const (
	NoDataKeep NoData = "keep_state"
	NoDataFire NoData = "fire"
)

// UnmarshalText reads keep_state or fire.
func (n *NoData) UnmarshalText(text []byte) error {
	return oneOf(n, text, "keep_state or fire", NoDataKeep, NoDataFire)
}

// Number is a number kept as it was written, in JSON's notation.
type Number string

// UnmarshalText reads a JSON number.
func (n *Number) UnmarshalText(text []byte) error {
	var f float64
	if err := json.Unmarshal(text, &f); err != nil || string(text) == "null" || len(bytes.TrimSpace(text)) < len(text) {
		return strictyaml.ErrExpected("a number as JSON writes it")
	}
	*n = Number(text)
	return nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Number) UnmarshalJSON(text []byte) error { return n.UnmarshalText(text) }

// MarshalJSON is the number as it was written.
func (n Number) MarshalJSON() ([]byte, error) { return []byte(n), nil }

// Rules are the rules of all groups, in the order of the file.
func (f *File) Rules() []*Rule {
	var rules []*Rule
	for _, g := range f.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

// Identity is what a rule's state hangs on: it changes with the rule's name, signal and grouping, not with thresholds, so new
// thresholds keep an open incident and anything else begins a new one.
func (r *Rule) Identity() string {
	about := fmt.Sprintf("%s\x00%s\x00%v\x00%v\x00%q", r.Alert, r.Signal.Type, r.Signal.Num, r.Signal.Den, r.By)
	if q := r.Signal.Distribution(); q != nil {
		about += fmt.Sprint("\x00", q.Q)
	}
	if b := r.Signal.Deviation; b != nil && (!b.ratioUp() || b.Panes == 0) {
		about += fmt.Sprint("\x00", b.Of.Type, b.Measured, b.Direction, b.Panes > 0, b.Season)
	}
	if b := r.Signal.Burn; b != nil {
		about += fmt.Sprint("\x00", b.Objective)
	}
	sum := sha256.Sum256([]byte(about))
	return hex.EncodeToString(sum[:6])
}
