package main

import (
	"os"
	"strings"
	"testing"
)

// Which operations the back ends take is known of these very functions: others need the table made again.
func TestFactsAreOfTheModule(t *testing.T) {
	ggml, err := ggmlDir()
	if err != nil {
		t.Fatal(err)
	}
	sum, err := digest(ggml)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := os.ReadFile("../facts.cpp")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(facts), "// Digest of the functions: "+sum+"\n") {
		t.Error("the functions of ggml's CUDA and Vulkan back ends have changed: run go generate ./runtime/llama/devicetest")
	}
}
