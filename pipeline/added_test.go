package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"sevwatch/detector"
	"sevwatch/pipeline/fetch"
	"sevwatch/pipeline/kafkatest"
)

// A source is added, or takes the place of another, with events in the old one or before there were any: what is written to the new one is counted.
func TestSourceIsAddedOrExchanged(t *testing.T) {
	const source = "{topic: web, kind: error, partitions: 2}"
	for _, tasks := range []int{1, 2} {
		for _, events := range []bool{false, true} {
			for _, keep := range []bool{false, true} {
				config := strings.Replace(twoConfig, "aggregate: 2", fmt.Sprintf("aggregate: %d", tasks), 1)
				two := tasksOver(t, nil, config)
				if events {
					two.write(0)
				}
				two.settle(10)
				sources := "{topic: shop, kind: error, partitions: 2}"
				if keep {
					sources = source + ", " + sources
				}
				two = tasksOver(t, two.broker, strings.Replace(config, source, sources, 1))
				two.settle(5)
				for range 10 {
					for id := range 2 {
						two.append("shop", id, int(two.broker.now-simStart)/1000)
					}
					two.settle(1)
				}
				for _, task := range two.tasks {
					for _, s := range task.order {
						if got := s.State().Totals; s.Topic == "shop" && got != (detector.Totals{Counted: 10}) {
							t.Errorf("%d tasks, events before: %t, the old source is kept: %t: %s/%d has the accounts %+v, expected 10 counted",
								tasks, events, keep, s.Topic, s.Source.Partition, got)
						}
					}
				}
			}
		}
	}
}

// A partition that was added is still an added one when its task ends before the mark by which it begins: the next owner waits for one too, so
// what it holds of a time that is judged already is late, and said to be.
func TestAddedPartitionIsNotForgotten(t *testing.T) {
	two := newTwoTasks(t)
	two.writeTo(0, 100)
	two.writeTo(1, 100)
	two.settle(20)
	config := strings.Replace(twoConfig, "}]}", "}, {topic: shop, kind: error, partitions: 2}]}", 1)
	first := tasksOver(t, two.broker, config)
	for range 150 { // the other task is not heard of
		first.broker.now += 20
		res := first.tasks[0].reader.(*memoryReader).poll(all)
		first.take(0, &res)
	}
	next := tasksOver(t, two.broker, config)
	next.append("shop", 0, 5)
	next.settle(20)
	for _, s := range next.tasks[0].order {
		if got := s.State().Totals; s.Topic == "shop" && got != (detector.Totals{Late: 1}) {
			t.Errorf("the added partition has the accounts %+v, expected one late", got)
		}
	}
}

// A mark that was read, but not applied because held records have to be read again before, is read again after one more restart.
func TestMarkIsNotForgotten(t *testing.T) {
	config := strings.Replace(twoConfig, "aggregate: 2", "aggregate: 1", 1)
	first := tasksOver(t, nil, config)
	first.write(0)
	first.settle(1)
	first.writeTo(0, 4000) // is held
	first.settle(1)
	marks := partition{first.w.cfg.Topics.Marks, 0}
	before := len(first.broker.records(marks))
	for second := 20; len(first.broker.records(marks)) == before; second += 20 { // until a mark moves partition 0 on; it does not come back
		first.writeTo(1, second)
		for n := 0; n < 50 && len(first.broker.records(marks)) == before; n++ {
			first.step(0, all)
		}
	}
	second := tasksOver(t, first.broker, config)
	for n := range 100 { // partition 0 comes from a slow broker, and the other one goes on
		second.broker.now += 20
		if n == 20 {
			second.writeTo(1, 1000)
		}
		res := second.tasks[0].reader.(*memoryReader).poll(all)
		var others []fetch.Chunk
		for _, c := range res.Chunks {
			if c.Topic != "web" || c.Partition != 0 {
				others = append(others, c)
			}
		}
		res.Chunks = others
		second.take(0, &res)
	}
	third := tasksOver(t, first.broker, config)
	third.writeTo(0, 5)
	third.settle(1)
	if got := third.tasks[0].order[0].State().Totals; got.Late != 1 {
		t.Errorf("what is behind the mark has the accounts %+v, expected one late", got)
	}
}

// An error that ends the reading of other tasks' marks is noticed: whoever follows them has to begin again.
func TestHintsThatEnd(t *testing.T) {
	two := newTwoTasks(t)
	res := fetch.Response{Chunks: []fetch.Chunk{{Topic: two.w.cfg.Topics.Marks, Err: errBroken}}}
	if err := two.w.takeHints(&res, make([]fetch.Walker, 2)); err == nil || !strings.Contains(err.Error(), two.w.cfg.Topics.Marks+"/0") {
		t.Errorf("an error of the reader is told as %v", err)
	}
}

// A source is removed while nothing else changes: judging goes on without it. Another one may take its place.
func TestSourceIsRemoved(t *testing.T) {
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, patient)
	p.load(minutes(0, 2, 20))
	w, stop := p.start()
	p.judged(noon(1, 30), w)
	stop()
	p.cfg.Sources = p.cfg.Sources[:2] // errors and latencies
	w, stop = p.start()
	defer stop()
	p.load(minutes(2, 6, 20))
	p.judged(noon(5, 30), w)
}

// A source that was removed and is added again begins where event time is, like any added one: what its producers wrote meanwhile is late, and said to be.
func TestSourceIsRemovedAndAddedAgain(t *testing.T) {
	const shop = ", {topic: shop, kind: error, partitions: 2}]}"
	with := strings.Replace(twoConfig, "}]}", "}"+shop, 1)
	two := tasksOver(t, nil, with)
	run := func(seconds int) {
		for range seconds {
			for id := range 2 {
				two.append("web", id, int(two.broker.now-simStart)/1000)
				two.append("shop", id, int(two.broker.now-simStart)/1000)
			}
			two.settle(1)
		}
	}
	run(10)
	two = tasksOver(t, two.broker, twoConfig)
	run(60)
	two = tasksOver(t, two.broker, with)
	run(10)
	two.settle(5)
	for _, task := range two.tasks {
		for _, s := range task.order {
			if got := s.State().Totals; s.Topic == "shop" && (got.Late < 50 || got.Late > 65 || got.Counted+got.Late != 80) {
				t.Errorf("%s/%d has the accounts %+v, expected some 60 of 80 to be late", s.Topic, s.Source.Partition, got)
			}
		}
	}
	two = tasksOver(t, two.broker, with) // and it is there from then on
	run(5)
	two.settle(5)
	for _, task := range two.tasks {
		for _, s := range task.order {
			if got := s.State().Totals; s.Topic == "shop" && got.Counted+got.Late != 85 || s.added {
				t.Errorf("%s/%d has the accounts %+v, expected 85 in all; added: %t", s.Topic, s.Source.Partition, got, s.added)
			}
		}
	}
}

// While the new partition of a topic that has grown waits for its mark, the old ones are not taken for such as were away: not even when the task ends just then.
func TestGrownTopicWasNotAway(t *testing.T) {
	one := strings.Replace(twoConfig, "aggregate: 2", "aggregate: 1", 1)
	two := tasksOver(t, nil, one)
	two.write(0)
	two.settle(10)
	two.broker.makeTopic("web", 3)
	two = tasksOver(t, two.broker, one)
	two.tasks[0].flush(nil)
	two.take(0, nil) // commits, and nothing comes back
	next := tasksOver(t, two.broker, one)
	for _, s := range next.tasks[0].order {
		if s.added != (s.Source.Partition == 2) {
			t.Errorf("partition %d counts as added: %t", s.Source.Partition, s.added)
		}
	}
}
