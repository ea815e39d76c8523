package rules

import (
	"fmt"
	"testing"
	"time"
)

// fileWith parses a file with one harmless rule behind the given lines.
func fileWith(t *testing.T, head string) *File {
	t.Helper()
	f, err := Parse("test.yaml", []byte(head+`
groups:
  - name: test
    rules:
      - alert: Any
        signal: {count: error}
        window: 1m
        severities: [{severity: sev4, above: 0}]
`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRespondBy(t *testing.T) {
	f := func(calendar string, s Severity, at, want string) {
		t.Helper()
		told, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			t.Fatal(err)
		}
		file := fileWith(t, "calendar: "+calendar)
		got := time.UnixMilli(file.RespondBy(s, told.UnixMilli())).UTC().Format(time.RFC3339Nano)
		if got != want {
			t.Errorf("%s of %s (%s) is due %s, expected %s", s, at, told.UTC().Format("Monday"), got, want)
		}
	}
	utc := "{}"
	f(utc, Sev1, "2026-11-06T18:00:00.001Z", "2026-11-06T18:15:00.001Z")
	f(utc, Sev2, "2026-11-06T18:00:00Z", "2026-11-06T19:00:00Z")
	f(utc, Sev3, "2026-11-06T22:00:00Z", "2026-11-07T02:00:00Z") // four hours are four hours, on a Friday night too
	f(utc, Sev4, "2026-11-05T08:00:00Z", "2026-11-06T17:00:00Z") // Thursday morning: the end of Friday
	f(utc, Sev4, "2026-11-05T23:59:59.999Z", "2026-11-06T17:00:00Z")
	f(utc, Sev4, "2026-11-06T00:00:00Z", "2026-11-09T17:00:00Z") // a millisecond later it is Friday: the end of Monday
	f(utc, Sev4, "2026-11-06T18:00:00Z", "2026-11-09T17:00:00Z") // Friday evening
	f(utc, Sev4, "2026-11-07T12:00:00Z", "2026-11-09T17:00:00Z") // Saturday
	f(utc, Sev4, "2026-11-08T23:00:00Z", "2026-11-09T17:00:00Z") // Sunday night
	f(utc, Sev4, "2026-12-31T12:00:00Z", "2027-01-01T17:00:00Z") // over the year's end

	holidays := `{holidays: ["2026-12-24", "2026-12-25", "2026-12-28"]}`
	f(holidays, Sev4, "2026-12-22T18:00:00Z", "2026-12-23T17:00:00Z")
	f(holidays, Sev4, "2026-12-23T18:00:00Z", "2026-12-29T17:00:00Z") // Thursday, Friday and Monday off, and a weekend between
	f(holidays, Sev1, "2026-12-25T00:00:00Z", "2026-12-25T00:15:00Z") // nobody waits with a Sev1

	f(`{hours: "08:00-16:30", days: [sun, mon, tue, wed, thu]}`, Sev4, "2026-11-05T18:00:00Z", "2026-11-08T16:30:00Z") // Thursday -> Sunday
	f(`{hours: "08:00-24:00"}`, Sev4, "2026-11-05T18:00:00Z", "2026-11-07T00:00:00Z")                                  // Friday's end
	f(`{days: [wed]}`, Sev4, "2026-11-04T00:00:00Z", "2026-11-11T17:00:00Z")

	berlin := "{timezone: Europe/Berlin}"
	f(berlin, Sev4, "2026-11-05T22:59:59Z", "2026-11-06T16:00:00Z") // still Thursday in Berlin
	f(berlin, Sev4, "2026-11-05T23:00:00Z", "2026-11-09T16:00:00Z") // Friday there
	f(berlin, Sev4, "2026-10-23T14:00:00Z", "2026-10-26T16:00:00Z") // summer time ends on Sunday: 17:00 is 16:00 UTC, no longer 15:00
	f(berlin, Sev4, "2026-03-27T14:00:00Z", "2026-03-30T15:00:00Z") // and begins
	f(berlin, Sev3, "2026-10-25T00:00:00Z", "2026-10-25T04:00:00Z") // four hours, whatever the clocks do

	// Clocks that skip midnight: in Santiago there is no 00:00 on Sunday, 6 September.
	santiago := "{timezone: America/Santiago}"
	f(santiago, Sev4, "2026-09-04T20:00:00Z", "2026-09-07T20:00:00Z")
	f(santiago, Sev4, "2026-09-05T20:00:00Z", "2026-09-07T20:00:00Z")
	f(`{timezone: America/Santiago, days: [sun]}`, Sev4, "2026-09-05T20:00:00Z", "2026-09-06T20:00:00Z")
	f(`{timezone: Africa/Cairo, days: [sun, mon, tue, wed, thu, fri]}`, Sev4, "2026-04-23T12:00:00Z", "2026-04-24T14:00:00Z")
	f("{timezone: Asia/Kathmandu}", Sev4, "2026-11-05T18:14:59Z", "2026-11-06T11:15:00Z") // 05:45 ahead: 23:59:59 on Thursday
	f("{timezone: Asia/Kathmandu}", Sev4, "2026-11-05T18:15:00Z", "2026-11-09T11:15:00Z")
}

// TestRespondByIsAlwaysAhead: of every hour of ten years, in zones with strange clocks, the deadline is a business day's end in the future.
func TestRespondByIsAlwaysAhead(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Santiago", "America/Havana", "Africa/Cairo", "Pacific/Apia", "Australia/Lord_Howe"} {
		file := fileWith(t, fmt.Sprintf("calendar: {timezone: %s}", zone))
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		from := time.Date(2009, 12, 1, 0, 30, 0, 0, time.UTC)
		for hour := range 10 * 366 * 24 {
			at := from.Add(time.Duration(hour) * time.Hour)
			due := time.UnixMilli(file.RespondBy(Sev4, at.UnixMilli())).In(location)
			weekend := due.Weekday() == time.Saturday || due.Weekday() == time.Sunday
			if ahead := due.Sub(at); ahead <= 0 || ahead > 4*24*time.Hour || weekend || due.Hour() != 17 {
				t.Fatalf("in %s a Sev4 of %s is due %s", zone, at.In(location), due)
			}
		}
	}
}

func TestChannel(t *testing.T) {
	f := func(zone, at, want string) {
		t.Helper()
		told, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := fileWith(t, fmt.Sprintf("calendar: {timezone: %s}", zone)).Channel(told.UnixMilli()); got != want {
			t.Errorf("the channel of %s in %s is %s, expected %s", at, zone, got, want)
		}
	}
	f("UTC", "2026-11-06T23:30:00Z", "#incident-assessment-2026-11-06")
	f("Europe/Berlin", "2026-11-06T23:30:00Z", "#incident-assessment-2026-11-07")
	f("America/New_York", "2026-11-07T04:30:00Z", "#incident-assessment-2026-11-06")
}
