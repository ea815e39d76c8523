package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/rules"
)

// newTroubled is a pipeline and ten minutes of events with a bad stretch, the last eight of them a minute later to close what came before;
// and what a replay tells of them. No partition is ever silent for long, so time goes on by the events alone, however slow the broker is.
func newTroubled(t *testing.T, addr string) (p *testPipeline, lines [][]byte, told []string, sum Summary) {
	t.Helper()
	p = newPipeline(t, addr, func(c *Config) {
		c.Sources = slices.DeleteFunc(c.Sources, func(s SourceConfig) bool { return s.Kind.Kind != rules.KindLatency && s.Kind.Kind != rules.KindError })
		c.IdleAfter = rules.Duration(2 * patience.Milliseconds())
	})
	s := &story{}
	for second := range 600 {
		for range 40 {
			s.latency(second)
		}
		for range 4 {
			s.failure(second)
		}
		for range 20 {
			if second > 120 && second < 400 {
				s.failure(second)
			}
		}
	}
	for range closing / 2 {
		s.latency(660)
	}
	for range closing / 2 {
		s.failure(660)
	}
	told, sum = p.replayed(s.lines)
	if len(told) < 4 || sum.Totals.Counted != int64(len(s.lines)) {
		t.Fatalf("the replay gives %d messages and the accounts %+v: the stream is no test", len(told), sum.Totals)
	}
	return p, s.lines, told, sum
}

const closing = 8 // one event for each partition

// piecewise writes n pieces, each when the one before is judged, so that there are many commits.
func (p *testPipeline) piecewise(lines [][]byte, n int, workers ...*Worker) {
	p.t.Helper()
	for piece := range slices.Chunk(lines, len(lines)/n+1) {
		p.load(piece)
		p.judged(timeOf(piece[len(piece)-1])-int64(p.cfg.Lateness)-2*int64(p.cfg.Pane), workers...)
	}
}

// lostAnswers is a transport on which one in five requests to end a transaction gets no answer: because it never came to the broker, or
// because the answer is lost.
type lostAnswers struct {
	kafka.RoundTripper
	mu         sync.Mutex
	random     *rand.Rand
	all        int
	sent, kept int // of those without an answer
}

var errCut = errors.New("the connection broke")

func (l *lostAnswers) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	if _, ends := req.(*endtxn.Request); !ends {
		return l.RoundTripper.RoundTrip(ctx, addr, req)
	}
	switch l.next() {
	case 0:
		return nil, errCut
	case 1:
		if _, err := l.RoundTripper.RoundTrip(ctx, addr, req); err != nil {
			return nil, err
		}
		return nil, errCut
	}
	return l.RoundTripper.RoundTrip(ctx, addr, req)
}

func (l *lostAnswers) next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all++
	n := l.random.IntN(10)
	switch n {
	case 0:
		l.kept++
	case 1:
		l.sent++
	}
	return n
}

// A commit whose outcome is unknown is neither repeated nor forgotten.
func TestTrap21CommitWithUnknownOutcome(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p, lines, told, sum := newTroubled(t, addr)
		way := &lostAnswers{RoundTripper: p.client.Transport, random: rand.New(rand.NewPCG(21, 0))}
		p.client.Transport = way
		w, stop := p.start()
		defer stop()
		p.piecewise(lines, 6, w)
		p.judged(sum.Edge, w)
		same(t, "with answers lost", told, p.outputs(sum.Edge))
		p.accounts(detector.Totals{Counted: int64(len(lines))})
		t.Logf("of %d requests to end a transaction %d were not sent and %d not answered", way.all, way.kept, way.sent)
		if way.kept == 0 || way.sent == 0 {
			t.Error("expected some of both")
		}
	})
}

// refusals counts how often a broker refuses what is written to a topic.
type refusals struct {
	kafka.RoundTripper
	topic string
	n     atomic.Int64
}

func (r *refusals) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	res, err := r.RoundTripper.RoundTrip(ctx, addr, req)
	if answer, ok := res.(*produce.Response); ok {
		for _, topic := range answer.Topics {
			if topic.Topic == r.topic && topic.Partitions[0].ErrorCode != 0 {
				r.n.Add(1)
			}
		}
	}
	return res, err
}

// An alert says "published" while the broker refused it: as long as it refuses, nobody is told that it was, and the state knows no incident and no
// pane that would have to be told of. Then everything is told, once.
func TestTrap16RefusedByTheBroker(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p, lines, want, sum := newTroubled(t, addr)
		way := &refusals{RoundTripper: p.client.Transport, topic: p.cfg.Topics.Alerts}
		alter(t, p, way.topic, "max.message.bytes", "100")
		p.client.Transport = way
		var published atomic.Int64
		p.load(lines)
		w, stop := p.startWith(func(w *Worker) { w.onTell = func(detector.Output) { published.Add(1) } })
		defer stop()
		p.until("two refusals", func() bool { return way.n.Load() >= 2 })
		if n := published.Load(); n > 0 {
			t.Errorf("%d messages are told to be published", n)
		}
		if got := p.outputs(noHigh); len(got) > 0 {
			t.Errorf("%d messages are published", len(got))
		}
		first := int64(told(t, want)[0].At)
		for _, r := range p.read(p.cfg.Topics.State) {
			if edge := edgeOf(r); bytes.Contains(r.Value, []byte(`"incident":{`)) || edge >= first {
				t.Errorf("the state says at %s, in the way of %s: %s", detector.Millis(edge), detector.Millis(first), r.Value)
			}
		}
		alter(t, p, way.topic, "max.message.bytes", "1048588")
		p.judged(sum.Edge, w)
		same(t, "once the broker takes it", want, p.outputs(sum.Edge))
		p.accounts(detector.Totals{Counted: int64(len(lines))})
		p.until("all to be told as published", func() bool { return published.Load() >= int64(len(want)) })
	})
}

// edgeOf is how far panes are closed, where a record of the state says it.
func edgeOf(r kafkatest.Record) int64 {
	var s struct{ Edge int64 }
	if string(r.Key) != "edge" || json.Unmarshal(r.Value, &s) != nil {
		return 0
	}
	return s.Edge
}

// Rebalance and redelivery double or lose window state: every partition moves at least twice in the middle of windows, as workers come and go.
func TestTrap07PartitionsMoveMidWindow(t *testing.T) {
	overBoth(t, func(t *testing.T, addr string) {
		p, lines, want, sum := newTroubled(t, addr)
		pieces := slices.Collect(slices.Chunk(lines, len(lines)/3+1))
		var stop func()
		for n, piece := range pieces {
			w, stopNext := p.start()
			if stop != nil {
				p.until("the next worker to be a member", func() bool { return p.members(w.groupID("judge")) == 2 })
				stop() // it takes over all
			}
			stop = stopNext
			p.piecewise(piece, 2, w)
			if n == len(pieces)-1 {
				p.judged(sum.Edge, w)
			}
		}
		stop()
		same(t, "moved", want, p.outputs(sum.Edge))
		p.accounts(detector.Totals{Counted: int64(len(lines))})
	})
}

// members is how many a consumer group has.
func (p *testPipeline) members(group string) int {
	p.t.Helper()
	res, err := p.client.DescribeGroups(p.ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	check(p.t, err)
	return len(res.Groups[0].Members)
}

// brokerErrors are what a broker answers for a while when it starts, moves its partitions or is busy.
var brokerErrors = map[kmsg.Key][]*kerr.Error{
	kmsg.Produce:            {kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.UnknownServerError},
	kmsg.Fetch:              {kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownTopicOrPartition, kerr.UnknownServerError},
	kmsg.ListOffsets:        {kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownServerError},
	kmsg.InitProducerID:     {kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.CoordinatorNotAvailable},
	kmsg.AddPartitionsToTxn: {kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.UnknownServerError},
	kmsg.AddOffsetsToTxn:    {kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.UnknownServerError},
	kmsg.TxnOffsetCommit:    {kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.RequestTimedOut, kerr.UnknownServerError},
	kmsg.EndTxn:             {kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.RequestTimedOut, kerr.UnknownServerError},
	kmsg.OffsetFetch:        {kerr.CoordinatorLoadInProgress, kerr.NotCoordinator},
	kmsg.FindCoordinator:    {kerr.CoordinatorNotAvailable},
	kmsg.Heartbeat:          {kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.RebalanceInProgress},
}

// misbehave makes a broker answer some requests with errors of the moment, and break some connections instead of an answer, until the
// returned function is called; that says how often it did either.
func misbehave(cluster *kfake.Cluster, seed uint64) (stop func() (faults, broken int)) {
	random := rand.New(rand.NewPCG(seed, 21)) // used on the cluster's goroutine alone
	on, broken := true, 0
	ours := func(req kmsg.Request) bool { // and not what the test itself writes
		produce, ok := req.(*kmsg.ProduceRequest)
		return !ok || produce.TransactionID != nil
	}
	// One decision a request, however many partitions it has.
	var last kmsg.Request
	var answer *kerr.Error
	decide := func(req kmsg.Request) *kerr.Error {
		if req == last {
			return answer
		}
		last, answer = req, nil
		if errs := brokerErrors[kmsg.Key(req.Key())]; ours(req) && random.IntN(25) == 0 {
			answer = errs[random.IntN(len(errs))]
		}
		return answer
	}
	var faults []kfake.Fault
	for key := kmsg.Key(0); key < 100; key++ {
		for _, err := range brokerErrors[key] {
			faults = append(faults, kfake.Fault{
				Keys: []kmsg.Key{key}, Err: err, Count: -1, When: func(req kmsg.Request) bool { return decide(req) == err },
			})
		}
	}
	handle := cluster.Fault(faults...)
	var mu sync.Mutex
	cluster.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		if !on {
			cluster.DropControl()
			return nil, nil, false
		}
		cluster.KeepControl()
		if _, known := brokerErrors[kmsg.Key(req.Key())]; known && ours(req) && random.IntN(75) == 0 {
			broken++
			return nil, errCut, true
		}
		return nil, nil, false
	})
	return func() (int, int) {
		handle.Remove()
		mu.Lock()
		defer mu.Unlock()
		on = false
		return handle.Hits(), broken
	}
}

// A broker that fails in every way it can for a moment changes nothing of what is told.
func TestBrokerErrors(t *testing.T) {
	first := max(*simSeed, 1)
	for seed := first; seed < first+uint64(max(1, *simRuns/200)); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			addr, cluster := kafkatest.Fake(t)
			p, lines, told, sum := newTroubled(t, addr)
			var workers []*Worker
			for range 2 {
				w, stop := p.start()
				defer stop()
				workers = append(workers, w)
			}
			p.piecewise(lines[:4400], 1, workers...) // the pipeline is at work
			stop := misbehave(cluster, seed)
			p.piecewise(lines[4400:], 8, workers...)
			p.judged(sum.Edge, workers...)
			faults, broken := stop()
			same(t, "with broker errors", told, p.outputs(sum.Edge))
			p.accounts(detector.Totals{Counted: int64(len(lines))})
			t.Logf("%d errors answered, %d connections broken", faults, broken)
			if faults < 20 || broken < 5 {
				t.Errorf("%d errors and %d broken connections are no test", faults, broken)
			}
		})
	}
}
