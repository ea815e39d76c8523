package report

import (
	"bytes"
	"cmp"
	_ "embed" // the page
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"time"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/rules"
)

// About is what the report says of the replay besides its incidents.
type About struct {
	Input       []string // files or topics
	Rules       string   // path of the rule file
	Hash        string
	From, Until int64 // the stretch that was judged
	Totals      detector.Totals
	Rejected    []Rejected
	Late        []string // which lateness the sources of late records would have needed
	Notes       []string // what may be doubted
}

// Rejected is how many records were rejected for a reason, and the first of them.
type Rejected struct {
	Reason string
	Count  int64
	First  string
}

//go:embed page.html
var pageText string

// view is what the page shows.
type view struct {
	About
	Severities   []countOf
	Timeline     template.HTML
	Incidents    []incidentView
	Funnel       []stepView
	Contributors []contributor
	Gaps         []gapView
	GapsAll      string
	Silenced     int    // charts left out
	LateShare    string // of the records, where it is worth a warning
}

type countOf struct {
	Severity rules.Severity
	Count    int
}

type incidentView struct {
	*history.Incident
	Chart   template.HTML
	Caption string
	Length  string
	Last    *detector.Incident
	Labels  []string
	Worst   *detector.Incident // the revision that its peak was reached at
}

type stepView struct {
	step
	Share string // of those who came
	Width string // of the bar, percent
}

type gapView struct{ From, To, Length string }

// Render is the page.
func (c *Collector) Render(about About) ([]byte, error) {
	v := view{About: about, Contributors: c.contributors(15), LateShare: lateShare(about.Totals)}
	for severity := rules.Sev1; severity <= rules.Sev4; severity++ {
		n := 0
		for _, i := range c.Past.Incidents {
			if i.Peak == severity {
				n++
			}
		}
		v.Severities = append(v.Severities, countOf{severity, n})
	}
	var err error
	if v.Timeline, err = timeline(c.Past.Incidents, about.From, about.Until); err != nil {
		return nil, err
	}
	for _, i := range c.Past.Incidents {
		shown, err := c.incident(i, about.Until)
		if err != nil {
			return nil, err
		}
		v.Incidents = append(v.Incidents, shown)
	}
	slices.SortStableFunc(v.Incidents, func(x, y incidentView) int { return cmp.Compare(x.Started, y.Started) })
	v.Funnel = funnelView(c.funnel())
	gaps, all := c.gaps(20)
	for _, g := range gaps {
		v.Gaps = append(v.Gaps, gapView{clock(g.from), clock(g.to), length(g.to - g.from)})
	}
	v.GapsAll = length(all)
	t, err := template.New("page").Funcs(template.FuncMap{"clock": clock, "millis": func(m detector.Millis) string { return clock(int64(m)) }, "text": rules.Severity.String}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("BUG: the page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("cannot make the report: %w", err)
	}
	return b.Bytes(), nil
}

// lateShare is the share of records that came too late; "" where it is no more than 1 %, which a lateness is chosen to leave out.
func lateShare(t detector.Totals) string {
	const bearable = 0.01
	records := t.Sum() - t.Control - t.Aborted
	if float64(t.Late) <= bearable*float64(records) {
		return ""
	}
	return fmt.Sprintf("%.1f %%", float64(t.Late)*100/float64(records))
}

func (c *Collector) incident(i *history.Incident, until int64) (incidentView, error) {
	v := incidentView{Incident: i, Last: i.Told[len(i.Told)-1], Length: length(i.End(until) - i.Started), Worst: i.Told[0]}
	for _, r := range i.Told {
		if r.Severity < v.Worst.Severity {
			v.Worst = r
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Labels)) {
		v.Labels = append(v.Labels, name+" = "+i.Labels[name])
	}
	s := c.signals[i.ID]
	if s == nil || len(s.points) == 0 {
		return v, nil
	}
	v.Caption = caption(i, s)
	var err error
	v.Chart, err = signalChart(i, s, until)
	return v, err
}

// caption says what a chart shows, with the thresholds that may lie outside of it.
func caption(i *history.Incident, s *signal) string {
	text := fmt.Sprintf("%s over windows of %s.", s.rule.Signal.Unit, s.rule.Window)
	for n, t := range s.rule.Severities {
		text += fmt.Sprintf(" %s %s %s for %s;", t.Severity, s.rule.Past(), s.rule.Signal.Print(s.rule.Threshold(n)), t.For)
	}
	text = text[:len(text)-1] + ". Dotted: where a tier recovers. Shaded: the incident."
	if s.usual != nil {
		text += " Dashed: what is usual, " + strconv.FormatFloat(*s.usual, 'g', 4, 64) + " when it opened."
	}
	if i.Told[0].Change != nil {
		text += " Dashed upright: the change before it."
	}
	return text
}

func funnelView(steps []step) []stepView {
	var out []stepView
	for _, s := range steps {
		v := stepView{step: s, Share: "-", Width: "0"}
		if ended := s.Complete + s.Abandoned; ended > 0 {
			v.Share = strconv.FormatFloat(float64(s.Complete)*100/float64(ended), 'f', 1, 64) + " %"
		}
		if most := steps[0].came(); most > 0 {
			v.Width = strconv.FormatFloat(float64(s.came())*100/float64(most), 'f', 1, 64)
		}
		out = append(out, v)
	}
	return out
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05") }

// length is a stretch of time as people say it.
func length(ms int64) string { return rules.Duration(ms / 1000 * 1000).String() }
