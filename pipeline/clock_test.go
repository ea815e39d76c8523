package pipeline

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"go.uber.org/zap"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/wire"
	"sevwatch/rules"
)

// twoTasks are the aggregate tasks of a pipeline over a broker in memory: two of a source of two partitions, one each, where a test says nothing else.
type twoTasks struct {
	t      *testing.T
	broker *memory
	w      *Worker
	tasks  []*aggregateTask
}

const twoConfig = `{pipeline: two, brokers: ['none:1'], pane: 1s, lateness: 1s, idle_after: 1s, tasks: {aggregate: 2, judge: 1}, sources: [{topic: web, kind: error, partitions: 2}]}`

func newTwoTasks(t *testing.T) *twoTasks {
	return tasksOver(t, nil, twoConfig)
}

// tasksOver takes over all aggregate tasks of a pipeline, whoever had them. Without a broker it begins with a new one.
func tasksOver(t *testing.T, broker *memory, config string) *twoTasks {
	t.Helper()
	c, err := ParseConfig("two.yaml", []byte(config))
	check(t, err)
	if broker == nil {
		broker = newMemory(rand.New(rand.NewPCG(1, 1)), simStart)
	}
	two := &twoTasks{t: t, broker: broker}
	for _, spec := range c.specs() {
		if _, there := broker.counts[spec.name]; !there {
			broker.makeTopic(spec.name, spec.partitions)
		}
	}
	two.w = NewWorker(WorkerOptions{Config: c, Rules: &rules.File{}, Log: zap.NewNop()})
	two.w.broker, two.w.now = broker, func() time.Time { return time.UnixMilli(broker.now) }
	two.w.outputs = map[string][]int{c.Topics.Panes: {0}, c.Topics.Late: {0}, c.Topics.Rejected: {0}}
	broker.group(two.w.groupID("aggregate")).members["w"] = true
	for k := range c.Tasks.Aggregate {
		a := assignment{k, map[string][]int{c.Topics.Marks: {k}}}
		for _, s := range c.Sources {
			for id := k; id < broker.counts[s.Topic]; id += c.Tasks.Aggregate {
				a.partitions[s.Topic] = append(a.partitions[s.Topic], id)
			}
		}
		task, err := two.w.openAggregate(t.Context(), a, newSeat(membership{two.w.groupID("aggregate"), "w", 0}))
		check(t, err)
		task.commits.beside = func(f func()) { f() }
		two.tasks = append(two.tasks, task)
	}
	return two
}

// write writes an event of a second to both partitions at once.
func (two *twoTasks) write(second int) {
	for id := range 2 {
		two.writeTo(id, second)
	}
}

func (two *twoTasks) writeTo(id, second int) { two.append("web", id, second) }

func (two *twoTasks) append(topic string, id, second int) {
	line := fmt.Appendf(nil, `{"time":%d,"error_type":"boom"}`, simStart+second*1000)
	two.broker.append(partition{topic, id}, -1, 0, protocol.Record{Value: protocol.NewBytes(line)})
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
	for id := range two.tasks {
		records := two.broker.records(partition{two.w.cfg.Topics.Marks, id})
		for _, r := range records[max(0, len(records)-3):] {
			m, err := wire.DecodeMark(r.value)
			check(two.t, err)
			two.w.hints.put(m)
		}
	}
	if batches == deaf {
		two.take(k, nil)
	} else {
		res := two.tasks[k].reader.(*memoryReader).poll(batches)
		two.take(k, &res)
	}
}

// take lets a task go on with a response, and what it commits be committed and heard of.
func (two *twoTasks) take(k int, res *fetch.Response) {
	two.t.Helper()
	task := two.tasks[k]
	check(two.t, task.step(two.t.Context(), res))
	select {
	case e := <-task.commits.ended:
		check(two.t, task.ended(e))
	default:
	}
}

// settle lets all go on for some seconds, with what the broker sends.
func (two *twoTasks) settle(seconds int) {
	for began := two.broker.now; two.broker.now < began+int64(seconds)*1000; {
		for k := range two.tasks {
			two.step(k, all)
		}
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

// The same with a longer idle_after, of which a file spans only a part, and where one partition is never silent.
func TestNobodyIsIdleAfterAJump(t *testing.T) {
	for _, idle := range []int{10, 60} {
		two := tasksOver(t, nil, strings.Replace(twoConfig, "idle_after: 1s", fmt.Sprintf("idle_after: %ds", idle), 1))
		two.write(0)
		two.settle(2*idle + 20)
		second := int(two.broker.now-simStart) / 1000
		for id := range 2 {
			two.writeTo(id, second)
			two.writeTo(id, second+idle-5)
			for range 5 { // 200 ms
				two.step(0, all)
				two.step(1, all)
			}
		}
		two.settle(2*idle + 20)
		two.counted(3)
	}
	two := newTwoTasks(t)
	two.write(0)
	for range 10 {
		two.writeTo(0, int(two.broker.now-simStart)/1000)
		for range 20 { // 800 ms
			two.step(0, all)
			two.step(1, all)
		}
	}
	two.writeTo(0, 250)
	for range 5 {
		two.step(0, all)
		two.step(1, all)
	}
	two.writeTo(1, 100)
	two.settle(5)
	if got := two.tasks[1].order[0].State().Totals; got != (detector.Totals{Counted: 2}) {
		t.Errorf("what came behind the file of the other partition has the accounts %+v, expected two counted", got)
	}
}

// However often event time jumps, idle partitions are moved on: everybody is waited for once, and not again before that.
func TestJumpsOneBehindTheOther(t *testing.T) {
	for _, every := range []int{260, 500, 1000, 1040, 1100, 1500, 2500} {
		two := newTwoTasks(t)
		two.write(0)
		second := 0
		for range 60_000 / every {
			second += 100
			two.writeTo(0, second)
			for range every / 40 {
				two.step(0, all)
				two.step(1, all)
			}
		}
		if behind := int64(second)*1000 + simStart - two.tasks[1].order[0].Watermark(); behind > int64(4000/every+3)*100_000 {
			t.Errorf("with a jump every %d ms the idle partition is %d s behind", every, behind/1000)
		}
	}
}

// While a backlog is read beside an idle partition nobody is waited for again and again, although the reader has to wait for it at max_skew.
func TestBacklogIsOneJump(t *testing.T) {
	two := newTwoTasks(t)
	two.write(0)
	two.settle(10)
	const n = 7 * 24 * 60
	for i := range n {
		two.writeTo(0, (i+10)*60)
	}
	jumps, last := 0, two.tasks[0].clock.jumped
	for two.tasks[0].order[0].State().Totals.Counted < n {
		for k := range two.tasks {
			two.step(k, 100)
		}
		if j := two.tasks[0].clock.jumped; j != last {
			jumps, last = jumps+1, j
		}
		if jumps > 2 {
			t.Fatalf("event time has jumped %d times in a backlog", jumps)
		}
	}
}

// A task that was away while the others were not silent goes on with them, although nothing of its own came.
func TestBurstThatATaskMissed(t *testing.T) {
	two := newTwoTasks(t)
	two.write(0)
	two.settle(10)
	two.writeTo(0, 250)
	for range 150 {
		two.step(0, all)
	}
	two.settle(60)
	for k, task := range two.tasks {
		if got := task.order[0].Watermark() - simStart; got < 300_000 {
			t.Errorf("a minute after the burst task %d stands at %d ms, expected 300,000 or more", k, got)
		}
	}
}

// An idle partition whose broker takes its time to say so follows those that go on.
func TestIdleAtASlowBroker(t *testing.T) {
	for _, delay := range []int64{600, 1500, 10_000} {
		two := tasksOver(t, nil, strings.Replace(twoConfig, "aggregate: 2", "aggregate: 1", 1))
		two.writeTo(1, 0)
		idle := func(c fetch.Chunk) bool { return c.Topic == "web" && c.Partition == 1 }
		var slow []fetch.Chunk
		due := int64(0)
		for range 60 * 50 {
			two.broker.now += 20
			line := fmt.Appendf(nil, `{"time":%d,"error_type":"boom"}`, two.broker.now)
			two.broker.append(partition{"web", 0}, -1, 0, protocol.Record{Value: protocol.NewBytes(line)})
			res := two.tasks[0].reader.(*memoryReader).poll(all)
			if i := slices.IndexFunc(res.Chunks, idle); i >= 0 && slow == nil {
				slow, due = slices.Clone(res.Chunks[i:i+1]), two.broker.now+delay
			}
			res.Chunks = slices.DeleteFunc(res.Chunks, idle)
			if slow != nil && two.broker.now >= due {
				res.Chunks, slow = append(res.Chunks, slow...), nil
			}
			two.take(0, &res)
		}
		order := two.tasks[0].order
		if behind := order[0].Watermark() - order[1].Watermark(); behind > 2*delay+3000 {
			t.Errorf("with answers after %d ms the idle partition is %d ms behind", delay, behind)
		}
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
		c.lows.learn(int64(1000*ms), at(ms))
		asked := ms - 600
		if asked < 20 {
			continue
		}
		if known := c.knownBefore(at(asked)); known >= int64(1000*asked) || known < int64(1000*(asked-20)) {
			t.Fatalf("a partition asked at %d ms goes to %d at %d ms, expected less than %d, but not by 20,000 or more", asked, known, ms, 1000*asked)
		}
	}
}

// A history reaches back for as long as idle_after can be and stays small; what it knows is older than asked for by an eighth at most.
func TestHistoryReachesBack(t *testing.T) {
	var h history
	start := time.UnixMilli(simStart)
	now := start
	for ; now.Sub(start) < 2*time.Hour; now = now.Add(20 * time.Millisecond) {
		h.learn(now.UnixMilli(), now)
	}
	for ago := 50 * time.Millisecond; ago <= time.Hour; ago += ago / 3 {
		then, known := h.before(now.Add(-ago))
		if off := now.Sub(then.at) - ago; !known || then.event != then.at.UnixMilli() || off < 0 || off > now.Sub(then.at)/8+40*time.Millisecond {
			t.Errorf("of %s ago it knows what was %s ago (known: %t)", ago, now.Sub(then.at), known)
		}
	}
	if len(h) >= maxHistory {
		t.Errorf("it has %d entries, so it is cut, expected fewer than %d", len(h), maxHistory)
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
