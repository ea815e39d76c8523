package rules

import "math"

// wilson is the interval, one-sided on each side at the given confidence's z, in which the true share lies when k of n were seen
// (Wilson 1927, "Probable inference, the law of succession, and statistical inference"). The products are rounded one by one, so
// that every machine gets the same bits.
func wilson(k, n int64, z float64) (lower, upper float64) {
	if n <= 0 {
		return 0, 1
	}
	nn := float64(n)
	p := float64(k) / nn
	z2 := float64(z * z)
	centre := p + z2/float64(2*nn)
	spread := float64(z * math.Sqrt(float64(p*(1-p))/nn+z2/float64(4*float64(nn*nn))))
	denominator := 1 + z2/nn
	lower, upper = (centre-spread)/denominator, (centre+spread)/denominator
	if k == 0 {
		lower = 0 // rounding must not make something of nothing
	}
	if k == n {
		upper = 1
	}
	return max(0, lower), min(1, upper)
}

// zOf are the one-sided quantiles of the normal distribution for the confidences that a rule may ask for.
var zOf = []struct{ confidence, z float64 }{
	{0.80, 0.8416212335729143},
	{0.90, 1.2815515655446004},
	{0.95, 1.6448536269514722},
	{0.975, 1.959963984540054},
	{0.99, 2.3263478740408408},
	{0.999, 3.090232306167813},
}

func zFor(confidence float64) (float64, bool) {
	for _, e := range zOf {
		if e.confidence == confidence {
			return e.z, true
		}
	}
	return 0, false
}

// Interval95 is the two-sided 95 % interval in which the true share lies when k of n were seen; of nothing it is all of 0..1.
func Interval95(k, n int64) (lower, upper float64) {
	z, _ := zFor(0.975)
	return wilson(k, n, z)
}
