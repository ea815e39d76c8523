package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

type verifyCmd struct {
	Config string          `help:"Configuration of the pipeline." placeholder:"FILE" required:""`
	From   moment          `help:"Compare what began from then on (event time; RFC 3339, or a date)." placeholder:"TIME"`
	To     moment          `help:"Compare what was told up to then; default: up to where the judges are." placeholder:"TIME"`
	WarmUp *rules.Duration `name:"warm-up" help:"How long before --from topics are read, so that windows and baselines are full; default: what the rules need." placeholder:"DURATION"`
	GiveUp *rules.Duration `name:"give-up-after" help:"End with 3 when no broker, or no Schema Registry, answers for that long; default: 30s." placeholder:"DURATION"`
}

// Run replays the pipeline's topics and compares what comes out with what live has published, byte by byte. It ends with 1 if anything differs.
func (c *verifyCmd) Run(w world) error {
	flags := inputFlags{Config: c.Config, From: c.From, To: c.To, WarmUp: c.WarmUp, GiveUp: c.GiveUp}
	in, err := flags.open(w)
	if err != nil {
		return err
	}
	file, err := in.rules("")
	if err != nil {
		return err
	}
	v := verification{from: millis(c.From.Time), live: map[string]*published{}, began: map[string]bool{}}
	edge, cut, err := pipeline.ReadPublished(w.ctx, in.cfg, in.input.Client, v.takeLive)
	if err != nil {
		return topicsError(err)
	}
	switch {
	case cut:
		err = fmt.Errorf("the oldest messages on %s or %s are gone: what live has told is not known, expected topics that keep all (retention)",
			in.cfg.Topics.Alerts, in.cfg.Topics.Recovery)
	case edge <= 0:
		err = errors.New("there is nothing to compare yet: a judge has told nothing")
	case edge < v.from:
		err = fmt.Errorf("there is nothing to compare: the judges have come to %s, and --from is behind that", detector.Millis(edge))
	}
	if err != nil {
		return exit{exitUsage, err}
	}
	v.edge = edge
	if !c.To.IsZero() {
		v.edge = min(edge, millis(c.To.Time))
	}
	sum, err := in.replay(w, file, watchers{output: v.takeReplayed, earlier: v.earlier})
	if err != nil {
		return err
	}
	in.summarize(w, sum)
	if sum.Edge != edge && c.To.IsZero() {
		fmt.Fprintf(w.stderr, "live has judged up to %s, the replay up to %s\n", detector.Millis(edge), detector.Millis(max(0, sum.Edge)))
	}
	return v.print(w)
}

// verification compares what live has published with what a replay gives.
type verification struct {
	from    int64                 // what began before is left out: a replay from there on may have seen less of it
	edge    int64                 // up to which live has told all
	live    map[string]*published // what the replay has not told yet
	began   map[string]bool       // incidents that began before from
	same    int
	left    int // messages of what live has told that began before
	differs []difference
}

// published is a message.
type published struct {
	head
	value []byte
	times int  // that live has told it
	other bool // not always alike
}

// difference is a message, and in what it differs.
type difference struct {
	head
	what string
}

// head is what tells a message from others.
type head struct {
	ID         string          `json:"id"`
	IncidentID string          `json:"incident_id"`
	Revision   int             `json:"revision"`
	Transition string          `json:"transition"`
	At         detector.Millis `json:"at"`
	StartedAt  detector.Millis `json:"started_at"`
	Action     string          `json:"action"`
	Attempt    int             `json:"attempt"`
}

func (h *head) incident() string { return cmp.Or(h.IncidentID, h.ID) }

// event is the same for the same message (detector.Output's EventID).
func (h *head) event() string {
	if h.IncidentID == "" {
		return fmt.Sprintf("%s.%d", h.ID, h.Revision)
	}
	return fmt.Sprintf("%s.%s.%d.%s", h.IncidentID, h.Action, h.Attempt, h.Transition)
}

// read reads a message and says whether it is compared.
func (v *verification) read(value []byte) (p published, compared bool, err error) {
	p = published{value: bytes.Clone(value), times: 1}
	if err := json.Unmarshal(value, &p.head); err != nil {
		return p, false, fmt.Errorf("cannot read the published message %.60q: %w", value, err)
	}
	if p.StartedAt != 0 && int64(p.StartedAt) < v.from {
		v.began[p.incident()] = true
	}
	return p, int64(p.At) >= v.from, nil
}

func (v *verification) takeLive(value []byte) error {
	p, compared, err := v.read(value)
	if had := v.live[p.event()]; compared && had != nil {
		had.times++
		had.other = had.other || !bytes.Equal(had.value, p.value)
	} else if compared {
		v.live[p.event()] = &p
	}
	return err
}

// earlier takes a message of the replay from before from.
func (v *verification) earlier(o detector.Output) { _, _, _ = v.read(wire.Value(o)) } // our own can be read

func (v *verification) takeReplayed(o detector.Output) error {
	p, _, err := v.read(wire.Value(o))
	live := v.live[p.event()]
	if err != nil || v.began[p.incident()] || int64(p.At) > v.edge && live == nil {
		return err
	}
	delete(v.live, p.event())
	switch {
	case live == nil:
		v.differ(p.head, "only the replay tells it")
	case int64(min(live.At, p.At)) > v.edge:
	case live.other:
		v.differ(live.head, fmt.Sprintf("live told it %d times, not always alike", live.times))
	case live.times > 1:
		v.differ(live.head, fmt.Sprintf("live told it %d times", live.times))
	case !bytes.Equal(live.value, p.value):
		v.differ(live.head, "live has other "+strings.Join(otherKeys(live.value, p.value), ", "))
	default:
		v.same++
	}
	return nil
}

func (v *verification) differ(h head, what string) {
	v.differs = append(v.differs, difference{h, what})
}

// found is what differs, in the order of messages.
func (v *verification) found() []string {
	for _, p := range v.live {
		switch {
		case int64(p.At) > v.edge:
		case v.began[p.incident()]:
			v.left++
		default:
			v.differ(p.head, "only live tells it")
		}
	}
	slices.SortFunc(v.differs, func(x, y difference) int { return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.event(), y.event())) })
	var out []string
	for _, d := range v.differs {
		out = append(out, fmt.Sprintf("%s  %s  %s: %s", d.At, d.event(), d.Transition, d.what))
	}
	return out
}

// print prints what differs.
func (v *verification) print(w world) error {
	found := v.found()
	for _, line := range found {
		if _, err := fmt.Fprintln(w.stdout, line); err != nil {
			return exit{exitWorld, err}
		}
	}
	if v.left > 0 {
		fmt.Fprintf(w.stderr, "left out: %s of incidents that began before --from\n", counted(int64(v.left), "message"))
	}
	fmt.Fprintf(w.stderr, "compared up to %s: %s the same, %d different\n", detector.Millis(v.edge), counted(int64(v.same), "message"), len(found))
	if len(found) > 0 {
		return exit{exitFound, errQuiet}
	}
	return nil
}

// otherKeys are the keys of two messages whose values differ.
func otherKeys(x, y []byte) (keys []string) {
	var a, b map[string]json.RawMessage
	if errors.Join(json.Unmarshal(x, &a), json.Unmarshal(y, &b)) != nil {
		return []string{"bytes"}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			a[key] = nil
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if !bytes.Equal(a[key], b[key]) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return []string{"order of keys"}
	}
	return keys
}
