package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

var chaosFor = flag.Duration("chaos", 12*time.Second, "how long the streams are that workers and brokers are killed under")

// workerEnv names the directory of a worker process of these tests: the test binary itself, told to be a worker.
const workerEnv = "SEVWATCH_TEST_WORKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(workerEnv); dir != "" {
		os.Exit(beWorker(dir))
	}
	kafkatest.Main(m)
}

// beWorker is `sevwatch run` for the tests.
func beWorker(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 3
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		return fail(err)
	}
	cfg, err := ParseConfig("config.yaml", data)
	if err != nil {
		return fail(err)
	}
	ruleData, err := os.ReadFile(filepath.Join(dir, "rules.yaml"))
	if err != nil {
		return fail(err)
	}
	file, err := rules.Parse("rules.yaml", ruleData, cfg.RuleOptions())
	if err != nil {
		return fail(err)
	}
	client, err := cfg.Connect(ctx, patience)
	if err != nil {
		return fail(err)
	}
	client.Transport = stopsInTransaction(client.Transport)
	log, err := zap.NewDevelopment()
	if err != nil {
		return fail(err)
	}
	cfg.Group.Instance = os.Getenv("SEVWATCH_TEST_INSTANCE")
	worker := NewWorker(WorkerOptions{Config: cfg, Rules: file, Client: client, Log: log, Tell: func(o detector.Output) {
		fmt.Fprintln(os.Stderr, "TOLD", time.Now().UnixMilli(), int64(o.At()))
	}})
	if err := worker.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fail(err)
	}
	return 0
}

// stopsInTransaction is a transport for a worker that, once it was sent SIGUSR1, stops itself when it has written everything of a
// transaction and is about to end it.
func stopsInTransaction(rt kafka.RoundTripper) kafka.RoundTripper {
	armed := make(chan os.Signal, 1)
	signal.Notify(armed, syscall.SIGUSR1)
	return roundTripper(func(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
		if _, ending := req.(*endtxn.Request); ending {
			select {
			case <-armed:
				_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			default:
			}
		}
		return rt.RoundTrip(ctx, addr, req)
	})
}

type roundTripper func(context.Context, net.Addr, kafka.Request) (kafka.Response, error)

func (f roundTripper) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	return f(ctx, addr, req)
}

// chaosRules see whole lives of incidents within seconds; none needs silence to be on record.
var chaosRules = strings.NewReplacer("no_data_timeout: 6s", "no_data_timeout: 1h", "distinct: attempt", "count: attempt").Replace(simRules)

// chaos is a pipeline with workers in processes of their own and a stream of events.
type chaos struct {
	*testPipeline
	dir     string
	twice   bool // some events are sent again, and counted once
	workers []*process
	random  *rand.Rand
}

// process is one worker process.
type process struct {
	*exec.Cmd
	log *os.File
}

// newChaos is a pipeline over a cluster. Of the sources in which events are sent again, duplicates is the setting; "" sends none again.
func newChaos(t *testing.T, cluster *kafkatest.Cluster, replication int, idle, duplicates string) *chaos {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	t.Cleanup(cancel)
	name := kafkatest.Topic(t)
	dir := t.TempDir()
	brokers, err := json.Marshal(cluster.Addrs())
	check(t, err)
	var sources, topics []string
	for _, kind := range []string{"latency", "error"} {
		sources = append(sources, fmt.Sprintf("{topic: %s.%s, kind: %s, count_sessions: true%s}", name, kind, kind, duplicates))
	}
	for _, topic := range []string{"panes", "marks", "state", "alerts", "recovery", "rejected", "late", "control", "health"} {
		topics = append(topics, fmt.Sprintf("%s: %s.%s", topic, name, topic))
	}
	text := fmt.Sprintf(`{pipeline: %s, brokers: %s, sources: [%s], domain: tenant, pane: 1s, lateness: 1s, idle_after: %s,
  tasks: {aggregate: 4, judge: 2}, topics: {%s, replication: %d}, http: {listen: none}, group: {heartbeat: 500ms}}`,
		name, brokers, strings.Join(sources, ", "), idle, strings.Join(topics, ", "), replication)
	check(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(chaosRules), 0o600))
	c, err := ParseConfig("config.yaml", []byte(text))
	check(t, err)
	file, err := rules.Parse("rules.yaml", []byte(chaosRules), c.RuleOptions())
	check(t, err)
	client, err := c.Connect(ctx, patience)
	check(t, err)
	states, err := c.VerifyTopics(ctx, client, true)
	check(t, err)
	for _, s := range states {
		if s.Problem != "" {
			t.Fatal(s.Problem)
		}
	}
	return &chaos{
		testPipeline: &testPipeline{t: t, ctx: ctx, cfg: c, client: client, rules: file},
		dir:          dir, twice: duplicates != "", random: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)),
	}
}

// spawn starts worker number i in a process of its own; it is the same instance as the one that was number i before.
func (c *chaos) spawn(i int) {
	c.t.Helper()
	log, err := os.Create(filepath.Join(c.dir, fmt.Sprintf("worker-%d-%d.log", i, time.Now().UnixNano())))
	check(c.t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+c.dir, fmt.Sprint("SEVWATCH_TEST_INSTANCE=w", i))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	check(c.t, cmd.Start())
	p := &process{cmd, log}
	for len(c.workers) <= i {
		c.workers = append(c.workers, nil)
	}
	c.workers[i] = p
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if c.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			c.t.Logf("%s:\n%s", filepath.Base(log.Name()), tail(text, 3000))
		}
		_ = log.Close()
	})
}

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// kill kills a worker without a word.
func (c *chaos) kill(i int) {
	c.t.Helper()
	check(c.t, c.workers[i].Process.Kill())
	_ = c.workers[i].Wait()
}

// stream writes events, as they happen, to every partition of both topics at once: for a while, and until meanwhile, which it calls every
// now and then, has been called so many times.
func (c *chaos) stream(length, every time.Duration, times int, meanwhile func()) {
	c.t.Helper()
	end := time.Now().Add(length)
	enough, stop := context.WithCancel(c.ctx)
	defer stop()
	var writers sync.WaitGroup
	for _, source := range c.cfg.Sources {
		for id := range 4 {
			writers.Go(func() { c.write(enough, partition{source.Topic, id}, source.Kind.Kind) })
		}
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 0; n < times || time.Now().Add(every).Before(end); n++ {
		<-ticker.C
		meanwhile()
	}
	<-ticker.C
	stop()
	writers.Wait()
	// Time goes on in all partitions, so that everything before is judged.
	last := time.Now().Add(5 * time.Second).UnixMilli()
	random := rand.New(rand.NewPCG(1, 1))
	for _, source := range c.cfg.Sources {
		for id := range 4 {
			c.produce(partition{source.Topic, id}, event(random, source.Kind.Kind, last, false))
		}
	}
}

// write writes to one partition until it is told that it is enough: good seconds and bad ones, and some events again.
func (c *chaos) write(enough context.Context, at partition, kind rules.Kind) {
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(at.id)))
	var sent [][]byte
	for enough.Err() == nil {
		bad := time.Now().Unix()/3%2 == 0
		var lines [][]byte
		n := 1 + random.IntN(4)
		if kind == rules.KindError && !bad {
			n = random.IntN(2)
		}
		for range n {
			lines = append(lines, event(random, kind, time.Now().UnixMilli(), bad))
		}
		sent = append(sent, lines...)
		if c.twice && len(sent) > 0 && random.IntN(5) == 0 {
			lines = append(lines, sent[max(0, len(sent)-1-random.IntN(600))])
		}
		if len(lines) > 0 {
			c.produce(at, lines...)
		}
		time.Sleep(10 * time.Millisecond) // the pace of the load; nothing waits for it
	}
}

func event(random *rand.Rand, kind rules.Kind, at int64, bad bool) []byte {
	e := map[string]any{
		"time": at, "kind": kind.String(), "service": fmt.Sprint("s", random.IntN(2)), "region": fmt.Sprint("r", random.IntN(2)),
		"tenant": fmt.Sprint("t", random.IntN(3)), "id": strconv.FormatUint(random.Uint64(), 16),
		"session": fmt.Sprint("v", random.IntN(2000)),
	}
	if kind == rules.KindError {
		e["error_type"] = "boom"
		return wire.JSON(e)
	}
	e["duration_ms"] = random.IntN(60)
	if bad {
		e["duration_ms"] = random.IntN(200)
	}
	return wire.JSON(e)
}

// produce writes records, again and again while brokers are away. A record may be there twice then, as producers' records are.
func (c *chaos) produce(at partition, lines ...[]byte) {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(500*time.Millisecond))
	err := backoff.Retry(func() error {
		var records []kafka.Record
		for _, line := range lines {
			records = append(records, kafka.Record{Time: time.Now(), Value: kafka.NewBytes(line)})
		}
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		res, err := c.client.Produce(ctx, &kafka.ProduceRequest{
			Topic: at.topic, Partition: at.id, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...),
		})
		if err == nil {
			err = res.Error
		}
		return err
	}, backoff.WithContext(wait, c.ctx))
	if err != nil {
		c.t.Errorf("cannot write to %v: %v", at, err)
	}
}

// verify compares what was published with a replay of what was written, partition by partition and every event once, and looks at the accounts.
func (c *chaos) verify() (messages int) {
	c.t.Helper()
	var files [][][]byte
	var total detector.Totals
	for _, source := range c.cfg.Sources {
		for id := range 4 {
			var lines [][]byte
			seen := map[string]bool{}
			for _, r := range c.readPartition(source.Topic, id) {
				if c.twice && seen[string(r.Value)] {
					total.Duplicate++
					continue
				}
				seen[string(r.Value)] = true
				total.Counted++
				lines = append(lines, r.Value)
			}
			files = append(files, lines)
		}
	}
	want, sum := c.replayed(files...)
	if sum.Totals.Late != 0 || len(want) < 4 {
		c.t.Fatalf("the replay has %d messages and %d late events: the stream is no test", len(want), sum.Totals.Late)
	}
	c.until("everything published", func() bool { return c.judgedTo() >= sum.Edge })
	if late := c.read(c.cfg.Topics.Late); len(late) > 0 {
		c.t.Errorf("%d late records, expected none: %s", len(late), late[0].Value)
	}
	same(c.t, "after all of that", want, c.outputs(sum.Edge))
	if !slices.ContainsFunc(want, func(message string) bool { return strings.Contains(message, `"impact":{"sessions":`) }) {
		c.t.Error("no message says how many sessions are touched")
	}
	c.accounts(total)
	return len(want)
}

// judgedTo is how far all judges have come, as their state says.
func (c *chaos) judgedTo() int64 {
	low := noLow
	for task := range c.cfg.Tasks.Judge {
		var state struct{ Edge int64 }
		for _, r := range c.readPartition(c.cfg.Topics.State, task) {
			if string(r.Key) == "edge" {
				check(c.t, json.Unmarshal(r.Value, &state))
			}
		}
		low = min(low, state.Edge)
	}
	return low
}

func (p *testPipeline) readPartition(topic string, id int) []kafkatest.Record {
	p.t.Helper()
	records, err := readAll(p.ctx, p.cfg, p.client, topic, id)
	check(p.t, err)
	return records
}

// accounts adds up the progress records: every offset is told once, and the totals are what was written.
func (p *testPipeline) accounts(want detector.Totals) {
	p.t.Helper()
	at := map[detector.Source]detector.PartitionProgress{}
	for _, r := range p.readPartition(p.cfg.Topics.Panes, 0) {
		if string(r.Headers[0].Value) != wire.TypeProgress {
			continue
		}
		progress, err := wire.DecodeProgress(r.Value)
		check(p.t, err)
		for _, x := range progress.Partitions {
			if last, ok := at[x.Source]; ok && last.To != x.From {
				p.t.Errorf("progress of %v tells %d to %d after %d", x.Source, x.From, x.To, last.To)
			}
			at[x.Source] = x
		}
	}
	var got detector.Totals
	for _, x := range at {
		got.Add(x.Totals)
	}
	if got != want {
		p.t.Errorf("the progress records account for %+v, expected %+v", got, want)
	}
}

// kill -9 of a random worker every two seconds (trap 6).
func TestRealWorkersAreKilled(t *testing.T) {
	cluster := kafkatest.Real(t, kafkatest.Options{Brokers: 3})
	c := newChaos(t, cluster, 3, "30s", ", duplicates: {horizon: 1m}")
	for i := range 3 {
		c.spawn(i)
	}
	kills := 0
	c.stream(*chaosFor, 2*time.Second, 1, func() {
		i := c.random.IntN(3)
		c.kill(i)
		c.spawn(i)
		kills++
	})
	messages := c.verify()
	t.Logf("%d messages the same after %d kills of workers", messages, kills)
	values := func(records []kafkatest.Record) (out []string) {
		for _, r := range records {
			out = append(out, string(r.Key)+" "+string(r.Value))
		}
		slices.Sort(out)
		return out
	}
	same(t, "as kcat reads it", values(c.read(c.cfg.Topics.Alerts)), values(kafkatest.Consume(t, cluster.Addr(), c.cfg.Topics.Alerts)))
}

// inSync says whether every partition there is has all its replicas in sync.
func (c *chaos) inSync() bool {
	meta, err := c.client.Metadata(c.ctx, &kafka.MetadataRequest{})
	if err != nil {
		return false
	}
	for _, topic := range meta.Topics {
		for _, p := range topic.Partitions {
			if len(p.Isr) < len(p.Replicas) {
				return false
			}
		}
	}
	return len(meta.Topics) > 0
}

// kill -9 of each broker in turn, under load, one at a time: the next when all replicas are in sync again. Kafka takes a kill for a loss of what
// was not flushed, so two replicas of three that are killed one behind the other can cost what was acknowledged, a transaction's marker too.
func TestRealBrokersAreKilled(t *testing.T) {
	cluster := kafkatest.Real(t, kafkatest.Options{Brokers: 3})
	c := newChaos(t, cluster, 3, "60s", ", duplicates: {horizon: 1m}")
	for i := range 2 {
		c.spawn(i)
	}
	n := 0
	c.stream(*chaosFor, 3*time.Second, 3, func() {
		check(t, cluster.Kill(n%3))
		check(t, cluster.Start(n%3))
		c.until("all replicas in sync", c.inSync)
		n++
	})
	messages := c.verify()
	t.Logf("%d messages the same after %d kills of brokers", messages, n)
}

// A worker that was stopped and wakes up when its tasks are somebody else's publishes nothing.
func TestRealSleeperPublishesNothing(t *testing.T) {
	c := newChaos(t, kafkatest.Real(t, kafkatest.Options{Brokers: 1}), 1, "30s", "")
	c.spawn(0)
	c.spawn(1)
	slept := false
	c.stream(max(*chaosFor, 12*time.Second)+6*time.Second, 3*time.Second, 1, func() {
		p := c.workers[0].Process
		if !slept {
			check(t, p.Signal(syscall.SIGSTOP))
			slept = true
			time.AfterFunc(10*time.Second, func() { _ = p.Signal(syscall.SIGCONT) })
		}
	})
	c.verify()
}

// kill -9 and restart of the only worker: how long until it has judged a pane that could not be closed before.
func TestRealQuickReturn(t *testing.T) {
	c := newChaos(t, kafkatest.Real(t, kafkatest.Options{Brokers: 1}), 1, "30s", "")
	c.spawn(0)
	var took time.Duration
	done := make(chan struct{})
	killed := false
	c.stream(max(*chaosFor, 12*time.Second), 5*time.Second, 1, func() {
		if killed {
			return
		}
		killed = true
		start := time.Now()
		c.kill(0)
		c.spawn(0)
		go func() {
			defer close(done)
			for c.ctx.Err() == nil && c.judgedTo() <= start.UnixMilli()-int64(c.cfg.Lateness) { // what could be closed before the kill
				continue
			}
			took = time.Since(start)
		}()
	})
	<-done
	c.verify()
	t.Logf("kill -9 and restart: a new pane was judged after %s", took)
	if took > 3*time.Second {
		t.Errorf("a new pane was judged after %s, expected 3 s at most", took)
	}
}

// Of three workers one is stopped for good with its transaction open: judging goes on within the session timeout and three seconds, and
// the aggregate tasks of the others pause for two seconds at most.
func TestRealOneOfThreeIsStoppedInTransaction(t *testing.T) {
	c := newChaos(t, kafkatest.Real(t, kafkatest.Options{Brokers: 1}), 1, "30s", "")
	for i := range 3 {
		c.spawn(i)
	}
	session := millis(c.cfg.Group.SessionTimeout)
	stopped := time.Time{}
	c.stream(session+16*time.Second, 6*time.Second, 1, func() {
		if !stopped.IsZero() {
			return
		}
		victim := c.workers[0].Process
		check(t, victim.Signal(syscall.SIGUSR1))
		c.until("the worker to stop itself", func() bool { return processState(t, victim.Pid) == 'T' })
		stopped = time.Now()
	})
	c.verify()
	judging, aggregating := c.pauses()
	t.Logf("with a session timeout of %s judging paused for %s, the aggregate tasks for %s", session, judging, aggregating)
	if most := slices.Max(judging); most > session+3*time.Second {
		t.Errorf("judging paused for %s, expected %s at most", most, session+3*time.Second)
	}
	// Of four tasks the stopped worker had at most two. The others commit once a pane, which is a second.
	if most := slices.Sorted(slices.Values(aggregating))[1]; most > 3*time.Second {
		t.Errorf("two tasks that stayed where they were paused for up to %s, expected 2 s and a pane at most", most)
	}
}

// pauses are the longest times that passed between two commits of each judge task and of each aggregate task, by the broker's clock.
func (c *chaos) pauses() (judging, aggregating []time.Duration) {
	c.t.Helper()
	longest := func(pause *time.Duration, last *int64, at int64) {
		if *last > 0 {
			*pause = max(*pause, time.Duration(at-*last)*time.Millisecond)
		}
		*last = at
	}
	judging = make([]time.Duration, c.cfg.Tasks.Judge)
	for task := range judging {
		var last int64
		for _, r := range c.readPartition(c.cfg.Topics.State, task) {
			if string(r.Key) == "edge" {
				longest(&judging[task], &last, r.TimestampMs)
			}
		}
	}
	aggregating = make([]time.Duration, c.cfg.Tasks.Aggregate)
	last := make([]int64, c.cfg.Tasks.Aggregate)
	for _, r := range c.readPartition(c.cfg.Topics.Panes, 0) {
		if string(r.Headers[0].Value) == wire.TypeProgress {
			p, err := wire.DecodeProgress(r.Value)
			check(c.t, err)
			longest(&aggregating[p.Task], &last[p.Task], r.TimestampMs)
		}
	}
	return judging, aggregating
}

// processState is the letter that Linux has for the state of a process: T when it is stopped.
func processState(t *testing.T, pid int) byte {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("SKIP: there is no /proc here to see that a process is stopped")
	}
	check(t, err)
	return stat[bytes.LastIndexByte(stat, ')')+2]
}
