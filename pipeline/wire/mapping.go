package wire

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"sevwatch/rules"
)

// Field says where a key of an event is found in a record of another shape.
type Field struct {
	Path   string            // GJSON path into the record; "": there is none
	Const  string            // what the key is where the path finds nothing; "": it is absent then
	Unit   Unit              // of a number or a time
	Values map[string]string // texts that are called otherwise here
}

// Mapping turns records of another shape into the shape that Decoder reads: what is right and wrong in an event is decided there and
// nowhere else. It is compiled once and can be used by several decoders, one after the other or at once.
type Mapping struct{ fields []mappedField }

type mappedField struct {
	Field
	key    string // "service":
	name   string
	sort   sort
	places int
}

// sort is what a key's value is.
type sort uint8

const (
	sortText sort = iota
	sortNumber
	sortTime
)

// numbers are the keys that carry numbers, and in which units they may come.
var numbers = map[string]map[Unit]int{
	"status": noUnits, "duration_ms": timeUnits, "dwell_ms": timeUnits, "value": valueUnits, "score": valueUnits,
}

// EventKeys are the keys that an event may have beside the labels that series are made of.
func EventKeys() []string {
	keys := strings.Fields("time kind session id message status duration_ms dwell_ms value score step action name change tenant")
	for _, label := range rules.DefaultLabels() {
		if label != "status_class" && !slices.Contains(keys, label) {
			keys = append(keys, label)
		}
	}
	return keys
}

// NewMapping compiles a mapping. The error names every mistake, each a FieldError.
func NewMapping(fields map[string]Field) (*Mapping, error) {
	m := &Mapping{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f := mappedField{Field: fields[name], name: name, key: string(gjson.AppendJSONString(nil, name)) + ":"}
		units, number := numbers[name]
		switch {
		case name == "time":
			f.sort, units = sortTime, timeUnits
		case number:
			f.sort = sortNumber
		default:
			units = noUnits
		}
		places, known := units[f.Unit]
		f.places = places
		if !known {
			errs = append(errs, FieldError{name, "unit", unitError(f.Unit, units)})
		}
		for key, err := range f.check() {
			errs = append(errs, FieldError{name, key, err})
		}
		m.fields = append(m.fields, f)
	}
	return m, errors.Join(errs...)
}

// FieldError is a mistake in one key of one field.
type FieldError struct {
	Field, Key string
	Err        error
}

func (e FieldError) Error() string { return e.Field + "." + e.Key + ": " + e.Err.Error() }
func (e FieldError) Unwrap() error { return e.Err }

func unitError(found Unit, units map[Unit]int) error {
	var names []string
	for u := range units {
		if u != "" {
			names = append(names, string(u))
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return fmt.Errorf("%q, expected none: it has no unit", found)
	}
	return fmt.Errorf("%q, expected one of %s", found, strings.Join(names, ", "))
}

// check is what is wrong with a field, by key.
func (f *mappedField) check() map[string]error {
	errs := map[string]error{}
	if err := checkPath(f.Path); err != nil {
		errs["path"] = err
	}
	switch {
	case f.sort == sortTime && f.Const != "":
		errs["const"] = errors.New("expected none: a time is not the same for all")
	case f.sort == sortNumber && f.Const != "" && !isNumber(f.Const):
		errs["const"] = fmt.Errorf("%q, expected a number", f.Const)
	case f.name == "kind" && f.Const != "" && rules.KindOf(f.Const) == rules.NoKind:
		errs["const"] = fmt.Errorf("%q, expected one of %s", f.Const, strings.Join(kinds, ", "))
	case f.Path == "" && f.Const == "":
		errs["path"] = errors.New("none, expected a path or a const")
	}
	if f.sort != sortText && len(f.Values) > 0 {
		errs["values"] = errors.New("expected none: they are for texts")
	}
	for from, to := range f.Values {
		if f.name == "kind" && rules.KindOf(to) == rules.NoKind {
			errs["values."+from] = fmt.Errorf("%q, expected one of %s", to, strings.Join(kinds, ", "))
		}
	}
	return errs
}

// checkPath refuses what GJSON has beyond finding a value: modifiers, literals and paths that make new arrays and objects.
func checkPath(path string) error {
	if len(path) > MaxLabel {
		return fmt.Errorf("of %d bytes, expected %d at most", len(path), MaxLabel)
	}
	depth := 0
	for i := range len(path) {
		switch c := path[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth > 0 || i > 0 && path[i-1] != '.' && path[i-1] != '|':
		case c == '@' || c == '!' || c == '{' || c == '[':
			return fmt.Errorf("%q, expected keys, numbers of array items and #(key==\"value\"): put a \\ before %q in a key", path, c)
		}
	}
	if depth != 0 || strings.HasSuffix(path, ".") || strings.HasPrefix(path, ".") {
		return fmt.Errorf("%q, expected a GJSON path such as request.headers.0.name", path)
	}
	return nil
}

// appendEvent appends the record as an object of our own shape. The record has to be valid JSON.
func (m *Mapping) appendEvent(dst, record []byte) ([]byte, *Reject) {
	dst = append(dst, '{')
	for i := range m.fields {
		f := &m.fields[i]
		var found gjson.Result
		if f.Path != "" {
			// Get reads a string; the record is not written to while the result is in use.
			found = gjson.Get(unsafe.String(unsafe.SliceData(record), len(record)), f.Path)
		}
		if found.Type == gjson.Null && f.Const == "" {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(dst, f.key...)
		var rejected *Reject
		if dst, rejected = f.appendValue(dst, found); rejected != nil {
			return dst, rejected
		}
	}
	return append(dst, '}'), nil
}

func (f *mappedField) appendValue(dst []byte, found gjson.Result) ([]byte, *Reject) {
	switch {
	case found.Type == gjson.Null && f.sort == sortText:
		return gjson.AppendJSONString(dst, f.Const), nil
	case found.Type == gjson.Null:
		return appendShifted(dst, f.Const, f.places), nil
	case f.sort == sortText:
		return f.appendText(dst, found)
	case f.sort == sortTime:
		return f.appendTime(dst, found)
	}
	text, ok := numberOf(found)
	if !ok {
		return dst, f.wrongType(found, "a number")
	}
	return appendShifted(dst, text, f.places), nil
}

// appendText takes texts as they are, and numbers and truth values as they are written.
func (f *mappedField) appendText(dst []byte, found gjson.Result) ([]byte, *Reject) {
	text := found.Raw
	if found.Type == gjson.String {
		text = found.Str
	}
	if found.Type == gjson.JSON {
		return dst, f.wrongType(found, "text")
	}
	if to, named := f.Values[text]; named {
		return gjson.AppendJSONString(dst, to), nil
	}
	if found.Type == gjson.String {
		return append(dst, found.Raw...), nil
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"'), nil
}

// appendTime writes RFC 3339 as it is, and numbers as epoch milliseconds; what is finer is cut off.
func (f *mappedField) appendTime(dst []byte, found gjson.Result) ([]byte, *Reject) {
	text, number := numberOf(found)
	switch {
	case !number && found.Type == gjson.String && f.Unit == "":
		return append(dst, found.Raw...), nil
	case !number && f.Unit == "":
		return dst, f.wrongType(found, "RFC 3339 text or epoch milliseconds")
	case !number:
		return dst, f.wrongType(found, "a number, in "+string(f.Unit))
	}
	var buf [64]byte
	v, ok := millionths(appendShifted(buf[:0], text, f.places))
	if !ok || v < 0 {
		return dst, reject(BadTime, "time (%s) is %s, expected the time since 1970 in %s, up to 2262", f.Path, clip([]byte(text)), f.unit())
	}
	return strconv.AppendInt(dst, v/1e6, 10), nil
}

func (f *mappedField) unit() string {
	if f.Unit == "" {
		return string(Milliseconds)
	}
	return string(f.Unit)
}

// numberOf is a number's text: Protobuf writes large ones in quotes.
func numberOf(found gjson.Result) (string, bool) {
	switch {
	case found.Type == gjson.Number:
		return found.Raw, true
	case found.Type == gjson.String && isNumber(found.Str):
		return found.Str, true
	default:
		return "", false
	}
}

func (f *mappedField) wrongType(found gjson.Result, expected string) *Reject {
	shown := strings.Join(strings.Fields(string(clip([]byte(found.Raw)))), " ")
	return reject(WrongType, "%s (%s) is %s, expected %s", f.name, f.Path, shown, expected)
}
