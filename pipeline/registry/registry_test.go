package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sevwatch/pipeline/wire"
)

// fake is a small Schema Registry.
type fake struct {
	mu       sync.Mutex
	byID     map[string]text
	versions map[string]text // subject/versions/n
	down     int             // answers that are still refused
	asked    map[string]int
	user     string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[r.URL.Path]++
	if f.down > 0 {
		f.down--
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	if user, password, _ := r.BasicAuth(); f.user != "" && (user != f.user || password != "secret") {
		http.Error(w, `{"error_code":40101,"message":"Unauthorized"}`, http.StatusUnauthorized)
		return
	}
	t, found := f.byID[strings.TrimPrefix(r.URL.Path, "/schemas/ids/")]
	if !found {
		t, found = f.versions[strings.TrimPrefix(r.URL.Path, "/subjects/")]
	}
	if !found {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error_code":40403,"message":"Schema not found"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(t)
}

func (f *fake) times(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[path]
}

// serve runs a fake registry and a client of it.
func serve(t *testing.T, f *fake, cfg Config) *Client {
	t.Helper()
	f.asked = map[string]int{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	cfg.URL, cfg.Retry, cfg.MaxRetry = server.URL+"/", time.Millisecond, 5*time.Millisecond
	c := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// schema waits for the registry's answer.
func schema(t *testing.T, c *Client, id uint32) wire.Schema {
	t.Helper()
	deadline := time.After(10 * time.Second)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		if s := c.Schema(id); s != nil {
			return s
		}
		select {
		case <-deadline:
			t.Fatalf("schema %d is not answered", id)
		case <-ticker.C:
		}
	}
}

const (
	avroText  = `{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}`
	outerAvro = `{"type":"record","name":"O","fields":[{"name":"r","type":"R"},{"name":"s","type":"S"}]}`
	midAvro   = `{"type":"record","name":"S","fields":[{"name":"r","type":"R"}]}`
	protoText = `syntax = "proto3"; import "p/part.proto"; message M { int64 n = 1; Part part = 2; }`
	partText  = `syntax = "proto3"; message Part { string s = 1; }`
)

func everything() *fake {
	ofR := []reference{{"R", "r/value", 1}}
	return &fake{
		byID: map[string]text{
			"1": {Schema: avroText},
			"2": {Schema: outerAvro, Type: "AVRO", References: []reference{{"R", "r/value", 1}, {"S", "s", 3}}},
			"3": {Schema: protoText, Type: "PROTOBUF", References: []reference{{"p/part.proto", "part", 2}}},
			"4": {Schema: `{}`, Type: "JSON"},
			"5": {Schema: `{`},
			"6": {Schema: `x`, Type: "THRIFT"},
			"7": {Schema: outerAvro, References: []reference{{"R", "gone", 1}}},
			"8": {Schema: outerAvro, References: []reference{{"L", "loop", 1}}},
		},
		versions: map[string]text{
			"r/value/versions/1": {Schema: avroText}, "s/versions/3": {Schema: midAvro, References: ofR},
			"part/versions/2": {Schema: partText}, "loop/versions/1": {Schema: avroText, References: []reference{{"L", "loop", 1}}},
		},
	}
}

func TestSchemas(t *testing.T) {
	f := everything()
	c := serve(t, f, Config{})
	check := func(id uint32, body []byte, want string) {
		t.Helper()
		got, r := schema(t, c, id).AppendJSON(nil, body)
		if text := strings.ReplaceAll(string(got), " ", ""); r != nil || text != want {
			t.Errorf("schema %d: %s, %v, expected %s", id, text, r, want)
		}
	}
	check(1, []byte{10}, `{"n":5}`)
	check(2, []byte{10, 12}, `{"r":{"n":5},"s":{"r":{"n":6}}}`)
	check(3, []byte{0, 8, 5, 0x12, 3, 0x0a, 1, 'x'}, `{"n":"5","part":{"s":"x"}}`)
	check(4, []byte(`{"n":5}`), `{"n":5}`)
	for range 3 {
		check(1, []byte{12}, `{"n":6}`)
	}
	if n := f.times("/schemas/ids/1"); n != 1 {
		t.Errorf("schema 1 was asked for %d times", n)
	}
	refuse := func(id uint32, why string) {
		t.Helper()
		_, r := schema(t, c, id).AppendJSON(nil, nil)
		if r == nil || r.Reason != wire.UnknownSchema || !strings.Contains(r.Detail, why) {
			t.Errorf("schema %d: %v, expected %s", id, r, why)
		}
	}
	refuse(5, "cannot read the schema")
	refuse(6, "it is THRIFT, expected AVRO, PROTOBUF or JSON")
	refuse(7, "the registry says: Schema not found")
	refuse(8, "cannot read the schema") // a schema that refers to itself is asked for once
	refuse(99, "the registry says: Schema not found")
}

// While the registry is down nothing is known, and nothing is taken for unknown.
func TestRegistryDown(t *testing.T) {
	f := everything()
	f.down = 5
	var mu sync.Mutex
	var told []string
	c := serve(t, f, Config{OnError: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err.Error())
	}})
	if _, unknown := schema(t, c, 1).(wire.NoSuchSchema); unknown {
		t.Error("a registry that is down is taken for one without the schema")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 5 || !strings.Contains(told[0], "for schema 1: it answers 503") {
		t.Errorf("told are %q", told)
	}
}

// What the registry did not know is asked for again after a while.
func TestUnknownIsAskedAgain(t *testing.T) {
	f := everything()
	c := serve(t, f, Config{Again: time.Nanosecond})
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for c.Schema(50); f.times("/schemas/ids/50") < 2; c.Schema(50) {
		<-ticker.C
	}
	f.mu.Lock()
	f.byID["50"] = text{Schema: avroText}
	f.mu.Unlock()
	if got, r := schema(t, c, 50).AppendJSON(nil, []byte{10}); r != nil || string(got) != `{"n":5}` {
		t.Errorf("%s, %v", got, r)
	}
}

func TestPassword(t *testing.T) {
	f := everything()
	f.user = "anna"
	c := serve(t, f, Config{User: "anna", Password: "secret"})
	if _, r := schema(t, c, 1).AppendJSON(nil, []byte{10}); r != nil {
		t.Error(r)
	}
	failed := make(chan error, 100)
	c = serve(t, f, Config{User: "anna", Password: "guess", OnError: func(err error) { failed <- err }})
	if c.Schema(1) != nil {
		t.Error("a schema without the password")
	}
	if err := <-failed; !strings.Contains(err.Error(), "it answers 401") {
		t.Error(err)
	}
}
