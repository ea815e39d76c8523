package pipeline

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// What changes no result: names, ways and sizes, what is written to the log where it decides something, and what workers have to have in common to begin at all.
var noSettings = []string{
	"Config.Pipeline", "Config.Brokers", "Config.Security", "Config.Rules", "Config.Tasks", "Config.Topics", "Config.Group", "Config.HTTP", "Config.Registry",
	"Config.IdleAfter", "Config.MaxSkew", "Config.StalledAfter", // in the marks
	"SourceConfig.Partitions",
}

// TestEverySettingIsTold: whatever is changed in a configuration is a difference, or known to change no result. A new key has to be one of both.
func TestEverySettingIsTold(t *testing.T) {
	fresh := func() *Config { return &Config{Sources: []SourceConfig{{Topic: "a"}}} }
	count := 0
	var check func(path string, typ reflect.Type, pick func(c *Config) reflect.Value)
	check = func(path string, typ reflect.Type, pick func(c *Config) reflect.Value) {
		if typ.Kind() == reflect.Struct {
			for i := range typ.NumField() {
				if name := path + "." + typ.Field(i).Name; !strings.HasSuffix(name, ".Where") && name != "Config.Sources" && name != "SourceConfig.KeepLabels" {
					check(name, typ.Field(i).Type, func(c *Config) reflect.Value { return pick(c).Field(i) })
				}
			}
			return
		}
		count++
		c := fresh()
		change(t, pick(c))
		differ := slices.Concat(differences(c.counting(), fresh().counting(), true), differences(c.judging(), fresh().judging(), true))
		none := slices.ContainsFunc(noSettings, func(name string) bool { return name == path || strings.HasPrefix(path, name+".") })
		if none != (len(differ) == 0) {
			t.Errorf("%s was changed, and these differ: %q", path, differ)
		}
	}
	check("Config", reflect.TypeFor[Config](), func(c *Config) reflect.Value { return reflect.ValueOf(c).Elem() })
	check("SourceConfig", reflect.TypeFor[SourceConfig](), func(c *Config) reflect.Value { return reflect.ValueOf(&c.Sources[0]).Elem() })
	if count < 50 {
		t.Errorf("%d keys were changed, expected 50 at least", count)
	}
	c, d := fresh(), fresh()
	c.Sources[0].DropLabels, d.Sources[0].DropLabels = []string{"y", "x"}, []string{"x", "y"}
	d.Sources[0].Sessions.Timeouts = map[string]rules.Duration{}
	if got := differences(c.counting(), d.counting(), true); len(got) > 0 {
		t.Errorf("the same, written otherwise, differs: %q", got)
	}
	c = fresh()
	c.Labels, c.Sources[0].KeepLabels = []string{"x", "y"}, []string{"y"}
	if got := c.counting().Sources["a"]["dropped labels"]; got != "x" {
		t.Errorf("with keep_labels %q are dropped, expected x", got)
	}
}

// change gives a value another content.
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
	case reflect.Struct: // of what a map or a list has
		change(t, v.FieldByName("Path"))
	default:
		t.Fatalf("cannot change a %s", v.Type())
	}
}

// What a replay doubts is what live was at work with in what is read, by the log.
func TestDoubtsOfSettings(t *testing.T) {
	cfg := func(lateness rules.Duration, topics ...string) *Config {
		c := &Config{Agree: 3}
		for _, topic := range topics {
			c.Sources = append(c.Sources, SourceConfig{Topic: topic, Lateness: lateness})
		}
		return c
	}
	said := func(task int, at detector.Millis, c *Config) *wire.Control {
		return &wire.Control{Act: detector.Act{Time: at}, Settings: c.counting(), Aggregate: &task}
	}
	one, two := cfg(1000, "a"), cfg(2000, "a", "b")
	log := []*wire.Control{
		said(0, 0, one), said(1, 0, one), // a pipeline begins
		said(0, 60_000, two), said(1, 0, two), // a source is added, of which nothing is known yet
		said(0, 120_000, one), said(1, 130_000, one),
	}
	f := func(here *Config, from, to, before int64, want ...string) {
		t.Helper()
		r := Replay{Pipeline: here, Kafka: &KafkaInput{}, From: from, To: to, sum: Summary{Before: before}}
		for _, c := range log {
			r.hearSettings(c)
		}
		if r.doubtSettings(); !slices.Equal(r.sum.Doubts, want) {
			t.Errorf("from %d to %d: the doubts are %q, expected %q", from, to, r.sum.Doubts, want)
		}
	}
	late := func(there, here string) string {
		return fmt.Sprintf("lateness of a is %q there and %q here", there, here)
	}
	f(one, 0, 0, 0, "live was at work with other settings until 1970-01-01T00:02:10.000Z: b is a source there and not here; "+late("2s", "1s"))
	f(two, 0, 0, 0, "live was at work with other settings: b is a source here and not there; "+late("1s", "2s"))
	f(one, 200_000, 0, 0)
	f(one, 200_000, 0, 80_000, "live was at work with other settings until 1970-01-01T00:02:10.000Z: b is a source there and not here; "+late("2s", "1s"))
	f(two, 70_000, 110_000, 0, "live was at work with other settings until 1970-01-01T00:02:10.000Z: b is a source here and not there; "+late("1s", "2s"))
	log = []*wire.Control{said(0, 0, one), said(0, 0, cfg(1000, "b"))} // a source is replaced
	f(cfg(1000, "b"), 0, 0, 0, "live was at work with other settings: a is a source there and not here; b is a source here and not there")
	log = []*wire.Control{said(0, 60_000, two)}
	f(one, 0, 50_000, 0)
	f(one, 0, 70_000, 0, "live was at work with other settings from 1970-01-01T00:01:00.000Z: b is a source there and not here; "+late("2s", "1s"))
	log = []*wire.Control{{Settings: (&Config{Pane: 5000, Limits: Limits{Series: 9}}).judging(), Judge: new(int)}}
	f(&Config{Pane: 10_000}, 0, 0, 0,
		`live was at work with other settings: limits is "9 series, 0 groups, 0 incidents" there and "0 series, 0 groups, 0 incidents" here; pane is "5s" there and "10s" here`)
}

// A source that only one of two has is a difference where that is asked for; a setting that another version does not know is none.
func TestDifferences(t *testing.T) {
	here := &wire.Settings{
		Pipeline: map[string]string{"agree": "3", "new": "1"},
		Sources:  map[string]map[string]string{"a": {"lateness": "10s", "shape": "x"}, "b": {"lateness": "1s"}},
	}
	there := &wire.Settings{
		Pipeline: map[string]string{"agree": "5", "old": "1"},
		Sources:  map[string]map[string]string{"a": {"lateness": "30s", "shape": "x"}, "c": {"lateness": "2s"}},
	}
	want := []string{`agree is "5" there and "3" here`, `lateness of a is "30s" there and "10s" here`}
	if got := differences(there, here, false); !slices.Equal(got, want) {
		t.Errorf("got %q, expected %q", got, want)
	}
	want = append(want, "c is a source there and not here", "b is a source here and not there")
	if got := differences(there, here, true); !slices.Equal(got, want) {
		t.Errorf("got %q, expected %q", got, want)
	}
	if got := differences(here, here, true); len(got) > 0 {
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
	doubts(&cfg, 0, "live was at work with other settings: lateness of ")
	doubts(p.cfg, noon(5, 0))
	doubts(&cfg, noon(5, 0), fmt.Sprintf(`lateness of %s is "10s" there and "30s" here`, topic))
	before := told()
	stop()
	first, stop = p.start()
	defer stop()
	p.load(minutes(6, 8, 20))
	p.judged(noon(7, 30), first)
	if n := told() - before; n != 0 {
		t.Errorf("after a restart with the same settings they were told %d times more", n)
	}
}
