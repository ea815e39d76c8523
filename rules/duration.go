package rules

import (
	"time"

	"github.com/prometheus/common/model"

	"sevwatch/rules/strictyaml"
)

// Duration is a length of event time in milliseconds, written as Prometheus writes it: 30s, 5m, 1h30m.
type Duration int64

// UnmarshalText reads a Prometheus duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := model.ParseDuration(string(text))
	if err != nil {
		return strictyaml.ErrExpected("a duration such as 30s, 5m or 1h30m")
	}
	*d = Duration(time.Duration(v).Milliseconds())
	return nil
}

// MarshalText is the shortest Prometheus notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string {
	return model.Duration(time.Duration(d) * time.Millisecond).String()
}
