package pipeline

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sevwatch/pipeline/kafkatest"
)

// export writes topics to a file as kcat -J does.
func (p *testPipeline) export(topics ...string) string {
	p.t.Helper()
	var out bytes.Buffer
	for _, topic := range topics {
		for _, r := range p.read(topic) {
			line, err := json.Marshal(map[string]any{
				"topic": topic, "partition": r.Partition, "offset": r.Offset, "tstype": "create", "ts": r.TimestampMs, "broker": 0,
				"key": string(r.Key), "payload": string(r.Value),
			})
			check(p.t, err)
			out.Write(append(line, '\n'))
		}
	}
	path := filepath.Join(p.t.TempDir(), strings.ReplaceAll(topics[0], "/", "_")+".ndjson")
	check(p.t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

// replayedAlike replays the pipeline's topics, and the files that they are exported to, by the rules of the log. Both are what live told. The
// control records are part of that.
func (p *testPipeline) replayedAlike(edge int64, live []string) {
	p.t.Helper()
	other := runbook(p.t, p.cfg)
	topics := []string{p.cfg.Topics.Marks}
	for _, s := range p.cfg.Sources {
		topics = append(topics, s.Topic)
	}
	got, sum := p.replayedTopics(edge, func(r *Replay) { r.Rules = other })
	same(p.t, "replayed from topics", live, got)
	if len(sum.Doubts) > 0 {
		p.t.Errorf("replayed from topics: %q", sum.Doubts)
	}
	files := func(topics ...string) ([]string, Summary) {
		return p.replayedTopics(edge, func(r *Replay) { r.Rules, r.Kafka, r.Files = other, nil, []string{p.export(topics...)} })
	}
	got, sum = files(append(topics, p.cfg.Topics.Control)...)
	same(p.t, "replayed from exported files", live, got)
	if len(sum.Doubts) > 0 {
		p.t.Errorf("replayed from exported files: %q", sum.Doubts)
	}
	got, sum = files(topics...)
	if len(sum.Doubts) != 1 || !strings.Contains(sum.Doubts[0], "what people said live is not known") || strings.Join(got, "") == strings.Join(live, "") {
		p.t.Errorf("without control records: %q, and nothing changed: %v", sum.Doubts, strings.Join(got, "") == strings.Join(live, ""))
	}
}

// Exported files with their marks give the same bytes as live, one file or several; without the marks the summary says what that can change.
func TestReplayOfExportedFilesIsWhatRunPublished(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	p.story()
	w, stop := p.start()
	p.until("taking up", func() bool { return w.Edge() != unknown })
	edge := w.Edge()
	stop()
	live := p.outputs(edge)
	var topics []string
	for _, s := range p.cfg.Sources {
		topics = append(topics, s.Topic)
	}
	replayed := func(files ...string) ([]string, Summary) {
		return p.replayedTopics(edge, func(r *Replay) {
			r.Kafka, r.Files = nil, files
		})
	}
	got, sum := replayed(p.export(append(topics, p.cfg.Topics.Marks, p.cfg.Topics.Control)...))
	same(t, "one file", live, got)
	if sum.Totals.Late != 120 || len(sum.Doubts) != 0 {
		t.Errorf("one file: %+v", sum)
	}
	got, _ = replayed(p.export(p.cfg.Topics.Marks), p.export(topics[1:]...), p.export(topics[0]))
	same(t, "several files", live, got)
	got, sum = replayed(p.export(topics...))
	if sum.Totals.Late != 0 || len(sum.Doubts) != 2 || strings.Join(got, "") == strings.Join(live, "") {
		t.Errorf("without marks: %d messages of %+v", len(got), sum)
	}
}

func TestMistakesInExportedFiles(t *testing.T) {
	f := func(want string, contents ...string) {
		t.Helper()
		var files []string
		for _, c := range contents {
			files = append(files, writeLines(t, [][]byte{[]byte(c)}))
		}
		r := Replay{Files: files, Control: make([]ControlRecord, 1), Pipeline: &Config{Topics: Topics{Marks: "marks", Control: "control"}}}
		if _, err := r.anyExported(); err == nil {
			topics := &topicReplay{Replay: &r}
			err = topics.survey()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, expected %q in it", err, want)
			}
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, expected %q in it", err, want)
		}
	}
	const first = `{"topic":"a","partition":0,"offset":5,"payload":"{}"}` + "\n"
	f("replay them apart", first, `{"time":5}`)
	f(":2: the line has no topic, partition and offset", first+`{"time":5}`)
	f(":2: offset 5 of a/0 comes after offset 5", first+first)
	f(":1: it is a record of control, and control records are given apart", `{"topic":"control","partition":0,"offset":5,"payload":"{}"}`)
	f(":2: cannot read the mark", first+`{"topic":"marks","partition":0,"offset":5,"payload":"nonsense"}`)
}
