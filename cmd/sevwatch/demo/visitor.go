package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// How people are when nothing is wrong. Both numbers stay well below what the runbook would call even a
// Sev4: 0.4 % of visitors lose interest at each step, so 99.6 % complete it, and 2.8 % do so somewhere on
// the way; a mistyped profile is answered 422, which is no failure of the service and no error event.
const (
	lostInterestShare = 0.004
	mistypedShare     = 0.002
)

// patientTries is how many failures in a row a visitor takes before leaving.
const patientTries = 3

// retryAfter is how long a visitor takes to try again.
const retryAfter = 600 * time.Millisecond

// The longest that a visitor waits for one answer lies between these, evenly spread.
const (
	leastPatience = time.Second
	mostPatience  = 5 * time.Second
)

// brokenShare is the share of visitors whose browser the front end's bug on the submit page hits.
const brokenShare = 0.9

// ending is how a visit, or a part of it, ends.
type ending int

const (
	goesOn ending = iota
	finished
	lostInterest
	leftSlow
	leftErrors
	leftBroken
	cutOff // the world ended first
	endings
)

// visitor is one person and the front end in their browser. The front end speaks for itself: it tells about
// steps, which the service cannot see.
type visitor struct {
	visit
	crowd    *crowd
	rng      *rand.Rand
	patience time.Duration
	ageBand  string
	browser  float64 // below brokenShare, the bug on the submit page hits it
	mistypes bool
	entered  time.Time
}

func newVisitor(c *crowd, number uint64) *visitor {
	rng := rand.New(rand.NewPCG(c.options.Seed, number))
	v := &visitor{crowd: c, rng: rng, browser: rng.Float64()}
	v.session = fmt.Sprintf("%016x", rng.Uint64())
	v.region = pick(rng.Float64(), []string{"eu", "us", "ap"}, []float64{0.5, 0.35, 0.15})
	v.ageBand = pick(rng.Float64(), ageBands, []float64{0.15, 0.40, 0.35, 0.10})
	v.mistypes = rng.Float64() < mistypedShare
	v.patience = leastPatience + time.Duration(rng.Float64()*float64(mostPatience-leastPatience))
	return v
}

// pick chooses among names by their shares; at is uniform in [0, 1).
func pick(at float64, names []string, shares []float64) string {
	for i, share := range shares {
		if at -= share; at < 0 {
			return names[i]
		}
	}
	return names[len(names)-1]
}

// walk goes from step to step until the end, or until something makes the visitor leave.
func (v *visitor) walk(ctx context.Context) ending {
	for _, s := range journey() {
		v.step, v.entered = s.step, time.Now()
		v.tell("enter")
		switch end := v.stay(ctx, s); end {
		case goesOn:
			v.tell("complete")
		case cutOff:
			return end
		default:
			v.tell("abandon")
			return end
		}
	}
	return finished
}

// stay does what there is to do at one step.
func (v *visitor) stay(ctx context.Context, s stage) ending {
	if v.rng.Float64() < lostInterestShare {
		if !v.think(ctx, time.Second) {
			return cutOff
		}
		return lostInterest
	}
	for _, m := range s.moves {
		if !v.think(ctx, m.think) {
			return cutOff
		}
		if m.path == "" {
			continue
		}
		if s.step == "submit" && v.browser < brokenShare && v.crowd.switches.submitBroken.Load() {
			return v.pressInVain(ctx)
		}
		if end := v.ask(ctx, m); end != goesOn {
			return end
		}
	}
	return goesOn
}

// pressInVain: the button does nothing and nothing is sent. The visitor tries for a while, then leaves.
func (v *visitor) pressInVain(ctx context.Context) ending {
	if !v.think(ctx, 2*time.Second) {
		return cutOff
	}
	return leftBroken
}

// ask makes one request and repeats it while it fails, as often as the visitor bears it.
func (v *visitor) ask(ctx context.Context, m move) ending {
	for try := 1; ; try++ {
		status, err := v.send(ctx, m)
		switch {
		case ctx.Err() != nil:
			return cutOff
		case errors.Is(err, context.DeadlineExceeded):
			return leftSlow
		case err != nil:
			v.tellNetwork(err)
		case status < http.StatusBadRequest:
			return goesOn
		}
		if try == patientTries {
			return leftErrors
		}
		if !v.think(ctx, retryAfter) {
			return cutOff
		}
	}
}

// send makes one request and waits for the whole answer, no longer than the patience lasts.
func (v *visitor) send(ctx context.Context, m move) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, v.crowd.pace.of(v.patience))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, m.method, v.crowd.url+m.path, bytes.NewReader(v.write(m)))
	if err != nil {
		return 0, fmt.Errorf("cannot make the request: %w", err)
	}
	v.mark(request.Header)
	response, err := v.crowd.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("cannot reach the service: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, fmt.Errorf("cannot read the answer: %w", err)
	}
	return response.StatusCode, nil
}

// write is the body of a request.
func (v *visitor) write(m move) []byte {
	var form any
	switch m.body {
	case noBody:
		return nil
	case consentBody:
		form = map[string]bool{"agreed": true}
	case profileBody:
		form = map[string]string{"age_band": v.typeAgeBand()}
	case answersBody:
		answers := make([]int, pageLength)
		for i := range answers {
			answers[i] = 1 + v.rng.IntN(highestMark)
		}
		form = map[string]any{"page": m.page, "answers": answers}
	}
	text, err := json.Marshal(form)
	if err != nil {
		panic(fmt.Sprintf("BUG: cannot encode %+v: %v", form, err))
	}
	return text
}

// typeAgeBand is wrong at most once.
func (v *visitor) typeAgeBand() string {
	if v.mistypes {
		v.mistypes = false
		return v.ageBand + "?"
	}
	return v.ageBand
}

// think lets about d pass, from half of it to half more, and reports whether the world still stands.
func (v *visitor) think(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	about := time.Duration(float64(d) * (0.5 + v.rng.Float64()))
	return wait(ctx, v.crowd.pace.of(about))
}

// tell emits what the front end says about the present step.
func (v *visitor) tell(action string) {
	now := time.Now()
	event := stepEvent{labels: v.labels(), Action: action}
	if action != "enter" {
		dwell := milliseconds(now.Sub(v.entered))
		event.DwellMs = &dwell
	}
	v.crowd.emitter.step(now, event)
}

// tellNetwork emits that a request got no answer at all: only the front end can know.
func (v *visitor) tellNetwork(err error) {
	v.crowd.emitter.failure(time.Now(), errorEvent{
		labels: v.labels(), ErrorType: "network", Message: err.Error(),
	})
}

func (v *visitor) labels() labels {
	return labels{Service: "assessment-web", Step: v.step, Region: v.region, Version: "7.3.0", Session: v.session}
}
