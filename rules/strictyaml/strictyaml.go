// Package strictyaml reads one YAML document into a struct and reports every mistake at once, each with file, line and column,
// the value found and what was expected. It knows nothing of what the document means.
package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Pos is where a struct was written. A struct that has a field of this type gets it filled in.
type Pos struct{ Line, Col int }

// Error is one mistake in a file.
type Error struct {
	File string
	Pos  Pos
	Msg  string
}

func (e Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Pos.Line, e.Pos.Col, e.Msg)
}

// Errors is every mistake of a file, in the order of the lines.
type Errors []Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Err is es as an error: nil when there is none, else sorted by position.
func (es Errors) Err() error {
	if len(es) == 0 {
		return nil
	}
	slices.SortStableFunc(es, func(a, b Error) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Col - b.Pos.Col
	})
	return es
}

// maxNodes bounds what a document may expand to through aliases.
const maxNodes = 1_000_000

// Decode reads data into dst, a pointer to a struct. Struct fields are named by the tag `yaml:"name"`; `yaml:"name,required"`
// must be present. Types that implement encoding.TextUnmarshaler read their scalar themselves. Decode fills in what it can even
// when it returns mistakes, so that the caller can look for more.
func Decode(file string, data []byte, dst any) Errors {
	d := decoder{file: file}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return Errors{syntaxError(file, err)}
	}
	if len(doc.Content) == 0 {
		return Errors{{File: file, Pos: Pos{1, 1}, Msg: "the file is empty"}}
	}
	d.value(doc.Content[0], reflect.ValueOf(dst).Elem(), "the file")
	return d.errs
}

// syntaxError turns "yaml: line 3: ..." into a position.
func syntaxError(file string, err error) Error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	e := Error{File: file, Pos: Pos{1, 1}, Msg: "not YAML: " + msg}
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if n, text, ok := strings.Cut(rest, ": "); ok {
			if line, convErr := strconv.Atoi(n); convErr == nil {
				e.Pos.Line, e.Msg = line, "not YAML: "+text
			}
		}
	}
	return e
}

type decoder struct {
	file  string
	errs  Errors
	nodes int
}

func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, Error{File: d.file, Pos: Pos{n.Line, n.Column}, Msg: fmt.Sprintf(format, args...)})
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func (d *decoder) value(n *yaml.Node, v reflect.Value, name string) {
	d.nodes++
	if d.nodes >= maxNodes {
		if d.nodes == maxNodes {
			d.fail(n, "the file expands to more than %d values", maxNodes)
		}
		return
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if v.CanAddr() && v.Addr().Type().Implements(textUnmarshaler) {
		d.text(n, v, name)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, name)
	case reflect.Map:
		d.mapping(n, v, name)
	case reflect.Slice:
		d.sequence(n, v, name)
	default:
		d.scalar(n, v, name)
	}
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fail(n, "%s is %s, expected a single value", name, describe(n))
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		d.fail(n, "%s is %q, %s", name, n.Value, err)
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s is %s, expected a mapping with %s", name, describe(n), strings.Join(fieldNames(v.Type()), ", "))
		return
	}
	fields := map[string]int{}
	required := map[string]bool{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Type == reflect.TypeFor[Pos]() {
			v.Field(i).Set(reflect.ValueOf(Pos{n.Line, n.Column}))
			continue
		}
		key, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" {
			continue
		}
		fields[key], required[key] = i, option == "required"
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			d.fail(key, "%q is written twice", key.Value)
			continue
		}
		seen[key.Value] = true
		index, known := fields[key.Value]
		if !known {
			d.fail(key, "unknown key %q in %s, expected one of %s", key.Value, name, strings.Join(fieldNames(v.Type()), ", "))
			continue
		}
		d.value(n.Content[i+1], v.Field(index), key.Value)
	}
	for _, key := range fieldNames(v.Type()) {
		if required[key] && !seen[key] {
			d.fail(n, "%s lacks %q", name, key)
		}
	}
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); key != "" {
			names = append(names, key)
		}
	}
	return names
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s is %s, expected a mapping", name, describe(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := reflect.New(v.Type().Key()).Elem()
		d.value(n.Content[i], key, "a key of "+name)
		if v.MapIndex(key).IsValid() {
			d.fail(n.Content[i], "%q is written twice", n.Content[i].Value)
			continue
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(n.Content[i+1], elem, name+"."+n.Content[i].Value)
		v.SetMapIndex(key, elem)
	}
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "%s is %s, expected a list", name, describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", name, i))
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fail(n, "%s is %s, expected %s", name, describe(n), expected(v))
		return
	}
	if v.Kind() == reflect.String {
		if n.Tag != "!!str" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 && n.Tag == "!!binary" {
			d.fail(n, "%s is binary, expected text", name)
			return
		}
		v.SetString(n.Value)
		return
	}
	if err := n.Decode(v.Addr().Interface()); err != nil || !finite(v) {
		d.fail(n, "%s is %q, expected %s", name, n.Value, expected(v))
	}
}

func finite(v reflect.Value) bool {
	if v.Kind() != reflect.Float64 {
		return true
	}
	f := v.Float()
	return f-f == 0
}

func expected(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	default:
		return "text"
	}
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "empty"
		}
		return strconv.Quote(n.Value)
	default:
		return "not a value"
	}
}

// ErrExpected is an error of a TextUnmarshaler that reads "<name> is <found>, expected <what>".
func ErrExpected(what string) error { return errors.New("expected " + what) }
