package pipeline

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// What changes no result: names, ways and sizes, what is written to the log where it decides something, and what workers have to have in common to begin at all.
var noSettings = []string{
	"Config.Pipeline", "Config.Brokers", "Config.Security", "Config.Rules", "Config.Tasks", "Config.Topics", "Config.Group", "Config.HTTP", "Config.Registry",
	"Config.IdleAfter", "Config.MaxSkew", "Config.StalledAfter", // in the marks
	"Config.Domain", "Config.Pane", // in the headers of rules
	"SourceConfig.Topic", "SourceConfig.Partitions",
}

// TestEverySettingIsTold: whatever is changed in a configuration is a difference, or known to change no result. A new key has to be one of both.
func TestEverySettingIsTold(t *testing.T) {
	fresh := func() *Config {
		return &Config{Sources: []SourceConfig{{Topic: "a", Sessions: SessionsConfig{Timeouts: map[string]rules.Duration{}}}}}
	}
	check := func(name string, pick func(c *Config) reflect.Value) {
		c := fresh()
		change(t, pick(c))
		differ := slices.Concat(differences(c.counting(), fresh().counting()), differences(c.judging(), fresh().judging()))
		if slices.Contains(noSettings, name) != (len(differ) == 0) {
			t.Errorf("%s was changed, and these differ: %q", name, differ)
		}
	}
	for i, field := range fields(reflect.TypeFor[Config]()) {
		if field != "Where" && field != "Sources" {
			check("Config."+field, func(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().Field(i) })
		}
	}
	for i, field := range fields(reflect.TypeFor[SourceConfig]()) {
		if field != "Where" && field != "KeepLabels" {
			check("SourceConfig."+field, func(c *Config) reflect.Value { return reflect.ValueOf(&c.Sources[0]).Elem().Field(i) })
		}
	}
	c := fresh()
	c.Sources[0].DropLabels, c.Sources[0].Sessions.Timeouts = []string{"y", "x"}, nil
	d := fresh()
	d.Sources[0].DropLabels = []string{"x", "y"}
	if got := differences(c.counting(), d.counting()); len(got) > 0 {
		t.Errorf("the same, written otherwise, differs: %q", got)
	}
	c = fresh()
	c.Labels, c.Sources[0].KeepLabels = []string{"x", "y"}, []string{"y"}
	if got := c.counting().Sources["a"]["dropped labels"]; got != "x" {
		t.Errorf("with keep_labels %q are dropped, expected x", got)
	}
}

func fields(typ reflect.Type) (names []string) {
	for i := range typ.NumField() {
		names = append(names, typ.Field(i).Name)
	}
	return names
}

// change gives a value, or the first of a struct that it can, another content.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("changed")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		change(t, v.Index(0))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		change(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("changed"), value)
	case reflect.Struct:
		for i, name := range fields(v.Type()) {
			if name != "Where" {
				change(t, v.Field(i))
				return
			}
		}
	default:
		t.Fatalf("cannot change a %s", v.Type())
	}
}

// A source that only one of two has is no difference, nor is a setting that another version does not know.
func TestDifferences(t *testing.T) {
	here := &wire.Settings{
		Pipeline: map[string]string{"agree": "3", "new": "1"},
		Sources:  map[string]map[string]string{"a": {"lateness": "10s", "shape": "x"}, "b": {"lateness": "1s"}},
	}
	there := &wire.Settings{
		Pipeline: map[string]string{"agree": "5", "old": "1"},
		Sources:  map[string]map[string]string{"a": {"lateness": "30s", "shape": "x"}, "c": {"lateness": "2s"}},
	}
	got := differences(there, here)
	if want := []string{`agree is "5" there and "3" here`, `lateness of a is "30s" there and "10s" here`}; !slices.Equal(got, want) {
		t.Errorf("got %q, expected %q", got, want)
	}
	if got := differences(here, here); len(got) > 0 {
		t.Errorf("it differs from itself: %q", got)
	}
}

// A task that begins with other settings than it was at work with last says so in the log. Workers with others see it until nobody is at work with them, and so does a
// replay over that time.
func TestSettingsAreTold(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, nil)
	p.load(minutes(0, 2, 20))
	first, stop := p.start()
	defer stop()
	p.judged(noon(1, 30), first)
	told := func() (n int) {
		for _, c := range p.control() {
			if c.Control.Settings != nil {
				n++
			}
		}
		return n
	}
	tasks := p.cfg.Tasks.Aggregate + p.cfg.Tasks.Judge
	p.until("all tasks to tell what they are at work with", func() bool { return told() == tasks })
	other := *p
	cfg := *p.cfg
	cfg.Sources = slices.Clone(cfg.Sources)
	other.cfg = &cfg
	for i := range cfg.Sources {
		cfg.Sources[i].Lateness = 30_000
	}
	second, stopSecond := other.start()
	topic := p.cfg.Sources[0].Topic
	want := fmt.Sprintf(`lateness of %s is "30s" there and "10s" here`, topic)
	p.load(minutes(2, 4, 20))
	p.until("the first worker to see that a task counts otherwise", func() bool { return slices.Contains(first.beat().Settings, want) })
	if len(second.beat().Settings) == 0 {
		t.Error("the second worker does not see it")
	}
	var metrics strings.Builder
	first.metrics.set.WritePrometheus(&metrics)
	if !strings.Contains(metrics.String(), "sevwatch_settings_differ 1\n") {
		t.Errorf("the metrics are\n%s", metrics.String())
	}
	stopSecond()
	p.load(minutes(4, 6, 20))
	p.until("the first worker to see that nobody counts otherwise", func() bool { return len(first.beat().Settings) == 0 })
	p.judged(noon(5, 30), first)
	if n := told(); n < tasks+2 || n > 2*tasks {
		t.Errorf("settings were told %d times by %d tasks, expected twice more for each that the second worker had", n, tasks)
	}
	doubts := func(cfg *Config, from int64, want ...string) {
		t.Helper()
		q := *p
		q.cfg = cfg
		_, sum := q.replayedTopics(noLow, func(r *Replay) { r.From = from })
		if len(sum.Doubts) != len(want) {
			t.Errorf("the doubts are %q, expected %q", sum.Doubts, want)
		}
		for i := range min(len(want), len(sum.Doubts)) {
			if !strings.Contains(sum.Doubts[i], want[i]) {
				t.Errorf("the doubts are %q, expected %q", sum.Doubts, want)
			}
		}
	}
	doubts(p.cfg, 0, "live was at work with other settings from 2")
	doubts(&cfg, 0, "live was at work with other settings from the beginning on: lateness of ")
	doubts(p.cfg, noon(5, 0))
	doubts(&cfg, noon(5, 0), fmt.Sprintf(`lateness of %s is "10s" there and "30s" here`, topic))
}
