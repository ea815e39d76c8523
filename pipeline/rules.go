package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/txn"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// rulesEvery is how often the rule file and the control topic are looked at.
const rulesEvery = 2 * time.Second

// rulesLead is how far ahead of the judges the rules change, besides two panes: until then all of them have heard of it.
const rulesLead = int64(5 * time.Second / time.Millisecond)

// ruleKeeper puts the worker's rule file in force by writing it to the control topic: at the start, when its content changes, and when it is
// told to. It writes nothing that the log says already, and nothing because another worker has another file. One goroutine owns it.
type ruleKeeper struct {
	w      *Worker
	next   int64  // offset of the control topic
	logged string // hash of the last rules there; "": there are none
	seen   []byte // the file as it was read last
	data   []byte // the file as it was when it was offered, or found to be wrong
	file   *rules.File
	offer  bool  // file is to be put in force
	wrong  error // with data
	gone   error // why the file cannot be read
	said   string
	others error // the topics belong to a pipeline that this one cannot share them with

	settings map[string]*wire.Control // what tasks count with, by stage and task
	differ   string                   // in what the worker's own differ from them, as it was said last
}

// keepRules begins to keep the rules: when it returns, the control topic has the worker's rules, or had them already.
func (w *Worker) keepRules(ctx context.Context) (*ruleKeeper, error) {
	k := &ruleKeeper{w: w, file: w.rules, data: w.rules.Text, offer: true, settings: map[string]*wire.Control{}}
	return k, txn.Retry(ctx, askPatience, func() error {
		err := k.settle(ctx)
		if k.others != nil {
			return backoff.Permanent(err)
		}
		return err
	})
}

// run looks at the file and the topic until ctx is done. It is told to do so by hangup, too, and then offers the file although it has not changed.
func (k *ruleKeeper) run(ctx context.Context, hangup <-chan os.Signal) error {
	ticker := time.NewTicker(rulesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			k.read(true)
		case <-ticker.C:
			k.read(false)
		}
		if err := k.settle(ctx); err != nil && ctx.Err() == nil {
			k.w.log.Warn("keeping the rules", zap.Error(err))
		}
	}
}

// read reads the rule file again, and offers it when it has changed and has no mistakes. It must have been the same twice: somebody may be
// writing it. Asked to, it offers what there is.
func (k *ruleKeeper) read(asked bool) {
	path := k.w.cfg.Rules
	if path == "" { // the runbook is in the program
		k.offer = k.offer || asked
		return
	}
	data, err := os.ReadFile(path)
	if k.gone = err; err != nil {
		return
	}
	still := bytes.Equal(data, k.seen)
	k.seen = data
	if !asked && (!still || bytes.Equal(data, k.data)) {
		return
	}
	k.data = data
	file, err := rules.Parse(path, data, k.w.cfg.RuleOptions())
	if k.wrong, k.offer = err, err == nil; err == nil {
		k.file = file
	}
}

// settle reads the control topic to its end, writes the file there if it is offered and not what runs, and says how things are.
func (k *ruleKeeper) settle(ctx context.Context) error {
	if k.file.Text == nil {
		return nil // rules that are no file cannot be written anywhere
	}
	if err := k.catchUp(ctx); err != nil {
		return err
	}
	if k.others != nil {
		return k.others
	}
	if k.offer && k.logged != k.file.Hash {
		at, err := k.w.soon(ctx)
		if err != nil {
			return err
		}
		offset, err := Say(ctx, k.w.cfg, k.w.client, wire.Rules(k.file, at, k.w.cfg.clientID()), k.w.cfg.terms()...)
		if err != nil {
			return err
		}
		k.w.log.Info("rules are put in force", zap.String("rules", k.file.Hash), zap.Int64("offset", offset), due(at))
		k.logged = k.file.Hash
	}
	k.offer = false
	k.tell()
	return nil
}

// due is when a record of the control topic is applied, for the log.
func due(at detector.Millis) zap.Field {
	if at == 0 {
		return zap.String("time", "the next edge")
	}
	return zap.Stringer("time", at)
}

// catchUp reads the control topic to its end. Rules that cannot be read are not in force anywhere.
func (k *ruleKeeper) catchUp(ctx context.Context) (err error) {
	k.next, err = k.w.readControl(ctx, k.next, func(r *fetch.Record) {
		if said, err := k.w.cfg.sharedWith(r); said { // also where the rules are none by this configuration
			k.others = err
		}
		c, err := wire.DecodeControl(r.Value, k.w.cfg.RuleOptions())
		if err == nil && c.Rules != nil {
			k.logged = c.Hash
		}
		if err == nil && c.Settings != nil {
			k.settings[c.Counts()] = c
		}
	})
	return err
}

// terms are the headers by which a record with rules says whose topics they are: what all workers that share them have to have in common, or their
// counts would be added up to nonsense.
func (c *Config) terms() []kafka.Header {
	return []kafka.Header{
		{Key: "sevwatch_pipeline", Value: []byte(c.Pipeline)},
		{Key: "sevwatch_pane", Value: []byte(c.Pane.String())},
		{Key: "sevwatch_domain", Value: []byte(c.Domain)},
	}
}

// sharedWith says why a worker cannot share its topics with the one that has written a record; nil if it can. said: the record tells of it.
func (c *Config) sharedWith(r *fetch.Record) (said bool, err error) {
	headers, _ := r.Headers() // such as cannot be read say nothing
	for _, mine := range c.terms() {
		for _, theirs := range headers {
			if theirs.Key != mine.Key {
				continue
			}
			if said = true; err == nil && !bytes.Equal(theirs.Value, mine.Value) {
				err = &TopicError{fmt.Errorf("cannot share %s with workers whose %s is %q: it is %q here; a pipeline that differs in it needs topics of its own (topics), and a name",
					c.Topics.Control, strings.TrimPrefix(mine.Key, "sevwatch_"), theirs.Value, mine.Value)}
			}
		}
	}
	return said, err
}

// tell says whether the rule file is what runs, in the metrics, in the worker's health and, when it changes, in the log.
func (k *ruleKeeper) tell() {
	problem := ""
	switch {
	case k.gone != nil:
		problem = fmt.Sprintf("cannot read the rules: %s", k.gone)
	case k.wrong != nil:
		problem = k.wrong.Error()
	case k.file.Hash != k.logged:
		problem = fmt.Sprintf("%s is %s", k.file.Name, k.file.Hash)
	}
	differ := k.w.cfg.differFrom(k.settings)
	k.w.setRules(wire.HealthRules{InForce: k.logged, Problem: problem}, differ)
	if text := strings.Join(differ, "; "); text != k.differ {
		k.differ = text
		if text == "" {
			k.w.log.Info("all tasks are at work with this worker's settings")
		} else {
			k.w.log.Warn("tasks were at work last with other settings than this worker's: while workers differ, what counts depends on who reads it", zap.Strings("settings", differ))
		}
	}
	if problem == k.said {
		return
	}
	k.said = problem
	if problem == "" {
		k.w.log.Info("the rule file is what runs", zap.String("rules", k.logged))
		return
	}
	k.w.log.Error("the rule file is not what runs", zap.String("rules", k.logged), zap.Error(errors.New(problem)))
}

// soon is an event time that no judge has reached, and all will reach soon; 0 while no partition has any. Where events are read much faster than
// they happened, a judge may have passed it when it hears of it: it then says at which edge it took the rules up.
func (w *Worker) soon(ctx context.Context) (detector.Millis, error) {
	found, err := w.broker.topics(ctx, w.sourceTopics())
	if err != nil {
		return 0, err
	}
	all := map[string][]int{}
	for topic, n := range countOf(found) {
		for id := range n {
			all[topic] = append(all[topic], id)
		}
	}
	offsets, err := w.broker.committed(ctx, w.groupID("aggregate"), all)
	if err != nil {
		return 0, err
	}
	low := noLow
	for at, committed := range offsets {
		state, err := readBeside(committed)
		if err != nil {
			return 0, fmt.Errorf("cannot read what was kept with the offset of %s/%d: %w", at.topic, at.id, err)
		}
		if state.Watermark != unknown {
			low = min(low, state.Watermark)
		}
	}
	if low == noLow {
		return 0, nil
	}
	return detector.Millis(low + 2*int64(w.cfg.Pane) + rulesLead), nil
}
