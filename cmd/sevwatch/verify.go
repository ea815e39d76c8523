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
		return exit{exitWorld, err}
	}
	if cut {
		return exit{exitUsage, fmt.Errorf("the oldest messages on %s or %s are gone: what live has told is not known, expected topics that keep all (retention)",
			in.cfg.Topics.Alerts, in.cfg.Topics.Recovery)}
	}
	if !c.To.IsZero() {
		edge = min(edge, millis(c.To.Time))
	}
	sum, err := in.replay(w, file, watchers{output: v.takeReplayed})
	if err != nil {
		return err
	}
	in.summarize(w, sum)
	found := v.compare(min(edge, sum.Edge))
	for _, line := range found {
		if _, err := fmt.Fprintln(w.stdout, line); err != nil {
			return exit{exitWorld, err}
		}
	}
	if edge <= 0 {
		fmt.Fprintln(w.stderr, "the judges have told nothing yet")
	}
	fmt.Fprintf(w.stderr, "compared up to %s: %s the same, %d different\n", detector.Millis(max(0, min(edge, sum.Edge))), counted(int64(v.same), "message"), len(found))
	if len(found) > 0 {
		return exit{exitFound, errQuiet}
	}
	return nil
}

// verification compares what live has published with what a replay gives.
type verification struct {
	from     int64 // what began before is left out: a replay from there on may have seen less of it
	live     map[string]*published
	replayed []published
	began    map[string]bool // incidents that began before from
	same     int
	strange  []string // what live has published and is no message
}

// published is a message.
type published struct {
	head
	value []byte
	times int // that live has told it
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
func (v *verification) read(value []byte) (p published, compared bool) {
	p = published{value: bytes.Clone(value), times: 1}
	if json.Unmarshal(value, &p.head) != nil {
		v.strange = append(v.strange, fmt.Sprintf("live has %.60q, which is no message", value))
		return p, false
	}
	if p.StartedAt != 0 && int64(p.StartedAt) < v.from {
		v.began[p.incident()] = true
	}
	return p, int64(p.At) >= v.from && !v.began[p.incident()]
}

func (v *verification) takeLive(value []byte) error {
	p, compared := v.read(value)
	if had := v.live[p.event()]; compared && had != nil {
		had.times++
	} else if compared {
		v.live[p.event()] = &p
	}
	return nil
}

func (v *verification) takeReplayed(o detector.Output) error {
	if p, compared := v.read(wire.Value(o)); compared {
		v.replayed = append(v.replayed, p)
	}
	return nil
}

// compare says what differs of the messages up to edge, in their order.
func (v *verification) compare(edge int64) []string {
	type line struct {
		head
		text string
	}
	var lines []line
	differs := func(h head, what string) { lines = append(lines, line{h, what}) }
	for i := range v.replayed {
		p := &v.replayed[i]
		live := v.live[p.event()]
		delete(v.live, p.event())
		switch {
		case int64(p.At) > edge:
		case live == nil:
			differs(p.head, "only the replay tells it")
		case live.times > 1:
			differs(p.head, fmt.Sprintf("live told it %d times", live.times))
		case !bytes.Equal(live.value, p.value):
			differs(p.head, "live has other "+strings.Join(otherKeys(live.value, p.value), ", "))
		default:
			v.same++
		}
	}
	for _, event := range slices.Sorted(maps.Keys(v.live)) {
		if p := v.live[event]; int64(p.At) <= edge {
			differs(p.head, "only live tells it")
		}
	}
	slices.SortStableFunc(lines, func(x, y line) int { return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.event(), y.event())) })
	out := v.strange
	for _, l := range lines {
		out = append(out, fmt.Sprintf("%s  %s  %s: %s", l.At, l.event(), l.Transition, l.text))
	}
	return out
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
