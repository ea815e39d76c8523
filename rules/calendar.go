package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // business days are the same on every machine

	"sevwatch/rules/strictyaml"
)

// Calendar says when people work: the deadline of a Sev4 is the end of the next business day.
type Calendar struct {
	Pos      strictyaml.Pos `json:"-"`
	Timezone string         `yaml:"timezone"` // IANA name; default UTC
	Hours    string         `yaml:"hours"`    // default 09:00-17:00
	Days     []string       `yaml:"days"`     // default mon tue wed thu fri
	Holidays []string       `yaml:"holidays"` // dates, 2026-12-25

	zone     *time.Location
	end      time.Duration
	weekdays [7]bool
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (c *Calendar) compile() error {
	if c.Timezone == "" {
		c.Timezone = "UTC"
	}
	if c.Hours == "" {
		c.Hours = "09:00-17:00"
	}
	if c.Days == nil {
		c.Days = []string{"mon", "tue", "wed", "thu", "fri"}
	}
	zone, err := time.LoadLocation(c.Timezone)
	if err != nil {
		return fmt.Errorf("timezone is %q, expected an IANA name such as Europe/Berlin", c.Timezone)
	}
	c.zone = zone
	start, end, _ := strings.Cut(c.Hours, "-")
	from, okFrom := clock(start)
	to, okTo := clock(end)
	if !okFrom || !okTo || from >= to {
		return fmt.Errorf("hours is %q, expected a span such as 09:00-17:00", c.Hours)
	}
	c.end = to
	for _, name := range c.Days {
		day := slices.Index(dayNames, name)
		if day < 0 {
			return fmt.Errorf("days has %q, expected %s", name, strings.Join(dayNames, ", "))
		}
		c.weekdays[day] = true
	}
	for _, date := range c.Holidays {
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			return fmt.Errorf("holidays has %q, expected a date such as 2026-12-25", date)
		}
	}
	if len(c.Days) == 0 {
		return fmt.Errorf("days is empty, expected at least one")
	}
	return nil
}

func clock(text string) (time.Duration, bool) {
	h, m, _ := strings.Cut(strings.TrimSpace(text), ":")
	hours, err1 := strconv.Atoi(h)
	minutes, err2 := strconv.Atoi(m)
	ok := err1 == nil && err2 == nil && hours >= 0 && hours <= 24 && minutes >= 0 && minutes < 60
	return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute, ok
}

// RespondBy is when the runbook wants an answer to an incident of that severity that is told at (epoch ms): after 15 minutes, one
// hour, four hours, or at the end of the next business day.
func (f *File) RespondBy(s Severity, at int64) int64 {
	switch s {
	case Sev1:
		return at + (15 * time.Minute).Milliseconds()
	case Sev2:
		return at + time.Hour.Milliseconds()
	case Sev3:
		return at + (4 * time.Hour).Milliseconds()
	default:
		return f.Calendar.nextBusinessDayEnd(at)
	}
}

func (c *Calendar) nextBusinessDayEnd(at int64) int64 {
	day := time.UnixMilli(at).In(c.zone)
	for range 366 {
		day = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, c.zone)
		if c.weekdays[day.Weekday()] && !slices.Contains(c.Holidays, day.Format(time.DateOnly)) {
			break
		}
	}
	hour, minute := int(c.end/time.Hour), int(c.end%time.Hour/time.Minute)
	return time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, c.zone).UnixMilli()
}
