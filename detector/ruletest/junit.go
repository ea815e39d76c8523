package ruletest

import (
	"encoding/xml"
	"fmt"
	"strconv"
)

// Suite is the results of one file, and how long each took.
type Suite struct {
	File    string
	Results []Result
	Seconds []float64 // one a result
	Err     error     // the file or its rules could not be read: one error instead of results
}

type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string     `xml:"name,attr"`
		Class   string     `xml:"classname,attr"`
		File    string     `xml:"file,attr"`
		Line    int        `xml:"line,attr,omitempty"`
		Time    string     `xml:"time,attr"`
		Failure *junitText `xml:"failure"`
		Error   *junitText `xml:"error"`
	}
	junitText struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit is the suites as the XML that build servers read.
func JUnit(suites []Suite) ([]byte, error) {
	all := junitSuites{}
	for _, s := range suites {
		suite := junitSuite{Name: s.File}
		total := 0.0
		if s.Err != nil {
			suite.Errors = 1
			suite.Cases = append(suite.Cases, junitCase{
				Name: "the file is readable", Class: s.File, File: s.File, Time: seconds(0), Error: &junitText{"cannot be read", s.Err.Error()},
			})
		}
		for i, r := range s.Results {
			c := junitCase{Name: r.Name, Class: s.File, File: s.File, Line: r.Pos.Line, Time: seconds(s.Seconds[i])}
			if r.Diff != "" {
				c.Failure = &junitText{"told something else than expected", r.Diff}
				suite.Failures++
			}
			suite.Cases = append(suite.Cases, c)
			total += s.Seconds[i]
		}
		suite.Tests, suite.Time = len(suite.Cases), seconds(total)
		all.Tests, all.Failures, all.Errors = all.Tests+suite.Tests, all.Failures+suite.Failures, all.Errors+suite.Errors
		all.Suites = append(all.Suites, suite)
	}
	out, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot write JUnit: %w", err)
	}
	return append([]byte(xml.Header), append(out, '\n')...), nil
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 6, 64) }
