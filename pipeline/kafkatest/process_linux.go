package kafkatest

import "syscall"

// childAttr gives a child its own process group, and its death when we die: also by panic or interrupt.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
