//go:build cgo && linux

package llama

import (
	"bytes"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
)

// However many adapters with DoRA are packed at once, the rows of the base are read by one thread per CPU, and by those
// with the lowest priority.
func TestDoRAReadsOnOnePool(t *testing.T) {
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || nice == 1 { // the system call gives 20 minus it
		t.Skip("the tests themselves run with the lowest priority")
	}
	f, err := quant.Read(bytes.NewReader(demo.Base()), int64(len(demo.Base())))
	if err != nil {
		t.Fatal(err)
	}
	m := openDemo(t)
	lora := doraAdapters(t, m, f, isLinear)[0].lora
	done := make(chan struct{})
	go func() {
		defer close(done)
		var group sync.WaitGroup
		for range 32 {
			group.Go(func() {
				p, err := m.Pack(lora)
				if err != nil {
					t.Error(err)
					return
				}
				p.Close()
			})
		}
		group.Wait()
	}()
	most := 0
	for {
		most = max(most, threadsOfLowestPriority(t))
		select {
		case <-done:
			if most == 0 || most > goruntime.NumCPU() {
				t.Errorf("%d threads of the lowest priority, want 1 to %d", most, goruntime.NumCPU())
			}
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// threadsOfLowestPriority counts the process's threads whose nice value is 19.
func threadsOfLowestPriority(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, task := range tasks {
		stat, err := os.ReadFile("/proc/self/task/" + task.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(stat), ") ") // the name may hold spaces
		if fields := strings.Fields(after); len(fields) > 16 && fields[16] == "19" {
			n++
		}
	}
	return n
}
