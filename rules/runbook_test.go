package rules

import (
	"strings"
	"testing"
)

func TestRunbookIsSound(t *testing.T) {
	name, data := Runbook()
	f, err := Parse(name, data, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Rules()) < 7 {
		t.Errorf("the runbook has %d rules, expected at least the four playbooks, security, data loss and system down", len(f.Rules()))
	}
}

// TestRunbookCoversEveryBullet: each bullet of the four severity levels, each playbook and each key metric is quoted where a rule carries it
// out. That each rule tells something is what detector/ruletest looks at.
func TestRunbookCoversEveryBullet(t *testing.T) {
	_, data := Runbook()
	var comments strings.Builder
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "#"); ok {
			comments.WriteString(strings.TrimSpace(text) + " ")
		}
	}
	for _, bullet := range []string{
		"System is down or unusable", "Data loss or corruption", "Security breach",
		"Major functionality impaired", "Significant performance degradation", "High error rates",
		"Minor functionality issues", "Moderate performance impact", "Elevated error rates",
		"Cosmetic issues", "Minor bugs", "Non-critical metrics deviation",
		"Critical Error Rate Spike", "Performance Degradation", "Completion Rate Drop", "API Issues",
		"User completion rates", "Memory usage", "Performance metrics", "CPU/Memory metrics", "network latency", "satisfaction scores",
		"TTI", "LCP", "FID", "CLS",
	} {
		if !strings.Contains(comments.String(), bullet) {
			t.Errorf("no rule quotes %q", bullet)
		}
	}
}
