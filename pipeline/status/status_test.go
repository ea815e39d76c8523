package status

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"sevwatch/rules"
)

func message(id string, revision, severity, peak int, phase, at string) string {
	return fmt.Sprintf(`{"id":%q,"revision":%d,"transition":"x","severity":"Sev%d","peak_severity":"Sev%d","status":{"phase":%q},
		"rule":{"name":"Rule","file_hash":"h"},"started_at":"2026-11-01T12:00:00.000Z","at":%q,"impact":{"events":3,"sentence":"3 of 4."},
		"messages":{"initial":"began","update":"goes on %d"}}`, id, revision, severity, peak, phase, at, revision)
}

// TestFeed: the last revision of each counts, whatever the order; open ones come first, then the newest.
func TestFeed(t *testing.T) {
	messages := []string{
		message("a", 1, 4, 4, "open", "2026-11-01T12:01:00.000Z"),
		message("a", 2, 2, 2, "open", "2026-11-01T12:02:00.000Z"),
		message("b", 1, 1, 1, "open", "2026-11-01T12:03:00.000Z"),
		message("b", 2, 3, 1, "resolved", "2026-11-01T12:30:00.000Z"),
		message("c", 1, 4, 4, "no_data", "2026-11-01T12:04:00.000Z"),
		`{"incident_id":"a","transition":"requested"}`,
	}
	f := func(p Page, want ...string) {
		t.Helper()
		for range 2 {
			p.last = nil
			for _, m := range messages {
				if err := p.Take([]byte(m)); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, i := range p.Feed("Assessment flow").Items {
				got = append(got, i.ID+" "+i.Title+" "+i.ContentText)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v: got %q, expected %q", p, got, want)
			}
			slices.Reverse(messages)
		}
	}
	c, a, b := "c Rule: Sev4, no data goes on 1", "a Rule: Sev2, open goes on 2", "b Rule: Sev1, resolved goes on 2"
	f(Page{}, c, a, b)
	f(Page{Limit: 2}, c, a)
	f(Page{Mildest: rules.Sev2}, a, b)
	if got, _ := json.Marshal((&Page{}).Feed("Nothing")); string(got) != `{"version":"https://jsonfeed.org/version/1.1","title":"Nothing","items":[]}` {
		t.Errorf("the empty feed is %s", got)
	}
	if err := (&Page{}).Take([]byte("{")); err == nil {
		t.Error("half a message is taken")
	}
}
