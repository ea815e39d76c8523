package wire

import (
	"bytes"
	"fmt"
	"strings"
)

// Endpoints turns the paths of requests into the few endpoints that they are requests to: /v1/answers/123 into /v1/answers/{id}.
type Endpoints struct {
	patterns []pattern
	ids      bool // what looks like an id is replaced where no pattern fits
}

// pattern is a path in which {name} stands for any one segment and a last {name...} for the rest, as in net/http.
type pattern struct {
	text     []byte
	segments [][]byte // nil: any
	rest     bool
}

// Bounds of a path. Behind maxSegments segments a path is not told apart: the rest of it is {rest}.
const (
	MaxPatterns = 200
	maxSegments = 16
)

// NewEndpoints compiles patterns; the first that fits a path is its endpoint. With ids, segments of other paths that are numbers, UUIDs
// or at least 16 hex digits become {id}.
func NewEndpoints(patterns []string, ids bool) (*Endpoints, error) {
	e := &Endpoints{ids: ids}
	for _, text := range patterns {
		p, err := parsePattern(text)
		if err != nil {
			return nil, err
		}
		e.patterns = append(e.patterns, p)
	}
	return e, nil
}

func parsePattern(text string) (pattern, error) {
	p := pattern{text: []byte(text)}
	if !strings.HasPrefix(text, "/") || len(text) > MaxLabel {
		return p, fmt.Errorf("expected a path such as /v1/answers/{id}, of %d bytes at most", MaxLabel)
	}
	segments := strings.Split(text[1:], "/")
	for i, s := range segments {
		wild := strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") && len(s) > 2
		switch name := strings.Trim(s, "{}"); {
		case !wild && strings.ContainsAny(s, "{}?#"):
			return p, fmt.Errorf("expected segments that are text or, as a whole, {name}: %q is neither", s)
		case wild && strings.ContainsAny(name, "{}"):
			return p, fmt.Errorf("expected one name between the braces of %q", s)
		case wild && strings.HasSuffix(name, "...") && i < len(segments)-1:
			return p, fmt.Errorf("expected %q only as the last segment", s)
		case wild && strings.HasSuffix(name, "..."):
			p.rest = true
		case wild:
			p.segments = append(p.segments, nil)
		default:
			p.segments = append(p.segments, []byte(s))
		}
	}
	return p, nil
}

// fits says whether the path, which begins with a slash, is one of the pattern's.
func (p *pattern) fits(path []byte) bool {
	for _, want := range p.segments {
		if len(path) == 0 {
			return false
		}
		segment := firstSegment(path[1:])
		if want == nil && len(segment) == 0 || want != nil && !bytes.Equal(segment, want) {
			return false
		}
		path = path[1+len(segment):]
	}
	return p.rest || len(path) == 0
}

func firstSegment(path []byte) []byte {
	if i := bytes.IndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return path
}

// Of is the endpoint of a path. Scheme and host, a query and a fragment are no part of it. The result may lie in dst, which is returned
// grown, or in path. A text without a slash, such as an operation's name, stays as it is.
func (e *Endpoints) Of(path, dst []byte) (endpoint, grown []byte) {
	path = onlyPath(path)
	if len(path) == 0 || path[0] != '/' {
		return path, dst
	}
	for i := range e.patterns {
		if e.patterns[i].fits(path) {
			return e.patterns[i].text, dst
		}
	}
	if !e.ids {
		return path, dst
	}
	return replaceIDs(path, dst)
}

// onlyPath cuts off what stands before and behind a URL's path.
func onlyPath(path []byte) []byte {
	if i := bytes.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if i := bytes.Index(path, []byte("://")); i > 0 {
		host := path[i+3:]
		path = []byte("/")
		if i := bytes.IndexByte(host, '/'); i >= 0 {
			path = host[i:]
		}
	}
	return path
}

func replaceIDs(path, dst []byte) (endpoint, grown []byte) {
	from, changed := len(dst), false
	for n, left := 0, path; len(left) > 0; n++ {
		segment := firstSegment(left[1:])
		left = left[1+len(segment):]
		dst = append(dst, '/')
		switch {
		case n == maxSegments:
			dst = append(dst, "{rest}"...)
			return dst[from:], dst
		case looksLikeID(segment):
			dst, changed = append(dst, "{id}"...), true
		default:
			dst = append(dst, segment...)
		}
	}
	if !changed {
		return path, dst[:from]
	}
	return dst[from:], dst
}

// looksLikeID says whether a segment is a number, a UUID, or 16 hex digits or more.
func looksLikeID(s []byte) bool {
	digits, hex, dashes := 0, 0, 0
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			digits++
			hex++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			hex++
		case c == '-':
			dashes++
		default:
			return false
		}
	}
	switch {
	case len(s) == 0:
		return false
	case digits == len(s), hex == len(s) && hex >= 16:
		return true
	default:
		return len(s) == 36 && dashes == 4 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-'
	}
}
