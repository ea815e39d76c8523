package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
)

func TestOtherShapesAreTheSameEvents(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	otherShapes(t, newPipeline(t, addr, shaped))
}

func TestRealOtherShapesAreTheSameEvents(t *testing.T) {
	otherShapes(t, newPipeline(t, kafkatest.Shared(t).Addr(), shaped))
}

// shaped says that errors are CloudEvents and latencies are spans.
func shaped(c *Config) {
	c.Sources[0].Format = Format{wire.FormatCloudEvents}
	c.Sources[1].Format = Format{wire.FormatOTLP}
}

// otherShapes writes an outage as spans, five requests a record, and as CloudEvents in binary mode: the messages are those of the same events in
// our own shape, and the accounts count records.
func otherShapes(t *testing.T, p *testPipeline) {
	lines := mix(5000, 3).good
	want, sum := p.replayed(lines)
	if len(want) < 5 {
		t.Fatalf("%d messages: too little to compare", len(want))
	}
	records := int64(0)
	batches := map[partition][]kafka.Record{}
	add := func(source, id int, r kafka.Record) {
		records++
		r.Time = time.UnixMilli(1793534400000)
		at := partition{p.cfg.Sources[source].Topic, id}
		batches[at] = append(batches[at], r)
	}
	var spans []string
	for i, line := range lines {
		var e struct {
			Time                    int64
			Kind, Service, Endpoint string
			ErrorType               string      `json:"error_type"`
			DurationMs              json.Number `json:"duration_ms"`
		}
		check(t, json.Unmarshal(line, &e))
		if e.Kind == "error" {
			header := func(key, value string) kafka.Header { return kafka.Header{Key: key, Value: []byte(value)} }
			add(0, i%4, kafka.Record{
				Value: kafka.NewBytes(fmt.Appendf(nil, `{"service":%q,"endpoint":%q,"error_type":%q}`, e.Service, e.Endpoint, e.ErrorType)),
				Headers: []kafka.Header{
					header("ce_specversion", "1.0"), header("ce_id", fmt.Sprint(i)), header("ce_source", "/x"), header("ce_type", "error"),
					header("ce_time", detector.Millis(e.Time).String()),
				},
			})
			continue
		}
		ms, err := e.DurationMs.Float64()
		check(t, err)
		spans = append(spans, fmt.Sprintf(`{"kind":2,"name":"POST","startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":[
			{"key":"service.name","value":{"stringValue":%q}},{"key":"url.path","value":{"stringValue":%q}},
			{"key":"http.response.status_code","value":{"intValue":"200"}}]}`, e.Time*1e6-int64(ms*1e6+0.5), e.Time*1e6, e.Service, e.Endpoint))
		if len(spans) == 5 || i == len(lines)-1 {
			export := fmt.Sprintf(`{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}`, strings.Join(spans, ","))
			add(1, i%4, kafka.Record{Value: kafka.NewBytes([]byte(export))})
			spans = nil
		}
	}
	for at, batch := range batches {
		p.write(at, batch...)
	}
	w, stop := p.start()
	defer stop()
	p.until("everything accounted for", func() bool { return w.Totals().Sum() == records })
	if got := w.Totals(); got.Counted != records {
		t.Errorf("the accounts are %+v, expected %d records counted", got, records)
	}
	p.judged(sum.Edge, w)
	same(t, "in other shapes", want, p.outputs(sum.Edge))
	if n := int64(w.metrics.counted.Get()); n != int64(len(lines)) {
		t.Errorf("%d events are counted, expected %d", n, len(lines))
	}
}
