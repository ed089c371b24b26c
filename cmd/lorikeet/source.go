package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/lorikeet-ai/lorikeet/fetch"
	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
)

// modelsDir is the folder in the data folder that models are kept in.
const modelsDir = "models"

// fetchOptions are what the environment says of hubs and buckets, under the names that their other clients read.
// Models are kept in the data folder.
func fetchOptions(env lookup, data string) fetch.Options {
	first := func(names ...string) string {
		for _, name := range names {
			if value, _ := env(name); value != "" {
				return value
			}
		}
		return ""
	}
	offline := strings.ToLower(first("HF_HUB_OFFLINE"))
	return fetch.Options{
		Hub: fetch.Hub{
			Endpoint: first("HF_ENDPOINT"), Token: strings.TrimSpace(first("HF_TOKEN")),
			Offline: offline == "1" || offline == "true" || offline == "on" || offline == "yes",
		},
		Bucket: fetch.Bucket{
			Endpoint: first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), Region: first("AWS_REGION", "AWS_DEFAULT_REGION"),
			Key: first("AWS_ACCESS_KEY_ID"), Secret: first("AWS_SECRET_ACCESS_KEY"), Session: first("AWS_SESSION_TOKEN"),
		},
		Dir: filepath.Join(data, modelsDir),
	}
}

// hub makes a source of what people write after -hf: org/repo[:quant].
func hub(name string) string {
	if fetch.IsSource(name) {
		return name
	}
	return "hf://" + name
}

// bringModel returns where a model is on this disk: a GGUF file, or a folder of config.json, safetensors and
// tokenizer files. A source (hf://org/repo[@revision][:quant][/file]) is downloaded first, as far as it is not here,
// which is shown on screen; a path is returned as it is.
func bringModel(ctx context.Context, model string, o fetch.Options, screen io.Writer) (string, error) {
	if !fetch.IsSource(model) {
		return model, nil
	}
	if o.Dir == modelsDir {
		return "", fmt.Errorf("%w: the home folder is not known: LORIKEET_DATA says where %s is to go", errUsage, model)
	}
	d := &downloads{screen: screen}
	o.Progress, o.Note = d.progress, d.note
	f, err := fetch.New(o)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errUsage, err)
	}
	defer d.end()
	return f.Model(ctx, model)
}

// downloads shows them: a bar on a terminal, else a line now and then. Its calls come one at a time.
type downloads struct {
	screen io.Writer
	file   string
	bar    *progressbar.ProgressBar // on a terminal
	told   time.Time                // elsewhere
	began  time.Time
}

func (d *downloads) progress(file string, done, total int64) {
	if file != d.file {
		d.end()
		d.file, d.began, d.told = file, time.Now(), time.Time{}
		if isTerminal(d.screen) {
			d.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(d.screen), progressbar.OptionSetDescription(filepath.Base(file)),
				progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionSetPredictTime(true))
		}
	}
	switch {
	case d.bar != nil:
		_ = d.bar.Set64(done) // a bar that cannot be drawn must not stop the work
	case done == total:
		fmt.Fprintf(d.screen, "downloaded %s: %s in %v\n", file, bytesize.Format(total), time.Since(d.began).Round(10*time.Millisecond))
	case time.Since(d.told) > lineEvery:
		d.told = time.Now()
		fmt.Fprintf(d.screen, "downloading %s: %s of %s\n", file, bytesize.Format(done), bytesize.Format(total))
	}
}

// note prints a line beside the bar.
func (d *downloads) note(text string) {
	if d.bar != nil {
		fmt.Fprintln(d.screen)
	}
	fmt.Fprintln(d.screen, text)
}

// end leaves the bar on the screen.
func (d *downloads) end() {
	if d.bar != nil {
		fmt.Fprintln(d.screen)
	}
	d.bar, d.file = nil, ""
}
