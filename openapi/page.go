package openapi

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// This file renders the description as one HTML page: no scripts, nothing from elsewhere.

//go:embed page.html
var pageSource string

// Page returns the page. It is rendered once and must not be changed.
var Page = sync.OnceValues(renderPage)

// section is the operations of one tag.
type section struct {
	Name, Description string
	Operations        []operation
}

type operation struct {
	Method, Path string
	Summary      string               `yaml:"summary"`
	Description  string               `yaml:"description"`
	Tags         []string             `yaml:"tags"`
	Parameters   []parameter          `yaml:"parameters"`
	RequestBody  body                 `yaml:"requestBody"`
	Responses    map[string]*response `yaml:"responses"`
}

type parameter struct {
	Ref         string `yaml:"$ref"`
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
}

type body struct {
	Content map[string]media `yaml:"content"`
}

type media struct {
	Schema schema `yaml:"schema"`
}

type response struct {
	Ref         string           `yaml:"$ref"`
	Description string           `yaml:"description"`
	Content     map[string]media `yaml:"content"`
}

// description is openapi.yaml as far as the page shows it. What is a yaml.Node keeps its order.
type description struct {
	Info struct {
		Title       string `yaml:"title"`
		Description string `yaml:"description"`
	} `yaml:"info"`
	Tags []struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
	} `yaml:"tags"`
	Paths      yaml.Node `yaml:"paths"`
	Components struct {
		Parameters map[string]parameter `yaml:"parameters"`
		Responses  map[string]*response `yaml:"responses"`
		Schemas    yaml.Node            `yaml:"schemas"`
	} `yaml:"components"`
}

func renderPage() ([]byte, error) {
	var d description
	if err := yaml.Unmarshal(YAML, &d); err != nil {
		return nil, err
	}
	operations, err := d.operations()
	if err != nil {
		return nil, err
	}
	var sections []section
	for _, tag := range d.Tags {
		s := section{Name: tag.Name, Description: tag.Description}
		for _, o := range operations {
			if len(o.Tags) == 1 && o.Tags[0] == tag.Name {
				s.Operations = append(s.Operations, o)
			}
		}
		sections = append(sections, s)
	}
	shapes, err := d.shapes()
	if err != nil {
		return nil, err
	}
	t, err := template.New("page").Parse(pageSource)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = t.Execute(&page, map[string]any{
		"Title": d.Info.Title, "Description": d.Info.Description, "Sections": sections, "Shapes": shapes,
	})
	return page.Bytes(), err
}

// each calls f for the entries of a YAML mapping in their order.
func each(n *yaml.Node, f func(key string, value *yaml.Node) error) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := f(n.Content[i].Value, n.Content[i+1]); err != nil {
			return fmt.Errorf("%s: %w", n.Content[i].Value, err)
		}
	}
	return nil
}

// operations lists the operations with their references resolved.
func (d *description) operations() ([]operation, error) {
	var list []operation
	err := each(&d.Paths, func(path string, item *yaml.Node) error {
		var shared []parameter
		return each(item, func(method string, n *yaml.Node) error {
			if method == "parameters" {
				return n.Decode(&shared)
			}
			o := operation{Method: strings.ToUpper(method), Path: path}
			if err := n.Decode(&o); err != nil {
				return err
			}
			o.Parameters = append(o.Parameters, shared...)
			for i, p := range o.Parameters {
				if p.Ref != "" {
					o.Parameters[i] = d.Components.Parameters[refName(p.Ref)]
				}
			}
			for status, r := range o.Responses {
				if r.Ref != "" {
					o.Responses[status] = d.Components.Responses[refName(r.Ref)]
				}
			}
			list = append(list, o)
			return nil
		})
	})
	return list, err
}

// refName is the last element of a reference.
func refName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }
