package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
)

// wholeTasks assigns tasks, not partitions: task k is the partitions p of every topic with p mod tasks = k, and goes to one member as a
// whole. A member keeps the tasks that it has as far as everybody is to have equally many.
type wholeTasks struct {
	tasks int
	owned func() []int // the tasks that this member has now

	partitions func(topics []string) (map[string]int, error) // how many there are
	log        *zap.Logger
}

// ProtocolName is how members of a group know that they agree (kafka.GroupBalancer).
func (w *wholeTasks) ProtocolName() string { return fmt.Sprintf("sevwatch-tasks-%d", w.tasks) }

// UserData tells the others which tasks this member has: their numbers, separated by commas (kafka.GroupBalancer).
func (w *wholeTasks) UserData() ([]byte, error) {
	var numbers []string
	for _, task := range w.owned() {
		numbers = append(numbers, strconv.Itoa(task))
	}
	return []byte(strings.Join(numbers, ",")), nil
}

// AssignGroups gives every task to a member (kafka.GroupBalancer).
func (w *wholeTasks) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	slices.SortFunc(members, func(x, y kafka.GroupMember) int { return cmp.Compare(x.ID, y.ID) })
	owners, partitions := w.share(members), w.all(members, partitions)
	out := kafka.GroupMemberAssignments{}
	for _, m := range members {
		out[m.ID] = map[string][]int{}
	}
	for _, p := range partitions {
		topics := out[owners[p.ID%w.tasks]]
		topics[p.Topic] = append(topics[p.Topic], p.ID)
	}
	return out
}

// all are the partitions of all topics that members read. kafka-go finds none at all where one of the topics is missing.
func (w *wholeTasks) all(members []kafka.GroupMember, found []kafka.Partition) []kafka.Partition {
	readers := map[string]int{}
	for _, m := range members {
		for _, topic := range m.Topics {
			readers[topic]++
		}
	}
	topics := slices.Sorted(maps.Keys(readers))
	if some := slices.DeleteFunc(slices.Clone(topics), func(topic string) bool { return readers[topic] == len(members) }); len(some) > 0 {
		w.log.Error("workers have different sources: partitions that fall to one that does not have their source are read by nobody, and all wait for them",
			zap.Strings("not_with_all", some))
	}
	if !slices.ContainsFunc(topics, func(topic string) bool {
		return !slices.ContainsFunc(found, func(p kafka.Partition) bool { return p.Topic == topic })
	}) {
		return found
	}
	there, err := w.partitions(topics)
	if err != nil {
		w.log.Warn("asking for the partitions of the topics", zap.Error(err))
		return found
	}
	found = nil
	for _, topic := range topics {
		for id := range there[topic] {
			found = append(found, kafka.Partition{Topic: topic, ID: id})
		}
	}
	return found
}

// share is the owner of each task. Everybody gets tasks/members, and as many members one more as there are tasks left.
func (w *wholeTasks) share(members []kafka.GroupMember) []string {
	owners := make([]string, w.tasks)
	count := map[string]int{}
	few, more := w.tasks/len(members), w.tasks%len(members)
	room := func(id string) bool {
		if count[id] < few {
			return true
		}
		if count[id] == few && more > 0 {
			return true
		}
		return false
	}
	take := func(task int, id string) {
		if owners[task] = id; count[id] == few {
			more--
		}
		count[id]++
	}
	for _, m := range members {
		for _, task := range parseTasks(m.UserData, w.tasks) {
			if owners[task] == "" && room(m.ID) {
				take(task, m.ID)
			}
		}
	}
	for task, owner := range owners {
		if owner != "" {
			continue
		}
		i := slices.IndexFunc(members, func(m kafka.GroupMember) bool { return count[m.ID] < few })
		if i < 0 {
			i = slices.IndexFunc(members, func(m kafka.GroupMember) bool { return room(m.ID) })
		}
		take(task, members[i].ID)
	}
	return owners
}

// parseTasks reads what UserData wrote; what makes no sense is left out.
func parseTasks(data []byte, tasks int) []int {
	var out []int
	for text := range strings.SplitSeq(string(data), ",") {
		if task, err := strconv.Atoi(text); err == nil && task >= 0 && task < tasks {
			out = append(out, task)
		}
	}
	return out
}
