package main

import (
	"bytes"
	"context"
	"fmt"
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

func TestServeFlags(t *testing.T) {
	folder := t.TempDir()
	c, err := parse([]string{"--api-key", "a", "--api-key", "b,c", "--adapter-dir", folder, "--drain", "2.5", "--deadline", "1m", "--adapter-memory", "1.5GiB",
		"--max-upload", "10MB", "--host", "0.0.0.0", "--port", "9000", "--chunk", "1000", "--parallel", "4"},
		environment(map[string]string{"HOME": "/home/me", "LORIKEET_API_KEYS": "ignored", "LORIKEET_MAX_QUEUE": "7", "LORIKEET_ALIAS": "one, two", "LORIKEET_CHUNK": "5", "LORIKEET_GROUPED": "true", "LORIKEET_CTX": ""}))
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"keys", strings.Join(c.Keys, " "), "a b,c"},
		{"aliases", strings.Join(c.Aliases, " "), "one two"},
		{"drain", time.Duration(c.Drain), 2500 * time.Millisecond},
		{"deadline", time.Duration(c.Deadline), time.Minute},
		{"adapter memory", int64(c.AdapterBytes), int64(3 << 29)},
		{"max upload", int64(c.MaxUpload), int64(10_000_000)},
		{"listen", c.Listen, "0.0.0.0:9000"},
		{"data", c.Data, "/home/me/.local/share/lorikeet"},
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
		"kv-type": "q8_0", "flash-attn": "on", "lora-backend": "mmid", "nf4-mode": "i16", "import-type": "q8_0", "remote-adapters": "on", "log-level": "debug", "log-format": "json"}
	var c config
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

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "12": 12, "12b": 12, "1k": 1024, "1KiB": 1024, "1kb": 1000, "2 GiB": 2 << 30, "0.5m": 1 << 19, "1TB": 1e12} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%q: %d and %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1PB", "NaN", "1e30", "inf"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1536: "1.5KiB", 2 << 30: "2GiB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
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

// TestAdapterCommand manages adapters over HTTP, with a key.
func TestAdapterCommand(t *testing.T) {
	b := boot(t, "--api-key", "sesame", "--api-key", "other")
	env := map[string]string{"LORIKEET_SERVER": b.url(), "LORIKEET_API_KEYS": "sesame"}
	for _, step := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"list"}, 0, "NAME"},
		{[]string{"add", "captain", "demo/adapters/pirate"}, 0, "captain@"},
		{[]string{"add", "captain", "demo/adapters/shout"}, 0, "rank 4, alpha 8"},
		{[]string{"list"}, 0, "captain  "},
		{[]string{"versions", "captain"}, 0, "  16    32 "},
		{[]string{"add", "captain", "demo/golden.json"}, 1, "400"},
		{[]string{"rm", "captain"}, 0, "captain removed"},
		{[]string{"rm", "captain"}, 1, "404"},
		{[]string{"list", "--api-key", "wrong"}, 1, "API key"},
	} {
		status, out, errs := command(t, env, append([]string{"adapter"}, step.args...)...)
		if status != step.status || !strings.Contains(out+errs, step.want) {
			t.Errorf("%v: status %d, output %q %q; want %d and %q", step.args, status, out, errs, step.status, step.want)
		}
	}
}

// TestQuantize makes smaller models of the F16 base and serves them; the command, the model's card and what the
// server prints agree on their types and bits.
func TestQuantize(t *testing.T) {
	for _, c := range []struct {
		flags, quantization, bits string
	}{
		{"--type nf4 --block 32", "NF4", "4.917"},
		{"--type nf4 --block 64 --exact", "NF4-64", "4.692"},
		{"--type nf4-dq --head q6_k", "NF4-DQ", "4.392"},
		{"--type q8_0", "Q8_0", "8.5"},
		{"--type q4_0", "Q4_0", "4.7"},
	} {
		t.Run(c.flags, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "small.gguf")
			status, said, bar := command(t, nil, append([]string{"quantize", "demo/demo-base.f16.gguf", out}, strings.Fields(c.flags)...)...)
			if status != 0 || !strings.Contains(said, " "+c.bits) || !strings.Contains(bar, "100%") {
				t.Fatalf("status %d, output %q, bar %q", status, said, bar)
			}
			b := boot(t, "--model", out, "--alias", "small")
			text := b.mustAsk(question("What is the capital of France?", "model", "small"))
			if !strings.Contains(text, "The capital of France is") {
				t.Errorf("the model answers %q", text)
			}
			f := b.model.Facts()
			if f.Quantization != c.quantization || !strings.HasPrefix(fmt.Sprintf("%.3f", f.BitsPerWeight), c.bits) || f.ResidentBits < f.BitsPerWeight-0.01 || f.ResidentBits > f.BitsPerWeight+1 { // 1: the tied head has a layout of its own
				t.Errorf("the model is %s of %.3f bits, %.3f in memory", f.Quantization, f.BitsPerWeight, f.ResidentBits)
			}
		})
	}
}

// TestServeStops runs the command itself: it prints what it serves and ends when its context does.
func TestServeStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs lockedBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--adapter-dir", demoAdapters, "--log-format", "json"},
			&out, &errs, environment(nil))
	}()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), "address"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %s %s", out.String(), errs.String())
		}
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, errs.String())
	}
	for _, want := range []string{"serves lorikeet-demo\n", "NF4", "16 requests at once", "3 registered (json, pirate, shout)", "http://127.0.0.1:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in what it prints:\n%s", want, out.String())
		}
	}
	for _, want := range []string{`"message":"ready"`, `"message":"stopped"`} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, errs.String())
		}
	}
}
