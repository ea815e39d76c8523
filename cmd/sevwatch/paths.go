package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// path is a file that a command reads or writes, and the flag that names it.
type path struct {
	flag  string // "" of arguments
	name  string
	stdin bool
	info  os.FileInfo // nil: no such file is there, or it is not known
}

// reads is a file that is read, "-" is stdin.
func (w world) reads(flag, name string) path {
	if name != "-" {
		return writes(flag, name)
	}
	return path{flag: flag, name: name, stdin: true, info: infoOf(w.stdin)}
}

// writes is a file that is written.
func writes(flag, name string) path {
	p := path{flag: flag, name: name}
	if info, err := os.Stat(name); err == nil {
		p.info = info
	}
	return p
}

// infoOf is which file stdin or stdout is, nil if that is not known.
func infoOf(stream any) os.FileInfo {
	if f, ok := stream.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			return info
		}
	}
	return nil
}

func (p path) String() string { return strings.TrimSpace(p.flag + " " + p.name) }

// same says whether both are one file. Of files that are not there yet: whether they would be.
func (p path) same(other path) bool {
	switch {
	case p.stdin && other.stdin:
		return true
	case p.info != nil && other.info != nil:
		return os.SameFile(p.info, other.info)
	case p.info != nil || other.info != nil || p.stdin || other.stdin:
		return false
	}
	a, errA := filepath.Abs(p.name)
	b, errB := filepath.Abs(other.name)
	if errA != nil || errB != nil || filepath.Base(a) != filepath.Base(b) {
		return false
	}
	dirA, errA := os.Stat(filepath.Dir(a))
	dirB, errB := os.Stat(filepath.Dir(b))
	return a == b || errA == nil && errB == nil && os.SameFile(dirA, dirB)
}

// keepApart refuses to write a file that is read, or that is written for something else too. Devices and pipes have nothing that could be lost.
func keepApart(read, written []path) error {
	for i, out := range written {
		if out.name == "" || out.info != nil && !out.info.Mode().IsRegular() {
			continue
		}
		for _, in := range read {
			if in.name != "" && out.same(in) {
				return exit{exitUsage, fmt.Errorf("%s would overwrite %s, which is read: expected another file", out, in)}
			}
		}
		for _, other := range written[:i] {
			if other.name != "" && out.same(other) {
				return exit{exitUsage, fmt.Errorf("%s and %s are one file: expected two", other, out)}
			}
		}
	}
	return nil
}

// unpacked is the name of a file without what compressing it adds.
func unpacked(name string) string {
	clean := filepath.Clean(name)
	if ext := strings.ToLower(filepath.Ext(clean)); ext == ".gz" || ext == ".zst" {
		return strings.TrimSuffix(clean, filepath.Ext(clean))
	}
	return clean
}

// onlyOnce refuses event files that are given twice: their events would be counted twice.
func (w world) onlyOnce(names []string) error {
	var before []path
	for _, name := range names {
		p := w.reads("", name)
		for _, other := range before {
			switch {
			case !p.same(other) && unpacked(p.name) == unpacked(other.name) && !p.stdin:
				return exit{exitUsage, fmt.Errorf("%s and %s have one name but for the compression: expected each file once", other, p)}
			case !p.same(other):
			case p.name == other.name:
				return exit{exitUsage, fmt.Errorf("%s is given twice: expected each file once", p)}
			default:
				return exit{exitUsage, fmt.Errorf("%s and %s are the same file: expected each file once", other, p)}
			}
		}
		before = append(before, p)
	}
	return nil
}
