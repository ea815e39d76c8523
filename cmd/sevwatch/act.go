package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// wordFlags are what all people's words have.
type wordFlags struct {
	Config  string    `help:"Configuration file." required:"" placeholder:"FILE"`
	By      string    `help:"Who says it; default: $USER." env:"USER"`
	Comment string    `help:"In your own words." short:"m"`
	At      time.Time `help:"Event time from which it holds (RFC 3339); default: as soon as the judges read it." placeholder:"TIME"`
}

// say writes a word to the control topic, if it can have an effect.
func (f *wordFlags) say(w world, a detector.Act) error {
	a.By, a.Comment = cmp.Or(f.By, "somebody"), f.Comment
	if !f.At.IsZero() {
		a.Time = detector.Millis(f.At.UnixMilli())
	}
	control := wire.Control{V: 1, Act: a}
	if err := readable(control); err != nil {
		return err
	}
	cfg, client, err := connect(w, f.Config)
	if err != nil {
		return err
	}
	if control.IncidentID != "" {
		if err := settle(w, cfg, client, &control.Act); err != nil {
			return err
		}
	}
	if control.Act.Act == detector.ActSilence {
		if err := ahead(w, cfg, client, &control.Act); err != nil {
			return err
		}
	}
	if err := readable(control); err != nil { // its id may have become longer
		return err
	}
	offset, err := pipeline.Say(w.ctx, cfg, client, control)
	if err != nil {
		return exit{exitWorld, err}
	}
	_, err = fmt.Fprintf(w.stdout, "%s\n", wire.JSON(control))
	fmt.Fprintf(w.stderr, "written to %s/0 at offset %d\n", cfg.Topics.Control, offset)
	if err != nil {
		return exit{exitWorld, err}
	}
	return nil
}

// readable says whether judges could read the word: they pass over one that they cannot.
func readable(control wire.Control) error {
	if _, err := wire.DecodeControl(wire.JSON(control), rules.Options{}); err != nil {
		return exit{exitUsage, fmt.Errorf("%w; nothing was written", err)}
	}
	return nil
}

// ahead says whether a silence ends behind what live has judged, where that is known: an earlier one would be over before it begins.
func ahead(w world, cfg *pipeline.Config, client *kafka.Client, a *detector.Act) error {
	edge, err := pipeline.ReadEdge(w.ctx, cfg, client)
	if err != nil {
		fmt.Fprintf(w.stderr, "how far live has judged is not known, so it is not known either whether the silence begins before it ends: %s\n", err)
		return nil
	}
	if int64(a.Until) <= edge {
		return exit{exitUsage, fmt.Errorf("the silence would end at %s, and live has judged up to %s already; nothing was written", a.Until, detector.Millis(edge))}
	}
	return nil
}

type ackCmd struct {
	wordFlags
	ID string `arg:"" name:"id" help:"The incident's id, or how it begins."`
}

// Run acknowledges.
func (c *ackCmd) Run(w world) error {
	return c.say(w, detector.Act{Act: detector.ActAcknowledge, IncidentID: c.ID})
}

type silenceCmd struct {
	wordFlags
	For   rules.Duration `help:"How long from now on, or from --at: 30m, 2h." placeholder:"DURATION"`
	Until time.Time      `help:"Event time at which it ends (RFC 3339)." placeholder:"TIME"`
	What  string         `arg:"" name:"what" help:"The incident's id, or how it begins, or matchers: {service=\"assessment-api\",alert=~\"Slow.*\"}"`
}

// Run silences.
func (c *silenceCmd) Run(w world) error {
	a := detector.Act{Act: detector.ActSilence, Until: detector.Millis(c.Until.UnixMilli())}
	from := c.At
	if from.IsZero() {
		from = time.Now()
	}
	switch {
	case c.Until.IsZero() && c.For == 0, !c.Until.IsZero() && c.For != 0:
		return exit{exitUsage, fmt.Errorf("a silence ends: expected either --for or --until")}
	case c.Until.IsZero():
		a.Until = detector.Millis(from.UnixMilli() + int64(c.For))
	case !c.At.IsZero() && !c.Until.After(c.At):
		return exit{exitUsage, fmt.Errorf("the silence would end at %s, expected a time after --at, which is %s; nothing was written", a.Until, detector.Millis(c.At.UnixMilli()))}
	}
	if c.What != "" && c.What[0] == '{' {
		if err := a.Matchers.UnmarshalText([]byte(c.What)); err != nil {
			return exit{exitUsage, err}
		}
	} else {
		a.IncidentID = c.What
	}
	return c.say(w, a)
}

type resolveCmd struct {
	wordFlags
	ID    string `arg:"" name:"id" help:"The incident's id, or how it begins."`
	Cause string `help:"The root cause." required:""`
}

// Run resolves.
func (c *resolveCmd) Run(w world) error {
	return c.say(w, detector.Act{Act: detector.ActResolve, IncidentID: c.ID, Cause: c.Cause})
}

type approveCmd struct {
	wordFlags
	ID     string `arg:"" name:"id" help:"The incident's id, or how it begins."`
	Action string `arg:"" help:"The action: rollback, scale, circuit_breaker, fallback, or another of the rule file's."`
}

// Run approves.
func (c *approveCmd) Run(w world) error {
	return c.say(w, detector.Act{Act: detector.ActApprove, IncidentID: c.ID, Action: c.Action})
}
