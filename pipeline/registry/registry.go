// Package registry asks a Schema Registry for the schemas that records name. It knows HTTP and not what records mean.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"sevwatch/pipeline/wire"
)

// Config is where the registry is.
type Config struct {
	URL      string
	User     string // "": without a password
	Password string
	// OnError, where given, is told of every attempt that failed; there will be another.
	OnError func(error)
	// Retry is how long to wait between attempts at first and at most. 0 means 100 ms and 10 s.
	Retry, MaxRetry time.Duration
	// Again is after how long a schema that the registry did not know is asked for again. 0 means a minute.
	Again time.Duration
}

// Client keeps the schemas that it was asked for. Run asks the registry; the other methods never wait.
type Client struct {
	cfg  Config
	http *http.Client
	news chan struct{} // something is wanted

	mu     sync.Mutex
	known  map[uint32]answer
	wanted map[uint32]bool
}

// answer is a schema, and when it is to be asked for again; never where that is zero.
type answer struct {
	schema wire.Schema
	until  time.Time
}

// New makes a client; Run works.
func New(cfg Config) *Client {
	if cfg.OnError == nil {
		cfg.OnError = func(error) {}
	}
	if cfg.Retry == 0 {
		cfg.Retry, cfg.MaxRetry = 100*time.Millisecond, 10*time.Second
	}
	if cfg.Again == 0 {
		cfg.Again = time.Minute
	}
	cfg.URL = strings.TrimSuffix(cfg.URL, "/")
	return &Client{
		cfg: cfg, http: &http.Client{Timeout: 10 * time.Second}, news: make(chan struct{}, 1),
		known: map[uint32]answer{}, wanted: map[uint32]bool{},
	}
}

// Schema is the schema of that number, or nil: then it is asked for, and has to be looked for again.
func (c *Client) Schema(id uint32) wire.Schema {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, found := c.known[id]; found && (a.until.IsZero() || time.Now().Before(a.until)) {
		return a.schema
	}
	c.wanted[id] = true
	select {
	case c.news <- struct{}{}:
	default: // it is told already
	}
	return nil
}

// Run asks for what is wanted until ctx is done. While the registry does not answer it tries again for ever.
func (c *Client) Run(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(c.cfg.Retry), backoff.WithMaxInterval(c.cfg.MaxRetry),
		backoff.WithMaxElapsedTime(0))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.news:
		}
		wait.Reset()
		for !c.ask(ctx) {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait.NextBackOff()):
			}
		}
	}
}

// Now asks for a schema and waits for the answer. A registry that has not given any for so long is an error.
func (c *Client) Now(ctx context.Context, id uint32, patience time.Duration) (wire.Schema, error) {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(c.cfg.Retry), backoff.WithMaxInterval(c.cfg.MaxRetry), backoff.WithMaxElapsedTime(patience))
	schema, err := backoff.RetryWithData(func() (wire.Schema, error) { return c.fetch(ctx, id) }, backoff.WithContext(wait, ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot ask the registry %s for schema %d: %w", c.cfg.URL, id, err)
	}
	return schema, nil
}

// ask asks once for everything that is wanted, and says whether all of it was answered.
func (c *Client) ask(ctx context.Context) bool {
	c.mu.Lock()
	ids := make([]uint32, 0, len(c.wanted))
	for id := range c.wanted {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	slices.Sort(ids)
	all := true
	for _, id := range ids {
		schema, err := c.fetch(ctx, id)
		if err != nil {
			all = false
			if ctx.Err() == nil {
				c.cfg.OnError(fmt.Errorf("cannot ask the registry %s for schema %d: %w", c.cfg.URL, id, err))
			}
			continue
		}
		a := answer{schema: schema}
		if _, unknown := schema.(wire.NoSuchSchema); unknown {
			a.until = time.Now().Add(c.cfg.Again)
		}
		c.mu.Lock()
		c.known[id] = a
		delete(c.wanted, id)
		c.mu.Unlock()
	}
	return all
}

// Bounds of what a registry may answer.
const (
	maxAnswer     = 4 << 20
	maxReferences = 64
)

// text is a schema as the registry answers it.
type text struct {
	Schema     string      `json:"schema"`
	Type       string      `json:"schemaType"` // absent: AVRO
	References []reference `json:"references"`
}

type reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// fetch asks for one schema. The error is the world's; what is wrong with the schema itself makes it a NoSuchSchema.
func (c *Client) fetch(ctx context.Context, id uint32) (wire.Schema, error) {
	var t text
	if err := c.get(ctx, "/schemas/ids/"+strconv.FormatUint(uint64(id), 10), &t); err != nil {
		return refused(err)
	}
	references := &references{client: c, seen: map[string]bool{}}
	if err := references.follow(ctx, t.References); err != nil {
		return refused(err)
	}
	var schema wire.Schema
	var err error
	switch t.Type {
	case "", "AVRO":
		schema, err = wire.NewAvroSchema(t.Schema, references.texts)
	case "PROTOBUF":
		schema, err = wire.NewProtobufSchema(t.Schema, references.texts)
	case "JSON":
		schema = wire.NewJSONSchema()
	default:
		err = fmt.Errorf("it is %s, expected AVRO, PROTOBUF or JSON", t.Type)
	}
	if err != nil {
		return wire.NoSuchSchema{Why: err.Error()}, nil //nolint:nilerr // a schema that nobody can read is an answer
	}
	return schema, nil
}

// refused tells what the registry does not have from a registry that cannot be asked.
func refused(err error) (wire.Schema, error) {
	var unknown unknownError
	if errors.As(err, &unknown) {
		return wire.NoSuchSchema{Why: unknown.Error()}, nil
	}
	return nil, err
}

// unknownError is the registry's word that it has no such thing.
type unknownError struct{ message string }

func (e unknownError) Error() string { return "the registry says: " + e.message }

// references are the schemas that a schema refers to, each behind those that it refers to itself.
type references struct {
	client *Client
	seen   map[string]bool
	texts  []wire.SchemaText
}

func (r *references) follow(ctx context.Context, list []reference) error {
	for _, ref := range list {
		if r.seen[ref.Name] {
			continue
		}
		if r.seen[ref.Name] = true; len(r.seen) > maxReferences {
			return unknownError{fmt.Sprintf("more than %d references", maxReferences)}
		}
		var t text
		path := "/subjects/" + url.PathEscape(ref.Subject) + "/versions/" + strconv.Itoa(ref.Version)
		if err := r.client.get(ctx, path, &t); err != nil {
			return err
		}
		if err := r.follow(ctx, t.References); err != nil {
			return err
		}
		r.texts = append(r.texts, wire.SchemaText{Name: ref.Name, Text: t.Schema})
	}
	return nil
}

// get reads one answer. A 404 with one of the registry's own codes means that it is there and has no such thing.
func (c *Client) get(ctx context.Context, path string, into *text) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/vnd.schemaregistry.v1+json, application/json")
	if c.cfg.User != "" {
		req.SetBasicAuth(c.cfg.User, c.cfg.Password)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(body) > maxAnswer:
		return unknownError{fmt.Sprintf("an answer of more than %d bytes", maxAnswer)}
	case res.StatusCode != http.StatusOK:
		return refusal(res.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer to %s is not JSON: %w", path, err)
	}
	return nil
}

func refusal(status int, body []byte) error {
	var e struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	err := json.Unmarshal(body, &e)
	if status == http.StatusNotFound && err == nil && e.Code >= 40401 && e.Code <= 40403 {
		return unknownError{e.Message}
	}
	return fmt.Errorf("it answers %d: %.200q", status, body)
}
