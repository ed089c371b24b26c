package backends

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What a build lacks is named, with how to get it.
func TestScriptsNameWhatIsMissing(t *testing.T) {
	for _, c := range []struct{ script, variable, want string }{
		{"vulkan/build.sh", "GLSLC=no-such-compiler", "apt-get install glslc"},
		{"vulkan/build.sh", "CXX=no-such-compiler", "apt-get install libvulkan-dev"},
		{"cuda/build.sh", "CUDA_HOME=/nowhere", "CUDA_HOME is /nowhere, which has no bin/nvcc"},
	} {
		cmd := exec.Command(c.script)
		// Any program will do for glslc: the headers are looked for before it is used.
		cmd.Env = append(os.Environ(), "GLSLC=true", "CUDA_ARCHS=90", "LIB="+t.TempDir(), c.variable)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s with %s: %v\n%s", c.script, c.variable, err, out)
		}
	}
}

// Without a GPU it must be said for which one to compile.
func TestArchitecturesAreAskedFor(t *testing.T) {
	if _, err := exec.LookPath("nvidia-smi"); err == nil {
		t.Skip("this machine has an NVIDIA GPU")
	}
	cmd := exec.Command("cuda/build.sh")
	cmd.Env = append(os.Environ(), "CUDA_ARCHS=", "LIB="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "CUDA_ARCHS=90") {
		t.Errorf("%v\n%s", err, out)
	}
}
