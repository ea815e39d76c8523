package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// storeTimeout is how long the api waits for the store. The slow store of the script stays below it, so
// slowness shows as latency and not as errors.
const storeTimeout = 3 * time.Second

// storeConnections is how many idle connections the api keeps to the store.
const storeConnections = 128

// storeClient is how the api calls the question store.
type storeClient struct {
	url    string
	pace   pace
	client *http.Client
}

func newStoreClient(url string, p pace) *storeClient {
	transport := &http.Transport{MaxIdleConnsPerHost: storeConnections, DisableCompression: true}
	return &storeClient{url: url, pace: p, client: &http.Client{Transport: transport}}
}

// get fetches a path on behalf of the request r and decodes the answer. Its errors say whose fault it was.
func (c *storeClient) get(r *http.Request, path string, into any) error {
	ctx, cancel := context.WithTimeout(r.Context(), c.pace.of(storeTimeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return fmt.Errorf("cannot ask the question store: %w", err)
	}
	visitOf(r.Header).mark(request.Header)
	response, err := c.client.Do(request)
	if err != nil {
		return storeProblem(r, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return storeProblem(r, fmt.Errorf("it answered %d", response.StatusCode))
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return storeProblem(r, err)
	}
	return nil
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
