package kafkatest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// DumpLog returns what Kafka's own DumpLogSegments prints of a partition, records included: batch by batch, with
// producer id, sequence and control records. Of several brokers it reads the leader's files. A failure fails the test;
// on a cluster from Start, which has no test, it panics.
func (c *Cluster) DumpLog(topic string, partition int) string {
	dump, err := c.dumpLeader(topic, partition)
	if err == nil {
		return dump
	}
	if c.tb == nil {
		panic(err)
	}
	c.tb.Helper()
	c.tb.Fatal(err)
	return ""
}

// DumpLogOf is DumpLog from the files of broker i, which need not run.
func (c *Cluster) DumpLogOf(i int, topic string, partition int) (string, error) {
	const limit = time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	pattern := filepath.Join(c.LogDir(i), fmt.Sprintf("%s-%d", topic, partition), "*.log")
	segments, err := filepath.Glob(pattern) // sorted, and a segment is named by its first offset
	if err != nil {
		return "", fmt.Errorf("cannot dump %s: %w", pattern, err)
	}
	if len(segments) == 0 {
		return "", fmt.Errorf("cannot dump %s: no such files", pattern)
	}
	const class = "org.apache.kafka.tools.DumpLogSegments"
	dump, err := c.java.run(ctx, class, "--print-data-log", "--files", strings.Join(segments, ","))
	if err != nil {
		return "", fmt.Errorf("cannot dump %s: %w", pattern, err)
	}
	return dump, nil
}

func (c *Cluster) dumpLeader(topic string, partition int) (string, error) {
	if len(c.nodes) == 1 {
		return c.DumpLogOf(0, topic, partition)
	}
	leader, err := c.leader(topic, partition)
	if err != nil {
		return "", fmt.Errorf("cannot dump %s-%d: %w", topic, partition, err)
	}
	return c.DumpLogOf(leader, topic, partition)
}

// leader asks the first broker that runs.
func (c *Cluster) leader(topic string, partition int) (int, error) {
	for _, n := range c.nodes {
		if n.answers() {
			return leaderAt(n, topic, partition)
		}
	}
	return 0, fmt.Errorf("no broker runs that could name the leader")
}

func leaderAt(n *node, topic string, partition int) (int, error) {
	conn, err := dial(context.Background(), n)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	partitions, err := conn.ReadPartitions(topic)
	if err != nil {
		return 0, fmt.Errorf("cannot ask broker %d for the leader: %w", n.id, err)
	}
	for _, p := range partitions {
		if p.ID == partition && p.Leader.Host != "" { // kafka-go tells "no leader" as broker 0 without a host
			return p.Leader.ID, nil
		}
	}
	return 0, fmt.Errorf("partition %d has no leader", partition)
}
