package detector

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sevwatch/rules"
)

// survey is what happened around an incident: in the group's window, of its service or, where it is about none, of the whole flow.
type survey struct {
	group    *group
	m        rules.Measure
	requests tallied             // by endpoint
	failed   tallied             // those answered with 5xx
	errors   tallied             // error events of all services, by service
	readings map[string]*dense   // of resources
	steps    map[string][2]int64 // completed, abandoned
}

// tallied counts by name.
type tallied map[string]int64

func (t tallied) sum() (n int64) {
	for _, k := range SortedKeys(t) {
		n += t[k]
	}
	return n
}

// most is the name that counts most.
func (t tallied) most() string {
	best := ""
	for _, k := range SortedKeys(t) {
		if k != "" && (best == "" || t[k] > t[best]) {
			best = k
		}
	}
	return best
}

func (d *domain) survey(g *group, m rules.Measure, edge int64) *survey {
	s := &survey{
		group: g, m: m, requests: tallied{}, failed: tallied{}, errors: tallied{}, readings: map[string]*dense{}, steps: map[string][2]int64{},
	}
	about := g.service()
	way := rules.KindStep // what tells how visits ended
	if g.rule.Signal.Num[0].Kind == rules.KindAttempt {
		way = rules.KindAttempt
	}
	for x, c := range d.cellsSince(edge - int64(g.rule.Window)) {
		own := about == "" || x.value("service") == about
		switch {
		case x.kind == rules.KindError:
			s.errors[x.value("service")] += c.Count
		case x.kind == way:
			n := s.steps[x.value("step")]
			switch x.value("action") {
			case "complete":
				n[0] += c.Count
			case "abandon":
				n[1] += c.Count
			}
			s.steps[x.value("step")] = n
		case x.kind == rules.KindLatency && own:
			s.requests[x.value("endpoint")] += c.Count
			if x.value("status_class") == "5xx" {
				s.failed[x.value("endpoint")] += c.Count
			}
		case x.kind == rules.KindResource && own && len(c.Buckets) > 0:
			name := x.value("name")
			if s.readings[name] == nil {
				s.readings[name] = &dense{}
			}
			s.readings[name].merge(c.Buckets, 1)
		}
	}
	return s
}

// Answer is what the data say to a step of the playbook.
type Answer struct {
	Step   string `json:"step"`
	Answer string `json:"answer"`
}

// answers are what the data of the window say to the steps of a playbook, in their order.
func (d *domain) answers(g *group, m rules.Measure, p *rules.Playbook, split *VersionSplit, edge int64) (out []Answer) {
	if len(p.Answers) == 0 {
		return nil
	}
	s := d.survey(g, m, edge)
	for i, to := range p.Answers {
		if text := d.answer(s, to, split, edge); text != "" {
			out = append(out, Answer{p.Steps[i], text})
		}
	}
	return out
}

func (d *domain) answer(s *survey, to rules.AnswerTo, split *VersionSplit, edge int64) string {
	switch to {
	case rules.AnswerErrors:
		return d.explained(s, edge)
	case rules.AnswerDeployments:
		return d.changed(s.group)
	case rules.AnswerRollback:
		return d.rollback(s, split, edge)
	case rules.AnswerAPI:
		return s.api()
	case rules.AnswerCapacity:
		return s.reads("cpu", "memory")
	case rules.AnswerNetwork:
		return s.reads("network")
	case rules.AnswerRequests:
		return s.traffic()
	case rules.AnswerJourney:
		return s.journey()
	case rules.AnswerClient:
		return s.reporters()
	default:
		return ""
	}
}

// percent is a share as people read it.
func percent(n, of int64) string {
	return strconv.FormatFloat(float64(n)/float64(max(of, 1))*100, 'f', 1, 64) + " %"
}

// explained is which error type, endpoint, version and region most of what goes wrong has.
func (d *domain) explained(s *survey, edge int64) string {
	counts := map[string]tallied{}
	var whole int64
	d.wrong(s.group, s.m, edge, func(x *series, n int64) {
		whole += n
		for _, l := range x.labels {
			if counts[l.Name] == nil {
				counts[l.Name] = tallied{}
			}
			counts[l.Name][l.Value] += n
		}
	})
	var parts []string
	for _, name := range []string{"error_type", "endpoint", "version", "region"} {
		if most := counts[name].most(); most != "" && counts[name][most] > 0 && !slices.Contains(s.group.rule.By, name) {
			parts = append(parts, fmt.Sprintf("%s %s %s", name, most, percent(counts[name][most], whole)))
		}
	}
	if whole <= 0 || len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("Of %d that went wrong: %s.", whole, strings.Join(parts, ", "))
}

// maxChanges bounds how many changes an answer names.
const maxChanges = 3

// concerns says whether a change may be what a group's incident follows: it is of its service, or one of them is of none.
func (c *Change) concerns(g *group) bool {
	service := g.service()
	return service == "" || c.Service == "" || c.Service == service
}

// changed lists what was changed in the hour before the incident began, the last first.
func (d *domain) changed(g *group) string {
	began := g.life.Incident.StartedAt
	var parts []string
	for _, c := range slices.Backward(d.changes) {
		if !c.concerns(g) || int64(c.At) > began || began-int64(c.At) > changeMemory || len(parts) == maxChanges {
			continue
		}
		what := c.Change
		if name := cmp.Or(c.Version, c.State); name != "" {
			what += " of " + name
		}
		if c.Service != "" {
			what += " (" + c.Service + ")"
		}
		parts = append(parts, fmt.Sprintf("%s at %s, %s before it began", what, c.At, rules.Duration(began-int64(c.At))))
	}
	if len(parts) == 0 {
		return "No change in the hour before it began."
	}
	return strings.Join(parts, "; ") + "."
}

// rollback says whether the version that was deployed before is the one that deviates.
func (d *domain) rollback(s *survey, split *VersionSplit, edge int64) string {
	c := s.group.life.Incident.Change
	if c == nil || c.Change != "deploy" || c.Version == "" {
		return "Not related to a deployment: there was none in the hour before it began."
	}
	share, blamed := d.blame(s.group, s.m, c.Version, edge)
	text := fmt.Sprintf("%s %% of what goes wrong carries the new version %s", strconv.FormatFloat(share*100, 'f', 1, 64), c.Version)
	if split != nil && split.New.Observed != nil && split.Old.Observed != nil {
		print := func(v *Num) string { return s.group.rule.Signal.PrintPart(float64(*v)) }
		text += fmt.Sprintf(": %s with it, %s with %s", print(split.New.Observed), print(split.Old.Observed), split.Old.Version)
	}
	if blamed {
		return "Related to the deployment: " + text + "."
	}
	return "Not clearly related to the deployment: " + text + "."
}

// api says whether requests are answered with errors of the server, and where most.
func (s *survey) api() string {
	all, failed := s.requests.sum(), s.failed.sum()
	switch {
	case all == 0:
		return "No request in the window."
	case failed == 0:
		return fmt.Sprintf("Not API-related: none of %d requests was answered with 5xx.", all)
	}
	text := fmt.Sprintf("%d of %d requests were answered with 5xx (%s)", failed, all, percent(failed, all))
	if most := s.failed.most(); most != "" {
		text += fmt.Sprintf(", %s of those at %s", percent(s.failed[most], failed), most)
	}
	return "API-related: " + text + "."
}

// reads tells the middle reading of each resource.
func (s *survey) reads(names ...string) string {
	var parts []string
	for _, name := range names {
		if r := s.readings[name]; r != nil {
			b := r.appendTo(nil)
			parts = append(parts, fmt.Sprintf("%s %s", name, strconv.FormatFloat(b.Quantile(0.5), 'g', 3, 64)))
		}
	}
	if len(parts) == 0 {
		return fmt.Sprintf("No reading of %s in the window.", strings.Join(names, " or "))
	}
	return "Middle readings: " + strings.Join(parts, ", ") + "."
}

// traffic says how many requests there are, and where most go.
func (s *survey) traffic() string {
	all := s.requests.sum()
	if all == 0 {
		return "No request in the window."
	}
	perSecond := float64(all) * 1000 / float64(s.group.rule.Window)
	text := fmt.Sprintf("%d requests, %s a second", all, strconv.FormatFloat(perSecond, 'g', 3, 64))
	if most := s.requests.most(); most != "" {
		text += fmt.Sprintf(", %s of them to %s", percent(s.requests[most], all), most)
	}
	return text + "."
}

// maxSteps bounds how many steps or services an answer names.
const maxSteps = 5

// journey tells of the steps at which most visits that ended were abandoned.
func (s *survey) journey() string {
	var steps []string
	for _, name := range SortedKeys(s.steps) {
		if n := s.steps[name]; name != "" && n[0]+n[1] > 0 {
			steps = append(steps, name)
		}
	}
	if len(steps) == 0 {
		return ""
	}
	slices.SortStableFunc(steps, func(x, y string) int { // more abandoned of those that ended comes first
		a, b := s.steps[x], s.steps[y]
		return cmp.Compare(b[1]*(a[0]+a[1]), a[1]*(b[0]+b[1]))
	})
	var parts []string
	for _, name := range steps[:min(len(steps), maxSteps)] {
		n := s.steps[name]
		parts = append(parts, fmt.Sprintf("%s %d of %d (%s)", name, n[1], n[0]+n[1], percent(n[1], n[0]+n[1])))
	}
	return "Abandoned, of the visits that ended: " + strings.Join(parts, ", ") + "."
}

// reporters tells which services report errors.
func (s *survey) reporters() string {
	names := SortedKeys(s.errors)
	if len(names) == 0 {
		return "No error event in the window."
	}
	slices.SortStableFunc(names, func(x, y string) int { return cmp.Compare(s.errors[y], s.errors[x]) })
	var parts []string
	for _, name := range names[:min(len(names), maxSteps)] {
		parts = append(parts, fmt.Sprintf("%s %d", cmp.Or(name, "(no service)"), s.errors[name]))
	}
	return fmt.Sprintf("%d error events: %s.", s.errors.sum(), strings.Join(parts, ", "))
}

// VersionSplit compares the two versions of the deployment, or rollback, that the incident follows.
type VersionSplit struct {
	New VersionSide `json:"new"`
	Old VersionSide `json:"old"`
}

// VersionSide is what the window says of one version. Observed is absent where it has no samples.
type VersionSide struct {
	Version  string `json:"version"`
	Samples  int64  `json:"samples"`
	Wrong    int64  `json:"wrong"`
	Observed *Num   `json:"observed,omitempty"` // the share that failed, or what is measured of the values, in their unit
}

// split compares old and new for signals that are shares of errors or made of values; nil where there is nothing to compare.
func (d *domain) split(g *group, m rules.Measure, edge int64) *VersionSplit {
	c := g.life.Incident.Change
	of := g.rule.Signal.Base().Type
	share := of == rules.SignalRatio || of == rules.SignalBurn
	if c == nil || c.Version == "" || c.PreviousVersion == "" || c.Version == c.PreviousVersion || !g.rule.hist && !share {
		return nil
	}
	var sides [2]struct {
		num, den, wrong int64
		values          dense
		sum             Sum
		largest         maxWindow
	}
	for x, cell := range d.cellsSince(edge - int64(g.rule.Window)) {
		at := slices.Index([]string{c.Version, c.PreviousVersion}, x.value("version"))
		if at < 0 {
			continue
		}
		side := &sides[at]
		num, den := d.partIn(g, x)
		switch {
		case g.rule.hist && num:
			side.den += cell.Valued
			side.wrong += g.rule.Wrong(cell.Buckets, m)
			side.values.merge(cell.Buckets, 1)
			side.sum = side.sum.Add(cell.Sum)
			if cell.Valued > 0 {
				side.largest.add(0, cell.Max)
			}
		case num && den:
			side.num, side.den = side.num+cell.Count, side.den+cell.Count
		case num:
			side.num += cell.Count
		case den:
			side.den += cell.Count
		}
	}
	var out [2]VersionSide
	for i, version := range []string{c.Version, c.PreviousVersion} {
		side := &sides[i]
		out[i] = VersionSide{Version: version, Samples: side.den, Wrong: side.wrong}
		if !g.rule.hist {
			out[i].Samples, out[i].Wrong = max(side.num, side.den), side.num
		}
		if side.den > 0 {
			observed := Num(g.rule.Part(rules.Measure{
				Num: side.num, Den: side.den, Dist: side.values.appendTo(nil), Mean: side.sum.mean(side.den), Max: side.largest.since(0),
			}))
			out[i].Observed = &observed
		}
	}
	if out[0].Samples == 0 && out[1].Samples == 0 {
		return nil
	}
	return &VersionSplit{New: out[0], Old: out[1]}
}
