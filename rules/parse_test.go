package rules

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"sevwatch/rules/strictyaml"
)

// TestBadFiles reads every testdata/*.bad.yaml and compares all that is found wrong with the .txt beside it. UPDATE_GOLDEN=1 rewrites
// those; read the diff.
func TestBadFiles(t *testing.T) {
	for _, path := range testFiles(t, "testdata/*.bad.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data := readFile(t, path)
			_, err := Parse(filepath.Base(path), data, optionsOf(t, data))
			var mistakes strictyaml.Errors
			if !errors.As(err, &mistakes) {
				t.Fatalf("Parse gives %v, expected mistakes", err)
			}
			checkPlaces(t, data, mistakes)
			checkFound(t, data, mistakes)
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", mistakes.Error()+"\n")
		})
	}
}

// TestGoodFiles reads every testdata/*.good.yaml and compares what the engine gets of it with the .txt beside it.
func TestGoodFiles(t *testing.T) {
	for _, path := range testFiles(t, "testdata/*.good.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data := readFile(t, path)
			file, err := Parse(filepath.Base(path), data, optionsOf(t, data))
			if err != nil {
				t.Fatal(err)
			}
			checkSound(t, file)
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", describe(file))
		})
	}
}

// describe is what a file's rules measure, and every default.
func describe(f *File) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.Actions)) {
		a := f.Actions[name]
		fmt.Fprintf(&b, "action %s: parameters %v, expires %s, after %q\n", name, a.Parameters, a.Expires, a.AfterOnly)
	}
	for _, r := range f.Rules() {
		fmt.Fprintf(&b, "%s/%s: %s in %s\n  counts %v of %v\n", r.Group, r.Alert, r.Signal.Type, r.Signal.Unit, r.Signal.Num, r.Signal.Den)
		if d := r.Signal.Deviation; d != nil {
			fmt.Fprintf(&b, "  of %s, %s %s, panes %d, windows %d, season %s, floor %v\n", d.Of.Type, d.Measured, d.Direction, d.Panes, d.Windows, d.Season, d.Floor)
		}
		if q := r.Signal.Distribution(); q != nil {
			fmt.Fprintf(&b, "  q %v\n", q.Q)
		}
		fmt.Fprintf(&b, "  by %v, window %s, min %d, wilson %v\n", r.By, r.Window, r.Sample.Min, r.Sample.Wilson)
		for _, t := range r.Severities {
			fmt.Fprintf(&b, "  %s %s %v for %s\n", t.Severity, t.direction(), t.threshold(), t.For)
		}
		fmt.Fprintf(&b, "  recover at %v after %s; no data: %s, %s\n", *r.Recover.ThresholdShare, *r.Recover.KeepFiringFor, r.NoData, r.NoDataAfter)
		for _, a := range r.Actions {
			fmt.Fprintf(&b, "  asks for %s at %s, automatic %t\n", a.Action, a.Severity, a.Automatic)
		}
	}
	return b.String()
}

// TestDesign looks at what the example of the design says.
func TestDesign(t *testing.T) {
	f, err := Parse("design", readFile(t, "testdata/design.good.yaml"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	half, tenth, fiftieth, least, share, keep, flaps := 0.5, 0.1, 0.02, 0.005, 0.8, Duration(300_000), 8
	eu := Selector{Kind: KindLatency, Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "region", "eu")}}
	ratio := &Ratio{Errors: Selector{Kind: KindError}, Total: eu}
	want := []*Rule{{
		Alert: "CriticalErrorRateSpike", Group: "assessment-flow",
		Signal: Signal{Ratio: ratio, Type: SignalRatio, Unit: "share", Num: []Selector{ratio.Errors}, Den: []Selector{eu}},
		By:     []string{"service"}, Window: 300_000, Sample: Sample{Min: 50, Wilson: 0.95},
		Severities: []Tier{
			{Severity: Sev1, Above: &half, For: 60_000},
			{Severity: Sev2, Above: &tenth, For: 120_000},
			{Severity: Sev3, Above: &fiftieth, For: 300_000},
			{Severity: Sev4, Above: &least, For: 600_000},
		},
		Recover: Recover{ThresholdShare: &share, KeepFiringFor: &keep},
		NoData:  NoDataKeep, NoDataAfter: 24 * 3600_000, FlapLimit: &flaps, FlapWindow: 3600_000,
		Labels:      map[string]string{"team": "assessment"},
		Annotations: map[string]string{"playbook": "critical_error_rate_spike", "summary": "..."},
	}}
	if diff := cmp.Diff(want, f.Rules(), ignorePlaces, bySelectorText); diff != "" {
		t.Errorf("the example reads otherwise (-want +got):\n%s", diff)
	}
}

var (
	ignorePlaces   = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type() == reflect.TypeFor[strictyaml.Where]() }, cmp.Ignore())
	bySelectorText = cmp.Comparer(func(x, y Selector) bool { return x.String() == y.String() })
)

// TestEveryMessageHasAnExample makes sure that each thing that can be said about a file is said about one of testdata.
func TestEveryMessageHasAnExample(t *testing.T) {
	var said []string
	for _, path := range testFiles(t, "testdata/*.bad.txt") {
		for line := range strings.Lines(string(readFile(t, path))) {
			_, msg, _ := strings.Cut(line, ": ")
			said = append(said, strings.TrimSpace(msg))
		}
	}
	patterns := 0
	for _, path := range slices.Concat(testFiles(t, "*.go"), testFiles(t, "strictyaml/*.go")) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, m := range messagesOf(t, path) {
			patterns++
			if strings.Contains(m, "the file expands to more than") { // strictyaml_test.go: too long for a file
				continue
			}
			whole := regexp.MustCompile("(?s)" + m + "$")
			if !slices.ContainsFunc(said, whole.MatchString) {
				t.Errorf("%s: no testdata/*.bad.yaml shows %q", path, m)
			}
		}
	}
	if patterns < 50 {
		t.Errorf("found only %d messages in the source", patterns)
	}
}

var verb = regexp.MustCompile(`%[-+#0-9.]*[a-zA-Z]`)

// messagesOf are the messages of a source file's calls of fail and ErrExpected as regular expressions.
func messagesOf(t *testing.T, path string) []string {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			name = f.Sel.Name
		}
		if name == "fail" && len(call.Args) > 1 {
			out = append(out, "^"+pattern(call.Args[1]))
		}
		if name == "ErrExpected" {
			out = append(out, "expected "+pattern(call.Args[0]))
		}
		return true
	})
	return out
}

// pattern matches what an expression of literals, verbs and other values can become.
func pattern(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return pattern(e.X) + pattern(e.Y)
	case *ast.CallExpr:
		if s, ok := e.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Sprintf" {
			return pattern(e.Args[0])
		}
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			pieces := verb.Split(strings.ReplaceAll(text, "%%", "\x00"), -1)
			for i := range pieces {
				pieces[i] = strings.ReplaceAll(regexp.QuoteMeta(pieces[i]), "\x00", "%")
			}
			return strings.Join(pieces, ".+")
		}
	}
	return ".+"
}

// optionsOf reads a first line such as "# options: pane=7s labels=service,step".
func optionsOf(t *testing.T, data []byte) (opt Options) {
	line, _, _ := strings.Cut(string(data), "\n")
	settings, ok := strings.CutPrefix(line, "# options: ")
	if !ok {
		return opt
	}
	for _, setting := range strings.Fields(settings) {
		switch key, value, _ := strings.Cut(setting, "="); key {
		case "labels":
			opt.Labels = strings.Split(value, ",")
		case "pane":
			if err := opt.Pane.UnmarshalText([]byte(value)); err != nil {
				t.Fatal(err)
			}
		case "sessionless":
			for _, name := range strings.Split(value, ",") {
				opt.Sessionless = append(opt.Sessionless, Kind(slices.Index(kindNames[:], name)))
			}
		case "dropped": // KIND:LABEL
			opt.Dropped = map[Kind][]string{}
			for _, name := range strings.Split(value, ",") {
				kind, label, _ := strings.Cut(name, ":")
				opt.Dropped[KindOf(kind)] = append(opt.Dropped[KindOf(kind)], label)
			}
		default:
			t.Fatalf("unknown option %q", key)
		}
	}
	return opt
}

// checkPlaces makes sure that every mistake lies within the file, and that they are in order.
func checkPlaces(t *testing.T, data []byte, mistakes strictyaml.Errors) {
	t.Helper()
	lines := strings.Split(string(data), "\n")
	for _, m := range mistakes {
		if m.Pos.Line < 1 || m.Pos.Line > len(lines) || m.Pos.Col < 1 || m.Pos.Col > len([]rune(lines[m.Pos.Line-1]))+1 {
			t.Errorf("%s lies outside of the file's %d lines", m, len(lines))
		}
	}
	if !slices.IsSortedFunc(mistakes, func(a, b strictyaml.Error) int {
		return (a.Pos.Line-b.Pos.Line)*1_000_000 + a.Pos.Col - b.Pos.Col
	}) {
		t.Errorf("the mistakes are not in order:\n%s", mistakes)
	}
}

var found = regexp.MustCompile("^\\S+ (?:is|has) (`[^`]*`|\"(?:[^\"\\\\]|\\\\.)*\"|[-+0-9][^ ,]*)")

// checkFound makes sure that the value that a mistake quotes stands at its place.
func checkFound(t *testing.T, data []byte, mistakes strictyaml.Errors) {
	t.Helper()
	lines := strings.Split(string(data), "\n")
	checked := 0
	for _, m := range mistakes {
		quoted := found.FindStringSubmatch(m.Msg)
		if quoted == nil || strings.Contains(m.Msg, " by default, ") {
			continue
		}
		value, err := strconv.Unquote(quoted[1])
		if err != nil {
			value = quoted[1]
		}
		checked++
		place := strings.TrimLeft(string([]rune(lines[m.Pos.Line-1])[m.Pos.Col-1:]), `"'`)
		if !strings.HasPrefix(place, strings.TrimSpace(value)) {
			t.Errorf("%s, but there stands %s", m, place)
		}
	}
	t.Logf("%d of %d mistakes quote what they found", checked, len(mistakes))
}

func testFiles(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return paths
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(readFile(t, path)); got != want {
		t.Errorf("%s: got\n%s\nexpected\n%s", path, got, want)
	}
}
