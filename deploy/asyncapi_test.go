package deploy_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"sevwatch/deploy/schemas"
	"sevwatch/pipeline"
)

// TestAsyncAPI: asyncapi.yaml has every topic of a pipeline, every message of docs/messages.md and every schema, and all that it refers to
// is there.
func TestAsyncAPI(t *testing.T) {
	var doc map[string]any
	if err := yaml.Unmarshal(read(t, "asyncapi.yaml"), &doc); err != nil {
		t.Fatal(err)
	}
	if v, _ := doc["asyncapi"].(string); !strings.HasPrefix(v, "3.0.") {
		t.Errorf("it is of version %v, expected 3.0", doc["asyncapi"])
	}
	at := func(path ...string) map[string]any {
		t.Helper()
		here := doc
		for _, key := range path {
			next, ok := here[key].(map[string]any)
			if !ok {
				t.Fatalf("there is no %s", strings.Join(path, "/"))
			}
			here = next
		}
		return here
	}
	if title, _ := at("info")["title"].(string); title == "" || at("info")["version"] != pipeline.Version {
		t.Errorf("info is %v, expected a title and the version %s", at("info"), pipeline.Version)
	}

	var refs []string
	collectRefs(doc, &refs)
	for _, ref := range refs {
		if inside, ok := strings.CutPrefix(ref, "#/"); ok {
			at(strings.Split(inside, "/")...)
		} else if _, err := os.Stat(filepath.FromSlash(ref)); err != nil {
			t.Errorf("%s is not there", ref)
		}
	}
	files, err := schemas.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !slices.Contains(refs, "./schemas/"+f.Name()) {
			t.Errorf("nothing refers to %s", f.Name())
		}
	}

	var addresses []string
	for name := range at("channels") {
		address, _ := at("channels", name)["address"].(string)
		addresses = append(addresses, address)
		if !slices.Contains(refs, "#/channels/"+name) {
			t.Errorf("nothing is done with the channel %s", name)
		}
		for message := range at("channels", name, "messages") {
			at("components", "messages", message, "payload")
		}
	}
	sameSet(t, "topics", addresses, topics(t))
	var messages []string
	for name := range at("components", "messages") {
		messages = append(messages, name)
	}
	guide, err := os.ReadFile("../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, m := range regexp.MustCompile("(?m)^```json ([a-z]+)$").FindAllStringSubmatch(string(guide), -1) {
		examples = append(examples, m[1])
	}
	sameSet(t, "messages", messages, examples)
}

// topics are the names of all topics of a pipeline by default.
func topics(t *testing.T) []string {
	t.Helper()
	c, err := pipeline.ParseConfig("test.yaml", []byte("{pipeline: p, brokers: ['b:9092']}"))
	if err != nil {
		t.Fatal(err)
	}
	own := reflect.ValueOf(c.Topics)
	var out []string
	for i := range own.NumField() {
		if own.Field(i).Kind() == reflect.String {
			out = append(out, own.Field(i).String())
		}
	}
	for _, s := range c.Sources {
		out = append(out, s.Topic)
	}
	return out
}

func sameSet(t *testing.T, what string, got, want []string) {
	t.Helper()
	sorted := func(in []string) []string { return slices.Compact(slices.Sorted(slices.Values(in))) }
	if g, w := sorted(got), sorted(want); !slices.Equal(g, w) {
		t.Errorf("the %s are %v, expected %v", what, g, w)
	}
}

func collectRefs(node any, refs *[]string) {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			if ref, ok := value.(string); ok && key == "$ref" {
				*refs = append(*refs, ref)
			}
			collectRefs(value, refs)
		}
	case []any:
		for _, item := range n {
			collectRefs(item, refs)
		}
	}
}
