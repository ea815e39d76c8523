package history

import (
	"fmt"
	"testing"

	"sevwatch/rules"
)

// Without windows a tier is compared with what it tells of now, or would tell of at the nearest threshold; what is proposed is the most sensitive
// threshold that is bearable.
func TestTuneWithoutWindows(t *testing.T) {
	const week = int64(7 * 24 * 3600_000)
	f := func(tier string, weeks int64, atMost float64, counts map[string]int, want string) {
		t.Helper()
		file, err := rules.Parse("r.yaml", []byte("groups: [{name: x, rules: [{alert: A, signal: {rate: error}, window: 1m, severities: ["+tier+"]}]}]"), rules.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, variants := Variants(file, file.Rules()[0])
		var lines []string
		for i, v := range variants { // the less sensitive, the later; each incident lasts for five minutes, and -1 of them for ever
			for k := range counts[number(v.Threshold)] {
				lines = append(lines, fmt.Sprintf("%d.%d %s api %d %d 1", i, k, v.Alert, 1000*k+100+i, 1000*k+400))
			}
			if counts[number(v.Threshold)] < 0 {
				lines = append(lines, fmt.Sprintf("%d %s api %d 0 1", i, v.Alert, 100+i))
			}
		}
		s := Scoring{Until: weeks * week, AtMost: atMost}
		got := ""
		for _, v := range s.Tune(told(t, lines...), variants) {
			if v.Proposed {
				got += map[bool]string{true: "too much: "}[v.TooMuch] + fmt.Sprintf("%s %g: %.1f a week, %d of %d, %d ms", v.Severity, v.Threshold, v.Week, v.Recall.K, v.Recall.N, v.MedianDetect())
			}
		}
		if got != want {
			t.Errorf("%v\n got %s\nwant %s", counts, got, want)
		}
	}
	const sev1, sev2 = "{severity: sev1, above: 4}", "{severity: sev2, above: 4}"
	usual := map[string]int{"1": 9, "2": 5, "3": 3, "4": 2, "5": 2, "6": 1}
	f(sev1, 2, 1, usual, "Sev1 4: 1.0 a week, 2 of 2, 10000 ms")
	f(sev1, 2, 1.5, usual, "Sev1 3: 1.5 a week, 2 of 2, 9000 ms")
	f(sev2, 2, 1, usual, "Sev2 3: 1.5 a week, 2 of 2, 9000 ms")                                             // twice as many are 4, of which 2 has 5
	f("{severity: sev1, below: 4}", 2, 1, map[string]int{"16": 9, "12": 2, "8": 2, "6": 2, "5": 2, "4": 1}, // the other way round
		"Sev1 12: 1.0 a week, 1 of 1, 14000 ms")
	f(sev1, 2, 0, usual, "Sev1 8: 0.0 a week, 0 of 2, -1 ms")
	f(sev1, 2, 0.1, map[string]int{"1": 9, "2": 9, "3": 9, "4": 9, "5": 9, "6": 9, "8": 9, "12": 9, "16": 9}, "too much: Sev1 16: 4.5 a week, 9 of 9, 15000 ms") // none is bearable
	f(sev1, 2, 1, map[string]int{"1": -1, "2": 2, "3": 2}, "Sev1 2: 1.0 a week, 2 of 2, 9000 ms")                                                                // 1 is open all the time
	f(sev1, 2, 1, map[string]int{"1": 1, "2": 9, "3": 1, "4": 1}, "Sev1 3: 0.5 a week, 1 of 1, 9000 ms")                                                         // 1 is few, and more than 2 is
	f(sev1, 2, 1, nil, "Sev1 4: 0.0 a week, 0 of 0, -1 ms")
	f(sev1, 2, 1, map[string]int{"1": 2}, "Sev1 1: 1.0 a week, 2 of 2, 10000 ms")
}

// What was open before the stretch is none of its incidents a week; all the time that it is open there counts.
func TestTuneOfAStretch(t *testing.T) {
	const week = int64(7 * 24 * 3600_000)
	_, variants := Variants(ruleFile(t), ruleFile(t).Rules()[0])
	var lines []string
	for _, v := range variants {
		lines = append(lines, fmt.Sprintf("%s %s api 100 0 1", number(v.Threshold), v.Alert))
	}
	s := Scoring{From: week, Until: 2 * week, AtMost: 1}
	for _, v := range s.Tune(told(t, lines...), variants) {
		if v.Incidents != 1 || v.Week != 0 || v.OpenMs != week || v.Proposed != v.TooMuch {
			t.Errorf("%+v", v)
		}
	}
}

func number(v float64) string { return fmt.Sprintf("%g", v) }

// A threshold that can never be reached is not tried.
func TestVariantsThatCanBeReached(t *testing.T) {
	f := func(signal, tier, want string) {
		t.Helper()
		text := "groups: [{name: x, rules: [{alert: A, signal: " + signal + ", window: 1m, severities: [{severity: sev1, " + tier + "}]}]}]"
		file, err := rules.Parse("r.yaml", []byte(text), rules.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, variants := Variants(file, file.Rules()[0])
		got := ""
		for _, v := range variants {
			got += " " + number(v.Threshold)
		}
		if got != want {
			t.Errorf("%s %s: tried are%s, expected%s", signal, tier, got, want)
		}
	}
	f("{ratio: {errors: error, total: latency}}", "above: 0.4", " 0.1 0.2 0.3 0.4 0.5 0.6 0.8")
	f("{mean: latency}", "above: 400", " 100 200 300 400 500 600 800 1200 1600")
	f("{burn_rate: {errors: error, total: latency, objective: 0.9, short: 10s}}", "above: 4", " 1 2 3 4 5 6 8")
}
