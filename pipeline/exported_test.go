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
			r.Kafka, r.Files, r.Sources, r.MarksTopic = nil, files, p.cfg.Sources, p.cfg.Topics.Marks
		})
	}
	got, sum := replayed(p.export(append(topics, p.cfg.Topics.Marks)...))
	same(t, "one file", live, got)
	if sum.Totals.Late != 120 || len(sum.Doubts) != 0 {
		t.Errorf("one file: %+v", sum)
	}
	got, _ = replayed(p.export(p.cfg.Topics.Marks), p.export(topics[1:]...), p.export(topics[0]))
	same(t, "several files", live, got)
	got, sum = replayed(p.export(topics...))
	if sum.Totals.Late != 0 || len(sum.Doubts) != 1 || strings.Join(got, "") == strings.Join(live, "") {
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
		r := Replay{Files: files, MarksTopic: "marks"}
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
	f(":2: cannot read the mark", first+`{"topic":"marks","partition":0,"offset":5,"payload":"nonsense"}`)
}
