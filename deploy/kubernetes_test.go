package deploy_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"sevwatch/pipeline"
)

// What deploy/kubernetes uses of Kubernetes' objects. Another field is an error: a misspelt one would be dropped without a word.
type (
	metadata struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	}
	object struct {
		APIVersion string   `yaml:"apiVersion"`
		Kind       string   `yaml:"kind"`
		Metadata   metadata `yaml:"metadata"`
	}
	selector struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	configMap struct {
		object `yaml:",inline"`
		Data   map[string]string `yaml:"data"`
	}
	service struct {
		object `yaml:",inline"`
		Spec   struct {
			ClusterIP string            `yaml:"clusterIP"`
			Selector  map[string]string `yaml:"selector"`
			Ports     []struct {
				Name       string `yaml:"name"`
				Port       int    `yaml:"port"`
				TargetPort string `yaml:"targetPort"`
			} `yaml:"ports"`
		} `yaml:"spec"`
	}
	budget struct {
		object `yaml:",inline"`
		Spec   struct {
			MinAvailable int      `yaml:"minAvailable"`
			Selector     selector `yaml:"selector"`
		} `yaml:"spec"`
	}
	deployment struct {
		object `yaml:",inline"`
		Spec   struct {
			Replicas int      `yaml:"replicas"`
			Selector selector `yaml:"selector"`
			Strategy struct {
				Type          string `yaml:"type"`
				RollingUpdate struct {
					MaxSurge       int `yaml:"maxSurge"`
					MaxUnavailable int `yaml:"maxUnavailable"`
				} `yaml:"rollingUpdate"`
			} `yaml:"strategy"`
			Template template `yaml:"template"`
		} `yaml:"spec"`
	}
	job struct {
		object `yaml:",inline"`
		Spec   struct {
			BackoffLimit int      `yaml:"backoffLimit"`
			Deadline     int      `yaml:"activeDeadlineSeconds"`
			TTL          int      `yaml:"ttlSecondsAfterFinished"`
			Template     template `yaml:"template"`
		} `yaml:"spec"`
	}
	template struct {
		Metadata metadata `yaml:"metadata"`
		Spec     pod      `yaml:"spec"`
	}
	pod struct {
		Token    *bool  `yaml:"automountServiceAccountToken"`
		Restart  string `yaml:"restartPolicy"`
		Grace    int    `yaml:"terminationGracePeriodSeconds"`
		Security struct {
			NonRoot *bool `yaml:"runAsNonRoot"`
			User    int   `yaml:"runAsUser"`
			Group   int   `yaml:"runAsGroup"`
			Seccomp struct {
				Type string `yaml:"type"`
			} `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Spread []struct {
			MaxSkew       int      `yaml:"maxSkew"`
			TopologyKey   string   `yaml:"topologyKey"`
			Unsatisfiable string   `yaml:"whenUnsatisfiable"`
			Selector      selector `yaml:"labelSelector"`
		} `yaml:"topologySpreadConstraints"`
		Containers []container `yaml:"containers"`
		Volumes    []struct {
			Name      string `yaml:"name"`
			ConfigMap struct {
				Name string `yaml:"name"`
			} `yaml:"configMap"`
		} `yaml:"volumes"`
	}
	container struct {
		Name      string   `yaml:"name"`
		Image     string   `yaml:"image"`
		Pull      string   `yaml:"imagePullPolicy"`
		Args      []string `yaml:"args"`
		Env       []envVar `yaml:"env"`
		Ports     []port   `yaml:"ports"`
		Start     *probe   `yaml:"startupProbe"`
		Live      *probe   `yaml:"livenessProbe"`
		Ready     *probe   `yaml:"readinessProbe"`
		Resources struct {
			Requests amounts `yaml:"requests"`
			Limits   amounts `yaml:"limits"`
		} `yaml:"resources"`
		Security struct {
			Escalation   *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities struct {
				Drop []string `yaml:"drop"`
			} `yaml:"capabilities"`
		} `yaml:"securityContext"`
		Mounts []struct {
			Name     string `yaml:"name"`
			Path     string `yaml:"mountPath"`
			ReadOnly bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	envVar struct { // no valueFrom: there is no secret to be read
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	}
	port struct {
		Name string `yaml:"name"`
		Port int    `yaml:"containerPort"`
	}
	probe struct {
		Get struct {
			Path string `yaml:"path"`
			Port string `yaml:"port"`
		} `yaml:"httpGet"`
		Period   int `yaml:"periodSeconds"`
		Timeout  int `yaml:"timeoutSeconds"`
		Failures int `yaml:"failureThreshold"`
	}
	amounts struct {
		CPU    string `yaml:"cpu"`
		Memory string `yaml:"memory"`
	}
)

// rendered is what kustomize makes of a directory: one object of each kind.
type rendered struct {
	config configMap
	svc    service
	worker deployment
	topics job
	budget budget
}

func render(t *testing.T, dir string) rendered {
	t.Helper()
	kubectl := tool(t, "kubectl")
	cmd := exec.CommandContext(t.Context(), kubectl, "kustomize", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v\n%s", dir, err, stderr.Bytes())
	}
	if stderr.Len() > 0 {
		t.Errorf("kubectl kustomize warns:\n%s", stderr.Bytes())
	}
	var r rendered
	into := map[string]any{
		"v1 ConfigMap": &r.config, "v1 Service": &r.svc, "apps/v1 Deployment": &r.worker, "batch/v1 Job": &r.topics,
		"policy/v1 PodDisruptionBudget": &r.budget,
	}
	for _, text := range bytes.Split(out, []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(text, &o); err != nil {
			t.Fatal(err)
		}
		what := o.APIVersion + " " + o.Kind
		if into[what] == nil {
			t.Fatalf("%s %s is there, of which this test knows nothing, or a second time", what, o.Metadata.Name)
		}
		decode(t, what, text, into[what])
		delete(into, what)
	}
	if len(into) > 0 {
		t.Fatalf("there is no %v", into)
	}
	return r
}

func TestKubernetesConfig(t *testing.T) {
	r := render(t, "kubernetes")
	sameBut(t, "kubernetes/sevwatch.yaml", []byte(r.config.Data["sevwatch.yaml"]), func(c *pipeline.Config) {
		c.Brokers = []string{"kafka:9092"}
		c.HTTP.Listen = ":9644"
	})
	if len(r.config.Data) != 1 || !strings.HasPrefix(r.config.Metadata.Name, "sevwatch-") {
		t.Errorf("the ConfigMap %s has %d files, expected one and a name that changes with it", r.config.Metadata.Name, len(r.config.Data))
	}
}

func TestKubernetesPods(t *testing.T) {
	r := render(t, "kubernetes")
	for verb, spec := range map[string]pod{"run": r.worker.Spec.Template.Spec, "topics": r.topics.Spec.Template.Spec} {
		careful(t, verb, spec)
		c := spec.Containers[0]
		if c.Image != "sevwatch:"+pipeline.Version {
			t.Errorf("%s: the image is %q, expected version %s", verb, c.Image, pipeline.Version)
		}
		if c.Args[0] != verb {
			t.Errorf("%s: the arguments are %v", verb, c.Args)
		}
		path := checkCommand(t, c.Args)
		if len(spec.Volumes) != 1 || len(c.Mounts) != 1 || spec.Volumes[0].ConfigMap.Name != r.config.Metadata.Name ||
			spec.Volumes[0].Name != c.Mounts[0].Name || !c.Mounts[0].ReadOnly || c.Mounts[0].Path+"/sevwatch.yaml" != path {
			t.Errorf("%s: %s is not what is mounted: %+v, %+v", verb, path, spec.Volumes, c.Mounts)
		}
	}
	if args := r.topics.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--create") {
		t.Errorf("the job makes no topics: %v", args)
	}
}

// careful checks that a pod may do nothing that it need not do, and that it cannot take the node with it.
func careful(t *testing.T, verb string, p pod) {
	t.Helper()
	yes := func(b *bool) bool { return b != nil && *b }
	no := func(b *bool) bool { return b != nil && !*b }
	if !yes(p.Security.NonRoot) || strconv.Itoa(p.Security.User)+":"+strconv.Itoa(p.Security.Group) != imageUser {
		t.Errorf("%s: runs as %+v, expected the image's user %s", verb, p.Security, imageUser)
	}
	if p.Security.Seccomp.Type != "RuntimeDefault" || !no(p.Token) {
		t.Errorf("%s: seccomp is %q, the service account's token is mounted: %v", verb, p.Security.Seccomp.Type, !no(p.Token))
	}
	if len(p.Containers) != 1 {
		t.Fatalf("%s: %d containers, expected 1", verb, len(p.Containers))
	}
	c := p.Containers[0]
	if !no(c.Security.Escalation) || !c.Security.ReadOnly || !slices.Equal(c.Security.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("%s: may do more than it needs: %+v", verb, c.Security)
	}
	requests, limits := c.Resources.Requests, c.Resources.Limits
	if requests.CPU == "" || bytesOf(t, limits.Memory) < bytesOf(t, requests.Memory) {
		t.Errorf("%s: the resources are %+v", verb, c.Resources)
	}
	for _, e := range c.Env {
		if e.Name != "GOMEMLIMIT" || bytesOf(t, strings.TrimSuffix(e.Value, "B")) >= bytesOf(t, limits.Memory) {
			t.Errorf("%s: the environment has %+v, expected only a GOMEMLIMIT below %s", verb, e, limits.Memory)
		}
	}
}

// bytesOf is a quantity such as 512Mi.
func bytesOf(t *testing.T, quantity string) int64 {
	t.Helper()
	for unit, shift := range map[string]int{"Mi": 20, "Gi": 30} {
		if digits, ok := strings.CutSuffix(quantity, unit); ok {
			n, err := strconv.ParseInt(digits, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			return n << shift
		}
	}
	t.Fatalf("%q is no quantity in Mi or Gi", quantity)
	return 0
}

// connectPatience is how long the program waits for Kafka at its start: no probe may end it before (pipeline.Config.Connect).
const connectPatience = 30 * time.Second

func TestKubernetesWorkers(t *testing.T) {
	r := render(t, "kubernetes")
	spec, labels := r.worker.Spec, r.worker.Spec.Template.Metadata.Labels
	c := spec.Template.Spec.Containers[0]
	cfg, err := pipeline.ParseConfig("sevwatch.yaml", []byte(r.config.Data["sevwatch.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ports) != 1 || cfg.HTTP.Listen != ":"+strconv.Itoa(c.Ports[0].Port) {
		t.Fatalf("the ports are %v, but the worker listens on %s", c.Ports, cfg.HTTP.Listen)
	}
	for name, p := range map[string]*probe{"startup": c.Start, "liveness": c.Live, "readiness": c.Ready} {
		if p == nil || p.Get.Path != "/healthz" || p.Get.Port != c.Ports[0].Name {
			t.Errorf("the %s probe is %+v, expected /healthz on port %s", name, p, c.Ports[0].Name)
		}
	}
	if patience := time.Duration(c.Start.Period*c.Start.Failures) * time.Second; patience <= connectPatience {
		t.Errorf("a worker that waits for Kafka is ended after %s, expected more than %s", patience, connectPatience)
	}
	if stay := r.budget.Spec.MinAvailable; spec.Replicas != 2 || stay < 1 || stay >= spec.Replicas {
		t.Errorf("%d replicas, of which %d stay", spec.Replicas, stay)
	}
	if spec.Strategy.RollingUpdate.MaxUnavailable != 0 {
		t.Errorf("a rollout leaves fewer workers: %+v", spec.Strategy)
	}
	want := map[string]string{"app.kubernetes.io/name": "sevwatch", "app.kubernetes.io/component": "worker"}
	for name, got := range map[string]map[string]string{
		"labels of the workers": labels, "deployment": spec.Selector.MatchLabels, "service": r.svc.Spec.Selector,
		"disruption budget": r.budget.Spec.Selector.MatchLabels, "spread": spec.Template.Spec.Spread[0].Selector.MatchLabels,
	} {
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s: - is expected, + is found:\n%s", name, diff)
		}
	}
	if r.topics.Spec.Template.Metadata.Labels["app.kubernetes.io/component"] == "worker" {
		t.Error("the job's pods are taken for workers")
	}
	if ports := r.svc.Spec.Ports; len(ports) != 1 || ports[0].TargetPort != c.Ports[0].Name || ports[0].Port != c.Ports[0].Port {
		t.Errorf("the service's ports are %+v, expected that of the workers", ports)
	}
}

// An overlay does what the base says of overlays: another image, another configuration.
func TestKubernetesOverlay(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "base"), os.DirFS("kubernetes")); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"kustomization.yaml": `
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../base]
images: [{name: sevwatch, newName: elsewhere/sevwatch, newTag: "2"}]
configMapGenerator: [{name: sevwatch, behavior: replace, files: [sevwatch.yaml]}]
`,
		"sevwatch.yaml": "{brokers: ['kafka.example:9092'], http: {listen: ':9644'}}",
	}
	overlay := filepath.Join(dir, "overlay")
	if err := os.Mkdir(overlay, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(overlay, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := render(t, overlay)
	for _, p := range []pod{r.worker.Spec.Template.Spec, r.topics.Spec.Template.Spec} {
		if image := p.Containers[0].Image; image != "elsewhere/sevwatch:2" {
			t.Errorf("the image is %s", image)
		}
		if name := p.Volumes[0].ConfigMap.Name; name != r.config.Metadata.Name {
			t.Errorf("the ConfigMap %s is mounted, there is %s", name, r.config.Metadata.Name)
		}
	}
	if got := r.config.Data["sevwatch.yaml"]; got != files["sevwatch.yaml"] {
		t.Errorf("the configuration is %s", got)
	}
}
