package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"sevwatch/bench/convert/sets"
	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// patience bounds every wait of these tests; it is never how long one takes.
const patience = 2 * time.Minute

// testPipeline is a pipeline with topics of its own on a broker.
type testPipeline struct {
	t      testing.TB
	ctx    context.Context
	cfg    *Config
	client *kafka.Client
	rules  *rules.File
}

// newPipeline makes the topics of a pipeline; its name is unique, so tests can share a broker.
func newPipeline(t testing.TB, addr string, change func(*Config)) *testPipeline {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	name := kafkatest.Topic(t)
	c, err := ParseConfig("test.yaml", fmt.Appendf(nil, "{pipeline: %s, brokers: [%q], http: {listen: none}, topics: {replication: 1}}", name, addr))
	check(t, err)
	if change != nil {
		change(c)
	}
	for i := range c.Sources {
		c.Sources[i].Topic = name + "." + c.Sources[i].Topic
	}
	for _, topic := range c.Topics.names() {
		*topic = name + "." + *topic
	}
	client, err := c.Connect(ctx, patience)
	check(t, err)
	states, err := c.VerifyTopics(ctx, client, true)
	check(t, err)
	for _, s := range states {
		if s.Problem != "" {
			t.Fatal(s.Problem)
		}
	}
	return &testPipeline{t: t, ctx: ctx, cfg: c, client: client, rules: runbook(t, c)}
}

func (t *Topics) names() []*string {
	return []*string{&t.Panes, &t.Marks, &t.State, &t.Alerts, &t.Recovery, &t.Rejected, &t.Late, &t.Control, &t.Health}
}

func runbook(t testing.TB, c *Config) *rules.File {
	t.Helper()
	name, data := rules.Runbook()
	f, err := rules.Parse(name, data, c.RuleOptions())
	check(t, err)
	return f
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// topicOf is the source topic for events of that kind.
func (p *testPipeline) topicOf(kind rules.Kind) string {
	for _, s := range p.cfg.Sources {
		if s.Kind.Kind == kind {
			return s.Topic
		}
	}
	return p.cfg.Sources[3].Topic
}

// load writes each line to the topic of its kind, round robin over the partitions. All partitions get theirs in one request, so that none is idle
// while the others have theirs already: its records would be late.
func (p *testPipeline) load(lines [][]byte) {
	p.t.Helper()
	batches := map[partition][]kafka.Record{}
	d := wire.NewDecoder(rules.NoKind, p.cfg.Labels)
	var e detector.Event
	for i, line := range lines {
		if r := d.Decode(line, -1, &e); r != nil {
			p.t.Fatalf("line %d: %v", i, r)
		}
		at := partition{p.topicOf(e.Kind), i % 4}
		batches[at] = append(batches[at], kafka.Record{Time: time.UnixMilli(e.Time), Value: kafka.NewBytes(line)})
	}
	for len(batches) > 0 {
		next := map[partition][]kafka.Record{}
		for at, records := range batches {
			n := min(len(records), 2000)
			if next[at], batches[at] = records[:n], records[n:]; n == len(records) {
				delete(batches, at)
			}
		}
		p.writeAtOnce(next)
	}
}

func (p *testPipeline) write(at partition, records ...kafka.Record) {
	p.t.Helper()
	p.writeAtOnce(map[partition][]kafka.Record{at: records})
}

// writeAtOnce writes a batch to each of some partitions, in one request.
func (p *testPipeline) writeAtOnce(batches map[partition][]kafka.Record) {
	p.t.Helper()
	type text struct{ key, value []byte } // a record can be read once, and may have to be sent again
	texts := map[partition][]text{}
	for at, records := range batches {
		for _, r := range records {
			key, err := kafka.ReadAll(r.Key)
			check(p.t, err)
			value, err := kafka.ReadAll(r.Value)
			check(p.t, err)
			texts[at] = append(texts[at], text{key, value})
		}
	}
	p.until("leaders of all partitions", func() bool {
		req := &produce.Request{Acks: int16(kafka.RequireAll), Timeout: int32(patience.Milliseconds())}
		for at, records := range batches {
			for i, x := range texts[at] {
				records[i].Key, records[i].Value = kafka.NewBytes(x.key), kafka.NewBytes(x.value)
			}
			req.Topics = append(req.Topics, produce.RequestTopic{Topic: at.topic, Partitions: []produce.RequestPartition{{
				Partition: int32(at.id), RecordSet: protocol.RecordSet{Records: kafka.NewRecordReader(records...)},
			}}})
		}
		res, err := p.client.Transport.RoundTrip(p.ctx, p.client.Addr, req)
		check(p.t, err)
		for _, topic := range res.(*produce.Response).Topics {
			for _, written := range topic.Partitions {
				switch err := kafka.Error(written.ErrorCode); err {
				case 0:
					delete(batches, partition{topic.Topic, int(written.Partition)})
				case kafka.NotLeaderForPartition: // of a partition that was only just made: nothing was written
				default:
					p.t.Fatal(err)
				}
			}
		}
		return len(batches) == 0
	})
}

// start runs a worker; stop ends it and waits.
func (p *testPipeline) start() (w *Worker, stop func()) {
	p.t.Helper()
	return p.startWith(func(*Worker) {})
}

// startWith runs a worker that was changed before.
func (p *testPipeline) startWith(change func(w *Worker)) (w *Worker, stop func()) {
	p.t.Helper()
	w = NewWorker(WorkerOptions{Config: p.cfg, Rules: p.rules, Client: p.client, Log: testLog(p.t)})
	change(w)
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return w, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			p.t.Errorf("the worker ended with %v", err)
		}
	})
}

func testLog(t testing.TB) *zap.Logger { return zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)) }

// until waits for a condition that somebody else brings about.
func (p *testPipeline) until(what string, done func() bool) {
	p.t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-p.ctx.Done():
			p.t.Fatalf("waited %s for %s", patience, what)
		case <-ticker.C:
		}
	}
}

// judged waits until one of the workers has closed panes up to edge.
func (p *testPipeline) judged(edge int64, workers ...*Worker) {
	p.t.Helper()
	p.until("judging up to "+detector.Millis(edge).String(), func() bool {
		return slices.ContainsFunc(workers, func(w *Worker) bool { return w.Edge() >= edge })
	})
}

// outputs are the messages on alerts and recovery with a time of at most edge, in the order of outputs, as a foreign client reads them.
func (p *testPipeline) outputs(edge int64) []string {
	p.t.Helper()
	var records []kafkatest.Record
	for _, topic := range []string{p.cfg.Topics.Alerts, p.cfg.Topics.Recovery} {
		records = append(records, p.read(topic)...)
	}
	var rows []outputRow
	for _, r := range records {
		row := outputRow{at: r.TimestampMs, id: string(r.Key), value: string(r.Value)}
		for _, h := range r.Headers {
			switch h.Key {
			case "ce_type":
				row.kind = string(h.Value)
			case "ce_id":
				row.event = string(h.Value)
			}
		}
		if row.at <= edge {
			rows = append(rows, row)
		}
	}
	return rowValues(rows)
}

type outputRow struct {
	at                     int64
	id, kind, event, value string
}

func rowValues(rows []outputRow) []string {
	slices.SortFunc(rows, func(x, y outputRow) int {
		if x.at != y.at {
			return int(x.at - y.at)
		}
		return bytes.Compare([]byte(x.id+"\x00"+x.kind+"\x00"+x.event), []byte(y.id+"\x00"+y.kind+"\x00"+y.event))
	})
	var out []string
	for _, r := range rows {
		out = append(out, r.value)
	}
	return out
}

// read reads a topic to its end, read committed: with our own client, so that it needs no program; the tests with a real Kafka also read
// with kcat.
func (p *testPipeline) read(topic string) []kafkatest.Record {
	p.t.Helper()
	found, err := p.cfg.partitionsOf(p.ctx, []string{topic})
	check(p.t, err)
	var out []kafkatest.Record
	for id := range found[topic] {
		records, err := readAll(p.ctx, p.cfg, p.client, topic, id)
		check(p.t, err)
		out = append(out, records...)
	}
	return out
}

// replayed are the messages that a replay of the lines gives, and how far it judged.
func (p *testPipeline) replayed(lines ...[][]byte) ([]string, Summary) {
	p.t.Helper()
	var files []string
	for _, l := range lines {
		files = append(files, writeLines(p.t, l))
	}
	var rows []outputRow
	r := Replay{Config: p.cfg.Engine(), Rules: p.rules, Files: files, Output: func(o detector.Output) error {
		rows = append(rows, outputRow{int64(o.At()), o.ID(), o.Type(), o.EventID(), string(wire.Value(o))})
		return nil
	}}
	sum, err := r.Run(p.ctx)
	check(p.t, err)
	return rowValues(rows), sum
}

// same fails with the first difference.
func same(t testing.TB, what string, want, got []string) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Fatalf("%s: message %d differs (-want +got):\n%s", what, i, cmp.Diff(want[i], got[i]))
		}
	}
	if len(want) != len(got) {
		t.Fatalf("%s: %d messages, expected %d", what, len(got), len(want))
	}
}

// trainTicket is the real day, one event a line.
func trainTicket(t *testing.T) [][]byte {
	t.Helper()
	fsys, err := sets.Open()
	if errors.Is(err, sets.ErrNoData) {
		t.Skipf("SKIP: %v", err)
	}
	check(t, err)
	set, ok := sets.Find("nezha-trainticket-2023-01-29")
	if !ok {
		t.Fatal("the set is not there")
	}
	var lines [][]byte
	for e, err := range set.Events(fsys) {
		check(t, err)
		lines = append(lines, bytes.TrimSpace(e.AppendJSON(nil)))
	}
	return lines
}

// shuffled is another order of arrival in which nothing is late: each event is up to lateness behind newer ones.
func shuffled(t *testing.T, lines [][]byte, lateness int64, seed uint64) [][]byte {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	type arrival struct {
		at   int64
		line []byte
	}
	d := wire.NewDecoder(rules.NoKind, rules.DefaultLabels())
	var e detector.Event
	var order []arrival
	for _, line := range lines {
		if r := d.Decode(line, -1, &e); r != nil {
			t.Fatal(r)
		}
		order = append(order, arrival{e.Time + random.Int64N(lateness), line})
	}
	slices.SortStableFunc(order, func(x, y arrival) int { return int(x.at - y.at) })
	var out [][]byte
	for _, a := range order {
		out = append(out, a.line)
	}
	return out
}
