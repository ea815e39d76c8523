package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"sevwatch/pipeline"
)

// composeFile is what docker-compose.yml uses of the Compose Specification; another key is an error.
type composeFile struct {
	Name     string                    `yaml:"name"`
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]struct{}       `yaml:"volumes"`
}

type composeService struct {
	Image string `yaml:"image"`
	Build *struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Healthcheck *struct {
		Test        []string `yaml:"test"`
		Interval    string   `yaml:"interval"`
		Timeout     string   `yaml:"timeout"`
		Retries     int      `yaml:"retries"`
		StartPeriod string   `yaml:"start_period"`
	} `yaml:"healthcheck"`
	ReadOnly        bool     `yaml:"read_only"`
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
	StopGracePeriod string   `yaml:"stop_grace_period"`
	Restart         string   `yaml:"restart"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var c composeFile
	decode(t, "docker-compose.yml", read(t, "docker-compose.yml"), &c)
	if got, want := slices.Sorted(maps.Keys(c.Services)), []string{"kafka", "sevwatch", "topics"}; !slices.Equal(got, want) {
		t.Fatalf("docker-compose.yml has the services %v, expected %v", got, want)
	}
	return c
}

// composeConfig is the configuration that docker-compose.yml mounts.
func composeConfig(t *testing.T) *pipeline.Config {
	t.Helper()
	return sameBut(t, "compose.sevwatch.yaml", read(t, "compose.sevwatch.yaml"), func(c *pipeline.Config) {
		c.Brokers = []string{"kafka:19092"}
		c.Topics.Replication = 1
		c.HTTP.Listen = ":9644"
	})
}

// brokerSettings are those that the product needs, as docker-compose.yml gives them to Kafka's image.
func brokerSettings() map[string]string {
	return map[string]string{
		"auto.create.topics.enable":                "false",
		"unclean.leader.election.enable":           "false",
		"offsets.topic.replication.factor":         "1",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"group.initial.rebalance.delay.ms":         "0",
	}
}

// property is Kafka's name of what the image calls KAFKA_AUTO_CREATE_TOPICS_ENABLE.
func property(variable string) string {
	name, _ := strings.CutPrefix(variable, "KAFKA_")
	return strings.ToLower(strings.ReplaceAll(name, "_", "."))
}

func TestComposeKafka(t *testing.T) {
	kafka := readCompose(t).Services["kafka"]
	if kafka.Image != "apache/kafka:4.3.1" {
		t.Errorf("the image is %q, expected the Kafka that everything is tested with", kafka.Image)
	}
	want := brokerSettings()
	maps.Copy(want, map[string]string{
		"node.id": "1", "process.roles": "broker,controller", "controller.quorum.voters": "1@kafka:29093",
		"listeners":                      "CONTROLLER://:29093,INSIDE://:19092,OUTSIDE://:9092",
		"advertised.listeners":           "INSIDE://" + composeConfig(t).Brokers[0] + ",OUTSIDE://localhost:9092",
		"listener.security.protocol.map": "CONTROLLER:PLAINTEXT,INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
		"controller.listener.names":      "CONTROLLER", "inter.broker.listener.name": "INSIDE", "log.dirs": "/var/lib/kafka/data",
	})
	got := map[string]string{}
	for variable, value := range kafka.Environment {
		if variable == "CLUSTER_ID" {
			if len(value) != 22 {
				t.Errorf("CLUSTER_ID is %q, expected 16 bytes in base64", value)
			}
			continue
		}
		got[property(variable)] = value
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("the broker's settings: - is expected, + is found:\n%s", diff)
	}
	if kafka.Healthcheck == nil || !slices.Equal(kafka.Ports, []string{"127.0.0.1:9092:9092"}) {
		t.Errorf("the health check is %v, the ports %v", kafka.Healthcheck, kafka.Ports)
	}
	if !slices.Equal(kafka.Volumes, []string{"kafka:" + got["log.dirs"]}) {
		t.Errorf("the volumes are %v, expected one for the log at %s", kafka.Volumes, got["log.dirs"])
	}
}

func TestComposeWorkers(t *testing.T) {
	c := readCompose(t)
	composeConfig(t)
	for name, verb := range map[string]string{"topics": "topics", "sevwatch": "run"} {
		s := c.Services[name]
		if s.Image != "sevwatch:"+pipeline.Version {
			t.Errorf("%s: the image is %q, expected version %s", name, s.Image, pipeline.Version)
		}
		if s.Build == nil {
			t.Fatalf("%s is not built", name)
		}
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s is built from what is not there: %v", name, err)
		}
		if s.Command[0] != verb {
			t.Errorf("%s: the command is %v, expected %s", name, s.Command, verb)
		}
		mounted := "./compose.sevwatch.yaml:" + checkCommand(t, s.Command) + ":ro"
		if !slices.Equal(s.Volumes, []string{mounted}) {
			t.Errorf("%s: the volumes are %v, expected %s", name, s.Volumes, mounted)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
			t.Errorf("%s may write or do more than it needs: %+v", name, s)
		}
	}
	topics, worker := c.Services["topics"], c.Services["sevwatch"]
	if !slices.Contains(topics.Command, "--create") || topics.Restart != "no" || topics.DependsOn["kafka"].Condition != "service_healthy" {
		t.Errorf("the topics are not made once, when Kafka is there: %+v", topics)
	}
	if worker.DependsOn["topics"].Condition != "service_completed_successfully" {
		t.Errorf("the worker does not wait for the topics: %v", worker.DependsOn)
	}
	if port := composeConfig(t).HTTP.Listen; len(worker.Ports) != 1 || !strings.HasPrefix(worker.Ports[0], "127.0.0.1:") ||
		!strings.HasSuffix(worker.Ports[0], port) {
		t.Errorf("the worker's ports are %v, expected %s on loopback", worker.Ports, port)
	}
}
