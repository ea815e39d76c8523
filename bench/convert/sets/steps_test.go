package sets

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// count counts the events of a set by step and action.
func count(t *testing.T, events EventSeq) (byAction map[string]int, sessions map[string]bool) {
	t.Helper()
	byAction, sessions = map[string]int{}, map[string]bool{}
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		byAction[e.Step+" "+string(e.Action)]++
		sessions[e.Session] = true
	}
	return byAction, sessions
}

func TestMoodleFlow(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		names := map[rune]string{
			'V': "Submission form viewed.", 'U': "A file has been uploaded.", 'C': "Submission created.",
			'E': "Submission updated.", 'F': "Submission confirmation form viewed.", 'S': "A submission has been submitted.",
		}
		flow := moodleFlow{open: map[string]attempt{}}
		for i, c := range lines {
			flow.read(moodleEntry{timeMs: int64(i), user: "1", assignment: "2", line: moodleLines[names[c]]})
		}
		var got []string
		for _, e := range flow.events {
			sign := "+"
			if e.Action == Complete {
				sign = "-"
			}
			got = append(got, sign+e.Step[:1])
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", lines, s, want)
		}
	}
	f("VUC", "+f -f +u -u +c")
	f("VUCFS", "+f -f +u -u +c -c +s -s")
	f("VUCS", "+f -f +u -u +c -c +s -s")
	f("VVUE", "+f +f -f +u -u +c")
	f("VUCFFS", "+f -f +u -u +c -c +s +s -s")
	f("VUCSV", "+f -f +u -u +c -c +s -s +f")
}

func TestMoodleCounts(t *testing.T) {
	fsys := data(t)
	dir := "edify-moodle/dev/"
	lines := func(name string) (n int) {
		for _, module := range moodleModules {
			n += countLines(t, fsys, dir+module+".csv.gz", func(line string) bool { return strings.Contains(line, ","+name+",") })
		}
		return n
	}
	got, sessions := count(t, moodle{dir: "edify-moodle/dev"}.events(fsys))
	for step, want := range map[string]int{
		"form_view enter": lines("Submission form viewed."),
		"upload enter":    lines("A file has been uploaded."),
		"create enter":    lines("Submission created.") + lines("Submission updated."),
		"submit complete": lines("A submission has been submitted."),
	} {
		if got[step] != want || want == 0 {
			t.Errorf("%s: %d, want %d", step, got[step], want)
		}
	}
	for _, step := range moodleSteps {
		if got[step+" complete"] > got[step+" enter"] {
			t.Errorf("%s is completed more often than entered: %v", step, got)
		}
	}
	if len(sessions) != 252 {
		t.Errorf("%d attempts", len(sessions))
	}
}

// Why Moodle_Module_1_SP19 is left out: but for the year, its steps are those of SP18.
func TestMoodleCopiedModule(t *testing.T) {
	fsys := data(t)
	year := regexp.MustCompile(`^("\d+/\d+)/\d\d, `)
	steps := func(module string) (lines []string) {
		countLines(t, fsys, "edify-moodle/dev/"+module+".csv.gz", func(line string) bool {
			for name := range moodleLines {
				if strings.Contains(line, ","+name+",") {
					lines = append(lines, year.ReplaceAllString(line, "$1, "))
				}
			}
			return true
		})
		slices.Sort(lines)
		return lines
	}
	one, other := steps("Moodle_Module_1_SP18"), steps("Moodle_Module_1_SP19")
	if len(one) != 717 || !slices.Equal(one, other) {
		t.Errorf("%d and %d step lines, or not the same ones", len(one), len(other))
	}
}

func TestOuladCounts(t *testing.T) {
	fsys := data(t)
	got, sessions := count(t, oulad{dir: "oulad/dev"}.events(fsys))
	submissions := countLines(t, fsys, "oulad/dev/studentAssessment.csv.gz",
		func(line string) bool { return strings.Split(line, ",")[3] == "0" })
	withdrawn := countLines(t, fsys, "oulad/dev/studentRegistration.csv.gz",
		func(line string) bool { return !strings.HasSuffix(line, ",") })
	if submissions != 82_122 || got["assessment complete"] != submissions {
		t.Errorf("%d submissions that are not banked, %v", submissions, got)
	}
	if withdrawn != 3723 || got["assessment abandon"] != withdrawn {
		t.Errorf("%d withdrawals, %v", withdrawn, got)
	}
	if len(sessions) != 13_529-4 { // four have no date at all
		t.Errorf("%d sessions", len(sessions))
	}
}

// A student has at most one open attempt, and a withdrawn one enters none.
func TestOuladAttempts(t *testing.T) {
	fsys := data(t)
	open, gone := map[string]int{}, map[string]bool{}
	late, unentered := 0, 0
	for e, err := range (oulad{dir: "oulad/dev"}).events(fsys) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Action {
		case Enter:
			if open[e.Session]++; open[e.Session] > 1 || gone[e.Session] {
				t.Fatalf("%s enters twice, or after the withdrawal", e.Session)
			}
		case Complete, Abandon:
			switch {
			case open[e.Session] > 0:
				open[e.Session]--
			case gone[e.Session]:
				late++
			default:
				unentered++
			}
			gone[e.Session] = gone[e.Session] || e.Action == Abandon
		}
	}
	if late != 147 || unentered != 30 {
		t.Errorf("%d submissions after a withdrawal, %d ends without a start", late, unentered)
	}
}

func TestShopFlow(t *testing.T) {
	flow := shopFlow{open: map[string][]shopPage{}}
	for i, page := range []string{"home", "cart", "search", "cart", "payment_details", "shipping_details", "purchase", "cart"} {
		flow.read(visit{timeMs: int64(i), session: "1", page: page})
	}
	var got []string
	for _, e := range flow.events {
		got = append(got, e.Step+" "+string(e.Action))
	}
	want := []string{
		"home enter", "cart enter", "search enter", "cart enter", "cart complete", "payment_details enter",
		"shipping_details enter", "payment_details complete", "shipping_details complete", "purchase enter",
		"purchase complete", "cart enter",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestShopCounts(t *testing.T) {
	fsys := data(t)
	s := shop{file: "synthetic-thirdparty/ecom-retentioneering/ecom.csv.gz"}
	got, sessions := count(t, s.events(fsys))
	enters := 0
	for step, n := range got {
		if strings.HasSuffix(step, " enter") {
			enters += n
		}
		for _, page := range shopGiveAways {
			if strings.Contains(step, page) {
				t.Errorf("%s gives the incident away", step)
			}
		}
	}
	pages := countLines(t, fsys, s.file, anyLine)
	given := countLines(t, fsys, s.file, func(line string) bool {
		return strings.Contains(line, ",payment_error,") || strings.Contains(line, ",checkout_bug,")
	})
	if pages != 31_106 || given != 119+44 || enters != pages-given {
		t.Errorf("%d pages, %d of them give-aways, %d enters", pages, given, enters)
	}
	if got["purchase complete"] != 470 || got["payment_details enter"] != 709 {
		t.Errorf("%v", got)
	}
	if len(sessions) != 3605 {
		t.Errorf("%d sessions", len(sessions))
	}
}
