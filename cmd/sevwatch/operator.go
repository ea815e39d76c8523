package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/cmd/sevwatch/demo"
	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
)

// operator is who is on call in the demo, and the recovery system: it reads the recovery topic. What is asked for there and the world can do is
// approved, and what may be done is done. Whether it has helped sevwatch finds out by itself.
type operator struct {
	cfg    *pipeline.Config
	client *kafka.Client
	people *demo.World
	screen *screen
}

func newOperator(cfg *pipeline.Config, client *kafka.Client, people *demo.World, s *screen) *operator {
	return &operator{cfg: cfg, client: client, people: people, screen: s}
}

// run answers until ctx is done.
func (o *operator) run(ctx context.Context) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: o.cfg.Brokers, GroupID: "operator", Topic: o.cfg.Topics.Recovery, IsolationLevel: kafka.ReadCommitted,
		MaxWait: 100 * time.Millisecond, StartOffset: kafka.FirstOffset,
	})
	defer func() { _ = reader.Close() }() // nothing is left to be read
	for {
		m, err := reader.ReadMessage(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			o.screen.note("the operator cannot read the recovery topic: " + err.Error())
			return
		case len(m.Headers) == 0:
			continue // the end of a transaction, which this reader hands out
		}
		var r detector.Recovery
		if err = json.Unmarshal(m.Value, &r); err == nil {
			err = o.answer(ctx, r)
		}
		if err != nil && ctx.Err() == nil {
			o.screen.note("the operator " + err.Error())
		}
	}
}

func (o *operator) answer(ctx context.Context, r detector.Recovery) error {
	mayDo := r.Transition == detector.RecoveryRequested || r.Transition == detector.RecoveryApproved
	switch {
	case !mayDo || !o.people.CanDo(r.Action):
		return nil
	case r.Mode == "automatic":
		if o.people.Do(r.Action) {
			o.screen.note("the " + r.Action + " is carried out")
		}
		return nil
	}
	_, err := pipeline.Say(ctx, o.cfg, o.client, wire.Control{V: 1, Act: detector.Act{
		Act: detector.ActApprove, IncidentID: r.IncidentID, Action: r.Action, By: "the operator on call",
	}})
	return err
}
