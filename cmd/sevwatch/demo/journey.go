package demo

import "time"

// stage is one step of the assessment as the visitor sees it: what there is to do, in order.
type stage struct {
	step  string
	moves []move
}

// move is to think for a while, then to ask the service for something, if path is given.
type move struct {
	think        time.Duration
	method, path string
	body         body
	page         int // of the questions that the body answers
}

// body is what a move sends.
type body int

const (
	noBody body = iota
	consentBody
	profileBody
	answersBody
)

// journey is the way from welcome to result.
func journey() []stage {
	get := func(think time.Duration, path string) move {
		return move{think: think, method: "GET", path: path}
	}
	post := func(think time.Duration, path string, b body) move {
		return move{think: think, method: "POST", path: path, body: b}
	}
	answer := func(think time.Duration, page int) move {
		return move{think: think, method: "POST", path: "/v1/answers", body: answersBody, page: page}
	}
	const s, ms = time.Second, time.Millisecond
	return []stage{
		{"welcome", []move{get(0, "/v1/welcome"), {think: s}}},
		{"consent", []move{post(s, "/v1/consent", consentBody)}},
		{"profile", []move{post(2500*ms, "/v1/profile", profileBody)}},
		{"questions", []move{
			get(0, "/v1/questions?page=1"), answer(1800*ms, 1),
			get(0, "/v1/questions?page=2"), answer(1800*ms, 2),
			get(0, "/v1/questions?page=3"), answer(1800*ms, 3),
		}},
		{"review", []move{get(0, "/v1/review"), {think: 1500 * ms}}},
		{"submit", []move{post(800*ms, "/v1/submit", noBody)}},
		{"result", []move{get(0, "/v1/result"), {think: s}}},
	}
}

// journeyTime is how long the way takes on average when nothing is wrong: by far the most of it is
// thinking.
func journeyTime() time.Duration {
	var sum time.Duration
	for _, s := range journey() {
		for _, m := range s.moves {
			sum += m.think
		}
	}
	return sum
}
