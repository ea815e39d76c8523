package demo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// place is the api and its store on real loopback ports.
type place struct {
	t        *testing.T
	url      string
	switches *switches
	memory   *memory
}

func newPlace(t *testing.T, p pace) *place {
	t.Helper()
	pl := &place{t: t, switches: &switches{}, memory: newMemory()}
	e := &emitter{sink: pl.memory}
	fail := func(err error) { t.Error(err) }
	store := listenFor(t, "question-store", newStore(Options{Seed: 1, Visitors: 300, Scale: float64(p)}, pl.switches, e), fail)
	service := newService(loopback.client(storeConnections), store.url(), p, pl.switches, e)
	t.Cleanup(service.close)
	pl.url = listenFor(t, "assessment-api", service, fail).url()
	return pl
}

func listenFor(t *testing.T, name string, h http.Handler, fail context.CancelCauseFunc) *server {
	t.Helper()
	s, err := loopback.serve(name, h)
	if err != nil {
		t.Fatal(err)
	}
	s.start(fail)
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask makes one request as session and checks the status.
func (p *place) ask(session, what, body string, want int) string {
	p.t.Helper()
	status, text, err := p.try(p.t.Context(), session, what, body)
	if err != nil {
		p.t.Fatal(err)
	}
	if status != want {
		p.t.Fatalf("%s %s: %d %s, want %d", what, body, status, text, want)
	}
	return text
}

func (p *place) try(ctx context.Context, session, what, body string) (int, string, error) {
	method, path, _ := strings.Cut(what, " ")
	request, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	visit{session: session, region: "eu", step: "questions"}.mark(request.Header)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

const tenAnswers = `[1,2,3,4,5,1,2,3,4,5]` // their sum is 30

// introduce takes a session as far as the questions.
func (p *place) introduce(session, ageBand string) {
	p.t.Helper()
	p.ask(session, "GET /v1/welcome", "", 200)
	p.ask(session, "POST /v1/consent", `{"agreed":true}`, 200)
	p.ask(session, "POST /v1/profile", `{"age_band":"`+ageBand+`"}`, 200)
}

func TestServiceFromWelcomeToResult(t *testing.T) {
	p := newPlace(t, 0.01)
	p.introduce("ann", "18-29")
	if page := p.ask("ann", "GET /v1/questions?page=2", "", 200); !strings.Contains(page, `"id":"q11"`) {
		t.Errorf("page 2 is %s", page)
	}
	for _, page := range []string{"1", "2", "3"} {
		p.ask("ann", "POST /v1/answers", `{"page":`+page+`,"answers":`+tenAnswers+`}`, 200)
	}
	p.ask("ann", "GET /v1/review", "", 200)
	receipt := p.ask("ann", "POST /v1/submit", "", 200)
	if again := p.ask("ann", "POST /v1/submit", "", 200); again != receipt {
		t.Errorf("submitted twice: %s, then %s", receipt, again)
	}
	if result := p.ask("ann", "GET /v1/result", "", 200); !strings.Contains(result, `"score":90`) {
		t.Errorf("three pages of 30 at 100 %% make %s", result)
	}

	var seen []string
	for _, e := range p.memory.all(t) {
		if e.Kind != "latency" || *e.Status != 200 {
			t.Errorf("unexpected %+v", e)
		}
		seen = append(seen, e.Service+" "+e.Endpoint)
	}
	for _, want := range []string{"assessment-api GET /v1/questions", "question-store GET /v1/pages/{page}", "question-store GET /v1/titles"} {
		if !slices.Contains(seen, want) {
			t.Errorf("no latency event of %q among %q", want, seen)
		}
	}
}

func TestServiceRefusesMistakes(t *testing.T) {
	p := newPlace(t, 0.01)
	p.ask("", "GET /v1/welcome", "", 400)
	p.ask("nobody", "POST /v1/consent", `{"agreed":true}`, 409)
	p.ask("bob", "GET /v1/welcome", "", 200)
	p.ask("bob", "POST /v1/profile", `{"age_band":"60+"}`, 409) // no consent yet
	p.ask("bob", "POST /v1/consent", `{"agreed`, 400)
	p.ask("bob", "POST /v1/consent", `"`+strings.Repeat("x", maxBody)+`"`, 400)
	p.ask("bob", "POST /v1/consent", `{"agreed":true}`, 200)
	p.ask("bob", "POST /v1/profile", `{"age_band":"60+?"}`, 422)
	p.ask("bob", "GET /v1/questions?page=1", "", 409) // no profile yet
	p.ask("bob", "POST /v1/profile", `{"age_band":"60+"}`, 200)
	p.ask("bob", "GET /v1/questions?page=4", "", 400)
	p.ask("bob", "POST /v1/answers", `{"page":0,"answers":`+tenAnswers+`}`, 422)
	p.ask("bob", "POST /v1/answers", `{"page":1,"answers":[1]}`, 422)
	p.ask("bob", "POST /v1/answers", `{"page":1,"answers":[1,2,3,4,5,1,2,3,4,6]}`, 422)
	p.ask("bob", "GET /v1/review", "", 409)
	p.ask("bob", "POST /v1/submit", "", 409)
	p.ask("bob", "GET /v1/result", "", 409)
	for _, r := range p.memory.records {
		if r.topic == TopicErrors {
			t.Errorf("a visitor's mistake is no failure of the service: %s", r.value)
		}
	}
}

func TestBadReleaseFailsForMiddleAgeBands(t *testing.T) {
	p := newPlace(t, 0.01)
	const answers = `{"page":1,"answers":` + tenAnswers + `}`
	for _, band := range ageBands {
		p.introduce(band, band)
		p.ask(band, "POST /v1/answers", answers, 200)
	}
	p.switches.badShare.Store(100)
	p.ask("18-29", "POST /v1/answers", answers, 200)
	p.ask("30-44", "POST /v1/answers", answers, 500)
	p.ask("45-59", "POST /v1/answers", answers, 500)
	p.ask("60+", "POST /v1/answers", answers, 200)
	e := p.memory.await(t, func(e event) bool { return e.Kind == "error" })
	if e.Service != "assessment-api" || e.Version != "1.42.0" || e.Endpoint != "POST /v1/answers" ||
		e.ErrorType != "scoring_failed" || e.Message != `cannot score page 1: no weight for age band "30-44"` {
		t.Errorf("the error event is %+v", e)
	}
	p.switches.badShare.Store(0)
	p.ask("30-44", "POST /v1/answers", answers, 200)
}

// A busy store takes a second's worth and refuses the rest; an open breaker answers with the last good page, and asks one time in so many.
func TestOpenBreakerSparesTheStore(t *testing.T) {
	p := newPlace(t, 1)
	p.introduce("eve", "60+")
	const page = "GET /v1/questions?page=1"
	want := p.ask("eve", page, "", 200)
	p.switches.storeBusy.Store(true)
	refused := 0
	for range 60 {
		status, _, err := p.try(t.Context(), "eve", page, "")
		if err != nil {
			t.Fatal(err)
		}
		if status == 502 {
			refused++
		}
	}
	if refused < 10 {
		t.Errorf("%d of 60 requests were refused", refused)
	}
	p.switches.breakerOpen.Store(true)
	for range 2 * trickle {
		if got := p.ask("eve", page, "", 200); got != want {
			t.Errorf("the page is %s, was %s", got, want)
		}
	}
	asked := 0
	for _, e := range p.memory.all(t) {
		if e.Kind == "latency" && e.Service == "question-store" {
			asked++
		}
	}
	if asked != 61+2 {
		t.Errorf("the store was asked %d times, expected twice while the breaker was open", asked-61)
	}
}

func TestStoreTooSlowForTheAPI(t *testing.T) {
	p := newPlace(t, 0.01) // the api waits 30 ms
	p.introduce("cid", "60+")
	p.switches.storeDelay.Store(int64(time.Hour))
	p.ask("cid", "GET /v1/questions?page=1", "", 504)
	e := p.memory.await(t, func(e event) bool { return e.Kind == "error" })
	if e.Service != "assessment-api" || e.ErrorType != "dependency_timeout" || e.Category != "dependency" {
		t.Errorf("the error event is %+v", e)
	}
	// The store knows only that the api has gone.
	p.memory.await(t, func(e event) bool { return e.Service == "question-store" && *e.Status == statusClientGone })
}

func TestVisitorWhoDoesNotWaitIsNoFailure(t *testing.T) {
	p := newPlace(t, 1)
	p.introduce("dot", "60+")
	p.switches.storeDelay.Store(int64(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := p.try(ctx, "dot", "GET /v1/questions?page=1", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("want a deadline, got %v", err)
	}
	gone := func(service string) event {
		return p.memory.await(t, func(e event) bool {
			return e.Kind == "latency" && e.Service == service && *e.Status == statusClientGone
		})
	}
	gone("question-store")
	// The visitor's patience began a little before the handler did.
	if e := gone("assessment-api"); *e.DurationMs > 1000 {
		t.Errorf("the api should notice at once that the visitor has gone: %+v", e)
	}
	for _, e := range p.memory.all(t) {
		if e.Kind == "error" {
			t.Errorf("unexpected %+v", e)
		}
	}
}

func TestStoreIsDown(t *testing.T) {
	down, err := loopback.serve("question-store", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	if err := down.stop(); err != nil { // never started: the port is free again
		t.Fatal(err)
	}
	memory := newMemory()
	service := newService(loopback.client(storeConnections), down.url(), 1, &switches{}, &emitter{sink: memory})
	t.Cleanup(service.close)
	p := &place{t: t, memory: memory}
	p.url = listenFor(t, "assessment-api", service, func(err error) { t.Error(err) }).url()
	p.introduce("eve", "60+")
	p.ask("eve", "GET /v1/questions?page=1", "", 502)
	e := memory.await(t, func(e event) bool { return e.Kind == "error" })
	if e.ErrorType != "dependency_failed" {
		t.Errorf("the error event is %+v", e)
	}
}

func TestServerThatEndsByItselfSaysSo(t *testing.T) {
	s, err := loopback.serve("some-service", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	s.start(cancel)
	if err := s.listener.Close(); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if err := serverFailure(ctx); err == nil || !strings.HasPrefix(err.Error(), "cannot serve some-service: ") {
		t.Errorf("the reason is %v", err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := newSessions()
	name := func(n int) string { return string(rune(n)) + "." }
	for n := range maxSessions + 2 {
		s.open(name(n))
		s.open(name(n))
	}
	known := func(n int) bool { return s.with(name(n), func(*session) error { return nil }) == nil }
	if len(s.byID) != maxSessions || known(0) || known(1) || !known(2) || !known(maxSessions+1) {
		t.Errorf("%d sessions; the oldest should be forgotten and no other", len(s.byID))
	}
}
