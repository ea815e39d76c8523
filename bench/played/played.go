// Package played replays a public set through the engine under a rule file, for the commands that say how the rules do.
package played

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"sevwatch/bench/convert/sets"
	"sevwatch/detector"
	"sevwatch/pipeline"
	"sevwatch/rules"
)

// Rules reads a rule file; "" is the embedded runbook.
func Rules(path string) (*rules.File, error) {
	name, data := rules.Runbook()
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("cannot read the rules: %w", err)
		}
		name = path
	}
	return rules.Parse(name, data, rules.Options{})
}

// Incidents streams the set's events through the engine and returns every revision, in the order of messages.
func Incidents(ctx context.Context, fsys fs.FS, set sets.Set, file *rules.File) ([]*detector.Incident, pipeline.Summary, error) {
	in, out := io.Pipe()
	go func() {
		w := bufio.NewWriter(out)
		var buf []byte
		for e, err := range set.Events(fsys) {
			if err == nil {
				buf = append(e.AppendJSON(buf[:0]), '\n')
				_, err = w.Write(buf)
			}
			if err != nil {
				out.CloseWithError(err)
				return
			}
		}
		out.CloseWithError(w.Flush())
	}()
	var incidents []*detector.Incident
	r := pipeline.Replay{
		Config: detector.DefaultConfig(), Rules: file, Files: []string{"-"}, Stdin: in,
		Output: func(o detector.Output) error {
			if o.Incident != nil {
				incidents = append(incidents, o.Incident)
			}
			return nil
		},
	}
	sum, err := r.Run(ctx)
	return incidents, sum, errors.Join(err, in.Close())
}
