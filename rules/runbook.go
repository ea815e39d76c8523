package rules

import (
	_ "embed" // the runbook
)

//go:embed runbook.yaml
var runbook []byte

// Runbook is the embedded rule file: what it is called and its bytes.
func Runbook() (name string, data []byte) { return "runbook.yaml", runbook }

//go:embed runbook_test.yaml
var runbookTests []byte

// RunbookTests are the tests of the embedded rule file: what their file is called and its bytes. Package ruletest reads them.
func RunbookTests() (name string, data []byte) { return "runbook_test.yaml", runbookTests }
