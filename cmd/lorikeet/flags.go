package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// envPrefix starts the environment variable of every flag: --max-queue is LORIKEET_MAX_QUEUE.
const envPrefix = "LORIKEET_"

// envNames are the variables that are not named after their flag.
var envNames = map[string]string{"api-key": "LORIKEET_API_KEYS"}

func envName(flag string) string {
	if name, ok := envNames[flag]; ok {
		return name
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// describeEnv adds to the help of every flag which variable stands for it.
func describeEnv(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) { f.Usage += " (" + envName(f.Name) + ")" })
}

// readEnv sets the flags that the command line left alone from the environment. An empty variable counts as
// none; a list is separated by commas.
func readEnv(flags *pflag.FlagSet, env lookup) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		value, found := env(name)
		if f.Changed || f.Name == "help" || !found || value == "" || failed != nil {
			return
		}
		values := []string{value}
		if f.Value.Type() == "stringArray" {
			values = strings.Split(value, ",")
		}
		for _, v := range values {
			if err := f.Value.Set(strings.TrimSpace(v)); err != nil {
				failed = fmt.Errorf("%w: invalid value %q in %s, the variable of --%s: %w", errUsage, value, name, f.Name, err)
				return
			}
		}
		f.Changed = true
	})
	return failed
}

// choice is a flag that takes one of a few words.
type choice struct {
	value *string
	words []string
}

func choiceFlag(flags *pflag.FlagSet, value *string, name, standard, usage string, words ...string) {
	*value = standard
	flags.Var(choice{value, words}, name, usage+": "+strings.Join(words, ", "))
}

func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c choice) Type() string { return "word" }

func (c choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("want one of %s", strings.Join(c.words, ", "))
	}
	*c.value = s
	return nil
}

// size is a flag that takes a number of bytes: 4096, 512MiB, 2GB.
type size int64

func sizeFlag(flags *pflag.FlagSet, value *size, name string, standard size, usage string) {
	*value = standard
	flags.Var(value, name, usage)
}

func (s *size) String() string { return bytesize.Format(int64(*s)) }

func (s *size) Type() string { return "size" }

func (s *size) Set(text string) error {
	n, err := bytesize.Parse(text)
	if err != nil {
		return err
	}
	*s = size(n)
	return nil
}

// seconds is a flag that takes a duration; a bare number is seconds.
type seconds time.Duration

func secondsFlag(flags *pflag.FlagSet, value *seconds, name string, standard time.Duration, usage string) {
	*value = seconds(standard)
	flags.Var(value, name, usage)
}

func (s *seconds) String() string { return time.Duration(*s).String() }

func (s *seconds) Type() string { return "duration" }

func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		text = strconv.FormatFloat(n, 'f', -1, 64) + "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("want seconds or a duration such as 30s or 5m")
	}
	*s = seconds(d)
	return nil
}

// layers is a flag that takes a number of layers, all or auto.
type layers int

var layerWords = map[string]int{"all": llama.AllLayers, "auto": llama.AutoLayers}

func layersFlag(flags *pflag.FlagSet, value *int, name, usage string) {
	*value = llama.AutoLayers
	flags.Var((*layers)(value), name, usage)
}

func (l *layers) String() string {
	for word, n := range layerWords {
		if int(*l) == n {
			return word
		}
	}
	return strconv.Itoa(int(*l))
}

func (l *layers) Type() string { return "layers" }

func (l *layers) Set(text string) error {
	n, word := layerWords[text]
	if !word {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 0 {
			return fmt.Errorf("want a number of layers, all or auto")
		}
	}
	*l = layers(n)
	return nil
}
