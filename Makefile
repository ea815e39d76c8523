# Every target says what it is for; `make` alone lists them.
GO      ?= go
GOLANGCI ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s
SEED    ?= 1
N       ?= 2000
DATA     = $(SEVWATCH_DATA)

.PHONY: help demo test race lint fuzz sim golden kafka bench benchcmp replay image build

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-9s %s\n", $$1, $$2}'

demo:  ## the main job on this machine, in three minutes and what the build takes
	@$(GO) run ./cmd/sevwatch demo

build:  ## the program, in bin/
	$(GO) build -trimpath -o bin/sevwatch ./cmd/sevwatch

test:  ## all tests, a real Kafka among them where Java is there
	$(GO) test -timeout 14m ./...

race:  ## all tests under the race detector
	$(GO) test -race -timeout 30m ./...

lint:  ## gofumpt, vet and golangci-lint
	$(GO) vet ./...
	$(GOLANGCI) run

fuzz:  ## every fuzz target for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; .ci/fuzz $$package $$target $(FUZZTIME); \
	  done; done

sim:  ## N random streams against the dumb model, N schedules of crashes and N/200 of broker errors, from SEED on
	$(GO) test ./pipeline -count=1 -timeout 60m -run '^Test(Simulation|BrokerErrors)$$' -simseed $(SEED) -simruns $(N)
	$(GO) test ./detector -count=1 -run 'TestModel' -args -seed $(SEED) -streams $(N)

golden:  ## rewrite golden files; then read the diff
	UPDATE_GOLDEN=1 $(GO) test ./rules/... ./detector ./pipeline ./pipeline/wire

kafka:  ## only the tests that need a real Kafka, workers and brokers being killed for CHAOS each
	$(GO) test -count=1 -v -timeout 40m -run 'Real' ./pipeline/... $(if $(CHAOS),-args -chaos $(CHAOS))

bench:  ## benchmarks of the hot path; `go run ./bench/throughput` is the whole way over a real Kafka
	$(GO) test -run '^$$' -bench . -benchmem ./detector ./pipeline/...

benchcmp:  ## compare two results of `make bench`: OLD=file NEW=file
	$(GO) run golang.org/x/perf/cmd/benchstat@latest $(OLD) $(NEW)

replay:  ## the real TrainTicket day: replayed twice, shuffled, and over Kafka with four workers; the bytes are compared
	$(GO) test -count=1 -v -run 'Replay' ./pipeline

image:  ## the container image
	docker build -f deploy/Dockerfile -t sevwatch .
