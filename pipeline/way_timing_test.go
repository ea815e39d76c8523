package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// way is what an event passes between the broker's bytes and what is judged, without a broker: two tasks, and a judge under the runbook.
type way struct {
	tasks   []*wayTask
	judge   *detector.Judge
	encoder wire.DeltaEncoder
	deltas  wire.DeltaDecoder
}

// wayTask is one task, of one partition.
type wayTask struct {
	agg     *detector.Aggregator
	part    *detector.Partition
	decoder *wire.Decoder
	walker  fetch.Walker
	event   detector.Event
}

// wayFlush is how many events there are between two flushes of all tasks together.
const wayFlush = 100_000

// BenchmarkWay is an event's whole way. The events are those of `go run ./bench/throughput`: one a millisecond of event time, of a thousand
// series. An iteration is an event.
func BenchmarkWay(b *testing.B) {
	const flushes = 6
	_, text := rules.Runbook()
	file, err := rules.Parse("runbook.yaml", text, rules.Options{})
	if err != nil {
		b.Fatal(err)
	}
	chunks := wayChunks(b, flushes, 2)
	b.ReportAllocs()
	var w *way
	b.ResetTimer()
	for done := 0; done < b.N; done += wayFlush {
		n := done / wayFlush % flushes
		if n == 0 {
			w = newWay(file, 2)
		}
		for i, t := range w.tasks {
			w.take(b, t, chunks[n][i])
		}
		w.judge.Advance()
		w.judge.Changes()
	}
	b.StopTimer()
	if got := w.judge.Totals().Counted; got == 0 || got%wayFlush != 0 {
		b.Errorf("%d events were counted", got)
	}
}

func newWay(file *rules.File, tasks int) *way {
	cfg := detector.DefaultConfig()
	w := &way{judge: detector.NewJudge(cfg, file)}
	w.deltas.Known = w.judge.Known
	for i := range tasks {
		t := &wayTask{agg: detector.NewAggregator(cfg, i, tasks), decoder: wire.NewDecoder(rules.NoKind, cfg.Labels)}
		t.agg.SetPartitions(detector.PartitionSet{Version: 1, Topics: map[string]int{"t": tasks}})
		t.part = t.agg.Add(detector.Source{Topic: "t", Partition: i}, 0, detector.NewPartitionState())
		w.tasks = append(w.tasks, t)
	}
	return w
}

// take counts a chunk and flushes it to the judge.
func (w *way) take(b *testing.B, t *wayTask, c *fetch.Chunk) {
	for t.walker.Reset(c, c.Position); t.walker.Next(); {
		r := t.walker.Record()
		if rejected := t.decoder.Decode(r.Value, r.Time, &t.event); rejected != nil {
			b.Fatal(rejected)
		}
		t.event.Recorded = r.Time
		t.agg.Count(t.part, r.Offset, &t.event)
	}
	if err := t.walker.Err(); err != nil {
		b.Fatal(err)
	}
	deltas, progress := t.agg.Flush()
	for i := range deltas {
		for _, value := range w.encoder.Encode(&deltas[i]) {
			d, err := w.deltas.Decode("", value)
			if err != nil {
				b.Fatal(err)
			}
			w.judge.Delta(d)
		}
	}
	if err := w.judge.Progress(&progress); err != nil {
		b.Fatal(err)
	}
}

// wayChunks are the chunks that the tasks take between flushes.
func wayChunks(b *testing.B, flushes, tasks int) (chunks [][]*fetch.Chunk) {
	r := rand.New(rand.NewSource(1))
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	const batch = 3500
	for n := range flushes {
		records := make([][]protocol.Record, tasks)
		for i := range wayFlush {
			at = at.Add(time.Millisecond)
			status := 200
			if r.Intn(100) == 0 {
				status = 500
			}
			value := fmt.Appendf(nil, `{"time":"%s","kind":"latency","service":"assessment-api","endpoint":"/v1/%s","step":"%s","region":"%s",`+
				`"version":"1.%d.0","session":"%016x","status":%d,"duration_ms":%.3f}`, at.Format("2006-01-02T15:04:05.000Z"),
				[]string{"answers", "questions", "submit", "session", "score", "profile", "media", "progress"}[r.Intn(8)],
				[]string{"welcome", "consent", "profile", "questions", "review", "submit", "result"}[r.Intn(7)],
				[]string{"eu-west", "us-east", "ap-south"}[r.Intn(3)], r.Intn(3)+40, r.Uint64(), status, 20+r.ExpFloat64()*80)
			records[i%tasks] = append(records[i%tasks], protocol.Record{Time: at, Value: kafka.NewBytes(value)})
		}
		var line []*fetch.Chunk
		for _, list := range records {
			c := &fetch.Chunk{Topic: "t", Position: int64(n * wayFlush / tasks)}
			for i := 0; i < len(list); i += batch {
				var buf bytes.Buffer
				set := protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(list[i:min(len(list), i+batch)]...)}
				if _, err := set.WriteTo(&buf); err != nil {
					b.Fatal(err)
				}
				data := buf.Bytes()[4:]
				binary.BigEndian.PutUint64(data, uint64(c.Position+int64(i))) // of the first record, which kafka-go leaves to the broker
				c.Batches = append(c.Batches, data...)
			}
			line = append(line, c)
		}
		chunks = append(chunks, line)
	}
	return chunks
}
