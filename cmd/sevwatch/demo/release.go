package demo

import "fmt"

// release is one version of the api's code. The versions differ in how they score a page of answers.
type release struct {
	version string
	weights map[string]int
}

// ageBands are the age bands that the profile offers.
var ageBands = []string{"18-29", "30-44", "45-59", "60+"}

// stableRelease weighs every age band, in percent.
func stableRelease() release {
	return release{
		version: "1.41.0",
		weights: map[string]int{"18-29": 100, "30-44": 105, "45-59": 110, "60+": 115},
	}
}

// badRelease has the bug that the demo deploys: its table was pasted from a text where the middle bands
// are written with an en dash, so it has no weight for the bands that most visitors choose.
func badRelease() release {
	return release{
		version: "1.42.0",
		weights: map[string]int{"18-29": 100, "30\u201344": 106, "45\u201359": 112, "60+": 118},
	}
}

// score weighs the sum of a page's answers.
func (r release) score(ageBand string, answers []int) (int, error) {
	weight, known := r.weights[ageBand]
	if !known {
		return 0, fmt.Errorf("no weight for age band %q", ageBand)
	}
	sum := 0
	for _, answer := range answers {
		sum += answer
	}
	return sum * weight / 100, nil
}
