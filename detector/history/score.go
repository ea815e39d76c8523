package history

import (
	"cmp"
	"slices"

	"sevwatch/rules"
)

// Window is a stretch of event time that is known to have been an incident.
type Window struct {
	Start, End int64             // epoch ms, [Start, End)
	Rule       string            // that has to find it; "": any
	Labels     map[string]string // that an incident has to agree with, as far as it has them
}

// Score is how well incidents agree with windows.
type Score struct {
	Of        string  `json:"of"` // "all", a rule, or a severity and worse
	Incidents int64   `json:"incidents"`
	True      int64   `json:"true_incidents"` // that overlap a window
	Windows   int64   `json:"windows"`        // that meet what was judged
	Found     int64   `json:"found"`          // windows in which an incident opened
	Already   int64   `json:"open_already"`   // windows in which none opened, but one was open when they began
	Precision Share   `json:"precision"`
	Recall    Share   `json:"recall"`
	DetectMs  []int64 `json:"detect_ms"` // of the windows found: from their start to the opening, sorted
	OpenMs    int64   `json:"open_ms"`   // of what was judged in which any incident was open, all added up
	FalseDay  float64 `json:"false_incidents_a_day"`

	opened int64 // incidents that opened in what was judged: those that were open already are none of those a day or a week
}

// Share is k of n with its 95 % interval.
type Share struct {
	K     int64   `json:"k"`
	N     int64   `json:"n"`
	Value float64 `json:"value"` // 0 of nothing
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

func shareOf(k, n int64) Share {
	s := Share{K: k, N: n}
	if n > 0 {
		s.Value = float64(k) / float64(n)
	}
	s.Low, s.High = rules.Interval95(k, n)
	return s
}

// MedianDetect is the median time to detect in ms, -1 if nothing was found.
func (s *Score) MedianDetect() int64 {
	if len(s.DetectMs) == 0 {
		return -1
	}
	return s.DetectMs[(len(s.DetectMs)-1)/2]
}

// Scoring is what incidents are scored against.
type Scoring struct {
	Windows []Window
	Grace   int64 // ms behind a window's end in which an incident still belongs to it
	From    int64 // the stretch that was judged, [From, Until) in epoch ms
	Until   int64
	AtMost  float64 // Tune without windows: how many incidents a week of Sev1 are bearable
}

// About are the windows that incidents of the rule can be true for, as windows of any rule: its variants have other names.
func (s *Scoring) About(rule string) (out []Window) {
	for _, w := range s.Windows {
		if w.Rule == "" || w.Rule == rule {
			w.Rule = ""
			out = append(out, w)
		}
	}
	return out
}

// Judged says whether the window meets the stretch that was judged: of others nobody can say whether they were found.
func (s *Scoring) Judged(w Window) bool { return max(w.Start, s.From) < min(w.End, s.Until) }

// Outside is how many windows are left out of the score, because they do not meet what was judged.
func (s *Scoring) Outside() int {
	n := 0
	for _, w := range s.Windows {
		if !s.Judged(w) {
			n++
		}
	}
	return n
}

// Scores are those of all incidents together, of each rule that has any or that a judged window names, and of each severity and worse.
func (s *Scoring) Scores(h *History) []Score {
	all := sorted(h.Incidents)
	out := []Score{s.score("all", all, s.Windows)}
	var names []string
	for _, i := range all {
		names = append(names, i.Rule)
	}
	for _, w := range s.Windows {
		if w.Rule != "" && s.Judged(w) {
			names = append(names, w.Rule)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		other := func(w Window) bool { return w.Rule != "" && w.Rule != name }
		out = append(out, s.score(name, only(all, func(i *Incident) bool { return i.Rule == name }), slices.DeleteFunc(slices.Clone(s.Windows), other)))
	}
	for severity := rules.Sev1; severity <= rules.Sev4; severity++ {
		name := severity.String() + " and worse"
		if severity == rules.Sev1 {
			name = severity.String()
		}
		out = append(out, s.score(name, only(all, func(i *Incident) bool { return i.Peak <= severity }), s.Windows))
	}
	return out
}

func only(in []*Incident, keep func(*Incident) bool) []*Incident {
	return slices.DeleteFunc(slices.Clone(in), func(i *Incident) bool { return !keep(i) })
}

// score is how well the incidents agree with the windows. A window outside of what was judged is neither found nor missed; yet what belongs to it,
// because its grace or the incident itself reaches into the stretch, is true.
func (s *Scoring) score(of string, incidents []*Incident, windows []Window) Score {
	out := Score{Of: of, Incidents: int64(len(incidents)), DetectMs: []int64{}}
	wrong := int64(0) // of those that opened
	for _, i := range incidents {
		out.OpenMs += max(0, i.End(s.Until)-max(i.Opened, s.From))
		opened := i.Opened >= s.From
		if opened {
			out.opened++
		}
		if slices.ContainsFunc(windows, func(w Window) bool { return s.overlap(i, w) }) {
			out.True++
		} else if opened {
			wrong++
		}
	}
	for _, w := range windows {
		if !s.Judged(w) {
			continue
		}
		out.Windows++
		first, already := int64(-1), false
		for _, i := range incidents {
			switch {
			case !s.overlap(i, w):
			case i.Opened < w.Start:
				already = true
			case first < 0:
				first = i.Opened - w.Start
			}
		}
		switch {
		case first >= 0:
			out.Found++
			out.DetectMs = append(out.DetectMs, first)
		case already:
			out.Already++
		}
	}
	slices.SortFunc(out.DetectMs, cmp.Compare[int64])
	out.Precision, out.Recall = shareOf(out.True, out.Incidents), shareOf(out.Found+out.Already, out.Windows)
	if days := float64(s.Until-s.From) / (24 * 3600_000); days > 0 {
		out.FalseDay = float64(wrong) / days
	}
	return out
}

// overlap says whether the incident was open in the window or the grace behind it, and is about the same.
func (s *Scoring) overlap(i *Incident, w Window) bool {
	if i.Opened >= w.End+s.Grace || i.End(s.Until) <= w.Start || w.Rule != "" && w.Rule != i.Rule {
		return false
	}
	for _, name := range labelNames(w.Labels) {
		if value, has := i.Labels[name]; has && value != w.Labels[name] {
			return false
		}
	}
	return true
}
