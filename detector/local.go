package detector

import (
	"fmt"

	"sevwatch/rules"
)

// Local is both stages in one process: what the aggregator flushes goes straight to the judge.
type Local struct {
	*Aggregator
	Judge *Judge
	// OnDelta, where given, sees what each pane gains before it is judged.
	OnDelta func(*Delta)
	edge    int64
}

// NewLocal is an engine over no partitions yet.
func NewLocal(cfg Config, file *rules.File) *Local {
	return &Local{Aggregator: NewAggregator(cfg, 0, 1), Judge: NewJudge(cfg, file), edge: never}
}

// maxCells is how many cells of series and panes are gathered before a flush although no pane has closed.
const maxCells = 50_000

// Due says whether there is something to judge: a pane has closed, or much is gathered.
func (l *Local) Due() bool {
	return len(l.partitions) > 0 && l.Edge() > l.edge || l.Pending() > maxCells
}

// Settle hands over what was gathered and judges what can be judged. What there is to tell is ordered as outputs are.
func (l *Local) Settle() ([]Output, error) {
	if len(l.partitions) > 0 {
		l.edge = l.Edge()
	}
	deltas, progress := l.Flush()
	for i := range deltas {
		if l.OnDelta != nil {
			l.OnDelta(&deltas[i])
		}
		l.Judge.Delta(&deltas[i])
	}
	if err := l.Judge.Progress(&progress); err != nil {
		return nil, fmt.Errorf("cannot go on: %w", err)
	}
	return l.Judge.Advance(), nil
}
