package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
)

// service is the assessment api: one entry, and behind it two versions of the same code that share their
// sessions and the question store.
type service struct {
	switches    *switches
	sessions    *sessions
	store       *storeClient
	stable, bad http.Handler
}

// api is one version of the code.
type api struct {
	*service
	release release
}

func newService(client *http.Client, storeURL string, p pace, s *switches, e *emitter) *service {
	service := &service{switches: s, sessions: newSessions(), store: newStoreClient(client, storeURL, p, s)}
	service.stable = service.routes(stableRelease(), e)
	service.bad = service.routes(badRelease(), e)
	return service
}

func (s *service) routes(r release, e *emitter) http.Handler {
	a := api{service: s, release: r}
	watched := observer{emitter: e, service: "assessment-api", version: r.version}
	mux := http.NewServeMux()
	mux.Handle("GET /v1/welcome", watched.watch(a.welcome))
	mux.Handle("POST /v1/consent", watched.watch(a.consent))
	mux.Handle("POST /v1/profile", watched.watch(a.profile))
	mux.Handle("GET /v1/questions", watched.watch(a.questions))
	mux.Handle("POST /v1/answers", watched.watch(a.answers))
	mux.Handle("GET /v1/review", watched.watch(a.review))
	mux.Handle("POST /v1/submit", watched.watch(a.submit))
	mux.Handle("GET /v1/result", watched.watch(a.result))
	return mux
}

// ServeHTTP is the entry. A session stays with one version as long as the shares do not change.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if bucket(r.Header.Get("X-Session")) < s.switches.badShare.Load() {
		s.bad.ServeHTTP(w, r)
		return
	}
	s.stable.ServeHTTP(w, r)
}

// bucket spreads sessions over 0 to 99.
func bucket(session string) int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(session)) // a hash never fails to write
	return int64(h.Sum32() % 100)
}

// close ends the connections to the store.
func (s *service) close() {
	s.store.close()
}

func (a api) welcome(r *http.Request) (any, error) {
	id := visitOf(r.Header).session
	if id == "" {
		return nil, refuse(http.StatusBadRequest, "no session in the request")
	}
	a.sessions.open(id)
	return map[string]any{"session": id, "pages": pageCount}, nil
}

func (a api) consent(r *http.Request) (any, error) {
	body, err := read[struct {
		Agreed bool `json:"agreed"`
	}](r)
	if err != nil {
		return nil, err
	}
	err = a.sessions.with(visitOf(r.Header).session, func(s *session) error {
		s.agreed = body.Agreed
		return nil
	})
	return body, err
}

func (a api) profile(r *http.Request) (any, error) {
	body, err := read[struct {
		AgeBand string `json:"age_band"`
	}](r)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(ageBands, body.AgeBand) {
		return nil, refuse(http.StatusUnprocessableEntity, "age_band must be one of %q, not %q", ageBands, body.AgeBand)
	}
	err = a.sessions.with(visitOf(r.Header).session, func(s *session) error {
		if !s.agreed {
			return refuse(http.StatusConflict, "no consent yet")
		}
		s.ageBand = body.AgeBand
		return nil
	})
	return body, err
}

func (a api) questions(r *http.Request) (any, error) {
	number, err := pageNumber(r.URL.Query().Get("page"))
	if err != nil {
		return nil, err
	}
	err = a.sessions.with(visitOf(r.Header).session, func(s *session) error {
		if s.ageBand == "" {
			return refuse(http.StatusConflict, "no profile yet")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var page []question
	err = a.store.get(r, "/v1/pages/"+strconv.Itoa(number), &page)
	return page, err
}

func (a api) answers(r *http.Request) (any, error) {
	body, err := read[struct {
		Page    int   `json:"page"`
		Answers []int `json:"answers"`
	}](r)
	if err != nil {
		return nil, err
	}
	if err := checkAnswers(body.Page, body.Answers); err != nil {
		return nil, err
	}
	err = a.sessions.with(visitOf(r.Header).session, func(s *session) error {
		score, err := a.release.score(s.ageBand, body.Answers)
		if err != nil {
			return &problem{
				status: http.StatusInternalServerError, errorType: "scoring_failed",
				text: fmt.Sprintf("cannot score page %d: %v", body.Page, err),
			}
		}
		s.scores[body.Page-1], s.answered[body.Page-1] = score, true
		return nil
	})
	return map[string]int{"page": body.Page}, err
}

func (a api) review(r *http.Request) (any, error) {
	err := a.sessions.with(visitOf(r.Header).session, func(s *session) error {
		if !s.done() {
			return refuse(http.StatusConflict, "there are pages left to answer")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var titles []string
	err = a.store.get(r, "/v1/titles", &titles)
	return map[string]any{"answered": titles}, err
}

// submit closes the assessment; to submit it again gives the same receipt.
func (a api) submit(r *http.Request) (any, error) {
	id, receipt := visitOf(r.Header).session, ""
	err := a.sessions.with(id, func(s *session) error {
		if !s.done() {
			return refuse(http.StatusConflict, "there are pages left to answer")
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %v", id, s.scores))
		s.receipt = hex.EncodeToString(sum[:])
		receipt = s.receipt
		return nil
	})
	return map[string]string{"receipt": receipt}, err
}

func (a api) result(r *http.Request) (any, error) {
	total, receipt := 0, ""
	err := a.sessions.with(visitOf(r.Header).session, func(s *session) error {
		if s.receipt == "" {
			return refuse(http.StatusConflict, "not submitted yet")
		}
		for _, score := range s.scores {
			total += score
		}
		receipt = s.receipt
		return nil
	})
	return map[string]any{"score": total, "receipt": receipt}, err
}

func pageNumber(text string) (int, error) {
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || number > pageCount {
		return 0, refuse(http.StatusBadRequest, "page must be 1 to %d, not %q", pageCount, text)
	}
	return number, nil
}

func checkAnswers(page int, answers []int) error {
	if page < 1 || page > pageCount {
		return refuse(http.StatusUnprocessableEntity, "page must be 1 to %d, not %d", pageCount, page)
	}
	if len(answers) != pageLength {
		return refuse(http.StatusUnprocessableEntity, "a page has %d answers, not %d", pageLength, len(answers))
	}
	for _, answer := range answers {
		if answer < 1 || answer > highestMark {
			return refuse(http.StatusUnprocessableEntity, "an answer is 1 to %d, not %d", highestMark, answer)
		}
	}
	return nil
}
