package deploy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

// ruleFile is a rule file of Prometheus. Its own reader would bring some thirty packages more than this needs.
type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

// metrics are the names that pipeline/metrics.go knows, each with its labels. A _seconds is a histogram: of its sum and count; a _timestamp_seconds is none.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../pipeline/metrics.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^(sevwatch_[a-z0-9_]+)(\{.*\})?$`)
	label := regexp.MustCompile(`([a-z_]+)=`)
	found := map[string][]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if m := name.FindStringSubmatch(text); err == nil && m != nil {
			var labels []string
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				labels = append(labels, l[1])
			}
			if strings.HasSuffix(m[1], "_seconds") && !strings.HasSuffix(m[1], "_timestamp_seconds") {
				found[m[1]+"_sum"], found[m[1]+"_count"] = labels, labels
			} else {
				found[m[1]] = labels
			}
		}
		return true
	})
	if len(found) == 0 {
		t.Fatal("no metrics in pipeline/metrics.go: this test no longer understands it")
	}
	found["up"] = []string{"job", "instance"} // Prometheus' own
	return found
}

var (
	promString  = regexp.MustCompile(`"[^"]*"`)
	promRange   = regexp.MustCompile(`\[[0-9a-z]+\]|offset [0-9a-z]+`)
	promName    = regexp.MustCompile(`[a-zA-Z_][a-zA-Z0-9_]*`)
	promLabels  = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	promMatcher = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	promLabel   = regexp.MustCompile(`\$labels\.(\w+)`)
)

// words are what an expression is made of besides names of metrics.
var words = []string{"sum", "max", "absent", "rate", "vector", "time", "or", "and"}

// checkExpr checks that an expression uses metrics and labels that are there. Whether Prometheus understands it, promtool says.
func checkExpr(t *testing.T, alert, expr string, known map[string][]string) (labels []string) {
	t.Helper()
	if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
		t.Errorf("%s: brackets are not closed in %s", alert, expr)
	}
	bare := promRange.ReplaceAllString(promString.ReplaceAllString(expr, ""), "")
	for _, m := range promMatcher.FindAllStringSubmatch(bare, -1) {
		for _, l := range promName.FindAllString(m[2], -1) {
			if !slices.Contains(append(known[m[1]], "job", "instance"), l) {
				t.Errorf("%s: %s has no label %s", alert, m[1], l)
			}
		}
	}
	var grouped []string
	for _, m := range promLabels.FindAllStringSubmatch(bare, -1) {
		grouped = append(grouped, promName.FindAllString(m[1], -1)...)
	}
	bare = promLabels.ReplaceAllString(promMatcher.ReplaceAllString(bare, "$1"), "")
	for _, name := range promName.FindAllString(bare, -1) {
		own, ok := known[name]
		if !ok && !slices.Contains(words, name) {
			t.Errorf("%s: there is no metric %s", alert, name)
		}
		labels = append(labels, own...)
	}
	for _, l := range grouped {
		if !slices.Contains(labels, l) {
			t.Errorf("%s: no metric of it has the label %s", alert, l)
		}
	}
	return labels
}

func TestAlerts(t *testing.T) {
	var file ruleFile
	decode(t, "alerts.yaml", read(t, "prometheus/alerts.yaml"), &file)
	known := metrics(t)
	seen := map[string]bool{}
	for _, g := range file.Groups {
		if g.Name == "" || len(g.Rules) == 0 {
			t.Errorf("the group %q has %d rules", g.Name, len(g.Rules))
		}
		for _, r := range g.Rules {
			if !regexp.MustCompile(`^Sevwatch[A-Z][A-Za-z]+$`).MatchString(r.Alert) || seen[r.Alert] {
				t.Errorf("the alert %q is there twice or has no good name", r.Alert)
			}
			seen[r.Alert] = true
			labels := checkExpr(t, r.Alert, r.Expr, known)
			if _, err := model.ParseDuration(r.For); r.For != "" && err != nil {
				t.Errorf("%s: for is %q: %v", r.Alert, r.For, err)
			}
			if len(r.Labels) != 1 || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
				t.Errorf("%s: the labels are %v, expected severity page or ticket", r.Alert, r.Labels)
			}
			if len(r.Annotations) != 2 || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: the annotations are %v, expected summary and description", r.Alert, r.Annotations)
			}
			for _, m := range promLabel.FindAllStringSubmatch(r.Annotations["summary"]+r.Annotations["description"], -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: what it tells has the label %s, which it lacks", r.Alert, m[1])
				}
			}
		}
	}
	if len(seen) < 5 {
		t.Errorf("there are %d alerts", len(seen))
	}
}

func TestAlertsWithPromtool(t *testing.T) {
	if said, err := exec.Command(tool(t, "promtool"), "check", "rules", "prometheus/alerts.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
