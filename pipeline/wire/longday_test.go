package wire_test

import (
	"fmt"
	"sync"
	"testing"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// longDay is what the engine says under the runbook's rules of two hours in which everything goes wrong, and of the two days of silence
// that follow.
func longDay(t *testing.T) []detector.Output {
	t.Helper()
	out, err := longDayOnce()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var longDayOnce = sync.OnceValues(func() ([]detector.Output, error) {
	name, data := rules.Runbook()
	file, err := rules.Parse(name, data, rules.Options{})
	if err != nil {
		return nil, err
	}
	e := engine{
		agg: detector.NewAggregator(detector.DefaultConfig(), 0, 1), judge: detector.NewJudge(detector.DefaultConfig(), file),
		decoder: wire.NewDecoder(rules.NoKind, rules.DefaultLabels()),
	}
	e.part = e.agg.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
	e.agg.SetPartitions(detector.PartitionSet{Version: 1, Topics: map[string]int{"t": 1}})
	for second := range int64(2 * 3600) {
		for _, event := range eventsOf(second) {
			if err := e.take(noon+1000*second, event); err != nil {
				return nil, err
			}
		}
		if second%60 == 59 {
			if err := e.flush(); err != nil {
				return nil, err
			}
		}
	}
	e.agg.Advance(e.part, noon+140*60_000, true)
	if err := e.flush(); err != nil {
		return nil, err
	}
	for _, event := range eventsOf(119 * 60) {
		if err := e.take(noon+141*60_000, event); err != nil {
			return nil, err
		}
	}
	e.agg.Advance(e.part, noon+50*3600_000, true)
	return e.out, e.flush()
})

// noon of 2026-11-01.
const noon = int64(1793534400000)

type engine struct {
	agg     *detector.Aggregator
	judge   *detector.Judge
	part    *detector.Partition
	decoder *wire.Decoder
	offset  int64
	out     []detector.Output
}

func (e *engine) take(at int64, event string) error {
	var ev detector.Event
	if r := e.decoder.Decode([]byte(event), at, &ev); r != nil {
		return r
	}
	e.agg.Count(e.part, e.offset, &ev)
	e.offset++
	return nil
}

func (e *engine) flush() error {
	deltas, progress := e.agg.Flush()
	for i := range deltas {
		for _, value := range wire.EncodeDelta(&deltas[i]) {
			d, err := wire.DecodeDelta(deltas[i].Domain, value)
			if err != nil {
				return err
			}
			e.judge.Delta(d)
		}
	}
	p, err := wire.DecodeProgress(wire.EncodeProgress(progress))
	if err != nil {
		return err
	}
	if err := e.judge.Progress(p); err != nil {
		return err
	}
	e.out = append(e.out, e.judge.Advance()...)
	return nil
}

// eventsOf are those of one second: ten requests; at first those of a slow service too; from minute 30 a bad deployment, getting worse and then better; from minute 60 slow
// answers; from minute 75 visitors who give up; a breach at minute 90; silence of one service at the end.
func eventsOf(second int64) (out []string) {
	minute := second / 60
	version := "1.41.0"
	if second == 28*60 {
		out = append(out, `{"kind":"change","service":"assessment-api","change":"deploy","version":"1.42.0","previous_version":"1.41.0"}`)
	}
	if minute >= 28 {
		version = "1.42.0"
	}
	failing, slow := int64(0), int64(1)
	switch {
	case minute >= 30 && minute < 34:
		failing = 2
	case minute >= 34 && minute < 40:
		failing = 9
	case minute >= 40 && minute < 46:
		failing = 1
	case minute >= 60 && minute < 66:
		slow = 20
	case minute >= 66 && minute < 72:
		slow = 700
	}
	for i := range int64(10) {
		status := 200
		if i < failing {
			status = 503
			out = append(out, fmt.Sprintf(`{"kind":"error","service":"assessment-api","endpoint":"/v1/answers","version":%q,"error_type":"TimeoutError"}`, version))
		}
		out = append(out, fmt.Sprintf(`{"kind":"latency","service":"assessment-api","endpoint":"/v1/answers","version":%q,"status":%d,"duration_ms":%d}`,
			version, status, (30+(second*7+i*13)%40)*slow))
	}
	if minute < 4 { // slow from the start: nobody knows what is usual
		out = append(out, `{"kind":"latency","service":"assessment-batch","status":200,"duration_ms":5000}`)
	}
	action := "complete"
	if minute >= 75 && minute < 82 {
		action = "abandon"
	}
	out = append(out, fmt.Sprintf(`{"kind":"step","service":"assessment-web","step":"questions","action":%q,"dwell_ms":%d}`, action, 1000+second))
	if second == 90*60 {
		out = append(out, `{"kind":"error","service":"assessment-web","category":"security","message":"token of another session"}`)
	}
	if minute >= 118 { // so that it ends in trouble
		out = append(out, `{"kind":"error","service":"assessment-api","version":"1.42.0"}`, `{"kind":"error","service":"assessment-api"}`)
	}
	return out
}
