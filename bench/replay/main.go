// Command replay measures a replay of many events: how many a second, and the most memory it takes. It replays half of them first: memory
// must not grow with the length.
//
//	go run ./bench/replay --events 10000000
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/klauspost/compress/zstd"

	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/rules"
)

type options struct {
	Events int    `default:"10000000" help:"How many events."`
	Child  string `hidden:"" help:"Replay this file and print what was measured."`
}

// measured is what one replay came to.
type measured struct {
	Events   int64   `json:"events"`
	Messages int     `json:"messages"`
	Seconds  float64 `json:"seconds"`
	PeakMB   float64 `json:"peak_mb"` // of the whole process, as the kernel counts it
}

func main() {
	var o options
	kong.Parse(&o, kong.Description("Measure a replay of many events."))
	if err := run(context.Background(), &o); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) (err error) {
	if o.Child != "" {
		m, err := replay(ctx, o.Child)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(m)
	}
	dir, err := os.MkdirTemp("", "sevwatch-bench-replay")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintf(os.Stdout, "| events | messages | seconds | events/s | peak memory |\n|---:|---:|---:|---:|---:|\n")
	for _, n := range []int{o.Events / 2, o.Events} {
		path := filepath.Join(dir, "events.ndjson.zst")
		if err := writeEvents(path, n); err != nil {
			return err
		}
		m, err := child(ctx, path)
		if err != nil {
			return err
		}
		if m.Events != int64(n) {
			return fmt.Errorf("%d of %d events were counted", m.Events, n)
		}
		fmt.Fprintf(os.Stdout, "| %d | %d | %.1f | %.0f | %.0f MB |\n", m.Events, m.Messages, m.Seconds, float64(m.Events)/m.Seconds, m.PeakMB)
	}
	return nil
}

// child replays in a process of its own, so that its peak is its own.
func child(ctx context.Context, path string) (m measured, err error) {
	self, err := os.Executable()
	if err != nil {
		return m, err
	}
	cmd := exec.CommandContext(ctx, self, "--child", path)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return m, fmt.Errorf("cannot replay %s: %w", path, err)
	}
	return m, json.Unmarshal(out, &m)
}

// replay replays the file by the runbook's rules.
func replay(ctx context.Context, path string) (m measured, err error) {
	name, data := rules.Runbook()
	file, err := rules.Parse(name, data, rules.Options{})
	if err != nil {
		return m, err
	}
	r := pipeline.Replay{Config: detector.DefaultConfig(), Rules: file, Files: []string{path}, Output: func(detector.Output) error {
		m.Messages++
		return nil
	}}
	start := time.Now()
	sum, err := r.Run(ctx)
	m.Seconds, m.Events = time.Since(start).Seconds(), sum.Totals.Counted
	if err != nil {
		return m, err
	}
	m.PeakMB, err = peak()
	return m, err
}

// peak is the most memory that this process ever had, in MB.
func peak() (float64, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("the peak is known on Linux only: %w", err)
	}
	_, rest, found := strings.Cut(string(data), "VmHWM:")
	var kb float64
	if _, err := fmt.Sscan(rest, &kb); !found || err != nil {
		return 0, errors.New("/proc/self/status has no VmHWM")
	}
	return kb / 1024, nil
}

// writeEvents writes n events: a thousand a second over twelve services and their endpoints, one of which fails for five minutes each hour.
func writeEvents(path string, n int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(z, 1<<20)
	if err := events(out, n); err != nil {
		return err
	}
	return errors.Join(out.Flush(), z.Close())
}

func events(out io.Writer, n int) error {
	const begin = int64(1793534400000)
	line := make([]byte, 0, 256)
	for i := range n {
		at := begin + int64(i)
		service := i % 12
		status := 200
		if service == 3 && at%3_600_000 < 300_000 && i%5 != 0 {
			status = 503
		}
		duration := 20 + float64(uint32(i)*2654435761>>20)/40
		line = fmt.Appendf(line[:0], `{"time":%d,"kind":"latency","service":"service-%d","endpoint":"/v1/e%d","region":"eu-west","version":"1.42.0","session":"%016x","status":%d,"duration_ms":%.1f}`+"\n",
			at, service, i/12%8, uint64(i/50)*0x9e3779b97f4a7c15, status, duration)
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return nil
}
