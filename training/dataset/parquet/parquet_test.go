package parquet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// readFile returns the rows of a file, by the child.
func readFile(t *testing.T, path string, l Limits) (string, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	err = Read(context.Background(), f, l, &out)
	return out.String(), err
}

var usual = Limits{Rows: 1000, RowBytes: 1 << 20}

type call struct {
	Name      string            `parquet:"name"`
	Arguments map[string]string `parquet:"arguments"`
}

type message struct {
	Role    string  `parquet:"role"`
	Content *string `parquet:"content,optional"`
	Calls   []call  `parquet:"calls,list"`
}

type row struct {
	Messages []message `parquet:"messages,list"`
	Tags     []string  `parquet:"tags"`
	N        uint64    `parquet:"n"`
	Small    *float32  `parquet:"small,optional"`
	Yes      bool      `parquet:"yes"`
	Raw      []byte    `parquet:"raw"`
}

// writeRows writes a file with rows of every kind of field.
func writeRows(t *testing.T, options ...parquet.WriterOption) string {
	t.Helper()
	text, number := "say \"hi\"\n", float32(0.5)
	path := filepath.Join(t.TempDir(), "rows.parquet")
	err := parquet.WriteFile(path, []row{
		{Messages: []message{{Role: "user", Content: &text}, {Role: "assistant", Calls: []call{{"f", map[string]string{"q": "x"}}}}}, Tags: []string{"a", "b"}, N: 1 << 63, Small: &number, Yes: true, Raw: []byte("r")},
		{Raw: []byte{0xff, 0xfe}},
		{Messages: []message{{Role: "tool"}}, N: 2, Tags: []string{"c"}},
	}, options...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

const wantRows = `{"messages":[{"role":"user","content":"say \"hi\"\n","calls":[]},{"role":"assistant","calls":[{"name":"f","arguments":{"q":"x"}}]}],"tags":["a","b"],"n":9223372036854775808,"small":0.5,"yes":true,"raw":"r"}
{"messages":[],"tags":[],"n":0,"yes":false,"raw":"//4="}
{"messages":[{"role":"tool","calls":[]}],"tags":["c"],"n":2,"yes":false,"raw":""}
`

func TestRead(t *testing.T) {
	for name, options := range map[string][]parquet.WriterOption{
		"plain": nil, "zstd": {parquet.Compression(&parquet.Zstd)}, "gzip": {parquet.Compression(&parquet.Gzip)}, "snappy": {parquet.Compression(&parquet.Snappy)},
		"row groups": {parquet.MaxRowsPerRowGroup(1)}, "version 1": {parquet.DataPageVersion(1)},
	} {
		got, err := readFile(t, writeRows(t, options...), usual)
		if err != nil || got != wantRows {
			t.Errorf("%s: error %v\ngot  %s\nwant %s", name, err, got, wantRows)
		}
	}
}

// TestReadWhatPyArrowWrites reads what data sets come in: files of pyarrow, with its codecs and versions.
func TestReadWhatPyArrowWrites(t *testing.T) {
	python := testtools.Python(t, "pyarrow==26.0.1")
	dir := t.TempDir()
	script := `
import sys, pyarrow as pa, pyarrow.parquet as pq
rows = [
    {"messages": [{"role": "user", "content": "q", "tool_calls": None}, {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"x": 1, "y": None}}}]}], "n": 1, "ok": True, "score": 0.5, "tags": ["a", None, "b"]},
    {"messages": [{"role": "user", "content": "日本", "tool_calls": []}], "n": None, "ok": False, "score": 1e-7, "tags": []},
    {"messages": [], "n": 3, "ok": None, "score": None, "tags": None},
]
table = pa.Table.from_pylist(rows)
for name, options in {"snappy": {}, "zstd": {"compression": "zstd"}, "gzip": {"compression": "gzip"}, "brotli": {"compression": "brotli"}, "lz4": {"compression": "lz4"},
        "plain": {"compression": "none", "use_dictionary": False}, "v2": {"data_page_version": "2.0"}, "groups": {"row_group_size": 1}}.items():
    pq.write_table(table, sys.argv[1] + "/" + name + ".parquet", **options)
`
	if said, err := exec.Command(python, "-c", script, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	const want = `{"messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":{"x":1}}}]}],"n":1,"ok":true,"score":0.5,"tags":["a",null,"b"]}
{"messages":[{"role":"user","content":"日本","tool_calls":[]}],"ok":false,"score":1e-07,"tags":[]}
{"messages":[],"n":3}
`
	paths, _ := filepath.Glob(filepath.Join(dir, "*.parquet"))
	if len(paths) != 8 {
		t.Fatalf("%d files", len(paths))
	}
	for _, path := range paths {
		if got, err := readFile(t, path, usual); err != nil || got != want {
			t.Errorf("%s: error %v\ngot  %s\nwant %s", filepath.Base(path), err, got, want)
		}
	}
}

func wantFault(t *testing.T, name string, err error, parts ...string) {
	t.Helper()
	if fault := new(FileError); !errors.As(err, &fault) {
		t.Errorf("%s: error %v, want a FileError", name, err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: error %q does not say %q", name, err, part)
		}
	}
}

func TestLimits(t *testing.T) {
	path := writeRows(t)
	_, err := readFile(t, path, Limits{Rows: 2, RowBytes: 1 << 20})
	wantFault(t, "rows", err, "has 3 rows: at most 2 are read")
	_, err = readFile(t, path, Limits{Rows: 10, RowBytes: 20})
	wantFault(t, "bytes", err, "has a row of more than 20 bytes, row 1")
}

// TestHostileFiles has files that ask for much more memory than they have bytes: the child ends, and this process goes on.
func TestHostileFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	footer := func(metadata ...byte) []byte {
		file := append([]byte("PAR1"), metadata...)
		return append(file, byte(len(metadata)), 0, 0, 0, 'P', 'A', 'R', '1')
	}
	for name, data := range map[string][]byte{
		"nothing":            {},
		"the beginning":      []byte("PAR1"),
		"no footer":          []byte("PAR1PAR1PAR1"),
		"a footer too long":  []byte("PAR1\xff\xff\xff\x7fPAR1"),
		"an empty footer":    footer(0),
		"two billion fields": footer(0x15, 0x02, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07), // a list of 2^31-1 structs
	} {
		_, err := readFile(t, write(name, data), usual)
		wantFault(t, name, err)
	}
	// A value of 64 MiB, which packs to some thousand bytes.
	path := filepath.Join(dir, "bomb.parquet")
	type wide struct {
		Text string `parquet:"text,zstd"`
	}
	if err := parquet.WriteFile(path, []wide{{strings.Repeat("x", 64<<20)}}); err != nil {
		t.Fatal(err)
	}
	_, err := readFile(t, path, usual)
	wantFault(t, "a long value", err)
}

// TestDamagedFiles changes bytes of a file: it is read, or a fault is reported, and in time.
func TestDamagedFiles(t *testing.T) {
	whole, err := os.ReadFile(writeRows(t, parquet.Compression(&parquet.Snappy)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "damaged.parquet")
	rng := rand.New(rand.NewPCG(3, 4))
	for range 150 {
		data := bytes.Clone(whole)
		for range 1 + rng.IntN(3) {
			data[rng.IntN(len(data))] ^= byte(1 + rng.IntN(255))
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readFile(t, path, usual); err != nil {
			wantFault(t, "damaged", err)
		}
	}
}

// TestReadEnds wants an error of the writer and the end of a context to end the child.
func TestReadEnds(t *testing.T) {
	f, err := os.Open(writeRows(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Read(context.Background(), f, usual, brokenWriter{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Read(ctx, f, usual, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
