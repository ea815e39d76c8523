package rules

import (
	"slices"

	"sevwatch/rules/strictyaml"
)

// Correlate says which incidents have one cause, so that only the first of them is told: those that begin within Within of each other and
// are of one service, of services that depend on each other, follow the same deployment, or are more than Storm of one rule at once.
type Correlate struct {
	Where     strictyaml.Where    `json:"-"`
	Within    Duration            `yaml:"within"`     // default 5m
	Storm     int                 `yaml:"storm"`      // default 20
	DependsOn map[string][]string `yaml:"depends_on"` // the services that a service calls
	Apart     bool                `yaml:"-"`          // only incidents of the same rule: rules are tried beside each other

	callers []string // the keys of DependsOn, sorted
}

func (v *validator) correlate(c *Correlate) {
	v.positive(c.Where, "within", c.Within)
	if c.Within == 0 {
		c.Within = 5 * 60_000
	}
	if c.Storm == 0 && !c.Where.Has("storm") {
		c.Storm = 20
	}
	if c.Storm < 1 {
		v.fail(c.Where.Of("storm"), "storm is %d, expected 1 or more", c.Storm)
	}
}

// Calls says whether a service depends on another, directly or through others.
func (c *Correlate) Calls(service, other string) bool {
	seen := []string{service}
	for i := 0; i < len(seen); i++ {
		for _, next := range c.DependsOn[seen[i]] {
			if next == other {
				return true
			}
			if !slices.Contains(seen, next) {
				seen = append(seen, next)
			}
		}
	}
	return false
}

// Callers is how many services depend on that one, directly or through others.
func (c *Correlate) Callers(service string) (n int) {
	for _, caller := range c.callers {
		if c.Calls(caller, service) {
			n++
		}
	}
	return n
}

// SameTarget says whether two actions are done to the same thing.
func (a *Action) SameTarget(b *Action) bool {
	return len(a.about) > 0 && slices.Equal(a.about, b.about)
}
