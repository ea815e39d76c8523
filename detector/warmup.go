package detector

import "sevwatch/rules"

// WarmUp is how long before a time, in ms, events have to be known for the windows and the baselines of the rules to be full then, and for what
// incidents, their edges and changes, ids and visits before it still mean to be known. A baseline takes the last panes with data: of a group that has data in few
// of them it reaches further back.
func (c *Config) WarmUp(file *rules.File) int64 {
	need := changeMemory
	for _, r := range file.Rules() {
		run := int64(*r.Recover.KeepFiringFor)
		for _, t := range r.Severities {
			silence := int64(0)
			if r.Signal.Type == rules.SignalAbsence && t.Above != nil {
				silence = int64(*t.Above * 1000)
			}
			run = max(run, silence+int64(t.For))
		}
		if d := r.Signal.Deviation; d != nil {
			run += int64(d.Panes) * c.Pane
			if d.Windows > 0 {
				run += int64(d.Windows+1) * int64(max(r.Window, d.Season))
			}
		}
		if *r.FlapLimit > 0 {
			run = max(run, int64(r.FlapWindow))
		}
		need = max(need, int64(r.Window)+max(run, int64(r.ReopenFor)))
	}
	return max(need, c.kept()) + c.reach() + c.MaxLateness()
}

// reach is how far back what an event means depends on others of its partition, in ms: whether it came before, and who began what it ends.
func (c *Config) reach() int64 {
	longest := c.MaxTimeout()
	if longest > 0 {
		longest += moving + c.Pane + c.MaxLateness() // nobody is followed before
	}
	for _, topic := range SortedKeys(c.Duplicates) {
		longest = max(longest, c.Duplicates[topic].Horizon)
	}
	return longest
}
