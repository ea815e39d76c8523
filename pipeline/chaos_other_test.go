//go:build !linux

package pipeline

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
