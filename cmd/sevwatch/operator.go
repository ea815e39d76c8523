package main

import (
	"context"

	"github.com/segmentio/kafka-go"

	"sevwatch/cmd/sevwatch/demo"
	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
)

// operator is who is on call in the demo, and the recovery system: what sevwatch asks for and the world can do is approved, and what may be
// done is done. Whether it has helped sevwatch finds out by itself.
type operator struct {
	cfg    *pipeline.Config
	client *kafka.Client
	people *demo.World
	screen *screen
	asked  chan detector.Recovery
}

func newOperator(cfg *pipeline.Config, client *kafka.Client, people *demo.World, s *screen) *operator {
	return &operator{cfg: cfg, client: client, people: people, screen: s, asked: make(chan detector.Recovery, 64)}
}

// tell shows a message, and notes what it asks for. It does not block: what is asked for when nobody has time is not done.
func (o *operator) tell(out detector.Output) {
	o.screen.tell(out)
	if out.Recovery == nil {
		return
	}
	select {
	case o.asked <- *out.Recovery:
	default:
	}
}

// run answers until ctx is done.
func (o *operator) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-o.asked:
			if err := o.answer(ctx, r); err != nil && ctx.Err() == nil {
				o.screen.note("the operator " + err.Error())
			}
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
