package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
)

// putAside writes records to the rejected topic as a worker does.
func putAside(t *testing.T, broker string, records ...wire.Record) {
	t.Helper()
	var out []kafka.Record
	for _, r := range records {
		k := kafka.Record{Time: time.UnixMilli(r.Time), Key: kafka.NewBytes(r.Key), Value: kafka.NewBytes(r.Value)}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kafka.Header{Key: h.Key, Value: h.Value})
		}
		out = append(out, k)
	}
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	res, err := client.Produce(t.Context(), &kafka.ProduceRequest{
		Topic: "sevwatch.rejected", Partition: 1, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(out...),
	})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRejected(t *testing.T) {
	broker, _ := kafkatest.Fake(t)
	config := configFile(t, broker)
	code, stdout, _ := call(t, "", "topics", "--config", config, "--create")
	expect(t, "topics", exitDone, code, stdout)
	code, stdout, stderr := call(t, "", "rejected", "--config", config)
	expect(t, "an empty topic", exitDone, code, stdout)
	expect(t, "an empty topic", exitDone, code, stderr, "no such records on sevwatch.rejected")

	var records []wire.Record
	for i := range 5 {
		o := wire.Origin{
			Source: detector.Source{Topic: "assessment.latency", Partition: 2}, Offset: int64(100 + i),
			Record: wire.Record{Key: []byte("k"), Value: fmt.Appendf(nil, `{"duration_ms":-%d}`, i), Time: 1793534400000},
		}
		records = append(records, wire.Rejected(o, &wire.Reject{Reason: wire.OutOfRange, Detail: "duration_ms is negative"}))
	}
	gone := wire.Origin{Source: detector.Source{Topic: "gone"}, Record: wire.Record{Value: []byte("\xff\x00"), Time: 1793534400000}}
	putAside(t, broker, append(records, wire.Rejected(gone, &wire.Reject{Reason: wire.NotJSON, Detail: "unexpected byte"}))...)

	code, stdout, _ = call(t, "", "rejected", "--config", config, "--samples", "2")
	expect(t, "the list", exitDone, code, stdout, "out_of_range             5  assessment.latency\n", "not_json                 1  gone\n",
		`    2/100: duration_ms is negative: "{\"duration_ms\":-0}"`, `    0/0: unexpected byte: "\xff\x00"`)
	if n := strings.Count(stdout, "\n"); n != 5 {
		t.Errorf("%d lines, expected 5:\n%s", n, stdout)
	}
	code, stdout, _ = call(t, "", "rejected", "--config", config, "--format", "ndjson", "--reason", "not_json", "--reason", "bad_utf8")
	expect(t, "as JSON", exitDone, code, stdout, `{"reason":"not_json","detail":"unexpected byte","topic":"gone","partition":0,"offset":0,`+
		`"time":"2026-11-01T12:00:00.000Z","value_base64":"/wA="}`+"\n")
	if !json.Valid([]byte(stdout)) {
		t.Errorf("more than one line: %s", stdout)
	}
	code, stdout, _ = call(t, "", "rejected", "--config", config, "--source", "gone")
	expect(t, "of one topic", exitDone, code, stdout, "not_json")
	if strings.Contains(stdout, "out_of_range") {
		t.Errorf("of another topic: %s", stdout)
	}
	code, _, stderr = call(t, "", "rejected", "--config", config, "--late")
	expect(t, "late ones", exitDone, code, stderr, "no such records on sevwatch.late")

	code, _, stderr = call(t, "", "rejected", "--config", config, "--resend")
	expect(t, "sent back", exitDone, code, stderr, "5 records of sevwatch.rejected sent back, 0 had been before; 1 not: their topic is no source of "+config)
	code, _, stderr = call(t, "", "rejected", "--config", config, "--resend", "--reason", "out_of_range")
	expect(t, "sent back again", exitDone, code, stderr, "0 records of sevwatch.rejected sent back, 5 had been before\n")

	back := records[0]
	back.Headers = append([]wire.Header{{Key: "sevwatch_resent", Value: []byte("1")}}, back.Headers...)
	putAside(t, broker, back)
	code, _, stderr = call(t, "", "rejected", "--config", config, "--resend", "--reason", "out_of_range")
	expect(t, "a copy", exitDone, code, stderr, "0 records of sevwatch.rejected sent back, 5 had been before; "+
		"1 not: copies that were sent back and came here again (--again sends them)\n")
	for _, want := range []string{"1 record of sevwatch.rejected sent back, 5 had been before\n", "0 records of sevwatch.rejected sent back, 6 had been before\n"} {
		code, _, stderr = call(t, "", "rejected", "--config", config, "--resend", "--again", "--reason", "out_of_range")
		expect(t, "the copy is asked for", exitDone, code, stderr, want)
	}
	code, _, stderr = call(t, "", "rejected", "--config", config, "--again")
	expect(t, "nothing is sent", exitUsage, code, stderr, "--again needs --resend")
}

func TestCheckOfConfigurations(t *testing.T) {
	rules := "groups:\n  - name: x\n    rules:\n      - alert: A\n        signal: {count: error}\n" +
		"        window: 1m\n        severities: [{severity: sev1, above: 10}]\n"
	good := write(t, "rules.yaml", []byte(rules))
	config := write(t, "sevwatch.yaml", fmt.Appendf(nil, "brokers: [localhost:9092]\nrules: %s\n", good))
	code, _, stderr := call(t, "", "check", config, good)
	expect(t, "both", exitDone, code, stderr, config+": the configuration of the pipeline assessment, 5 sources, 1 rule, nothing wrong\n",
		good+": 1 rule, nothing wrong\n")
	bad := write(t, "bad.yaml", []byte("brokers: [localhost]\npane: fast\n"))
	code, stdout, _ := call(t, "", "check", bad, good)
	expect(t, "a bad configuration", exitFound, code, stdout, bad+`:1:11: brokers[0] is "localhost"`, bad+":2:7: pane is")
	twice := write(t, "twice.yaml", []byte("brokers: [\"localhost:9092\"]\npane: 2s\npane: 2s\n"))
	code, stdout, _ = call(t, "", "check", twice)
	if want := twice + ":3:1: \"pane\" is written twice in the file, first in line 2\n"; code != exitFound || stdout != want {
		t.Errorf("a key that is there twice: %d, %q, expected %q", code, stdout, want)
	}
	// The window is no multiple of the configuration's pane: only together is that seen.
	together := write(t, "together.yaml", fmt.Appendf(nil, "brokers: [localhost:9092]\npane: 7s\nrules: %s\n", good))
	code, stdout, _ = call(t, "", "check", together)
	expect(t, "rules that do not fit", exitFound, code, stdout, good+":6:")
	missing := write(t, "missing.yaml", []byte("brokers: [localhost:9092]\nrules: nowhere.yaml\n"))
	code, stdout, _ = call(t, "", "check", missing)
	expect(t, "rules that are not there", exitFound, code, stdout, "cannot read the rules: open nowhere.yaml")
	code, _, stderr = call(t, "", "check", "nowhere.yaml")
	expect(t, "a file that is not there", exitUsage, code, stderr, "cannot read the rules: open nowhere.yaml")
	empty := write(t, "empty.yaml", []byte("pane: 10s\n"))
	code, stdout, _ = call(t, "", "check", empty)
	expect(t, "a configuration without brokers", exitFound, code, stdout, `lacks "brokers"`)
	code, stdout, _ = call(t, "", "check", "../../deploy/sevwatch.yaml")
	expect(t, "the example", exitDone, code, stdout)
}
