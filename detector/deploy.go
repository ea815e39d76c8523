package detector

import (
	"fmt"
	"slices"

	"sevwatch/rules"
)

// Suppressed says that an incident is told as silenced because it began soon after a deploy, and until when.
type Suppressed struct {
	Until      Millis         `json:"until"`
	Bar        rules.Severity `json:"bar,omitzero"` // it ends when the incident becomes that bad
	Version    string         `json:"version,omitempty"`
	DeployedAt Millis         `json:"deployed_at"`
	Why        string         `json:"why"`
}

// suppression is why an incident of that severity, whose run has begun after a deploy, is suppressed; nil: it is not.
func (d *domain) suppression(g *group, severity rules.Severity, edge int64) *Suppressed {
	a := g.rule.AfterDeploy
	if a == nil || severity <= a.Bar {
		return nil
	}
	for _, c := range slices.Backward(d.changes) {
		if c.Change != "deploy" || !c.concerns(g) || int64(c.At) > g.life.RunStart {
			continue
		}
		s := Suppressed{Until: c.At + Millis(a.For), Bar: a.Bar, Version: c.Version, DeployedAt: c.At}
		if int64(s.Until) <= edge {
			return nil
		}
		s.Why = fmt.Sprintf("suppressed until %s: it began within %s of the %s", s.Until, a.For, c)
		if a.Bar != 0 {
			s.Why += fmt.Sprintf("; until then only what is %s or worse is told aloud", a.Bar)
		}
		return &s
	}
	return nil
}

// unsuppress ends the suppression of an incident that has become too bad for it.
func (o *ongoing) unsuppress() {
	if s := o.Suppressed; s != nil && o.Severity <= s.Bar {
		o.Suppressed = nil
	}
}

// quiet says whether the incident is told as silenced.
func (o *ongoing) quiet(edge int64) bool { return o.Suppressed != nil || o.SilencedUntil > edge }

// covers says whether an incident that is part of this one need not be told.
func (o *ongoing) covers(part *ongoing) bool {
	return part.Severity >= o.Severity && (o.Suppressed == nil || part.Suppressed != nil)
}

// String is the change as a sentence's part.
func (c Change) String() string {
	text := c.Change
	if c.Version != "" {
		text += " of " + c.Version
	}
	if c.Service != "" {
		text += " (" + c.Service + ")"
	}
	return text + " at " + c.At.String()
}
