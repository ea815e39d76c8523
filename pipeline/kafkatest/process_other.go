//go:build !linux

package kafkatest

import "syscall"

// childAttr gives a child its own process group. A child outlives us here if we die without closing the cluster.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
