package stream

import (
	"slices"
	"strings"
	"testing"

	"sevwatch/rules"
)

func recipe(t *testing.T, text string) *Recipe {
	t.Helper()
	var r Recipe
	if err := r.UnmarshalText([]byte(text)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return &r
}

func TestRecipeCountsAndTimes(t *testing.T) {
	f := func(text string, from, to int64, want int, first, last int64) {
		t.Helper()
		got := recipe(t, text).Between(from, to, 10_000)
		if len(got) != want || got[0].Time != first || got[len(got)-1].Time != last {
			t.Errorf("%s in [%d, %d) is %d events from %d to %d, expected %d from %d to %d", text, from, to, len(got), got[0].Time,
				got[len(got)-1].Time, want, first, last)
		}
	}
	f("4 error", 0, 20_000, 8, 0, 17_500)
	f("4/s error", 0, 20_000, 80, 0, 19_750)
	f("4/s error", 0, 1_500, 6, 0, 1_250)
	f("2/m error", 60_000, 120_000, 2, 60_000, 90_000)
	if got := recipe(t, "3 error").At(7); len(got) != 3 || got[2].Time != 7 {
		t.Errorf("at a moment: %v", got)
	}
}

func TestRecipeValues(t *testing.T) {
	values := func(text string, n int) []int64 {
		var out []int64
		for _, e := range recipe(t, text).Between(0, int64(n)*1000, 10_000) {
			if !e.Valued {
				t.Fatalf("%s: an event without a value", text)
			}
			out = append(out, e.Value)
		}
		slices.Sort(out)
		return out
	}
	pane := recipe(t, "5 latency 80..120").Between(0, 10_000, 10_000)
	for i, want := range []int64{80e6, 90e6, 100e6, 110e6, 120e6} {
		if pane[i].Value != want {
			t.Errorf("value %d of five from 80 to 120 is %d, expected %d", i, pane[i].Value, want)
		}
	}
	const n = 1000
	got := values("1/s latency p50=80,p95=200,p99=900", n)
	for _, q := range []struct {
		rank float64
		want int64
	}{{0.5, 80e6}, {0.95, 200e6}, {0.99, 900e6}} {
		share := 0.0
		for _, v := range got {
			if v <= q.want {
				share++
			}
		}
		if share /= n; share < q.rank-0.002 || q.rank < 0.99 && share > q.rank+0.002 {
			t.Errorf("%v of the values are at most %d, expected %v", share, q.want, q.rank)
		}
	}
	if got[0] != 80e6 || got[n-1] != 900e6 {
		t.Errorf("the values reach from %d to %d, expected to be flat below p50 and above p99", got[0], got[n-1])
	}
	if few := values("1/s latency 0..100", 10); few[4] < 30e6 || few[5] > 70e6 {
		t.Errorf("ten values from 0 to 100 are not spread evenly: %v", few)
	}
}

func TestRecipeErrors(t *testing.T) {
	count := map[string]int{}
	events := recipe(t, `10/s latency{service="api"} 80 errors=15%`).Between(0, 100_000, 10_000)
	for i, e := range events {
		count[e.Kind.String()+" "+e.Labels["status_class"]]++
		if e.Labels["service"] != "api" {
			t.Fatalf("event %d lost its label: %v", i, e.Labels)
		}
		if e.Kind == rules.KindError && events[i-1].Labels["status_class"] != "5xx" {
			t.Fatalf("event %d is an error without a failed request before it", i)
		}
	}
	if count["latency 2xx"] != 850 || count["latency 5xx"] != 150 || count["error "] != 150 {
		t.Errorf("15 %% of 1000 are %v", count)
	}
	all := recipe(t, "2 latency errors=100%").At(0)
	if len(all) != 4 || all[0].Valued {
		t.Errorf("all fail: %v", all)
	}
}

// Sessions take turns, over all slices and recipes alike; a failed request and its error are of one session.
func TestRecipeSessions(t *testing.T) {
	f := func(text string, from, to int64, want string) {
		t.Helper()
		var got []string
		for _, e := range recipe(t, text).Between(from, to, 10_000) {
			got = append(got, e.Session)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, expected %q", text, got, want)
		}
	}
	f("3 error sessions=2", 0, 20_000, "1 2 1 2 1 2")
	f("3 error sessions=2", 10_000, 20_000, "2 1 2")
	f("1/s latency 80 sessions=4 errors=50%", 0, 4000, "1 2 2 3 4 4")
	f("2 error", 0, 10_000, " ")
	if at := recipe(t, "3 error sessions=2").At(5); at[0].Session != "1" || at[2].Session != "1" {
		t.Errorf("at one moment they are %v", at)
	}
}

func TestRecipeMistakes(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var r Recipe
		if err := r.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, expected %q in it", text, err, want)
		}
	}
	f("latency", "a recipe such as")
	f("x latency", "a count of 1 to")
	f("0 latency", "a count of 1 to")
	f("5/d latency", "a rate by s, m or h")
	f("5 nonsense", "begins with a kind")
	f(`5 latency{service=~"a.*"} 80`, "labels by =")
	f(`5 latency{service="a"`, "a comma or a closing brace")
	f("5 latency 8O", "values such as")
	f("5 latency NaN", "values such as")
	f("5 latency 80 90", "values once")
	f("5 latency p50=80,p40=90", "quantiles that rise")
	f("5 latency p50=80,p90=70", "quantiles that rise")
	f("5 latency p101=80", "quantiles such as")
	f("5 error 80", "carry no value")
	f("5 error sessions=0", "sessions= with 1 to")
	f("5 error sessions=x", "sessions= with 1 to")
	f("5 error errors=5%", "with latency events only")
	f("5 latency errors=150%", "a share such as")
	f("5 latency errors=-1", "a share such as")
}

// A label's value may hold what else would end the selector.
func TestRecipeQuotes(t *testing.T) {
	r := recipe(t, `1 latency{service="a b}\"c"} 80`)
	if r.Labels["service"] != `a b}"c` || r.Count != 1 || !r.At(0)[0].Valued {
		t.Errorf("the labels are %v", r.Labels)
	}
}
