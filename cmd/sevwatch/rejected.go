package main

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
)

type rejectedCmd struct {
	Config  string   `help:"Configuration file of the pipeline." required:"" placeholder:"FILE"`
	Late    bool     `help:"Look at the late records instead."`
	Reason  []string `help:"Only records with one of these reasons." placeholder:"REASON"`
	Source  []string `help:"Only records from one of these topics." placeholder:"TOPIC"`
	Samples int      `help:"How many records to show of each reason and topic." default:"3"`
	Format  string   `help:"table, or ndjson for every record in full." enum:"table,ndjson" default:"table"`
	Resend  bool     `help:"Send them back to where they came from, once, for a fixed pipeline to read."`
	Again   bool     `help:"With --resend: also copies that had been sent back and came here once more, each of them once."`
}

// Run lists the reasons with counts and samples, or every record, or sends them back.
func (c *rejectedCmd) Run(w world) error {
	cfg, client, err := connect(w, c.Config)
	if err != nil {
		return err
	}
	asides := pipeline.Asides{Config: cfg, Client: client, Topic: cfg.Topics.Rejected, Match: c.match}
	if c.Late {
		asides.Topic = cfg.Topics.Late
	}
	if c.Again && !c.Resend {
		return exit{exitUsage, errors.New("--again needs --resend")}
	}
	if asides.Again = c.Again; c.Resend {
		return c.resend(w, &asides)
	}
	groups := map[asideKey]*asideGroup{}
	err = asides.Read(w.ctx, func(at pipeline.Place, a *wire.Aside) error {
		if c.Format == "ndjson" {
			_, err := w.stdout.Write(append(wire.JSON(asideLine(a)), '\n'))
			return err
		}
		key := asideKey{a.Reason, a.Source.Topic}
		g := groups[key]
		if g == nil {
			g = &asideGroup{}
			groups[key] = g
		}
		if g.count++; len(g.samples) < c.Samples {
			g.samples = append(g.samples, fmt.Sprintf("%d/%d: %s: %s", a.Source.Partition, a.Offset, a.Detail, shown(a.Value)))
		}
		return nil
	})
	if err != nil {
		return topicsError(err)
	}
	out := bufio.NewWriter(w.stdout)
	for _, key := range slices.SortedFunc(maps.Keys(groups), asideKey.compare) {
		fmt.Fprintf(out, "%-15s %10d  %s\n", key.reason, groups[key].count, key.topic)
		for _, s := range groups[key].samples {
			fmt.Fprintf(out, "    %s\n", s)
		}
	}
	if err := out.Flush(); err != nil {
		return exit{exitWorld, err}
	}
	if len(groups) == 0 && c.Format == "table" {
		fmt.Fprintf(w.stderr, "no such records on %s\n", asides.Topic)
	}
	return nil
}

func (c *rejectedCmd) match(a *wire.Aside) bool {
	return (len(c.Reason) == 0 || slices.Contains(c.Reason, a.Reason)) && (len(c.Source) == 0 || slices.Contains(c.Source, a.Source.Topic))
}

func (c *rejectedCmd) resend(w world, asides *pipeline.Asides) error {
	sum, err := asides.Resend(w.ctx)
	var missing *pipeline.TopicError
	if errors.As(err, &missing) {
		return exit{exitUsage, err}
	}
	fmt.Fprintf(w.stderr, "%s of %s sent back, %d had been before", counted(sum.Sent, "record"), asides.Topic, sum.Before)
	if sum.Back > 0 {
		fmt.Fprintf(w.stderr, "; %d not: copies that were sent back and came here again (--again sends them)", sum.Back)
	}
	if sum.Cut > 0 {
		fmt.Fprintf(w.stderr, "; %d not: only a part of them was kept", sum.Cut)
	}
	if sum.Foreign > 0 {
		fmt.Fprintf(w.stderr, "; %d not: their topic is no source of %s", sum.Foreign, c.Config)
	}
	fmt.Fprintln(w.stderr)
	if err != nil {
		return exit{exitWorld, errors.Join(errors.New("cannot send everything back; what was not sent will be the next time"), err)}
	}
	return nil
}

// asideKey is what records are listed under.
type asideKey struct{ reason, topic string }

func (k asideKey) compare(o asideKey) int {
	return cmp.Or(cmp.Compare(k.reason, o.reason), cmp.Compare(k.topic, o.topic))
}

type asideGroup struct {
	count   int64
	samples []string
}

// asideJSON is a record in full; a key or a value that is not UTF-8 is in base64.
type asideJSON struct {
	Reason      string            `json:"reason"`
	Detail      string            `json:"detail"`
	Topic       string            `json:"topic"`
	Partition   int               `json:"partition"`
	Offset      int64             `json:"offset"`
	Time        detector.Millis   `json:"time"`
	Key         *string           `json:"key,omitempty"`
	KeyBase64   string            `json:"key_base64,omitempty"`
	Value       *string           `json:"value,omitempty"`
	ValueBase64 string            `json:"value_base64,omitempty"`
	Cut         bool              `json:"cut,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
}

func asideLine(a *wire.Aside) asideJSON {
	out := asideJSON{
		Reason: a.Reason, Detail: a.Detail, Topic: a.Source.Topic, Partition: a.Source.Partition, Offset: a.Offset,
		Time: detector.Millis(a.Time), Cut: a.Cut,
	}
	out.Key, out.KeyBase64 = textOrBase64(a.Key)
	out.Value, out.ValueBase64 = textOrBase64(a.Value)
	for _, h := range a.Headers {
		if out.Headers == nil {
			out.Headers = map[string]string{}
		}
		out.Headers[h.Key] = string(h.Value)
	}
	return out
}

func textOrBase64(in []byte) (text *string, encoded string) {
	switch {
	case in == nil:
		return nil, ""
	case utf8.Valid(in):
		s := string(in)
		return &s, ""
	default:
		return nil, base64.StdEncoding.EncodeToString(in)
	}
}

// shown is the beginning of a value on one line.
func shown(value []byte) string {
	const most = 200
	if len(value) > most {
		return fmt.Sprintf("%q and %s more", value[:most], counted(int64(len(value)-most), "byte"))
	}
	return fmt.Sprintf("%q", value)
}
