package rules

import "testing"

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
