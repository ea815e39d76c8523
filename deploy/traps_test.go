package deploy_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTraps holds that every test and every story that docs/testing.md names is there, and that it speaks of every trap.
func TestTraps(t *testing.T) {
	doc := string(read(t, "../docs/testing.md"))
	there := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(code), -1) {
			there[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 22; n++ {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \|.*$`, n)).FindString(doc)
		if !strings.Contains(row, "Test") && !strings.Contains(row, "trap") {
			t.Errorf("nothing tests trap %d: %q", n, row)
		}
	}
	for _, m := range regexp.MustCompile("`(Test\\w+)(\\.\\.\\.)?`").FindAllStringSubmatch(doc, -1) {
		found := there[m[1]]
		for name := range there {
			found = found || m[2] != "" && strings.HasPrefix(name, m[1])
		}
		if !found {
			t.Errorf("docs/testing.md names %s, which is not there", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`(trap\\w+|no_partition|jump)`").FindAllStringSubmatch(doc, -1) {
		if _, err := os.Stat("../detector/testdata/" + m[1] + ".txt"); err != nil {
			t.Error(err)
		}
	}
}
