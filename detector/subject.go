package detector

import (
	"strconv"
	"strings"

	"sevwatch/rules"
)

// Subject is what the incident is about: its rule and the labels of its group, without those that the rule adds:
// `CriticalErrorRateSpike{service="api"}`.
func (i *Incident) Subject(file *rules.File) string {
	var added map[string]string
	for _, r := range file.Rules() {
		if r.Alert == i.Rule.Name {
			added = r.Labels
		}
	}
	var parts []string
	for _, name := range SortedKeys(i.Labels) {
		if value := i.Labels[name]; added[name] != value {
			parts = append(parts, name+"="+strconv.Quote(value))
		}
	}
	if len(parts) == 0 {
		return i.Rule.Name
	}
	return i.Rule.Name + "{" + strings.Join(parts, ",") + "}"
}
