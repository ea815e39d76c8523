package wire

import (
	"strings"
	"testing"
)

func TestEndpoints(t *testing.T) {
	e, err := NewEndpoints([]string{
		"/v1/answers/{id}", "/v1/answers/{id}/notes", "/v1/{any}/export", "/files/{path...}", "/v1/users/me", "/v1/users/{user}",
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	f := func(path, want string) {
		t.Helper()
		before := strings.Clone(path)
		in := []byte(path)
		if got, _ := e.Of(in, nil); string(got) != want {
			t.Errorf("%q is the endpoint %q, expected %q", path, got, want)
		}
		if string(in) != before {
			t.Errorf("%q was overwritten with %q", before, in)
		}
	}
	f("/v1/answers/123", "/v1/answers/{id}")
	f("/v1/answers/anna", "/v1/answers/{id}")
	f("/v1/answers/", "/v1/answers/")
	f("/v1/answers/1/notes", "/v1/answers/{id}/notes")
	f("/v1/answers/1/notes/2", "/v1/answers/{id}/notes/{id}")
	f("/v1/answers/export", "/v1/answers/{id}") // the first that fits
	f("/v1/results/export", "/v1/{any}/export")
	f("/files", "/files/{path...}")
	f("/files/", "/files/{path...}")
	f("/files/a/b/c", "/files/{path...}")
	f("/filesystem", "/filesystem")
	f("/v1/users/me", "/v1/users/me")
	f("/v1/users/you", "/v1/users/{user}")
	f("https://api.example/v1/answers/123?full=1#top", "/v1/answers/{id}")
	f("https://api.example", "/")
	f("https://api.example?x=/7", "/")
	f("/search?q=1", "/search")
	f("?q=1", "")

	f("/", "/")
	f("/a/5", "/a/{id}")
	f("/a/5/", "/a/{id}/")
	f("//5", "//{id}")
	f("/a/5b", "/a/5b")
	f("/a/-5", "/a/-5")
	f("/a/deadbeef", "/a/deadbeef")
	f("/a/deadbeefdeadbeef", "/a/{id}")
	f("/a/DEADBEEFdeadbee", "/a/DEADBEEFdeadbee")
	f("/a/6f1c09aa-2b7d-4e10-8f00-0123456789ab/b", "/a/{id}/b")
	f("/a/6f1c09aa-2b7d-4e10-8f00-0123456789ag", "/a/6f1c09aa-2b7d-4e10-8f00-0123456789ag")
	f("/a/6f1c09aa2-b7d-4e10-8f00-0123456789ab", "/a/6f1c09aa2-b7d-4e10-8f00-0123456789ab")
	f("/a/------------------------------------", "/a/------------------------------------")
	f("/é/５", "/é/５")

	f("GetAnswer", "GetAnswer")
	f("GET /v1/answers/7", "GET /v1/answers/7")
	f("", "")
	f(strings.Repeat("/a", 16), strings.Repeat("/a", 16))
	f(strings.Repeat("/a", 40), strings.Repeat("/a", 16)+"/{rest}")
}

// Without patterns and ids only what is no path is cut off.
func TestEndpointsKeepIDs(t *testing.T) {
	e, err := NewEndpoints(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := e.Of([]byte("/a/5?b"), nil); string(got) != "/a/5" {
		t.Errorf("got %q", got)
	}
}

func TestEndpointPatternMistakes(t *testing.T) {
	f := func(pattern, want string) {
		t.Helper()
		if _, err := NewEndpoints([]string{pattern}, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q in it", pattern, err, want)
		}
	}
	f("", "expected a path")
	f("v1/answers", "expected a path")
	f("/"+strings.Repeat("x", MaxLabel), "256 bytes at most")
	f("/a/{id", "neither")
	f("/a/{}", "neither")
	f("/a/x{id}", "neither")
	f("/a?b", "neither")
	f("/{a}{b}", "one name")
	f("/{rest...}/a", "only as the last")
}

// Whatever the path: replacing again changes nothing more, and nothing grows beyond what replaced ids can add.
func FuzzEndpoints(f *testing.F) {
	for _, path := range []string{"/v1/answers/123?x", "https://a/b/0123456789abcdef", "/files/a/b", "", "/", "//", "://", "a/1", "/\xff/1"} {
		f.Add(path)
	}
	e, err := NewEndpoints([]string{"/v1/answers/{id}", "/files/{path...}", "/{a}/x/{b}"}, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		once, _ := e.Of([]byte(path), nil)
		twice, _ := e.Of(once, nil)
		isPath := strings.HasPrefix(string(once), "/")
		if strings.Contains(path, "://") || strings.Count(string(once), "/{rest}") > 0 {
			isPath = false // an URL within an URL is another URL
		}
		if isPath && string(twice) != string(once) {
			t.Errorf("%q is %q, and that is %q", path, once, twice)
		}
		if len(once) > 3*len(path)+8 {
			t.Errorf("%q is %q, which has %d bytes", path, once, len(once))
		}
	})
}

func BenchmarkEndpoints(b *testing.B) {
	e, err := NewEndpoints([]string{"/v1/questions/{id}", "/files/{path...}"}, true)
	if err != nil {
		b.Fatal(err)
	}
	path := []byte("/v1/answers/6f1c09aa-2b7d-4e10-8f00-0123456789ab")
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		_, dst = e.Of(path, dst[:0])
	}
}
