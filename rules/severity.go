// Package rules says what is bad and how bad: it reads rule files strictly and judges numbers by them. It knows no events, no
// clock and nothing of the world; whoever has numbers asks it.
package rules

import (
	"fmt"

	"sevwatch/rules/strictyaml"
)

// Severity is how bad an incident is. Lower is worse.
type Severity int

// The four levels of the runbook.
const (
	Sev1 Severity = 1 + iota // critical: down, data lost, a breach
	Sev2                     // high
	Sev3                     // medium
	Sev4                     // low
)

// String is "Sev1" to "Sev4".
func (s Severity) String() string { return fmt.Sprintf("Sev%d", int(s)) }

// Text is the CloudEvents extension severitytext: "SEV1" to "SEV4".
func (s Severity) Text() string { return fmt.Sprintf("SEV%d", int(s)) }

// Number is the CloudEvents extension severitynumber, where more is worse: FATAL 21, ERROR 17, WARN 13, INFO 9 as in
// OpenTelemetry's log severities.
func (s Severity) Number() int { return 25 - 4*int(s) }

// MarshalText is the severity as messages carry it.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "sev1" to "sev4", also written "Sev1".
func (s *Severity) UnmarshalText(text []byte) error {
	if len(text) == 4 && (string(text[:3]) == "sev" || string(text[:3]) == "Sev") && text[3] >= '1' && text[3] <= '4' {
		*s = Severity(text[3] - '0')
		return nil
	}
	return strictyaml.ErrExpected("sev1, sev2, sev3 or sev4")
}
