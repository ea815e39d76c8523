package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"sevwatch/pipeline"
	"sevwatch/pipeline/postmortem"
)

// messageFlags say where published messages are read.
type messageFlags struct {
	Config string   `help:"Configuration file of the pipeline whose topics are read; without it, FILEs are." placeholder:"FILE"`
	Files  []string `arg:"" optional:"" name:"file" help:"Messages as replay prints them, one a line; - is stdin."`
}

// each gives every message to take.
func (f *messageFlags) each(w world, take func(value []byte) error) error {
	if (f.Config == "") == (len(f.Files) == 0) {
		return exit{exitUsage, errors.New("expected either --config or files of messages")}
	}
	if f.Config != "" {
		cfg, client, err := connect(w, f.Config)
		if err != nil {
			return err
		}
		passed := 0
		err = pipeline.ReadMessages(w.ctx, cfg, client, func(value []byte) error {
			err := take(value)
			if errors.Is(err, postmortem.ErrSeveral) {
				return err
			}
			if err != nil {
				if passed++; passed == 1 {
					fmt.Fprintf(w.stderr, "passed over: %s\n", err)
				}
			}
			return nil
		})
		if err != nil {
			return topicsError(err)
		}
		if passed > 1 {
			fmt.Fprintf(w.stderr, "and %s more that cannot be read\n", counted(int64(passed-1), "message"))
		}
	}
	for _, name := range f.Files {
		if err := readMessages(w, name, take); err != nil {
			return exit{exitUsage, err}
		}
	}
	return nil
}

func readMessages(w world, name string, take func(value []byte) error) error {
	in := w.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("cannot open the messages: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := take(lines.Bytes()); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	return lines.Err()
}
