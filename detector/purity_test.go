package detector

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the engine and its rules may not do. Linters hold part of this too; this test holds all of it.
var (
	// forbiddenImports are not to be imported, nor is anything below them.
	forbiddenImports = []string{
		"os", "net", "sync", "context", "log", "math/rand", "maps", "runtime", "unsafe", "syscall",
		"github.com/segmentio/kafka-go", "github.com/twmb/franz-go", "go.uber.org/zap",
	}
	// forbiddenTime are the parts of package time that ask the machine.
	forbiddenTime = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer", "Ticker", "Timer", "Local"}
	// allowedMath gives the same bits on every machine. Exp, Log, Pow and the like do not.
	allowedMath = []string{"Abs", "Ceil", "Floor", "Sqrt", "Frexp", "Ldexp", "Float64bits", "IsNaN", "IsInf", "Inf", "MaxInt64", "MinInt64"}
	// mapRanges are the only functions that walk over a map: they sort what they find, or nothing depends on the order.
	mapRanges = []string{
		"detector/sorted.go SortedKeys", "detector/sorted.go sortedLabels", "detector/sorted.go sortedSources",
		"detector/history/labels.go labelNames", // sorts
		"rules/parse.go run",                    // gives each action its default
	}
	// listed are the other exceptions, each with its reason.
	listed = map[string]string{
		"rules/calendar.go: time.LoadLocation": "reads the time zone's rules, embedded by time/tzdata where the machine has none",
	}
)

// listedPackage is what `go list` tells of a package.
type listedPackage struct {
	ImportPath, Dir, Export, Standard           string
	GoFiles, Imports, TestImports, XTestImports []string
}

// listPackages asks the go command about packages; only it knows where compiled imports lie.
func listPackages(t *testing.T, args ...string) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-pgo=off", "-json=ImportPath,Dir,Export,GoFiles,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	var packages []listedPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := decoder.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// beside are packages beside the house that the code in it may import all the same.
var beside = map[string]string{
	"sevwatch/deploy/schemas": "embeds the JSON Schemas and imports nothing",
}

// TestImportsGoOneWay: cmd -> pipeline -> pipeline/wire -> detector -> rules. What stands beside them (bench, deploy) may use them all;
// only tests may use it.
func TestImportsGoOneWay(t *testing.T) {
	floors := []string{"sevwatch/rules", "sevwatch/detector", "sevwatch/pipeline/wire", "sevwatch/pipeline", "sevwatch/cmd", "sevwatch"}
	const ground = 5
	floor := func(path string) int {
		return slices.IndexFunc(floors, func(f string) bool { return path == f || strings.HasPrefix(path, f+"/") })
	}
	found := map[int]bool{}
	for _, p := range listPackages(t, "./...") {
		own := floor(p.ImportPath)
		found[own] = true
		for _, path := range p.Imports {
			if floor(path) > own && beside[path] == "" {
				t.Errorf("%s imports %s, which is above or beside it", p.ImportPath, path)
			}
			if beside[p.ImportPath] != "" && floor(path) >= 0 {
				t.Errorf("%s imports %s, but was said to import nothing", p.ImportPath, path)
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			if other := floor(path); other > own && other != ground {
				t.Errorf("the tests of %s import %s, which is above them", p.ImportPath, path)
			}
		}
	}
	for i, f := range floors[:ground] {
		if !found[i] {
			t.Errorf("no package in %s: the test looks in the wrong place", f)
		}
	}
}

// TestPurity: the engine and its rules know no clock, goroutine, lock, log or I/O, and nothing of them depends on the order of a map or on
// a machine's arithmetic.
func TestPurity(t *testing.T) {
	packages, exports := pureAndExports(t)
	if len(packages) < 3 {
		t.Fatalf("found only %v", packages)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		c := &purity{fset: token.NewFileSet(), root: root}
		var files []*ast.File
		for _, name := range p.GoFiles {
			files = append(files, c.parse(t, filepath.Join(p.Dir, name), nil))
		}
		c.check(t, p.ImportPath, files, exports)
		for _, f := range c.found {
			t.Error(f)
		}
	}
}

// pureAndExports are the packages that have to be pure, and where the compiled forms of all that they import lie.
func pureAndExports(t *testing.T) (pure []listedPackage, exports map[string]string) {
	t.Helper()
	exports = map[string]string{}
	for _, p := range listPackages(t, "-export", "-deps", "./detector/...", "./rules/...",
		"os/exec", "sync/atomic", "log/slog", "math/rand/v2", "maps", "time") {
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, "sevwatch/") {
			pure = append(pure, p)
		}
	}
	return pure, exports
}

// purity looks through one package.
type purity struct {
	fset   *token.FileSet
	root   string
	info   types.Info
	file   string // below the module's root
	within string // the function that is being read
	zoned  []*ast.CallExpr
	found  []string
}

func (c *purity) parse(t *testing.T, name string, source any) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(c.fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (c *purity) check(t *testing.T, path string, files []*ast.File, exports map[string]string) {
	t.Helper()
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(c.fset, "gc", lookup)}
	c.info = types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	if _, err := config.Check(path, c.fset, files, &c.info); err != nil {
		t.Fatalf("cannot check the types of %s: %v", path, err)
	}
	for _, f := range files {
		c.file, _ = filepath.Rel(c.root, c.fset.Position(f.Pos()).Filename)
		c.imports(f)
		for _, d := range f.Decls {
			c.within = ""
			if fn, ok := d.(*ast.FuncDecl); ok {
				c.within = fn.Name.Name
			}
			ast.Inspect(d, c.node)
		}
	}
}

func (c *purity) fail(n ast.Node, format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf("%s: %s", c.fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
}

func (c *purity) imports(f *ast.File) {
	for _, i := range f.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		for _, forbidden := range forbiddenImports {
			if path == forbidden || strings.HasPrefix(path, forbidden+"/") {
				c.fail(i, "imports %s", path)
			}
		}
		if i.Name != nil && i.Name.Name == "." {
			c.fail(i, "a dot import hides where names come from")
		}
	}
}

// node looks at one piece of a declaration.
func (c *purity) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		c.fail(n, "a go statement")
	case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
		c.fail(n, "a channel")
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			c.fail(n, "a channel")
		}
	case *ast.RangeStmt:
		c.ranges(n)
	case *ast.SelectorExpr:
		c.selector(n)
	case *ast.CallExpr:
		c.call(n)
	case *ast.BinaryExpr:
		c.fused(n)
	}
	return true
}

func (c *purity) ranges(n *ast.RangeStmt) {
	if _, isMap := c.info.TypeOf(n.X).Underlying().(*types.Map); !isMap {
		return
	}
	if !slices.Contains(mapRanges, c.file+" "+c.within) {
		c.fail(n, "%s walks over a map: use SortedKeys", c.within)
	}
}

// packageOf is the import path if x names a package.
func (c *purity) packageOf(x ast.Expr) string {
	if id, ok := x.(*ast.Ident); ok {
		if name, ok := c.info.Uses[id].(*types.PkgName); ok {
			return name.Imported().Path()
		}
	}
	return ""
}

func (c *purity) selector(n *ast.SelectorExpr) {
	if made, ok := n.X.(*ast.CallExpr); ok && (n.Sel.Name == "UTC" || n.Sel.Name == "In") {
		c.zoned = append(c.zoned, made)
	}
	switch name := n.Sel.Name; c.packageOf(n.X) {
	case "time":
		if slices.Contains(forbiddenTime, name) {
			c.fail(n, "time.%s asks the machine", name)
		}
		if what := c.file + ": time." + name; name == "LoadLocation" && listed[what] == "" {
			c.fail(n, "time.LoadLocation reads files")
		}
	case "math":
		if !slices.Contains(allowedMath, name) {
			c.fail(n, "math.%s may give other bits on other machines", name)
		}
	}
}

// call finds times in the machine's own zone: what time.Unix and its like make has to be put into a zone at once. Whoever does so has been
// looked at before.
func (c *purity) call(n *ast.CallExpr) {
	if c.zoneless(n) && !slices.Contains(c.zoned, n) {
		c.fail(n, "a time in the machine's own zone: put .UTC() or .In(zone) behind it")
	}
}

func (c *purity) zoneless(n *ast.CallExpr) bool {
	fn, ok := n.Fun.(*ast.SelectorExpr)
	return ok && c.packageOf(fn.X) == "time" && slices.Contains([]string{"Unix", "UnixMilli", "UnixMicro"}, fn.Sel.Name)
}

// fused finds x*y + z of floats: some machines do not round in between. float64(x*y) + z is the same everywhere.
func (c *purity) fused(n *ast.BinaryExpr) {
	if n.Op != token.ADD && n.Op != token.SUB {
		return
	}
	if basic, ok := c.info.TypeOf(n).Underlying().(*types.Basic); !ok || basic.Info()&types.IsFloat == 0 || c.info.Types[n].Value != nil {
		return
	}
	for _, side := range []ast.Expr{n.X, n.Y} {
		if product, ok := ast.Unparen(side).(*ast.BinaryExpr); ok && product.Op == token.MUL && c.info.Types[product].Value == nil {
			c.fail(n, "x*y %s z may be fused: write float64(x*y) %s z", n.Op, n.Op)
		}
	}
}

// TestPurityFinds shows that the checks above find what they are for, and only that.
func TestPurityFinds(t *testing.T) {
	_, exports := pureAndExports(t)
	f := func(imports, body, want string) {
		t.Helper()
		c := &purity{fset: token.NewFileSet(), root: "/"}
		source := "package p\n" + imports + "\nfunc f(m map[int]int, x, y, z float64, i int64) any {\n" + body + "\nreturn nil\n}\n"
		c.check(t, "p", []*ast.File{c.parse(t, "/p.go", source)}, exports)
		switch got := strings.Join(c.found, "; "); {
		case want == "" && got != "":
			t.Errorf("%s %s: found %s, expected nothing", imports, body, got)
		case want != "" && (len(c.found) != 1 || !strings.Contains(got, want)):
			t.Errorf("%s %s: found %q, expected one that says %q", imports, body, got, want)
		}
	}
	f("", "", "")
	f(`import _ "os"`, "", "imports os")
	f(`import _ "os/exec"`, "", "imports os/exec")
	f(`import _ "sync/atomic"`, "", "imports sync/atomic")
	f(`import _ "log/slog"`, "", "imports log/slog")
	f(`import _ "math/rand/v2"`, "", "imports math/rand/v2")
	f(`import _ "maps"`, "", "imports maps")
	f(`import . "strings"`, "_ = Fields", "dot import")
	f("", "go f(nil, 0, 0, 0, 0)", "a go statement")
	f("", "var c chan int; _ = c", "a channel")
	f("", "select {}", "a channel")
	f("", "for range m {}", "walks over a map")
	f("", "for k, v := range m { _, _ = k, v }", "walks over a map")
	f("type named map[string]int", "for range named(nil) {}", "walks over a map")
	f("", "for range []int(nil) {}", "")
	f(`import "time"`, "return time.Now().UTC()", "time.Now asks")
	f(`import clock "time"`, "clock.Sleep(1)", "time.Sleep asks")
	f(`import "time"`, "var t time.Ticker; _ = &t", "time.Ticker asks")
	f(`import "time"`, "return time.UnixMilli(i).Format(time.RFC3339)", "own zone")
	f(`import "time"; var _ = fmt(time.UnixMilli(1)); func fmt(any) int { return 0 }`, "", "own zone")
	f(`import "time"`, "t := time.Unix(i, 0); return t", "own zone")
	f(`import "time"`, "return time.UnixMilli(i).UTC()", "")
	f(`import "time"`, "return time.UnixMilli(i).In(time.UTC).Format(time.RFC3339)", "")
	f(`import "time"`, `return time.Duration(i) * time.Second`, "")
	f(`import "time"`, `_, err := time.LoadLocation("UTC"); return err`, "reads files")
	f(`import "math"`, "return math.Exp(x)", "math.Exp may")
	f(`import "math"`, "return math.Sqrt(x)", "")
	f("", "return x*y + z", "may be fused")
	f("", "return z - (x * y)", "may be fused")
	f("", "return float64(x*y) + z", "")
	f("", "return i*i + i", "")
	f("", "return 2*3.5 + z", "")
	f("", "return x/y + z", "")
}
