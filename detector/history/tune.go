package history

import (
	"fmt"
	"slices"
	"strconv"

	"sevwatch/rules"
)

// Variant is a rule with one tier at another threshold.
type Variant struct {
	Tier      int
	Threshold float64
	Now       bool   // it is the rule's own
	Alert     string // the variant's name in the file of all variants
}

// steps are the thresholds that are tried, as shares of the present one.
var steps = []float64{0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4}

// Variants are a file with one rule a threshold, for every tier of the rule by itself, so that one replay judges them all.
func Variants(file *rules.File, rule *rules.Rule) (*rules.File, []Variant) {
	var all []Variant
	var made []*rules.Rule
	for n, tier := range rule.Severities {
		for _, step := range steps {
			threshold, ok := moved(rule, n, step)
			if !ok {
				continue
			}
			v := Variant{Tier: n, Threshold: threshold, Now: step == 1, Alert: fmt.Sprintf("%s/%s/%s", rule.Alert, tier.Severity, strconv.FormatFloat(threshold, 'g', -1, 64))}
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
	return threshold, true
}

// Tuned is how one variant did.
type Tuned struct {
	Variant
	Score
	Week float64 // incidents a week
}

// Tune scores the variants; without windows only how often they fire is known.
func (s *Scoring) Tune(h *History, variants []Variant) []Tuned {
	var out []Tuned
	for _, v := range variants {
		mine := only(h.Incidents, func(i *Incident) bool { return i.Rule == v.Alert })
		t := Tuned{Variant: v, Score: s.score(v.Alert, mine, s.Windows)}
		if weeks := float64(s.Until-s.From) / (7 * 24 * 3600_000); weeks > 0 {
			t.Week = float64(len(mine)) / weeks
		}
		out = append(out, t)
	}
	return out
}

// Propose is the variant of a tier to be taken. With windows it is the one with the best balance of precision and recall (their harmonic mean),
// and among equals the one nearest to the present threshold. Without windows there is nothing to say what is right: the present one.
func Propose(tuned []Tuned, tier int) Tuned {
	of := slices.DeleteFunc(slices.Clone(tuned), func(t Tuned) bool { return t.Tier != tier })
	now := of[slices.IndexFunc(of, func(t Tuned) bool { return t.Now })]
	best := now
	for _, t := range of {
		if d, e := t.balance()-best.balance(), distance(t, now)-distance(best, now); d > 1e-9 || d > -1e-9 && e < 0 {
			best = t
		}
	}
	return best
}

func distance(t, now Tuned) float64 { return max(t.Threshold/now.Threshold, now.Threshold/t.Threshold) }

// balance is the harmonic mean of precision and recall, 0 where there is none.
func (t Tuned) balance() float64 {
	if sum := t.Precision.Value + t.Recall.Value; sum > 0 && t.Windows > 0 {
		return 2 * float64(t.Precision.Value*t.Recall.Value) / sum
	}
	return 0
}
