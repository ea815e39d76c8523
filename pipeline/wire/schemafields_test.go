package wire_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sevwatch/deploy/schemas"
	"sevwatch/detector"
	"sevwatch/pipeline/wire"
)

// TestSchemasKnowEveryField: what a message can have, be it seldom, its schema tells of; and what must always be there is so by type.
func TestSchemasKnowEveryField(t *testing.T) {
	f := func(name string, message any) {
		t.Helper()
		data, err := schemas.Files.ReadFile(name + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		compareFields(t, name, doc, doc, reflect.TypeOf(message))
	}
	f("incident.v1", detector.Incident{})
	f("recovery.v1", detector.Recovery{})
	f("health.v1", wire.Health{})
}

func compareFields(t *testing.T, path string, doc, schema map[string]any, typ reflect.Type) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		schema = doc["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		if typ.Kind() == reflect.Slice {
			schema = schema["items"].(map[string]any)
		}
		typ = typ.Elem()
	}
	properties, _ := schema["properties"].(map[string]any)
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[wire.HealthTask]() { // one type for two sorts of task
		return
	}
	required, _ := schema["required"].([]any)
	for i := range typ.NumField() {
		name, option, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		sub, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		if always := option == ""; !always && slices.Contains(required, any(name)) {
			t.Errorf("%s.%s is required, and may be left out", path, name)
		}
		compareFields(t, path+"."+name, doc, sub, typ.Field(i).Type)
	}
	for _, name := range required {
		if !slices.ContainsFunc(reflect.VisibleFields(typ), func(f reflect.StructField) bool {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			return key == name
		}) {
			t.Errorf("%s.%s is required, and never there", path, name)
		}
	}
}
