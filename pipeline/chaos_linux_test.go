package pipeline

import "syscall"

// dieWithParent ends a child when the test that started it is gone.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
