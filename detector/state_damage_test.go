package detector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// damaged calls use with value for each place in it: that place gone, or holding something else.
func damaged(value any, use func(what string)) {
	var walk func(path string, v any, set func(any))
	walk = func(path string, v any, set func(any)) {
		for _, other := range []any{nil, 0, -1, 1 << 62, "", "x", []any{}, map[string]any{}, true} {
			set(other)
			use(fmt.Sprintf("%s is %v", path, other))
			set(v)
		}
		switch v := v.(type) {
		case map[string]any:
			for _, k := range SortedKeys(v) {
				was := v[k]
				walk(path+"."+k, was, func(x any) { v[k] = x })
				delete(v, k)
				use(path + "." + k + " is gone")
				v[k] = was
			}
		case []any:
			for i := range v {
				was := v[i]
				walk(fmt.Sprintf("%s[%d]", path, i), was, func(x any) { v[i] = x })
			}
		}
	}
	walk("", value, func(any) {})
}

// TestDamagedState: whatever is missing from a record of the state, or wrong in it, it is refused, or what is restored can be restored again.
func TestDamagedState(t *testing.T) {
	kinds, refused, restored := map[string]int{}, 0, 0
	talesOf(t, 6, func(t *testing.T, tale *tale) {
		tale.speak(newEngine(tale, 1, 1).run())
		e := newEngine(tale, 1, 1)
		e.run()
		s := e.judge.snapshot()
		try := func(what string) {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("seed %d: %s: panic: %v", tale.seed, what, p)
				}
			}()
			j, err := Restore(tale.cfg, tale.file, encode(s))
			if err != nil {
				refused++
				return
			}
			restored++
			once := j.Snapshot()
			again, err := Restore(tale.cfg, tale.file, once)
			if err != nil {
				t.Errorf("seed %d: %s: what was restored cannot be restored again: %v", tale.seed, what, err)
			} else if !bytes.Equal(once, again.Snapshot()) {
				t.Errorf("seed %d: %s: restored twice it is something else", tale.seed, what)
			}
		}
		here := map[string]int{}
		for i, r := range s.Records {
			parts := strings.Split(r.Key, keySeparator)
			if here[parts[0]]++; here[parts[0]] > 2 {
				continue
			}
			kinds[parts[0]]++
			for n := range parts {
				for _, damaged := range []string{strings.Join(parts[:n], keySeparator), r.Key + keySeparator, r.Key + keySeparator + "x", "x" + r.Key} {
					s.Records[i].Key = damaged
					try(fmt.Sprintf("the key %q", damaged))
				}
			}
			s.Records[i].Key = r.Key
			var v any
			if parts[0] != keyRules {
				if err := json.Unmarshal(r.Value, &v); err != nil {
					t.Fatal(err)
				}
			}
			damaged(v, func(what string) {
				s.Records[i].Value = encode(v)
				try(parts[0] + what)
			})
			s.Records[i] = r
		}
	})
	t.Logf("kinds of records %v; %d refused, %d restored", kinds, refused, restored)
}
