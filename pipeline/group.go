package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/rules"
)

// assignment is one task and its partitions by topic.
type assignment struct {
	task       int
	partitions map[string][]int
}

// stage runs the tasks of one consumer group that fall to this worker. A task that stays with this worker over a rebalance keeps running
// and keeps its memory; it only cannot commit while the group is moving on.
type stage struct {
	name   string // aggregate or judge
	group  string
	topics []string
	tasks  int
	broker broker
	run    func(ctx context.Context, a assignment, seat *seat) error
	log    *zap.Logger
	failed func(task int, err error) // is told why a task begins again; nil: that it is no longer here
	missed func(topics []string)     // is told which topics are missing
	looked func(map[string]int)      // is told of the topics' partitions whenever it was looked
	every  time.Duration             // between looks whether topics have other partitions
	seen   map[string]int            // partitions of the topics before the group was joined last

	mu      sync.Mutex
	running map[int]*running
}

// running is a task at work.
type running struct {
	assignment
	seat   *seat
	cancel context.CancelFunc
	done   chan struct{}
}

// serve joins the group and runs its tasks until ctx is done; then it lets them finish what they are committing and leaves.
func (s *stage) serve(ctx context.Context, c *Config, client *kafka.Client) error {
	s.running = map[int]*running{}
	if err := s.comeBack(ctx, client, c.clientID()); err != nil && ctx.Err() == nil {
		s.log.Warn("looking for this instance's old membership", zap.String("group", s.group), zap.Error(err))
	}
	dialer := c.newDialer()
	dialer.ClientID = c.clientID()
	balancer := &wholeTasks{tasks: s.tasks, owned: s.owned, log: s.log, partitions: func(topics []string) (map[string]int, error) { return s.ask(ctx, topics) }}
	if _, err := s.look(ctx); err != nil {
		s.log.Warn("looking at the topics' partitions", zap.String("group", s.group), zap.Error(err))
	}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: s.group, Brokers: c.Brokers, Topics: s.topics, Dialer: dialer, GroupBalancers: []kafka.GroupBalancer{balancer},
		HeartbeatInterval: millis(c.Group.Heartbeat), SessionTimeout: millis(c.Group.SessionTimeout),
		RebalanceTimeout: millis(c.Group.SessionTimeout), JoinGroupBackoff: 200 * time.Millisecond, StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		return fmt.Errorf("cannot join the group %s: %w", s.group, err)
	}
	defer func() { _ = group.Close() }()
	defer s.stop(func(*running) bool { return true })
	for {
		gen, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.Warn("joining the group", zap.String("group", s.group), zap.Error(err))
			continue
		}
		s.assign(ctx, gen)
	}
}

// comeBack takes what a dead process of this instance left in the group out of it, so that the group need not wait for its session to end.
func (s *stage) comeBack(ctx context.Context, client *kafka.Client, clientID string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{s.group}})
	if err != nil {
		return err
	}
	var old []kafka.LeaveGroupRequestMember
	for _, g := range res.Groups {
		for _, m := range g.Members {
			if m.ClientID == clientID {
				old = append(old, kafka.LeaveGroupRequestMember{ID: m.MemberID})
			}
		}
	}
	if len(old) == 0 {
		return nil
	}
	s.log.Info("taking this instance's old membership out of the group", zap.String("group", s.group), zap.Int("members", len(old)))
	left, err := client.LeaveGroup(ctx, &kafka.LeaveGroupRequest{GroupID: s.group, Members: old})
	if err == nil {
		err = left.Error
	}
	return err
}

// assign starts, keeps and stops tasks as the generation says.
func (s *stage) assign(ctx context.Context, gen *kafka.Generation) {
	assignments := s.assignments(gen)
	m := membership{group: s.group, member: gen.MemberID, generation: int(gen.ID)}
	s.stop(func(r *running) bool {
		a, mine := assignments[r.task]
		return !mine || !maps.EqualFunc(a.partitions, r.partitions, slices.Equal)
	})
	kept := 0
	s.mu.Lock()
	for task, a := range assignments {
		if r := s.running[task]; r != nil {
			kept++
			r.seat.give(m)
			continue
		}
		s.running[task] = s.start(ctx, a, newSeat(m))
	}
	s.mu.Unlock()
	s.log.Info("tasks assigned", zap.String("group", s.group), zap.Int32("generation", gen.ID), zap.Int("tasks", len(assignments)), zap.Int("kept", kept))
	gen.Start(func(ctx context.Context) { s.watch(ctx, assignments) })
	gen.Start(func(ended context.Context) {
		<-ended.Done()
		s.moved(m)
	})
}

// moved says that a generation has ended. The next one may have come already.
func (s *stage) moved(m membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.running {
		r.seat.over(m)
	}
}

// ask is how many partitions some topics have; one that is missing is not in the answer.
func (s *stage) ask(ctx context.Context, topics []string) (map[string]int, error) {
	found, err := s.broker.topics(ctx, topics)
	return countOf(found), err
}

// sayEvery is how often it is said that topics are missing, or cannot be looked at.
const sayEvery = time.Minute

// watch ends the generation when the topics have other partitions than before it, or the group has given this member's tasks others than there are, so that all
// are assigned anew. kafka-go's own watch ends every generation at once while a topic is missing.
func (s *stage) watch(ctx context.Context, assigned map[int]assignment) {
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	var said time.Time
	say := func(text string, fields ...zap.Field) {
		if time.Since(said) > sayEvery {
			said = time.Now()
			s.log.Error(text, append(fields, zap.String("group", s.group))...)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		changed, err := s.look(ctx)
		if err != nil {
			if ctx.Err() == nil {
				say("cannot look at the topics' partitions", zap.Error(err))
			}
			continue
		}
		missing := slices.DeleteFunc(slices.Clone(s.topics), func(topic string) bool { return s.seen[topic] > 0 })
		if s.missed(missing); len(missing) > 0 {
			say("topics are missing: nothing is read of them", zap.Strings("topics", missing))
		}
		if changed || s.lacks(assigned) {
			return
		}
	}
}

// look says whether the topics have other partitions than when it was looked last.
func (s *stage) look(ctx context.Context) (changed bool, err error) {
	found, err := s.ask(ctx, s.topics)
	if err != nil {
		return false, err
	}
	s.looked(found)
	changed = !maps.Equal(found, s.seen)
	s.seen = found
	return changed, nil
}

// lacks says whether there are partitions of assigned tasks that the group has not assigned: whoever assigned them may have heard of fewer.
func (s *stage) lacks(assigned map[int]assignment) bool {
	for task, a := range assigned {
		for topic, n := range s.seen {
			if has := len(a.partitions[topic]); has < (n-task+s.tasks-1)/s.tasks {
				return true
			}
		}
	}
	return false
}

// start runs a task until it is stopped. After an error it begins again from what was committed, if it is still this worker's.
func (s *stage) start(ctx context.Context, a assignment, seat *seat) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{assignment: a, seat: seat, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer s.failed(a.task, nil)
		wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(againAfter), backoff.WithMaxInterval(mostAgainAfter), backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
		for ctx.Err() == nil {
			began := time.Now()
			err := s.try(ctx, a, seat)
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, errRulesChanged) {
				s.log.Info("a task is restored for other rules", zap.String("stage", s.name), zap.Int("task", a.task))
				continue
			}
			s.failed(a.task, err)
			if time.Since(began) > wait.MaxInterval {
				wait.Reset()
			}
			s.log.Warn("task begins again from what was committed", zap.String("stage", s.name), zap.Int("task", a.task), zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(wait.NextBackOff()):
			}
		}
	}()
	return r
}

// againAfter is how long a task that failed is left alone, and mostAgainAfter one that fails again and again.
const (
	againAfter     = 500 * time.Millisecond
	mostAgainAfter = 5 * time.Second
)

// try runs a task once. Before it takes over anything it makes sure that the group still counts it: a worker that was asleep must not
// fence the one that has its tasks now.
func (s *stage) try(ctx context.Context, a assignment, seat *seat) error {
	m, err := seat.wait(ctx)
	if err != nil {
		return err
	}
	member, err := s.broker.member(ctx, m)
	if err != nil {
		return err
	}
	if !member {
		seat.over(m)
		return fmt.Errorf("this worker is no longer in generation %d of %s", m.generation, m.group)
	}
	return s.run(ctx, a, seat)
}

// stop stops the tasks that which picks, and waits for them.
func (s *stage) stop(which func(*running) bool) {
	s.mu.Lock()
	var stopped []*running
	for task, r := range s.running {
		if which(r) {
			r.cancel()
			stopped = append(stopped, r)
			delete(s.running, task)
		}
	}
	s.mu.Unlock()
	for _, r := range stopped {
		<-r.done
	}
}

// owned are the tasks at work here.
func (s *stage) owned() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.running))
}

func (s *stage) assignments(gen *kafka.Generation) map[int]assignment {
	out := map[int]assignment{}
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			task := p.ID % s.tasks
			a, ok := out[task]
			if !ok {
				a = assignment{task: task, partitions: map[string][]int{}}
			}
			a.partitions[topic] = append(a.partitions[topic], p.ID)
			slices.Sort(a.partitions[topic])
			out[task] = a
		}
	}
	return out
}

func millis(d rules.Duration) time.Duration { return time.Duration(d) * time.Millisecond }
