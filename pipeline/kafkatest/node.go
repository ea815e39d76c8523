package kafkatest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// node is one broker: what stays the same over its restarts, and the process that runs now.
type node struct {
	id             int
	dir            string
	addr           string
	controllerAddr string

	mu     sync.Mutex // held by whoever starts, signals or ends the process
	proc   *process   // nil if the broker was never started or was ended by us
	paused bool
}

// newNodes lays out n brokers under dir and picks their ports. It starts nothing.
func newNodes(dir string, n int) ([]*node, error) {
	addrs, err := freeAddrs(2 * n)
	if err != nil {
		return nil, err
	}
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = &node{
			id:             i,
			dir:            filepath.Join(dir, "broker-"+strconv.Itoa(i)),
			addr:           addrs[2*i],
			controllerAddr: addrs[2*i+1],
		}
	}
	return nodes, nil
}

// freeAddrs returns n loopback addresses on which nobody listens. The ports lie below those that systems give to
// outgoing connections; otherwise a client could take the port of a killed broker before it starts again.
func freeAddrs(n int) ([]string, error) {
	const lowest, count, mostTries = 20_000, 12_000, 1_000
	var addrs []string
	for range mostTries {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(count))))
		if err != nil {
			continue
		}
		defer l.Close() // only when all are found, so that none is found twice
		addrs = append(addrs, l.Addr().String())
		if len(addrs) == n {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("cannot find %d free ports after %d tries", n, mostTries)
}

func (n *node) properties() string { return filepath.Join(n.dir, "server.properties") }
func (n *node) data() string       { return filepath.Join(n.dir, "data") }
func (n *node) output() string     { return filepath.Join(n.dir, "server.log") }

// start runs cmd as this broker, its output appended to the node's file.
func (n *node) start(cmd *exec.Cmd) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc.running() {
		return fmt.Errorf("cannot start broker %d: it runs", n.id)
	}
	out, err := os.OpenFile(n.output(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cannot start broker %d: %w", n.id, err)
	}
	defer out.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = out, out
	proc, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("cannot start broker %d: %w", n.id, err)
	}
	n.proc, n.paused = proc, false
	return nil
}

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.proc.running() {
		return 0
	}
	return n.proc.pid
}

// answers says whether the broker should answer requests: it runs and is not paused.
func (n *node) answers() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc.running() && !n.paused
}

func (n *node) kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.proc.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("cannot kill broker %d: %w", n.id, err)
	}
	<-n.proc.done
	return nil
}

func (n *node) stop(limit time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} { // a paused broker must wake to obey
		if err := n.proc.signal(sig); err != nil {
			return fmt.Errorf("cannot stop broker %d: %w", n.id, err)
		}
	}
	select {
	case <-n.proc.done:
		return nil
	case <-time.After(limit):
	}
	if n.proc.signal(syscall.SIGKILL) == nil {
		<-n.proc.done
	}
	return fmt.Errorf("cannot stop broker %d: it did not end within %v and was killed", n.id, limit)
}

func (n *node) pause(sig syscall.Signal, paused bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.proc.signal(sig); err != nil {
		return fmt.Errorf("cannot pause or resume broker %d: %w", n.id, err)
	}
	n.paused = paused
	return nil
}

// tail returns the end of what the broker wrote.
func (n *node) tail() string {
	const most = 4_000
	out, err := os.ReadFile(n.output())
	if err != nil {
		return err.Error()
	}
	return string(out[max(0, len(out)-most):])
}
