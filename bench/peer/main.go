// Peer does the work of the comparison with other engines by `sevwatch run`: it makes the topics, starts the worker, adds up the deltas of the
// panes topic by minute, and writes one line a closed minute of a service and endpoint. So a harness that knows nothing of us measures us
// from outside: FIRST is printed when the worker has its tasks.
//
//	peer SEVWATCH BROKER TOPIC OUT_TOPIC
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/bench/minutes"
	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: peer SEVWATCH BROKER TOPIC OUT_TOPIC")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &peer{
		broker: os.Args[2], out: os.Args[4], name: fmt.Sprintf("peer-%d", time.Now().UnixNano()), counts: minutes.NewCounts(),
		watermarks: map[detector.Source]int64{},
	}
	err := p.run(ctx, os.Args[1], os.Args[3])
	stopped := ctx.Err() != nil
	stop()
	if err != nil && !stopped {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// peer is one run.
type peer struct {
	broker, out, name string
	walker            fetch.Walker
	deltas            wire.DeltaDecoder
	counts            *minutes.Counts
	set               detector.PartitionSet
	watermarks        map[detector.Source]int64
	closed            int64 // minutes that begin before are written
	client            *kafka.Client
}

// line is a result, as the comparison asks for it.
type line struct {
	Service  string  `json:"service"`
	Endpoint string  `json:"endpoint"`
	Start    int64   `json:"window_start"`
	Count    int64   `json:"count"`
	Errors   int64   `json:"errors"`
	P50      float64 `json:"p50"`
	P95      float64 `json:"p95"`
	P99      float64 `json:"p99"`
}

func (p *peer) run(ctx context.Context, binary, topic string) (err error) {
	dir, err := os.MkdirTemp("", "sevwatch-peer-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// The comparison keys by service and endpoint, and its grace is 30 s.
	text := fmt.Sprintf("pipeline: %s\nbrokers: [%q]\nsources: [{topic: %s, drop_labels: [step, region, version]}]\nlateness: 30s\ntasks: {aggregate: 2}\nhttp: {listen: none}\ntopics:\n  replication: 1\n",
		p.name, p.broker, topic)
	for _, own := range []string{"panes", "marks", "state", "alerts", "recovery", "rejected", "late", "control", "health"} {
		text += fmt.Sprintf("  %s: %s.%s\n", own, p.name, own)
	}
	config := filepath.Join(dir, "sevwatch.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, binary, "topics", "--create", "--config", config).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make the topics: %w\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last string // of what the worker said
	worker := exec.CommandContext(ctx, binary, "run", "--config", config)
	worker.Cancel = func() error { return worker.Process.Signal(syscall.SIGTERM) }
	stderr, err := worker.StderrPipe()
	if err != nil {
		return err
	}
	if err := worker.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		last = first(stderr)
		cancel()
	}()
	defer func() {
		cancel()
		<-ended
		err = fmt.Errorf("%w; the worker has ended (%w) and said last: %s", err, worker.Wait(), last)
	}()
	p.client = &kafka.Client{Addr: kafka.TCP(p.broker)}
	return p.follow(ctx)
}

// first says when the worker has its tasks; it returns what it said last.
func first(logs io.Reader) (text string) {
	said := false
	for lines := bufio.NewScanner(logs); lines.Scan(); {
		if text = lines.Text(); !said && strings.Contains(text, "tasks assigned") && strings.Contains(text, ".aggregate") {
			said = true
			fmt.Fprintln(os.Stdout, "FIRST", time.Now().UnixMilli())
		}
	}
	return text
}

// follow reads the panes topic until ctx is done.
func (p *peer) follow(ctx context.Context) (err error) {
	f := fetch.New(fetch.Config{
		Dialer: &kafka.Dialer{Timeout: 10 * time.Second}, Brokers: []string{p.broker}, Isolation: kafka.ReadCommitted,
	}, []fetch.Start{{Topic: p.name + ".panes"}})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { ended <- f.Run(ctx) }()
	defer func() {
		cancel()
		if ran := <-ended; !errors.Is(ran, context.Canceled) {
			err = errors.Join(err, ran)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case res := <-f.Responses():
			for i := range res.Chunks {
				if err := p.chunk(&res.Chunks[i]); err != nil {
					return err
				}
			}
			res.Release()
			if err := p.write(ctx); err != nil {
				return err
			}
		}
	}
}

func (p *peer) chunk(c *fetch.Chunk) error {
	if c.Err != nil {
		return c.Err
	}
	for p.walker.Reset(c, p.walker.Position()); p.walker.Next(); {
		r := p.walker.Record()
		headers, err := r.Headers()
		switch {
		case err != nil:
			return err
		case r.Control:
		case len(headers) == 1 && string(headers[0].Value) == wire.TypeDelta:
			d, err := p.deltas.Decode(string(r.Key), r.Value)
			if err != nil {
				return err
			}
			p.counts.Delta(d)
		default:
			progress, err := wire.DecodeProgress(r.Value)
			if err != nil {
				return err
			}
			p.set = progress.Set
			for _, x := range progress.Partitions {
				p.watermarks[x.Source] = x.Watermark
			}
		}
	}
	return p.walker.Err()
}

// write writes the minutes that all partitions have passed.
func (p *peer) write(ctx context.Context) error {
	partitions, low := 0, int64(1<<63-1)
	for _, n := range p.set.Topics {
		partitions += n
	}
	for _, w := range p.watermarks {
		low = min(low, w)
	}
	if len(p.watermarks) < partitions || partitions == 0 || low < 0 || low-low%minutes.Minute <= p.closed {
		return nil
	}
	p.closed = low - low%minutes.Minute
	var done []minutes.Window
	for w := range p.counts.Windows {
		if w.Start < p.closed {
			done = append(done, w)
		}
	}
	slices.SortFunc(done, func(x, y minutes.Window) int {
		return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.Endpoint, y.Endpoint))
	})
	var records []kafka.Record
	for _, w := range done {
		c := p.counts.Windows[w]
		delete(p.counts.Windows, w)
		value, err := json.Marshal(line{w.Service, w.Endpoint, w.Start, c.Count, c.Failed, c.Quantile(0.5), c.Quantile(0.95), c.Quantile(0.99)})
		if err != nil {
			return err
		}
		records = append(records, kafka.Record{Value: kafka.NewBytes(value)})
	}
	if len(records) == 0 {
		return nil
	}
	res, err := p.client.Produce(ctx, &kafka.ProduceRequest{Topic: p.out, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
	if err == nil {
		err = res.Error
	}
	return err
}
