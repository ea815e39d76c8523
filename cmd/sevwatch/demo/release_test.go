package demo

import "testing"

func TestReleasesScore(t *testing.T) {
	f := func(r release, band string, want int, ok bool) {
		t.Helper()
		got, err := r.score(band, []int{1, 2, 3, 4, 5, 1, 2, 3, 4, 5})
		if got != want || (err == nil) != ok {
			t.Errorf("%s scores %s as %d, %v", r.version, band, got, err)
		}
	}
	f(stableRelease(), "18-29", 30, true)
	f(stableRelease(), "30-44", 31, true)
	f(stableRelease(), "45-59", 33, true)
	f(stableRelease(), "60+", 34, true)
	f(badRelease(), "18-29", 30, true)
	f(badRelease(), "30-44", 0, false)
	f(badRelease(), "45-59", 0, false)
	f(badRelease(), "60+", 35, true)
}
