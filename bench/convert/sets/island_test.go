package sets

import "testing"

func TestIslands(t *testing.T) {
	seq := inTimeOrder(func() ([]Event, error) {
		return []Event{{TimeMs: 300}, {TimeMs: 100}, {TimeMs: 150}, {TimeMs: 251}}, nil
	})
	got, err := islands(seq, 100)
	if err != nil || len(got) != 1 || got[0] != (island{startMs: 100, endMs: 301}) {
		t.Errorf("%v, %v", got, err)
	}
	got, err = islands(seq, 99)
	if err != nil || len(got) != 2 || got[1] != (island{startMs: 251, endMs: 301}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := islandAt(got, 200); err == nil {
		t.Error("found an island in the sea")
	}
}
