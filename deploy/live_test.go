package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"sevwatch/pipeline/kafkatest"
)

// TestLive does on a real Kafka, with the broker settings of docker-compose.yml, what its services do: make the topics, then run. It looks
// at what the files promise: exit codes, /healthz, the metrics that the alerts look at, and an orderly end.
func TestLive(t *testing.T) {
	broker := kafkatest.Real(t, kafkatest.Options{Properties: brokerSettings()})
	checkBroker(t, broker.Addr())
	listen := freeAddr(t)
	// The compose file's configuration on other addresses, and with shorter panes, so that something happens soon.
	config := string(read(t, "compose.sevwatch.yaml"))
	for from, to := range map[string]string{"kafka:19092": broker.Addr(), ":9644": listen} {
		if strings.Count(config, `"`+from+`"`) != 1 {
			t.Fatalf("compose.sevwatch.yaml has not once %q", from)
		}
		config = strings.Replace(config, from, to, 1)
	}
	path := write(t, config+"\npane: 1s\nlateness: 1s\n")
	c := readCompose(t)
	command := func(service, path string) []string {
		args := strings.Join(c.Services[service].Command, " ")
		return strings.Fields(strings.Replace(args, "/etc/sevwatch/sevwatch.yaml", path, 1))
	}

	says(t, 2, "`sevwatch topics --create`", command("sevwatch", path)...)
	says(t, 1, "topics.replication is 3, which is more than there are brokers (1)", "topics", "--create", "--config", write(t, fmt.Sprintf("brokers: [%q]", broker.Addr())))
	says(t, 0, "topic sevwatch.panes made with 1 partition", command("topics", path)...)
	says(t, 0, "topic sevwatch.panes is there with 1 partition", command("topics", path)...)
	says(t, 2, "topic sevwatch.marks has 4 partitions, expected 3", "run", "--config", write(t, config+"\ntasks: {aggregate: 3}\n"))

	w := startWorker(t, command("sevwatch", path))
	w.waitFor(t, "http://"+listen+"/healthz", `"pipeline":"assessment"`)
	produceAll(t, broker.Addr())
	w.waitFor(t, "http://"+listen+"/metrics", alertNames(t)...)
	w.end(t)
}

// checkBroker asks the broker whether it took the settings.
func checkBroker(t *testing.T, addr string) {
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(addr), Timeout: 10 * time.Second}
	res, err := client.DescribeConfigs(t.Context(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeBroker, ResourceName: "0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range res.Resources[0].ConfigEntries {
		got[e.ConfigName] = e.ConfigValue
	}
	for name, want := range brokerSettings() {
		if got[name] != want {
			t.Errorf("the broker has %s=%s, expected %s", name, got[name], want)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func write(t *testing.T, config string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sevwatch.yaml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// says checks how the program ends and what it says.
func says(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	got, stdout, stderr := sevwatch(t, args...)
	if got != code || !strings.Contains(stdout+stderr, text) {
		t.Fatalf("sevwatch %s ends with %d, expected %d and %q in:\n%s%s", strings.Join(args, " "), got, code, text, stdout, stderr)
	}
}

// produceAll writes a record for every metric: events, one that is none, and one that is an hour late.
func produceAll(t *testing.T, addr string) {
	t.Helper()
	now := time.Now().UnixMilli()
	event := func(at int64) string {
		return fmt.Sprintf(`{"time":%d,"service":"assessment-api","status":200,"duration_ms":31}`, at)
	}
	transport := &kafka.Transport{} // the shared one remembers that there were no topics
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(addr), Timeout: 10 * time.Second, Transport: transport}
	for _, value := range []string{event(now - 60_000), event(now - 30_000), event(now), "no event", event(now - 3600_000)} {
		res, err := client.Produce(t.Context(), &kafka.ProduceRequest{
			Topic: "assessment.latency", Partition: 0, RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Time: time.Now(), Value: kafka.NewBytes([]byte(value))}),
		})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// alertNames are the metrics that the alerts look at, as /metrics writes them: with what follows the name.
func alertNames(t *testing.T) []string {
	t.Helper()
	alerts := string(read(t, "prometheus/alerts.yaml"))
	var names []string
	for name, labels := range metrics(t) {
		if name == "up" || !strings.Contains(alerts, name) {
			continue
		}
		if len(labels) > 0 {
			name += "{"
		}
		names = append(names, "\n"+name)
	}
	return append(names, `sevwatch_commit_seconds_count{stage="judge"}`)
}

// running is a worker.
type running struct {
	cmd  *exec.Cmd
	log  string
	done chan error
}

func startWorker(t *testing.T, args []string) *running {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	r := &running{cmd: exec.Command(binary, args...), log: log.Name(), done: make(chan error, 1)}
	r.cmd.Stderr = log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- errors.Join(r.cmd.Wait(), log.Close()) }()
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// waitFor asks until the answer has all texts.
func (r *running) waitFor(t *testing.T, url string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	missing := texts
	for {
		if body, err := get(ctx, url); err == nil {
			missing = nil
			for _, text := range texts {
				if !strings.Contains("\n"+body, text) {
					missing = append(missing, text)
				}
			}
		}
		if len(missing) == 0 {
			return
		}
		select {
		case err := <-r.done:
			t.Fatalf("the worker has ended: %v\n%s", err, read(t, r.log))
		case <-ctx.Done():
			t.Fatalf("%s lacks %q\n%s", url, missing, read(t, r.log))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		err = errors.Join(err, errors.New(res.Status))
	}
	return string(body), err
}

// end asks the worker to end, as compose and Kubernetes do, and gives it their 30 seconds.
func (r *running) end(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("after SIGTERM the worker ends with %v\n%s", err, read(t, r.log))
		}
	case <-time.After(30 * time.Second):
		t.Errorf("the worker has not ended 30 s after SIGTERM\n%s", read(t, r.log))
	}
}
