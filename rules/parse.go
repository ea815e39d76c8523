package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"sevwatch/rules/strictyaml"
)

// Options is what a rule file is checked against besides itself.
type Options struct {
	Labels []string // labels that series can have; nil means DefaultLabels
	Pane   Duration // the smallest slice of event time; 0 means 10s
}

// Parse reads a rule file and returns it only if nothing is wrong with it; else the error is a strictyaml.Errors with every mistake.
// name is what positions are reported under.
func Parse(name string, data []byte, opt Options) (*File, error) {
	if opt.Labels == nil {
		opt.Labels = DefaultLabels()
	}
	if opt.Pane == 0 {
		opt.Pane = 10_000
	}
	f := &File{}
	errs := strictyaml.Decode(name, data, f)
	v := validator{file: f, opt: opt, fail: func(pos strictyaml.Pos, format string, args ...any) {
		e := strictyaml.Error{File: name, Pos: pos, Msg: fmt.Sprintf(format, args...)}
		if pos.Line > 0 {
			errs = append(errs, e)
		}
	}}
	v.run()
	if err := errs.Err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	f.Hash = "sha256:" + hex.EncodeToString(sum[:])
	return f, nil
}

// validator looks for what the grammar cannot see: how the numbers and names relate. A position of line 0 belongs to something
// that was missing and has been reported already.
type validator struct {
	file  *File
	opt   Options
	fail  func(pos strictyaml.Pos, format string, args ...any)
	names map[string]strictyaml.Pos
}

func (v *validator) run() {
	v.names = map[string]strictyaml.Pos{}
	if err := v.file.Calendar.compile(); err != nil {
		v.fail(v.file.Calendar.Pos, "calendar: %s", err)
	}
	for name, a := range v.file.Actions {
		if a.Expires == 0 {
			a.Expires = 15 * 60_000
			v.file.Actions[name] = a
		}
	}
	for _, g := range v.file.Groups {
		for _, r := range g.Rules {
			r.Group = g.Name
			v.rule(r)
		}
	}
}

func (v *validator) rule(r *Rule) {
	if first, twice := v.names[r.Alert]; twice && r.Alert != "" {
		v.fail(r.Pos, "alert %q is named twice, first in line %d", r.Alert, first.Line)
	}
	v.names[r.Alert] = r.Pos
	v.defaults(r)
	if r.Signal.Pos.Line > 0 {
		r.Signal.compile(v.fail)
	}
	v.labels(r)
	v.window(r)
	v.sample(r)
	v.ladder(r)
	if share := *r.Recover.ThresholdShare; share <= 0 || share > 1 {
		v.fail(r.Recover.Pos, "threshold_share is %v, expected more than 0 and at most 1", share)
	}
	if name, ok := r.Annotations["playbook"]; ok {
		if _, known := v.file.Playbooks[name]; !known {
			v.fail(r.Pos, "playbook %q of alert %s is not among playbooks", name, r.Alert)
		}
	}
	for _, a := range r.Actions {
		if _, known := v.file.Actions[a.Action]; !known && a.Action != "" {
			v.fail(a.Pos, "action %q is not among actions", a.Action)
		}
	}
}

func (v *validator) defaults(r *Rule) {
	if r.Recover.ThresholdShare == nil {
		share := 0.8
		r.Recover.ThresholdShare = &share
	}
	if r.Recover.KeepFiringFor == nil {
		keep := Duration(5 * 60_000)
		r.Recover.KeepFiringFor = &keep
	}
	if r.NoData == "" {
		r.NoData = NoDataKeep
	}
	if r.NoDataAfter == 0 {
		r.NoDataAfter = 24 * 3600_000
	}
}

func (v *validator) labels(r *Rule) {
	known := func(name string) bool { return slices.Contains(v.opt.Labels, name) }
	for i, name := range r.By {
		if !known(name) {
			v.fail(r.Pos, "by has the unknown label %q, expected one of %s", name, strings.Join(v.opt.Labels, ", "))
		}
		if slices.Contains(r.By[:i], name) {
			v.fail(r.Pos, "by has the label %q twice", name)
		}
	}
	for _, s := range slices.Concat(r.Signal.Num, r.Signal.Den) {
		for _, m := range s.Matchers {
			if !known(m.Name) {
				v.fail(r.Signal.Pos, "selector %s has the unknown label %q, expected one of %s", s, m.Name, strings.Join(v.opt.Labels, ", "))
			}
		}
	}
}

func (v *validator) window(r *Rule) {
	switch {
	case r.Window == 0:
	case r.Window < v.opt.Pane:
		v.fail(r.Pos, "window is %s, shorter than a pane of %s", r.Window, v.opt.Pane)
	case r.Window%v.opt.Pane != 0:
		v.fail(r.Pos, "window is %s, expected a multiple of the pane of %s", r.Window, v.opt.Pane)
	}
	if keep := *r.Recover.KeepFiringFor; keep%v.opt.Pane != 0 {
		v.fail(r.Recover.Pos, "keep_firing_for is %s, expected a multiple of the pane of %s", keep, v.opt.Pane)
	}
	for _, t := range r.Severities {
		if t.For%v.opt.Pane != 0 {
			v.fail(t.Pos, "for is %s, expected a multiple of the pane of %s", t.For, v.opt.Pane)
		}
	}
}

func (v *validator) sample(r *Rule) {
	s := r.Sample
	if s.Min < 0 {
		v.fail(r.Pos, "sample.min is %d, expected 0 or more", s.Min)
	}
	if s.Min > 0 && (r.Signal.Type == SignalCount || r.Signal.Type == SignalRate) {
		v.fail(r.Pos, "sample.min says nothing about a %s: its value is the number of events", r.Signal.Type)
	}
	if s.Wilson == 0 {
		return
	}
	if _, ok := zFor(s.Wilson); !ok {
		v.fail(r.Pos, "wilson_lower is %v, expected 0.8, 0.9, 0.95, 0.975, 0.99 or 0.999", s.Wilson)
	}
	if r.Signal.Type != "" && !r.Signal.needsData() {
		v.fail(r.Pos, "wilson_lower goes with ratio, quantile, deviation, completion and abandonment, not with %s", r.Signal.Type)
	}
	if r.Signal.Type != "" && r.Signal.Distribution() != nil && r.Below() {
		v.fail(r.Pos, "wilson_lower of a quantile goes with above")
	}
}

// ladder checks that the tiers are worst first, that each can be reached, and that none is looser than a milder one.
func (v *validator) ladder(r *Rule) {
	if len(r.Severities) == 0 && r.Pos.Line > 0 && r.Severities != nil {
		v.fail(r.Pos, "severities of alert %s is empty, expected at least one tier", r.Alert)
	}
	for i, t := range r.Severities {
		if (t.Above == nil) == (t.Below == nil) {
			v.fail(t.Pos, "a tier has either above or below")
			return
		}
		v.reachable(r, t)
		if i == 0 || t.Severity == 0 {
			continue
		}
		worse := r.Severities[i-1]
		if t.Severity <= worse.Severity {
			v.fail(t.Pos, "%s stands after %s, expected the worst first and each once", t.Severity, worse.Severity)
		}
		if (t.Below == nil) != (worse.Below == nil) {
			v.fail(t.Pos, "%s and %s go in different directions, expected all above or all below", worse.Severity, t.Severity)
			return
		}
		if t.past(worse.threshold()) {
			continue
		}
		if worse.threshold() != t.threshold() {
			v.fail(worse.Pos, "%s is looser (%v) than %s (%v)", worse.Severity, worse.threshold(), t.Severity, t.threshold())
		} else if worse.For <= t.For {
			v.fail(t.Pos, "%s can never be reached: %s has the same threshold %v and no longer for", t.Severity, worse.Severity, t.threshold())
		}
	}
}

func (v *validator) reachable(r *Rule, t Tier) {
	x := t.threshold()
	switch {
	case r.Signal.share() && (x < 0 || x > 1 || t.Above != nil && x == 1 || t.Below != nil && x == 0):
		v.fail(t.Pos, "%s can never be reached: a share lies within 0..1, the threshold is %v", t.Severity, x)
	case t.Below != nil && x <= 0 && r.Signal.Unit != "value" && r.Signal.Unit != "score":
		v.fail(t.Pos, "%s can never be reached: nothing is below %v %s", t.Severity, x, r.Signal.Unit)
	case r.Signal.Type == SignalAbsence && t.Below != nil:
		v.fail(t.Pos, "absence is judged by above: seconds without an event")
	}
}
