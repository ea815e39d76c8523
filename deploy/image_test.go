package deploy_test

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sevwatch/pipeline"
)

// instruction is one of the Dockerfile: FROM, COPY ... and the rest of its line.
type instruction struct{ name, args string }

// stages are the instructions of each stage, FROM first.
func stages(dockerfile []byte) [][]instruction {
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(dockerfile), "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")
	var out [][]instruction
	for line := range strings.Lines(text) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		if name == "FROM" {
			out = append(out, nil)
		}
		last := len(out) - 1
		out[last] = append(out[last], instruction{name, strings.TrimSpace(args)})
	}
	return out
}

func dockerfile() ([][]instruction, error) {
	data, err := os.ReadFile("Dockerfile")
	if err != nil {
		return nil, err
	}
	s := stages(data)
	if len(s) != 2 {
		return nil, fmt.Errorf("the Dockerfile has %d stages, expected 2", len(s))
	}
	return s, nil
}

func needDockerfile(t *testing.T) (build, final []instruction) {
	t.Helper()
	s, err := dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	return s[0], s[1]
}

// all are the arguments of all instructions of that name.
func all(stage []instruction, name string) []string {
	var out []string
	for _, i := range stage {
		if i.name == name {
			out = append(out, i.args)
		}
	}
	return out
}

// one is the arguments of the only instruction of that name.
func one(t *testing.T, stage []instruction, name string) string {
	t.Helper()
	found := all(stage, name)
	if len(found) != 1 {
		t.Fatalf("the Dockerfile has %d times %s in a stage, expected once: %q", len(found), name, found)
	}
	return found[0]
}

// pinned checks that an image is named with a tag that says which.
func pinned(t *testing.T, image string) {
	t.Helper()
	name, tag, _ := strings.Cut(image, ":")
	if name == "" || tag == "" || strings.HasPrefix(tag, "latest") || strings.Contains(image, "$") {
		t.Errorf("the image %q is not pinned by a tag", image)
	}
}

func TestDockerfile(t *testing.T) {
	build, final := needDockerfile(t)
	from := regexp.MustCompile(`^(?:--platform=\S+ )?(\S+)(?: AS \w+)?$`)
	for _, stage := range [][]instruction{build, final} {
		pinned(t, from.FindStringSubmatch(one(t, stage, "FROM"))[1])
		if found := all(stage, "ADD"); found != nil {
			t.Errorf("ADD %s: COPY does what is needed", found)
		}
	}
	goVersion := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(string(read(t, "../go.mod")))[1]
	if image := one(t, build, "FROM"); !strings.Contains(image, " golang:"+goVersion+"-") {
		t.Errorf("the program is built in %q, expected golang:%s, as go.mod says", image, goVersion)
	}
	if image := one(t, final, "FROM"); image != "gcr.io/distroless/static-debian13:nonroot" {
		t.Errorf("the base is %q, expected one that has neither a shell nor root", image)
	}
	if user := one(t, final, "USER"); user != imageUser {
		t.Errorf("the user is %q, expected %s: numbers, so that Kubernetes sees that it is not root", user, imageUser)
	}
	if all(final, "RUN") != nil {
		t.Error("the last stage runs something, where nothing is that could run")
	}
	var entry, command []string
	for name, into := range map[string]*[]string{"ENTRYPOINT": &entry, "CMD": &command} {
		if err := json.Unmarshal([]byte(one(t, final, name)), into); err != nil {
			t.Errorf("%s is not a list, and there is no shell for anything else: %v", name, err)
		}
	}
	if got := all(final, "COPY"); len(entry) != 1 || !slices.Contains(got, "--from=build /out/sevwatch "+entry[0]) {
		t.Errorf("the entry point is %q, and what is copied %q", entry, got)
	}
	if code, stdout, _ := sevwatch(t, command...); code != 0 || !strings.Contains(stdout, "Usage: sevwatch") {
		t.Errorf("sevwatch %v ends with %d and says %q", command, code, stdout)
	}
	if label := one(t, final, "LABEL"); !strings.Contains(label, `image.version="`+pipeline.Version+`"`) {
		t.Errorf("the labels are %q, expected version %s", label, pipeline.Version)
	}
}

// imageUser is nobody in particular: the user nonroot of the distroless images.
const imageUser = "65532:65532"

// buildFrom runs the Dockerfile's build in a directory.
func buildFrom(dir, out string) error {
	s, err := dockerfile()
	if err != nil {
		return err
	}
	runs := all(s[0], "RUN")
	command := runs[len(runs)-1]
	if !strings.Contains(command, " -o /out/sevwatch ") {
		return fmt.Errorf("the Dockerfile's last RUN is %q, expected the build of /out/sevwatch", command)
	}
	cmd := exec.Command("sh", "-c", strings.Replace(command, "/out/sevwatch", `"$OUT"`, 1))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "OUT="+out, "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, said)
	}
	return nil
}

// ignore is a .dockerignore that allows only what it names: everything is left out, then directories and files of the top are let in again,
// and of these some are left out wherever they are.
type ignore struct{ in, out []string }

func readIgnore(t *testing.T) ignore {
	t.Helper()
	var i ignore
	for n, line := range strings.Split(strings.TrimSpace(string(read(t, "Dockerfile.dockerignore"))), "\n") {
		in, isIn := strings.CutPrefix(line, "!")
		out, isOut := strings.CutPrefix(line, "**/")
		switch {
		case strings.HasPrefix(line, "#"):
		case line == "*" && i.in == nil && i.out == nil:
		case isIn && i.out == nil && !strings.ContainsAny(in, "*/"):
			i.in = append(i.in, in)
		case isOut && i.in != nil && !strings.Contains(out, "/"):
			i.out = append(i.out, out)
		default:
			t.Fatalf("Dockerfile.dockerignore:%d: %q is not understood by this test", n+1, line)
		}
	}
	return i
}

// copyIn copies what is not ignored of a file or directory of the top.
func (i ignore) copyIn(t *testing.T, name, dir string) {
	t.Helper()
	if !slices.Contains(i.in, name) {
		t.Errorf("the Dockerfile copies %s, which Dockerfile.dockerignore leaves out", name)
		return
	}
	err := filepath.WalkDir(filepath.Join("..", name), func(from string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, pattern := range i.out {
			if left, err := path.Match(pattern, entry.Name()); err != nil || !left {
				continue
			}
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel("..", from)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(dir, rel), 0o755)
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What the Dockerfile copies is all that the build needs, and two places give the same bytes.
func TestBuildFromTheContext(t *testing.T) {
	build, final := needDockerfile(t)
	i := readIgnore(t)
	dir := t.TempDir()
	for _, args := range append(all(build, "COPY"), all(final, "COPY")...) {
		if words := strings.Fields(args); !strings.HasPrefix(words[0], "--from=") {
			for _, name := range words[:len(words)-1] {
				i.copyIn(t, name, dir)
			}
		}
	}
	out := filepath.Join(t.TempDir(), "sevwatch")
	if err := buildFrom(dir, out); err != nil {
		t.Fatal(err)
	}
	here, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, out), read(t, here)) {
		t.Error("the program built in another directory has other bytes")
	}
	if binary := read(t, out); bytes.Contains(binary, []byte(dir)) {
		t.Errorf("the program contains the path %s", dir)
	}
}

func TestProgramIsStatic(t *testing.T) {
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["CGO_ENABLED"] != "0" || settings["-trimpath"] != "true" {
		t.Errorf("the program was built with %v, expected CGO_ENABLED=0 and -trimpath", settings)
	}
	if runtime.GOOS != "linux" {
		t.Skip("SKIP: only on Linux can be seen what a program of Linux is linked to")
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	libraries, err := file.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("the program needs the libraries %v (%v)", libraries, err)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program needs a loader, which the base has not")
		}
	}
}

func TestHadolint(t *testing.T) {
	if said, err := exec.Command(tool(t, "hadolint"), "Dockerfile").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// The image itself: built, and started as carefully as Kubernetes starts it.
func TestImage(t *testing.T) {
	docker := tool(t, "docker")
	if said, err := exec.Command(docker, "info").CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		t.Skipf("SKIP: no container engine here: docker info: %v: %s", err, lines[len(lines)-1])
	}
	tag := "sevwatch-test:" + filepath.Base(t.TempDir())
	run := func(args ...string) string {
		t.Helper()
		said, err := exec.CommandContext(t.Context(), docker, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, said)
		}
		return string(said)
	}
	run("build", "-f", "Dockerfile", "-t", tag, "..")
	t.Cleanup(func() { _ = exec.Command(docker, "rmi", tag).Run() })
	if user := strings.TrimSpace(run("inspect", "--format", "{{.Config.User}}", tag)); user != imageUser {
		t.Errorf("the image's user is %q, expected %s", user, imageUser)
	}
	if said := run("run", "--rm", "--read-only", "--cap-drop", "ALL", tag); !strings.Contains(said, "Usage: sevwatch") {
		t.Errorf("the image says %q", said)
	}
}
