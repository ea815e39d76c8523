package pipeline

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
)

// export writes topics to a file as kcat -J does.
func (p *testPipeline) export(topics ...string) string {
	p.t.Helper()
	var out bytes.Buffer
	for _, topic := range topics {
		for _, r := range p.read(topic) {
			headers := ""
			for _, h := range r.Headers {
				headers += "," + kcatText([]byte(h.Key)) + "," + kcatText(h.Value)
			}
			fmt.Fprintf(&out, `{"topic":%q,"partition":%d,"offset":%d,"tstype":"create","ts":%d,"broker":0,"headers":[%s],"key":%s,"payload":%s}`+"\n",
				topic, r.Partition, r.Offset, r.TimestampMs, strings.TrimPrefix(headers, ","), kcatText(r.Key), kcatText(r.Value))
		}
	}
	path := filepath.Join(p.t.TempDir(), strings.ReplaceAll(topics[0], "/", "_")+".ndjson")
	check(p.t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

// kcatText is bytes as kcat writes them into JSON: as they are, but for what JSON cannot have.
func kcatText(b []byte) string {
	if b == nil {
		return "null"
	}
	out := []byte{'"'}
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < ' ':
			out = fmt.Appendf(out, `\u%04x`, c)
		default:
			out = append(out, c)
		}
	}
	return string(append(out, '"'))
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

// Keys, payloads and headers are bytes, also where they are no UTF-8.
func TestExportedBytes(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, payload := range [][]byte{nil, {}, []byte("ä€\u2028 \\ \""), all, {0, 0, 0, 0, 1, 0xfe}} {
		line := fmt.Sprintf(`{"topic":"a","partition":0,"offset":5,"ts":7,"headers":["k",%s],"key":%s,"payload":%s}`, kcatText(payload), kcatText(payload), kcatText(payload))
		r, ok := readExported([]byte(line))
		if !ok || !bytes.Equal(r.Payload, payload) || !bytes.Equal(r.Key, payload) || !bytes.Equal(r.Headers[1], payload) || (r.Payload == nil) != (payload == nil) {
			t.Errorf("%s\nis read as %q", line, r.Payload)
		}
	}
}

// A CloudEvent whose attributes are headers is read as live reads it.
func TestExportedHeaders(t *testing.T) {
	c, err := ParseConfig("c.yaml", []byte(`{brokers: ["h:1"], sources: [{topic: web, kind: latency, format: cloudevents}]}`))
	check(t, err)
	line := `{"topic":"web","partition":0,"offset":5,"ts":1793534400000,"headers":["ce_specversion","1.0","ce_id","a","ce_source","/a","ce_type","b","ce_time","2026-11-01T12:00:00Z",` +
		`"content-type","application/json"],"key":null,"payload":"{\"service\":\"api\",\"duration_ms\":3}"}`
	var why []string
	r := Replay{
		Config: c.Engine(), Rules: runbook(t, c), Pipeline: c, Files: []string{writeLines(t, [][]byte{[]byte(line)})}, Output: func(detector.Output) error { return nil },
		Rejected: func(_ wire.Origin, r *wire.Reject) { why = append(why, r.Detail) },
	}
	sum, err := r.Run(t.Context())
	if err != nil || sum.Totals.Counted != 1 {
		t.Errorf("%+v, rejected because %q, %v", sum.Totals, why, err)
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
	f(":2: the partition of a is -1, expected 0 to 9999", first+`{"topic":"a","partition":-1,"offset":5,"payload":"{}"}`)
	f(":1: the partition of a is 50000000, expected 0 to 9999", `{"topic":"a","partition":50000000,"offset":5,"payload":"{}"}`)
	f(":1: the partition of a is 10000, expected 0 to 9999", `{"topic":"a","partition":10000,"offset":5,"payload":"{}"}`)
	f(":1: the offset in a/9999 is -1, expected 0 or more", `{"topic":"a","partition":9999,"offset":-1,"payload":"{}"}`)
	f(":2: cannot read the mark: the partition of a is 50000000, expected 0 to 9999",
		first+`{"topic":"marks","partition":0,"offset":5,"payload":"{\"v\":1,\"task\":0,\"idle\":[{\"topic\":\"a\",\"partition\":50000000,\"before\":1,\"to\":1793534400000}]}"}`)
	f(":2: cannot read the mark", first+`{"topic":"marks","partition":0,"offset":5,"payload":"nonsense"}`)
}
