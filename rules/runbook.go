package rules

import (
	_ "embed" // the runbook
)

//go:embed runbook.yaml
var runbook []byte

// Runbook is the embedded rule file: what it is called and its bytes.
func Runbook() (name string, data []byte) { return "runbook.yaml", runbook }
