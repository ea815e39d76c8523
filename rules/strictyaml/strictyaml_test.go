package strictyaml

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// shop has a field of every sort that Decode knows.
type shop struct {
	Where  Where            `yaml:"-"`
	Name   string           `yaml:"name,required"`
	Open   bool             `yaml:"open"`
	Staff  int              `yaml:"staff"`
	Rent   float64          `yaml:"rent"`
	Tax    *float64         `yaml:"tax"`
	Size   letter           `yaml:"size"`
	Other  *letter          `yaml:"other"`
	Tags   []string         `yaml:"tags"`
	Prices map[string]int64 `yaml:"prices"`
	Shelf  shelf            `yaml:"shelf"`
	Extra  *shelf           `yaml:"extra"`
	Shelfs []*shelf         `yaml:"shelfs"`
	Sizes  map[letter][]int `yaml:"sizes"`
	Hidden int              `yaml:"-"`
	Silent int
}

type shelf struct {
	Where Where
	Board string `yaml:"board,required"`
}

// letter is one of a, b, c, in either case.
type letter string

func (l *letter) UnmarshalText(text []byte) error {
	if low := strings.ToLower(string(text)); low == "a" || low == "b" || low == "c" {
		*l = letter(low)
		return nil
	}
	return ErrExpected("a, b or c")
}

func TestDecode(t *testing.T) {
	var s shop
	if errs := Decode("f", []byte(`
name: &n "Corner"
open: true
staff: -007
rent: 1e3
tax: .5
size: B
other: c
tags: [*n, 5, true, 1.10, 2026-01-01, no, "", ~x]
prices: {apple: 3, *n : 4, 5: 6}
shelf: {board: oak}
extra:
  board: |
    two
    lines
shelfs: [{board: a}, {board: b}]
sizes:
  A: [1, 2]
  b: []
`), &s); errs != nil {
		t.Fatal(errs)
	}
	half, c := 0.5, letter("c")
	want := shop{
		Name: "Corner", Open: true, Staff: -7, Rent: 1000, Tax: &half, Size: "b", Other: &c,
		Tags:   []string{"Corner", "5", "true", "1.10", "2026-01-01", "no", "", "~x"},
		Prices: map[string]int64{"apple": 3, "Corner": 4, "5": 6},
		Shelf:  shelf{Board: "oak"}, Extra: &shelf{Board: "two\nlines\n"}, Shelfs: []*shelf{{Board: "a"}, {Board: "b"}},
		Sizes: map[letter][]int{"a": {1, 2}, "b": {}},
	}
	var zero shop
	if errs := Decode("f", []byte("name: a\nrent: -0.0"), &zero); errs != nil || math.Signbit(zero.Rent) {
		t.Errorf("-0 is %v, %v", zero.Rent, errs)
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Where" }, cmp.Ignore())
	if diff := cmp.Diff(want, s, ignore); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhere(t *testing.T) {
	var s shop
	errs := Decode("f", []byte("name: a\ntax: high\nsize: x\ntags: [a,\n  b]\nprices: {apple: 1}\nshelfs:\n- {board: oak}\n- board: [ash]\n"), &s)
	f := func(w Where, key string, want Pos, has, readable bool) {
		t.Helper()
		if got := w.Of(key); got != want || w.Has(key) != has || w.Readable(key) != readable {
			t.Errorf("%s is at %v, written: %t, readable: %t; expected %v, %t, %t", key, got, w.Has(key), w.Readable(key), want, has, readable)
		}
	}
	f(s.Where, "name", Pos{1, 7}, true, true)
	f(s.Where, "tax", Pos{2, 6}, true, false)
	f(s.Where, "size", Pos{3, 7}, true, false)
	f(s.Where, "tags", Pos{4, 7}, true, true)
	f(s.Where, "tags[0]", Pos{4, 8}, true, true)
	f(s.Where, "tags[1]", Pos{5, 3}, true, true)
	f(s.Where, "tags[2]", Pos{1, 1}, false, true)
	f(s.Where, "prices.apple", Pos{6, 17}, true, true)
	f(s.Where, "rent", Pos{1, 1}, false, true)
	f(s.Where, "shelfs", Pos{8, 1}, true, false)
	f(s.Where, "shelfs[1]", Pos{9, 3}, true, true)
	f(s.Shelfs[0].Where, "board", Pos{8, 11}, true, true)
	f(s.Shelfs[1].Where, "board", Pos{9, 10}, true, false)
	f(s.Shelf.Where, "board", Pos{}, false, true)
	if s.Tax != nil || len(s.Shelfs) != 2 {
		t.Errorf("tax is %v and there are %d shelfs", s.Tax, len(s.Shelfs))
	}
	if got := s.Where.Among("rent", "tags", "name"); !slices.Equal(got, []string{"tags", "name"}) {
		t.Errorf("written are %v", got)
	}
	if len(errs) != 3 {
		t.Errorf("%d mistakes, expected 3:\n%s", len(errs), errs)
	}
}

func TestMistakes(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		var s shop
		var got []string
		if err := Decode("f", []byte(in), &s).Err(); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
	f("name: a")
	f("\ufeffname: a")
	f("---\nname: a\n...\n")
	f("name: a\r\nopen: true\r\n")
	f("", "f:1:1: the file is empty")
	f("# \n", "f:1:1: the file is empty")
	f("---", "f:1:1: the file is empty")
	f("null", "f:1:1: the file is empty")
	f("{}", `f:1:1: the file lacks "name"`)
	f("extra: {}\nshelfs: [{}]", `f:1:1: the file lacks "name"`, `f:1:8: extra lacks "board"`, `f:2:10: shelfs[0] lacks "board"`)
	f("name: a\nhidden: 1\n-: 2\nSilent: 3",
		`f:2:1: unknown key "hidden" in the file, expected one of name, open, staff, rent, tax, size, other, tags, prices, shelf, extra, shelfs, sizes`,
		`f:3:1: unknown key "-" in the file, expected one of name, open, staff, rent, tax, size, other, tags, prices, shelf, extra, shelfs, sizes`,
		`f:4:1: unknown key "Silent" in the file, expected one of name, open, staff, rent, tax, size, other, tags, prices, shelf, extra, shelfs, sizes`)
	f("name: a\nname: b\nname: c", `f:2:1: "name" is written twice in the file, first in line 1`, `f:3:1: "name" is written twice in the file, first in line 1`)
	f("name: &open a\n*open : true", `f:2:1: unknown key "a" in the file, expected one of name, open, staff, rent, tax, size, other, tags, prices, shelf, extra, shelfs, sizes`)
	f("name: a\nsizes: {A: [], a: [], d: [], e: [x]}",
		`f:2:16: "a" is written twice in sizes, the other time in other letters`, `f:2:23: a key of sizes is "d", expected a, b or c`,
		`f:2:30: a key of sizes is "e", expected a, b or c`, `f:2:34: sizes.e[0] is "x", expected a whole number`)
	f("name: a\n<<: {open: true}", `f:2:1: unknown key "<<" in the file, expected one of name, open, staff, rent, tax, size, other, tags, prices, shelf, extra, shelfs, sizes`)
	f("name: a\nstaff: 9223372036854775808\nrent: -.inf\nopen: True\nsize: 'd\"'\nother: \"e\\n\\\"\"",
		`f:2:8: staff is "9223372036854775808", expected a whole number`, `f:3:7: rent is "-.inf", expected a number`,
		`f:4:7: open is "True", expected true or false`, "f:5:7: size is `d\"`, expected a, b or c", `f:6:8: other is "e\n\"", expected a, b or c`)
	f("name: a\nstaff: \"5\"\nrent: '5'\nopen: \"true\"", `f:2:8: staff is "5" in quotes, expected a whole number`,
		`f:3:7: rent is "5" in quotes, expected a number`, `f:4:7: open is "true" in quotes, expected true or false`)
	f("name: a\nshelf: &s\n  board: [x]\nextra: *s\nstaff: *s", `f:3:10: board is a list, expected text`, `f:3:10: board is a list, expected text`,
		`f:5:8: staff is a mapping, expected a whole number`)
}

// TestSyntax looks at where the place of a mistake is seen that the parser itself does not tell.
func TestSyntax(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		errs := Decode("f", []byte(in), &shop{})
		if errs.Error() != want {
			t.Errorf("%.100q: got\n%s\nexpected\n%s", in, errs, want)
		}
	}
	f("name: a\nb: 1\n c: 2\n", "f:3:3: not YAML: mapping values are not allowed in this context")
	f("name: a\ntags: [1,\n  2\nopen: true\n", "f:2:7: not YAML: did not find expected ',' or ']'")
	f("name: a\nsize: \"b\nopen: true\n", "f:2:7: not YAML: found unexpected end of stream")
	f("name: a\ntags: [\n  a,\n  b,\n]\nshelf:\n\tboard: b", "f:7:1: not YAML: found character that cannot start any token")
	f("name: 'a'b", "f:1:10: not YAML: did not find expected key")
	f("name: *b\nopen: true", "f:1:7: not YAML: unknown anchor 'b' referenced")
	f("name: [*b]", "f:1:7: not YAML: unknown anchor 'b' referenced")
	f("%YAML 9.1\n---\nname: a", "f:1:1: not YAML: found incompatible YAML document")
	f("name: a\nsize: \x00", "f:2:7: not YAML: the character U+0000 is not allowed")
	f("name: \"é\xc3\"", "f:1:9: not YAML: the byte 0xc3 is not UTF-8")
	f("name: a\n---\nname: b", "f:2:1: a second document begins here, expected only one in a file")
	f("name: a\n---\n[", "f:3:1: not YAML: did not find expected node content")
	f(strings.Repeat("- a\n", 300)+"name: b\n", "f:301:1: not YAML: did not find expected '-' indicator")
	f(strings.Repeat("[", 20_000), "f:1:1: not YAML: exceeded max depth of 10000")
}

// TestAliases: a small file cannot become a large one.
func TestAliases(t *testing.T) {
	in := "name: a\nshelf: {board: b}\nsizes: {a: &many [" + strings.Repeat("1,", 5000) + "1]}\nshelfs: [" + strings.Repeat("{board: b},", 10) + "{board: b}]\n"
	var s shop
	if errs := Decode("f", []byte(in), &s); errs != nil {
		t.Fatal(errs)
	}
	type row struct {
		Cells [][]int `yaml:"cells"`
	}
	in = "cells: [&many [" + strings.Repeat("1,", 5000) + "1]" + strings.Repeat(", *many", 10_000) + "]"
	errs := Decode("f", []byte(in), &row{})
	if len(errs) != 1 || errs[0].Msg != "the file expands to more than 1000000 values" {
		t.Errorf("got %.1000s", errs)
	}
}

// FuzzStrictYAML: nothing makes Decode panic; each mistake has a place in the file; what has no mistake is YAML to the library as well.
func FuzzStrictYAML(f *testing.F) {
	f.Add([]byte("name: a\nopen: true\nstaff: 5\nrent: 1.5\ntax: 2\nsize: a\ntags: [a, b]\nprices: {a: 1}\nshelf: {board: b}\nshelfs: [{board: c}]\n"))
	f.Add([]byte("name: &x a\nsizes: {A: [1], a: [2]}\ntags: [*x, *x]\n"))
	f.Add([]byte("name: \"a\ntags: [\n"))
	f.Add([]byte("? [a]\n: !!binary b\n---\n"))
	f.Add([]byte("name: |\n  a\n  b\nextra: !x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s shop
		errs := Decode("f", data, &s)
		if err := errs.Err(); err == nil {
			var any map[string]any
			if err := yaml.Unmarshal(data, &any); err != nil && !strings.Contains(err.Error(), "excessive aliasing") {
				t.Fatalf("nothing is wrong, but the library says %v", err)
			}
			if s.Name != fmt.Sprint(any["name"]) && !strings.ContainsAny(string(data), "!&*<:") {
				t.Fatalf("the name is %q, expected %q", s.Name, any["name"])
			}
			return
		}
		if !utf8.Valid(data) || strings.ContainsAny(string(data), "\r\u0085\u2028\u2029\ufeff") { // line breaks of YAML 1.1
			return
		}
		lines := strings.Split(string(data), "\n")
		for _, e := range errs {
			if e.Pos.Line < 1 || e.Pos.Line > len(lines) || e.Pos.Col < 1 || e.Pos.Col > utf8.RuneCountInString(lines[e.Pos.Line-1])+1 {
				t.Fatalf("%s lies outside of the file", e)
			}
		}
	})
}
