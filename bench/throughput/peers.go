package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// peer is another engine, as the comparison's folder runs it: PEER/run.sh BROKER TOPIC OUT_TOPIC.
type peer struct {
	name, dir string
	env       []string
}

// peers are the fastest of those that the comparison has measured, of each guarantee.
var peers = []peer{
	{"go-afternoon", "go-afternoon", []string{"WM=partition", "WORKERS=4"}},
	{"flink", "flink", []string{"GUARANTEE=exactly_once", "TUNED=1"}},
	{"kstreams", "kstreams", []string{"GUARANTEE=exactly_once_v2", "TUNED=1"}},
}

// peerEvents is how many events the comparison has measured the peers with.
const peerEvents = 3_000_000

// compared is what the comparison's harness has measured of a peer: its best run.
type compared struct {
	Name    string  `json:"name"`
	Steady  float64 `json:"steady_per_s"`
	Correct bool    `json:"counts_exact"`
}

// compare runs the peers over the comparison's own topic, and so this engine as one of them, from outside.
func (b *bench) compare(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	const topic = "peers"
	gen := exec.CommandContext(ctx, "go", "run", ".", b.cluster.Addr(), topic, strconv.Itoa(peerEvents))
	gen.Dir = filepath.Join(dir, "lib", "gen")
	if out, err := gen.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make the topic of the comparison: %w\n%s", err, out)
	}
	for _, p := range append([]peer{{"sevwatch", "", nil}}, peers...) {
		script := filepath.Join(dir, p.dir, "run.sh")
		if p.dir == "" {
			script = filepath.Join("bench", "peer", "run.sh")
		}
		best := compared{Name: p.name}
		for i := range b.runs {
			cmd := exec.CommandContext(ctx, "bash", script, b.cluster.Addr(), topic, fmt.Sprintf("peers-%s-%d", p.name, i))
			cmd.Env = append(append(os.Environ(), p.env...), "PEERS="+dir, "BROKER_PID="+strconv.Itoa(b.cluster.PID(0)))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			m := resultFields.FindSubmatch(out)
			if m == nil {
				return fmt.Errorf("%s: no result is told: %s", p.name, out)
			}
			fmt.Printf("%s\n", bytes.TrimSpace(out))
			if steady, err := strconv.ParseFloat(string(m[1]), 64); err == nil && steady > best.Steady {
				best.Steady, best.Correct = steady, string(m[2]) == "true"
			}
		}
		b.compared = append(b.compared, best)
	}
	return nil
}

var resultFields = regexp.MustCompile(`(?m)^RESULT .*steady_evps=(\d+) .*correct=(true|false)`)

// ratios prints how many times as fast as each peer the variants were.
func (b *bench) ratios() {
	for _, c := range b.compared {
		fmt.Printf("%-13s %10.0f events/s steady, counts exact: %-5t", c.Name, c.Steady, c.Correct)
		for _, r := range b.measured {
			fmt.Printf("  %s=%.1f times", r.Variant, r.Steady/c.Steady)
		}
		fmt.Println()
	}
}
