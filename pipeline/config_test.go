package pipeline_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sevwatch/pipeline"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
	"sevwatch/rules/strictyaml"
)

// TestConfigMistakes reads every testdata/config/*.bad.yaml and compares all that is found wrong, each with the text at its place, with
// the .txt beside it. UPDATE_GOLDEN=1 rewrites those; read the diff.
func TestConfigMistakes(t *testing.T) {
	paths, err := filepath.Glob("testdata/config/*.bad.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no bad configurations: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = pipeline.ParseConfig(filepath.Base(path), data)
			var mistakes strictyaml.Errors
			if !errors.As(err, &mistakes) {
				t.Fatalf("ParseConfig gives %v, expected mistakes", err)
			}
			lines := strings.Split(string(data), "\n")
			var got strings.Builder
			for _, m := range mistakes {
				fmt.Fprintf(&got, "%s\n\t^ %s\n", m, lines[m.Pos.Line-1][m.Pos.Col-1:])
			}
			checkConfigGolden(t, strings.TrimSuffix(path, ".yaml")+".txt", got.String())
		})
	}
}

func checkConfigGolden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: - is expected, + is found:\n%s", path, diff)
	}
}

func parseConfig(t *testing.T, text string) *pipeline.Config {
	t.Helper()
	c, err := pipeline.ParseConfig("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Only the brokers have no default.
func TestConfigDefaults(t *testing.T) {
	kind := func(k rules.Kind) pipeline.Kind { return pipeline.Kind{Kind: k} }
	source := func(topic string, k rules.Kind) pipeline.SourceConfig {
		return pipeline.SourceConfig{Topic: topic, Kind: kind(k), Format: pipeline.Format{Format: wire.FormatJSON}, Isolation: pipeline.ReadCommitted, LongLabels: pipeline.RejectLong, MaxBytes: 65_536, Lateness: 10_000, Duplicates: pipeline.DuplicatesConfig{MaxIDs: 1_000_000}, Sessions: pipeline.SessionsConfig{MaxVisits: 200_000}, Partitions: 4}
	}
	want := &pipeline.Config{
		Pipeline: "assessment",
		Brokers:  []string{"localhost:9092"},
		Sources: []pipeline.SourceConfig{
			source("assessment.errors", rules.KindError), source("assessment.latency", rules.KindLatency),
			source("assessment.steps", rules.KindStep), source("assessment.telemetry", rules.NoKind),
			source("assessment.changes", rules.KindChange),
		},
		Labels: []string{
			"service", "endpoint", "step", "region", "version", "error_type", "category", "name", "action", "status_class", "change",
			"previous_version", "state",
		},
		Pane: 10_000, Lateness: 10_000, IdleAfter: 1000, MaxAhead: 300_000, Agree: 10, MaxSkew: 3_600_000, StalledAfter: 30_000,
		Limits: pipeline.Limits{Series: 100_000, Groups: 100_000, Incidents: 20_000},
		Tasks:  pipeline.Tasks{Aggregate: 4, Judge: 1},
		Topics: pipeline.Topics{
			Panes: "sevwatch.panes", Marks: "sevwatch.marks", State: "sevwatch.state", Alerts: "assessment.alerts",
			Recovery: "assessment.recovery", Rejected: "sevwatch.rejected", Late: "sevwatch.late", Control: "sevwatch.control",
			Health: "sevwatch.health", Partitions: 4, Replication: 3,
		},
		Group: pipeline.Group{SessionTimeout: 6000, Heartbeat: 1000},
		HTTP:  pipeline.HTTP{Listen: "127.0.0.1:9644"},
	}
	got := parseConfig(t, "brokers: [localhost:9092]")
	if diff := gocmp.Diff(want, got, cmpopts.IgnoreTypes(strictyaml.Where{})); diff != "" {
		t.Errorf("- is expected, + is found:\n%s", diff)
	}
}

// A zero that was written is a zero: it is not taken for the default.
func TestConfigKeepsAWrittenZero(t *testing.T) {
	own := parseConfig(t, "{brokers: [localhost:9092], lateness: 3s, sources: [{topic: a, kind: error, lateness: 0s}, {topic: b, kind: error}]}")
	if a, b := own.Sources[0].Lateness, own.Sources[1].Lateness; a != 0 || b != 3000 {
		t.Errorf("the sources have a lateness of %s and %s, expected 0s and 3s", a, b)
	}
	if got := parseConfig(t, "{brokers: [localhost:9092], lateness: 0s}").Lateness; got != 0 {
		t.Errorf("lateness: 0s is read as %s", got)
	}
}

func TestConfigDomainIsALabel(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		if got := parseConfig(t, "{brokers: [localhost:9092], "+text+"}").Labels; !gocmp.Equal(got, want, cmpopts.EquateEmpty()) {
			t.Errorf("%s: labels are %v, expected %v", text, got, want)
		}
	}
	f("labels: [service], domain: tenant", "service", "tenant")
	f("labels: [tenant, service], domain: tenant", "tenant", "service")
	f("domain: tenant", append(rules.DefaultLabels(), "tenant")...)
	f("labels: []")
}

func TestConfigTakes(t *testing.T) {
	f := func(text string) {
		t.Helper()
		if _, err := pipeline.ParseConfig("test.yaml", []byte(text)); err != nil {
			t.Errorf("%s\n%s", text, err)
		}
	}
	f("{brokers: [localhost:9092], http: {listen: none}}")
	f("{brokers: [localhost:9092], http: {listen: ':9644'}}")
	f("{brokers: [localhost:9092], http: {listen: '[::1]:0'}}")
	f("{brokers: ['[2001:db8::1]:9092', kafka.example:65535]}")
	f("{brokers: [localhost:9092], group: {session_timeout: 3s}}")
	f("{brokers: [localhost:9092], sources: [{topic: a, kind: error, max_bytes: 104857600, partitions: 1}]}")
	f("{brokers: [localhost:9092], sources: [{topic: a, fields: {kind: {const: error}, time: {path: ts, unit: ns}}, long_labels: cut}]}")
	f("{brokers: [localhost:9092], domain: t, sources: [{topic: a, keep_labels: [t], endpoints: {patterns: ['/{a}/b', '/{c...}'], ids: true}}]}")
	f("{brokers: [localhost:9092], sources: [{topic: a, kind: error, format: confluent}], registry: {url: 'https://r:8081/x', user: a, password: b}}")
	f("{brokers: [localhost:9092], security: {tls: true, ca: ca.pem, cert: c.pem, key: k.pem, sasl: scram-sha-512, user: a}}")
	f("{brokers: [localhost:9092], pane: 1s, lateness: 1s, tasks: {aggregate: 2}, topics: {replication: 1}}")
	f("{brokers: [localhost:9092], topics: {alerts: sevwatch.recovery}}")
}

// What the environment says stands in the place of what the file says, also where it is empty.
func TestConfigSecrets(t *testing.T) {
	c := parseConfig(t, "{brokers: [localhost:9092], registry: {url: 'http://r', user: a, password: b}, security: {sasl: plain, user: a, password: d}}")
	env := map[string]string{}
	lookup := func(name string) (string, bool) { value, set := env[name]; return value, set }
	if c.Secrets(lookup); c.Registry.Password != "b" || c.Security.Password != "d" {
		t.Errorf("the password is %q", c.Registry.Password)
	}
	env["SEVWATCH_REGISTRY_PASSWORD"], env["SEVWATCH_KAFKA_PASSWORD"] = "c", ""
	if c.Secrets(lookup); c.Registry.Password != "c" || c.Security.Password != "" {
		t.Errorf("the passwords are %q and %q", c.Registry.Password, c.Security.Password)
	}
}

// Whatever the file: either a configuration, or mistakes that lie within it.
func FuzzParseConfig(f *testing.F) {
	paths, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(paths, "../deploy/sevwatch.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := pipeline.ParseConfig("fuzz.yaml", []byte(text))
		if err == nil && (len(c.Brokers) == 0 || len(c.Sources) == 0 || c.Pane < 100 || c.Lateness < 0 || c.Tasks.Judge < 1) {
			t.Errorf("%q is taken as %+v", text, c)
		}
		var mistakes strictyaml.Errors
		if errors.As(err, &mistakes) != (err != nil) {
			t.Errorf("%q gives %v, expected mistakes", text, err)
		}
		lines := 1
		for _, r := range text {
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) { // the line breaks of YAML 1.1
				lines++
			}
		}
		for _, m := range mistakes {
			if m.Pos.Line < 1 || m.Pos.Line > lines || m.Pos.Col < 1 {
				t.Errorf("%s lies outside of the %d lines", m, lines)
			}
		}
	})
}
