// This program lints and renders a Helm chart with Helm's own packages, and holds every object that comes out against the
// types of Kubernetes, of the Gateway API and of the Prometheus operator: a field that they do not have is an error.
//
//	chart render CHART RELEASE NAMESPACE VALUES.yaml  prints the objects
//	chart check FILE.yaml...                          checks objects that are no part of a chart
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// kinds makes an empty object of each kind that may occur.
var kinds = map[string]func() any{
	"apps/v1/StatefulSet":           func() any { return new(apps.StatefulSet) },
	"v1/Service":                    func() any { return new(core.Service) },
	"v1/ServiceAccount":             func() any { return new(core.ServiceAccount) },
	"v1/Secret":                     func() any { return new(core.Secret) },
	"v1/Pod":                        func() any { return new(core.Pod) },
	"policy/v1/PodDisruptionBudget": func() any { return new(policy.PodDisruptionBudget) },
	"monitoring.coreos.com/v1/ServiceMonitor":      func() any { return new(monitoring.ServiceMonitor) },
	"gateway.networking.k8s.io/v1/HTTPRoute":       func() any { return new(gateway.HTTPRoute) },
	"gateway.networking.k8s.io/v1/Gateway":         func() any { return new(gateway.Gateway) },
	"inference.networking.k8s.io/v1/InferencePool": func() any { return new(inferencePool) },
}

// inferencePool has the fields of the Gateway API inference extension's type of that name that an example may use. Its
// module is not fetched.
type inferencePool struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		TargetPorts []struct {
			Number int `json:"number"`
		} `json:"targetPorts"`
		EndpointPickerRef struct {
			Group string `json:"group"`
			Kind  string `json:"kind"`
			Name  string `json:"name"`
			Port  struct {
				Number int `json:"number"`
			} `json:"port"`
			FailureMode string `json:"failureMode"`
		} `json:"endpointPickerRef"`
	} `json:"spec"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 5 && args[0] == "render":
		return render(args[1], args[2], args[3], args[4])
	case len(args) > 1 && args[0] == "check":
		for _, file := range args[1:] {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := check(string(text)); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
		return nil
	}
	return errors.New("usage: chart render CHART RELEASE NAMESPACE VALUES.yaml, or chart check FILE.yaml...")
}

func render(folder, release, namespace, file string) error {
	version, err := chartutil.ParseKubeVersion("1.30.0") // the oldest that the chart is for
	if err != nil {
		return err
	}
	values, err := chartutil.ReadValuesFile(file)
	if err != nil {
		return err
	}
	lint := action.NewLint()
	lint.Strict, lint.Namespace, lint.KubeVersion = true, namespace, version
	for _, m := range lint.Run([]string{folder}, values).Messages {
		if m.Severity >= support.WarningSev {
			return fmt.Errorf("lint: %w", m)
		}
	}
	chart, err := loader.Load(folder)
	if err != nil {
		return err
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.ClientOnly, install.DryRun, install.ReleaseName, install.Namespace, install.KubeVersion = true, true, release, namespace, version
	made, err := install.RunWithContext(context.Background(), chart, values)
	if err != nil {
		return err
	}
	if err := check(made.Manifest); err != nil {
		return err
	}
	fmt.Print(made.Manifest)
	return nil
}

// check decodes every object strictly.
func check(text string) error {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal(document, &head); err != nil {
			return err
		}
		if head.Kind == "" && len(bytes.TrimSpace(withoutComments(document))) == 0 {
			continue
		}
		empty, known := kinds[head.APIVersion+"/"+head.Kind]
		if !known {
			return fmt.Errorf("%s/%s is not among the kinds that are checked", head.APIVersion, head.Kind)
		}
		if err := yaml.UnmarshalStrict(document, empty()); err != nil {
			return fmt.Errorf("%s: %w\n%s", head.Kind, err, document)
		}
	}
}

func withoutComments(document []byte) []byte {
	var kept []string
	for line := range strings.Lines(string(document)) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "---") {
			kept = append(kept, line)
		}
	}
	return []byte(strings.Join(kept, ""))
}
