package detector

import (
	"bytes"
	"fmt"
	"testing"

	"sevwatch/rules"
)

// FuzzRestore: no snapshot makes Restore panic, nor a judge that was restored of it; what is restored is the same when it is restored again.
func FuzzRestore(f *testing.F) {
	name, text := rules.Runbook()
	cfg := DefaultConfig()
	cfg.CountSessions = map[string]bool{"t": true}
	file, err := rules.Parse(name, text, cfg.RuleOptions())
	if err != nil {
		f.Fatal(err)
	}
	const begin = 1_793_534_400_000
	l := NewLocal(cfg, file)
	p := l.Add(Source{Topic: "t"}, 0, NewPartitionState())
	l.SetPartitions(PartitionSet{Version: 1, Topics: map[string]int{"t": 1}})
	open := 0
	for i := range int64(1200) {
		e := Event{Time: begin + 1000*i, Kind: rules.KindLatency, Value: 20_000_000, HasValue: true, Labels: make([][]byte, len(cfg.Labels)), Session: fmt.Append(nil, i%7)}
		for n, label := range cfg.Labels {
			switch label {
			case "service":
				e.Labels[n] = fmt.Appendf(nil, "s%d", i%2)
			case "status_class":
				if e.Labels[n] = []byte("2xx"); i > 300 && i < 800 {
					e.Labels[n] = []byte("5xx")
				}
			}
		}
		l.Count(p, i, &e)
		if l.Due() {
			if _, err := l.Settle(); err != nil {
				f.Fatal(err)
			}
		}
		if i%300 == 299 {
			open = max(open, l.Judge.Open())
			f.Add(l.Judge.Snapshot())
		}
	}
	if open == 0 {
		f.Fatal("no incident was open: the snapshots hold too little")
	}
	f.Add([]byte(`{"v":1}`))
	for _, set := range []string{`{"few":[2,1]}`, `{"many":"AAE="}`, `{}`} {
		f.Add([]byte(`{"v":2,"domains":[{"panes":[{"Pane":0,"Series":[{"Kind":1,"count":1,"sessioned":1,"sessions":` + set + `},{"Kind":1,"count":1,"sessioned":1,"sessions":{"few":[3]}}]}]}]}`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := Restore(cfg, file, data)
		if err != nil {
			return
		}
		once := j.Snapshot()
		again, err := Restore(cfg, file, once)
		if err != nil {
			t.Fatalf("its own snapshot cannot be restored: %v\n%s", err, once)
		}
		if twice := again.Snapshot(); !bytes.Equal(once, twice) {
			t.Errorf("restored once it is\n%s\nand again\n%s", once, twice)
		}
	})
}
