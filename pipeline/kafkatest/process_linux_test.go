package kafkatest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// A test process that is killed takes its children with it. This test runs itself as that process; the child inherits
// the pipe, so the pipe ends only when both are gone.
func TestChildDiesWithUs(t *testing.T) {
	const inside = "KAFKATEST_INSIDE"
	if os.Getenv(inside) != "" {
		child := exec.Command("sleep", "60")
		child.Stdout = os.Stdout
		_, err := startProcess(child)
		check(t, err)
		fmt.Println("started")
		select {}
	}
	r, w, err := os.Pipe()
	check(t, err)
	defer r.Close()
	us := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	us.Env = append(os.Environ(), inside+"=1")
	us.Stdout = w
	check(t, us.Start())
	check(t, w.Close())
	check(t, r.SetReadDeadline(time.Now().Add(20*time.Second)))
	out := bufio.NewReader(r)
	_, err = out.ReadString('\n')
	check(t, err)
	check(t, us.Process.Kill())
	if err := us.Wait(); err == nil {
		t.Error("the killed process ended well")
	}
	if _, err := io.ReadAll(out); err != nil {
		t.Errorf("the child lives on: %v", err)
	}
}
