package testtools

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TRL are torch, transformers, PEFT and TRL with all that they need, of fixed versions: one environment for all tests that
// compare with any of them, of 0.7 GB to download.
var TRL = strings.Fields(`torch==2.15.0 nvidia-cuda-runtime==13.2.86
	trl==1.16.0 peft==0.21.2 transformers==5.24.0 accelerate==1.15.0 datasets==5.2.0 huggingface_hub==2.4.0 numpy==2.4.6
	packaging==26.4 pandas==3.1.1 psutil==7.2.2 pyarrow==26.0.1 PyYAML==6.0.4 regex==2026.11.19 safetensors==0.8.0 tokenizers==0.23.3
	tqdm==4.70.1 Jinja2==3.1.6 typer==0.29.2 annotated-doc==0.0.7 click==8.5.1 dill==0.4.1 filelock==4.3.1 fsspec==2026.9.0
	hf-xet==1.8.0 httpx2==2.16.2 httpcore2==2.16.2 MarkupSafe==3.0.4 multiprocess==0.70.19 networkx==3.6.1 pydantic==2.14.4
	pydantic_core==2.50.5 python-dateutil==4.0.0 rich==15.0.0 setuptools==84.2.1 shellingham==1.5.4 sympy==1.14.0
	typing_extensions==4.16.0 xxhash==4.1.0 annotated-types==0.8.0 anyio==4.16.0 idna==3.20 markdown-it-py==4.3.0 mpmath==1.3.0
	Pygments==2.21.0 truststore==0.10.5 typing-inspection==0.4.5 tzdata==2026.6 h11==0.16.0 mdurl==0.1.2 six==1.17.0`)

//go:embed torch.py
var withoutCUDA string

// Torch returns the path of a Python interpreter as Python does, for packages with torch among them. The wheel of torch asks for
// CUDA's libraries, of some GiB: nothing that the packages ask for is installed with them, so that all of it has to be among
// the packages, and torch is made to run without those libraries. This takes gcc and binutils.
func Torch(t testing.TB, packages ...string) string {
	t.Helper()
	folder := environment(t, "torch", "==", packages, func(ctx context.Context, folder string) error {
		base, err := exec.LookPath("python3")
		if err != nil {
			return fmt.Errorf("python3 is needed for a test: %w", err)
		}
		if err := command(ctx, "", base, "-m", "venv", "--clear", folder); err != nil {
			return err
		}
		python := filepath.Join(folder, "bin", "python")
		if err := command(ctx, "", python, append([]string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"}, packages...)...); err != nil {
			return err
		}
		if err := command(ctx, "", python, "-c", withoutCUDA); err != nil {
			return err
		}
		return command(ctx, "", python, "-c", "import torch")
	})
	return filepath.Join(folder, "bin", "python")
}
