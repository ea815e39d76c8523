package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
)

var errNotRunning = errors.New("it does not run")

// process is a child in a process group of its own. One goroutine starts it, waits for it and then closes done.
type process struct {
	pid  int
	done chan struct{}
	err  error // how it ended; read it only after done
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = childAttr()
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go p.own(cmd, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// own keeps its thread from start to end, because Linux sends a child its parent-death signal when the thread that
// started it ends.
func (p *process) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := cmd.Start()
	if err == nil {
		p.pid = cmd.Process.Pid
	}
	started <- err
	if err == nil {
		p.err = cmd.Wait()
	}
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends sig to the whole group.
func (p *process) signal(sig syscall.Signal) error {
	if !p.running() {
		return errNotRunning
	}
	return syscall.Kill(-p.pid, sig)
}

// run runs cmd to its end, or kills its group when ctx is done. The error carries what it wrote.
func run(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	p, err := startProcess(cmd)
	if err != nil {
		return "", fmt.Errorf("cannot run %s: %w", cmd.Path, err)
	}
	select {
	case <-p.done:
		err = p.err
	case <-ctx.Done():
		err = ctx.Err()
		if p.signal(syscall.SIGKILL) == nil {
			<-p.done
		}
	}
	if err != nil {
		return "", fmt.Errorf("cannot run %v: %w\n%s%s", cmd.Args, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String(), nil
}
