package sets

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"
)

// oulad is the Open University's record of registrations, assessment submissions and withdrawals.
type oulad struct {
	dir string
}

// ouladStarts is day 0 of each presentation: B starts in February and J in October; the source has
// no nearer date, so the first of the month stands for it.
var ouladStarts = map[string]time.Time{
	"2013B": time.Date(2013, time.February, 1, 12, 0, 0, 0, time.UTC),
	"2013J": time.Date(2013, time.October, 1, 12, 0, 0, 0, time.UTC),
}

const dayMs = 24 * 60 * 60 * 1000

func (s oulad) set() Set {
	return Set{
		Name:   "oulad",
		About:  "assessments of Open University students: registration enters, submission completes, withdrawal abandons",
		Events: s.events,
	}
}

// A course is one module in one presentation.
type course struct {
	module, presentation string
}

// A student is one student in one course.
type student struct {
	course
	id          string
	registered  string // day, empty where unknown
	withdrawn   string // day, empty for those who stayed
	submissions []submission
}

type submission struct {
	day        int
	assessment assessment
}

// An assessment is a piece of work that a course asks for.
type assessment struct {
	course
	id     int
	due    int // day; exams without a day come last
	labels []Label
}

func (s oulad) events(fsys fs.FS) EventSeq {
	return inTimeOrder(func() ([]Event, error) {
		assessments, err := s.assessments(fsys)
		if err != nil {
			return nil, err
		}
		students, err := s.students(fsys)
		if err != nil {
			return nil, err
		}
		asked, err := s.submissions(fsys, assessments, students)
		if err != nil {
			return nil, err
		}
		var events []Event
		for _, st := range students {
			events, err = st.steps(events, asked[st.course])
			if err != nil {
				return nil, fmt.Errorf("cannot convert student %s of %s %s: %w", st.id, st.module, st.presentation, err)
			}
		}
		return events, nil
	})
}

func (s oulad) assessments(fsys fs.FS) (map[string]assessment, error) {
	all := map[string]assessment{}
	for r, err := range table(fsys, s.dir+"/assessments.csv",
		"code_module", "code_presentation", "id_assessment", "assessment_type", "date") {
		if err != nil {
			return nil, err
		}
		id, err := strconv.Atoi(r.cells[2])
		if err != nil {
			return nil, r.fail(err)
		}
		due := 1 << 20
		if r.cells[4] != "" {
			if due, err = strconv.Atoi(r.cells[4]); err != nil {
				return nil, r.fail(err)
			}
		}
		a := assessment{course: course{keep(r.cells[0]), keep(r.cells[1])}, id: id, due: due}
		a.labels = append(a.course.labels(), Label{Name: "assessment_type", Value: keep(r.cells[3])})
		all[keep(r.cells[2])] = a
	}
	return all, nil
}

// labels are those of every event of a course: its day is the source's, its noon is ours.
func (c course) labels() []Label {
	return []Label{{Name: "presentation", Value: c.presentation}, syntheticTimes[0]}
}

// students returns the registrations in the order of the source.
func (s oulad) students(fsys fs.FS) ([]*student, error) {
	var all []*student
	for r, err := range table(fsys, s.dir+"/studentRegistration.csv.gz",
		"code_module", "code_presentation", "id_student", "date_registration", "date_unregistration") {
		if err != nil {
			return nil, err
		}
		all = append(all, &student{
			course:     course{keep(r.cells[0]), keep(r.cells[1])},
			id:         keep(r.cells[2]),
			registered: keep(r.cells[3]),
			withdrawn:  keep(r.cells[4]),
		})
	}
	return all, nil
}

// submissions gives each student what they handed in, and returns how many assessments of each
// course were handed in by anybody. Banked results are left out: they come from an earlier year.
func (s oulad) submissions(fsys fs.FS, assessments map[string]assessment, students []*student) (map[course]int, error) {
	type place struct {
		course
		student string
	}
	byPlace := map[place]*student{}
	for _, st := range students {
		byPlace[place{st.course, st.id}] = st
	}
	asked, seen := map[course]int{}, map[int]bool{}
	for r, err := range table(fsys, s.dir+"/studentAssessment.csv.gz",
		"id_assessment", "id_student", "date_submitted", "is_banked") {
		if err != nil {
			return nil, err
		}
		if r.cells[3] == "1" {
			continue
		}
		day, err := strconv.Atoi(r.cells[2])
		if err != nil {
			return nil, r.fail(err)
		}
		a, ok := assessments[r.cells[0]]
		if !ok {
			return nil, r.fail(fmt.Errorf("unknown assessment %s", r.cells[0]))
		}
		st := byPlace[place{a.course, r.cells[1]}]
		if st == nil {
			return nil, r.fail(fmt.Errorf("student %s is not registered for %s %s", r.cells[1], a.module, a.presentation))
		}
		st.submissions = append(st.submissions, submission{day: day, assessment: a})
		if !seen[a.id] {
			seen[a.id] = true
			asked[a.course]++
		}
	}
	return asked, nil
}

// steps appends the steps of one student. There is one step, "assessment", and at most one open
// attempt at it: registration enters the first, each submission completes one and enters the next
// while there is a next, and a withdrawal abandons what is open.
func (st *student) steps(events []Event, asked int) ([]Event, error) {
	slices.SortFunc(st.submissions, func(a, b submission) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.assessment.due, b.assessment.due),
			cmp.Compare(a.assessment.id, b.assessment.id))
	})
	start, ok := ouladStarts[st.presentation]
	if !ok {
		return nil, fmt.Errorf("no start date of presentation %q", st.presentation)
	}
	courseLabels := st.labels()
	add := func(day int, action Action, labels []Label) {
		events = append(events, Event{
			TimeMs:   start.UnixMilli() + int64(day)*dayMs,
			Kind:     Step,
			Service:  "oulad",
			Endpoint: st.module,
			Step:     "assessment",
			Session:  st.id + "/" + st.module + "/" + st.presentation,
			Action:   action,
			Labels:   labels,
		})
	}
	if st.registered != "" {
		day, err := strconv.Atoi(st.registered)
		if err != nil {
			return nil, err
		}
		add(day, Enter, courseLabels)
	}
	withdrawnDay := 1 << 20
	if st.withdrawn != "" {
		day, err := strconv.Atoi(st.withdrawn)
		if err != nil {
			return nil, err
		}
		withdrawnDay = day
	}
	for i, sub := range st.submissions {
		add(sub.day, Complete, sub.assessment.labels)
		if i+1 < asked && sub.day <= withdrawnDay {
			add(sub.day, Enter, courseLabels)
		}
	}
	if st.withdrawn != "" {
		add(withdrawnDay, Abandon, courseLabels)
	}
	return events, nil
}
