package pipeline

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/kafkatest"
)

// TestStrangerIsNoMember: a broker says of a member that it does not know, and of a generation that is over, that they are none.
func TestStrangerIsNoMember(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p := newPipeline(t, addr, patient)
		w, stop := p.start()
		defer stop()
		p.until("a member", func() bool { return p.members(w.groupID("judge")) == 1 })
		group, err := p.client.DescribeGroups(p.ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{w.groupID("judge")}})
		check(t, err)
		known := group.Groups[0].Members[0].MemberID
		f := func(m membership, want bool) {
			t.Helper()
			got, err := w.broker.member(p.ctx, m)
			check(t, err)
			if got != want {
				t.Errorf("%+v is a member: %t, expected %t", m, got, want)
			}
		}
		f(membership{group: w.groupID("judge"), member: "nobody", generation: 1}, false)
		f(membership{group: w.groupID("judge"), member: known, generation: 77}, false)
		p.until("a generation that stands", func() bool {
			return slices.ContainsFunc([]int{1, 2, 3, 4, 5}, func(generation int) bool {
				member, err := w.broker.member(p.ctx, membership{group: w.groupID("judge"), member: known, generation: generation})
				return err == nil && member
			})
		})
	})
}

// TestHeartbeatThatFails: what a broker cannot say at the moment is asked again, and takes no task away.
func TestHeartbeatThatFails(t *testing.T) {
	addr, cluster := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	w := NewWorker(WorkerOptions{Config: p.cfg, Rules: p.rules, Client: p.client, Log: zap.NewNop()})
	cluster.ControlKey(int16(kmsg.Heartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
		res := req.ResponseKind().(*kmsg.HeartbeatResponse)
		res.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		cluster.KeepControl()
		return res, nil, true
	})
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	m := membership{group: w.groupID("judge"), member: "somebody", generation: 1}
	if member, err := w.broker.member(ctx, m); err == nil {
		t.Errorf("a broker that is loading says that somebody is a member: %t, expected an error", member)
	}
}

// TestGenerationThatEndedEarly: one whose end is heard of when the next one has come takes nothing away from that.
func TestGenerationThatEndedEarly(t *testing.T) {
	s := &stage{running: map[int]*running{0: {seat: newSeat(membership{generation: 1})}}}
	seat := s.running[0].seat
	seat.give(membership{generation: 2})
	s.moved(membership{generation: 1})
	if m, free, _ := seat.get(); m.generation != 2 || !free {
		t.Errorf("the end of generation 1 leaves generation %d, free %t, expected 2 and free", m.generation, free)
	}
	s.moved(membership{generation: 2})
	if _, free, _ := seat.get(); free {
		t.Error("the end of generation 2 leaves it to be committed with")
	}
}

// TestOnlookerGivesUp: who waits for what was published is told when the brokers hand out nothing.
func TestOnlookerGivesUp(t *testing.T) {
	addr, cluster := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	at := partition{p.cfg.Topics.Alerts, 0}
	p.write(at, kafka.Record{Value: kafka.NewBytes([]byte("{}"))})
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, context.Canceled, true // the connection breaks
	})
	w := onlooker(p.cfg, p.client)
	w.broker.(*kafkaBroker).patience = 300 * time.Millisecond
	err := readRange(p.ctx, w.broker.read, fetch.Start{Topic: at.topic}, 1, func(*fetch.Record) error { return nil })
	if err == nil || p.ctx.Err() != nil {
		t.Errorf("reading ended with %v, expected that it gives up", err)
	}
}
