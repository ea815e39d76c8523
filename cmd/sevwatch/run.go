package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sevwatch/pipeline"
)

type runCmd struct {
	Config  string `help:"Configuration file; deploy/sevwatch.yaml explains every key." required:"" placeholder:"FILE"`
	LogJSON bool   `help:"Log as JSON."`
}

// Run works until it is told to stop.
func (c *runCmd) Run(w world) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	file, err := loadRules(cfg.Rules, cfg.RuleOptions())
	if err != nil {
		return err
	}
	client, err := w.connect(cfg)
	if err != nil {
		return err
	}
	log := newLogger(w, c.LogJSON, zap.InfoLevel)
	defer func() { _ = log.Sync() }()
	worker := pipeline.NewWorker(pipeline.WorkerOptions{Config: cfg, Rules: file, Client: client, Log: log, Hangup: hangup})
	if err := worker.Run(w.ctx); err != nil {
		return topicsError(err)
	}
	return nil
}

// topicsError sorts what work with Kafka ended with into the exit codes: topics that are not as they have to be are for the caller to make.
func topicsError(err error) error {
	var topics *pipeline.TopicError
	if errors.As(err, &topics) {
		return exit{exitUsage, err}
	}
	return exit{exitWorld, err}
}

// loadConfig reads a configuration file.
func loadConfig(path string) (*pipeline.Config, error) {
	name, data, err := readFile(path)
	if err != nil {
		return nil, exit{exitUsage, fmt.Errorf("cannot read the configuration: %w", err)}
	}
	cfg, err := pipeline.ParseConfig(name, data)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	cfg.Secrets(os.LookupEnv)
	return cfg, nil
}

// connect reads the configuration and waits for a broker.
func connect(w world, path string) (*pipeline.Config, *kafka.Client, error) {
	cfg, err := loadConfig(path)
	if err != nil {
		return nil, nil, err
	}
	client, err := w.connect(cfg)
	return cfg, client, err
}

// connect waits for a broker.
func (w world) connect(cfg *pipeline.Config) (*kafka.Client, error) {
	client, err := cfg.Connect(w.ctx, w.patience)
	if err != nil {
		return nil, exit{exitWorld, err}
	}
	return client, nil
}

// newLogger logs to stderr: for people, or as JSON for machines.
func newLogger(w world, asJSON bool, level zapcore.Level) *zap.Logger {
	conf := zap.NewProductionEncoderConfig()
	conf.EncodeTime = zapcore.RFC3339TimeEncoder
	encoder := zapcore.NewConsoleEncoder(conf)
	if asJSON {
		encoder = zapcore.NewJSONEncoder(conf)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(w.stderr), level))
}

type topicsCmd struct {
	Config string `help:"Configuration file." required:"" placeholder:"FILE"`
	Create bool   `help:"Make the topics that are missing, and set settings without which data is lost or the pipeline stops."`
}

// Run prints the state of every topic of the pipeline.
func (c *topicsCmd) Run(w world) error {
	cfg, client, err := connect(w, c.Config)
	if err != nil {
		return err
	}
	states, err := cfg.VerifyTopics(w.ctx, client, c.Create)
	if err != nil {
		return exit{exitWorld, err}
	}
	bad, out := false, bufio.NewWriter(w.stdout)
	for _, s := range states {
		switch {
		case s.Problem != "":
			bad = true
			fmt.Fprintln(out, s.Problem)
		case s.Made:
			fmt.Fprintf(out, "topic %s made with %s\n", s.Topic, counted(int64(s.Partitions), "partition"))
		default:
			fmt.Fprintf(out, "topic %s is there with %s\n", s.Topic, counted(int64(s.Partitions), "partition"))
		}
		for _, set := range s.Set {
			fmt.Fprintln(out, set)
		}
		if s.Warning != "" {
			fmt.Fprintln(out, "warning:", strings.ReplaceAll(s.Warning, "\n", "\nwarning: "))
		}
	}
	if err := out.Flush(); err != nil {
		return exit{exitWorld, err}
	}
	if bad {
		return exit{exitFound, errQuiet}
	}
	return nil
}
