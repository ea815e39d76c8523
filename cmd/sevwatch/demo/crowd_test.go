package demo

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// reachable is a service without a network, so that a crowd can live by the bubble's clock.
type reachable func(*http.Request) (int, error)

func (f reachable) RoundTrip(r *http.Request) (*http.Response, error) {
	status, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(nil)), Request: r}, nil
}

func allWell(*http.Request) (int, error) { return http.StatusOK, nil }

func newTestCrowd(seed uint64, visitors int, service reachable) (*crowd, *memory) {
	m := newMemory()
	o := Options{Seed: seed, Visitors: visitors, Scale: 1}
	c := newCrowd(o, "http://service", &switches{}, &emitter{sink: m}, &tally{})
	c.client = &http.Client{Transport: service}
	return c, m
}

// walkAll lets n visitors walk one after the other and counts how they end.
func walkAll(t *testing.T, c *crowd, n uint64) Totals {
	t.Helper()
	for number := range n {
		c.tally.left(newVisitor(c, number+1).walk(t.Context()))
	}
	return c.tally.totals()
}

func TestVisitorsWhenNothingIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2000
		c, m := newTestCrowd(1, 300, allWell)
		start := time.Now()
		got := walkAll(t, c, n)
		if share := float64(got.LostInterest) / n; share < 0.02 || share > 0.035 {
			t.Errorf("%.4f lost interest, want about %.4f", share, 7*lostInterestShare)
		}
		if got.Finished+got.LostInterest != n {
			t.Errorf("nobody has another reason to leave: %+v", got)
		}
		if each := time.Since(start) / n; each < 12*time.Second || each > 14*time.Second {
			t.Errorf("a visit takes %v on average, planned %v", each, journeyTime())
		}
		entered, completed := map[string]float64{}, map[string]float64{}
		for _, e := range m.all(t) {
			switch e.Action {
			case "enter":
				entered[e.Step]++
			case "complete":
				completed[e.Step]++
			}
		}
		for _, s := range journey() {
			if share := completed[s.step] / entered[s.step]; share < 0.99 || share == 1 {
				t.Errorf("%s is completed by %.4f, want about %.4f", s.step, share, 1-lostInterestShare)
			}
		}
	})
}

func TestSameSeedSameVisitors(t *testing.T) {
	visit := func(seed uint64) [][]byte {
		var lines [][]byte
		synctest.Test(t, func(t *testing.T) {
			c, m := newTestCrowd(seed, 300, allWell)
			walkAll(t, c, 20)
			for _, r := range m.records {
				lines = append(lines, r.value)
			}
		})
		return lines
	}
	if !slices.EqualFunc(visit(7), visit(7), bytes.Equal) {
		t.Error("two runs of one seed differ, by the bubble's clock")
	}
	if slices.EqualFunc(visit(7), visit(8), bytes.Equal) {
		t.Error("another seed makes the same visitors")
	}
}

func TestVisitorsLeaveWhenItIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, slow = 1000, 3 * time.Second
		c, m := newTestCrowd(1, 300, func(r *http.Request) (int, error) {
			if r.URL.Path == "/v1/review" && !wait(r.Context(), slow) {
				return 0, r.Context().Err()
			}
			return http.StatusOK, nil
		})
		got := walkAll(t, c, n)
		// Patience is even between 1 s and 5 s, so half of them do not have 3 s.
		if share := float64(got.LeftSlow) / n; share < 0.44 || share > 0.54 {
			t.Errorf("%.3f left because it was slow, want about half", share)
		}
		for _, e := range m.all(t) {
			if e.Action == "abandon" && e.Step == "review" && *e.DwellMs > float64(slow.Milliseconds()) {
				t.Errorf("left after the answer came: %+v", e)
			}
		}
	})
}

func TestVisitorsLeaveWhenItFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := map[string]int{}
		c, m := newTestCrowd(1, 300, func(r *http.Request) (int, error) {
			if r.URL.Path != "/v1/profile" {
				return http.StatusOK, nil
			}
			tries[r.Header.Get("X-Session")]++
			return http.StatusInternalServerError, nil
		})
		got := walkAll(t, c, 100)
		if got.LeftErrors < 90 || got.Finished > 0 {
			t.Errorf("a page that always fails lets nobody through: %+v", got)
		}
		for session, n := range tries {
			if n != patientTries {
				t.Errorf("%s tried %d times, want %d", session, n, patientTries)
			}
		}
		for _, e := range m.all(t) {
			if e.Kind != "step" {
				t.Errorf("the front end speaks for the service: %+v", e)
			}
		}
	})
}

func TestFrontEndTellsWhenNothingAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m := newTestCrowd(1, 300, func(*http.Request) (int, error) { return 0, io.ErrUnexpectedEOF })
		walkAll(t, c, 1)
		e := m.await(t, func(e event) bool { return e.Kind == "error" })
		if e.Service != "assessment-web" || e.ErrorType != "network" || e.Step != "welcome" {
			t.Errorf("the error event is %+v", e)
		}
	})
}

func TestBrokenSubmitSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		submitted := 0
		c, m := newTestCrowd(1, 300, func(r *http.Request) (int, error) {
			if r.URL.Path == "/v1/submit" {
				submitted++
			}
			return http.StatusOK, nil
		})
		c.switches.submitBroken.Store(true)
		got := walkAll(t, c, n)
		if share := float64(got.LeftBroken) / float64(got.LeftBroken+int64(submitted)); share < 0.87 || share > 0.93 {
			t.Errorf("%.3f cannot submit, want about %.2f", share, brokenShare)
		}
		for _, e := range m.all(t) {
			if e.Kind != "step" {
				t.Errorf("only steps should tell of it: %+v", e)
			}
		}
	})
}

func TestCrowdIsAsLargeAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const asked, minutes = 200, 3
		c, _ := newTestCrowd(1, asked, allWell)
		ctx, cancel := context.WithTimeout(t.Context(), minutes*time.Minute)
		defer cancel()
		c.run(ctx)
		got := c.tally.totals()
		present := got.Arrived - got.Finished - got.LostInterest
		if present < asked*8/10 || present > asked*12/10 {
			t.Errorf("%d are on their way at the end, asked for %d", present, asked)
		}
		want := asked * (minutes * time.Minute).Seconds() / journeyTime().Seconds()
		if float64(got.Arrived) < 0.95*want || float64(got.Arrived) > 1.05*want {
			t.Errorf("%d arrived, want about %.0f", got.Arrived, want)
		}
	})
}

func TestCrowdIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const asked = 10
		c, _ := newTestCrowd(1, asked, allWell)
		c.client = &http.Client{Transport: reachable(func(r *http.Request) (int, error) {
			<-time.After(time.Hour) // by the bubble's clock, deaf to the visitor's patience
			return http.StatusOK, nil
		})}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		c.run(ctx)
		got := c.tally.totals()
		if got.Arrived != crowding*asked || got.TurnedAway == 0 {
			t.Errorf("nobody leaves, so %d fit in: %+v", crowding*asked, got)
		}
	})
}
