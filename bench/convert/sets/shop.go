package sets

import (
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// shop is a synthetic shop, made by others, with documented incidents in its checkout.
type shop struct {
	file string
}

const shopService = "shop"

// shopFunnel are the pages on the way to a purchase, in order. Reaching one completes every earlier
// one that the session has entered; a purchase completes itself.
var shopFunnel = []string{"add_to_cart", "cart", "shipping_details", "payment_details", "purchase"}

// shopGiveAways are events that only an incident makes; a detector must not see them.
var shopGiveAways = []string{"payment_error", "checkout_bug"}

func (s shop) set() Set {
	return Set{
		Name:   "shop",
		About:  "a synthetic shop by third parties: pages are steps, with three documented incidents",
		Events: s.events,
		Faults: s.faults,
	}
}

// visit is one page of a session.
type visit struct {
	timeMs   int64
	session  string
	platform string
	page     string
}

func (s shop) events(fsys fs.FS) EventSeq {
	return inTimeOrder(func() ([]Event, error) {
		flow := shopFlow{open: map[string][]shopPage{}}
		for r, err := range table(fsys, s.file, "timestamp", "session_id", "platform", "event") {
			if err != nil {
				return nil, err
			}
			if slices.Contains(shopGiveAways, r.cells[3]) {
				continue
			}
			timeMs, err := parseUTC(time.DateTime, r.cells[0])
			if err != nil {
				return nil, r.fail(err)
			}
			flow.read(visit{timeMs: timeMs, session: keep(r.cells[1]), platform: keep(r.cells[2]), page: keep(r.cells[3])})
		}
		return flow.events, nil
	})
}

// shopPage is a page of the funnel that a session has entered and not completed.
type shopPage struct {
	place   int // in shopFunnel
	sinceMs int64
}

// shopFlow turns visits into steps. The source has each session in one piece and in time order.
type shopFlow struct {
	open   map[string][]shopPage
	events []Event
}

func (f *shopFlow) read(v visit) {
	place := slices.Index(shopFunnel, v.page)
	open := f.open[v.session]
	still := open[:0]
	for _, p := range open {
		if p.place >= place {
			still = append(still, p)
			continue
		}
		f.add(v, shopFunnel[p.place], Complete, v.timeMs-p.sinceMs)
	}
	f.add(v, v.page, Enter, 0)
	switch {
	case place == len(shopFunnel)-1:
		f.add(v, v.page, Complete, 0)
	case place >= 0 && !slices.ContainsFunc(still, func(p shopPage) bool { return p.place == place }):
		still = append(still, shopPage{place: place, sinceMs: v.timeMs})
	}
	f.open[v.session] = still
}

func (f *shopFlow) add(v visit, page string, action Action, dwellMs int64) {
	f.events = append(f.events, Event{
		TimeMs:   v.timeMs,
		Kind:     Step,
		Service:  shopService,
		Endpoint: v.platform,
		Step:     page,
		Session:  v.session,
		Action:   action,
		DwellMs:  dwellMs,
	})
}

// shopIncident is a documented incident and where it is looked for.
type shopIncident struct {
	name       string
	first, end time.Time // the documented days; end is the day after the last
	step       string    // empty: the number of visits, of all pages
	platform   string    // empty: all
}

// shopReach is how long before an incident its steps are compared with.
const shopReach = 28 * 24 * time.Hour

var shopIncidents = []shopIncident{
	{name: "viral_article", first: shopDay(time.February, 29), end: shopDay(time.March, 4)},
	{name: "checkout_bug", first: shopDay(time.April, 9), end: shopDay(time.May, 10), step: "shipping_details", platform: "mobile"},
	{name: "payment_gateway", first: shopDay(time.May, 19), end: shopDay(time.June, 8), step: "payment_details"},
}

func shopDay(month time.Month, day int) time.Time {
	return time.Date(2024, month, day, 0, 0, 0, 0, time.UTC)
}

// stepSample is what sessions did with a step in one stretch of time.
type stepSample struct {
	fromMs, toMs     int64
	enters, complete int
}

func (s *stepSample) add(e Event, i shopIncident) {
	if e.TimeMs < s.fromMs || e.TimeMs >= s.toMs || (i.step != "" && e.Step != i.step) ||
		(i.platform != "" && e.Endpoint != i.platform) {
		return
	}
	switch e.Action {
	case Enter:
		s.enters++
	case Complete:
		s.complete++
	case Abandon:
	}
}

func (s shop) faults(fsys fs.FS) ([]Fault, error) {
	before, during := make([]stepSample, len(shopIncidents)), make([]stepSample, len(shopIncidents))
	for n, i := range shopIncidents {
		before[n] = stepSample{fromMs: i.first.Add(-shopReach).UnixMilli(), toMs: i.first.UnixMilli()}
		during[n] = stepSample{fromMs: i.first.UnixMilli(), toMs: i.end.UnixMilli()}
	}
	for e, err := range s.events(fsys) {
		if err != nil {
			return nil, err
		}
		for n, i := range shopIncidents {
			before[n].add(e, i)
			during[n].add(e, i)
		}
	}
	faults := make([]Fault, len(shopIncidents))
	for n, i := range shopIncidents {
		faults[n] = Fault{
			StartMs: i.first.UnixMilli(),
			EndMs:   i.end.UnixMilli(),
			Service: shopService,
			Type:    i.name,
			Extra:   []Label{{Name: "step", Value: i.step}, {Name: "platform", Value: i.platform}},
		}
		if i.step == "" {
			faults[n].Seen = compareVisits(before[n], during[n])
		} else {
			faults[n].Seen = compareCompletion(before[n], during[n])
		}
	}
	return faults, nil
}

// compareCompletion is the rule of visibility for steps: the completion share has at least halved,
// with minDurations entered steps on both sides.
func compareCompletion(before, during stepSample) Verdict {
	why := fmt.Sprintf("completion %d/%d -> %d/%d", before.complete, before.enters, during.complete, during.enters)
	if before.enters < minDurations || during.enters < minDurations {
		return Verdict{Why: "not judged: too few; " + why}
	}
	halved := 2*during.complete*before.enters <= before.complete*during.enters
	return Verdict{Visible: halved, Judged: true, Why: why}
}

// compareVisits is the rule of visibility for traffic: the visits a day have at least doubled.
func compareVisits(before, during stepSample) Verdict {
	beforeDays, duringDays := (before.toMs-before.fromMs)/dayMs, (during.toMs-during.fromMs)/dayMs
	return Verdict{
		Visible: int64(during.enters)*beforeDays >= 2*int64(before.enters)*duringDays,
		Judged:  true,
		Why: fmt.Sprintf("visits %d in %d days -> %d in %d days",
			before.enters, beforeDays, during.enters, duringDays),
	}
}
