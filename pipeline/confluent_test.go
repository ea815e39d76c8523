package pipeline

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/avro"

	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

const requestSchema = `{"type":"record","name":"Request","fields":[{"name":"time","type":"long"},{"name":"service","type":"string"},{"name":"duration_ms","type":"double"}]}`

// avroRegistry knows schema 1 once it is up.
func avroRegistry(t *testing.T) (url string, up *atomic.Bool, asked *atomic.Int64) {
	t.Helper()
	up, asked = &atomic.Bool{}, &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case !up.Load():
			http.Error(w, "down", http.StatusBadGateway)
		case r.URL.Path == "/schemas/ids/1":
			fmt.Fprintf(w, `{"schema":%q}`, requestSchema)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error_code":40403,"message":"Schema not found"}`)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, up, asked
}

// While the registry is down, its partitions wait where they are and nothing is rejected; the other sources are read. When it is up, all is
// accounted for, each record once, whatever compression and batch it stands in.
func TestRecordsWaitForTheirSchema(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	url, up, asked := avroRegistry(t)
	p := newPipeline(t, addr, func(c *Config) {
		for i := range c.Sources {
			if s := &c.Sources[i]; s.Kind.Kind == rules.KindLatency {
				s.Format = Format{wire.FormatConfluent}
			}
		}
		c.Registry.URL = url
	})
	schema := avro.MustParse(requestSchema)
	record := func(id uint32, service string) []byte {
		body, err := schema.Encode(map[string]any{"time": int64(1793534401000), "service": service, "duration_ms": 2.5})
		check(t, err)
		return append(binary.BigEndian.AppendUint32([]byte{0}, id), body...)
	}
	write := func(at partition, codec kafka.Compression, values ...[]byte) {
		var records []kafka.Record
		for _, v := range values {
			records = append(records, kafka.Record{Value: kafka.NewBytes(v)})
		}
		res, err := p.client.Produce(p.ctx, &kafka.ProduceRequest{
			Topic: at.topic, Partition: at.id, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...), Compression: codec,
		})
		if err == nil {
			err = res.Error
		}
		check(t, err)
	}
	latency := p.topicOf(rules.KindLatency)
	write(partition{latency, 0}, kafka.Zstd, []byte("no schema"), record(1, "a"), record(2, "b"), record(1, "c"))
	write(partition{latency, 0}, kafka.Gzip, record(1, "d"), record(1, "e")[:9])
	write(partition{latency, 1}, 0, record(1, "f"))
	write(partition{p.topicOf(rules.KindError), 0}, 0, []byte(`{"time":1793534401000,"service":"a"}`))
	w, stop := p.start()
	defer stop()
	errors := partition{p.topicOf(rules.KindError), 0}
	p.until("what needs no schema", func() bool {
		counted := w.metrics.counted.Get()
		rejected, _ := w.metrics.totals()
		return counted == 1 && rejected == 1 && asked.Load() > 2
	})
	committed, err := w.broker.committed(p.ctx, w.groupID("aggregate"), map[string][]int{latency: {0, 1}, errors.topic: {0}})
	check(t, err)
	if at := [...]int64{committed[partition{latency, 0}].CommittedOffset, committed[partition{latency, 1}].CommittedOffset, committed[errors].CommittedOffset}; at != [...]int64{1, 0, 1} {
		t.Errorf("while the registry is down the offsets %v are committed, expected those of the records that wait", at)
	}
	up.Store(true)
	p.until("everything accounted for", func() bool { return w.Totals().Sum() == 8 })
	if got := w.Totals(); got.Counted != 5 || got.Rejected != 3 {
		t.Errorf("the accounts are %+v, expected 5 counted and 3 rejected", got)
	}
	reasons := map[string]int{}
	for _, r := range p.read(p.cfg.Topics.Rejected) {
		for _, h := range r.Headers {
			if h.Key == "sevwatch_reason" {
				reasons[string(h.Value)]++
			}
		}
	}
	if reasons["no_schema"] != 1 || reasons["unknown_schema"] != 1 || reasons["schema_mismatch"] != 1 || len(reasons) != 3 {
		t.Errorf("rejected were %v", reasons)
	}
	write(partition{latency, 1}, kafka.Snappy, record(1, "g"))
	p.until("what comes later", func() bool { return w.Totals().Counted == 6 })
	stop()
	replayed := func(what string, change func(*Replay)) {
		t.Helper()
		got := map[string]int{}
		_, sum := p.replayedTopics(noLow, func(r *Replay) {
			r.Rejected = func(_ wire.Origin, r *wire.Reject) { got[string(r.Reason)]++ }
			change(r)
		})
		if sum.Totals.Counted != 6 || sum.Totals.Rejected != 3 || !maps.Equal(got, reasons) {
			t.Errorf("%s: %+v, rejected were %v, live %v", what, sum.Totals, got, reasons)
		}
	}
	replayed("from topics", func(*Replay) {})
	files := []string{p.export(latency, errors.topic, p.cfg.Topics.Marks, p.cfg.Topics.Control)}
	replayed("from exported files", func(r *Replay) { r.Kafka, r.Files = nil, files })
	up.Store(false)
	r := Replay{Config: p.cfg.Engine(), Rules: p.rules, Pipeline: p.cfg, Files: files, GiveUpAfter: 1}
	if _, err := r.Run(p.ctx); err == nil || !strings.Contains(err.Error(), "cannot ask the registry "+url+" for schema 1: it answers 502") {
		t.Errorf("a registry that is down: %v", err)
	}
}
