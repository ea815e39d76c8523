package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sevwatch/detector"
)

// The header that tells the two types of record on the panes topic apart.
const (
	HeaderType   = "t"
	TypeDelta    = "d"
	TypeProgress = "p"
)

// Mark is a record of the marks topic: what a task decided on time. docs/messages.md says what it means.
type Mark struct {
	V    int             `json:"v"`
	Task int             `json:"task"`
	Idle []detector.Idle `json:"idle,omitempty"`
	Low  *int64          `json:"low,omitempty"`  // least watermark of the task's active partitions; nil: none is active
	High *int64          `json:"high,omitempty"` // largest watermark of all its partitions; nil: none has one
	// Happened stands in a mark of its own: the task that wrote it has counted it in the same transaction.
	Happened []detector.Happening `json:"happened,omitempty"`
	Void     []detector.Void      `json:"void,omitempty"` // likewise
}

// Tells says whether the mark tells of what its task has done already, and nothing of how far it is.
func (m *Mark) Tells() bool { return len(m.Happened)+len(m.Void) > 0 }

// Health is a worker's heartbeat.
type Health struct {
	V         int             `json:"v"`
	Pipeline  string          `json:"pipeline"`
	Worker    string          `json:"worker"`
	Time      detector.Millis `json:"time"` // of the worker's clock
	Version   string          `json:"version"`
	Aggregate []HealthTask    `json:"aggregate"`
	Judge     []HealthTask    `json:"judge"`
	Rejected  int64           `json:"rejected"`
	Late      int64           `json:"late"`
	Sources   []HealthSource  `json:"sources,omitempty"`
	Rules     *HealthRules    `json:"rules,omitempty"`
	Missing   []string        `json:"missing_topics,omitempty"`  // nothing is read of them
	Settings  []string        `json:"settings_differ,omitempty"` // of tasks, from this worker's
}

// HealthSource is how late the records of a source came, of those that the worker has read since it began.
type HealthSource struct {
	Topic            string `json:"topic"`
	Late             int64  `json:"late"`
	NeededLatenessMs int64  `json:"needed_lateness_ms"` // with it 99.9 % of them would not have been late
}

// HealthRules is whether a worker's rule file is what runs.
type HealthRules struct {
	InForce string `json:"in_force"`          // hash of the last rules on the control topic
	Problem string `json:"problem,omitempty"` // why the worker's file is not what runs
}

// HealthTask is one task of a worker. Times are absent while nothing is known.
type HealthTask struct {
	Task      int              `json:"task"`
	Watermark *detector.Millis `json:"watermark,omitempty"` // aggregate
	Lag       *int64           `json:"lag,omitempty"`       // aggregate: records not read yet
	Slowest   *HealthSlowest   `json:"slowest,omitempty"`   // aggregate: the partition that the others wait for
	Edge      *detector.Millis `json:"edge,omitempty"`      // judge: end of the last closed pane
	Open      *int             `json:"open,omitempty"`      // judge: incidents that were told and are not over
	Problem   string           `json:"problem,omitempty"`   // why the task does not work: it begins again and again
}

// HealthSlowest is the source partition of a task that has come least far in event time. Of several it is one that was not read to its end, if there is one.
type HealthSlowest struct {
	detector.Source
	Watermark *detector.Millis `json:"watermark,omitempty"` // absent while nothing is known of it
	Lag       int64            `json:"lag"`                 // records not read yet
}

// DecodeMark reads a mark.
func DecodeMark(value []byte) (*Mark, error) {
	var m Mark
	return &m, decodeInside(value, &m, &m.V)
}

// EncodeProgress writes a progress record. Lists that are empty are written as such: nothing is ever null.
func EncodeProgress(p detector.Progress) []byte {
	if p.Partitions == nil {
		p.Partitions = []detector.PartitionProgress{}
	}
	if p.Events == nil {
		p.Events = []detector.PaneEvents{}
	}
	if p.Silent == nil {
		p.Silent = []detector.Span{}
	}
	if p.Set.Topics == nil {
		p.Set.Topics = map[string]int{}
	}
	return JSON(p)
}

// DecodeProgress reads a progress record.
func DecodeProgress(value []byte) (*detector.Progress, error) {
	var p detector.Progress
	return &p, decodeInside(value, &p, &p.V)
}

// decodeInside reads a message of our own strictly: what is unknown here was written by a newer version.
func decodeInside(value []byte, into any, version *int) error {
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("cannot read the record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("cannot read the record: something stands behind it")
	}
	if *version != 1 {
		return fmt.Errorf("cannot read the record: it is of version %d, expected 1", *version)
	}
	return nil
}
