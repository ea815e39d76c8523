package report

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"math"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"sevwatch/detector/history"
	"sevwatch/rules"
)

// Colours of the severities; they also differ in lightness, for paper and for eyes that see colours differently.
var severityColour = map[rules.Severity]color.NRGBA{
	rules.Sev1: {0x9b, 0x11, 0x1e, 0xff},
	rules.Sev2: {0xd9, 0x53, 0x0b, 0xff},
	rules.Sev3: {0xd9, 0xa4, 0x00, 0xff},
	rules.Sev4: {0x6c, 0x9b, 0xc4, 0xff},
}

var (
	ink   = color.NRGBA{0x22, 0x2b, 0x36, 0xff}
	faint = color.NRGBA{0xb8, 0xc0, 0xca, 0xff}
)

// newPlot is an empty chart over a stretch of event time.
func newPlot(from, to int64) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.White
	p.X.Min, p.X.Max = float64(from)/1000, float64(max(to, from+1000))/1000
	layout := "15:04"
	switch length := time.Duration(to-from) * time.Millisecond; {
	case length > 48*time.Hour:
		layout = "2 Jan"
	case length < 10*time.Minute:
		layout = "15:04:05"
	}
	p.X.Tick.Marker = timeTicks{layout}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Tick.Color = faint, faint
		axis.Tick.Label.Color = ink
		axis.Tick.Label.Font.Variant = "Sans"
		axis.Label.TextStyle.Font.Variant = "Sans"
	}
	return p
}

// timeTicks are at round times in UTC, a handful of them.
type timeTicks struct{ layout string }

func (t timeTicks) Ticks(low, high float64) []plot.Tick {
	steps := []float64{10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 14 * 86400, 28 * 86400, 91 * 86400}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if (high-low)/s <= 6 {
			step = s
			break
		}
	}
	var out []plot.Tick
	for at := math.Ceil(low/step) * step; at <= high; at += step {
		out = append(out, plot.Tick{Value: at, Label: time.Unix(int64(at), 0).UTC().Format(t.layout)})
	}
	return out
}

// svg draws the chart; label says in words what is to be seen.
func svg(p *plot.Plot, width, height float64, label string) (template.HTML, error) {
	c := vgsvg.NewWith(vgsvg.UseWH(vg.Length(width), vg.Length(height)))
	p.Draw(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", fmt.Errorf("cannot draw a chart: %w", err)
	}
	_, text, _ := strings.Cut(b.String(), "<svg ")
	return template.HTML(`<svg role="img" aria-label="` + html.EscapeString(label) + `" ` + text), nil //nolint:gosec // made of numbers and times by the chart library; the label is escaped
}

// bars are stretches of time, in lanes or over the whole height.
type bars struct {
	spans  []span
	low    float64 // of the lane, in the chart's y
	high   float64
	colour color.Color
}

// Plot draws each stretch at least so wide that it can be seen.
func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, s := range b.spans {
		left, right := x(max(float64(s.from)/1000, p.X.Min)), x(min(float64(s.to)/1000, p.X.Max))
		right = max(right, left+vg.Points(1.5))
		c.FillPolygon(b.colour, []vg.Point{{X: left, Y: y(b.low)}, {X: right, Y: y(b.low)}, {X: right, Y: y(b.high)}, {X: left, Y: y(b.high)}})
	}
}

// timeline is all incidents by severity.
func timeline(incidents []*history.Incident, from, until int64) (template.HTML, error) {
	p := newPlot(from, until)
	p.Y.Min, p.Y.Max = 0, 4
	p.Y.Tick.Length = 0
	ticks := plot.ConstantTicks{}
	for severity := rules.Sev1; severity <= rules.Sev4; severity++ {
		lane := float64(rules.Sev4 - severity)
		b := bars{low: lane + 0.15, high: lane + 0.85, colour: severityColour[severity]}
		for _, i := range incidents {
			for _, s := range i.Severities(until) {
				if s.Severity == severity && s.To > from { // what was before it would be drawn at its edge
					b.spans = append(b.spans, span{s.From, s.To})
				}
			}
		}
		p.Add(b)
		ticks = append(ticks, plot.Tick{Value: lane + 0.5, Label: severity.String()})
	}
	p.Y.Tick.Marker = ticks
	return svg(p, 360, 115, fmt.Sprintf("Time line of %d incidents by severity", len(incidents)))
}

// signalChart is one incident's signal with its thresholds, the time it was open, and the change that it follows.
func signalChart(i *history.Incident, s *signal, until int64) (template.HTML, error) {
	from, to := s.points[0].at, s.points[len(s.points)-1].at
	p := newPlot(from, to)
	top, bottom := extent(s)
	p.Y.Min, p.Y.Max = bottom, top
	p.Y.Label.Text = s.rule.Signal.Unit
	p.Add(bars{spans: []span{{i.Opened, i.End(until)}}, low: bottom, high: top, colour: color.NRGBA{0xf1, 0xee, 0xe6, 0xff}})
	dashes := []vg.Length{vg.Points(4), vg.Points(3)}
	for n, t := range s.rule.Severities {
		if v := s.rule.Threshold(n); v <= top && v >= bottom {
			p.Add(level(from, to, v, severityColour[t.Severity], nil))
			p.Add(level(from, to, s.rule.RecoveryBound(t), severityColour[t.Severity], []vg.Length{vg.Points(1), vg.Points(3)}))
		}
	}
	if s.usual != nil {
		p.Add(level(from, to, s.rule.Signal.Deviation.Even(), ink, dashes))
	}
	if change := i.Told[0].Change; change != nil && int64(change.At) >= from && int64(change.At) <= to {
		p.Add(line(plotter.XYs{{X: float64(change.At) / 1000, Y: bottom}, {X: float64(change.At) / 1000, Y: top}}, ink, dashes))
	}
	for _, run := range runs(s.points) {
		p.Add(line(run, ink, nil))
	}
	return svg(p, 360, 135, fmt.Sprintf("%s of %s, with its thresholds", s.rule.Signal.Type, i.Subject))
}

// extent is the range of the chart: the values, 0 and the nearest threshold.
func extent(s *signal) (top, bottom float64) {
	for _, q := range s.points {
		if q.known {
			top, bottom = max(top, q.value), min(bottom, q.value)
		}
	}
	mildest := s.rule.Threshold(len(s.rule.Severities) - 1)
	top, bottom = max(top, mildest), min(bottom, mildest)
	if s.usual != nil {
		top = max(top, s.rule.Signal.Deviation.Even())
	}
	if top == bottom {
		top++
	}
	return top + (top-bottom)*0.08, bottom
}

func level(from, to int64, v float64, colour color.Color, dashes []vg.Length) *plotter.Line {
	return line(plotter.XYs{{X: float64(from) / 1000, Y: v}, {X: float64(to) / 1000, Y: v}}, colour, dashes)
}

func line(points plotter.XYs, colour color.Color, dashes []vg.Length) *plotter.Line {
	return &plotter.Line{XYs: points, LineStyle: draw.LineStyle{Color: colour, Width: vg.Points(1.2), Dashes: dashes}}
}

// runs are the stretches of points that have values: where nothing could be judged, the line breaks.
func runs(points []point) []plotter.XYs {
	var out []plotter.XYs
	open := false
	for _, q := range points {
		if !q.known {
			open = false
			continue
		}
		if !open {
			out = append(out, nil)
			open = true
		}
		out[len(out)-1] = append(out[len(out)-1], plotter.XY{X: float64(q.at) / 1000, Y: q.value})
	}
	for i, run := range out {
		if len(run) == 1 { // one point is no line: a short one
			out[i] = append(run, plotter.XY{X: run[0].X + 1, Y: run[0].Y})
		}
	}
	return out
}
