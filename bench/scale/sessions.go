package main

import (
	"fmt"
	"strconv"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// sessionShapes are rules about sessions, a group for each series, and how many series they are measured with.
var sessionShapes = []struct {
	shape
	series int
}{
	{shape{"count 5m, none counted", `{count: latency}`, "endpoint", "5m", 0}, 1000},
	{shape{"count 5m, 3 a pane", `{count: latency}`, "endpoint", "5m", 3}, 1000},
	{shape{"distinct 5m, 3 a pane", `{distinct: latency}`, "endpoint", "5m", 3}, 1000},
	{shape{"distinct 5m, 30 a pane", `{distinct: latency}`, "endpoint", "5m", 30}, 1000},
	{shape{"distinct 5m, 1000 a pane", `{distinct: latency}`, "endpoint", "5m", 1000}, 100},
	{shape{"distinct 1h, 3 a pane", `{distinct: latency}`, "endpoint", "1h", 3}, 1000},
	{shape{"distinct 1h, 30 a pane", `{distinct: latency}`, "endpoint", "1h", 30}, 1000},
	{shape{"distinct 1h, 1000 a pane", `{distinct: latency}`, "endpoint", "1h", 1000}, 100},
}

// runSessions measures what it costs to count sessions: an event in the first stage, and a series in the second.
func runSessions() error {
	fmt.Printf("%-26s %10s\n", "sessions of a series", "event ns")
	for _, sessions := range []int{0, 1, 100, 10_000} {
		fmt.Printf("%-26d %10.0f\n", sessions, sessionEvent(sessions))
	}
	fmt.Printf("%-26s %9s %10s %12s %9s %9s\n", "rule", "series", "delta B", "merge ns", "close µs", "B/series")
	for _, s := range sessionShapes {
		p, err := measure(s.shape, s.series)
		if err != nil {
			return err
		}
		size := 0
		for _, value := range wire.EncodeDelta(sessionPane(s.series, s.sessions, 0)) {
			size += len(value)
		}
		fmt.Printf("%-26s %9d %10d %12.0f %9.1f %9.0f\n", s.name, s.series, size/s.series, p.Merge, p.Close*1e6/float64(s.series), p.Bytes)
	}
	return nil
}

// counting is a first stage that counts sessions, and its partition.
func counting(on bool) (*detector.Aggregator, *detector.Partition) {
	cfg := detector.DefaultConfig()
	cfg.CountSessions = map[string]bool{"t": on}
	agg := detector.NewAggregator(cfg, 0, 1)
	return agg, agg.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
}

// sessionEvent is what an event costs in the first stage, decoded and counted, in ns; 0: sessions are not counted.
func sessionEvent(sessions int) float64 {
	agg, p := counting(sessions > 0)
	d := wire.NewDecoder(rules.NoKind, rules.DefaultLabels())
	var e detector.Event
	value := record(1, 0)
	names := make([][]byte, max(1, sessions))
	for i := range names {
		names[i] = fmt.Appendf(nil, "%016x", i)
	}
	start, n := cpu(), 0
	for ; cpu()-start < time.Second; n += 10_000 {
		for i := range 10_000 {
			if r := d.Decode(value, -1, &e); r != nil {
				panic("BUG: " + r.Detail)
			}
			e.Session = names[(n+i)%len(names)]
			agg.Count(p, p.Offset(), &e)
		}
	}
	return float64((cpu() - start).Nanoseconds()) / float64(n)
}

// sessionPane is a delta in which every series has an event of so many sessions, others in each pane.
func sessionPane(series, sessions, pane int) *detector.Delta {
	agg, p := counting(true)
	var labels [][]byte
	for _, name := range rules.DefaultLabels() {
		labels = append(labels, nil)
		if name == "service" {
			labels[len(labels)-1] = []byte("assessment-api")
		}
	}
	for i := range series {
		labels[1] = strconv.AppendInt(nil, int64(i), 10) // endpoint
		for k := range max(1, sessions) {
			e := detector.Event{Kind: rules.KindLatency, Labels: labels, Value: 20_000_000, HasValue: true}
			if sessions > 0 {
				e.Session = fmt.Appendf(nil, "%d %d", pane*sessions+k, i)
			}
			agg.Count(p, p.Offset(), &e)
		}
	}
	deltas, _ := agg.Flush()
	return &deltas[0]
}
