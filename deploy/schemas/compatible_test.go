package schemas

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "add what is new to testdata/v1.fields.txt")

// TestWithinV1 holds the promise that within v1 no field is removed or given another type: testdata/v1.fields.txt has every field that a
// schema of v1 ever had, with its type, and only grows.
func TestWithinV1(t *testing.T) {
	now := map[string]bool{}
	names, err := fs.Glob(Files, "*.v1.schema.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	for _, name := range names {
		data, err := Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		fieldsOf(strings.TrimSuffix(name, ".schema.json"), doc, doc, now)
	}
	const file = "testdata/v1.fields.txt"
	data, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	was := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		was[strings.TrimSpace(line)] = true
	}
	for _, field := range slices.Sorted(maps.Keys(was)) {
		if !now[field] {
			t.Errorf("%s is no longer so: within v1 a field is never removed or given another type", field)
		}
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(file, []byte(strings.Join(slices.Sorted(maps.Keys(now)), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, field := range slices.Sorted(maps.Keys(now)) {
		if !was[field] {
			t.Errorf("%s is new: go test ./deploy/schemas -update notes that it is promised from now on", field)
		}
	}
}

// fieldsOf notes every field below a schema with its type, and whether it is required.
func fieldsOf(path string, schema, doc map[string]any, fields map[string]bool) {
	if ref, ok := schema["$ref"].(string); ok {
		definition := doc["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		fieldsOf(path, definition, doc, fields)
		return
	}
	if kind, ok := schema["type"]; ok {
		fields[fmt.Sprintf("%s %v", path, kind)] = true
	}
	if required, ok := schema["required"].([]any); ok {
		for _, name := range required {
			fields[fmt.Sprintf("%s.%v always there", path, name)] = true
		}
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		for name, sub := range properties {
			fieldsOf(path+"."+name, sub.(map[string]any), doc, fields)
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if sub, ok := schema[key].(map[string]any); ok {
			fieldsOf(path+"[]", sub, doc, fields)
		}
	}
}
