// Scale measures what series cost: an event among so many of them, a pane of so many in the judge, and the memory that each one keeps.
// Times are processor time. It draws the curves from 10 series to a million.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// point is what was measured with one number of series.
type point struct {
	Series int     `json:"series"`
	Event  float64 `json:"event_ns"`        // decode and count, each event of another series
	Flush  float64 `json:"flush_ns_series"` // hand over and encode what a pane gained
	Merge  float64 `json:"merge_ns_series"` // decode a delta and merge it
	Close  float64 `json:"close_s"`         // close a pane in which every series has something
	State  float64 `json:"state_s"`         // say what of the judge's state has changed by that
	Bytes  float64 `json:"bytes_series"`    // of memory, with something in every pane of the window, and what was said of the state
	Most   float64 `json:"series_panes_s"`  // series with something in a pane that one judge takes a second: what one domain can have
}

// shape is a rule whose memory is measured.
type shape struct {
	name, signal, by, window string

	sessions int // that every series has in a pane, others in each; 0: they are not counted
}

var shapes = []shape{
	{"count 5m", `{count: latency}`, "service", "5m", 0},
	{"ratio 5m", `{ratio: {errors: 'latency{status_class="5xx"}', total: latency}}`, "service", "5m", 0},
	{"ratio 5m, a group each", `{ratio: {errors: 'latency{status_class="5xx"}', total: latency}}`, "endpoint", "5m", 0},
	{"quantile 5m", `{quantile: {of: latency, q: 0.95}}`, "service", "5m", 0},
	{"count 1h", `{count: latency}`, "service", "1h", 0},
	{"ratio 1h", `{ratio: {errors: 'latency{status_class="5xx"}', total: latency}}`, "service", "1h", 0},
	{"quantile 1h", `{quantile: {of: latency, q: 0.95}}`, "service", "1h", 0},
	{"runbook", "", "", "", 0},
}

func main() {
	most := flag.Int("most", 1_000_000, "largest number of series")
	peak := flag.Int("peak", 0, "only so many series of every ratio rule, each in a process of its own, and how much memory that takes at most")
	only := flag.String("only", "", "only the rule of that name, with -peak series")
	sessions := flag.Bool("sessions", false, "only what it costs to count sessions")
	results := flag.String("results", "", "directory for curves.svg and scale.json")
	flag.Parse()
	var err error
	switch {
	case *sessions:
		err = runSessions()
	case *only != "":
		err = one(*only, *peak)
	case *peak > 0:
		err = peaks(*peak)
	default:
		err = run(*most, *results)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// peaks measures the ratio rules over 5 minutes, each in a process of its own, because a process never gives back what it had at most.
func peaks(n int) error {
	fmt.Printf("%-24s %9s %9s %9s\n", "rule", "series", "B/series", "peak MB")
	for _, s := range shapes[1:3] {
		cmd := exec.CommandContext(context.Background(), os.Args[0], "-only", s.name, "-peak", strconv.Itoa(n))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10 // KiB on Linux
		fmt.Printf("%-24s %9d %9s %9d\n", s.name, n, out, peak)
	}
	return nil
}

// one prints the bytes a series of one rule.
func one(name string, n int) error {
	i := slices.IndexFunc(shapes, func(s shape) bool { return s.name == name })
	if i < 0 {
		return fmt.Errorf("no rule is called %q", name)
	}
	p, err := measure(shapes[i], n)
	fmt.Printf("%.0f", p.Bytes)
	return err
}

func run(most int, results string) error {
	fmt.Printf("%-24s %9s %9s %10s %10s %9s %9s %9s %11s\n", "rule", "series", "event ns", "flush ns", "merge ns", "close s", "state s", "B/series", "series/s")
	all := map[string][]point{}
	show := func(name string, p point) {
		all[name] = append(all[name], p)
		fmt.Printf("%-24s %9d %9.0f %10.0f %10.0f %9.4f %9.4f %9.0f %11.0f\n", name, p.Series, p.Event, p.Flush, p.Merge, p.Close, p.State, p.Bytes, p.Most)
	}
	for n := 10; n <= most; n *= 10 {
		p, err := measure(shapes[1], n)
		if err != nil {
			return err
		}
		p.Event, p.Flush = events(n)
		show(shapes[1].name, p)
	}
	for _, s := range shapes {
		p, err := measure(s, 10_000)
		if err != nil {
			return err
		}
		show(s.name, p)
	}
	if results == "" {
		return nil
	}
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(results, "scale.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(results, "scale.svg"), curves(all[shapes[1].name][:len(all[shapes[1].name])-1]), 0o644)
}

// record is an event of one of many series.
func record(series int, ms int64) []byte {
	return fmt.Appendf(nil, `{"time":"2026-11-01T00:00:%02d.%03dZ","kind":"latency","service":"assessment-api","endpoint":"/v1/%06d","step":"questions",`+
		`"region":"eu-west","version":"1.40.0","session":"78fc2ffac2fd9401","status":200,"duration_ms":%d.123}`, ms/1000%10, ms%1000, series, 20+series%500)
}

// events is what an event costs among n series in a pane, and what a series costs when the pane is flushed.
func events(n int) (event, flush float64) {
	records := make([][]byte, min(n, 200_000)) // the rest are made on the way
	for i := range records {
		records[i] = record(i, int64(i%10_000))
	}
	agg := detector.NewAggregator(detector.DefaultConfig(), 0, 1)
	p := agg.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
	d := wire.NewDecoder(rules.NoKind, rules.DefaultLabels())
	var e detector.Event
	count := func(value []byte) {
		if r := d.Decode(value, -1, &e); r != nil {
			panic("BUG: " + r.Detail)
		}
		agg.Count(p, p.Offset(), &e)
	}
	for i := range n { // so that the series are known
		count(record(i, int64(i%10_000)))
	}
	start, rounds := cpu(), 0
	for ; cpu()-start < 300*time.Millisecond; rounds++ {
		for i := range records {
			count(records[(i*7919)%len(records)])
		}
	}
	event = float64((cpu() - start).Nanoseconds()) / float64(rounds*len(records))
	start = cpu()
	deltas, _ := agg.Flush()
	for i := range deltas {
		wire.EncodeDelta(&deltas[i])
	}
	return event, float64((cpu() - start).Nanoseconds()) / float64(n)
}

// measure fills the judge's window with a cell of every series in every pane.
func measure(s shape, n int) (point, error) {
	file, err := s.rules()
	if err != nil {
		return point{}, err
	}
	before := heap()
	cfg := detector.DefaultConfig()
	cfg.Limits = detector.Limits{} // what they are for is measured here
	judge := detector.NewJudge(cfg, file)
	decoder := wire.DeltaDecoder{Known: judge.Known}
	var values [][]byte
	for from := 0; from < n && s.sessions == 0; from += together {
		values = append(values, wire.EncodeDelta(pane(from, min(n, from+together)))...)
	}
	panes := int64(0)
	for _, r := range file.Rules() {
		panes = max(panes, int64(r.Window)/10_000)
	}
	out := point{Series: n, Close: 1e9, Merge: 1e9}
	for at := int64(0); at <= panes; at++ {
		if s.sessions > 0 {
			values = wire.EncodeDelta(sessionPane(n, s.sessions, int(at)))
		}
		start := cpu()
		for _, value := range values {
			d, err := decoder.Decode("", value)
			if err != nil {
				return out, err
			}
			d.Pane = at * 10_000
			judge.Delta(d)
		}
		out.Merge = min(out.Merge, float64((cpu()-start).Nanoseconds())/float64(n))
		start = cpu()
		progress := detector.Progress{
			Set:        detector.PartitionSet{Version: 1, Topics: map[string]int{"t": 1}},
			Partitions: []detector.PartitionProgress{{Source: detector.Source{Topic: "t"}, From: at, To: at + 1, Watermark: (at + 1) * 10_000}},
			Events:     []detector.PaneEvents{{Pane: at * 10_000, Events: int64(n)}},
		}
		if err := judge.Progress(&progress); err != nil {
			return out, err
		}
		judge.Advance()
		closed := cpu()
		judge.Changes()
		if at == panes { // the window is full: one pane enters and one leaves
			out.Close, out.State = (closed - start).Seconds(), (cpu() - closed).Seconds()
		}
	}
	out.Most = float64(n) / (out.Merge*float64(n)/1e9 + out.Close + out.State)
	out.Bytes = float64(heap()-before) / float64(n)
	runtime.KeepAlive(judge)
	return out, nil
}

// rules are the shape's rule, or the runbook's.
func (s shape) rules() (*rules.File, error) {
	name, text := rules.Runbook()
	if s.signal != "" {
		name, text = "scale", fmt.Appendf(nil,
			"groups: [{name: g, rules: [{alert: A, signal: %s, by: [%s], window: %s, severities: [{severity: sev1, %s}]}]}]\n",
			s.signal, s.by, s.window, threshold(s))
	}
	return rules.Parse(name, text, rules.Options{Labels: rules.DefaultLabels(), Pane: 10_000})
}

func threshold(s shape) string {
	if s.name[0] == 'r' {
		return "above: 0.5"
	}
	return "above: 1000000000"
}

// together is how many series a delta has at most.
const together = 100_000

// pane is a delta in which every series of some has something.
func pane(from, to int) *detector.Delta {
	agg := detector.NewAggregator(detector.DefaultConfig(), 0, 1)
	p := agg.Add(detector.Source{Topic: "t"}, 0, detector.NewPartitionState())
	d := wire.NewDecoder(rules.NoKind, rules.DefaultLabels())
	var e detector.Event
	for i := from; i < to; i++ {
		if r := d.Decode(record(i, int64(i%10_000)), -1, &e); r != nil {
			panic("BUG: " + r.Detail)
		}
		agg.Count(p, p.Offset(), &e)
	}
	deltas, _ := agg.Flush()
	if len(deltas) != 1 || len(deltas[0].Series) != to-from {
		panic(fmt.Sprintf("BUG: %d deltas of %d events, expected one of as many series", len(deltas), to-from))
	}
	return &deltas[0]
}

// cpu is the processor time that this process has used: other processes on the machine change it little.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("BUG: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
