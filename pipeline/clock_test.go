package pipeline

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// twoTasks are the aggregate tasks of a source of two partitions, one each, over a broker in memory.
type twoTasks struct {
	t      *testing.T
	broker *memory
	w      *Worker
	tasks  [2]*aggregateTask
}

func newTwoTasks(t *testing.T) *twoTasks {
	c, err := ParseConfig("two.yaml", []byte(`{pipeline: two, brokers: ['none:1'], pane: 1s, lateness: 1s, idle_after: 1s, tasks: {aggregate: 2, judge: 1}, sources: [{topic: web, kind: error, partitions: 2}]}`))
	check(t, err)
	two := &twoTasks{t: t, broker: newMemory(rand.New(rand.NewPCG(1, 1)), simStart)}
	for _, spec := range c.specs() {
		two.broker.makeTopic(spec.name, spec.partitions)
	}
	two.w = NewWorker(WorkerOptions{Config: c, Rules: &rules.File{}, Log: zap.NewNop()})
	two.w.broker, two.w.now = two.broker, func() time.Time { return time.UnixMilli(two.broker.now) }
	two.w.outputs = map[string][]int{c.Topics.Panes: {0}, c.Topics.Late: {0}, c.Topics.Rejected: {0}}
	g := two.broker.group(two.w.groupID("aggregate"))
	g.members["w"] = true
	for k := range two.tasks {
		a := assignment{k, map[string][]int{"web": {k}, c.Topics.Marks: {k}}}
		two.tasks[k], err = two.w.openAggregate(t.Context(), a, newSeat(membership{two.w.groupID("aggregate"), "w", 0}))
		check(t, err)
		two.tasks[k].commits.beside = func(f func()) { f() }
	}
	return two
}

// write writes an event of a second to both partitions at once.
func (two *twoTasks) write(second int) {
	for id := range 2 {
		two.writeTo(id, second)
	}
}

func (two *twoTasks) writeTo(id, second int) {
	line := fmt.Appendf(nil, `{"time":%d,"error_type":"boom"}`, simStart+second*1000)
	two.broker.append(partition{"web", id}, -1, 0, protocol.Record{Value: protocol.NewBytes(line)})
}

// deaf is a task for which no response has come, and all one that gets all there is.
const (
	deaf = -1
	all  = 1 << 30
)

// step lets a task go on with so many batches, and what it commits be committed and heard of.
func (two *twoTasks) step(k, batches int) {
	two.t.Helper()
	two.broker.now += 20
	for id := range 2 {
		for _, r := range two.broker.records(partition{two.w.cfg.Topics.Marks, id}) {
			m, err := wire.DecodeMark(r.value)
			check(two.t, err)
			two.w.hints.put(m)
		}
	}
	task := two.tasks[k]
	if batches == deaf {
		check(two.t, task.step(two.t.Context(), nil))
	} else {
		res := task.reader.(*memoryReader).poll(batches)
		check(two.t, task.step(two.t.Context(), &res))
	}
	select {
	case e := <-task.commits.ended:
		check(two.t, task.ended(e))
	default:
	}
}

// settle lets both go on for some seconds, with what the broker sends.
func (two *twoTasks) settle(seconds int) {
	for range seconds * 25 {
		two.step(0, all)
		two.step(1, all)
	}
}

// counted checks that each task has counted so many events and done nothing else with any.
func (two *twoTasks) counted(n int64) {
	two.t.Helper()
	for k, task := range two.tasks {
		if got := task.order[0].State().Totals; got != (detector.Totals{Counted: n}) {
			two.t.Errorf("task %d has the accounts %+v, expected %d counted", k, got, n)
		}
	}
}

// A task whose responses are slow takes no part of event time from the others: what was written for it when theirs was is not late, however
// much longer than idle_after it waits for it, and although the others have read theirs to the end and are idle again.
func TestNobodyIsIdleWhoseAnswerIsUnderWay(t *testing.T) {
	two := newTwoTasks(t)
	two.write(0)
	two.settle(3)
	two.write(100)
	for range 200 {
		two.step(0, all)
		two.step(1, deaf)
	}
	two.settle(3)
	two.counted(2)
}

// A worker that stood still while all was silent takes the records that came meanwhile, before it lets event time go on.
func TestNobodyIsIdleWhoStoodStill(t *testing.T) {
	two := newTwoTasks(t)
	two.write(0)
	two.settle(5)
	two.write(8)
	two.broker.now += 60_000
	two.step(0, deaf)
	two.step(1, deaf)
	two.settle(3)
	two.counted(2)
}

// What is written to one partition behind the other, within idle_after, is counted, however far it is ahead: in the beginning and when all was silent.
func TestNobodyIsIdleWhoseTurnComesNext(t *testing.T) {
	two := newTwoTasks(t)
	two.settle(3)
	for n, second := range []int{0, 200, 400} {
		two.writeTo(n%2, second+60)
		for range 22 { // 880 ms
			two.step(0, all)
			two.step(1, all)
		}
		two.writeTo(1-n%2, second)
		two.settle(5)
		two.counted(int64(n + 1))
	}
}

// A sparse stream that goes on as time does waits for nobody: what one partition tells moves on the other at once.
func TestSparseEventsWaitForNobody(t *testing.T) {
	two := newTwoTasks(t)
	two.write(0)
	two.settle(20)
	two.writeTo(0, 20)
	before := two.broker.now
	for two.tasks[1].order[0].Watermark() < simStart+19_000 {
		two.step(0, all)
		two.step(1, all)
		if two.broker.now > before+400 {
			t.Fatalf("the other partition stands at %d ms, expected 19,000", two.tasks[1].order[0].Watermark()-simStart)
		}
	}
}

// While nothing comes event time goes on, as long as the partitions are asked and have nothing.
func TestTimeGoesOnWhileAllIsSilent(t *testing.T) {
	two := newTwoTasks(t)
	two.write(0)
	two.settle(20)
	for k, task := range two.tasks {
		if low := task.order[0].Watermark() - simStart; low < 15_000 {
			t.Errorf("after some 20 s of silence the watermark of task %d is %d ms behind the event, expected 15,000 or more", k, low)
		}
	}
}

// A task that commits again and again because much is gathered tells the others each time how far it is: their idle partitions wait for it.
func TestFullFlushesTellHowFar(t *testing.T) {
	two := newTwoTasks(t)
	two.write(0)
	two.settle(3)
	const batches = 20
	bad := bytes.Repeat([]byte("x"), wire.MaxRecord)
	for second := range batches {
		records := []protocol.Record{{Value: protocol.NewBytes(fmt.Appendf(nil, `{"time":%d,"error_type":"boom"}`, simStart+(100+second)*1000))}}
		for range flushPile / wire.MaxRecord {
			records = append(records, protocol.Record{Value: protocol.NewBytes(bad)})
		}
		two.broker.append(partition{"web", 0}, -1, 0, records...)
	}
	for range batches - 2 {
		two.step(0, 1)
	}
	heard, low := two.w.hints.tasks[0].low, two.tasks[0].order[0].Clock()
	if behind := low - heard; behind > 5000 {
		t.Errorf("the others have heard of a time %d ms ago, expected 5000 at most", behind)
	}
}

// However quickly the active partitions go on, it is known how far they were when an idle one was asked that another broker has, which answers only
// after a while.
func TestKnownHowFarTheActiveWere(t *testing.T) {
	var c clock
	start := time.UnixMilli(simStart)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for ms := range 3000 {
		c.learn(int64(1000*ms), at(ms))
		asked := ms - 600
		if asked < 20 {
			continue
		}
		if known := c.knownBefore(at(asked)); known >= int64(1000*asked) || known < int64(1000*(asked-20)) {
			t.Fatalf("a partition asked at %d ms goes to %d at %d ms, expected less than %d, but not by 20,000 or more", asked, known, ms, 1000*asked)
		}
	}
}

// While nothing comes there is a mark a pane, also where the first one was on its way for long.
func TestMarksWhileAllIsSilent(t *testing.T) {
	two := newTwoTasks(t)
	two.write(0)
	two.settle(3)
	on := two.tasks[0].clock.on
	on.began = on.began.Add(-800 * time.Millisecond)
	marks := func() int { return len(two.broker.records(partition{two.w.cfg.Topics.Marks, 0})) }
	before := marks()
	two.settle(20)
	if n := marks() - before; n < 19 || n > 23 {
		t.Errorf("%d marks in 20 s of silence, expected one a second and few more", n)
	}
}
