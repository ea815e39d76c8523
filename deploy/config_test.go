package deploy_test

import (
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"sevwatch/pipeline"
)

// sevwatch.yaml is the defaults, written out.
func TestExampleIsTheDefaults(t *testing.T) {
	sameBut(t, "sevwatch.yaml", read(t, "sevwatch.yaml"), func(*pipeline.Config) {})
}

// Every key that the program knows stands in sevwatch.yaml, under a comment that tells its default.
func TestExampleExplainsEveryKey(t *testing.T) {
	data := read(t, "sevwatch.yaml")
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	e := example{t, strings.Split(string(data), "\n")}
	if n := e.explained(reflect.TypeFor[pipeline.Config](), doc.Content[0], ""); n < 30 {
		t.Errorf("only %d keys are looked at: this test no longer sees the configuration", n)
	}
}

type example struct {
	t     *testing.T
	lines []string
}

// explained checks the keys of a struct in a mapping and returns how many there are.
func (e example) explained(typ reflect.Type, mapping *yaml.Node, path string) (keys int) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		keys++
		key, value := find(mapping, name)
		if key == nil {
			e.t.Errorf("%s%s is not in sevwatch.yaml", path, name)
			continue
		}
		e.comment(path+name, key, value)
		switch inner := field.Type; {
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
			keys += e.explained(inner.Elem(), value.Content[0], path+name+"[0].")
		case value.Kind == yaml.MappingNode && inner.Kind() == reflect.Struct:
			keys += e.explained(inner, value, path+name+".")
		}
	}
	return keys
}

// comment checks the comment above a key.
func (e example) comment(path string, key, value *yaml.Node) {
	text := ""
	for i := key.Line - 2; i >= 0; i-- {
		line, isComment := strings.CutPrefix(strings.TrimSpace(e.lines[i]), "#")
		if !isComment {
			break
		}
		text = line + text
	}
	want := "Default"
	switch {
	case strings.HasSuffix(path, "brokers"), strings.HasSuffix(path, ".topic"):
		want = "Required, no default."
	case strings.HasSuffix(path, ".kind"): // its default depends on the topic
	case value.Kind == yaml.ScalarNode && value.Value == "":
		want = "Default none"
	case value.Kind == yaml.ScalarNode:
		want = "Default " + value.Value + "."
	}
	if !strings.Contains(text, want) {
		e.t.Errorf("sevwatch.yaml:%d: the comment above %s is %q, expected %q in it", key.Line, path, text, want)
	}
}

func find(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}
