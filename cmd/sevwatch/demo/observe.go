package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// statusClientGone is what a request ends with when the visitor did not wait for the answer. It is no
// fault of the service, so it is below 500 and makes no error event.
const statusClientGone = 499

// maxBody is far above any body that the front end sends.
const maxBody = 16 << 10

// visit says for whom a request is made. The front end sends it as headers and the api passes it on to
// the question store, so that the events of both name the session.
type visit struct {
	session, region, step string
}

func visitOf(h http.Header) visit {
	return visit{session: h.Get("X-Session"), region: h.Get("X-Region"), step: h.Get("X-Step")}
}

func (v visit) mark(h http.Header) {
	h.Set("X-Session", v.session)
	h.Set("X-Region", v.region)
	h.Set("X-Step", v.step)
}

// problem is why a request has no good answer.
type problem struct {
	status                    int
	errorType, category, text string
}

func (p *problem) Error() string { return p.text }

// refuse is the visitor's own mistake.
func refuse(status int, format string, args ...any) error {
	return &problem{status: status, errorType: "refused", text: fmt.Sprintf(format, args...)}
}

var errClientGone = &problem{status: statusClientGone, errorType: "client_gone", text: "the client did not wait"}

// endpoint does the work of one request and returns what to answer.
type endpoint func(r *http.Request) (any, error)

// observer answers requests and says of each, as an event, how long it really took and how it ended.
type observer struct {
	emitter          *emitter
	service, version string
}

// watch makes a handler of an endpoint. The clock stops when the answer is written, before anything is
// emitted.
func (o observer) watch(do endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		body, err := do(r)
		status, failed := http.StatusOK, (*problem)(nil)
		if err != nil {
			failed = asProblem(err)
			status, body = failed.status, map[string]string{"error": failed.text}
		}
		answer(w, status, body)
		o.report(r, time.Now(), began, status, failed)
	})
}

func (o observer) report(r *http.Request, now, began time.Time, status int, failed *problem) {
	v := visitOf(r.Header)
	about := labels{
		Service: o.service, Endpoint: r.Pattern, Step: v.step,
		Region: v.region, Version: o.version, Session: v.session,
	}
	o.emitter.request(now, latencyEvent{labels: about, Status: status, DurationMs: milliseconds(now.Sub(began))})
	if status < http.StatusInternalServerError {
		return
	}
	o.emitter.failure(now, errorEvent{
		labels: about, ErrorType: failed.errorType, Category: failed.category, Message: failed.text,
	})
}

// asProblem takes an error that nobody expected for a failure of the service.
func asProblem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	return &problem{status: http.StatusInternalServerError, errorType: "internal", text: err.Error()}
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("BUG: cannot encode the answer %+v: %v", body, err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // it fails only when the client has gone, and then nobody reads it
}

// read decodes the request's body.
func read[T any](r *http.Request) (T, error) {
	var body T
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return body, refuse(http.StatusBadRequest, "cannot read the body: %v", err)
	}
	return body, nil
}
