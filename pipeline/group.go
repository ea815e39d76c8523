package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"sevwatch/pipeline/txn"
	"sevwatch/rules"
)

// wholeTasks assigns tasks, not partitions: task k is the partitions p of every topic with p mod tasks = k, and goes to one member as a
// whole.
type wholeTasks struct{ tasks int }

// ProtocolName is how members of a group know that they agree (kafka.GroupBalancer).
func (w wholeTasks) ProtocolName() string { return fmt.Sprintf("sevwatch-tasks-%d", w.tasks) }

// UserData is empty: nothing is needed to assign (kafka.GroupBalancer).
func (w wholeTasks) UserData() ([]byte, error) { return nil, nil }

// AssignGroups gives task k to the member k mod n, members in the order of their ids (kafka.GroupBalancer).
func (w wholeTasks) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	slices.SortFunc(members, func(x, y kafka.GroupMember) int { return cmp.Compare(x.ID, y.ID) })
	out := kafka.GroupMemberAssignments{}
	for _, m := range members {
		out[m.ID] = map[string][]int{}
	}
	for _, p := range partitions {
		member := members[p.ID%w.tasks%len(members)].ID
		out[member][p.Topic] = append(out[member][p.Topic], p.ID)
	}
	return out
}

// membership is what a task needs to commit as a member of its group.
type membership struct {
	group      string
	member     string
	generation int
}

// assignment is one task and its partitions by topic.
type assignment struct {
	task       int
	partitions map[string][]int
	membership
}

// stage runs the tasks of one consumer group that fall to this worker.
type stage struct {
	name   string // aggregate or judge
	group  string
	topics []string
	tasks  int
	run    func(ctx context.Context, a assignment) error
	log    *zap.Logger
}

// serve joins the group and runs its tasks until ctx is done.
func (s *stage) serve(ctx context.Context, c *Config) error {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: s.group, Brokers: c.Brokers, Topics: s.topics, Dialer: newDialer(), GroupBalancers: []kafka.GroupBalancer{wholeTasks{s.tasks}},
		HeartbeatInterval: millis(c.Group.Heartbeat), SessionTimeout: millis(c.Group.SessionTimeout),
		RebalanceTimeout: millis(c.Group.SessionTimeout), JoinGroupBackoff: 200 * time.Millisecond,
		WatchPartitionChanges: true, PartitionWatchInterval: 5 * time.Second, StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		return fmt.Errorf("cannot join the group %s: %w", s.group, err)
	}
	defer func() { _ = group.Close() }()
	for {
		gen, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.Warn("joining the group", zap.String("group", s.group), zap.Error(err))
			continue
		}
		s.generation(ctx, gen)
	}
}

// generation runs this worker's tasks until the group moves on. kafka-go waits for it before it joins again.
func (s *stage) generation(ctx context.Context, gen *kafka.Generation) {
	assignments := s.assignments(gen)
	s.log.Info("tasks assigned", zap.String("group", s.group), zap.Int32("generation", gen.ID), zap.Int("tasks", len(assignments)))
	done := make(chan struct{})
	gen.Start(func(ended context.Context) {
		defer close(done)
		ctx, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(ended, cancel)
		defer stop()
		defer cancel()
		var wg sync.WaitGroup
		for _, a := range assignments {
			wg.Add(1)
			go func() {
				defer wg.Done()
				s.task(ctx, a)
			}()
		}
		<-ctx.Done()
		wg.Wait()
	})
	<-done
}

// task runs one task. After an error it begins again from what was committed; when it is somebody else's now, it waits for the end.
func (s *stage) task(ctx context.Context, a assignment) {
	for ctx.Err() == nil {
		err := s.run(ctx, a)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("task begins again from what was committed", zap.String("stage", s.name), zap.Int("task", a.task), zap.Error(err))
		wait := time.Second
		if errors.Is(err, txn.ErrFenced) || errors.Is(err, txn.ErrNotMember) {
			wait = time.Hour // the group's next word ends ctx
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (s *stage) assignments(gen *kafka.Generation) []assignment {
	byTask := map[int]assignment{}
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			task := p.ID % s.tasks
			a, ok := byTask[task]
			if !ok {
				a = assignment{
					task: task, partitions: map[string][]int{},
					membership: membership{group: s.group, member: gen.MemberID, generation: int(gen.ID)},
				}
			}
			a.partitions[topic] = append(a.partitions[topic], p.ID)
			byTask[task] = a
		}
	}
	var out []assignment
	for _, a := range byTask {
		out = append(out, a)
	}
	slices.SortFunc(out, func(x, y assignment) int { return x.task - y.task })
	return out
}

// committed asks for the offsets of the assignment's partitions and what was kept beside them.
func committed(ctx context.Context, client *kafka.Client, a assignment) (map[string]map[int]kafka.OffsetFetchPartition, error) {
	res, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: a.group, Topics: a.partitions})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return nil, fmt.Errorf("cannot fetch the offsets of group %s: %w", a.group, err)
	}
	out := map[string]map[int]kafka.OffsetFetchPartition{}
	for topic, partitions := range res.Topics {
		out[topic] = map[int]kafka.OffsetFetchPartition{}
		for _, p := range partitions {
			if p.Error != nil {
				return nil, fmt.Errorf("cannot fetch the offset of group %s in %s/%d: %w", a.group, topic, p.Partition, p.Error)
			}
			out[topic][p.Partition] = p
		}
	}
	return out, nil
}

// span is where a partition begins and ends.
type span struct{ first, end int64 }

// ends asks where partitions begin and end; under read committed, the end is before the first transaction that is open.
func ends(ctx context.Context, client *kafka.Client, topic string, partitions []int, isolation kafka.IsolationLevel) (map[int]span, error) {
	out := map[int]span{}
	for _, which := range []func(int) kafka.OffsetRequest{kafka.FirstOffsetOf, kafka.LastOffsetOf} {
		var ask []kafka.OffsetRequest
		for _, id := range partitions {
			ask = append(ask, which(id))
		}
		res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
			Topics: map[string][]kafka.OffsetRequest{topic: ask}, IsolationLevel: isolation,
		})
		if err != nil {
			return nil, fmt.Errorf("cannot ask for the ends of %s: %w", topic, err)
		}
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return nil, fmt.Errorf("cannot ask for the ends of %s/%d: %w", topic, p.Partition, p.Error)
			}
			s := out[p.Partition]
			s.first, s.end = max(s.first, p.FirstOffset), max(s.end, p.LastOffset)
			out[p.Partition] = s
		}
	}
	return out, nil
}

func millis(d rules.Duration) time.Duration { return time.Duration(d) * time.Millisecond }
