package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"sevwatch/detector"
	"sevwatch/rules"
)

// BenchmarkReplay replays a file of the events of the comparison with other engines, packed with zstd, under the runbook's rules.
func BenchmarkReplay(b *testing.B) {
	const events = 1_000_000
	file := filepath.Join(b.TempDir(), "events.ndjson.zst")
	out, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	z, err := zstd.NewWriter(out)
	if err != nil {
		b.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := range events {
		at = at.Add(time.Millisecond)
		_, err := fmt.Fprintf(z, `{"time":"%s","kind":"latency","service":"assessment-api","endpoint":"/v1/%d","step":"step-%d","region":"eu-%d",`+
			`"version":"1.%d.0","session":"%016x","status":%d,"duration_ms":%d.%03d}`+"\n",
			at.Format("2006-01-02T15:04:05.000Z"), i%8, i*7/8%7, i*3/56%3, i/168%3, uint64(i)*0x9e3779b97f4a7c15, 200+i%100/99*300, 20+i*7919%300, i*31%1000)
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	name, data := rules.Runbook()
	runbook, err := rules.Parse(name, data, rules.Options{Labels: rules.DefaultLabels(), Pane: 10_000})
	if err != nil {
		b.Fatal(err)
	}
	began := cpuTime(b)
	for b.Loop() {
		r := Replay{Config: detector.DefaultConfig(), Rules: runbook, Files: []string{file}, Output: func(detector.Output) error { return nil }}
		sum, err := r.Run(b.Context())
		if err != nil || sum.Totals.Counted != events {
			b.Fatalf("%d events were counted, expected %d: %v", sum.Totals.Counted, events, err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/(events*float64(b.N)), "cpu-ns/event")
	b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// cpuTime is the processor time that this process has used: other processes on the machine change it little.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
