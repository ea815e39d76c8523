package detector

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"sevwatch/rules"
)

// Millis is an event time in epoch milliseconds that is written as RFC 3339 in UTC with milliseconds.
type Millis int64

const millisLayout = "2006-01-02T15:04:05.000Z"

// String is the time as messages carry it.
func (m Millis) String() string { return time.UnixMilli(int64(m)).UTC().Format(millisLayout) }

// MarshalText is the time as messages carry it.
func (m Millis) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Millis) UnmarshalText(text []byte) error {
	t, err := time.Parse(millisLayout, string(text))
	*m = Millis(t.UnixMilli())
	return err
}

// Num is a measured number. It is written with at most six significant digits and without an exponent.
type Num float64

// MarshalJSON rounds and prints. NaN and infinities never get here: a window without enough samples is not judged.
func (n Num) MarshalJSON() ([]byte, error) {
	f := float64(n)
	if f-f != 0 {
		panic(fmt.Sprintf("BUG: the number %v in a message", f))
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(f, 'e', 5, 64), 64)
	if err != nil {
		return nil, err
	}
	return strconv.AppendFloat(nil, short, 'f', -1, 64), nil
}

// Transition is what a revision tells.
type Transition string

// The transitions that this engine makes. Consumers tolerate more.
const (
	Opened       Transition = "opened"
	Reopened     Transition = "reopened"
	Escalated    Transition = "escalated"
	Deescalated  Transition = "deescalated"
	Updated      Transition = "updated"
	Flapping     Transition = "flapping"
	Overdue      Transition = "overdue"
	Acknowledged Transition = "acknowledged"
	Silenced     Transition = "silenced"
	NoData       Transition = "no_data"
	Resolved     Transition = "resolved"
	Expired      Transition = "expired"
	Superseded   Transition = "superseded"
)

// Phase is where an incident is in its life.
type Phase string

// The phases. The last three are final.
const (
	PhaseOpen       Phase = "open"
	PhaseNoData     Phase = "no_data"
	PhaseResolved   Phase = "resolved"
	PhaseExpired    Phase = "expired"
	PhaseSuperseded Phase = "superseded"
)

// Incident is one revision of one incident, as it is published. docs/messages.md has every field.
type Incident struct {
	ID               string            `json:"id"`
	Revision         int               `json:"revision"`
	Transition       Transition        `json:"transition"`
	Severity         rules.Severity    `json:"severity"`
	PreviousSeverity rules.Severity    `json:"previous_severity,omitzero"`
	PeakSeverity     rules.Severity    `json:"peak_severity"`
	Status           Status            `json:"status"`
	Suppressed       *Suppressed       `json:"suppressed,omitempty"`
	Reason           string            `json:"reason"`
	Word             *Word             `json:"word,omitempty"`
	Rule             RuleRef           `json:"rule"`
	Labels           map[string]string `json:"labels"`
	Signal           Signal            `json:"signal"`
	StartedAt        Millis            `json:"started_at"`
	At               Millis            `json:"at"`
	ResolvedAt       Millis            `json:"resolved_at,omitzero"`
	RespondBy        Millis            `json:"respond_by"`
	Impact           Impact            `json:"impact"`
	Contributors     []Contributor     `json:"contributors,omitempty"`
	Change           *Change           `json:"change,omitempty"`
	VersionSplit     *VersionSplit     `json:"version_split,omitempty"`
	Parent           string            `json:"parent,omitempty"`
	Children         []string          `json:"children,omitempty"`
	ChildrenCount    int               `json:"children_count,omitempty"`
	Channel          string            `json:"channel"`
	Contacts         []string          `json:"contacts,omitempty"`
	Playbook         *Playbook         `json:"playbook,omitempty"`
	HeldBack         []HeldBack        `json:"held_back,omitempty"`
	Messages         rules.Texts       `json:"messages"`
}

// Status is the phase and the flags beside it.
type Status struct {
	Phase          Phase  `json:"phase"`
	Acknowledged   bool   `json:"acknowledged"`
	AcknowledgedBy string `json:"acknowledged_by,omitempty"`
	Silenced       bool   `json:"silenced"`
	SilencedUntil  Millis `json:"silenced_until,omitzero"`
}

// Word is what a person said, where that is why the revision is told.
type Word struct {
	Act     ActKind `json:"act"`
	By      string  `json:"by,omitempty"`
	Comment string  `json:"comment,omitempty"`
	Cause   string  `json:"cause,omitempty"`
}

// RuleRef says by which rule of which file.
type RuleRef struct {
	Name     string `json:"name"`
	FileHash string `json:"file_hash"`
	Playbook string `json:"playbook,omitempty"`
	Runbook  string `json:"runbook,omitempty"`
}

// Signal is what was measured. Observed is absent when the window had no data.
type Signal struct {
	Name        rules.SignalType `json:"name"`
	Unit        string           `json:"unit"`
	Observed    *Num             `json:"observed,omitempty"`
	Threshold   Num              `json:"threshold"`
	Expected    *Num             `json:"expected,omitempty"`  // of a deviation: what the value usually is, in its own unit
	Measured    rules.Measured   `json:"measured,omitempty"`  // of a deviation that is told as a distance: how, absent for times the usual value
	Direction   rules.Direction  `json:"direction,omitempty"` // likewise: to which side
	Numerator   int64            `json:"numerator"`
	Denominator *int64           `json:"denominator,omitempty"` // of signals that have one
	Samples     int64            `json:"samples"`
	Window      Window           `json:"window"`
}

// Window is a stretch of event time, [Start, End).
type Window struct {
	Start Millis `json:"start"`
	End   Millis `json:"end"`
}

// Impact is what people felt, in the window.
type Impact struct {
	Sessions int64  `json:"sessions,omitempty"` // absent where nobody counts them
	Events   int64  `json:"events"`
	Share    *Num   `json:"share,omitempty"`
	Sentence string `json:"sentence"`
}

// Contributor is a label value that explains part of the deviation.
type Contributor struct {
	Label  string `json:"label"`
	Value  string `json:"value"`
	Events int64  `json:"events"`
	Share  Num    `json:"share"`
}

// Change is a deployment or the like; its time is the start of its pane.
type Change struct {
	Change          string `json:"change"`
	Service         string `json:"service,omitempty"`
	Version         string `json:"version,omitempty"`
	PreviousVersion string `json:"previous_version,omitempty"`
	State           string `json:"state,omitempty"`
	At              Millis `json:"at"`
}

// Playbook is what to do, in order.
type Playbook struct {
	Name  string   `json:"name"`
	Title string   `json:"title"`
	Steps []string `json:"steps"`

	Answers []Answer `json:"answers,omitempty"` // what the data say to a step
}

// Recovery is a word to whatever can act: do this, or it is no longer needed.
type Recovery struct {
	IncidentID string                  `json:"incident_id"`
	Revision   int                     `json:"incident_revision"` // the incident's latest at the time
	Transition RecoveryTransition      `json:"transition"`
	Action     string                  `json:"action"`
	Target     map[string]string       `json:"target"`
	Parameters map[string]rules.Number `json:"parameters"`
	Versions   *Versions               `json:"versions,omitempty"`
	Commands   Commands                `json:"commands"`
	Mode       string                  `json:"mode"`
	Attempt    int                     `json:"attempt"`
	At         Millis                  `json:"at"`
	ExpiresAt  Millis                  `json:"expires_at"`
	Severity   rules.Severity          `json:"severity"`
	Evidence   string                  `json:"evidence"`
}

// Versions are those that a rollback goes between.
type Versions struct {
	From string `json:"from"`
	To   string `json:"to,omitempty"`
}

// Commands are the runbook's own.
type Commands struct {
	Inspect string `json:"inspect,omitempty"`
	Apply   string `json:"apply"`
	Verify  string `json:"verify,omitempty"`
}

// RecoveryTransition is what became of a request.
type RecoveryTransition string

// The transitions that this engine makes.
const (
	RecoveryRequested RecoveryTransition = "requested"
	RecoveryApproved  RecoveryTransition = "approved"
	RecoveryVerified  RecoveryTransition = "verified"
	RecoveryFailed    RecoveryTransition = "failed"
	RecoveryCancelled RecoveryTransition = "cancelled"
	RecoveryExpired   RecoveryTransition = "expired"
)

// Output is one message: either an incident's revision or a recovery.
type Output struct {
	Incident *Incident
	Recovery *Recovery
}

// At is the event time of the message.
func (o Output) At() Millis {
	if o.Incident != nil {
		return o.Incident.At
	}
	return o.Recovery.At
}

// ID is the incident's id: the key of the record.
func (o Output) ID() string {
	if o.Incident != nil {
		return o.Incident.ID
	}
	return o.Recovery.IncidentID
}

// Type is the CloudEvents type.
func (o Output) Type() string {
	if o.Incident != nil {
		return "sevwatch.incident." + string(o.Incident.Transition) + ".v1"
	}
	return "sevwatch.recovery." + string(o.Recovery.Transition) + ".v1"
}

// EventID is the CloudEvents id: the same for the same message, however often it is sent.
func (o Output) EventID() string {
	if o.Incident != nil {
		return o.Incident.ID + "." + strconv.Itoa(o.Incident.Revision)
	}
	return fmt.Sprintf("%s.%s.%d.%s", o.Recovery.IncidentID, o.Recovery.Action, o.Recovery.Attempt, o.Recovery.Transition)
}

// Revision is the incident's revision that the message is, or follows.
func (o Output) Revision() int {
	if o.Incident != nil {
		return o.Incident.Revision
	}
	return o.Recovery.Revision
}

// Compare orders messages as outputs are compared: by time, id, revision and type.
func (o Output) Compare(p Output) int {
	return cmp.Or(cmp.Compare(o.At(), p.At()), cmp.Compare(o.ID(), p.ID()), cmp.Compare(o.Revision(), p.Revision()),
		cmp.Compare(o.Type(), p.Type()), cmp.Compare(o.EventID(), p.EventID()))
}

// Severity is that of the incident at the time.
func (o Output) Severity() rules.Severity {
	if o.Incident != nil {
		return o.Incident.Severity
	}
	return o.Recovery.Severity
}

// incidentID names an incident by what it is about and when it began.
func incidentID(rule, domain string, labels []Label, startedAt int64) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %d", rule, domain, startedAt)
	for _, l := range labels {
		fmt.Fprintf(h, " %q=%q", l.Name, l.Value)
	}
	return hex.EncodeToString(h.Sum(nil)[:10])
}
