package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// command runs the program with args and returns its exit status and output.
func command(t *testing.T, env map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs, environment(env))
	return status, out.String(), errs.String()
}

func TestVersion(t *testing.T) {
	status, out, _ := command(t, nil, "version")
	if status != 0 || !strings.HasPrefix(out, "lorikeet "+version) {
		t.Errorf("status %d, output %q", status, out)
	}
}

// TestWrongCommandLines checks that a mistake is a message that names the flag at fault, and status 2.
func TestWrongCommandLines(t *testing.T) {
	folder, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		env  map[string]string
		want string
	}{
		{args: []string{"serve", "--parallel", "many"}, want: "--parallel"},
		{args: []string{"serve", "--parallel", "0"}, want: "--parallel is 0, not between 1 and 256"},
		{args: []string{"serve", "--ctx", "-1"}, want: "--ctx is -1"},
		{args: []string{"serve", "--chunk", "0"}, want: "--chunk is 0"},
		{args: []string{"serve", "--ubatch", "0"}, want: "--ubatch is 0"},
		{args: []string{"serve", "--threads", "-2"}, want: "--threads is -2"},
		{args: []string{"serve", "--max-queue", "-1"}, want: "--max-queue is -1"},
		{args: []string{"serve", "--batch", "8", "--parallel", "9"}, want: "--batch 8 is less than --parallel 9"},
		{args: []string{"serve", "--kv-type", "f8"}, want: `"--kv-type" flag: want one of f16, f32, q8_0`},
		{args: []string{"serve", "--kv-type", "q8_0", "--flash-attn", "off"}, want: "--kv-type q8_0 needs --flash-attn"},
		{args: []string{"serve", "--lora-backend", "x"}, want: "--lora-backend"},
		{args: []string{"serve", "--nf4-mode", "x"}, want: "--nf4-mode"},
		{args: []string{"serve", "--log-level", "loud"}, want: "--log-level"},
		{args: []string{"serve", "--adapter-memory", "lots"}, want: `"--adapter-memory" flag: want a size`},
		{args: []string{"serve", "--adapter-memory", "0"}, want: "--adapter-memory is 0"},
		{args: []string{"serve", "--drain", "soon"}, want: `"--drain" flag: want seconds`},
		{args: []string{"serve", "--listen", "nowhere"}, want: `--listen "nowhere"`},
		{args: []string{"serve", "--port", "70000"}, want: `port "70000"`},
		{args: []string{"serve", "--model", "no/such.gguf"}, want: "--model: no/such.gguf does not exist"},
		{args: []string{"serve", "--cluster-prefix", "x"}, want: "--cluster-prefix is given without --cluster"},
		{args: []string{"serve"}, env: map[string]string{"LORIKEET_CLUSTER_WAIT": "3"}, want: "--cluster-wait is given without --cluster"},
		{args: []string{"serve", "--cluster", "nats://a", "--cluster-secret", "x"}, want: "--cluster-secret is for --cluster embed"},
		{args: []string{"serve", "--cluster", "embed", "--adapter-dir", folder}, want: "--adapter-dir with --cluster: folders of several nodes"},
		{args: []string{"serve", "--cluster", "embed", "--cluster-local-data", "0"}, want: "--cluster-local-data is 0"},
		{args: []string{"serve", "--cluster", "embed", "--cluster-wait", "0"}, want: "--cluster-wait is 0"},
		{args: []string{"serve", "--cluster", "nats://a", "--cluster-creds", "no/such"}, want: "--cluster-creds: no/such does not exist"},
		{args: []string{"serve", "--cluster", "embed", "--cluster-prefix", "a.b"}, want: `prefix "a.b"`},
		{args: []string{"serve", "--cluster", "embed", "--cluster-listen", "10.0.0.1:1", "--cluster-peers", "10.0.0.2:1,10.0.0.3:1"}, want: "need a secret in common"},
		{args: []string{"serve", "--model", folder}, want: "is a folder without config.json"},
		{args: []string{"serve", "--adapter-dir", file}, want: "--adapter-dir: " + file + " is not a folder"},
		{args: []string{"serve", "--chat-template-file", "none"}, want: "--chat-template-file: none does not exist"},
		{args: []string{"serve", "--model", "hf://nowhere"}, want: `--model: not a source: "hf://nowhere"`},
		{args: []string{"serve", "-hf", "nowhere"}, want: `"hf://nowhere"`},
		{args: []string{"serve", "--hf", "a/b", "--model", "c.gguf"}, want: "--hf and --model are both given"},
		{args: []string{"serve", "--model", "s3://bucket/m.gguf"}, want: "models come from hf://"},
		{args: []string{"serve", "--hf", "a/b"}, env: map[string]string{"HF_ENDPOINT": "hub"}, want: `HF_ENDPOINT: "hub" is not an address`},
		{args: []string{"serve", "--remote-adapters", "maybe"}, want: "--remote-adapters"},
		{args: []string{"quantize", "hf://a/b", "b.gguf"}, env: map[string]string{"HOME": ""}, want: "LORIKEET_DATA"},
		{args: []string{"adapter", "add", "x", "hf://nowhere"}, want: `PATH: not a source: "hf://nowhere"`},
		{args: []string{"serve", "--alias", "two words"}, want: `--alias "two words"`},
		{args: []string{"serve", "--api-key", ""}, want: "--api-key is empty"},
		{args: []string{"serve", "--api-key-file", "none"}, want: "--api-key-file: open none"},
		{args: []string{"serve", "--api-key-file", file}, want: "has no key"},
		{args: []string{"serve", "--tls-cert", file}, want: "--tls-cert and --tls-key must be given together"},
		{args: []string{"serve", "--tls-cert", file, "--tls-key", "none"}, want: "--tls-key: none does not exist"},
		{args: []string{"serve", "--cors-origin", "localhost"}, want: `--cors-origin "localhost"`},
		{args: []string{"serve", "--cors-origin", "http://a/b"}, want: `--cors-origin "http://a/b"`},
		{args: []string{"serve", "--cors-origin", "*", "--cors-origin", "http://a"}, want: "* alone"},
		{args: []string{"serve", "--data", ""}, want: "--data is empty"},
		{args: []string{"serve", "model.gguf"}, want: "want no arguments"},
		{args: []string{"serve", "--models", "x"}, want: "--models"},
		{args: []string{"serve"}, env: map[string]string{"LORIKEET_PARALLEL": "x"}, want: "LORIKEET_PARALLEL, the variable of --parallel"},
		{args: []string{"serve"}, env: map[string]string{"LORIKEET_KV_TYPE": "x"}, want: "LORIKEET_KV_TYPE"},
		{args: []string{"quantize", "a.gguf"}, want: "want IN.gguf and OUT.gguf"},
		{args: []string{"quantize", "a.gguf", "b.gguf", "--type", "q3"}, want: `"--type" flag: want one of nf4, `},
		{args: []string{"quantize", "no.gguf", "b.gguf"}, want: "IN.gguf"},
		{args: []string{"quantize", file, file}, want: "is IN.gguf itself"},
		{args: []string{"quantize", file, file + "2", "--threads", "-1"}, want: "--threads is -1"},
		{args: []string{"quantize", file, file + "2", "--block", "48"}, want: "--block is 48: nf4 has blocks of 32 and 64"},
		{args: []string{"quantize", file, file + "2", "--type", "nf4-dq", "--block", "32"}, want: "--block is 32: nf4 has blocks of 32 and 64, nf4-dq of 64"},
		{args: []string{"quantize", file, file + "2", "--type", "q4_0", "--exact"}, want: "--exact is for the types nf4 and nf4-dq, not for q4_0"},
		{args: []string{"quantize", file, file + "2", "--type", "q4_0", "--head", "keep"}, want: "--head is for the types nf4 and nf4-dq"},
		{args: []string{"quantize", file, file + "2", "--head", "q4_0"}, want: `"--head" flag: want one of q8_0, q6_k, keep`},
		{args: []string{"adapter", "list", "--server", "localhost"}, want: `--server "localhost"`},
		{args: []string{"adapter", "add", "x"}, want: "want NAME and PATH"},
		{args: []string{"adapter", "add", "x", folder}, want: "has no adapter_config.json"},
		{args: []string{"adapter", "export", "x"}, want: "want NAME and OUT"},
		{args: []string{"adapter", "export", "x", "y", "--format", "bin"}, want: "want one of peft, gguf"},
		{args: []string{"adapter", "export", "x y", "y"}, want: `NAME: invalid adapter name: name "x y"`},
		{args: []string{"adapter", "export", "x", filepath.Join(folder, "none", "y")}, want: "OUT:"},
		{args: []string{"adapter", "merge", "x"}, want: "want NAME and at least one FROM"},
		{args: []string{"adapter", "merge", "x", "a:much"}, want: `"a:much": after the colon comes a weight`},
		{args: []string{"adapter", "merge", "x", "a", "--method", "mean"}, want: "want one of linear, cat"},
		{args: []string{"sing"}, want: `"sing"`},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			env := map[string]string{"HOME": folder}
			for k, v := range test.env {
				env[k] = v
			}
			status, _, stderr := command(t, env, test.args...)
			if status != 2 || !strings.Contains(stderr, test.want) || strings.Contains(stderr, "usage:") {
				t.Errorf("status %d, message %q, want one with %q", status, stderr, test.want)
			}
		})
	}
}

// TestFailures checks errors that are not the command line's: status 1 and the cause.
func TestFailures(t *testing.T) {
	notModel := filepath.Join(t.TempDir(), "not.gguf")
	if err := os.WriteFile(notModel, []byte("this is no model, whatever it is called"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"serve", "--model", notModel, "--data", t.TempDir(), "--listen", "127.0.0.1:0"},
		{"quantize", notModel, filepath.Join(t.TempDir(), "out.gguf")},
		{"quantize", notModel, filepath.Join(t.TempDir(), "out.gguf"), "--type", "q8_0"},
	} {
		if status, _, stderr := command(t, nil, args...); status != 1 || !strings.Contains(stderr, notModel) {
			t.Errorf("%v: status %d, message %q", args, status, stderr)
		}
	}
	if status, _, stderr := command(t, nil, "adapter", "list", "--server", "http://127.0.0.1:1"); status != 1 || !strings.Contains(stderr, "no answer from the server") {
		t.Errorf("status %d, message %q", status, stderr)
	}
}

// environment is a lookup of the given variables.
func environment(vars map[string]string) lookup {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// parse reads the arguments of serve.
func parse(args []string, env lookup) (c serveFlags, err error) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.bind(flags, dataDir(env))
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if err := readEnv(flags, env); err != nil {
		return c, err
	}
	c.Fetch = fetchOptions(env, c.Data)
	return c, c.check(flags)
}

func TestServeFlags(t *testing.T) {
	folder := t.TempDir()
	c, err := parse([]string{"--api-key", "a", "--api-key", "b,c", "--adapter-dir", folder, "--drain", "2.5", "--deadline", "1m", "--adapter-memory", "1.5GiB",
		"--max-upload", "10MB", "--host", "0.0.0.0", "--port", "9000", "--chunk", "1000", "--parallel", "4"},
		environment(map[string]string{"HOME": "/invented/home", "LORIKEET_API_KEYS": "ignored", "LORIKEET_MAX_QUEUE": "7", "LORIKEET_ALIAS": "one, two", "LORIKEET_CHUNK": "5", "LORIKEET_GROUPED": "true", "LORIKEET_CTX": ""}))
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"keys", strings.Join(c.Keys, " "), "a b,c"},
		{"aliases", strings.Join(c.Aliases, " "), "one two"},
		{"drain", c.Drain, 2500 * time.Millisecond},
		{"deadline", c.Deadline, time.Minute},
		{"adapter memory", c.AdapterBytes, int64(3 << 29)},
		{"max upload", c.MaxUpload, int64(10_000_000)},
		{"listen", c.Listen, "0.0.0.0:9000"},
		{"data", c.Data, "/invented/home/.local/share/lorikeet"},
		{"queue", c.MaxQueue, 7},
		{"chunk: the flag wins", c.Chunk, 1000},
		{"batch", c.Batch, 1004},
		{"grouped", c.Grouped, true},
		{"ctx", c.Context, 0},
	} {
		if check.got != check.want {
			t.Errorf("%s: %v, want %v", check.what, check.got, check.want)
		}
	}
	if c.Threads < 1 {
		t.Errorf("%d threads", c.Threads)
	}
}

// TestEveryFlagHasAVariable sets each flag by its variable.
func TestEveryFlagHasAVariable(t *testing.T) {
	samples := map[string]string{"int": "3", "float64": "0.25", "bool": "true", "string": "s", "stringArray": "x,y", "size": "1KiB", "duration": "3s",
		"kv-type": "q8_0", "flash-attn": "on", "lora-backend": "mmid", "nf4-mode": "i16", "import-type": "q8_0", "remote-adapters": "on", "log-level": "debug", "log-format": "json", "pooling": "mean", "reasoning-format": "none", "layers": "7", "train-precision": "half"}
	var c serveFlags
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.bind(flags, "/data")
	n := 0
	flags.VisitAll(func(f *pflag.Flag) {
		n++
		sample := samples[f.Value.Type()]
		if sample == "" {
			sample = samples[f.Name]
		}
		before := f.Value.String()
		if err := readEnv(flags, environment(map[string]string{envName(f.Name): sample})); err != nil {
			t.Errorf("--%s: %v", f.Name, err)
		}
		if f.Value.String() == before || !f.Changed {
			t.Errorf("%s=%s leaves --%s at %q", envName(f.Name), sample, f.Name, before)
		}
	})
	if n < 25 {
		t.Errorf("only %d flags", n)
	}
	_, help, _ := command(t, nil, "serve", "--help")
	for _, want := range []string{"LORIKEET_MODEL", "LORIKEET_API_KEYS", "LORIKEET_ADAPTER_DIR"} {
		if !strings.Contains(help, want) {
			t.Errorf("the help does not name %s", want)
		}
	}
}

func TestCores(t *testing.T) {
	folder := t.TempDir()
	for cpu, siblings := range map[string]string{"cpu0": "0,2", "cpu1": "1,3", "cpu2": "0,2", "cpu3": "1,3"} {
		dir := filepath.Join(folder, cpu, "topology")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "thread_siblings_list"), []byte(siblings), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := cores(t.TempDir())
	if got := cores(folder); got != min(all, 2) {
		t.Errorf("%d cores of 2, with %d threads", got, all)
	}
}

func TestDataDir(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/lorikeet"},
		{map[string]string{"XDG_DATA_HOME": "relative", "HOME": "/h"}, "/h/.local/share/lorikeet"},
		{nil, ""},
	} {
		if got := dataDir(environment(test.env)); got != test.want {
			t.Errorf("%v: %q, want %q", test.env, got, test.want)
		}
	}
}

// TestWhoMayNameSources checks the standard of --remote-adapters.
func TestWhoMayNameSources(t *testing.T) {
	for _, test := range []struct {
		args string
		want bool
	}{
		{"--listen 127.0.0.1:0", true}, {"--listen [::1]:0", true}, {"--listen localhost:0", true},
		{"--listen 0.0.0.0:0", false}, {"--listen :0", false}, {"--listen 10.0.0.1:0", false},
		{"--listen 0.0.0.0:0 --api-key k", true}, {"--listen 0.0.0.0:0 --remote-adapters on", true}, {"--listen 127.0.0.1:0 --remote-adapters off", false},
	} {
		c, err := parse(strings.Fields(test.args), environment(map[string]string{"HOME": "/invented/home"}))
		if err != nil || c.Fetches() != test.want {
			t.Errorf("%s: %v, %v", test.args, c.Fetches(), err)
		}
	}
}

// TestEnvironmentOfSources checks which variables say where hubs and buckets are and who asks.
func TestEnvironmentOfSources(t *testing.T) {
	o := fetchOptions(environment(map[string]string{"HF_ENDPOINT": "https://hub", "HF_TOKEN": "t\n", "HF_HUB_OFFLINE": "True", "AWS_ENDPOINT_URL": "https://all",
		"AWS_ENDPOINT_URL_S3": "https://s3", "AWS_DEFAULT_REGION": "eu-1", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "st"}), "/data")
	if o.Hub.Endpoint != "https://hub" || o.Hub.Token != "t" || !o.Hub.Offline || o.Dir != "/data/models" ||
		o.Bucket.Endpoint != "https://s3" || o.Bucket.Region != "eu-1" || o.Bucket.Key != "k" || o.Bucket.Secret != "s" || o.Bucket.Session != "st" {
		t.Errorf("%+v", o)
	}
	if o := fetchOptions(environment(map[string]string{"HF_HUB_OFFLINE": "0", "AWS_ENDPOINT_URL": "https://all", "AWS_REGION": "x"}), "/"); o.Hub.Offline || o.Bucket.Endpoint != "https://all" || o.Bucket.Region != "x" {
		t.Errorf("%+v", o)
	}
}

// TestKeyFile reads keys from a file, beside those of the command line.
func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("# the team\none\n\n  two  \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parse([]string{"--api-key", "zero", "--api-key-file", file}, environment(map[string]string{"HOME": t.TempDir()}))
	if err != nil || strings.Join(c.Keys, "|") != "zero|one|two" {
		t.Errorf("%q %v", c.Keys, err)
	}
}

// TestKeysCommand makes, lists and removes keys.
func TestKeysCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	for _, step := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"list"}, 2, "lorikeet keys add makes it"},
		{[]string{"add", "shop", "--role", "chat,train", "--adapter", "shared-*", "--tokens-per-minute", "1000", "--stored-bytes", "1GiB"}, 0, "lk-"},
		{[]string{"add", "Shop"}, 2, `the name "Shop"`},
		{[]string{"add", "shop", "--role", "boss"}, 2, `the role "boss"`},
		{[]string{"list"}, 0, "shop  chat,train  shared-*"},
		{[]string{"remove", "shop"}, 0, "1 keys of shop removed"},
		{[]string{"remove", "shop"}, 1, "has no key of shop"},
	} {
		status, out, errs := command(t, nil, append(append([]string{"keys"}, step.args...), "--file", file)...)
		if status != step.status || !strings.Contains(out+errs, step.want) {
			t.Errorf("%v: status %d, %q %q, want %d and %q", step.args, status, out, errs, step.status, step.want)
		}
	}
}
