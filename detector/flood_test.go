package detector

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"sevwatch/rules"
)

// A million distinct label values in a minute: what is kept stays under the limit of series, the messages about all that was known for half a
// minute before are those without the flood, byte for byte, a rule over everything has lost no event, and the limit is told of.
func TestTrap19AMillionLabelValues(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: a million series take seconds")
	}
	const values, limit, start = 1_000_000, 20_000, int64(1793534400000)
	file, err := rules.Parse("flood.yaml", []byte(`
groups:
  - name: flood
    rules:
      - alert: Errors
        signal: {ratio: {errors: error, total: latency}}
        by: [service, endpoint]
        window: 1m
        sample: {min: 5}
        severities: [{severity: sev1, above: 0.5, for: 20s}, {severity: sev3, above: 0.1}]
        recover: {keep_firing_for: 20s}
      - alert: Slow
        signal: {quantile: {of: latency, q: 0.9}}
        by: [service]
        window: 2m
        severities: [{severity: sev2, above: 100}]
        recover: {keep_firing_for: 20s}
      - alert: All
        signal: {count: error}
        window: 10m
        severities: [{severity: sev4, above: 999999}]
        recover: {keep_firing_for: 0s}
      - alert: Overflow
        signal: {count: 'pipeline{name="series_overflow"}'}
        window: 1m
        severities: [{severity: sev3, above: 0}]
        recover: {keep_firing_for: 0s}
`), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Limits.Series = limit
	run := func(flood int) (out []Output, peak uint64, all int64) {
		l := NewLocal(cfg, file)
		l.SetPartitions(PartitionSet{Version: 1, Topics: map[string]int{"a": 1}})
		p := l.Add(Source{"a", 0}, 0, NewPartitionState())
		base := heap()
		settles := 0
		l.Judge.Watch(func(w *Judgement) {
			if w.Rule.Alert == "All" {
				all = max(all, w.Measure.Num)
			}
		})
		event := func(e taleEvent) {
			l.Count(p, p.Offset(), e.of(&cfg))
			if !l.Due() {
				return
			}
			told, err := l.Settle()
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, told...)
			if settles++; settles%8 == 0 && flood > 0 {
				peak = max(peak, heap()-min(base, heap()))
			}
		}
		for second := range int64(600) {
			at := start + second*1000
			for n := range 20 {
				labels := map[string]string{"service": fmt.Sprint("s", n%4), "endpoint": fmt.Sprint("/", n)}
				e := taleEvent{time: at, kind: rules.KindLatency, labels: labels}
				e.measured(50_000_000)
				if n%4 == 1 && second > 330 && second < 400 {
					e.measured(500_000_000)
				}
				event(e)
				if n%5 == 0 && second > 245 && second < 350 {
					event(taleEvent{time: at, kind: rules.KindError, labels: labels})
				}
			}
			if second >= 300 && second < 360 {
				for n := range flood / 60 {
					event(taleEvent{time: at + int64(n%1000), kind: rules.KindError, labels: map[string]string{
						"service": "flood", "error_type": strconv.Itoa(int(second)*flood + n),
					}})
				}
			}
		}
		return out, peak, all
	}
	calm, _, without := run(0)
	want := lines(calm)
	out, peak, all := run(values)
	var rest []Output
	overflow := 0
	for _, o := range out {
		switch i := o.Incident; {
		case i.Rule.Name == "Overflow":
			overflow++
		case i.Rule.Name == "All" || i.Labels["service"] == "flood":
		default:
			rest = append(rest, o)
		}
	}
	if got := lines(rest); got != want || len(calm) < 6 {
		t.Errorf("beside the flood was told\n%s\nexpected\n%s", got, want)
	}
	if all-without != values/60*60 {
		t.Errorf("%d events were counted, %d without the flood", all, without)
	}
	if overflow != 2 {
		t.Errorf("the limit was told of %d times, expected that it opens and is over", overflow)
	}
	// Known series and those of the four open panes, each a quarter more than the limit, and twice what a flush hands over, of 300 bytes each.
	const bound = (5*limit*5/4 + 2*maxCells) * 300
	if peak > bound {
		t.Errorf("%d MB were kept, expected %d at most", peak>>20, bound>>20)
	}
	t.Logf("%d MB of %d were kept at most", peak>>20, bound>>20)
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
