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

// Pos is a place in a file; both count from 1. Line 0 is no place: nothing was written.
type Pos struct{ Line, Col int }

// Where is where a struct was written, and its values by key: "window", "by[0]", "labels.team". A struct that has a field of this
// type gets it filled in.
type Where struct {
	Pos
	keys map[string]Pos
	bad  map[string]bool
}

// Of is where the value of key was written, or, if it was not, the struct.
func (w Where) Of(key string) Pos {
	if p, written := w.keys[key]; written {
		return p
	}
	return w.Pos
}

// Has says whether the key was written, be it with a value that cannot be read.
func (w Where) Has(key string) bool {
	_, written := w.keys[key]
	return written
}

// Among are those of the keys that were written, in their order.
func (w Where) Among(keys ...string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !w.Has(key) })
}

// Readable says whether there is nothing wrong with the value of key in itself: what was not written, or was read. What could not be
// read has been reported; to look further into it would only tell of the same mistake again.
func (w Where) Readable(key string) bool { return !w.bad[key] }

func (w Where) note(key string, value *yaml.Node) {
	w.keys[key] = Pos{value.Line, value.Column}
	value = target(value)
	switch value.Kind {
	case yaml.SequenceNode:
		for i, item := range value.Content {
			w.keys[fmt.Sprintf("%s[%d]", key, i)] = Pos{item.Line, item.Column}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(value.Content); i += 2 {
			item := value.Content[i+1]
			w.keys[key+"."+target(value.Content[i]).Value] = Pos{item.Line, item.Column}
		}
	}
}

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
// when it returns mistakes, so that the caller can look for more; a pointer to a scalar that cannot be read stays nil.
func Decode(file string, data []byte, dst any) Errors {
	d := decoder{file: file}
	doc, err := parse(data)
	if err != nil {
		return Errors{syntaxError(file, data, err)}
	}
	if doc == nil {
		return Errors{{File: file, Pos: Pos{1, 1}, Msg: "the file is empty"}}
	}
	d.value(doc, reflect.ValueOf(dst).Elem(), "the file")
	return d.errs
}

type decoder struct {
	file  string
	errs  Errors
	nodes int
}

func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, Error{File: d.file, Pos: Pos{n.Line, n.Column}, Msg: fmt.Sprintf(format, args...)})
}

// target is the node itself, or what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
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
	if n.Kind == yaml.AliasNode {
		d.alias(n, v, name)
		return
	}
	if n.Style&yaml.TaggedStyle != 0 && (n.Tag == "!!binary" || !strings.HasPrefix(n.Tag, "!!")) {
		d.fail(n, "%s has the tag %s, expected a plain value", name, n.Tag)
		return
	}
	if v.Kind() == reflect.Pointer {
		d.pointer(n, v, name)
		return
	}
	if v.Addr().Type().Implements(textUnmarshaler) {
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

// alias reads what the alias stands for. If that is of the wrong sort, the mistake is here and not there.
func (d *decoder) alias(n *yaml.Node, v reflect.Value, name string) {
	before, there := len(d.errs), target(n)
	d.value(there, v, name)
	for i := before; i < len(d.errs); i++ {
		if e := &d.errs[i]; e.Pos == (Pos{there.Line, there.Column}) {
			e.Pos = Pos{n.Line, n.Column}
		}
	}
}

func (d *decoder) pointer(n *yaml.Node, v reflect.Value, name string) {
	before := len(d.errs)
	elem := reflect.New(v.Type().Elem())
	d.value(n, elem.Elem(), name)
	structure := elem.Elem().Kind() == reflect.Struct && !elem.Type().Implements(textUnmarshaler)
	if structure || len(d.errs) == before {
		v.Set(elem)
	}
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fail(n, "%s is %s, expected a single value", name, describe(n))
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		d.fail(n, "%s is %s, %s", name, quote(n.Value), err)
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s is %s, expected a mapping with %s", name, describe(n), strings.Join(fieldNames(v.Type()), ", "))
		return
	}
	where := Where{Pos: Pos{n.Line, n.Column}, keys: map[string]Pos{}, bad: map[string]bool{}}
	fields := map[string]int{}
	required := map[string]bool{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Type == reflect.TypeFor[Where]() {
			v.Field(i).Set(reflect.ValueOf(where))
		}
		if key, option := tag(f); key != "" {
			fields[key], required[key] = i, option == "required"
		}
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, ok := d.key(n.Content[i], name, seen)
		if !ok {
			continue
		}
		index, known := fields[key]
		if !known {
			d.fail(n.Content[i], "unknown key %q in %s, expected one of %s", key, name, strings.Join(fieldNames(v.Type()), ", "))
			continue
		}
		where.note(key, n.Content[i+1])
		before := len(d.errs)
		d.value(n.Content[i+1], v.Field(index), key)
		where.bad[key] = len(d.errs) > before
	}
	for _, key := range fieldNames(v.Type()) {
		if _, written := seen[key]; required[key] && !written {
			d.fail(n, "%s lacks %q", name, key)
		}
	}
}

// key is the text of a mapping's key, unless it is none or was there before, in the line that seen remembers.
func (d *decoder) key(n *yaml.Node, name string, seen map[string]int) (key string, ok bool) {
	k := target(n)
	if k.Kind != yaml.ScalarNode {
		d.fail(n, "a key of %s is %s, expected a name", name, describe(k))
		return "", false
	}
	if line, twice := seen[k.Value]; twice {
		d.fail(n, "%q is written twice in %s, first in line %d", k.Value, name, line)
		return "", false
	}
	seen[k.Value] = n.Line
	return k.Value, true
}

// tag is the name of a struct's field in the file, "" if it has none, and what is said of it besides.
func tag(f reflect.StructField) (key, option string) {
	key, option, _ = strings.Cut(f.Tag.Get("yaml"), ",")
	if key == "-" {
		return "", ""
	}
	return key, option
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if key, _ := tag(t.Field(i)); key != "" {
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
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		text, ok := d.key(n.Content[i], name, seen)
		if !ok {
			continue
		}
		before := len(d.errs)
		key := reflect.New(v.Type().Key()).Elem()
		d.value(n.Content[i], key, "a key of "+name)
		elem := reflect.New(v.Type().Elem()).Elem()
		readable := len(d.errs) == before
		d.value(n.Content[i+1], elem, name+"."+text)
		switch {
		case !readable:
		case v.MapIndex(key).IsValid():
			d.fail(n.Content[i], "%q is written twice in %s, the other time in other letters", text, name)
		default:
			v.SetMapIndex(key, elem)
		}
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
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || !setScalar(n, v) {
		d.fail(n, "%s is %s, expected %s", name, describe(n), expected(v))
	}
}

// setScalar reads text as it stands, and numbers and truth values only in the notation of JSON and YAML 1.2: no quotes, no 1_000, no
// 0x10, no octal 010, no yes, no infinity.
func setScalar(n *yaml.Node, v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
		return true
	case reflect.Bool:
		v.SetBool(n.Value == "true")
		return n.Tag == "!!bool" && (n.Value == "true" || n.Value == "false")
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		v.SetInt(i)
		return err == nil && n.Tag == "!!int"
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		finite := f-f == 0
		if err == nil && finite {
			v.SetFloat(f + 0) // -0 is 0
		}
		return err == nil && finite && (n.Tag == "!!int" || n.Tag == "!!float")
	default:
		panic(fmt.Sprintf("BUG: a field of type %s", v.Type()))
	}
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
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return quote(n.Value) + " in quotes"
	default:
		return quote(n.Value)
	}
}

// quote puts a text in quotes that it does not contain itself, so that it stays as it was written.
func quote(text string) string {
	if strings.Contains(text, `"`) && strconv.CanBackquote(text) {
		return "`" + text + "`"
	}
	return strconv.Quote(text)
}

// ErrExpected is an error of a TextUnmarshaler that reads "<name> is <found>, expected <what>".
func ErrExpected(what string) error { return errors.New("expected " + what) }
