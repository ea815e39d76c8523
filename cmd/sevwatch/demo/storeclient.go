package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// storeTimeout is how long the api waits for the store. The slow store of the script stays below it, so
// slowness shows as latency and not as errors.
const storeTimeout = 3 * time.Second

// storeConnections is how many idle connections the api keeps to the store.
const storeConnections = 128

// storeClient is how the api calls the question store.
type storeClient struct {
	url      string
	pace     pace
	switches *switches
	client   *http.Client
	kept     sync.Map     // by path: the last good answer
	spared   atomic.Int64 // calls while the breaker is open
}

// trickle is one call of how many that an open breaker lets through, to see how the store is.
const trickle = 12

func newStoreClient(client *http.Client, url string, p pace, s *switches) *storeClient {
	return &storeClient{url: url, pace: p, switches: s, client: client}
}

// get fetches a path on behalf of the request r and decodes the answer, or, while the breaker is open, mostly the last good one. Its errors say
// whose fault it was.
func (c *storeClient) get(r *http.Request, path string, into any) error {
	kept, known := c.kept.Load(path)
	open := known && c.switches.breakerOpen.Load()
	if open && c.spared.Add(1)%trickle != 0 {
		return json.Unmarshal(kept.([]byte), into)
	}
	answer, err := c.fetch(r, path)
	if err != nil && open {
		answer, err = kept.([]byte), nil
	}
	if err != nil {
		return err
	}
	c.kept.Store(path, answer)
	if err := json.Unmarshal(answer, into); err != nil {
		return storeProblem(r, err)
	}
	return nil
}

func (c *storeClient) fetch(r *http.Request, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), c.pace.of(storeTimeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the question store: %w", err)
	}
	visitOf(r.Header).mark(request.Header)
	response, err := c.client.Do(request)
	if err != nil {
		return nil, storeProblem(r, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, storeProblem(r, fmt.Errorf("it answered %d", response.StatusCode))
	}
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, storeProblem(r, err)
	}
	return answer, nil
}

// storeProblem: the visitor gave up, or we did, or the store failed.
func storeProblem(r *http.Request, err error) error {
	if r.Context().Err() != nil {
		return errClientGone
	}
	p := &problem{
		status: http.StatusBadGateway, errorType: "dependency_failed", category: "dependency",
		text: fmt.Sprintf("cannot ask the question store: %v", err),
	}
	if errors.Is(err, context.DeadlineExceeded) {
		p.status, p.errorType = http.StatusGatewayTimeout, "dependency_timeout"
	}
	return p
}

func (c *storeClient) close() {
	c.client.CloseIdleConnections()
}
