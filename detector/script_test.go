package detector

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sevwatch/detector/stream"
	"sevwatch/rules"
)

var flagUpdate = flag.Bool("update", false, "rewrite the golden parts of testdata; then read the diff")

// TestScripts tells the stories in testdata/*.txt. A story is commands, each with what the engine says to it:
//
//	command arguments
//	more of the command, a line each
//	----
//	what the engine says
//
// and an empty line behind. The commands are described at the functions that carry them out. Every story is told in several ways,
// which all have to say the same: plainly; with the judge restored after every delta, progress and Advance; by four tasks that
// flush after each pane and change their owners; and with the judge killed between any two records.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			plain := newScript(t, name)
			golden := plain.run(data)
			if *flagUpdate {
				if err := os.WriteFile(name, golden, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(golden, data) {
				t.Errorf("%s differs (go test ./detector -run TestScripts -update rewrites it):\n%s", name, firstDifference(golden, data))
			}
			obeyed(t, name, plain.told)
			f := func(way string, change func(s *script)) {
				t.Helper()
				s := newScript(t, name)
				change(s)
				if got := s.run(data); !bytes.Equal(got, golden) {
					t.Errorf("%s told %s:\n%s", name, way, firstDifference(got, golden))
				}
			}
			f("by four tasks", func(s *script) { s.tasks = 4 })
			if plain.long {
				return
			}
			f("with a judge restored at each step", func(s *script) { s.restore = true })
			f("by tasks that flush after each pane and change owners", func(s *script) { s.tasks, s.flushPanes = 2, true })
			plain.killed(t)
		})
	}
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	n := 0
	for n < len(g) && n < len(w) && g[n] == w[n] {
		n++
	}
	part := func(lines []string) string {
		return strings.Join(lines[min(n, len(lines)):min(n+5, len(lines))], "\n    ")
	}
	return fmt.Sprintf("line %d\n got\n    %s\n want\n    %s", n+1, part(g), part(w))
}

// script is a story that is being told.
type script struct {
	t    *testing.T
	name string
	line int

	tale   *tale
	engine *engine
	log    []any
	day    int64 // epoch ms of midnight
	dealt  int   // events dealt out so far
	said   int64 // acts so far
	told   []Output
	names  map[string]string // a letter for each incident's id

	long       bool // too long for the costly ways of telling
	tasks      int
	restore    bool
	flushPanes bool
}

func newScript(t *testing.T, name string) *script {
	return &script{
		t: t, name: name, tasks: 1, names: map[string]string{},
		tale: &tale{cfg: DefaultConfig()},
		day:  time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC).UnixMilli(), // a Monday
	}
}

// run carries out all commands and returns the script with what was really said.
func (s *script) run(data []byte) []byte {
	var out bytes.Buffer
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	for n := 0; n < len(lines); {
		s.line = n + 1
		if lines[n] == "" || strings.HasPrefix(lines[n], "#") {
			out.WriteString(lines[n] + "\n")
			n++
			continue
		}
		from := n
		for n < len(lines) && lines[n] != "----" {
			n++
		}
		if n == len(lines) {
			s.fail("the command %q has no ---- behind it", lines[from])
		}
		out.WriteString(strings.Join(lines[from:n+1], "\n") + "\n" + s.command(lines[from], lines[from+1:n]))
		for n < len(lines) && lines[n] != "" {
			n++
		}
	}
	return out.Bytes()
}

func (s *script) fail(format string, args ...any) {
	s.t.Fatalf("%s:%d: %s", s.name, s.line, fmt.Sprintf(format, args...))
}

func (s *script) command(line string, body []string) string {
	args := strings.Fields(line)
	switch args[0] {
	case "rules":
		return s.rules(args[1:], body)
	case "long": // keeps the costly ways of telling away
		s.long = true
		return "ok\n"
	case "domain":
		s.tale.cfg.Domain = args[1]
		return "ok\n"
	case "partitions":
		return s.partitions(args[1:])
	case "day":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			s.fail("day %q is no number", args[1])
		}
		s.day = time.Date(2026, 11, 1+n, 0, 0, 0, 0, time.UTC).UnixMilli()
		return time.UnixMilli(s.day).UTC().Format("Monday, 2 January\n")
	case "feed":
		return s.feed(args[1:], body)
	case "at":
		return s.at(args[1:], body)
	case "mark":
		return s.mark(args[1:])
	case "say":
		return s.say(body)
	case "accounts": // what became of all records so far
		return fmt.Sprintf("%s\n", encode(s.engine.judge.Totals()))
	case "show":
		return s.show(args[1:])
	}
	s.fail("nobody knows the command %q", args[0])
	return ""
}

// rules NAME takes the runbook, or the rules that follow, without `groups:` and the group's name.
func (s *script) rules(args, body []string) string {
	name, data := rules.Runbook()
	if len(args) == 0 || args[0] != "runbook" {
		name, data = "script.yaml", []byte(strings.Join(body, "\n"))
	}
	file, err := rules.Parse(name, data, rules.Options{})
	if err != nil {
		return err.Error() + "\n"
	}
	s.tale.file = file
	var names []string
	for _, r := range file.Rules() {
		names = append(names, r.Alert)
	}
	return strings.Join(names, " ") + "\n"
}

// partitions TOPIC=N ... says which source partitions there are; more of them may be added later.
func (s *script) partitions(args []string) string {
	var all []Source
	for _, arg := range args {
		topic, n, _ := strings.Cut(arg, "=")
		count, err := strconv.Atoi(n)
		if err != nil {
			s.fail("%q is not of the form topic=partitions", arg)
		}
		for i := range count {
			all = append(all, Source{topic, i})
		}
	}
	if s.engine == nil {
		s.tale.sources, s.tale.there = all, len(all)
		s.tale.cfg.CountSessions = map[string]bool{}
		for _, source := range all {
			s.tale.cfg.CountSessions[source.Topic] = true
		}
		s.engine = newEngine(s.tale, s.tasks, 1)
		s.engine.restore, s.engine.handOver = s.restore, s.flushPanes
		s.engine.onRecord = func(r any) { s.log = append(s.log, r) }
		return s.settle()
	}
	for _, source := range all {
		if !slices.Contains(s.tale.sources, source) {
			s.tale.sources = append(s.tale.sources, source)
			s.engine.grow(len(s.tale.sources)-1, len(s.tale.sources))
		}
	}
	return s.settle()
}

// time reads 09:00:00 on the script's day, or tomorrow/09:00:00.
func (s *script) time(text string) int64 {
	if rest, ok := strings.CutPrefix(text, "tomorrow/"); ok {
		return s.time(rest) + 24*3600_000
	}
	t, err := time.Parse("15:04:05.999", text)
	if err != nil {
		s.fail("%q is no time of day such as 09:00:00", text)
	}
	return s.day + t.Sub(t.Truncate(24*time.Hour)).Milliseconds()
}

// recipe reads a line of feed or at, in the notation of package stream.
func (s *script) recipe(line string) (r stream.Recipe) {
	if err := r.UnmarshalText([]byte(line)); err != nil {
		s.fail("%q: %v", line, err)
	}
	for _, name := range r.LabelNames() {
		if !slices.Contains(s.tale.cfg.Labels, name) {
			s.fail("%q is no label", name)
		}
	}
	return r
}

// feed FROM TO [partition=TOPIC/N] [every=N] lets so many events of each recipe come in every pane (or every Nth), evenly spread,
// dealt out to all partitions in turn.
func (s *script) feed(args, body []string) string {
	var recipes []stream.Recipe
	for _, line := range body {
		recipes = append(recipes, s.recipe(line))
	}
	every := int64(1)
	if i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "every=") }); i >= 0 {
		every, _ = strconv.ParseInt(args[i][len("every="):], 10, 64)
	}
	pane := s.tale.cfg.Pane
	for start := s.time(args[0]); start < s.time(args[1]); start += pane * every {
		var events []stream.Event
		for _, r := range recipes {
			events = append(events, r.Between(start, start+pane, pane)...)
		}
		slices.SortStableFunc(events, func(x, y stream.Event) int { return cmp.Compare(x.Time, y.Time) })
		s.deal(events, args)
		if start/pane%60 == 0 {
			s.engine.settle()
		}
	}
	return s.settle()
}

// at TIME [partition=TOPIC/N] lets events come at one moment.
func (s *script) at(args, body []string) string {
	var events []stream.Event
	for _, line := range body {
		r := s.recipe(line)
		events = append(events, r.At(s.time(args[0]))...)
	}
	s.deal(events, args)
	return s.settle()
}

// deal hands events to the partition that args name, or to all in turn.
func (s *script) deal(events []stream.Event, args []string) {
	for _, e := range events {
		source := s.dealt % max(1, len(s.tale.sources))
		s.dealt++
		if chosen := s.chosen(args); chosen >= 0 {
			source = chosen
		}
		s.engine.step(&taleStep{what: stepEvent, source: source, event: taleEvent{
			time: e.Time, kind: e.Kind, labels: e.Labels, hasValue: e.Valued, value: e.Value, session: e.Session,
		}})
	}
	if s.flushPanes {
		s.engine.settle()
	}
}

// chosen is the partition that an argument partition=TOPIC/N names, -1 if none does.
func (s *script) chosen(args []string) int {
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "partition="); ok {
			i := slices.IndexFunc(s.tale.sources, func(x Source) bool { return fmt.Sprintf("%s/%d", x.Topic, x.Partition) == name })
			if i < 0 {
				s.fail("there is no partition %s", name)
			}
			return i
		}
	}
	return -1
}

// mark TIME [silent] [partition=TOPIC/N] moves the partition, or all, on to an event time; silent says that nothing came meanwhile.
func (s *script) mark(args []string) string {
	chosen := s.chosen(args)
	for i := range s.tale.sources {
		if chosen < 0 || chosen == i {
			s.engine.step(&taleStep{what: stepMark, source: i, to: s.time(args[0]), silent: slices.Contains(args, "silent")})
		}
	}
	return s.settle()
}

// say takes control records, one a line; an incident is named by its letter. Each is heard before the next pane is closed.
func (s *script) say(body []string) string {
	for _, line := range body {
		var a Act
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			s.fail("%q is no act: %v", line, err)
		}
		for id, name := range s.names {
			if name == a.IncidentID {
				a.IncidentID = id
				break
			}
		}
		heard := &spoken{offset: s.said, act: &a}
		s.said++
		s.log = append(s.log, heard)
		s.engine.judge.Hear(heard.offset, heard.act, 0)
		s.engine.changed()
	}
	return "heard\n"
}

// settle lets everything that was fed be judged, and says what was told.
func (s *script) settle() string {
	s.engine.settle()
	outputs := s.engine.out[len(s.told):]
	s.told = s.engine.out
	var b strings.Builder
	for _, o := range outputs {
		b.WriteString(s.print(o))
	}
	if late := s.engine.judge.Totals().Late; late > 0 && b.Len() == 0 {
		fmt.Fprintf(&b, "late so far: %d\n", late)
	}
	if b.Len() == 0 {
		return "nothing, edge " + s.clock(s.engine.judge.Edge()) + "\n"
	}
	return b.String()
}

func (s *script) clock(ms int64) string {
	if ms == never {
		return "never"
	}
	text := time.UnixMilli(ms).UTC().Format("15:04:05.999")
	if day := (ms - time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixMilli()) / (24 * 3600_000); ms-s.day >= 24*3600_000 || ms < s.day {
		text = fmt.Sprintf("day %d %s", day, text)
	}
	return text
}

// print is a message in two lines.
func (s *script) print(o Output) string {
	if s.names[o.ID()] == "" {
		s.names[o.ID()] = string(rune('A' + len(s.names)))
	}
	name := s.names[o.ID()]
	if r := o.Recovery; r != nil {
		versions := ""
		if r.Versions != nil {
			versions = fmt.Sprintf(" from %q to %q", r.Versions.From, r.Versions.To)
		}
		return fmt.Sprintf("%s %s %s %s%s, %s, until %s\n    %s\n", s.clock(int64(r.At)), name, r.Action, r.Transition, versions, r.Mode,
			s.clock(int64(r.ExpiresAt)), r.Evidence)
	}
	i := o.Incident
	severity := i.Severity.String()
	if i.PreviousSeverity != 0 {
		severity = fmt.Sprintf("%s -> %s", i.PreviousSeverity, i.Severity)
	}
	head := fmt.Sprintf("%s %s.%d %s %s", s.clock(int64(i.At)), name, i.Revision, i.Transition, severity)
	if i.Revision == 1 {
		head += fmt.Sprintf(" %s%s since %s", i.Rule.Name, s.labels(i), s.clock(int64(i.StartedAt)))
	}
	head += "\n    " + i.Reason + "\n"
	for _, h := range i.HeldBack {
		until := ""
		if h.Until != 0 {
			until = " until " + s.clock(int64(h.Until))
		}
		head += fmt.Sprintf("    %s held back: %s%s\n", h.Action, h.Rail, until)
	}
	return head
}

// labels are those that the incident is about, without those that the rule adds.
func (s *script) labels(i *Incident) string {
	r := s.tale.file.Rules()[slices.IndexFunc(s.tale.file.Rules(), func(r *rules.Rule) bool { return r.Alert == i.Rule.Name })]
	var out []string
	for _, name := range SortedKeys(i.Labels) {
		if slices.Contains(r.By, name) || name == s.tale.cfg.Domain {
			out = append(out, name+"="+i.Labels[name])
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "{" + strings.Join(out, ",") + "}"
}

// show NAME FIELD ... prints fields of the last revision of an incident as they are published.
func (s *script) show(args []string) string {
	var out strings.Builder
	for _, o := range slices.Backward(s.told) {
		if o.Incident == nil || s.names[o.ID()] != args[0] {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(encode(o.Incident), &fields); err != nil {
			s.fail("%v", err)
		}
		for _, name := range args[1:] {
			value := string(fields[name])
			if value == "" {
				value = "(absent)"
			}
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
		return out.String()
	}
	s.fail("there is no incident %s", args[0])
	return ""
}

// settle flushes, delivers and advances everything.
func (e *engine) settle() {
	for n := range e.tasks {
		e.flush(n)
		e.deliver(n, len(e.tasks[n].queue))
	}
	e.advance()
}

// killed tells the story once more to a judge that is killed between any two records.
func (s *script) killed(t *testing.T) {
	t.Helper()
	p := &topic{t: s.tale, log: s.log, judge: NewJudge(s.tale.cfg, s.tale.file), state: map[string][]byte{}}
	for furthest := 0; p.next < len(p.log); {
		p.read(true, true)
		if p.next > furthest {
			furthest = p.next
			p.kill()
		}
	}
	if got, want := lines(p.told), lines(s.told); got != want {
		t.Errorf("%s told by a judge that is killed all the time: %s", s.name, firstDifference([]byte(got), []byte(want)))
	}
}
