package openapi

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// schema is a JSON schema as far as the page shows it.
type schema struct {
	Ref                  string    `yaml:"$ref"`
	Type                 string    `yaml:"type"`
	Format               string    `yaml:"format"`
	Description          string    `yaml:"description"`
	Minimum              yaml.Node `yaml:"minimum"`
	Maximum              yaml.Node `yaml:"maximum"`
	MinLength            *int      `yaml:"minLength"`
	MaxLength            *int      `yaml:"maxLength"`
	MinItems             *int      `yaml:"minItems"`
	MaxItems             *int      `yaml:"maxItems"`
	Default              yaml.Node `yaml:"default"`
	Enum                 []string  `yaml:"enum"`
	Items                *schema   `yaml:"items"`
	OneOf                []*schema `yaml:"oneOf"`
	AllOf                []*schema `yaml:"allOf"`
	Properties           yaml.Node `yaml:"properties"`
	AdditionalProperties *schema   `yaml:"additionalProperties"`
	Required             []string  `yaml:"required"`
}

// shape is a schema of its own with its fields.
type shape struct {
	Name, Description string
	Type              string // where it is no object
	Extends           string // the shape whose fields it has too
	Fields            []field
}

type field struct {
	Name        string
	Type        string
	Required    bool
	Default     string // "" where there is none
	Range       string
	Description string
}

// shapes lists the schemas of the description.
func (d *description) shapes() ([]shape, error) {
	var list []shape
	err := each(&d.Components.Schemas, func(name string, n *yaml.Node) error {
		var s schema
		if err := n.Decode(&s); err != nil {
			return err
		}
		sh := shape{Name: name, Description: s.Description}
		err := sh.add(&s)
		if sh.Fields == nil {
			sh.Type = s.typeName()
		}
		list = append(list, sh)
		return err
	})
	return list, err
}

// add appends the fields of s.
func (sh *shape) add(s *schema) error {
	for _, part := range s.AllOf {
		if part.Ref != "" {
			sh.Extends = refName(part.Ref)
			continue
		}
		if err := sh.add(part); err != nil {
			return err
		}
	}
	return each(&s.Properties, func(name string, n *yaml.Node) error {
		var p schema
		if err := n.Decode(&p); err != nil {
			return err
		}
		sh.Fields = append(sh.Fields, field{
			Name: name, Type: p.typeName(), Required: slices.Contains(s.Required, name),
			Default: p.standard(), Range: p.bounds(), Description: p.Description,
		})
		return nil
	})
}

// typeName says what values the schema has.
func (s *schema) typeName() string {
	switch {
	case s.Ref != "":
		return refName(s.Ref)
	case len(s.AllOf) > 0:
		return s.AllOf[0].typeName()
	case len(s.OneOf) > 0:
		names := make([]string, len(s.OneOf))
		for i, alternative := range s.OneOf {
			names[i] = alternative.typeName()
		}
		return strings.Join(names, " or ")
	case s.Type == "array" && s.Items != nil:
		item := s.Items.typeName()
		if strings.Contains(item, " ") {
			item = "(" + item + ")"
		}
		return "array of " + item
	case s.AdditionalProperties != nil:
		return "map of " + s.AdditionalProperties.typeName()
	}
	return s.Type
}

// standard is the default.
func (s *schema) standard() string {
	if s.Default.IsZero() {
		return ""
	}
	n := s.Default
	n.Style = yaml.FlowStyle
	b, err := yaml.Marshal(&n)
	if err != nil {
		return n.Value
	}
	return strings.TrimSpace(string(b))
}

// bounds says which of the values are taken.
func (s *schema) bounds() string {
	var list []string
	if len(s.Enum) > 0 {
		list = append(list, strings.Join(s.Enum, ", "))
	}
	list = append(list, span(s.Minimum.Value, s.Maximum.Value, ""))
	list = append(list, span(number(s.MinLength), number(s.MaxLength), "characters"))
	list = append(list, span(number(s.MinItems), number(s.MaxItems), "entries"))
	for _, alternative := range append(s.OneOf, s.AdditionalProperties, s.Items) {
		if alternative != nil {
			list = append(list, alternative.bounds())
		}
	}
	return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), "; ")
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func span(least, most, unit string) string {
	var s string
	switch {
	case least != "" && most != "":
		s = least + " to " + most
	case least != "":
		s = "at least " + least
	case most != "":
		s = "at most " + most
	default:
		return ""
	}
	return strings.TrimSpace(s + " " + unit)
}
