package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/bench/minutes"
	"sevwatch/pipeline/fetch"
	"sevwatch/rules"
)

// live is events written as they happen, and a probe in each pane, for which a rule opens an incident at the end of its pane.
type live struct {
	name       string
	client     *kafka.Client
	worker     *worker
	partitions int
	rate       float64       // events a second
	step       time.Duration // of event time, from one event to the next
	pane       time.Duration
	idle       time.Duration
	begin      time.Time  // of event time, and of a pane; zero: when writing begins
	values     [][][]byte // by partition: events that are written again and again, each time of another time
	codec      kafka.Compression
	ready      [][][]byte // by partition: compressed batches, one after the other

	start  time.Time
	end    time.Time
	passed [][]time.Time // by partition and pane: when it was acknowledged what moves the watermark past the pane's end
}

// delayed is how long after the last partition's watermark had passed a pane's end its incident could be read.
type delayed struct {
	Name      string             `json:"name"`
	Rate      float64            `json:"events_per_s"`
	Panes     float64            `json:"panes_per_s"`
	Incidents int                `json:"incidents"`
	P50       float64            `json:"p50_ms"`
	P99       float64            `json:"p99_ms"`
	Max       float64            `json:"max_ms"`
	LateP50   float64            `json:"beyond_end_and_lateness_p50_ms"` // as the writer's own clock has it, its waiting for the next event included
	LateP99   float64            `json:"beyond_end_and_lateness_p99_ms"`
	CPU       float64            `json:"cpu_s_per_s"` // of the worker
	Commits   map[string]commits `json:"commits"`     // by stage
	BrokerCPU float64            `json:"broker_s_per_s"`
}

// commits is what a stage's transactions were, all its tasks together.
type commits struct {
	Rate  float64 `json:"per_s"`
	Mean  float64 `json:"mean_ms"`
	Share float64 `json:"share"` // of the time, of one task
}

// probeService is the service that probes are of.
const probeService = "bench-delay"

const (
	lateness = 10 * time.Second       // the default
	linger   = 10 * time.Millisecond  // that the writer gathers events for
	maxBatch = 900_000                // bytes of events, uncompressed: a broker takes 1 MiB by default
	faster   = 10.0                   // event time of the source that is not sparse
	settle   = 20 * time.Second       // panes that ended sooner after the start are not measured: the broker still compiles what it now does
	patience = 30 * time.Second       // until an incident is missed
	ring     = 20_000                 // events that are made beforehand
	sparse   = 200 * time.Millisecond // from event to event of the sparse source
)

// probeRule opens one incident for every probe when its pane, which is its window, has closed.
const probeRule = `
  - name: bench
    rules:
      - alert: BenchDelay
        signal: {count: 'resource{service="` + probeService + `"}'}
        by: [name]
        window: %s
        severities: [{severity: sev4, above: 0}]
        no_data_timeout: 1m
        alone: true
        labels: {team: bench}
        annotations: {summary: one a pane}
`

// delays measures at half the rate that was reached, or at -rate, and at a few events a second.
func (b *bench) delays(ctx context.Context) error {
	if b.delayed <= settle {
		return fmt.Errorf("-delay %s is too short: the first %s are not measured", b.delayed, settle)
	}
	rate := b.rate
	var codec kafka.Compression
	if len(b.measured) > 0 {
		codec = variants[slices.IndexFunc(variants, func(v variant) bool { return v.name == b.measured[0].Variant })].codec
	}
	if rate == 0 {
		if len(b.measured) == 0 {
			return errors.New("-delay needs -rate, or a variant of whose steady rate it takes the half")
		}
		rate = b.measured[0].Steady / 2
	}
	made := &workload{events: ring, partitions: 4, series: 1000}
	values := make([][][]byte, made.partitions)
	n := 0
	if err := made.each(func(p int, _ time.Time, value []byte, _ minutes.Event) error {
		if n++; n <= ring {
			values[p] = append(values[p], slices.Clone(value))
		}
		return nil
	}); err != nil {
		return err
	}
	// Event time goes by faster than the machine's, so that there are panes enough: not much faster, because partitions that are read some seconds apart
	// are then so much further apart in event time, and wait for one another.
	for _, l := range []*live{
		{name: "half", rate: rate, step: time.Duration(faster * float64(time.Second) / rate), pane: time.Second, idle: patience, begin: begin, codec: codec},
		{name: "sparse", rate: float64(time.Second / sparse), step: sparse, pane: time.Second, idle: time.Second},
	} {
		l.client, l.partitions, l.values = b.client, made.partitions, values
		if err := b.delay(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return nil
}

// delay runs a worker beside a writer.
func (b *bench) delay(ctx context.Context, l *live) error {
	_, text := rules.Runbook()
	file := filepath.Join(b.dir, l.name+".rules.yaml")
	if err := os.WriteFile(file, fmt.Appendf(text[:len(text):len(text)], probeRule, l.pane), 0o600); err != nil {
		return err
	}
	w := &worker{
		dir: b.dir, binary: b.binary, broker: b.cluster.Addr(), name: "delay-" + l.name, topic: "events.delay." + l.name,
		partitions: l.partitions, tasks: b.tasks, more: fmt.Sprintf("rules: %s\npane: %s\nidle_after: %s\n", file, l.pane, l.idle),
	}
	l.worker = w
	if err := l.prepare(b.delayed); err != nil {
		return err
	}
	if err := w.configure(ctx); err != nil {
		return err
	}
	if err := b.recycle(ctx, w.topic); err != nil {
		return err
	}
	if err := w.run(ctx); err != nil {
		return err
	}
	defer func() {
		_ = w.cmd.Process.Kill()
		_ = w.cmd.Wait()
	}()
	for w.atWork.Load() == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, b.delayed+2*patience)
	defer cancel()
	told := make(chan answer, 1000)
	read := make(chan error, 1)
	go func() { read <- w.probes(ctx, told) }()
	before, err := b.spent(ctx, w)
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	go func() { written <- l.write(ctx, b.delayed) }()
	var after spent
	arrived := map[int]time.Time{}
	for expected := -1; expected < 0 || len(arrived) < expected; {
		select {
		case p := <-told:
			arrived[p.pane] = p.at
		case err := <-read:
			return fmt.Errorf("%d incidents were told, expected %d: %w", len(arrived), expected, err)
		case err := <-written:
			if err != nil {
				return err
			}
			if after, err = b.spent(ctx, w); err != nil {
				return err
			}
			expected = l.panes()
		}
	}
	b.waited = append(b.waited, l.result(arrived, before, after))
	return nil
}

// recycle has the broker let go of what was written to the topic some seconds ago, as one that has been at work for long does: to write where nothing was
// written before costs a machine more than to write again, several times as much where it is a guest.
func (b *bench) recycle(ctx context.Context, topic string) error {
	var configs []kafka.IncrementalAlterConfigsRequestConfig
	for name, value := range map[string]string{"retention.bytes": "268435456", "segment.bytes": "67108864", "file.delete.delay.ms": "1000"} {
		configs = append(configs, kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet})
	}
	res, err := b.client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, Configs: configs}},
	})
	if err == nil {
		err = res.Resources[0].Error
	}
	return err
}

// panes is how many panes every partition has passed.
func (l *live) panes() int {
	n := len(l.passed[0])
	for _, p := range l.passed {
		n = min(n, len(p))
	}
	return n
}

// write writes for so long, every partition on its own.
func (l *live) write(ctx context.Context, long time.Duration) error {
	if l.start = time.Now(); l.begin.IsZero() {
		l.start = l.start.Truncate(time.Second).Add(time.Second)
		l.begin = l.start
	}
	l.end = l.start.Add(long)
	l.passed = make([][]time.Time, l.partitions)
	done := make(chan error, l.partitions)
	for p := range l.partitions {
		go func() { done <- l.partition(ctx, p) }()
	}
	var errs []error
	for range l.partitions {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// size is how many events a batch has: what a linger gathers, but no more than a broker takes at once.
func (l *live) size() int {
	return max(1, min(int(l.rate*linger.Seconds())/l.partitions, maxBatch/len(l.values[0][0])))
}

// prepare makes all batches beforehand if they are to be compressed, which takes longer than anything else that is done with them.
func (l *live) prepare(long time.Duration) error {
	if l.codec == 0 {
		return nil
	}
	l.ready = make([][][]byte, l.partitions)
	done := make(chan error, l.partitions)
	for p := range l.partitions {
		go func() {
			size := l.size()
			batches, err := premadeOf(l.values[p], size, l.step*time.Duration(l.partitions))
			for n, k := p, 0; err == nil && n < int(long.Seconds()*l.rate); n, k = n+size*l.partitions, k+1 {
				var data []byte
				data, err = compressed(batches[k%len(batches)].at(l.at(n), l.probesOf(n, size)), l.codec)
				l.ready[p] = append(l.ready[p], data)
			}
			done <- err
		}()
	}
	var errs []error
	for range l.partitions {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// partition writes every so manyth event, those that are due together.
func (l *live) partition(ctx context.Context, p int) error {
	size := l.size()
	batches, err := premadeOf(l.values[p], size, l.step*time.Duration(l.partitions))
	if err != nil {
		return err
	}
	ticker := time.NewTicker(linger)
	defer ticker.Stop()
	n := p // the first event of the next batch
	for k := 0; ; {
		var now time.Time
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now = <-ticker.C:
		}
		if now.After(l.end) {
			return nil
		}
		for due := int(now.Sub(l.start).Seconds() * l.rate); n+(size-1)*l.partitions < due; k++ {
			var batch []byte
			switch {
			case l.ready == nil:
				batch = batches[k%len(batches)].at(l.at(n), l.probesOf(n, size))
			case k < len(l.ready[p]):
				batch = l.ready[p][k]
			default:
				return nil
			}
			if err := produceRaw(ctx, l.client, l.worker.topic, p, batch); err != nil {
				return fmt.Errorf("cannot write to %s/%d: %w", l.worker.topic, p, err)
			}
			acknowledged := time.Now()
			last := l.at(n + (size-1)*l.partitions)
			for l.begin.Add(time.Duration(len(l.passed[p])+1)*l.pane+lateness).Compare(last) <= 0 {
				l.passed[p] = append(l.passed[p], acknowledged)
			}
			n += size * l.partitions
		}
	}
}

// probesOf are the probes of a partition's batch of so many events, by their places: each is the middle event of its pane.
func (l *live) probesOf(first, size int) map[int]string {
	each := int(l.pane / l.step)
	probes := map[int]string{}
	for n := first - first%each + each/2; n < first+size*l.partitions; n += each {
		if n >= first && (n-first)%l.partitions == 0 {
			at := l.at(n).UTC().Format(timeLayout)
			probes[(n-first)/l.partitions] = fmt.Sprintf(timed+`%s","kind":"resource","service":%q,"name":"%d","value":1}`, at, probeService, n/each)
		}
	}
	return probes
}

func (l *live) at(n int) time.Time { return l.begin.Add(time.Duration(n) * l.step) }

// answer is the incident of a pane, and when it could be read.
type answer struct {
	pane int
	at   time.Time
}

// probes follows the alerts.
func (w *worker) probes(ctx context.Context, told chan<- answer) error {
	var walker fetch.Walker
	return follow(ctx, w.broker, w.name+".alerts", 0, func(c *fetch.Chunk) (bool, error) {
		now := time.Now()
		for walker.Reset(c, walker.Position()); walker.Next(); {
			r := walker.Record()
			if r.Control {
				continue
			}
			var incident struct {
				Transition string
				Rule       struct{ Name string }
				Labels     struct{ Name string }
			}
			if err := json.Unmarshal(r.Value, &incident); err != nil {
				return false, err
			}
			if incident.Rule.Name != "BenchDelay" || incident.Transition != "opened" {
				continue
			}
			n, err := strconv.Atoi(incident.Labels.Name)
			if err != nil {
				return false, err
			}
			told <- answer{n, now}
		}
		return false, walker.Err()
	})
}

// spent is what worker and broker have used up to a time.
type spent struct {
	at             time.Time
	worker, broker float64            // seconds
	peakMB         float64            // of the worker
	count, seconds map[string]float64 // of commits, by stage
}

var committed = regexp.MustCompile(`(?m)^sevwatch_commit_seconds_(sum|count)\{stage="(\w+)"\} (\S+)`)

func (b *bench) spent(ctx context.Context, w *worker) (spent, error) {
	s := spent{at: time.Now(), count: map[string]float64{}, seconds: map[string]float64{}}
	worker, err := usageOf(w.cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	broker, err := usageOf(b.cluster.PID(0))
	if err != nil {
		return s, err
	}
	s.worker, s.broker, s.peakMB = worker.CPU, broker.CPU, worker.PeakMB
	body, err := w.get(ctx, "/metrics")
	if err != nil {
		return s, err
	}
	for _, m := range committed.FindAllSubmatch(body, -1) {
		v, err := strconv.ParseFloat(string(m[3]), 64)
		if err != nil {
			return s, err
		}
		if string(m[1]) == "sum" {
			s.seconds[string(m[2])] = v
		} else {
			s.count[string(m[2])] = v
		}
	}
	return s, nil
}

// result is what the panes waited that ended after the start had settled.
func (l *live) result(arrived map[int]time.Time, before, after spent) delayed {
	var waited, late []float64
	var reached float64 // events a second, up to the last pane
	for k := range l.panes() {
		passed := time.Time{}
		for _, p := range l.passed {
			if p[k].After(passed) {
				passed = p[k]
			}
		}
		if passed.Sub(l.start) < settle {
			continue
		}
		events := float64(time.Duration(k+1)*l.pane+lateness) / float64(l.step)
		reached = events / passed.Sub(l.start).Seconds()
		due := l.start.Add(time.Duration(events / l.rate * float64(time.Second)))
		waited = append(waited, arrived[k].Sub(passed).Seconds()*1000)
		late = append(late, arrived[k].Sub(due).Seconds()*1000)
	}
	slices.Sort(waited)
	slices.Sort(late)
	seconds := after.at.Sub(before.at).Seconds()
	return delayed{
		Name: l.name, Rate: reached, Panes: reached * l.step.Seconds() / l.pane.Seconds(), Incidents: len(waited),
		P50: share(waited, 0.5), P99: share(waited, 0.99), Max: share(waited, 1), LateP50: share(late, 0.5), LateP99: share(late, 0.99),
		CPU: (after.worker - before.worker) / seconds, BrokerCPU: (after.broker - before.broker) / seconds,
		Commits: after.since(before, seconds, l.worker.tasks),
	}
}

// since are the commits of so many seconds, by stage.
func (s spent) since(before spent, seconds float64, aggregates int) map[string]commits {
	out := map[string]commits{}
	for stage, tasks := range map[string]int{"aggregate": aggregates, "judge": 1} {
		n, took := s.count[stage]-before.count[stage], s.seconds[stage]-before.seconds[stage]
		out[stage] = commits{Rate: n / seconds / float64(tasks), Mean: 1000 * took / n, Share: took / seconds / float64(tasks)}
	}
	return out
}

// share is the smallest of the values that so large a share of them does not exceed.
func share(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(q*float64(len(sorted))+0.999999)-1)]
}

func (d delayed) String() string {
	text := fmt.Sprintf("\ndelay %s: %.0f events/s, %.1f panes/s, %d incidents: p50 %.0f ms, p99 %.0f ms, max %.0f ms after the last watermark passed;\n"+
		"  p50 %.0f ms, p99 %.0f ms beyond window and lateness; cpu/s: worker %.2f, broker %.2f", d.Name, d.Rate, d.Panes, d.Incidents, d.P50, d.P99, d.Max,
		d.LateP50, d.LateP99, d.CPU, d.BrokerCPU)
	return text + told(d.Commits)
}

// told are the commits of each stage as text.
func told(all map[string]commits) (text string) {
	for _, stage := range []string{"aggregate", "judge"} {
		c := all[stage]
		text += fmt.Sprintf("\n  %s: %.1f commits/s a task of %.1f ms, %.0f %% of its time", stage, c.Rate, c.Mean, 100*c.Share)
	}
	return text
}
