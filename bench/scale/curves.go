package main

import (
	"bytes"
	"fmt"
	"math"
)

// curve is one figure over the number of series.
type curve struct {
	title string
	of    func(point) float64
}

// curves draws the figures side by side as SVG, both axes logarithmic.
func curves(points []point) []byte {
	const width, height, margin = 300.0, 200.0, 50.0
	all := []curve{
		{"ns an event, decode + count", func(p point) float64 { return p.Event }},
		{"ns a series, flush + encode", func(p point) float64 { return p.Flush }},
		{"ns a series, decode delta + merge", func(p point) float64 { return p.Merge }},
		{"s to close a pane", func(p point) float64 { return p.Close }},
		{"bytes a series, ratio over 5 min", func(p point) float64 { return p.Bytes }},
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="11">`+"\n",
		float64(len(all))*(width+margin)+margin, height+2*margin)
	fmt.Fprintln(&b, `<rect width="100%" height="100%" fill="white"/>`)
	for i, c := range all {
		left := margin + float64(i)*(width+margin)
		low, high := math.Inf(1), math.Inf(-1)
		for _, p := range points {
			low, high = min(low, math.Floor(math.Log10(c.of(p)))), max(high, math.Ceil(math.Log10(c.of(p))))
		}
		x := func(p point) float64 { return left + width*(math.Log10(float64(p.Series))-1)/5 }
		y := func(v float64) float64 { return margin + height*(1-(math.Log10(v)-low)/max(1, high-low)) }
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" font-size="13">%s</text>`+"\n", left, margin-15, c.title)
		for e := low; e <= high; e++ {
			at := y(math.Pow(10, e))
			fmt.Fprintf(&b, `<path d="M%.0f %.0fh%.0f" stroke="#ccc"/><text x="%.0f" y="%.0f" text-anchor="end">1e%.0f</text>`+"\n", left, at, width, left-4, at+4, e)
		}
		line := ""
		for k, p := range points {
			op := "L"
			if k == 0 {
				op = "M"
			}
			line += fmt.Sprintf("%s%.1f %.1f", op, x(p), y(c.of(p)))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3"/><text x="%.1f" y="%.1f" text-anchor="middle">%.3g</text><text x="%.1f" y="%.0f" text-anchor="middle">1e%d</text>`+"\n",
				x(p), y(c.of(p)), x(p), y(c.of(p))-6, c.of(p), x(p), margin+height+14, int(math.Log10(float64(p.Series))))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="#06c" stroke-width="2"/>`+"\n", line)
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}
