package detector

import (
	"errors"
	"fmt"
	"slices"

	"sevwatch/rules"
)

// Local is both stages in one process: what the aggregator flushes goes straight to the judges.
type Local struct {
	*Aggregator
	Judge  *Judge   // the first
	Judges []*Judge // all of them
	// OnDelta, where given, sees what each pane gains before it is judged.
	OnDelta func(*Delta)
	judgeOf func(domain string) int
	edge    int64
}

// NewLocal is an engine over no partitions yet, with one judge.
func NewLocal(cfg Config, file *rules.File) *Local {
	return NewLocalOf(cfg, file, 1, func(string) int { return 0 })
}

// NewLocalOf has as many judges, each of which judges the domains that judgeOf gives it.
func NewLocalOf(cfg Config, file *rules.File, judges int, judgeOf func(domain string) int) *Local {
	l := &Local{Aggregator: NewAggregator(cfg, 0, 1), judgeOf: judgeOf, edge: never}
	for range judges {
		l.Judges = append(l.Judges, NewJudge(cfg, file))
	}
	l.Judge = l.Judges[0]
	return l
}

// maxCells is how many cells of series and panes are gathered before a flush although no pane has closed.
const maxCells = 50_000

// Due says whether there is something to judge: a pane has closed, or much is gathered.
func (l *Local) Due() bool {
	return len(l.partitions) > 0 && l.Edge() > l.edge || l.Pending() > maxCells
}

// Settle hands over what was gathered and judges what can be judged. What there is to tell is ordered as outputs are.
func (l *Local) Settle() (out []Output, err error) {
	if len(l.partitions) > 0 {
		l.edge = l.Edge()
	}
	deltas, progress := l.Flush()
	for i := range deltas {
		if l.OnDelta != nil {
			l.OnDelta(&deltas[i])
		}
		l.Judges[l.judgeOf(deltas[i].Domain)].Delta(&deltas[i])
	}
	for _, j := range l.Judges {
		err = errors.Join(err, j.Progress(&progress))
		out = append(out, j.Advance()...)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot go on: %w", err)
	}
	if len(l.Judges) > 1 {
		slices.SortStableFunc(out, Output.Compare)
	}
	return out, nil
}
