package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// testBucket is a real S3 server, Versity's gateway over a folder, in a process of its own on loopback, behind a
// proxy that a test can break transfers with.
type testBucket struct {
	t      *testing.T
	client *minio.Client // straight to the server
	proxy  *httptest.Server

	mu     sync.Mutex
	spans  []string // Range of each GET of an object through the proxy
	breaks func(w http.ResponseWriter, r *http.Request) http.ResponseWriter
}

const (
	accessKey = "lorikeet"
	secretKey = "hf_secret_of_the_bucket" // begins as secretToken, which no message may hold
)

// gateway builds the server once, from its own module, so that ours does not depend on it. The build cache keeps
// the program: only the first call of all takes long.
var gateway = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-n", "versitygw")
	cmd.Dir = filepath.Join("testdata", "versitygw")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-trimpath")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool -n versitygw: %w: %s", err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
})

func newTestBucket(t *testing.T) *testBucket {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts an S3 server, which is built first")
	}
	program, err := gateway()
	if err != nil {
		t.Skipf("the S3 server for this test cannot be built: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	var said bytes.Buffer
	cmd := exec.Command(program, "--port", address, "--quiet", "posix", "--sidecar", t.TempDir(), t.TempDir())
	cmd.Env = []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey, "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })

	b := &testBucket{t: t}
	to := &url.URL{Scheme: "http", Host: address}
	forward := httputil.NewSingleHostReverseProxy(to) // which keeps the Host that was signed
	forward.ErrorLog = log.New(io.Discard, "", 0)     // of the transfers that are broken on purpose
	b.proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		if r.Method == http.MethodGet && strings.Count(r.URL.Path, "/") > 1 {
			b.spans = append(b.spans, r.Header.Get("Range"))
		}
		breaks := b.breaks
		b.mu.Unlock()
		if breaks != nil {
			w = breaks(w, r)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(b.proxy.Close)
	b.client, err = minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err = b.client.ListBuckets(t.Context()); err == nil {
			break
		}
		select {
		case <-ended:
			t.Fatalf("the S3 server ended: %s", said.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the S3 server does not answer: %v", err)
		}
	}
	if err := b.client.MakeBucket(t.Context(), "loras", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *testBucket) put(key string, content []byte, o minio.PutObjectOptions) {
	b.t.Helper()
	if _, err := b.client.PutObject(b.t.Context(), "loras", key, bytes.NewReader(content), int64(len(content)), o); err != nil {
		b.t.Fatalf("%s: %v", key, err)
	}
}

func (b *testBucket) fetcher(change ...func(*Options)) (*Fetcher, *notes) {
	n := &notes{t: b.t}
	o := Options{Bucket: Bucket{Endpoint: b.proxy.URL, Key: accessKey, Secret: secretKey}, Note: n.add, Pause: time.Millisecond, Stall: 5 * time.Second}
	for _, c := range change {
		c(&o)
	}
	f, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	return f, n
}

func TestBucket(t *testing.T) {
	b := newTestBucket(t)
	config, tensors, large := []byte(`{"r": 8}`), noise(1, 300_000), noise(2, 11<<20)
	b.put("team/pirate/adapter_config.json", config, minio.PutObjectOptions{})
	b.put("team/pirate/adapter_model.safetensors", tensors, minio.PutObjectOptions{})
	b.put("team/one/lora.gguf", large, minio.PutObjectOptions{PartSize: 5 << 20}) // in three parts: its ETag is no MD5
	b.put("team/two/x.gguf", tensors, minio.PutObjectOptions{})
	b.put("team/two/a b+c%.gguf", tensors, minio.PutObjectOptions{})
	b.put("adapter_config.json", config, minio.PutObjectOptions{})
	b.put("adapter_model.safetensors", tensors[:1000], minio.PutObjectOptions{})
	t.Run("comes", func(t *testing.T) { b.comes(t, tensors, large) })
	t.Run("is refused", b.refuses)
	t.Run("breaks", func(t *testing.T) { b.breaksOff(t, tensors) })
}

func (b *testBucket) comes(t *testing.T, tensors, large []byte) {
	for _, test := range []struct {
		source, file string // file: "" for PEFT's two
		want         []byte
	}{
		{"s3://loras/team/pirate", "", tensors},
		{"s3://loras/team/pirate/", "", tensors},
		{"s3://loras/team/pirate/adapter_model.safetensors", "", tensors},
		{"s3://loras", "", tensors[:1000]},
		{"s3://loras/adapter_config.json", "", tensors[:1000]},
		{"s3://loras/team/one", "lora.gguf", large},
		{"s3://loras/team/one/lora.gguf", "lora.gguf", large},
		{"s3://loras/team/two/a b+c%.gguf", "a b+c%.gguf", tensors},
	} {
		dir := t.TempDir()
		f, said := b.fetcher()
		path, pinned, err := f.Adapter(t.Context(), test.source, dir, 20<<20, func(int64) error { return nil })
		if err != nil || pinned != strings.TrimSuffix(test.source, "/") || said.all() != "" {
			t.Errorf("%s: %s, %v, said %q", test.source, pinned, err, said.all())
			continue
		}
		if test.file == "" {
			mustHold(t, filepath.Join(path, peftTensors), test.want)
			if got := filesIn(t, path); path != dir || len(got) != 2 {
				t.Errorf("%s: %s holds %q", test.source, path, got)
			}
			continue
		}
		if path != filepath.Join(dir, test.file) {
			t.Errorf("%s: %s", test.source, path)
		}
		mustHold(t, path, test.want)
	}
}

func (b *testBucket) refuses(t *testing.T) {
	for _, test := range []struct {
		source  string
		change  func(*Options)
		want    error
		message string
	}{
		{"s3://loras/team/nothing", nil, ErrNotFound, "team/nothing"},
		{"s3://loras/team/nothing.gguf", nil, ErrNotFound, "s3://loras/team/nothing.gguf"},
		{"s3://nothing/team", nil, ErrNotFound, "s3://nothing"},
		{"s3://loras/team/two", nil, ErrContent, "has 2 GGUF files; name one of them: "},
		{"s3://loras/team/pirate", func(o *Options) { o.Bucket.Secret = "wrong" }, ErrDenied, "AWS_SECRET_ACCESS_KEY"},
		{"s3://loras/team/pirate", func(o *Options) { o.Bucket.Key, o.Bucket.Secret = "", "" }, ErrDenied, "AWS_ACCESS_KEY_ID"},
		{"s3://loras/team/one", nil, ErrTooLarge, "more than 10485760 bytes"},
		{"s3://loras/team/one", func(o *Options) { o.Bucket.Endpoint = "http://127.0.0.1:1" }, ErrUnreachable, "127.0.0.1:1"},
	} {
		var change []func(*Options)
		if test.change != nil {
			change = append(change, test.change)
		}
		dir := t.TempDir()
		f, _ := b.fetcher(change...)
		if _, _, err := f.Adapter(t.Context(), test.source, dir, 10<<20, func(int64) error { return nil }); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: %v, want %v with %q", test.source, err, test.want, test.message)
		} else {
			noSecrets(t, err.Error())
		}
		if left := filesIn(t, dir); len(left) > 0 {
			t.Errorf("%s: %q is left", test.source, left)
		}
	}
	f, _ := b.fetcher()
	if _, err := f.Model(t.Context(), "s3://loras/team/one/lora.gguf"); !errors.Is(err, ErrSource) {
		t.Errorf("a model of a bucket: %v", err)
	}
}

// breaksOff cuts off, damages and changes what is received.
func (b *testBucket) breaksOff(t *testing.T, tensors []byte) {
	onTensors := func(f func(w http.ResponseWriter, r *http.Request) http.ResponseWriter) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.spans, b.breaks = nil, func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "pirate/"+peftTensors) {
				return w
			}
			return f(w, r)
		}
	}
	fetch := func() (string, error) {
		f, _ := b.fetcher()
		path, _, err := f.Adapter(t.Context(), "s3://loras/team/pirate", t.TempDir(), 20<<20, func(int64) error { return nil })
		return path, err
	}
	cuts := []int{1000, 200_000}
	onTensors(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		if len(cuts) == 0 {
			return w
		}
		defer func() { cuts = cuts[1:] }()
		return &cutting{w, cuts[0]}
	})
	path, err := fetch()
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, filepath.Join(path, peftTensors), tensors)
	if want := []string{"", "", "bytes=1000-", "bytes=201000-"}; !slices.Equal(b.spans, want) {
		t.Errorf("ranges %q, want %q", b.spans, want)
	}

	onTensors(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter { return &flipping{ResponseWriter: w} })
	if _, err := fetch(); !errors.Is(err, ErrChecksum) {
		t.Errorf("a bit is wrong: %v", err)
	}

	first := true
	onTensors(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		if !first {
			b.put("team/pirate/adapter_model.safetensors", noise(5, len(tensors)), minio.PutObjectOptions{})
			return w
		}
		first = false
		return &cutting{w, 1000}
	})
	if _, err := fetch(); !errors.Is(err, ErrCut) || !strings.Contains(err.Error(), "was changed during the download") {
		t.Errorf("the object has changed: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	onTensors(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter { cancel(); return w })
	f, _ := b.fetcher()
	if _, _, err := f.Adapter(ctx, "s3://loras/team/pirate", t.TempDir(), 20<<20, func(int64) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("the client has gone: %v", err)
	}
}

// flipping changes one bit of a body.
type flipping struct {
	http.ResponseWriter
	done bool
}

func (f *flipping) Write(b []byte) (int, error) {
	if !f.done && len(b) > 0 {
		f.done = true
		b = bytes.Clone(b)
		b[0] ^= 1
	}
	return f.ResponseWriter.Write(b)
}

// TestSumOfObject checks which of the sums that a server states are taken.
func TestSumOfObject(t *testing.T) {
	md5 := "25f9e794323b453885f5181f1b624d0b"
	kms := http.Header{"X-Amz-Server-Side-Encryption": {"aws:kms"}}
	for _, test := range []struct {
		info minio.ObjectInfo
		want sum
	}{
		{minio.ObjectInfo{ETag: md5}, sum{md5Sum, md5}},
		{minio.ObjectInfo{ETag: md5 + "-3"}, sum{}},
		{minio.ObjectInfo{ETag: md5, Metadata: kms}, sum{}},
		{minio.ObjectInfo{ETag: md5, ChecksumCRC32C: "4waSgw=="}, sum{crc32cSum, "e3069283"}},
		{minio.ObjectInfo{ETag: md5, ChecksumCRC32C: "4waSgw==", ChecksumMode: "COMPOSITE"}, sum{md5Sum, md5}},
		{minio.ObjectInfo{ETag: md5 + "-3", ChecksumCRC32C: "4waSgw==-3"}, sum{}},
		{minio.ObjectInfo{ChecksumCRC64NVME: "rosUhgp5mIg=", ChecksumCRC32C: "4waSgw=="}, sum{crc64Sum, "ae8b14860a799888"}},
	} {
		if got := sumOfObject(test.info); got != test.want {
			t.Errorf("%+v: %v", test.info, got)
		}
	}
}
