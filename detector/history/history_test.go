package history

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/rules"
)

func ruleFile(t *testing.T) *rules.File {
	t.Helper()
	f, err := rules.Parse("r.yaml", []byte("groups:\n  - name: x\n    rules:\n      - {alert: A, signal: {count: error}, window: 1m, severities: [{severity: sev1, above: 1}]}\n"), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// told makes a history of lines `id rule service opened ended peak`; ended 0: it is not over. Times are in seconds.
func told(t *testing.T, lines ...string) *History {
	t.Helper()
	h := New(ruleFile(t))
	for _, line := range lines {
		var id, rule, service string
		var opened, ended int64
		var peak int
		if n, err := fmt.Sscan(line, &id, &rule, &service, &opened, &ended, &peak); n != 6 {
			t.Fatal(line, err)
		}
		i := detector.Incident{
			ID: id, Revision: 1, Rule: detector.RuleRef{Name: rule}, Labels: map[string]string{"service": service}, StartedAt: detector.Millis(opened*1000 - 10_000),
			At: detector.Millis(opened * 1000), Severity: rules.Severity(peak), PeakSeverity: rules.Severity(peak), Status: detector.Status{Phase: detector.PhaseOpen},
		}
		h.Add(detector.Output{Incident: &i})
		if ended != 0 {
			over := i
			over.Revision, over.At, over.Status.Phase = 2, detector.Millis(ended*1000), detector.PhaseResolved
			h.Add(detector.Output{Incident: &over})
		}
	}
	return h
}

func TestScore(t *testing.T) {
	h := told(t,
		"a A api 100 200 1", // true, opens 10 s into the first window
		"b A web 105 0 4",   // open to the end: false for the first window, which is about api, and open already in the third
		"c B api 400 450 2", // true, in the grace behind the second window
		"d B api 700 710 3", // false
	)
	s := Scoring{Grace: 60_000, From: 0, Until: 86_400_000, Windows: []Window{
		{Start: 90_000, End: 150_000, Labels: map[string]string{"service": "api"}},
		{Start: 300_000, End: 350_000, Rule: "B"},
		{Start: 800_000, End: 900_000},
		{Start: 300_000, End: 350_000, Rule: "C"},
	}}
	got := map[string]Score{}
	var names []string
	for _, x := range s.Scores(h) {
		got[x.Of] = x
		names = append(names, x.Of)
	}
	if want := []string{"all", "A", "B", "C", "Sev1", "Sev2 and worse", "Sev3 and worse", "Sev4 and worse"}; !slices.Equal(names, want) {
		t.Errorf("scores of %q, expected %q", names, want)
	}
	f := func(of string, incidents, right, windows, found, already int64) {
		t.Helper()
		x := got[of]
		if x.Incidents != incidents || x.True != right || x.Windows != windows || x.Found != found || x.Already != already {
			t.Errorf("%s: %+v, expected %d incidents, %d right, %d windows, %d found, %d open already", of, x, incidents, right, windows, found, already)
		}
	}
	f("all", 4, 3, 4, 2, 1)
	f("A", 2, 2, 2, 1, 1)
	f("B", 2, 1, 3, 1, 0)
	f("C", 0, 0, 3, 0, 0)
	f("Sev1", 1, 1, 4, 1, 0)
	f("Sev2 and worse", 2, 2, 4, 2, 0)
	all := got["all"]
	if !slices.Equal(all.DetectMs, []int64{10_000, 100_000}) || all.MedianDetect() != 10_000 || all.FalseDay != 1 {
		t.Errorf("detection %v, median %d, %v false a day", all.DetectMs, all.MedianDetect(), all.FalseDay)
	}
	if want := int64(100_000 + (86_400_000 - 105_000) + 50_000 + 10_000); all.OpenMs != want {
		t.Errorf("open for %d ms, expected %d", all.OpenMs, want)
	}
	if p := all.Precision; p.Value != 0.75 || p.Low < 0.3006 || p.Low > 0.3007 || p.High < 0.9544 || p.High > 0.9545 {
		t.Errorf("3 of 4 is %+v, expected Wilson's 0.3006..0.9544", p)
	}
	empty := got["C"]
	if empty.Precision.N != 0 || empty.Precision.Value != 0 || empty.Precision.High != 1 || empty.MedianDetect() != -1 {
		t.Errorf("of nothing: %+v", empty)
	}
}

func TestDiff(t *testing.T) {
	before := told(t, "a A api 100 200 1", "b A web 100 200 3", "c A api 500 600 2", "e B api 900 0 4")
	after := told(t, "x A api 90 230 1", "b A web 100 200 3", "y A web 700 800 1", "z B api 910 0 2")
	var got []string
	for _, c := range Diff(before, after, 0, 1_000_000) {
		line := ""
		if c.Before != nil {
			line += c.Before.ID
		}
		line += "/"
		if c.After != nil {
			line += c.After.ID
		}
		got = append(got, fmt.Sprintf("%s same=%v opened=%v closed=%v severity=%v earlier=%d longer=%d", line, c.Same(), c.Opened, c.Closed, c.Severity, c.Earlier, c.Longer))
	}
	want := []string{
		"a/x same=false opened=false closed=false severity=false earlier=10000 longer=30000",
		"b/b same=true opened=false closed=false severity=false earlier=0 longer=0",
		"c/ same=false opened=false closed=true severity=false earlier=0 longer=0",
		"/y same=false opened=true closed=false severity=false earlier=0 longer=0",
		"e/z same=false opened=false closed=false severity=true earlier=-10000 longer=0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, c := range Diff(before, before, 0, 1_000_000) {
		if !c.Same() {
			t.Errorf("a history differs from itself: %+v", c)
		}
	}
}

// What was over before the stretch is not in it; what reaches into it keeps its true times, and counts a day only if it opened there.
func TestSince(t *testing.T) {
	h := told(t, "a A api 10 90 1", "b A web 20 100 1", "c A api 95 0 2", "d A api 150 160 3")
	ids := func(h *History) (out string) {
		for _, i := range h.Incidents {
			out += i.ID
		}
		return out
	}
	since := h.Since(100_000, 200_000)
	if ids(h) != "abcd" || ids(since) != "bcd" || since.Incidents[0].Opened != 20_000 {
		t.Errorf("of %s are left %s", ids(h), ids(since))
	}
	if left := ids(h.Since(100_000, 90_000)); left != "" {
		t.Errorf("nothing was judged from then on, but %s are left", left)
	}
	s := Scoring{From: 100_000, Until: 200_000, Windows: []Window{{Start: 120_000, End: 130_000, Labels: map[string]string{"service": "api"}}}}
	all := s.Scores(since)[0]
	if all.Incidents != 3 || all.True != 1 || all.Already != 1 || all.Found != 0 || all.OpenMs != 110_000 || all.FalseDay != 864 {
		t.Errorf("%+v", all)
	}
}

// Two histories are paired by all that is known of them, and compared where they reach into the stretch.
func TestDiffOfAStretch(t *testing.T) {
	before := told(t, "a A api 10 90 1", "b A web 20 80 1", "c A api 95 150 1")
	after := told(t, "x A api 30 95 1", "y A web 20 110 1", "z A api 96 150 1")
	var got []string
	for _, c := range Diff(before, after, 100_000, 200_000) {
		got = append(got, fmt.Sprintf("%s/%s %d %d", c.Before.ID, c.After.ID, c.Earlier, c.Longer))
	}
	if want := []string{"b/y 0 30000", "c/z -1000 0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, expected %q", got, want)
	}
	if got := Diff(before, told(t), 300_000, 200_000); len(got) != 0 {
		t.Errorf("nothing was judged from then on, but %d differ", len(got))
	}
}

func TestFindAndSeverities(t *testing.T) {
	h := told(t, "abc1 A api 100 200 1", "abd2 A web 100 0 3")
	if i, many := h.Find("abd"); i == nil || i.ID != "abd2" || many {
		t.Errorf("abd is %v, %v", i, many)
	}
	if i, many := h.Find("ab"); i != nil || !many {
		t.Errorf("ab is %v, %v", i, many)
	}
	if i, many := h.Find(""); i != nil || many {
		t.Errorf("nothing is %v, %v", i, many)
	}
	if got := h.Incidents[1].Severities(500_000); len(got) != 1 || got[0] != (Stretch{3, 100_000, 500_000}) {
		t.Errorf("severities %v", got)
	}
}

func TestReadWindows(t *testing.T) {
	const text = "start,end,service,visible,note\n2026-11-01T12:00:00Z,2026-11-01 12:05:00,api,true,x\n1793534400000,1793534460000,,true,\n2026-11-01T12:00:00Z,2026-11-01T12:05:00Z,api,false,\n"
	known, err := ReadWindows("w.csv", strings.NewReader(text), Columns{Labels: []string{"service", "region"}, Where: map[string]string{"visible": "true"}})
	got := known.Windows
	if err != nil || len(got) != 2 || got[0].Start != 1793534400000 || got[0].End != 1793534700000 || got[0].Labels["service"] != "api" ||
		got[1].End != 1793534460000 || len(got[1].Labels) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if !slices.Equal(known.Narrow, []string{"service"}) || !slices.Equal(known.Unused, []string{"note"}) {
		t.Errorf("narrowed by %q, not used %q", known.Narrow, known.Unused)
	}
	f := func(text, want string) {
		t.Helper()
		if _, err := ReadWindows("w.csv", strings.NewReader(text), Columns{Rules: []string{"A"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", text, err, want)
		}
	}
	f("", "cannot read the head of w.csv: EOF")
	f("start,service\n", `w.csv:1: there is no column "end" among start, service`)
	f("start,end\n", "w.csv has no windows that count")
	f("start,end\n5,6\nyesterday,7\n", `w.csv:3: start is "yesterday", expected a time`)
	f("start,end\n6,5\n", "w.csv:2: end 5 is not behind start 6")
	f("start,end\n6,7,8\n", "wrong number of fields")
	f("start,end,rule\n6,7,A\n6,7,\n6,7,a\n", `w.csv:4: there is no rule "a" in the rule file`)
}

// What columns are taken for is known: one without a value in any row that counts narrows nothing.
func TestReadWindowsColumns(t *testing.T) {
	f := func(text, narrow, unused string) {
		t.Helper()
		known, err := ReadWindows("w.csv", strings.NewReader(text), Columns{Labels: []string{"service", "region"}, Rules: []string{"A"}, Where: map[string]string{"kind": "x"}})
		if got := strings.Join(known.Narrow, " "); err != nil || got != narrow || strings.Join(known.Unused, " ") != unused {
			t.Errorf("%q: narrowed by %s, not used %q, %v", text, got, known.Unused, err)
		}
	}
	f("\ufeffstart,end,kind\n6,7,x\n", "", "")
	f("start,end,servce,kind\n6,7,api,x\n", "", "servce")
	f("rule,start,end, service ,kind,region\nA,6,7,,x,\n,6,7,api,x,\n,6,7,api,y,eu\n", "rule service", "region")
}

// Where no row counts, it is said which values there are.
func TestReadWindowsWhere(t *testing.T) {
	f := func(rows int, want string) {
		t.Helper()
		text := "start,end,kind,visible\n"
		for i := range rows {
			text += fmt.Sprintf("6,7,k%02d,true\n6,7,k%02d,\n", i, i)
		}
		_, err := ReadWindows("w.csv", strings.NewReader(text), Columns{Where: map[string]string{"kind": "x", "visible": "true"}})
		if err == nil || err.Error() != want {
			t.Errorf("got\n%v\nexpected\n%s", err, want)
		}
	}
	f(0, "w.csv has no windows that count")
	f(2, "w.csv has no windows that count\nkind has the values: \"k00\", \"k01\"\nvisible has the values: \"\", \"true\"")
	const ten = `"k00", "k01", "k02", "k03", "k04", "k05", "k06", "k07", "k08", "k09"`
	f(10, "w.csv has no windows that count\nkind has the values: "+ten+"\nvisible has the values: \"\", \"true\"")
	f(12, "w.csv has no windows that count\nkind has the values: "+ten+" and 2 more\nvisible has the values: \"\", \"true\"")
}

// A window outside of what was judged is neither found nor missed. What belongs to it and reaches into the stretch is true all the same.
func TestScoreOfAStretch(t *testing.T) {
	h := told(t, "a A api 90 120 1", "b A api 300 310 1")
	s := Scoring{Grace: 30_000, From: 100_000, Until: 400_000, Windows: []Window{
		{Start: 10_000, End: 95_000},               // before it, and a lasts on
		{Start: 20_000, End: 100_000},              // up to it
		{Start: 99_000, End: 101_000},              // into it
		{Start: 290_000, End: 500_000},             // out of it
		{Start: 400_000, End: 500_000},             // from its end on
		{Start: 900_000, End: 950_000, Rule: "No"}, // after it
	}}
	all := s.Scores(h)[0]
	if all.Windows != 2 || all.Found != 1 || all.Already != 1 || all.True != 2 || s.Outside() != 4 {
		t.Errorf("%d outside, %+v", s.Outside(), all)
	}
	for _, x := range s.Scores(h) {
		if x.Of == "No" {
			t.Errorf("a rule of no window that was judged has a score: %+v", x)
		}
	}
	if nothing := (Scoring{From: 300_000, Until: 300_000, Windows: s.Windows[3:4]}); nothing.Outside() != 1 {
		t.Errorf("nothing was judged, but a window is inside")
	}
	s.Windows = s.Windows[:2]
	if all = s.Scores(h)[0]; all.Windows != 0 || all.True != 1 {
		t.Errorf("only a belongs to the windows before: %+v", all)
	}
}
