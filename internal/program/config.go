package program

import (
	"net"
	"time"

	"github.com/lorikeet-ai/lorikeet/fetch"
)

// Config is what a server is built from: what `lorikeet serve` was asked for.
type Config struct {
	Model         string // GGUF file, Hugging Face folder, or a source of package fetch; "": the embedded base
	ImportType    string // of the weights of such a folder
	Original      string // what the base was quantized from, a GGUF file or such a folder; "": the folder of Model, if it is one
	Aliases       []string
	Template      string // file of a Jinja chat template; "": the model's own
	Listen        string // host:port
	Keys          []string
	KeyFile       string // of tenants' keys; "": none
	TLSCert       string // file of the certificate; "": HTTP without TLS
	TLSKey        string
	Hosts         []string // names of the server, for requests without keys
	Origins       []string
	AllowSpecial  bool   // control tokens in what clients write count as such
	Data          string // where adapters and downloaded models are stored
	AdapterDirs   []string
	AdapterBytes  int64         // bytes that loaded adapters may hold
	KeepVersions  int           // of an adapter; 0: all
	KeepResponses time.Duration // how long responses are kept; 0: none are
	ResponseBytes int64         // bytes that they may have
	MaxUpload     int64         // bytes
	Remote        string        // whether requests may name sources of adapters: on, off, auto
	Fetch         fetch.Options // what the environment says of hubs and buckets
	TrainMemory   int64         // bytes
	TrainShare    float64       // of the time, for training while requests are answered

	TrainPrecision string // of training's products: fast, half or single; "": fast

	Cluster ClusterConfig

	MaxJobs     int   // training jobs that are kept; the oldest that have ended are removed
	MaxJobData  int64 // bytes that they may have, likewise
	MaxFiles    int   // uploaded files that are kept
	MaxFileData int64 // bytes that they may have

	Parallel int // sequences that run at once
	Context  int // tokens in the KV cache; 0: auto
	Chunk    int // prompt tokens in one decode
	Batch    int // tokens in one decode; 0: auto
	UBatch   int // tokens that are computed at once
	Threads  int // 0: one per core

	KVType         string
	FlashAttention string
	Backend        string // of adapters
	Deterministic  bool   // a row's bits do not depend on which others are decoded, whatever the other settings
	Pooling        string // auto, mean, last, cls
	Reasoning      string // auto, none
	NF4            string
	CheckTensors   bool
	Backends       string // folder of back ends for devices; "": lib beside the program
	Device         string // that computes layers; "": the first GPU
	GPULayers      int    // as llama.Options has it
	Grouped        bool

	GraderModels    []string // name=URL of models that may score for graders, behind OpenAI's API
	GraderKey       string   // the API key for them; "": none
	GraderEndpoints []string // URLs that graders may post answers to, and what lies below them
	GraderSandbox   string   // command that runs the source of Python graders; "": they are refused

	MaxQueue  int
	Deadline  time.Duration
	Drain     time.Duration
	LogLevel  string
	LogFile   string // "": stderr
	LogFormat string
	Version   string // of the program
}

// MaxContext bounds the KV cache that is chosen where Context is 0, in tokens: long-context models would ask for more
// memory than their weights take.
const MaxContext = 16384

// Fetches reports whether requests may name sources of adapters. On a server that other machines reach without a
// key, anyone could have it read what its credentials can read.
func (c *Config) Fetches() bool {
	if c.Remote != "auto" {
		return c.Remote == "on"
	}
	host, _, err := net.SplitHostPort(c.Listen)
	ip := net.ParseIP(host)
	return len(c.Keys) > 0 || c.KeyFile != "" || err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
