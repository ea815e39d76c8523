package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/bench/minutes"
	"sevwatch/pipeline/kafkatest"
)

// bench is one run of the benchmark.
type bench struct {
	*options
	dir, binary string
	cluster     *kafkatest.Cluster
	client      *kafka.Client
	measured    []result
	waited      []delayed
	compared    []compared
	started     int
}

// result is what was measured of one variant: of several runs the best of each figure that is a rate.
type result struct {
	Variant    string             `json:"variant"`
	Events     int64              `json:"events"`
	Partitions int                `json:"partitions"`
	Tasks      int                `json:"tasks"`
	ReadBatch  float64            `json:"read_batch_per_s"` // kafka-go's fastest
	OwnFetch   float64            `json:"own_fetch_per_s"`
	Steady     float64            `json:"steady_per_s"` // from the tasks' assignment to the last commit
	Whole      float64            `json:"whole_per_s"`  // from the start of the process
	CPU        float64            `json:"cpu_s"`        // of the worker, of the best run
	BrokerCPU  float64            `json:"broker_cpu_s"` // while the worker ran
	PeakMB     float64            `json:"peak_mb"`      // of the worker
	Allocated  float64            `json:"bytes_per_event"`
	Worst      float64            `json:"percentiles_off"`  // by what share the worst of all windows' p50, p95 and p99 is off
	Raw        float64            `json:"raw"`              // steady / read_batch
	ReadCPU    float64            `json:"read_batch_cpu_s"` // of reader and broker, at least
	RunCPU     float64            `json:"run_cpu_s"`        // of worker and broker, at least
	Commits    map[string]commits `json:"commits"`          // of the best run, by stage
	RawCPU     float64            `json:"raw_cpu"`          // read_batch_cpu_s / run_cpu_s: what raw is on cores that are all ours and all busy
}

func choose(list string) (chosen []variant, err error) {
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		found := name == "none"
		for _, v := range variants {
			if v.name == name || name == "all" {
				chosen, found = append(chosen, v), true
			}
		}
		if !found {
			return nil, fmt.Errorf("variant %q is unknown, expected some of: %s", name, names())
		}
	}
	return chosen, nil
}

// variant writes the events once and reads them several times in each of the ways.
func (b *bench) variant(ctx context.Context, v variant) error {
	w := &workload{events: b.events, partitions: v.partitions, series: v.series, codec: v.codec}
	var truth *minutes.Truth
	r := result{Variant: v.name, Events: int64(b.events), Partitions: v.partitions, Tasks: b.tasks}
	var ends []int64
	for i := range b.runs {
		b.started++
		worker := &worker{
			dir: b.dir, binary: b.binary, broker: b.cluster.Addr(), name: fmt.Sprintf("%s-%d", v.name, i), topic: "events." + v.name,
			partitions: v.partitions, tasks: b.tasks, source: v.source,
		}
		if err := worker.configure(ctx); err != nil {
			return err
		}
		if truth == nil {
			start := time.Now()
			var err error
			if truth, err = w.write(ctx, b.client, worker.topic); err != nil {
				return err
			}
			fmt.Printf("%s: %d events written in %.1f s\n", v.name, truth.Events, time.Since(start).Seconds())
			if ends, err = endsOf(ctx, b.client, worker.topic, v.partitions); err != nil {
				return err
			}
		}
		for _, size := range askedAtOnce {
			if err := b.floor(ctx, worker, ends, size, &r); err != nil {
				return err
			}
		}
		own, err := readRaw(ctx, worker.broker, worker.topic, ends)
		if err != nil {
			return err
		}
		r.OwnFetch = max(r.OwnFetch, own)
		if err := b.measure(ctx, worker, w, truth, &r); err != nil {
			return err
		}
	}
	r.Raw, r.RawCPU = r.Steady/r.ReadBatch, r.ReadCPU/r.RunCPU
	b.measured = append(b.measured, r)
	return nil
}

// floor reads the events with kafka-go, asking for so much at once.
func (b *bench) floor(ctx context.Context, w *worker, ends []int64, size int, r *result) error {
	before, err := b.cpu()
	if err != nil {
		return err
	}
	rate, err := readBatches(ctx, w.broker, w.topic, ends, size)
	if err != nil {
		return err
	}
	after, err := b.cpu()
	if err != nil {
		return err
	}
	r.ReadBatch = max(r.ReadBatch, rate)
	if r.ReadCPU == 0 || after-before < r.ReadCPU {
		r.ReadCPU = after - before
	}
	return nil
}

// warm runs a small variant again and again, so that the broker's compiler has seen everything before anything is measured: for the first
// minute a new broker uses several times the processor that it uses later.
func (b *bench) warm(ctx context.Context) error {
	o := *b.options
	o.events, o.runs, o.profile = min(200_000, o.events), o.warm, ""
	w := *b
	w.options = &o
	return w.variant(ctx, variant{"warm", 4, 1000, 0, ""})
}

// measure runs a worker until it has judged the last event, and checks what it counted.
func (b *bench) measure(ctx context.Context, w *worker, load *workload, truth *minutes.Truth, r *result) error {
	before, err := usageOf(b.cluster.PID(0))
	if err != nil {
		return err
	}
	if err := w.run(ctx); err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = w.cmd.Process.Kill()
			_ = w.cmd.Wait()
		}
	}()
	profiled := make(chan error, 1)
	if b.profile != "" && b.started == 1 {
		go func() { profiled <- w.saveProfile(ctx, b.profile, 12) }()
	} else {
		profiled <- nil
	}
	deadline, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := w.judged(deadline, load.last()-load.last()%pane+pane); err != nil {
		return fmt.Errorf("waiting for the last event to be judged: %w", err)
	}
	now, err := b.spent(ctx, w)
	if err != nil {
		return err
	}
	bytes, err := w.allocated(ctx)
	if err != nil {
		return err
	}
	if err := <-profiled; err != nil {
		return err
	}
	stopped = true
	if err := w.stop(); err != nil {
		return fmt.Errorf("the worker: %w", err)
	}
	counts, counted, err := w.counts(ctx, b.client)
	if err != nil {
		return err
	}
	if counted != truth.Events {
		return fmt.Errorf("%d events were counted, expected %d", counted, truth.Events)
	}
	if r.Worst, err = truth.Compare(counts); err != nil {
		return err
	}
	broker := now.broker - before.CPU
	if sum := now.worker + broker; r.RunCPU == 0 || sum < r.RunCPU {
		r.RunCPU = sum
	}
	events := float64(b.events)
	seconds := now.at.Sub(time.Unix(0, w.atWork.Load())).Seconds()
	steady := events / seconds
	committed := now.since(spent{}, seconds, w.tasks)
	fmt.Printf("%s: %.2f M/s steady, cpu %.2f s, broker %.2f s, peak %.0f MB, %.1f B/event%s\n",
		w.name, steady/1e6, now.worker, broker, now.peakMB, bytes/events, told(committed))
	if steady > r.Steady {
		r.Steady, r.Whole, r.Commits = steady, events/now.at.Sub(w.start).Seconds(), committed
		r.CPU, r.BrokerCPU, r.PeakMB, r.Allocated = now.worker, broker, now.peakMB, bytes/events
	}
	return nil
}

// cpu is what this process and the broker have used so far, in seconds.
func (b *bench) cpu() (float64, error) {
	mine, err := usageOf(os.Getpid())
	if err != nil {
		return 0, err
	}
	broker, err := usageOf(b.cluster.PID(0))
	return mine.CPU + broker.CPU, err
}

// pane is the default length of a pane, in ms.
const pane = 10_000

// saveProfile writes a CPU profile of the worker's next seconds.
func (w *worker) saveProfile(ctx context.Context, file string, seconds int) error {
	for w.atWork.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	data, err := w.get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// finish prints everything, and writes it where results are kept.
func (b *bench) finish(ctx context.Context) error {
	if len(b.measured) > 0 {
		fmt.Printf("\n%-13s %10s %10s %10s %10s %7s %7s %8s %8s %7s %6s %8s\n", "variant", "events", "ReadBatch", "own fetch", "steady/s",
			"cpu s", "broker", "peak MB", "B/event", "p off", "raw", "raw cpu")
		for _, r := range b.measured {
			fmt.Printf("%-13s %10d %10.0f %10.0f %10.0f %7.2f %7.2f %8.0f %8.1f %6.2f%% %6.2f %8.2f\n", r.Variant, r.Events, r.ReadBatch, r.OwnFetch, r.Steady,
				r.CPU, r.BrokerCPU, r.PeakMB, r.Allocated, 100*r.Worst, r.Raw, r.RawCPU)
		}
		fmt.Printf("\nraw=%.2f\n", b.measured[0].Raw)
		for _, r := range b.measured[1:] {
			fmt.Printf("raw of %s=%.2f\n", r.Variant, r.Raw)
		}
	}
	b.ratios()
	for _, d := range b.waited {
		fmt.Println(d)
	}
	if b.results == "" {
		return nil
	}
	commit, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return fmt.Errorf("cannot name the commit: %w", err)
	}
	name := strings.TrimSpace(string(commit))
	data, err := json.MarshalIndent(map[string]any{
		"commit": name, "go": runtime.Version(), "cpus": runtime.NumCPU(), "kafka": "on the same machine", "results": b.measured, "delay": b.waited, "peers": b.compared,
	}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.results, name+".json"), append(data, '\n'), 0o644)
}
