// Throughput measures the engine from outside: it starts a real Apache Kafka, writes the events of the comparison with other engines, lets
// `sevwatch run` judge them by the runbook's rules, exactly once, until the last event is judged, and checks what was counted. In the same
// run it measures how fast the same topic can be read at all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"

	"sevwatch/pipeline/kafkatest"
)

type options struct {
	events, runs, tasks, warm int
	variants                  string
	results, profile          string
	delayed                   time.Duration
	rate                      float64
}

func main() {
	var o options
	flag.IntVar(&o.events, "events", 3_000_000, "events of every variant")
	flag.IntVar(&o.runs, "runs", 3, "runs of every variant; the best counts")
	flag.IntVar(&o.tasks, "tasks", 2, "tasks.aggregate of the configuration")
	flag.IntVar(&o.warm, "warm", 8, "small runs before, to warm the broker up")
	flag.StringVar(&o.variants, "variants", "plain", "plain, all, none, or names: "+names())
	flag.DurationVar(&o.delayed, "delay", 0, "how long to write live at half the steady rate of the first variant, to measure how soon incidents are out")
	flag.Float64Var(&o.rate, "rate", 0, "events a second of -delay instead")
	flag.StringVar(&o.results, "results", "", "directory to write results to, by commit")
	flag.StringVar(&o.profile, "profile", "", "file for a CPU profile of the first run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// variant is one shape of the same work.
type variant struct {
	name               string
	partitions, series int
	codec              kafka.Compression
	source             string // more of the source's configuration
}

var variants = []variant{
	{"plain", 4, 1000, 0, ""},
	{"dropped", 4, 1000, 0, "drop_labels: [step, region, version]"},
	{"lz4", 4, 1000, compress.Lz4, ""},
	{"zstd", 4, 1000, compress.Zstd, ""},
	{"partitions64", 64, 1000, 0, ""},
	{"series10", 4, 10, 0, ""},
	{"series100000", 4, 100_000, 0, ""},
}

func names() (list string) {
	for _, v := range variants {
		list += v.name + " "
	}
	return list
}

func run(ctx context.Context, o *options) (err error) {
	chosen, err := choose(o.variants)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sevwatch-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "sevwatch")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/sevwatch").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build sevwatch: %w\n%s", err, out)
	}
	cluster, err := kafkatest.Start(ctx, filepath.Join(dir, "kafka"), kafkatest.Options{
		HeapMB: 1024, JavaArgs: []string{"-XX:TieredStopAtLevel=4"}, Properties: map[string]string{
			"log.cleaner.enable": "false", "log.retention.check.interval.ms": "1000", "log.initial.task.delay.ms": "1000",
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	b := &bench{options: o, dir: dir, binary: binary, cluster: cluster, client: &kafka.Client{Addr: kafka.TCP(cluster.Addr())}}
	if err := b.warm(ctx); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	for _, v := range chosen {
		if err := b.variant(ctx, v); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	if dir := os.Getenv("PEERS"); dir != "" {
		if err := b.compare(ctx, dir); err != nil {
			return fmt.Errorf("the peers: %w", err)
		}
	}
	var late error // what was measured before is told all the same
	if b.delayed > 0 {
		if err := b.delays(ctx); err != nil {
			late = fmt.Errorf("delay: %w", err)
		}
	}
	return errors.Join(late, b.finish(ctx))
}
