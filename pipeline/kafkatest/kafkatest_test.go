package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { Main(m) }

func TestFake(t *testing.T) {
	begin := time.Now()
	addr, cluster := Fake(t)
	t.Logf("a fake broker started in %v", time.Since(begin))
	topic := Topic(t)
	makeTopic(t, addr, topic, 1, 1)
	sent := sample(0)
	produce(t, addr, topic, sent)
	checkSame(t, sent, fetch(t, addr, topic, 0))
	checkSame(t, sent, Consume(t, addr, topic))
	if got := cluster.PartitionInfo(topic, 0).HighWatermark; got != int64(len(sent)) {
		t.Errorf("high watermark %d, want %d", got, len(sent))
	}
}

func TestSharedReadAsKcatReads(t *testing.T) {
	c := startTimed(t, "the shared broker", Shared)
	topic := Topic(t)
	makeTopic(t, c.Addr(), topic, 2, 1)
	sent := slices.Concat(sample(0), sample(1))
	produce(t, c.Addr(), topic, sent)
	checkSame(t, sent, slices.Concat(fetch(t, c.Addr(), topic, 0), fetch(t, c.Addr(), topic, 1)))
	checkSame(t, sent, Consume(t, c.Addr(), topic))
	checkSame(t, sample(1), Consume(t, c.Addr(), topic, "-p", "1"))
	if again := Shared(t); again.PID(0) != c.PID(0) {
		t.Errorf("a second Shared is process %d, the first was %d", again.PID(0), c.PID(0))
	}
}

// One transaction is aborted, one committed, one left open: a foreign client sees the committed one and ends.
func TestConsumeReadsOnlyCommitted(t *testing.T) {
	c := Shared(t)
	topic := Topic(t)
	makeTopic(t, c.Addr(), topic, 1, 1)
	abort := func(k *kgo.Client) error { return k.EndTransaction(t.Context(), kgo.TryAbort) }
	commit := func(k *kgo.Client) error { return k.EndTransaction(t.Context(), kgo.TryCommit) }
	leaveOpen := func(*kgo.Client) error { return nil }
	transact(t, c.Addr(), topic, "aborted", abort)
	transact(t, c.Addr(), topic, "committed", commit)
	transact(t, c.Addr(), topic, "open", leaveOpen)
	var got []string
	for _, r := range Consume(t, c.Addr(), topic) {
		got = append(got, string(r.Value))
	}
	if diff := gocmp.Diff([]string{"committed"}, got); diff != "" {
		t.Errorf("want first, got second:\n%s", diff)
	}
	all := Consume(t, c.Addr(), topic, "-X", "isolation.level=read_uncommitted")
	if len(all) != 3 {
		t.Errorf("%d records without regard to transactions, want 3", len(all))
	}
}

func TestDumpLogShowsTheBatch(t *testing.T) {
	c := Shared(t)
	topic := Topic(t)
	makeTopic(t, c.Addr(), topic, 1, 1)
	produce(t, c.Addr(), topic, []Record{{TimestampMs: 1_700_000_000_000, Value: []byte("seen in the log")}})
	dump := c.DumpLog(topic, 0)
	for _, want := range []string{"baseOffset: 0", "isTransactional: false", "1700000000000", "seen in the log"} {
		if !strings.Contains(dump, want) {
			t.Errorf("no %q in:\n%s", want, dump)
		}
	}
	if _, err := c.DumpLogOf(0, "no-such-topic", 0); err == nil {
		t.Error("the dump of no topic is not an error")
	}
}

func TestOneBrokerKeepsItsDataOverKillAndStop(t *testing.T) {
	c := startTimed(t, "one broker", func(t testing.TB) *Cluster { return Real(t, Options{}) })
	topic := Topic(t)
	makeTopic(t, c.Addr(), topic, 1, 1)
	sent := sample(0)
	produce(t, c.Addr(), topic, sent)

	f := func(what string, end func(int) error) {
		t.Helper()
		pid, begin := c.PID(0), time.Now()
		check(t, end(0))
		if got := c.PID(0); got != 0 {
			t.Errorf("after %s its process id is %d", what, got)
		}
		if err := end(0); err == nil {
			t.Errorf("a second %s is not an error", what)
		}
		ended := time.Now()
		check(t, c.Start(0))
		t.Logf("%s took %v, the start after it %v", what, ended.Sub(begin), time.Since(ended))
		if got := c.PID(0); got == 0 || got == pid {
			t.Errorf("after the start its process id is %d, was %d", got, pid)
		}
		checkSame(t, sent, fetch(t, c.Addr(), topic, 0))
	}
	f("kill", c.Kill)
	f("stop", c.Stop)
	checkSame(t, sent, Consume(t, c.Addr(), topic))
	if err := c.Start(0); err == nil {
		t.Error("the start of a running broker is not an error")
	}
	checkPause(t, c)
}

// checkPause asks a paused broker, which must not answer, and asks it again when it is resumed.
func checkPause(t *testing.T, c *Cluster) {
	t.Helper()
	check(t, c.Pause(0))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	client := newClient(t, c.Addr())
	if _, err := client.ApiVersions(ctx, &kafka.ApiVersionsRequest{}); err == nil {
		t.Error("a paused broker answers")
	}
	check(t, c.Resume(0))
	if _, err := client.ApiVersions(t.Context(), &kafka.ApiVersionsRequest{}); err != nil {
		t.Errorf("a resumed broker: %v", err)
	}
}

func TestThreeBrokersSurviveOneKill(t *testing.T) {
	c := startTimed(t, "three brokers", func(t testing.TB) *Cluster { return Real(t, Options{Brokers: 3}) })
	for _, n := range c.nodes {
		known, err := knownTo(t.Context(), n)
		check(t, err)
		slices.Sort(known)
		if !slices.Equal(known, []int{0, 1, 2}) {
			t.Errorf("broker %d knows %v", n.id, known)
		}
	}
	topic := Topic(t)
	makeTopic(t, c.Addr(), topic, 1, 3)
	checkMinInSync(t, c, topic)
	before, after := sample(0)[:1], sample(0)[1:]
	produce(t, c.Addr(), topic, before)

	leader, err := c.leader(topic, 0)
	check(t, err)
	check(t, c.Kill(leader))
	killed := time.Now()
	survivor := c.Addrs()[(leader+1)%3]
	produce(t, survivor, topic, after)
	t.Logf("the first produce after the leader's kill succeeded after %v", time.Since(killed))
	checkSame(t, sample(0), Consume(t, survivor, topic))
	if dump := c.DumpLog(topic, 0); !strings.Contains(dump, "baseOffset: 1") {
		t.Errorf("the new leader's log lacks the second batch:\n%s", dump)
	}
	checkRestartOfAll(t, c, topic)
}

// checkRestartOfAll kills the brokers that still run and starts all three again.
func checkRestartOfAll(t *testing.T, c *Cluster, topic string) {
	t.Helper()
	for i := range c.Addrs() {
		if c.PID(i) != 0 {
			check(t, c.Kill(i))
		}
	}
	begin := time.Now()
	check(t, c.Start(0, 1, 2))
	t.Logf("all three killed, they were back in %v", time.Since(begin))
	checkSame(t, sample(0), Consume(t, c.Addr(), topic))
}

func checkMinInSync(t *testing.T, c *Cluster, topic string) {
	t.Helper()
	res, err := newClient(t, c.Addr()).DescribeConfigs(t.Context(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic,
			ResourceName: topic,
			ConfigNames:  []string{"min.insync.replicas", "unclean.leader.election.enable"},
		}},
	})
	check(t, err)
	got := map[string]string{}
	for _, e := range res.Resources[0].ConfigEntries {
		got[e.ConfigName] = e.ConfigValue
	}
	want := map[string]string{"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("topic configuration, want first, got second:\n%s", diff)
	}
}

func TestFailedStartTellsWhy(t *testing.T) {
	f := func(want string, opt Options) {
		t.Helper()
		c, err := Start(t.Context(), t.TempDir(), opt)
		if err == nil {
			t.Fatal(errors.Join(errors.New("it started"), c.Close()))
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
	f("1 or 3", Options{Brokers: 2})
	f("no.such.Class", Options{Properties: map[string]string{"metric.reporters": "no.such.Class"}})
	f("deadline exceeded", Options{StartTimeout: time.Millisecond})
}

func TestMissingPrograms(t *testing.T) {
	f := func(want string, find func(context.Context) error) {
		t.Helper()
		var missing *MissingError
		if err := find(t.Context()); !errors.As(err, &missing) || missing.Program != want {
			t.Errorf("error %v, want a missing %s", err, want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	f("Java", func(ctx context.Context) error { _, err := findJava(ctx); return err })
	t.Setenv("SEVWATCH_KAFKA_DIR", t.TempDir())
	f("Maven", func(ctx context.Context) error { _, err := findJars(ctx); return err })
}

func TestLockFileExcludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := lockFile(ctx, path); err == nil {
		t.Error("two hold the lock")
	}
	unlock()
	unlock, err = lockFile(t.Context(), path)
	check(t, err)
	unlock()
}

func TestTopicNames(t *testing.T) {
	t.Run("a/b c_ü."+strings.Repeat("long", 60), func(t *testing.T) {
		a, b := Topic(t), Topic(t)
		if a == b {
			t.Errorf("two topics are named %s", a)
		}
		if len(a) > 249 || notTopicName.MatchString(strings.ReplaceAll(a, "-", "")) {
			t.Errorf("%s is no topic name", a)
		}
	})
}

// startTimed tells how long a start took.
func startTimed(t *testing.T, what string, start func(testing.TB) *Cluster) *Cluster {
	t.Helper()
	begin := time.Now()
	c := start(t)
	t.Logf("%s started in %v", what, time.Since(begin))
	return c
}

// sample is two records that are hard to carry: every byte there is, nulls, empties, line ends, a header twice.
func sample(partition int) []Record {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return []Record{
		{
			Partition: partition, Offset: 0, TimestampMs: 1_700_000_000_123,
			Key: every, Value: slices.Concat(every, []byte("\",\\\r\n"), every),
			Headers: []kafka.Header{{Key: "h", Value: every}, {Key: "h", Value: []byte("a=b,c")}, {Key: "null"}},
		},
		{Partition: partition, Offset: 1, TimestampMs: 1_700_000_000_000, Value: []byte{}},
	}
}

func checkSame(t *testing.T, want, got []Record) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("records, want first, got second:\n%s", diff)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newClient makes a client with a transport of its own: the default one remembers brokers of earlier tests.
func newClient(t *testing.T, addr string) *kafka.Client {
	transport := &kafka.Transport{MetadataTTL: 100 * time.Millisecond}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(addr), Timeout: 5 * time.Second, Transport: transport}
}

func makeTopic(t *testing.T, addr, topic string, partitions, replicas int) {
	t.Helper()
	res, err := newClient(t, addr).CreateTopics(t.Context(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{
			Topic: topic, NumPartitions: partitions, ReplicationFactor: replicas,
			ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "-1"}},
		}},
	})
	check(t, err)
	check(t, res.Errors[topic])
}

// produce writes the records of each partition as one batch and asks again while the cluster has no leader for it.
func produce(t *testing.T, addr, topic string, records []Record) {
	t.Helper()
	client := newClient(t, addr)
	for group := range slices.Chunk(records, len(sample(0))) {
		every := backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), t.Context())
		err := backoff.Retry(func() error {
			res, err := client.Produce(t.Context(), &kafka.ProduceRequest{
				Topic: topic, Partition: group[0].Partition, RequiredAcks: kafka.RequireAll,
				Records: kafka.NewRecordReader(toKafka(group)...),
			})
			if err != nil {
				return err
			}
			return res.Error
		}, backoff.WithMaxRetries(every, 300))
		check(t, err)
	}
}

func toKafka(records []Record) []kafka.Record {
	out := make([]kafka.Record, len(records))
	for i, r := range records {
		out[i] = kafka.Record{
			Time: time.UnixMilli(r.TimestampMs), Headers: r.Headers,
			Key: kafka.NewBytes(r.Key), Value: kafka.NewBytes(r.Value),
		}
	}
	return out
}

// fetch reads a partition from its beginning to its high watermark with kafka-go.
func fetch(t *testing.T, addr, topic string, partition int) []Record {
	t.Helper()
	client := newClient(t, addr)
	var records []Record
	for end := int64(1); int64(len(records)) < end; {
		res, err := client.Fetch(t.Context(), &kafka.FetchRequest{
			Topic: topic, Partition: partition, Offset: int64(len(records)),
			MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second,
		})
		check(t, err)
		check(t, res.Error)
		end = res.HighWatermark
		for {
			r, err := res.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			check(t, err)
			records = append(records, fromKafka(t, partition, r))
		}
	}
	return records
}

func fromKafka(t *testing.T, partition int, r *kafka.Record) Record {
	t.Helper()
	key, err := kafka.ReadAll(r.Key)
	check(t, err)
	value, err := kafka.ReadAll(r.Value)
	check(t, err)
	out := Record{
		Partition: partition, Offset: r.Offset, TimestampMs: r.Time.UnixMilli(),
		Key: bytes.Clone(key), Value: bytes.Clone(value),
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kafka.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	return out
}

// transact writes one record in a transaction of its own and ends it with end.
func transact(t *testing.T, addr, topic, value string, end func(*kgo.Client) error) {
	t.Helper()
	id := kgo.TransactionalID(topic + "-" + value)
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), id, kgo.DefaultProduceTopic(topic))
	check(t, err)
	defer client.Close()
	check(t, client.BeginTransaction())
	check(t, client.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr())
	check(t, end(client))
}
