package pipeline

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/kafkatest"
)

// One worker reads a source of a thousand partitions: everything is counted once, and neither goroutines nor memory grow with the partitions.
func TestThousandPartitions(t *testing.T) {
	const partitions, each = 1000, 50
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, func(c *Config) {
		oneSource(c)
		c.Sources[0].Partitions = partitions
	})
	last := int64(0)
	for id := range partitions {
		var records []kafka.Record
		for n := range each {
			last = simStart + int64(n)*1000 + int64(id)
			records = append(records, kafka.Record{
				Time: time.UnixMilli(last), Value: kafka.NewBytes(fmt.Appendf(nil, `{"time":%d,"service":"s%d","status":200,"duration_ms":5}`, last, n%7)),
			})
		}
		p.write(partition{p.cfg.Sources[0].Topic, id}, records...)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	others := runtime.NumGoroutine()
	start := time.Now()
	w, stop := p.start()
	p.until("all events to be counted", func() bool { return w.Totals().Counted >= partitions*each })
	took := time.Since(start)
	goroutines := runtime.NumGoroutine() - others
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20
	p.judged(p.cfg.paneBefore(last), w)
	stop()
	t.Logf("%d events of %d partitions in %s, %d goroutines and %d MB more", partitions*each, partitions, took, goroutines, heap)
	if got := w.Totals(); got.Counted != partitions*each || got.Sum() != got.Counted {
		t.Errorf("the accounts are %+v, expected %d counted", got, partitions*each)
	}
	if goroutines > 400 || heap > 128 { // of both ends of the connections: kfake is in this process
		t.Errorf("there are %d goroutines and %d MB more, expected at most 400 and 128", goroutines, heap)
	}
}
