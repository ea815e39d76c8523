package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options say what brokers to start.
type Options struct {
	// Brokers is 1 or 3; zero means 1. Each is a broker and a controller at once.
	Brokers int

	// Properties are added to the server.properties of every broker and win over our own.
	Properties map[string]string

	// HeapMB is the largest heap of a broker; zero means 512.
	HeapMB int

	// JavaArgs follow our own flags to the Java machine and win over them. Ours are for a quick start and cost
	// throughput later: a benchmark passes "-XX:TieredStopAtLevel=4" to have the full compiler back.
	JavaArgs []string

	// StartTimeout bounds Start and (*Cluster).Start each; zero means 90 seconds.
	StartTimeout time.Duration
}

// Cluster is one or three real brokers on loopback. Broker i has node id i. Its methods may be called from several
// goroutines.
type Cluster struct {
	opt   Options
	java  java
	nodes []*node
	tb    testing.TB // nil if made by Start
}

// Start starts the brokers with their data under dir, which must be new or empty, and returns when every one of them
// answers and knows all the others. Then ctx has no further meaning: the brokers run until Close, or until this
// process ends (on Linux they are killed with it; elsewhere Close is the only way).
//
// The error is a MissingError if there is no Java, or if Kafka must be fetched and there is no Maven.
func Start(ctx context.Context, dir string, opt Options) (*Cluster, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	java, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot start Kafka: %w", err)
	}
	nodes, err := newNodes(dir, opt.Brokers)
	if err != nil {
		return nil, err
	}
	c := &Cluster{opt: opt, java: java, nodes: nodes}
	ctx, cancel := context.WithTimeout(ctx, opt.StartTimeout)
	defer cancel()
	if err := c.format(ctx); err != nil {
		return nil, err
	}
	if err := c.launch(ctx, c.nodes); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Brokers == 0 {
		o.Brokers = 1
	}
	if o.HeapMB == 0 {
		o.HeapMB = 512
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 90 * time.Second
	}
	if o.Brokers != 1 && o.Brokers != 3 {
		return o, fmt.Errorf("cannot start %d Kafka brokers: it must be 1 or 3", o.Brokers)
	}
	return o, nil
}

// format writes each node's server.properties and has Kafka prepare its data directory, all nodes at once.
func (c *Cluster) format(ctx context.Context) error {
	id := newClusterID()
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		if err := c.writeProperties(n); err != nil {
			errs[i] = err
			break
		}
		wg.Go(func() {
			_, errs[i] = c.java.run(ctx, "kafka.tools.StorageTool", "format", "-t", id, "-c", n.properties())
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot format Kafka's data directory: %w", err)
	}
	return nil
}

// launch starts the brokers of nodes and waits until they are ready.
func (c *Cluster) launch(ctx context.Context, nodes []*node) error {
	for _, n := range nodes {
		if err := n.start(c.java.server(c.opt, n)); err != nil {
			return err
		}
	}
	return c.waitReady(ctx, nodes)
}

// Addr returns the address of the first broker.
func (c *Cluster) Addr() string { return c.nodes[0].addr }

// Addrs returns the addresses of all brokers, in order of their numbers.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addrs[i] = n.addr
	}
	return addrs
}

// LogDir returns the directory that holds the partitions of broker i.
func (c *Cluster) LogDir(i int) string { return c.nodes[i].data() }

// PID returns the process id of broker i, or 0 if it does not run.
func (c *Cluster) PID(i int) int { return c.nodes[i].pid() }

// Kill ends broker i as a crash would (SIGKILL) and returns when its process is gone.
func (c *Cluster) Kill(i int) error { return c.nodes[i].kill() }

// Stop asks broker i to end (SIGTERM) and returns when its process is gone. A broker that does not obey in 30 seconds
// is killed, and that is an error; the last broker of three cannot obey, for it has no quorum to tell.
func (c *Cluster) Stop(i int) error { return c.nodes[i].stop(30 * time.Second) }

// Pause freezes broker i (SIGSTOP): it keeps its connections and answers nothing.
func (c *Cluster) Pause(i int) error { return c.nodes[i].pause(syscall.SIGSTOP, true) }

// Resume lets broker i go on after Pause (SIGCONT).
func (c *Cluster) Resume(i int) error { return c.nodes[i].pause(syscall.SIGCONT, false) }

// Start starts brokers again after Kill or Stop, on their old addresses and data, and returns when they are ready. If
// two of three were down, one alone cannot become ready without the other: after killing all, start all in one call.
//
// After a Kill the controller lets a broker register only when its old session is over (3 seconds).
func (c *Cluster) Start(brokers ...int) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.opt.StartTimeout)
	defer cancel()
	nodes := make([]*node, len(brokers))
	for i, b := range brokers {
		nodes[i] = c.nodes[b]
	}
	return c.launch(ctx, nodes)
}

// Close kills all brokers and waits until they are gone. The data stays; for an orderly end call Stop first.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.nodes {
		if err := n.kill(); !errors.Is(err, errNotRunning) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// writeProperties makes the node's directory and its server.properties.
func (c *Cluster) writeProperties(n *node) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of broker %d: %w", n.id, err)
	}
	if err := os.WriteFile(n.properties(), serverProperties(n, c.nodes, c.opt.Properties), 0o644); err != nil {
		return fmt.Errorf("cannot write the properties of broker %d: %w", n.id, err)
	}
	return nil
}
