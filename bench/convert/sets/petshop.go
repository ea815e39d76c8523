package sets

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// petShop is one scenario of Amazon's PetShop: tables of five minutes for each of its components,
// 25 minutes around each injected issue, and one long stretch without any.
type petShop struct {
	dir      string
	scenario string
}

const (
	petShopDoor = "PetSite"
	// petShopRowMs is what one row tells of. Its time is the start: issues whose target lies early
	// in a row already show in that row.
	petShopRowMs = 300_000
	// petShopFaultMs is the assumed length of an issue: most are taken back after ten minutes, and
	// the rows stay touched for up to fifteen.
	petShopFaultMs = 900_000
	// petShopCap bounds the events of one row and component; the busiest row has 1,325 requests.
	petShopCap = 5000
)

func (s petShop) issuesSet() Set {
	return Set{
		Name:   "petshop-" + strings.ReplaceAll(s.scenario, "_", "-") + "-issues",
		About:  "PetShop around its injected issues, from tables of five minutes, synthetic times",
		Events: func(fsys fs.FS) EventSeq { return spread(s.issueBulks(fsys)) },
		Rows:   func(fsys fs.FS) RowSeq { return rows(s.issueBulks(fsys)) },
		Faults: s.faults,
	}
}

func (s petShop) noIssueSet() Set {
	files := []string{s.dir + "/" + s.scenario + "/noissue/metrics.csv.gz"}
	return Set{
		Name:   "petshop-" + strings.ReplaceAll(s.scenario, "_", "-") + "-noissue",
		About:  "PetShop for 49 hours without injected issues, from tables of five minutes, synthetic times",
		Events: func(fsys fs.FS) EventSeq { return spread(petShopBulks(fsys, files)) },
		Rows:   func(fsys fs.FS) RowSeq { return rows(petShopBulks(fsys, files)) },
	}
}

// petShopIssue is one line of issues.csv.
type petShopIssue struct {
	part, name string
	metric     string // that of the front door which the issue was made to move
	cause      string // the component in which it was injected
	startMs    int64
	rowsMs     [2]int64 // start of the first and of the last row
}

// issues returns the issues of the scenario in the order of their rows.
func (s petShop) issues(fsys fs.FS) ([]petShopIssue, error) {
	var issues []petShopIssue
	for r, err := range table(fsys, s.dir+"/issues.csv", "scenario", "part", "issue", "target_metric",
		"root_cause_node", "target_unix", "first_row_unix", "last_row_unix") {
		if err != nil {
			return nil, err
		}
		if r.cells[0] != s.scenario {
			continue
		}
		var seconds [3]int64
		for i, c := range r.cells[5:] {
			if seconds[i], err = strconv.ParseInt(c, 10, 64); err != nil {
				return nil, r.fail(err)
			}
		}
		issues = append(issues, petShopIssue{
			part: keep(r.cells[1]), name: keep(r.cells[2]), metric: keep(r.cells[3]), cause: keep(r.cells[4]),
			startMs: seconds[0] * 1000, rowsMs: [2]int64{seconds[1] * 1000, seconds[2] * 1000},
		})
	}
	slices.SortFunc(issues, func(a, b petShopIssue) int { return cmp.Compare(a.rowsMs[0], b.rowsMs[0]) })
	return issues, nil
}

// issueBulks joins the tables of all issues to one stream: they do not overlap.
func (s petShop) issueBulks(fsys fs.FS) bulkSeq {
	return func(yield func([]bulk, error) bool) {
		issues, err := s.issues(fsys)
		if err != nil {
			yield(nil, err)
			return
		}
		files := make([]string, len(issues))
		for i, issue := range issues {
			files[i] = fmt.Sprintf("%s/%s/%s/%s/metrics.csv", s.dir, s.scenario, issue.part, issue.name)
		}
		petShopBulks(fsys, files)(yield)
	}
}

// petShopWatch is an issue with its rows, each compared with the clean ones.
type petShopWatch struct {
	watch
	ownRows, doorRows []*pair
}

func (s petShop) faults(fsys fs.FS) ([]Fault, error) {
	issues, err := s.issues(fsys)
	if err != nil {
		return nil, err
	}
	var watched []petShopWatch
	var watches []watch
	var more []*probe
	for _, issue := range issues {
		w := issue.watch()
		watched = append(watched, w)
		watches = append(watches, w.watch)
		for _, p := range slices.Concat(w.ownRows, w.doorRows) {
			more = append(more, &p.before, &p.after)
		}
	}
	faults, err := judge(spread(s.issueBulks(fsys)), watches, more...)
	if err != nil {
		return nil, err
	}
	for i, w := range watched {
		faults[i].Extra = append(faults[i].Extra,
			Label{Name: "affected_rows", Value: visibleRows(w.ownRows)},
			Label{Name: "front_affected_rows", Value: visibleRows(w.doorRows)})
	}
	return faults, nil
}

// watch compares the rows that ended before the issue with what came after its start.
func (i petShopIssue) watch() petShopWatch {
	firstMs, endMs := i.rowsMs[0], i.rowsMs[1]+petShopRowMs
	cleanMs := firstMs + (i.startMs-firstMs)/petShopRowMs*petShopRowMs
	faultEndMs := min(i.startMs+petShopFaultMs, endMs)
	compare := func(service string, fromMs, toMs int64) *pair {
		return &pair{
			before: probe{service: service, fromMs: firstMs, toMs: cleanMs},
			after:  probe{service: service, fromMs: fromMs, toMs: toMs},
		}
	}
	w := petShopWatch{watch: watch{
		fault: Fault{
			StartMs: i.startMs,
			EndMs:   faultEndMs,
			Service: i.cause,
			Type:    i.metric,
			Extra:   []Label{{Name: "part", Value: i.part}, {Name: "issue", Value: i.name}},
		},
		own:  compare(i.cause, i.startMs, faultEndMs),
		door: compare(petShopDoor, i.startMs, faultEndMs),
	}}
	for rowMs := cleanMs; rowMs < endMs; rowMs += petShopRowMs {
		w.ownRows = append(w.ownRows, compare(i.cause, rowMs, rowMs+petShopRowMs))
		w.doorRows = append(w.doorRows, compare(petShopDoor, rowMs, rowMs+petShopRowMs))
	}
	return w
}

// visibleRows lists the starts of the rows in which the issue shows, parted by blanks.
func visibleRows(rows []*pair) string {
	var starts []string
	for _, p := range rows {
		if p.verdict().Visible {
			starts = append(starts, string(appendTime(nil, p.after.fromMs)))
		}
	}
	return strings.Join(starts, " ")
}
