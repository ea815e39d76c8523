// Command sevwatch turns Kafka event streams into Sev1..Sev4 incidents by a runbook's thresholds.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"sevwatch/pipeline"
	"sevwatch/rules"
)

// Exit codes of all verbs.
const (
	exitDone  = 0
	exitFound = 1 // what was looked for was found: lint errors, incidents with --fail-on
	exitUsage = 2 // usage or configuration
	exitWorld = 3 // the world failed: a broker, a disk
)

// cli is the command line: a field a verb.
type cli struct {
	Demo     demoCmd     `cmd:"" help:"Watch a service being broken: broker, service, visitors and faults are all in this program."`
	Run      runCmd      `cmd:"" help:"Judge live: read events from Kafka, publish incidents."`
	Replay   replayCmd   `cmd:"" help:"Judge recorded events: the same engine and the same messages as live."`
	Topics   topicsCmd   `cmd:"" help:"Look at the topics of a pipeline, or make them."`
	Check    checkCmd    `cmd:"" help:"Check rule files and configuration files: every mistake at once, with line and column."`
	Rejected rejectedCmd `cmd:"" help:"Look at what was rejected or came too late, and send it back after a fix."`
	Diff     diffCmd     `cmd:"" help:"Replay by two rule files: which incidents open, close, change in severity, come earlier or later."`
	Verify   verifyCmd   `cmd:"" help:"Replay a pipeline's topics, and compare what comes out with what it has published, byte by byte."`
	Query    queryCmd    `cmd:"" help:"Sum up recorded events: error types, latencies, drop-offs, web vitals, by labels and time."`
	Explain  explainCmd  `cmd:"" help:"Replay, and print how one incident came about, window by window."`
	Tune     tuneCmd     `cmd:"" help:"Replay by one rule at many thresholds: incidents a week, precision, recall, delay of each."`
	Test     testCmd     `cmd:"" help:"Run tests of rules: streams in, expected incidents out."`

	Ack        ackCmd        `cmd:"" help:"Say that you are looking into an incident."`
	Silence    silenceCmd    `cmd:"" help:"Keep quiet about an incident, or about all that match, until a time."`
	Resolve    resolveCmd    `cmd:"" help:"Say that an incident is over, and what the cause was."`
	Approve    approveCmd    `cmd:"" help:"Let a recovery action be carried out that needs approval."`
	Postmortem postmortemCmd `cmd:"" help:"Write the post-mortem of an incident, from its messages."`
	Status     statusCmd     `cmd:"" help:"Write what a status page shows of the incidents, as a JSON Feed, from their messages."`

	Version kong.VersionFlag `help:"Say which version this is, and end."`
}

// world is what verbs touch outside themselves. stdout is data, stderr is people.
type world struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	// patience is how long a start waits for a broker that does not answer.
	patience time.Duration
}

// exit is an error that says with which code to end.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string { return e.err.Error() }
func (e exit) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(world{ctx, os.Stdin, os.Stdout, os.Stderr, pipeline.Patience}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run does what the arguments say and returns the exit code.
func run(w world, args []string) (code int) {
	if len(args) == 0 { // no data is asked for: what there is to ask for goes to people
		w.stdout = w.stderr
		_ = run(w, []string{"--help"})
		return exitUsage
	}
	var c cli
	ended := -1
	parser, err := kong.New(&c, kong.Name("sevwatch"), kong.Description("Kafka event streams in, Sev1..Sev4 incidents out."),
		kong.Vars{"version": version(debug.ReadBuildInfo())}, kong.Writers(w.stdout, w.stderr), kong.Exit(func(code int) { ended = code }),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		panic("BUG: the command line: " + err.Error())
	}
	parsed, err := parser.Parse(args)
	if ended >= 0 {
		return ended // help, or the version, was asked for
	}
	if err == nil {
		err = parsed.Run(w)
	} else {
		err = exit{exitUsage, err}
	}
	var e exit
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &e):
		code = e.code
	default:
		code = exitWorld
	}
	if !errors.Is(err, errQuiet) {
		fmt.Fprintf(w.stderr, "sevwatch: %s\n", err)
	}
	return code
}

// version is the program's version, and what is known of how it was built.
func version(info *debug.BuildInfo, known bool) string {
	text := "sevwatch " + pipeline.Version
	if !known {
		return text
	}
	text += ", " + info.GoVersion
	built := map[string]string{}
	for _, s := range info.Settings {
		built[s.Key] = s.Value
	}
	if commit := built["vcs.revision"]; commit != "" {
		text += ", commit " + commit
		if built["vcs.time"] != "" {
			text += " of " + built["vcs.time"]
		}
		if built["vcs.modified"] == "true" {
			text += " and changes to it"
		}
	}
	return text
}

// errQuiet ends with a code when everything was said already.
var errQuiet = errors.New("")

// loadRules reads a rule file, or the embedded runbook where path is empty.
func loadRules(path string, opt rules.Options) (*rules.File, error) {
	name, data := rules.Runbook()
	if path != "" {
		var err error
		if name, data, err = readFile(path); err != nil {
			return nil, exit{exitUsage, fmt.Errorf("cannot read the rules: %w", err)}
		}
	}
	f, err := rules.Parse(name, data, opt)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	return f, nil
}

func readFile(path string) (string, []byte, error) {
	data, err := os.ReadFile(path)
	return path, data, err
}
