package rules

import (
	"slices"
	"strings"
)

// Kind is what an event tells of.
type Kind uint8

// The kinds of event, in the order of their numbers in pane deltas: append only.
const (
	NoKind Kind = iota
	KindError
	KindLatency
	KindStep
	KindVital
	KindResource
	KindSatisfaction
	KindChange
	// KindPipeline is what happens to the pipeline itself: no record is of this kind, rules can select it.
	KindPipeline
	// KindAttempt is a visitor's way through a step, from entering it until it is known how that ended: the engine derives attempts of steps, no
	// record is of this kind, rules can select it by the labels of the step. Its action is complete or abandon.
	KindAttempt
)

var kindNames = [...]string{"", "error", "latency", "step", "vital", "resource", "satisfaction", "change", "pipeline", "attempt"}

// Kinds are the names of the kinds that records can have.
func Kinds() []string { return slices.Clone(kindNames[1:KindPipeline]) }

// KindOf is the kind of that name that records can have, or NoKind.
func KindOf(name string) Kind {
	if name == "" {
		return NoKind
	}
	return Kind(max(0, slices.Index(kindNames[:KindPipeline], name)))
}

// Known says whether there is such a kind.
func (k Kind) Known() bool { return k != NoKind && int(k) < len(kindNames) }

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Valued says whether events of this kind carry a measured value, and so have quantiles.
func (k Kind) Valued() bool {
	return k != KindError && k != KindChange && k != KindPipeline && k != KindAttempt && k != NoKind
}

// Unit is the unit of the value that events of this kind carry.
func (k Kind) Unit() string {
	switch k {
	case KindLatency, KindStep:
		return "ms"
	case KindSatisfaction:
		return "score"
	default:
		return "value"
	}
}

// DefaultLabels are the labels that make a series unless the configuration says otherwise. The last ones come from fields that
// only some kinds have: status_class is the first digit of status and "xx".
func DefaultLabels() []string {
	return strings.Fields("service endpoint step region version error_type category name action status_class change previous_version state")
}

// PipelineLabels are the labels of the kind pipeline: what happened, to which source partition, and to which of its offsets.
func PipelineLabels() []string { return []string{"name", "topic", "partition", "offsets"} }

// ChangeNames are the changes that an event of kind change tells of.
func ChangeNames() []string { return strings.Fields("deploy rollback config breaker") }
