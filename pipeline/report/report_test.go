package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/detector/history"
	"sevwatch/detector/stream"
	"sevwatch/rules"
)

const start = int64(1793610000000) // 2026-11-02T09:00:00Z

// play feeds recipes, each in a stretch of minutes, to an engine under the runbook, and gives what was collected and how far it was judged.
func play(t testing.TB, feeds ...feed) (*Collector, About) {
	t.Helper()
	name, data := rules.Runbook()
	file, err := rules.Parse(name, data, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := detector.DefaultConfig()
	c := NewCollector(file, cfg.Pane)
	engine := detector.NewLocal(cfg, file)
	engine.Judge.Watch(c.Judgement)
	engine.OnDelta = c.Delta
	part := engine.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
	engine.SetPartitions(detector.PartitionSet{Version: 1, Topics: map[string]int{"t": 1}})
	var events []stream.Event
	for _, f := range feeds {
		var r stream.Recipe
		if err := r.UnmarshalText([]byte(f.recipe)); err != nil {
			t.Fatal(err)
		}
		events = append(events, r.Between(start+f.from*60_000, start+f.to*60_000, cfg.Pane)...)
	}
	slices.SortStableFunc(events, func(x, y stream.Event) int { return int(x.Time - y.Time) })
	settle := func() {
		outputs, err := engine.Settle()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outputs {
			c.Output(o)
		}
	}
	for n, e := range events {
		event := detector.Event{Time: e.Time, Kind: e.Kind, Value: e.Value, HasValue: e.Valued}
		for _, name := range cfg.Labels {
			event.Labels = append(event.Labels, []byte(e.Labels[name]))
		}
		engine.Count(part, int64(n), &event)
		if engine.Due() {
			settle()
		}
	}
	settle()
	return c, About{
		Input: []string{"events <1>.ndjson"}, Rules: name, Hash: file.Hash, From: start, Until: engine.Judge.Edge(), Totals: engine.Judge.Totals(),
		Rejected: []Rejected{{"not_json", 2, "a.ndjson:5: the record begins with <"}},
	}
}

type feed struct {
	from, to int64 // minutes
	recipe   string
}

// anHour has an error spike behind a deploy, a slow service, a step that people leave, and a gap.
func anHour() []feed {
	return []feed{
		{0, 30, `10/s latency{service="api",endpoint="/v1"} 80..120`},
		{0, 30, `4/s latency{service="search"} 20..40`},
		{9, 10, `1/m change{service="api",change="deploy",version="1.42.0"}`},
		{10, 20, `5/s error{service="api",error_type="Timeout<script>"}`},
		{0, 20, `30/m step{step="questions",action="complete"} 3000`},
		{20, 30, `10/m step{step="questions",action="complete"} 3000`},
		{20, 30, `20/m step{step="questions",action="abandon"} 3000`},
		{0, 30, `40/m step{step="start",action="enter"}`},
		{40, 45, `10/s latency{service="api",endpoint="/v1"} 80..120`},
		{40, 45, `4/s latency{service="search"} 200..400`},
	}
}

func TestPage(t *testing.T) {
	c, about := play(t, anHour()...)
	page, err := c.Render(about)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{
		"CriticalErrorRateSpike{service=&#34;api&#34;}", "Follows the deploy of api 1.42.0", "error_type", "Timeout&lt;script&gt;", "events &lt;1&gt;.ndjson",
		"Nothing came for 10m in all", "2026-11-02 09:30:00", `<td class="long">questions</td>`, "not_json", "the record begins with &lt;", "Sev1 above 50 % for 30s",
		"CompletionRateDrop", "SlowerThanUsual", "Dashed: what is usual",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if n, m := strings.Count(text, "<article "), len(c.Past.Incidents); n != m || m < 3 {
		t.Errorf("%d articles for %d incidents", n, m)
	}
	if charts := strings.Count(text, "<svg "); charts != len(c.Past.Incidents)+1 {
		t.Errorf("%d charts for %d incidents and the time line", charts, len(c.Past.Incidents))
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "<script") || strings.Contains(text, "http://") && !strings.Contains(text, "http://www.w3.org/") {
		t.Error("the page has a NaN, a script or a link to elsewhere")
	}
	again, about := play(t, anHour()...)
	if second, err := again.Render(about); err != nil || !bytes.Equal(page, second) {
		t.Errorf("the same replay gave another page: %v", err)
	}
}

func TestPageOfNothing(t *testing.T) {
	c, about := play(t)
	about.From, about.Until = 0, 0
	page, err := c.Render(about)
	if err != nil || !strings.Contains(string(page), "No incident.") {
		t.Errorf("%v\n%s", err, page)
	}
}

// TestLateShare: a warning stands at the top of the page where more than one record in a hundred was late.
func TestLateShare(t *testing.T) {
	f := func(totals detector.Totals, want string) {
		t.Helper()
		c, about := play(t)
		about.Totals, about.Late = totals, []string{"1m would have been enough"}
		page, err := c.Render(about)
		if err != nil {
			t.Fatal(err)
		}
		_, warning, found := strings.Cut(string(page), "<strong>Warning:</strong> ")
		if found != (want != "") || !strings.HasPrefix(warning, want) {
			t.Errorf("%+v: %t %.200s, expected %q", totals, found, warning, want)
		}
	}
	f(detector.Totals{}, "")
	f(detector.Totals{Counted: 990, Late: 10, Aborted: 500}, "")
	f(detector.Totals{Counted: 900, Late: 11, Rejected: 89, Control: 500}, "1.1 % of the records came too late and are in no window: 1m would have been enough.")
	f(detector.Totals{Late: 1}, "100.0 % of the records")
}

// A month with 500 incidents is still a page that a browser opens, and the time of what is kept does not grow with them.
func TestPageOfAMonth(t *testing.T) {
	var feeds []feed
	for day := range int64(26) {
		for n := range int64(20) {
			at := day*24*60 + n*70
			feeds = append(feeds, feed{at, at + 3, fmt.Sprintf(`1/s latency{service="s%d"} 10 errors=60%%`, n)}, feed{at + 3, at + 10, fmt.Sprintf(`1/s latency{service="s%d"} 10`, n)})
		}
	}
	c, about := play(t, feeds...)
	page, err := c.Render(about)
	if err != nil || len(c.Past.Incidents) < 500 {
		t.Fatalf("%d incidents, %v", len(c.Past.Incidents), err)
	}
	if len(page) > 16<<20 {
		t.Errorf("the page has %d bytes for %d incidents", len(page), len(c.Past.Incidents))
	}
	t.Logf("%d incidents, %d bytes", len(c.Past.Incidents), len(page))
}

// A signal of any length is kept as at most maxPoints points that reach from its start to its end.
func TestSignalsAreThinnedOut(t *testing.T) {
	s := signal{every: 1}
	for i := range int64(100_000) {
		s.add(point{at: i, known: true})
	}
	if n := len(s.points); n > maxPoints || n < maxPoints/2-1 || s.points[0].at > 512 || s.points[n-1].at < 100_000-1024 {
		t.Errorf("%d points from %d to %d", n, s.points[0].at, s.points[n-1].at)
	}
	if !slices.IsSortedFunc(s.points, func(x, y point) int { return int(x.at - y.at) }) {
		t.Error("the points are out of order")
	}
}

func TestGaps(t *testing.T) {
	c := NewCollector(&rules.File{}, 10_000)
	for _, pane := range []int64{0, 20, 10, 30, 200, 210, 90, 100} { // panes come nearly in order
		c.Delta(&detector.Delta{Pane: pane * 1000})
	}
	got, all := c.gaps(1)
	if len(got) != 1 || got[0] != (span{110_000, 200_000}) || all != 90_000 {
		t.Errorf("%v, %d in all", got, all)
	}
}

// What is read before the stretch that is shown, to fill windows, is in neither the funnel nor the gaps.
func TestCountsWhatIsShown(t *testing.T) {
	c := NewCollector(&rules.File{}, 10_000)
	c.From, c.To = 305_000, 400_000
	for _, pane := range []int64{0, 290, 300, 310, 390, 400, 600} {
		c.Delta(&detector.Delta{Pane: pane * 1000, Series: []detector.SeriesDelta{{
			Kind: rules.KindStep, Labels: []detector.Label{{Name: "step", Value: "a"}, {Name: "action", Value: "enter"}}, Cell: detector.Cell{Count: 1},
		}}})
	}
	longest, all := c.gaps(5)
	if f := c.funnel(); len(f) != 1 || f[0].Enter != 3 || c.volume != 3 || len(longest) != 1 || all != 70_000 {
		t.Errorf("the funnel is %v of %d events, the gaps %v, %d in all; expected 3 entered, and 70 s", f, c.volume, longest, all)
	}
}

// writePage puts the page of an hour into a file.
func writePage(t *testing.T) (path string, c *Collector) {
	t.Helper()
	c, about := play(t, anHour()...)
	page, err := c.Render(about)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, page, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, c
}

// What an incident was before the stretch that is shown is not drawn at its edge.
func TestTimelineBeginsWhereItIsShown(t *testing.T) {
	i := history.Incident{Opened: start - 120_000, Ended: start + 60_000}
	for n, severity := range []rules.Severity{rules.Sev4, rules.Sev1} {
		i.Told = append(i.Told, &detector.Incident{At: detector.Millis(start - int64(2-n)*60_000), Severity: severity})
	}
	f := func(from int64, want bool) {
		t.Helper()
		svg, err := timeline([]*history.Incident{&i}, from, start+120_000)
		if err != nil || !strings.Contains(string(svg), "#9B111E") || strings.Contains(string(svg), "#6C9BC4") != want {
			t.Errorf("from %d on, %t expected: %v\n%s", from-start, want, err, svg)
		}
	}
	f(start-120_000, true)
	f(start, false)
}
