package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lorikeet-ai/lorikeet/fetch"
)

// check completes c and returns an error that names the flag at fault.
func (c *serveFlags) check(flags *pflag.FlagSet) error {
	if err := c.address(flags); err != nil {
		return err
	}
	if err := c.readKeys(); err != nil {
		return err
	}
	if err := c.source(flags); err != nil {
		return err
	}
	if err := c.checkValues(); err != nil {
		return err
	}
	if err := c.checkNames(); err != nil {
		return err
	}
	if err := c.checkCluster(flags); err != nil {
		return err
	}
	if c.Batch == 0 {
		c.Batch = max(512, c.Chunk+c.Parallel)
	}
	if c.Threads == 0 {
		c.Threads = cores("/sys/devices/system/cpu")
	}
	return c.files()
}

// checkValues returns an error that names the first flag whose value is out of range or contradicts another.
func (c *serveFlags) checkValues() error {
	for _, n := range []struct {
		flag              string
		value, least, top int
	}{
		{"parallel", c.Parallel, 1, 256}, {"ctx", c.Context, 0, 1 << 26}, {"chunk", c.Chunk, 1, 1 << 16},
		{"batch", c.Batch, 0, 1 << 16}, {"ubatch", c.UBatch, 1, 1 << 16}, {"threads", c.Threads, 0, 512}, {"max-queue", c.MaxQueue, 0, 1 << 20},
		{"max-jobs", c.MaxJobs, 1, 1 << 20}, {"max-files", c.MaxFiles, 1, 1 << 20},
	} {
		if n.value < n.least || n.value > n.top {
			return fmt.Errorf("%w: --%s is %d, not between %d and %d", errUsage, n.flag, n.value, n.least, n.top)
		}
	}
	switch {
	case c.Batch != 0 && c.Batch < c.Parallel:
		return fmt.Errorf("%w: --batch %d is less than --parallel %d: every running answer needs a token in each decode", errUsage, c.Batch, c.Parallel)
	case c.KVType == "q8_0" && c.FlashAttention == "off":
		return fmt.Errorf("%w: --kv-type q8_0 needs --flash-attn on or auto", errUsage)
	case !(c.TrainShare > 0 && c.TrainShare <= 0.95):
		return fmt.Errorf("%w: --train-share is %g, not above 0 and at most 0.95", errUsage, c.TrainShare)
	case c.MaxJobData <= 0:
		return fmt.Errorf("%w: --max-job-data is 0: no training job could be kept", errUsage)
	case c.MaxFileData <= 0:
		return fmt.Errorf("%w: --max-file-data is 0: no file could be uploaded", errUsage)
	case c.AdapterBytes <= 0:
		return fmt.Errorf("%w: --adapter-memory is 0: no adapter could be loaded", errUsage)
	case c.KeepResponses < 0:
		return fmt.Errorf("%w: --keep-responses is %s, less than 0", errUsage, c.KeepResponses)
	case c.ResponseBytes <= 0:
		return fmt.Errorf("%w: --max-response-data is 0: --keep-responses 0 keeps no responses", errUsage)
	case c.KeepVersions < 0:
		return fmt.Errorf("%w: --keep-versions is %d, less than 0", errUsage, c.KeepVersions)
	case c.Data == "":
		return fmt.Errorf("%w: --data is empty and the home folder is not known", errUsage)
	case slices.Contains(c.Keys, ""):
		return fmt.Errorf("%w: --api-key is empty", errUsage)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("%w: --tls-cert and --tls-key must be given together", errUsage)
	}
	return nil
}

// checkNames returns an error that names the first origin, host or alias that cannot be one.
func (c *serveFlags) checkNames() error {
	for _, origin := range c.Origins {
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin) || origin == "*" && len(c.Origins) > 1 {
			return fmt.Errorf("%w: --cors-origin %q: want scheme://host, with a port where there is one, or * alone", errUsage, origin)
		}
	}
	for _, host := range c.Hosts {
		if host == "" || strings.ContainsAny(host, "/:, \t\n") && net.ParseIP(host) == nil {
			return fmt.Errorf("%w: --allowed-host %q: want a name without scheme and port, or *", errUsage, host)
		}
	}
	for _, name := range c.Aliases {
		if name == "" || strings.ContainsAny(name, ", \t\n") {
			return fmt.Errorf("%w: --alias %q: want a name without white space and commas", errUsage, name)
		}
	}
	return nil
}

// address settles --listen, --host and --port.
func (c *serveFlags) address(flags *pflag.FlagSet) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("%w: --listen %q: want host:port", errUsage, c.Listen)
	}
	if f := flags.Lookup("host"); f != nil && f.Changed {
		host = f.Value.String()
	}
	if f := flags.Lookup("port"); f != nil && f.Changed {
		port = f.Value.String()
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%w: port %q is not between 0 and 65535 (--listen, --port)", errUsage, port)
	}
	c.Listen = net.JoinHostPort(host, port)
	return nil
}

// readKeys adds the keys of --api-key-file to those of --api-key. Empty lines, and lines that begin with #, are no keys.
func (c *serveFlags) readKeys() error {
	if c.keyFile == "" {
		return nil
	}
	text, err := os.ReadFile(c.keyFile)
	if err != nil {
		return fmt.Errorf("%w: --api-key-file: %w", errUsage, err)
	}
	before := len(c.Keys)
	for line := range strings.Lines(string(text)) {
		if key := strings.TrimSpace(line); key != "" && !strings.HasPrefix(key, "#") {
			c.Keys = append(c.Keys, key)
		}
	}
	if len(c.Keys) == before {
		return fmt.Errorf("%w: --api-key-file: %s has no key", errUsage, c.keyFile)
	}
	return nil
}

// source settles --model and --hf.
func (c *serveFlags) source(flags *pflag.FlagSet) error {
	if f := flags.Lookup("hf"); f != nil && f.Value.String() != "" {
		if c.Model != "" {
			return fmt.Errorf("%w: --hf and --model are both given", errUsage)
		}
		c.Model = hub(f.Value.String())
	}
	if c.Fetches() {
		if _, err := fetch.New(c.Fetch); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	if !fetch.IsSource(c.Model) {
		return nil
	}
	src, err := fetch.Parse(c.Model)
	if err != nil {
		return fmt.Errorf("%w: --model: %w", errUsage, err)
	}
	if src.Repo == "" {
		return fmt.Errorf("%w: --model %s: models come from hf://", errUsage, c.Model)
	}
	return nil
}

// files checks that the files and folders that c names exist, before minutes are spent on loading a model.
func (c *serveFlags) files() error {
	for _, f := range []struct {
		flag, path string
	}{{"model", c.Model}, {"chat-template-file", c.Template}, {"keys", c.KeyFile}, {"tls-cert", c.TLSCert}, {"tls-key", c.TLSKey}} {
		if f.path == "" || fetch.IsSource(f.path) || f.flag == "model" && isModelFolder(f.path) {
			continue
		}
		if f.flag == "model" && mustBe(f.path, true) == nil {
			return fmt.Errorf("%w: --model: %s is a folder without config.json", errUsage, f.path)
		}
		if err := mustBe(f.path, false); err != nil {
			return fmt.Errorf("%w: --%s: %w", errUsage, f.flag, err)
		}
	}
	for _, dir := range c.AdapterDirs {
		if err := mustBe(dir, true); err != nil {
			return fmt.Errorf("%w: --adapter-dir: %w", errUsage, err)
		}
	}
	return nil
}

// isModelFolder reports whether path is a folder that a model can be converted from.
func isModelFolder(path string) bool {
	_, err := os.Stat(filepath.Join(path, "config.json"))
	return err == nil
}

// cores is the number of physical cores that this process may use: threads that share one only slow each
// other down. folder is where Linux describes its CPUs; without it every CPU counts as a core.
func cores(folder string) int {
	usable := goruntime.GOMAXPROCS(0)
	paths, err := filepath.Glob(filepath.Join(folder, "cpu[0-9]*", "topology", "thread_siblings_list"))
	if err != nil {
		return usable
	}
	siblings := map[string]bool{}
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil {
			siblings[string(text)] = true
		}
	}
	if len(siblings) == 0 {
		return usable
	}
	return max(1, min(usable, len(siblings)))
}
