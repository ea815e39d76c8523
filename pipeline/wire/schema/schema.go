// Package schema validates messages against the JSON Schemas in deploy/schemas. It is for tests: every message that a test sees leave
// the program goes through it.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"sevwatch/deploy/schemas"
)

// suffix of the files' names.
const suffix = ".schema.json"

// Validate says what is wrong with a message's value. name is that of a schema: incident.v1, recovery.v1, health.v1. It is stricter
// than the published schema, which lets consumers meet fields that they do not know: what we write ourselves, the schema has to tell of.
func Validate(name string, value []byte) error {
	sets, err := compiled()
	if err != nil {
		return err
	}
	return sets.strict.validate(name, value)
}

// ValidateHeaders does the same with a record's headers. Schemas: incident-headers.v1, recovery-headers.v1, rejected-headers.v1,
// late-headers.v1.
func ValidateHeaders(name string, headers map[string]string) error {
	value, err := json.Marshal(headers)
	if err != nil {
		return fmt.Errorf("cannot write the headers as JSON: %w", err)
	}
	return Validate(name, value)
}

// ValidatePublished is Validate by the schema as it is published.
func ValidatePublished(name string, value []byte) error {
	sets, err := compiled()
	if err != nil {
		return err
	}
	return sets.published.validate(name, value)
}

// set are compiled schemas by name.
type set map[string]*jsonschema.Schema

type both struct{ published, strict set }

// compiled reads the embedded files once: they never change.
var compiled = sync.OnceValues(func() (both, error) {
	published, err := compile(func(any) {})
	if err != nil {
		return both{}, err
	}
	strict, err := compile(closeObjects)
	return both{published, strict}, err
})

func compile(change func(doc any)) (set, error) {
	files, err := fs.Glob(schemas.Files, "*"+suffix)
	if err != nil {
		return nil, err
	}
	out := set{}
	for _, file := range files {
		data, err := schemas.Files.ReadFile(file)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("cannot read the schema %s: %w", file, err)
		}
		change(doc)
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource(file, doc); err != nil {
			return nil, fmt.Errorf("cannot add the schema %s: %w", file, err)
		}
		if out[strings.TrimSuffix(file, suffix)], err = c.Compile(file); err != nil {
			return nil, fmt.Errorf("cannot compile the schema %s: %w", file, err)
		}
	}
	return out, nil
}

// closeObjects forbids all fields that a schema does not tell of.
func closeObjects(doc any) {
	switch doc := doc.(type) {
	case map[string]any:
		_, properties := doc["properties"]
		_, additional := doc["additionalProperties"]
		if properties && !additional && doc["type"] == "object" {
			doc["additionalProperties"] = false
		}
		for _, v := range doc {
			closeObjects(v)
		}
	case []any:
		for _, v := range doc {
			closeObjects(v)
		}
	}
}

func (s set) validate(name string, value []byte) error {
	schema := s[name]
	if schema == nil {
		return fmt.Errorf("there is no schema %q", name)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return fmt.Errorf("cannot read the message: %w", err)
	}
	return schema.Validate(doc)
}
