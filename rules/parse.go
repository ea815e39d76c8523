package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"sevwatch/rules/strictyaml"
)

// Options is what a rule file is checked against besides itself.
type Options struct {
	Labels []string // labels that series can have; nil means DefaultLabels
	Pane   Duration // the smallest slice of event time; 0 means 10s

	// Sessionless are the kinds of events of which no source counts the sessions; nil where that is not known.
	Sessionless []Kind
	// Dropped are the labels that every source of a kind drops.
	Dropped map[Kind][]string
	// InForce says that the rules were in force once: what has been found to be a mistake since then does not make them unreadable.
	InForce bool
}

// MaxBytes bounds a rule file: one record of the control log holds all of it, as JSON, and Kafka takes records of 1 MiB.
const MaxBytes = 480 << 10

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
		switch {
		case pos.Line == 0 && len(errs) > 0:
			return // it is about what could not be read, which has been reported
		case pos.Line == 0:
			pos = strictyaml.Pos{Line: 1, Col: 1}
		}
		errs = append(errs, strictyaml.Error{File: name, Pos: pos, Msg: fmt.Sprintf(format, args...)})
	}}
	v.run()
	if len(data) > MaxBytes {
		errs = append(errs, strictyaml.Error{File: name, Pos: strictyaml.Pos{Line: 1, Col: 1}, Msg: fmt.Sprintf(
			"the file has %d bytes, expected at most %d: a record of the control log holds it whole", len(data), MaxBytes)})
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	f.Name, f.Text = name, data
	f.Hash = "sha256:" + hex.EncodeToString(sum[:])
	return f, nil
}

// validator looks for what the grammar cannot see: how the numbers and names relate. It does not look at what is missing or could
// not be read: that has been reported already.
type validator struct {
	file  *File
	opt   Options
	fail  func(pos strictyaml.Pos, format string, args ...any)
	lines map[string]int // where the alerts are named

	uneven []uneven // in the order of the file
	common Duration // the largest that all durations that are counted in panes are multiples of
}

// uneven is a duration that is no multiple of a pane, and what is said of it.
type uneven struct {
	pos strictyaml.Pos
	is  string
}

func (v *validator) run() {
	v.lines = map[string]int{}
	v.file.Calendar.compile(v.fail)
	for name, a := range v.file.Actions {
		for what, name := range a.Target {
			a.about = append(a.about, what+"="+name)
		}
		slices.Sort(a.about)
		v.action(&a)
		v.file.Actions[name] = a
	}
	for name, p := range v.file.Playbooks {
		v.playbook(name, &p)
	}
	if c := v.file.Correlate; c != nil {
		for service := range c.DependsOn {
			c.callers = append(c.callers, service)
		}
		slices.Sort(c.callers)
		v.correlate(c)
	}
	for s, d := range v.file.Renotify {
		if d == 0 {
			v.fail(v.file.Where.Of("renotify."+strings.ToLower(s.String())), "renotify of %s is %s, expected more than 0s", s, d)
		}
	}
	for _, g := range v.file.Groups {
		v.named(g.Where, "name", g.Name)
		for _, r := range g.Rules {
			r.Group = g.Name
			if r.Where.Line > 0 {
				v.rule(r)
			}
		}
	}
	v.tellUneven()
}

// inPanes checks a duration that is counted in panes; is says which one it is.
func (v *validator) inPanes(pos strictyaml.Pos, is string, d Duration) {
	v.paned(d)
	if d%v.opt.Pane != 0 {
		v.uneven = append(v.uneven, uneven{pos, fmt.Sprintf(is, d)})
	}
}

// paned takes a duration into the pane that would fit all.
func (v *validator) paned(d Duration) {
	for rest := d; rest != 0; {
		v.common, rest = rest, v.common%rest
	}
}

// fewUneven is up to how many durations that do not fit are told one by one: where there are more, it is the pane that does not.
const fewUneven = 5

// tellUneven says which durations do not fit the pane.
func (v *validator) tellUneven() {
	if len(v.uneven) > fewUneven {
		d := v.uneven[0]
		v.fail(d.pos, "%s, expected a multiple of the pane of %s; %d more durations are none: a pane of %s fits all of them",
			d.is, v.opt.Pane, len(v.uneven)-1, v.common)
		return
	}
	for _, d := range v.uneven {
		v.fail(d.pos, "%s, expected a multiple of the pane of %s", d.is, v.opt.Pane)
	}
}

// named checks that a name was not left empty.
func (v *validator) named(w strictyaml.Where, key, name string) {
	if w.Has(key) && w.Readable(key) && strings.TrimSpace(name) == "" {
		v.fail(w.Of(key), "%s is empty, expected a name", key)
	}
}

// positive checks that a duration with a default was not written as 0, which would mean the default.
func (v *validator) positive(w strictyaml.Where, key string, d Duration) {
	if w.Has(key) && w.Readable(key) && d == 0 {
		v.fail(w.Of(key), "%s is %s, expected more than 0s", key, d)
	}
}

// maxAttempts bounds how often an action is asked for in one incident.
const maxAttempts = 10

func (v *validator) action(a *Action) {
	v.positive(a.Where, "expires", a.Expires)
	if a.Expires == 0 {
		a.Expires = 15 * 60_000
	}
	if a.Attempts == 0 && !a.Where.Has("attempts") {
		a.Attempts = 1
	}
	if a.Attempts < 1 || a.Attempts > maxAttempts {
		v.fail(a.Where.Of("attempts"), "attempts is %d, expected 1 to %d", a.Attempts, maxAttempts)
	}
	if a.Budget < 0 || a.Budget == 0 && a.Where.Has("budget_per_hour") {
		v.fail(a.Where.Of("budget_per_hour"), "budget_per_hour is %d, expected 1 or more", a.Budget)
	}
	if changes := ChangeNames(); a.AfterOnly != "" && !slices.Contains(changes, a.AfterOnly) {
		v.fail(a.Where.Of("after_change"), "after_change is %q, expected one of %s", a.AfterOnly, strings.Join(changes, ", "))
	}
}

func (v *validator) rule(r *Rule) {
	v.alert(r)
	v.defaults(r)
	if r.Signal.Where.Line > 0 {
		r.Signal.compile(v.fail)
	}
	v.labels(r)
	v.bySides(r)
	v.sessions(r)
	v.window(r)
	v.sample(r)
	v.ladder(r)
	v.noData(r)
	if r.AfterDeploy != nil {
		v.afterDeploy(r)
	}
	if share := *r.Recover.ThresholdShare; share <= 0 || share > 1 {
		v.fail(r.Recover.Where.Of("threshold_share"), "threshold_share is %v, expected more than 0 and at most 1", share)
	}
	if name, ok := r.Annotations["playbook"]; ok && v.file.Where.Has("playbooks") {
		if _, known := v.file.Playbooks[name]; !known {
			v.fail(r.Where.Of("annotations.playbook"), "playbook %q of alert %s is not among playbooks", name, r.Alert)
		}
	}
	for i, a := range r.Actions {
		if _, known := v.file.Actions[a.Action]; !known && a.Action != "" {
			v.fail(a.Where.Of("action"), "action %q is not among actions", a.Action)
		}
		if slices.ContainsFunc(r.Actions[:i], func(b Request) bool { return a.Action != "" && a.Action == b.Action }) {
			v.fail(a.Where.Of("action"), "action %q is asked for twice, expected each once", a.Action)
		}
	}
}

// maxAfterDeploy is how long changes are remembered.
const maxAfterDeploy = Duration(3600_000)

func (v *validator) afterDeploy(r *Rule) {
	a := r.AfterDeploy
	if a.Where.Readable("for") && (a.For == 0 && a.Where.Has("for") || a.For > maxAfterDeploy) {
		v.fail(a.Where.Of("for"), "for is %s, expected more than 0s and at most %s", a.For, maxAfterDeploy)
	}
	mildest := Sev1
	for _, t := range r.Severities {
		mildest = max(mildest, t.Severity)
	}
	if a.Bar != 0 && len(r.Severities) > 0 && mildest <= a.Bar {
		v.fail(a.Where.Of("bar"), "bar is %s, and all that the rule tells is at least that bad, expected a severity worse than %s", a.Bar, mildest)
	}
}

func (v *validator) alert(r *Rule) {
	v.named(r.Where, "alert", r.Alert)
	if r.Alert == "" {
		return
	}
	if first, twice := v.lines[r.Alert]; twice {
		v.fail(r.Where.Of("alert"), "alert %q is named twice, first in line %d", r.Alert, first)
		return
	}
	v.lines[r.Alert] = r.Where.Of("alert").Line
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
	v.positive(r.Where, "no_data_timeout", r.NoDataAfter)
	v.positive(r.Where, "flap_window", r.FlapWindow)
	if r.FlapWindow == 0 {
		r.FlapWindow = 3600_000
	}
	if r.FlapLimit == nil {
		limit := 8
		r.FlapLimit = &limit
	}
	if n := *r.FlapLimit; n != 0 && (n < 2 || n > maxFlapLimit) {
		v.fail(r.Where.Of("flap_limit"), "flap_limit is %d, expected 2 to %d edges, or 0 for never", n, maxFlapLimit)
	}
}

// maxFlapLimit bounds the edges that an incident remembers.
const maxFlapLimit = 100

func (v *validator) labels(r *Rule) {
	known := func(name string) bool { return slices.Contains(v.opt.Labels, name) }
	selectors := r.Signal.selectors()
	allowed := v.opt.Labels
	if len(selectors) > 0 && !slices.ContainsFunc(selectors, func(s written) bool { return s.Kind != KindPipeline }) {
		allowed = PipelineLabels()
	}
	for i, name := range r.By {
		pos := r.Where.Of(fmt.Sprintf("by[%d]", i))
		if slices.Contains(r.By[:i], name) {
			v.fail(pos, "by has the label %q twice", name)
		} else if !slices.Contains(allowed, name) {
			v.fail(pos, "by has the unknown label %q, expected one of %s", name, strings.Join(allowed, ", "))
		}
	}
	for _, s := range selectors {
		has := v.opt.Labels
		if s.Kind == KindPipeline {
			has = PipelineLabels()
		}
		for _, m := range s.Matchers {
			if !slices.Contains(has, m.Name) {
				v.fail(s.pos, "selector %s has the unknown label %q, expected one of %s", s, m.Name, strings.Join(has, ", "))
			} else if !m.Matches("") && slices.Contains(v.opt.Dropped[s.Kind], m.Name) {
				v.fail(s.pos, "selector %s matches nothing: no source of %s events keeps the label %q (keep_labels, drop_labels)", s, s.Kind, m.Name)
			}
		}
	}
	for _, f := range []*Flow{r.Signal.Completion, r.Signal.Abandonment} {
		if f != nil && f.Steps != nil && !known("action") {
			v.fail(f.Where.Of("steps"), "%s needs the label \"action\", which is not among the labels %s", r.Signal.Type, strings.Join(v.opt.Labels, ", "))
		}
	}
}

// noData checks that labels are not forgotten before what is waited for of them can come.
func (v *validator) noData(r *Rule) {
	least, why := r.Window, "the window"
	if b := r.Signal.Deviation; b != nil && b.Season > 0 {
		least, why = max(b.Season, 3*24*3600_000), "the season, and a weekend" // in which nothing may come, and what was learned is not to be forgotten
	}
	for _, t := range r.Severities {
		if r.Signal.Type == SignalAbsence && t.Above != nil {
			if silence := Duration(*t.Above*1000) + t.For; silence > least {
				least, why = silence, "the silence that "+t.Severity.String()+" waits for"
			}
		}
	}
	switch {
	case r.NoDataAfter == 0:
		r.NoDataAfter = max(24*3600_000, 2*least)
	case !v.opt.InForce && r.Where.Readable("no_data_timeout") && r.NoDataAfter <= least:
		v.fail(r.Where.Of("no_data_timeout"), "no_data_timeout is %s, expected more than %s, %s", r.NoDataAfter, least, why)
	}
}

// bySides checks that what is divided has the same labels on both sides: a group that has only one of them is a share of nothing or of all.
func (v *validator) bySides(r *Rule) {
	s := &r.Signal
	if len(s.Num) == 0 || len(s.Den) == 0 || v.opt.InForce {
		return
	}
	for i, name := range r.By {
		pos := r.Where.Of(fmt.Sprintf("by[%d]", i))
		num, den := sideOf(s.Num, name), sideOf(s.Den, name)
		switch {
		case num.never && den.never:
		case num.never:
			v.fail(pos, "by has the label %q, which %s never has: what is divided and what it is divided by would be different groups", name, s.Num[0].Kind)
		case den.never:
			v.fail(pos, "by has the label %q, which %s never has: what is divided and what it is divided by would be different groups", name, s.Den[0].Kind)
		case !slices.Equal(num.pinned, den.pinned):
			v.fail(pos, "by has the label %q, which the two sides are narrowed by differently: what is divided and what it is divided by would be different groups", name)
		}
	}
}

// side is what the selectors of a numerator or denominator say of a label.
type side struct {
	never  bool     // no event that they pick has it
	pinned []string // the values that they pick alone, in order
}

func sideOf(selectors []Selector, name string) side {
	out := side{never: true}
	for _, s := range selectors {
		owners := ownersOf[name]
		out.never = out.never && owners != nil && !slices.Contains(owners, s.Kind)
		for _, m := range s.Matchers {
			if m.Name == name && m.Type == labels.MatchEqual {
				out.pinned = append(out.pinned, m.Value)
			}
		}
	}
	slices.Sort(out.pinned)
	out.pinned = slices.Compact(out.pinned) // a numerator may be a part of what is divided by, which then has it several times
	return out
}

// ownersOf are the kinds that can have a label which not all have.
var ownersOf = map[string][]Kind{
	"error_type": {KindError}, "category": {KindError}, "status_class": {KindLatency}, "action": {KindStep, KindAttempt},
	"name":   {KindVital, KindResource, KindPipeline},
	"change": {KindChange}, "previous_version": {KindChange}, "state": {KindChange},
}

// sessions checks that somebody counts those that the rule asks for.
func (v *validator) sessions(r *Rule) {
	of := r.Signal.Distinct
	if of == nil {
		return
	}
	pos := r.Signal.Where.Of("distinct")
	switch {
	case of.Kind == KindPipeline:
		v.fail(pos, "distinct is %s, expected a kind of events: what happens to the pipeline has no session", of)
	case slices.Contains(v.opt.Sessionless, of.Kind):
		v.fail(pos, "distinct is %s, but nobody counts the sessions of %s events: no source that has them says count_sessions: true", of, of.Kind)
	}
}

func (v *validator) window(r *Rule) {
	pane := v.opt.Pane
	if r.Where.Has("window") && r.Where.Readable("window") {
		switch {
		case r.Window < pane:
			v.paned(r.Window)
			v.fail(r.Where.Of("window"), "window is %s, shorter than a pane: expected a multiple of %s", r.Window, pane)
		default:
			v.inPanes(r.Where.Of("window"), "window is %s", r.Window)
		}
	}
	if b := r.Signal.Deviation; b != nil {
		b.season(r.Window, v.fail)
	}
	if b := r.Signal.Burn; b != nil && b.Where.Has("short") && b.Where.Readable("short") {
		switch {
		case b.Short < pane:
			v.paned(b.Short)
			v.fail(b.Where.Of("short"), "short is %s, expected a multiple of the pane of %s", b.Short, pane)
		case r.Window > 0 && b.Short >= r.Window:
			v.fail(b.Where.Of("short"), "short is %s, expected less than the window of %s", b.Short, r.Window)
		default:
			v.inPanes(b.Where.Of("short"), "short is %s", b.Short)
		}
	}
	if keep := *r.Recover.KeepFiringFor; r.Recover.Where.Has("keep_firing_for") {
		v.inPanes(r.Recover.Where.Of("keep_firing_for"), "keep_firing_for is %s", keep)
	} else {
		v.inPanes(r.Where.Of("recover"), "keep_firing_for is %s by default", keep)
	}
	for _, t := range r.Severities {
		v.inPanes(t.Where.Of("for"), "for is %s", t.For)
	}
}

func (v *validator) sample(r *Rule) {
	s, typ := r.Sample, r.Signal.Base().Type
	if s.Min < 0 {
		v.fail(s.Where.Of("min"), "sample.min is %d, expected 0 or more", s.Min)
	}
	if s.Min > 0 && (typ == SignalCount || typ == SignalRate) {
		v.fail(s.Where.Of("min"), "sample.min is %d, expected none: a %s is itself the number of events", s.Min, typ)
	}
	if s.Min > 0 && typ == SignalDistinct {
		v.fail(s.Where.Of("min"), "sample.min is %d, expected none: distinct is itself the number of sessions", s.Min)
	}
	if !s.Where.Has("wilson_lower") || !s.Where.Readable("wilson_lower") {
		return
	}
	pos := s.Where.Of("wilson_lower")
	if _, ok := zFor(s.Wilson); !ok {
		v.fail(pos, "wilson_lower is %v, expected 0.8, 0.9, 0.95, 0.975, 0.99 or 0.999", s.Wilson)
	}
	switch b := r.Signal.Deviation; {
	case typ == "":
	case b != nil && typ != SignalQuantile:
		v.fail(pos, "wilson_lower of a deviation goes with a quantile, not with %s", typ)
	case b != nil && b.Direction != Up:
		v.fail(pos, "wilson_lower of a deviation goes with the direction up, not with %s", b.Direction)
	case !r.Signal.sampled():
		v.fail(pos, "wilson_lower goes with ratio, quantile, deviation, burn_rate, completion and abandonment, not with %s", typ)
	case typ == SignalQuantile && r.Below():
		v.fail(pos, "wilson_lower of a %s goes with above, not with below", r.Signal.Type)
	}
}

// ladder checks that the tiers are worst first, that each can be reached, and that none is looser than a milder one.
func (v *validator) ladder(r *Rule) {
	if r.Severities != nil && len(r.Severities) == 0 {
		v.fail(r.Where.Of("severities"), "severities of alert %s is empty, expected at least one tier", r.Alert)
	}
	for i := range r.Severities {
		t := &r.Severities[i]
		if t.Where.Line == 0 {
			continue
		}
		v.tier(r, t)
		if i > 0 {
			v.order(&r.Severities[i-1], t)
		}
	}
}

// tier checks one tier by itself.
func (v *validator) tier(r *Rule, t *Tier) {
	switch len(t.Where.Among("above", "below")) {
	case 0:
		v.fail(t.Where.Pos, "a tier has neither above nor below, expected one of them")
	case 2:
		v.fail(t.Where.Pos, "a tier has both above and below, expected one of them")
	}
	switch {
	case t.Floor < 0:
		v.fail(t.Where.Of("floor"), "floor is %v, expected 0 or more", t.Floor)
	case t.Where.Has("floor") && (r.Signal.Type != SignalDeviation || t.Above == nil):
		v.fail(t.Where.Of("floor"), "floor goes with above of a deviation")
	}
	if !t.judged() {
		return
	}
	x, pos := t.threshold(), t.Where.Of(t.direction())
	if b := r.Signal.Deviation; b != nil {
		b.tier(x, t, func(format string, args ...any) { v.fail(pos, format, args...) })
		return
	}
	switch {
	case r.Signal.Type == SignalAbsence && t.Below != nil:
		v.fail(pos, "absence is judged by above, not by below: it is the seconds without an event")
	case r.Signal.Type == SignalBurn && t.Below != nil:
		v.fail(pos, "burn_rate is judged by above, not by below: a budget is not spent too slowly")
	case r.Signal.Type == SignalBurn && r.Signal.Burn.Highest > 0 && x >= r.Signal.Burn.Highest:
		v.fail(pos, "above is %v, expected less than %s: so fast is the budget spent when all goes wrong", x, round(r.Signal.Burn.Highest, 6))
	case r.Signal.share() && t.Above != nil && (x < 0 || x >= 1):
		v.fail(pos, "above is %v, expected a share of at least 0 and less than 1 (5 %% is 0.05)", x)
	case r.Signal.share() && t.Below != nil && (x <= 0 || x > 1):
		v.fail(pos, "below is %v, expected a share of more than 0 and at most 1 (5 %% is 0.05)", x)
	case r.Signal.bounded() && t.Above != nil && x < 0:
		v.fail(pos, "above is %v, expected 0 or more: the value is never below 0 %s, so the tier would always be reached", x, r.Signal.Unit)
	case r.Signal.bounded() && t.Below != nil && x <= 0:
		v.fail(pos, "below is %v, expected more than 0: the value is never below 0 %s, so the tier can never be reached", x, r.Signal.Unit)
	}
}

// order checks a tier against the one before it.
func (v *validator) order(worse, t *Tier) {
	known := worse.Severity != 0 && t.Severity != 0
	if known && t.Severity <= worse.Severity {
		v.fail(t.Where.Of("severity"), "%s stands after %s, expected the worst first and each once", t.Severity, worse.Severity)
	}
	if !known || !worse.judged() || !t.judged() {
		return
	}
	if worse.Floor < t.Floor {
		v.fail(t.Where.Of("floor"), "floor of %s is %v, expected at most the %v of %s", t.Severity, t.Floor, worse.Floor, worse.Severity)
	}
	x, y := worse.threshold(), t.threshold()
	switch {
	case t.direction() != worse.direction():
		v.fail(t.Where.Of(t.direction()), "%s is judged by %s and %s by %s, expected the same for all tiers",
			worse.Severity, worse.direction(), t.Severity, t.direction())
	case x == y && worse.For <= t.For:
		v.fail(t.Where.Of(t.direction()), "%s can never be reached: %s has the same threshold of %v, and its for of %s is no longer than %s",
			t.Severity, worse.Severity, y, worse.For, t.For)
	case x != y && !t.past(x):
		v.fail(worse.Where.Of(worse.direction()), "%s is looser than %s: %s is %v, expected %s than %v",
			worse.Severity, t.Severity, worse.direction(), x, map[string]string{"above": "more", "below": "less"}[t.direction()], y)
	}
}
