package pipeline

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// Replay runs the two stages over recorded events, joined in memory: the same engine and the same messages as live. It reads files, or
// Kafka's topics with the marks that live wrote; it writes to no topic and joins no group.
type Replay struct {
	Config detector.Config
	Rules  *rules.File

	Files []string // each is one partition, unless its lines carry topic, partition and offset; "-" is Stdin
	Stdin io.Reader
	// Source, where given, is the topic whose records the files hold; nil: they are events of our own shape.
	Source *SourceConfig
	Kafka  *KafkaInput // instead of files
	// Pipeline is whose topics are replayed, from Kafka or from files that were exported from there.
	Pipeline *Config
	Until    int64 // event time up to which files are known to be complete, epoch ms; 0: the end of input advances nothing

	// From and To bound the event time of the messages that are given out, [From, To] in epoch ms; 0: no bound. What lies before From is
	// judged all the same, so that windows and baselines are full. To ends the replay.
	From, To int64

	// Control are people's words and changes of the rules, in the order of their offsets, where the topics or files that are read have none.
	// OnlyRules says that the rules stay those of Rules.
	Control   []ControlRecord
	OnlyRules bool

	// GiveUpAfter is how long nothing may come from the brokers, or the Schema Registry, before the replay ends with an error; 0 means Patience.
	GiveUpAfter time.Duration

	// Output takes every message within the bounds in the order (at, id, revision, type). Earlier, where given, takes those from before From: they
	// tell what is open then.
	Output  func(detector.Output) error
	Earlier func(detector.Output)
	// Rejected and Late, where given, take the records that were not counted.
	Rejected func(wire.Origin, *wire.Reject)
	Late     func(o wire.Origin, eventTime, lateMs int64)
	// Watch and Delta, where given, see every judgement, and what every pane gained.
	Watch func(*detector.Judgement)
	Delta func(*detector.Delta)
	// Progress, where given, is called now and then.
	Progress func(Position)

	records  int64
	sum      Summary
	settings []*wire.Control // that live was at work with in the range
	live     []int64         // by judge task: offset of the control log behind the last record that live has heard; none: not known
}

// KafkaInput says how a replay reads a pipeline's topics: the sources, the marks and the control records.
type KafkaInput struct {
	Client *kafka.Client
	WarmUp int64 // ms before From that are read too; below 0: what the rules need
	// Beside are rules by which the input is replayed as well: what is read before From is enough for them, too.
	Beside []*rules.File
	// OnError, where given, is told of every error after which reading goes on.
	OnError func(error)
}

// Position is how far a replay has come.
type Position struct {
	Records int64
	Edge    int64   // event time judged up to; the smallest int64 before the first pane
	Done    float64 // share of the input, by bytes or offsets; below 0: unknown
}

// Summary is what a replay did.
type Summary struct {
	Totals   detector.Totals
	Plain    bool   // its offsets are lines of plain files: those that hold no record are blank
	Edge     int64  // event time up to which everything was judged
	Open     int    // incidents that are not over
	LateHere int64  // events for panes closed already: 0 unless a promise is broken
	Before   int64  // ms before From that were read of topics
	WarmUp   int64  // messages from before From, which were not given out
	Rules    string // hash of those in force at the end
	Doubts   []string
	Lateness []SourceLateness // of the sources that had late records, by topic
	Unknown  map[string]int64 // keys of records that nobody knows, and how often they came
}

// SourceLateness is how many records of a source were late under its lateness, and which one would have kept 99.9 % of them, in ms.
type SourceLateness struct {
	Topic    string
	Late     int64
	Lateness int64
	Needed   int64
}

// progressEvery is how many records lie between two calls of Progress.
const progressEvery = 1 << 16

// Run reads all input to its end.
func (r *Replay) Run(ctx context.Context) (Summary, error) {
	cfg := r.Config
	if r.Source != nil {
		cfg.Lateness = int64(r.Source.Lateness)
		cfg.Duplicates = map[string]detector.Duplicates{fileTopic: r.Source.duplicates()}
		cfg.Sessions = map[string]detector.Sessions{fileTopic: r.Source.sessions()}
		cfg.CountSessions = map[string]bool{fileTopic: r.Source.CountSessions}
	}
	engine := r.engine(cfg)
	r.records, r.sum, r.settings = 0, Summary{}, nil
	for _, c := range r.Control {
		r.hear(engine, c.Offset, c.Control)
		r.hearSettings(c.Control)
	}
	engine.OnDelta = r.Delta
	if r.Source != nil && cfg.MaxTimeout() > 0 && len(r.Files) > 1 {
		r.sum.Doubts = append(r.sum.Doubts, "each file is taken for a partition: who enters a step in one file and completes it in another has abandoned it "+
			"here. Files that go on where others end have to be one input: cat them, and replay -")
	}
	err := r.read(ctx, engine)
	if r.Pipeline != nil {
		r.doubtSettings()
	}
	judge := engine.Judge
	r.sum.Totals, r.sum.Edge = judge.Totals(), judge.Edge()
	for _, j := range engine.Judges {
		r.sum.Open += j.Open()
		r.sum.LateHere += j.Late()
	}
	r.sum.Lateness = latenessOf(engine.Partitions())
	r.sum.Rules = judge.Rules().Hash
	return r.sum, err
}

// latenessOf gathers what partitions, which are ordered by topic, tell of late records.
func latenessOf(partitions []*detector.Partition) []SourceLateness {
	var out []SourceLateness
	var behind detector.Behind
	for i, p := range partitions {
		if i == 0 || partitions[i-1].Topic != p.Topic {
			behind = detector.Behind{}
			out = append(out, SourceLateness{Topic: p.Topic, Lateness: p.Lateness()})
		}
		behind.Add(p.TakeBehind())
		s := &out[len(out)-1]
		s.Late += p.State().Totals.Late
		s.Needed = behind.Lateness(keptPerMille)
	}
	return slices.DeleteFunc(out, func(s SourceLateness) bool { return s.Late == 0 })
}

// engine has as many judges as live: what people say may be applied at another edge by each.
func (r *Replay) engine(cfg detector.Config) *detector.Local {
	var judges []int
	for task := range max(1, r.Pipeline.judges()) {
		judges = append(judges, task)
	}
	engine := detector.NewLocalOf(cfg, r.Rules, len(judges), func(domain string) int { return judgeOf(domain, judges) })
	for _, j := range engine.Judges {
		j.Watch(r.Watch)
	}
	return engine
}

// judges is how many there are, 0 if nobody says.
func (c *Config) judges() int {
	if c == nil {
		return 0
	}
	return c.Tasks.Judge
}

// hear lets the judges hear a control record; nil says nothing, nor does what live has not heard yet.
func (r *Replay) hear(engine *detector.Local, offset int64, c *wire.Control) {
	for task, j := range engine.Judges {
		heard := task >= len(r.live) || offset < r.live[task] || c != nil && c.Act.Act == wire.ActApplied
		if c == nil || !heard || r.OnlyRules && c.Rules != nil {
			j.Hear(offset, nil, 0)
		} else {
			hear(j, task, offset, c)
		}
	}
}

func (r *Replay) read(ctx context.Context, engine *detector.Local) error {
	if r.Kafka != nil {
		return r.kafka(ctx, engine)
	}
	exported, err := r.anyExported()
	switch {
	case err != nil:
		return err
	case exported:
		return r.exported(ctx, engine)
	default:
		return r.files(ctx, engine)
	}
}

// settle judges what can be judged, and gives out what there is to tell within the bounds. What is from before them goes to Earlier.
func (r *Replay) settle(engine *detector.Local) error {
	outputs, err := engine.Settle()
	for _, o := range outputs {
		switch at := int64(o.At()); {
		case r.From != 0 && at < r.From:
			if r.sum.WarmUp++; r.Earlier != nil {
				r.Earlier(o)
			}
		case r.To == 0 || at <= r.To:
			err = errors.Join(err, r.Output(o))
		}
	}
	return err
}

// over says whether everything up to To was judged.
func (r *Replay) over(engine *detector.Local) bool { return r.To != 0 && engine.Judge.Edge() >= r.To }

// tick counts a record and tells now and then how far the replay is; done is asked only then.
func (r *Replay) tick(ctx context.Context, engine *detector.Local, done func() float64) error {
	r.records++
	if r.records%progressEvery != 0 {
		return nil
	}
	if r.Progress != nil {
		r.Progress(Position{r.records, engine.Judge.Edge(), done()})
	}
	return ctx.Err()
}
