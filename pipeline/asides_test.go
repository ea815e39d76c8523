package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

func TestRejectedIsSentBackAfterAFix(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	sentBack(t, newPipeline(t, addr, nil))
}

func TestRealRejectedIsSentBackAfterAFix(t *testing.T) {
	sentBack(t, newPipeline(t, kafkatest.Shared(t).Addr(), nil))
}

// sentBack: labels that are too long are rejected, the configuration is changed so that they are cut, and the records are sent back. They come
// to their partition as they were, each once, however often they are sent back; what is still wrong comes to the rejected topic again, and is not
// sent from there unless it is asked for.
func sentBack(t *testing.T, p *testPipeline) {
	long := `{"time":1793534401000,"error_type":"` + strings.Repeat("x", 300) + `"}`
	values := []string{long, `{"time":1793534401000}`, "no JSON", long, strings.Repeat("x", 600<<10)}
	topic := p.topicOf(rules.KindError)
	for i, value := range values {
		p.write(partition{topic, i % 2}, kafka.Record{
			Time: time.UnixMilli(1793534400000 + int64(i)), Key: kafka.NewBytes(fmt.Appendf(nil, "key %d", i)), Value: kafka.NewBytes([]byte(value)),
			Headers: []kafka.Header{{Key: "trace", Value: []byte{0xff, byte(i)}}},
		})
	}
	counted := func(w *Worker) int64 { return int64(w.metrics.counted.Get()) }
	rejected := func(w *Worker) int64 { n, _ := w.metrics.totals(); return n }
	w, stop := p.start()
	p.until("four rejected", func() bool { return counted(w) == 1 && len(p.read(p.cfg.Topics.Rejected)) == 4 })
	stop()

	asides := Asides{Config: p.cfg, Client: p.client, Topic: p.cfg.Topics.Rejected}
	found := map[string]int{}
	check(t, asides.Read(p.ctx, func(_ Place, a *wire.Aside) error {
		found[fmt.Sprintf("%s %s/%d %t", a.Reason, a.Source.Topic, a.Source.Partition, a.Cut)]++
		return nil
	}))
	want := map[string]int{
		"out_of_range " + topic + "/0 false": 1, "out_of_range " + topic + "/1 false": 1, "not_json " + topic + "/0 false": 1, "too_large " + topic + "/0 true": 1,
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	for i := range p.cfg.Sources {
		p.cfg.Sources[i].LongLabels = CutLong
	}
	w, stop = p.start()
	defer stop()
	resend := func(match func(*wire.Aside) bool, want Resent) {
		t.Helper()
		asides.Match = match
		got, err := asides.Resend(p.ctx)
		check(t, err)
		if got != want {
			t.Errorf("sent back: %+v, expected %+v", got, want)
		}
	}
	fixed := func(a *wire.Aside) bool { return a.Reason == string(wire.OutOfRange) }
	resend(fixed, Resent{Sent: 2})
	p.until("those that are right now", func() bool { return counted(w) == 2 })
	resend(fixed, Resent{Before: 2})
	resend(nil, Resent{Sent: 1, Before: 2, Cut: 1})
	p.until("the one that is still wrong", func() bool { return rejected(w) == 1 && len(p.read(p.cfg.Topics.Rejected)) == 5 })
	resend(nil, Resent{Before: 3, Back: 1, Cut: 1})
	asides.Again = true
	resend(nil, Resent{Sent: 1, Before: 3, Cut: 1})
	p.until("the one that is wrong for the third time", func() bool { return rejected(w) == 2 && len(p.read(p.cfg.Topics.Rejected)) == 6 })
	asides.Again = false
	resend(nil, Resent{Before: 3, Back: 2, Cut: 1})
	asides.Again = true
	resend(nil, Resent{Sent: 1, Before: 4, Cut: 1})

	type row struct {
		Partition         int
		Time              int64
		Key, Value, Trace string
	}
	got := map[row]int{}
	sent := map[string]int{}
	for _, r := range p.read(topic) {
		for _, h := range r.Headers[1:] {
			sent[h.Key+" "+string(h.Value)]++
		}
		got[row{r.Partition, r.TimestampMs, string(r.Key), string(r.Value), string(r.Headers[0].Value)}]++
	}
	for i, value := range values {
		times := []int{2, 1, 4, 2, 1}[i]
		if n := got[row{i % 2, 1793534400000 + int64(i), fmt.Sprintf("key %d", i), value, string([]byte{0xff, byte(i)})}]; n != times {
			t.Errorf("record %d is on its topic %d times, expected %d", i, n, times)
		}
	}
	if diff := cmp.Diff(map[string]int{"sevwatch_resent 1": 3, "sevwatch_resent 2": 1, "sevwatch_resent 3": 1}, sent); diff != "" {
		t.Errorf("headers beside their own, -want +got:\n%s", diff)
	}
}

// TestLateIsSentBackOnce: what is late is late again when it is sent back. The late topic grows by it once, not with every sending.
func TestLateIsSentBackOnce(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	record := func(at string) kafka.Record {
		return kafka.Record{Value: kafka.NewBytes(fmt.Appendf(nil, `{"time":"2026-11-01T%sZ","service":"api"}`, at))}
	}
	p.write(partition{p.topicOf(rules.KindError), 0}, record("12:00:00"), record("11:00:00"), record("12:00:01"), record("11:00:01"))
	w, stop := p.start()
	defer stop()
	late := func() int64 { _, n := w.metrics.totals(); return n }
	asides := Asides{Config: p.cfg, Client: p.client, Topic: p.cfg.Topics.Late}
	for i, want := range []Resent{{Sent: 2}, {Before: 2, Back: 2}, {Before: 2, Back: 2}} {
		there := min(2*i+2, 4)
		p.until("late records", func() bool { return late() == int64(there) && len(p.read(p.cfg.Topics.Late)) == there })
		got, err := asides.Resend(p.ctx)
		check(t, err)
		if got != want {
			t.Errorf("time %d: %+v, expected %+v", i+1, got, want)
		}
	}
}

// A record whose key or headers alone are larger than a batch may be stops nothing: its copy is cut, and is not sent back.
func TestRealLargeKeyIsCut(t *testing.T) {
	p := newPipeline(t, kafkatest.Shared(t).Addr(), nil)
	at := partition{p.topicOf(rules.KindError), 0}
	alter(t, p, at.topic, "max.message.bytes", "20000000")
	large := strings.Repeat("k", 1_500_000)
	p.write(at, kafka.Record{Time: time.UnixMilli(1793534400000), Key: kafka.NewBytes([]byte(large)), Value: kafka.NewBytes([]byte("no JSON"))})
	p.write(at, kafka.Record{Time: time.UnixMilli(1793534400001), Value: kafka.NewBytes([]byte("nor this")), Headers: []kafka.Header{{Key: "own", Value: []byte(large)}}})
	p.writeLines(at, `{"time":1793534401000,"error_type":"x"}`)
	w, stop := p.start()
	p.until("two rejected", func() bool { return w.metrics.counted.Get() == 1 && len(p.read(p.cfg.Topics.Rejected)) == 2 })
	stop()
	asides := Asides{Config: p.cfg, Client: p.client, Topic: p.cfg.Topics.Rejected}
	sum, err := asides.Resend(p.ctx)
	if want := (Resent{Cut: 2}); sum != want || err != nil {
		t.Errorf("sent back: %+v, expected %+v: %v", sum, want, err)
	}
}
