package detector
import ("testing";"fmt")
func TestZZ(t *testing.T) {
	tale := newTale(t, 47, 47%4 == 0, 47%5 != 0)
	e := newEngine(tale, 2, 7)
	e.flushEvery = 60
	e.restore = true
	shadow := NewJudge(tale.cfg, tale.file)
	e.shadow = func(r any) {
		switch r := r.(type) {
		case *Delta: shadow.Delta(r)
		case *Progress: shadow.Progress(r)
		default: shadow.Advance()
		}
	}
	bad := false
	e.afterChange = func(j *Judge) {
		if bad { return }
		for name, d := range shadow.domains {
			for k, g := range d.groups {
				if j.domains[name] == nil { bad=true; fmt.Println("no domain", name); return }
				h := j.domains[name].groups[k]
				if h == nil { if g.num != 0 || g.den != 0 || g.cells != 0 || g.first != never {bad = true; fmt.Printf("missing %q %+v\n", k, g)}; continue }
				a, b := string(encode(g.state())), string(encode(h.state()))
				if a != b {
					bad = true
					fmt.Printf("%s %v edge %d\n was %s\n now %s\n", g.rule.Alert, g.labels, j.edge, a, b)
					fmt.Printf("%+v %+v", g, h)
				}
			}
		}
	}
	e.run()
}
