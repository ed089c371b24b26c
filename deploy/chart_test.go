package deploy

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

//go:embed testdata/chart/main.go
var chartProgram string

// chart builds the program that lints, renders and checks.
func chart(t *testing.T) string {
	t.Helper()
	return testtools.Go(t, chartProgram, "helm.sh/helm/v3@v3.22.0", "k8s.io/api@v0.37.2", "sigs.k8s.io/yaml@v1.6.0",
		"sigs.k8s.io/gateway-api@v1.6.0", "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring@v0.95.2")
}

// object is one object of Kubernetes.
type object map[string]any

// at is what lies under a path of keys and indices with dots between them; nil: nothing.
func (o object) at(path string) any {
	var value any = map[string]any(o)
	for part := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// render returns the objects that the chart makes of values, by kind and name.
func render(t *testing.T, program, values string) (map[string]object, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o644); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd := exec.Command(program, "render", "helm/lorikeet", "lorikeet", "models", file)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(stderr.String())
	}
	return objects(t, string(out)), nil
}

func objects(t *testing.T, text string) map[string]object {
	t.Helper()
	all := map[string]object{}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var o map[string]any
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if o != nil {
			all[fmt.Sprint(o["kind"], " ", object(o).at("metadata.name"))] = o
		}
	}
}

// keys are what every release needs, or a reason why not.
const keys = `
apiKeys: {values: [sesame]}
cluster: {secret: {value: twenty-random-letters}}
`

const serve = "StatefulSet lorikeet"

// TestChart renders the chart with several values.
func TestChart(t *testing.T) {
	if testing.Short() {
		t.Skip("Helm's packages take minutes to compile the first time")
	}
	program := chart(t)
	for _, c := range []struct {
		name, values string
		objects      []string
		args         []string // that the server gets, besides others
		without      []string // flags that it does not get
	}{
		{"three nodes", keys,
			[]string{serve, "PodDisruptionBudget lorikeet", "Secret lorikeet-api-keys", "Secret lorikeet-cluster", "Service lorikeet", "Service lorikeet-nodes", "ServiceAccount lorikeet"},
			[]string{"--cluster=embed", "--cluster-listen=0.0.0.0:6222", "--cluster-name=$(POD_NAME)",
				"--cluster-advertise=$(POD_NAME).lorikeet-nodes.models.svc:6222",
				"--cluster-peers=lorikeet-0.lorikeet-nodes.models.svc:6222,lorikeet-1.lorikeet-nodes.models.svc:6222,lorikeet-2.lorikeet-nodes.models.svc:6222",
				"--api-key-file=/secrets/api-keys/keys", "--data=/data", "--cluster-wait=10m"},
			[]string{"--allowed-host", "--model"}},
		{"one node", "cluster: {enabled: false}\napiKeys: {existingSecret: keys}\nmodel: hf://org/repo:Q4_K_M\nhub: {existingSecret: hub}\naliases: [base]\n",
			[]string{serve, "Service lorikeet", "Service lorikeet-nodes", "ServiceAccount lorikeet"},
			[]string{"--model=hf://org/repo:Q4_K_M", "--alias=base"},
			[]string{"--cluster"}},
		{"everything", keys + `
serviceMonitor: {enabled: true, apiKey: {secret: metrics}}
imagePullSecrets: [{name: registry}]
env: [{name: LORIKEET_PARALLEL, value: "32"}]
extraVolumes: [{name: models, persistentVolumeClaim: {claimName: models}}]
extraVolumeMounts: [{name: models, mountPath: /models, readOnly: true}]
model: /models/base.gguf
data: {size: 200Gi, storageClassName: fast}
podAnnotations: {a: b}
podLabels: {c: d}
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: gpu, operator: Exists}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: In, values: ["y"]}]}]}}}
priorityClassName: high
serviceAccount: {annotations: {e: f}}
podDisruptionBudget: {enabled: false}
drainSeconds: 120
`,
			[]string{serve, "Secret lorikeet-api-keys", "Secret lorikeet-cluster", "Service lorikeet", "Service lorikeet-nodes", "ServiceAccount lorikeet", "ServiceMonitor lorikeet"},
			[]string{"--model=/models/base.gguf", "--drain=120s"}, nil},
		{"behind a gateway", read(t, "gateway/values.yaml"),
			[]string{serve, "PodDisruptionBudget lorikeet", "Service lorikeet", "Service lorikeet-nodes", "ServiceAccount lorikeet"},
			[]string{"--allowed-host=models.example.com", "--allowed-host=lorikeet.models.svc"}, []string{"--api-key-file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, err := render(t, program, c.values)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for name := range all {
				names = append(names, name)
			}
			slices.Sort(names)
			slices.Sort(c.objects)
			if !slices.Equal(names, c.objects) {
				t.Errorf("made %q\nwant %q", names, c.objects)
			}
			checkArgs(t, all[serve], c.args, c.without)
			checkPod(t, all)
		})
	}
	t.Run("gateway", func(t *testing.T) { checkGateway(t, program) })
	t.Run("refused", func(t *testing.T) { checkRefused(t, program) })
}

// checkArgs holds the command line and the variables of the server against what it knows, and against what a case wants.
func checkArgs(t *testing.T, set object, with, without []string) {
	t.Helper()
	var args []string
	for _, a := range set.at("spec.template.spec.containers.0.args").([]any) {
		args = append(args, a.(string))
	}
	flags, variables := settings(t)
	if args[0] != "serve" {
		t.Errorf("the command is %s", args[0])
	}
	for _, a := range args[1:] {
		if name, _, found := strings.Cut(a, "="); !found || !slices.Contains(flags, name) {
			t.Errorf("lorikeet serve has no flag %s", a)
		}
	}
	for _, want := range with {
		if !slices.Contains(args, want) {
			t.Errorf("the server does not get %s but %q", want, args)
		}
	}
	for _, name := range without {
		if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, name) }) {
			t.Errorf("the server gets %s: %q", name, args)
		}
	}
	for _, e := range set.at("spec.template.spec.containers.0.env").([]any) {
		name := object(e.(map[string]any)).at("name").(string)
		if !slices.Contains(variables, name) && name != "POD_NAME" && name != "TMPDIR" {
			t.Errorf("lorikeet has no variable %s", name)
		}
	}
}

// checkPod checks what belongs together in the objects of one release.
func checkPod(t *testing.T, all map[string]object) {
	t.Helper()
	set := all[serve]
	labels := set.at("spec.template.metadata.labels").(map[string]any)
	for name, path := range map[string]string{serve: "spec.selector.matchLabels", "Service lorikeet": "spec.selector", "Service lorikeet-nodes": "spec.selector", "PodDisruptionBudget lorikeet": "spec.selector.matchLabels"} {
		if all[name] == nil {
			continue
		}
		selector, _ := all[name].at(path).(map[string]any)
		if len(selector) == 0 {
			t.Errorf("%s selects nothing", name)
		}
		for key, value := range selector {
			if labels[key] != value {
				t.Errorf("%s selects %s=%v, the nodes have %v", name, key, value, labels[key])
			}
		}
	}
	if monitor := all["ServiceMonitor lorikeet"]; monitor != nil {
		matching := 0
		for name, o := range all {
			service, _ := o.at("metadata.labels").(map[string]any)
			wanted := monitor.at("spec.selector.matchLabels").(map[string]any)
			if strings.HasPrefix(name, "Service lorikeet") && service["app.kubernetes.io/component"] == wanted["app.kubernetes.io/component"] {
				matching++
			}
		}
		if matching != 1 {
			t.Errorf("the ServiceMonitor selects %d services, so that nodes are read %d times", matching, matching)
		}
	}
	grace, drain := set.at("spec.template.spec.terminationGracePeriodSeconds").(int), 0
	for _, a := range set.at("spec.template.spec.containers.0.args").([]any) {
		if value, found := strings.CutPrefix(a.(string), "--drain="); found {
			drain = seconds(t, value)
		}
	}
	pause := set.at("spec.template.spec.containers.0.lifecycle.preStop.sleep.seconds").(int)
	if drain == 0 || grace < pause+drain+30 {
		t.Errorf("a node has %d s to stop: it pauses for %d s and finishes answers for %d s", grace, pause, drain)
	}
	const c = "spec.template.spec.containers.0."
	for path, want := range map[string]any{
		"spec.serviceName": "lorikeet-nodes", "spec.podManagementPolicy": "Parallel",
		"spec.template.spec.enableServiceLinks":           false, // the service's LORIKEET_PORT would be taken for the flag's
		"spec.template.spec.automountServiceAccountToken": false, "spec.template.spec.securityContext.runAsNonRoot": true,
		c + "securityContext.readOnlyRootFilesystem": true, c + "securityContext.allowPrivilegeEscalation": false,
		c + "securityContext.capabilities.drop.0": "ALL", c + "livenessProbe.httpGet.path": "/healthz", c + "readinessProbe.httpGet.path": "/readyz",
		c + "startupProbe.failureThreshold": 360, "spec.volumeClaimTemplates.0.metadata.name": "data",
	} {
		if got := set.at(path); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if nodes := all["Service lorikeet-nodes"]; nodes.at("spec.clusterIP") != "None" || nodes.at("spec.publishNotReadyAddresses") != true {
		t.Error("nodes cannot find each other before they are ready")
	}
}

// checkGateway holds the example for gateways against the types, the chart and the API.
func checkGateway(t *testing.T, program string) {
	if out, err := exec.Command(program, "check", "gateway/inferencepool.yaml", "gateway/httproute.yaml").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all, err := render(t, program, read(t, "gateway/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	poolText, routeText, api := read(t, "gateway/inferencepool.yaml"), read(t, "gateway/httproute.yaml"), read(t, "../openapi/openapi.yaml")
	pool := objects(t, poolText)["InferencePool lorikeet"]
	for key, want := range pool.at("spec.selector.matchLabels").(map[string]any) {
		if got := all[serve].at("spec.template.metadata.labels").(map[string]any)[key]; got != want {
			t.Errorf("the pool selects %s=%v, the nodes have %v", key, want, got)
		}
	}
	if port := all[serve].at("spec.template.spec.containers.0.ports.0.containerPort"); pool.at("spec.targetPorts.0.number") != port {
		t.Errorf("the nodes listen on %v", port)
	}
	snapshot, gauges := read(t, "../server/snapshot.go"), 0
	for word := range strings.FieldsSeq(poolText) {
		if word = strings.Trim(word, ",."); strings.HasPrefix(word, "vllm:") {
			if gauges++; !strings.Contains(snapshot, `"`+word+`"`) {
				t.Errorf("/metrics has no %s", word)
			}
		}
	}
	if gauges != 4 {
		t.Errorf("the pool names %d gauges", gauges)
	}
	route := objects(t, routeText)["HTTPRoute lorikeet"]
	for _, rule := range route.at("spec.rules").([]any) {
		rule := object(rule.(map[string]any))
		for _, match := range rule.at("matches").([]any) {
			if path := object(match.(map[string]any)).at("path.value").(string); !strings.Contains(api, "\n  "+path+":\n") {
				t.Errorf("the API has no %s", path)
			}
		}
		if name := rule.at("backendRefs.0.name"); name != "lorikeet" {
			t.Errorf("%v is no backend of the example", name)
		}
	}
	if !slices.Contains(all[serve].at("spec.template.spec.containers.0.args").([]any), any("--allowed-host="+route.at("spec.hostnames.0").(string))) {
		t.Error("the nodes refuse requests for the route's host")
	}
}

// checkRefused renders with values that cannot be meant.
func checkRefused(t *testing.T, program string) {
	for _, c := range []struct{ name, values, says string }{
		{"no keys", "cluster: {enabled: false}\n", "apiKeys"},
		{"no secret", "apiKeys: {values: [sesame]}\n", "cluster.secret"},
		{"short secret", "apiKeys: {values: [sesame]}\ncluster: {secret: {value: short}}\n", "secret"},
		{"two nodes", "apiKeys: {values: [sesame]}\ncluster: {nodes: 2, secret: {value: twenty-random-letters}}\n", "nodes"},
		{"a misspelt value", keys + "drainSecond: 5\n", "drainSecond"},
		{"a drain that is no number", keys + "drainSeconds: 30s\n", "drainSeconds"},
		{"metrics without a key", keys + "serviceMonitor: {enabled: true}\n", "serviceMonitor.apiKey"},
		{"a key that is a comment", "apiKeys: {values: ['#sesame']}\ncluster: {enabled: false}\n", "apiKeys"},
	} {
		if _, err := render(t, program, c.values); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "/", "."), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// The checks against types work: this field exists nowhere.
	file := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selectors: {a: b}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "check", file).CombinedOutput(); err == nil || !strings.Contains(string(out), "selectors") {
		t.Errorf("an unknown field: %v\n%s", err, out)
	}
}
