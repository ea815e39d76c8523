package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/txn"
	"sevwatch/rules"
)

// plainWrites is a broker whose producers write the same records and commit the same offsets without a transaction: what the guarantee costs
// is the difference. Only the benchmark knows it; nothing that runs can be without transactions.
type plainWrites struct {
	broker
	client *kafka.Client
}

func (b plainWrites) takeOver(context.Context, string) (producer, error) { return b, nil }

// Commit writes messages and offsets one after the other.
func (b plainWrites) Commit(ctx context.Context, messages []kafka.Message, offsets *txn.Offsets) error {
	const most = 900_000 // bytes of a request, as txn has it of a batch
	records, sizes := map[partition][]kafka.Record{}, map[partition]int{}
	write := func(at partition) error {
		res, err := b.client.Produce(ctx, &kafka.ProduceRequest{
			Topic: at.topic, Partition: at.id, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records[at]...),
		})
		records[at], sizes[at] = nil, 0
		if err == nil {
			err = res.Error
		}
		return err
	}
	for _, m := range messages {
		at, size := partition{m.Topic, m.Partition}, len(m.Key)+len(m.Value)
		if len(records[at]) > 0 && sizes[at]+size > most {
			if err := write(at); err != nil {
				return err
			}
		}
		sizes[at] += size
		records[at] = append(records[at], kafka.Record{Time: m.Time, Key: kafka.NewBytes(m.Key), Value: kafka.NewBytes(m.Value), Headers: m.Headers})
	}
	for at, list := range records {
		if len(list) == 0 {
			continue
		}
		if err := write(at); err != nil {
			return err
		}
	}
	commits := map[string][]kafka.OffsetCommit{}
	for topic, list := range offsets.Topics {
		for _, o := range list {
			commits[topic] = append(commits[topic], kafka.OffsetCommit(o))
		}
	}
	_, err := b.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: offsets.Group, GenerationID: offsets.Generation, MemberID: offsets.Member, Topics: commits,
	})
	return err
}

// fill writes so many latency events of so many series to four partitions, a hundred a second of event time in each, and returns the edge
// that judging reaches.
func (p *testPipeline) fill(events, series int) (edge int64) {
	p.t.Helper()
	topic := p.topicOf(rules.KindLatency)
	last := int64(0)
	for id := range 4 {
		var records []kafka.Record
		flush := func() {
			if len(records) > 0 {
				p.write(partition{topic, id}, records...)
				records = records[:0]
			}
		}
		for n := range events / 4 {
			last = simStart + int64(n)*10
			line := fmt.Appendf(nil, `{"time":%d,"service":"s%d","endpoint":"/v1/e%d","region":"eu","version":"1.4.2","status":200,"duration_ms":%d}`,
				last, (n*4+id)%series%50, (n*4+id)%series, 5+n%90)
			records = append(records, kafka.Record{Time: time.UnixMilli(simStart), Value: kafka.NewBytes(bytes.Clone(line))})
			if len(records) == 2000 {
				flush()
			}
		}
		flush()
	}
	return p.cfg.paneBefore(last)
}

// paneBefore is the edge that a partition reaches by an event at last.
func (c *Config) paneBefore(last int64) int64 {
	edge := last - int64(c.Lateness)
	return edge - edge%int64(c.Pane)
}

// oneSource leaves only the latency topic, so that nothing has to be idle for time to go on.
func oneSource(c *Config) { c.Sources = []SourceConfig{c.Sources[1]} }

// BenchmarkRealTransactions runs one worker over a real Kafka under the runbook's rules until everything is judged, with transactions and,
// over the same records, without.
func BenchmarkRealTransactions(b *testing.B) {
	const events = 400_000
	for range b.N {
		rate := map[bool]float64{}
		for _, transactions := range []bool{true, false} {
			p := newPipeline(b, kafkatest.Shared(b).Addr(), oneSource)
			edge := p.fill(events, 1000)
			start := time.Now()
			w, stop := p.startWith(func(w *Worker) {
				if !transactions {
					w.broker = plainWrites{w.broker, p.client}
				}
			})
			p.judged(edge, w)
			rate[transactions] = events / time.Since(start).Seconds()
			stop()
		}
		b.ReportMetric(rate[true], "with/s")
		b.ReportMetric(rate[false], "without/s")
		b.ReportMetric(rate[true]/rate[false], "with/without")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkRealColdRestart starts a worker over the state that another left, of 100,000 live series, each a group of a rule: how long until
// it has judged a pane, and how large the state is.
func BenchmarkRealColdRestart(b *testing.B) {
	const series = 100_000
	for range b.N {
		p := newPipeline(b, kafkatest.Shared(b).Addr(), oneSource)
		var err error
		p.rules, err = rules.Parse("cold.yaml", []byte(`
groups:
  - name: cold
    rules:
      - alert: Many
        signal: {ratio: {errors: 'latency{status_class="5xx"}', total: latency}}
        by: [service, endpoint]
        window: 5m
        severities: [{severity: sev2, above: 0.5}]
`), p.cfg.RuleOptions())
		check(b, err)
		edge := p.fill(2*series, series)
		w, stop := p.start()
		p.judged(edge, w)
		stop()
		_, size, err := w.readState(p.ctx, 0)
		check(b, err)
		p.writeLines(partition{p.topicOf(rules.KindLatency), 0}, latencyAt(3600))
		start := time.Now()
		w, stop = p.start()
		p.judged(edge+1, w)
		b.ReportMetric(time.Since(start).Seconds(), "s-to-first-pane")
		b.ReportMetric(float64(size)/(1<<20), "MB-of-state")
		b.ReportMetric(0, "ns/op")
		stop()
	}
}
