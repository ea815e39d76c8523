// Package status makes the entries of a status page of the incidents' messages, as a JSON Feed (jsonfeed.org, version 1.1). It knows no Kafka
// and no clock: the same messages give the same feed, whenever and however often it is made.
package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sevwatch/detector"
	"sevwatch/rules"
)

// Feed is the document.
type Feed struct {
	Version string `json:"version"`
	Title   string `json:"title"`
	Items   []Item `json:"items"`
}

// Item is one incident as it was last told.
type Item struct {
	ID            string          `json:"id"`
	Title         string          `json:"title"`
	ContentText   string          `json:"content_text"`
	DatePublished detector.Millis `json:"date_published"`
	DateModified  detector.Millis `json:"date_modified"`
	Tags          []string        `json:"tags"`
	Sevwatch      Facts           `json:"_sevwatch"`
}

// Facts are what a page needs to draw the entry.
type Facts struct {
	Severity     rules.Severity  `json:"severity"`
	PeakSeverity rules.Severity  `json:"peak_severity"`
	Phase        detector.Phase  `json:"phase"`
	Revision     int             `json:"revision"`
	ResolvedAt   detector.Millis `json:"resolved_at,omitzero"`
	Impact       string          `json:"impact"`
	Silenced     bool            `json:"silenced"`
	Suppressed   string          `json:"suppressed,omitempty"` // why nobody hears of it
}

// Page collects messages. The zero value has none.
type Page struct {
	// Mildest is the mildest severity at its worst that an incident on the page has; 0: all are on it.
	Mildest rules.Severity
	// Limit is how many incidents the page has at most; 0: no limit.
	Limit int

	last map[string]*detector.Incident
}

// Take reads one message, in any order. Recoveries say nothing to a status page.
func (p *Page) Take(value []byte) error {
	var head struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return fmt.Errorf("cannot read the message: %w", err)
	}
	if head.ID == "" {
		return nil
	}
	var i detector.Incident
	if err := json.Unmarshal(value, &i); err != nil {
		return fmt.Errorf("cannot read the incident: %w", err)
	}
	if p.last == nil {
		p.last = map[string]*detector.Incident{}
	}
	if known := p.last[i.ID]; known == nil || known.Revision < i.Revision {
		p.last[i.ID] = &i
	}
	return nil
}

// Feed is what the page says: open incidents first, then the last told first.
func (p *Page) Feed(title string) Feed {
	f := Feed{Version: "https://jsonfeed.org/version/1.1", Title: title, Items: []Item{}}
	var all []*detector.Incident
	for _, i := range p.last {
		if p.Mildest == 0 || i.PeakSeverity <= p.Mildest {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(x, y *detector.Incident) int {
		return cmp.Or(over(x)-over(y), cmp.Compare(y.At, x.At), cmp.Compare(x.ID, y.ID))
	})
	if p.Limit > 0 {
		all = all[:min(len(all), p.Limit)]
	}
	for _, i := range all {
		f.Items = append(f.Items, entry(i))
	}
	return f
}

func over(i *detector.Incident) int {
	if i.Status.Phase == detector.PhaseOpen || i.Status.Phase == detector.PhaseNoData {
		return 0
	}
	return 1
}

func entry(i *detector.Incident) Item {
	what := i.Rule.Name
	if i.Playbook != nil {
		what = i.Playbook.Title
	}
	severity := i.Severity
	if over(i) == 1 {
		severity = i.PeakSeverity
	}
	suppressed := ""
	if i.Suppressed != nil {
		suppressed = i.Suppressed.Why
	}
	return Item{
		ID:            i.ID,
		Title:         fmt.Sprintf("%s: %s, %s", what, severity, strings.ReplaceAll(string(i.Status.Phase), "_", " ")),
		ContentText:   cmp.Or(i.Messages.Resolution, i.Messages.Update, i.Messages.Initial),
		DatePublished: i.StartedAt, DateModified: i.At,
		Tags: []string{severity.String(), string(i.Status.Phase)},
		Sevwatch: Facts{
			Severity: i.Severity, PeakSeverity: i.PeakSeverity, Phase: i.Status.Phase, Revision: i.Revision, ResolvedAt: i.ResolvedAt,
			Impact: i.Impact.Sentence, Silenced: i.Status.Silenced, Suppressed: suppressed,
		},
	}
}
