package sets

import (
	"cmp"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
)

// moodle is the submission flow of assignments in the Moodle logs of a university.
type moodle struct {
	dir string
}

// moodleModules are the files that are read. Moodle_Module_1_SP19 is left out: every step line of it
// is a line of Moodle_Module_1_SP18 with another year, so it would count each attempt twice.
var moodleModules = []string{
	"Moodle_Module_1_SP18", "Moodle_Module_2_F17", "Moodle_Module_2_SP18", "Moodle_Module_3_F17",
	"Moodle_Module_3_SP17", "Moodle_Module_3_SP18", "Moodle_Module_5_F17", "Moodle_Module_5_SP17",
	"Moodle_Module_5_SP18",
}

// The steps of the flow, in order.
const (
	moodleFormView = iota
	moodleUpload
	moodleCreate
	moodleSubmit
)

var moodleSteps = []string{"form_view", "upload", "create", "submit"}

// moodleLines are the log lines of the flow. A line enters its step and completes the earlier step
// that its session has open; a line that ends the flow also completes its own.
var moodleLines = map[string]moodleLine{
	"Submission form viewed.":              {step: moodleFormView},
	"A file has been uploaded.":            {step: moodleUpload},
	"Submission created.":                  {step: moodleCreate},
	"Submission updated.":                  {step: moodleCreate},
	"Submission confirmation form viewed.": {step: moodleSubmit},
	"A submission has been submitted.":     {step: moodleSubmit, ends: true},
}

type moodleLine struct {
	step int
	ends bool
}

// moodleEntry is one log line of the flow.
type moodleEntry struct {
	timeMs     int64
	user       string
	assignment string
	line       moodleLine
}

func (s moodle) set() Set {
	return Set{
		Name:   "moodle",
		About:  "steps of assignment submissions in Moodle: form_view, upload, create, submit",
		Events: s.events,
	}
}

func (s moodle) events(fsys fs.FS) EventSeq {
	return inTimeOrder(func() ([]Event, error) {
		var entries []moodleEntry
		for _, module := range moodleModules {
			more, err := moodleEntries(fsys, s.dir+"/"+module+".csv.gz")
			if err != nil {
				return nil, err
			}
			entries = append(entries, more...)
		}
		slices.SortStableFunc(entries, func(a, b moodleEntry) int { return cmp.Compare(a.timeMs, b.timeMs) })
		flow := moodleFlow{open: map[string]attempt{}}
		for _, e := range entries {
			flow.read(e)
		}
		return flow.events, nil
	})
}

var moodleActor = regexp.MustCompile(`^The user with id '(\d+)' .* course module id '(\d+)'`)

// moodleEntries reads the lines of one file, which has the newest first, and returns them with the
// oldest first. Times have minutes and no zone; they are taken as UTC.
func moodleEntries(fsys fs.FS, file string) ([]moodleEntry, error) {
	var entries []moodleEntry
	for r, err := range table(fsys, file, "Time", "Event name", "Description") {
		if err != nil {
			return nil, err
		}
		line, ok := moodleLines[r.cells[1]]
		if !ok {
			continue
		}
		timeMs, err := parseUTC("2/01/06, 15:04", r.cells[0])
		if err != nil {
			return nil, r.fail(err)
		}
		actor := moodleActor.FindStringSubmatch(r.cells[2])
		if actor == nil {
			return nil, r.fail(fmt.Errorf("no user and assignment in %q", r.cells[2]))
		}
		entries = append(entries, moodleEntry{
			timeMs: timeMs, user: keep(actor[1]), assignment: keep(actor[2]), line: line,
		})
	}
	slices.Reverse(entries)
	return entries, nil
}

// An attempt is the step that a session has entered and not completed.
type attempt struct {
	step    int
	sinceMs int64
}

// moodleFlow turns lines into steps: it remembers where each session is.
type moodleFlow struct {
	open   map[string]attempt
	events []Event
}

func (f *moodleFlow) read(e moodleEntry) {
	session := e.user + "/" + e.assignment
	was, ok := f.open[session]
	if ok && was.step < e.line.step {
		f.add(e, session, was.step, Complete, e.timeMs-was.sinceMs)
	}
	now := attempt{step: e.line.step, sinceMs: e.timeMs}
	if ok && e.line.ends && was.step == e.line.step {
		now = was // the confirmation form has entered the step already
	} else {
		f.add(e, session, now.step, Enter, 0)
	}
	f.open[session] = now
	if e.line.ends {
		f.add(e, session, now.step, Complete, e.timeMs-now.sinceMs)
		delete(f.open, session)
	}
}

func (f *moodleFlow) add(e moodleEntry, session string, step int, action Action, dwellMs int64) {
	f.events = append(f.events, Event{
		TimeMs:   e.timeMs,
		Kind:     Step,
		Service:  "moodle",
		Endpoint: "assignment/" + e.assignment,
		Step:     moodleSteps[step],
		Session:  session,
		Action:   action,
		DwellMs:  dwellMs,
	})
}
