package pipeline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sevwatch/pipeline/fetch"
)

// impatient is a reader that fails when nothing was read for a while, although somebody waits for it. What has nothing to read is not handed on.
type impatient struct {
	reader
	out      chan fetch.Response
	patience time.Duration
}

func (p *impatient) Responses() <-chan fetch.Response { return p.out }

func (p *impatient) Run(ctx context.Context) error { return together(ctx, p.reader.Run, p.handOn) }

func (p *impatient) handOn(ctx context.Context) error {
	timer := time.NewTimer(p.patience)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return fmt.Errorf("cannot read the topics to their ends: nothing came from the brokers for %s", p.patience)
		case res := <-p.reader.Responses():
			if !slices.ContainsFunc(res.Chunks, func(c fetch.Chunk) bool { return c.Err != nil || len(c.Batches) > 0 }) {
				res.Release()
				continue
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case p.out <- res:
			}
			timer.Reset(p.patience)
		}
	}
}
