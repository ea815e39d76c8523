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
	Where    strictyaml.Where `json:"-"`
	Timezone string           `yaml:"timezone"` // IANA name; default UTC
	Hours    string           `yaml:"hours"`    // default 09:00-17:00
	Days     []string         `yaml:"days"`     // default mon tue wed thu fri
	Holidays []string         `yaml:"holidays"` // dates, 2026-12-25

	zone     *time.Location
	end      time.Duration
	weekdays [7]bool
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// compile fills in the defaults and reports what cannot be read.
func (c *Calendar) compile(fail func(pos strictyaml.Pos, format string, args ...any)) {
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
	if err != nil || c.Timezone == "Local" {
		fail(c.Where.Of("timezone"), "timezone is %q, expected an IANA name such as Europe/Berlin", c.Timezone)
	}
	c.zone = zone
	start, end, _ := strings.Cut(c.Hours, "-")
	from, okFrom := clock(start)
	to, okTo := clock(end)
	if !okFrom || !okTo || from >= to {
		fail(c.Where.Of("hours"), "hours is %q, expected a span such as 09:00-17:00", c.Hours)
	}
	c.end = to
	for i, name := range c.Days {
		day := slices.Index(dayNames, name)
		if day < 0 {
			fail(c.Where.Of(fmt.Sprintf("days[%d]", i)), "days has %q, expected some of %s", name, strings.Join(dayNames, ", "))
			continue
		}
		c.weekdays[day] = true
	}
	if len(c.Days) == 0 {
		fail(c.Where.Of("days"), "days is empty, expected at least one of %s", strings.Join(dayNames, ", "))
	}
	for i, date := range c.Holidays {
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			fail(c.Where.Of(fmt.Sprintf("holidays[%d]", i)), "holidays has %q, expected a date such as 2026-12-25", date)
		}
	}
}

// clock reads 9:00 or 17:30, up to 24:00.
func clock(text string) (time.Duration, bool) {
	h, m, _ := strings.Cut(strings.TrimSpace(text), ":")
	hours, err1 := strconv.ParseUint(h, 10, 8)
	minutes, err2 := strconv.ParseUint(m, 10, 8)
	t := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	return t, err1 == nil && err2 == nil && len(m) == 2 && minutes < 60 && t <= 24*time.Hour
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
		day = time.Date(day.Year(), day.Month(), day.Day()+1, 12, 0, 0, 0, c.zone) // noon: some clocks skip midnight
		if c.weekdays[day.Weekday()] && !slices.Contains(c.Holidays, day.Format(time.DateOnly)) {
			break
		}
	}
	hour, minute := int(c.end/time.Hour), int(c.end%time.Hour/time.Minute)
	return time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, c.zone).UnixMilli()
}
