package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/bench/minutes"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
)

// worker is one `sevwatch run`, a process of its own, watched from outside.
type worker struct {
	dir, binary, broker string
	name                string // of the pipeline, and behind the names of its topics
	topic               string // of the events
	partitions, tasks   int
	more                string // of its configuration
	source              string // more of the source's

	listen string
	config string
	cmd    *exec.Cmd
	start  time.Time
	atWork atomic.Int64 // when it had its tasks, unix ns
	logs   *os.File
}

// configure writes the configuration and makes the topics. What is not written is the default: the runbook's rules, exactly once.
func (w *worker) configure(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.listen = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	text := w.more + fmt.Sprintf("pipeline: %s\nbrokers: [%q]\nsources: [{topic: %s, partitions: %d, %s}]\ntasks: {aggregate: %d}\nhttp: {listen: %q}\ntopics:\n  replication: 1\n  partitions: 1\n",
		w.name, w.broker, w.topic, w.partitions, w.source, w.tasks, w.listen)
	for _, topic := range []string{"panes", "marks", "state", "alerts", "recovery", "rejected", "late", "control", "health"} {
		text += fmt.Sprintf("  %s: %s.%s\n", topic, w.name, topic)
	}
	w.config = filepath.Join(w.dir, w.name+".yaml")
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, w.binary, "topics", "--create", "--config", w.config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot make the topics: %w\n%s", err, out)
	}
	return nil
}

// run starts the worker.
func (w *worker) run(ctx context.Context) error {
	var err error
	if w.logs, err = os.Create(filepath.Join(w.dir, w.name+".log")); err != nil {
		return err
	}
	w.cmd = exec.CommandContext(ctx, w.binary, "run", "--config", w.config)
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		return err
	}
	w.start = time.Now()
	w.atWork.Store(0)
	if err := w.cmd.Start(); err != nil {
		return err
	}
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if w.atWork.Load() == 0 && strings.Contains(lines.Text(), "tasks assigned") && strings.Contains(lines.Text(), ".aggregate") {
				w.atWork.Store(time.Now().UnixNano())
			}
			fmt.Fprintln(w.logs, lines.Text())
		}
	}()
	return nil
}

// stop asks the worker to end, and waits.
func (w *worker) stop() error {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := w.cmd.Wait()
	_ = w.logs.Close()
	return err
}

// judged waits until the judge has committed that it has closed all panes up to edge.
func (w *worker) judged(ctx context.Context, edge int64) error {
	var walker fetch.Walker
	return follow(ctx, w.broker, w.name+".state", 0, func(c *fetch.Chunk) (bool, error) {
		for walker.Reset(c, walker.Position()); walker.Next(); {
			if r := walker.Record(); string(r.Key) == "edge" {
				var state struct{ Edge int64 }
				if err := json.Unmarshal(r.Value, &state); err != nil {
					return false, err
				}
				if state.Edge >= edge {
					return true, nil
				}
			}
		}
		return false, walker.Err()
	})
}

// usage is what a process has used so far.
type usage struct {
	CPU    float64 // seconds
	PeakMB float64
}

// ticksPerSecond is Linux's USER_HZ, which is the same on all machines that we know.
const ticksPerSecond = 100

func usageOf(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return u, err
		}
		u.CPU += ticks / ticksPerSecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	if m := peak.FindSubmatch(status); m != nil {
		kb, _ := strconv.ParseFloat(string(m[1]), 64)
		u.PeakMB = kb / 1024
	}
	return u, nil
}

var (
	peak      = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
	allocated = regexp.MustCompile(`(?m)^go_memstats_alloc_bytes_total (\S+)`)
)

// allocated is how many bytes the worker has allocated so far.
func (w *worker) allocated(ctx context.Context) (float64, error) {
	body, err := w.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	m := allocated.FindSubmatch(body)
	if m == nil {
		return 0, fmt.Errorf("http://%s/metrics does not tell go_memstats_alloc_bytes_total", w.listen)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

func (w *worker) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.listen+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// counts are what the first stage has written, and how many events it says to have counted.
func (w *worker) counts(ctx context.Context, client *kafka.Client) (*minutes.Counts, int64, error) {
	ends, err := endsOf(ctx, client, w.name+".panes", 1)
	if err != nil {
		return nil, 0, err
	}
	counts := minutes.NewCounts()
	totals := map[string]int64{}
	var walker fetch.Walker
	err = follow(ctx, w.broker, w.name+".panes", 0, func(c *fetch.Chunk) (bool, error) {
		for walker.Reset(c, walker.Position()); walker.Next(); {
			r := walker.Record()
			headers, err := r.Headers()
			if err != nil {
				return false, err
			}
			switch {
			case r.Control:
			case len(headers) == 1 && string(headers[0].Value) == wire.TypeDelta:
				d, err := wire.DecodeDelta(string(r.Key), r.Value)
				if err != nil {
					return false, err
				}
				counts.Delta(d)
			default:
				p, err := wire.DecodeProgress(r.Value)
				if err != nil {
					return false, err
				}
				for _, x := range p.Partitions {
					totals[fmt.Sprint(x.Source)] = x.Counted
				}
			}
		}
		return walker.Position() >= ends[0], walker.Err()
	})
	var sum int64
	for _, n := range totals {
		sum += n
	}
	return counts, sum, err
}
