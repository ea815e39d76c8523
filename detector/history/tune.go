package history

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"sevwatch/rules"
)

// Variant is a rule with one tier at another threshold.
type Variant struct {
	Tier      int
	Severity  rules.Severity
	Threshold float64
	Below     bool   // what is below it is bad
	Now       bool   // it is the rule's own
	Alert     string // the variant's name in the file of all variants
}

// steps are the thresholds that are tried, as shares of the present one.
var steps = []float64{0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4}

// Variants are a file with one rule a threshold, for every tier of the rule by itself, so that one replay judges them all and none of them becomes
// part of another's incidents.
func Variants(file *rules.File, rule *rules.Rule) (*rules.File, []Variant) {
	var all []Variant
	var made []*rules.Rule
	for n, tier := range rule.Severities {
		for _, step := range steps {
			threshold, ok := moved(rule, n, step)
			if !ok {
				continue
			}
			v := Variant{Tier: n, Severity: tier.Severity, Threshold: threshold, Below: rule.Below(), Now: step == 1}
			v.Alert = fmt.Sprintf("%s/%s/%s", rule.Alert, tier.Severity, strconv.FormatFloat(threshold, 'g', -1, 64))
			changed, one := *rule, tier
			if rule.Below() {
				one.Below = &threshold
			} else {
				one.Above = &threshold
			}
			changed.Alert, changed.Severities, changed.Actions = v.Alert, []rules.Tier{one}, nil
			made, all = append(made, &changed), append(all, v)
		}
	}
	out := *file
	if file.Correlate != nil {
		apart := *file.Correlate
		apart.Apart = true
		out.Correlate = &apart
	}
	out.Groups = []rules.Group{{Name: "variants", Rules: made}}
	return &out, all
}

// moved is the threshold of tier n times step; for a share below which is bad, what is missing to 1 is moved, as recovery does. Not ok is what
// could never be reached, or always would.
func moved(rule *rules.Rule, n int, step float64) (float64, bool) {
	threshold := rule.Threshold(n)
	share := rule.Signal.Unit == "share"
	switch {
	case share && rule.Below():
		threshold = 1 - float64((1-threshold)*step)
	default:
		threshold = float64(threshold * step)
	}
	threshold, err := strconv.ParseFloat(strconv.FormatFloat(threshold, 'g', 6, 64), 64)
	if err != nil || share && (threshold <= 0 || threshold >= 1) || threshold == 0 && step != 1 {
		return 0, false
	}
	if rule.Signal.Distance() && threshold <= rule.Signal.Deviation.Even() {
		return 0, false
	}
	if b := rule.Signal.Burn; b != nil && threshold >= b.Highest {
		return 0, false
	}
	return threshold, true
}

// Tuned is how one variant did.
type Tuned struct {
	Variant
	Score
	Week     float64 // incidents a week
	Proposed bool    // of its tier
	TooMuch  bool    // is proposed without windows, and tells of more than is bearable: all do
}

// Tune scores the variants and proposes one a tier: against the windows or, where there are none, against what the tier tells of now. Then recall
// is how much of that the variant tells of, and the time to detect counts from where that began.
func (s *Scoring) Tune(h *History, variants []Variant) []Tuned {
	var out []Tuned
	for _, v := range variants {
		against := *s
		if len(s.Windows) == 0 {
			against.Windows = s.toldNow(h, variants, v.Tier)
		}
		t := Tuned{Variant: v, Score: against.score(v.Alert, incidentsOf(h, v), against.Windows)}
		if weeks := s.weeks(); weeks > 0 {
			t.Week = float64(t.opened) / weeks
		}
		out = append(out, t)
	}
	for i, t := range out {
		if i == 0 || out[i-1].Tier != t.Tier {
			s.propose(slices.DeleteFunc(refs(out), func(x *Tuned) bool { return x.Tier != t.Tier })).Proposed = true
		}
	}
	return out
}

func refs(in []Tuned) (out []*Tuned) {
	for i := range in {
		out = append(out, &in[i])
	}
	return out
}

func (s *Scoring) weeks() float64 { return float64(s.Until-s.From) / (7 * 24 * 3600_000) }

func incidentsOf(h *History, v Variant) []*Incident {
	return only(h.Incidents, func(i *Incident) bool { return i.Rule == v.Alert })
}

// toldNow are the incidents of a tier as windows, from where they began: at the present threshold or, where that tells of nothing, at the nearest
// that does.
func (s *Scoring) toldNow(h *History, variants []Variant, tier int) (out []Window) {
	of := slices.DeleteFunc(slices.Clone(variants), func(v Variant) bool { return v.Tier != tier || len(incidentsOf(h, v)) == 0 })
	now := variants[slices.IndexFunc(variants, func(v Variant) bool { return v.Tier == tier && v.Now })]
	if len(of) == 0 {
		return nil
	}
	for _, i := range incidentsOf(h, slices.MinFunc(of, func(x, y Variant) int { return cmp.Compare(x.distance(now), y.distance(now)) })) {
		out = append(out, Window{Start: i.Started, End: i.End(s.Until), Labels: i.Labels})
	}
	return out
}

// propose is the variant of a tier to be taken. With windows it is the one with the best balance of precision and recall (their harmonic mean),
// and among equals the one nearest to the present threshold. Without windows there is nothing to say what is right, and it is the most sensitive
// one that is bearable, as all less sensitive ones are: what fires all the time is few incidents, too. Where even the most sensitive one of all
// tells of nothing, the history says nothing: the present one.
func (s *Scoring) propose(of []*Tuned) *Tuned {
	now := of[slices.IndexFunc(of, func(t *Tuned) bool { return t.Now })]
	best := now
	if len(s.Windows) > 0 {
		for _, t := range of {
			if d, e := t.balance()-best.balance(), t.distance(now.Variant)-best.distance(now.Variant); d > 1e-9 || d > -1e-9 && e < 0 {
				best = t
			}
		}
		return best
	}
	slices.SortFunc(of, func(x, y *Tuned) int { // the least sensitive first
		if x.Below {
			x, y = y, x
		}
		return cmp.Compare(y.Threshold, x.Threshold)
	})
	if of[len(of)-1].Incidents == 0 {
		return now
	}
	unbearable := slices.IndexFunc(of, func(t *Tuned) bool { return !s.bearable(t) })
	if unbearable < 0 {
		unbearable = len(of)
	}
	of[0].TooMuch = unbearable == 0
	return of[max(0, unbearable-1)]
}

// bearable says whether a variant tells of so little that people can bear it: AtMost incidents a week of Sev1, and twice as many of each milder
// severity, open for less than half of the time. A history that is shorter than a week may have a week's.
func (s *Scoring) bearable(t *Tuned) bool {
	most := s.AtMost * float64(int(1)<<(t.Severity-rules.Sev1)) * max(1, s.weeks())
	return float64(t.opened) <= most && t.OpenMs < (s.Until-s.From)/2
}

func (v Variant) distance(now Variant) float64 {
	return max(v.Threshold/now.Threshold, now.Threshold/v.Threshold)
}

// balance is the harmonic mean of precision and recall, 0 where there is none.
func (t *Tuned) balance() float64 {
	if sum := t.Precision.Value + t.Recall.Value; sum > 0 && t.Windows > 0 {
		return 2 * float64(t.Precision.Value*t.Recall.Value) / sum
	}
	return 0
}
