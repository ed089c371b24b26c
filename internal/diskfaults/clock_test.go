//go:build linux && (amd64 || arm64)

package diskfaults

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

const clockVariable = "LORIKEET_TEST_TELLS_TIME"

// tellTime is the child: for each line of its input it tells the date, and how much time has gone by.
func tellTime() int {
	start := time.Now()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(time.Now().Unix(), time.Since(start).Milliseconds())
	}
	return 0
}

// TestClockJumps sets the date of a child, which is not that of the time that goes by.
func TestClockJumps(t *testing.T) {
	Need(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), clockVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c, err := StartWithClock(cmd)
	if err != nil {
		t.Fatal(err)
	}
	for _, ahead := range []time.Duration{0, 10_000 * time.Hour, -10_000 * time.Hour} {
		c.Jump(ahead)
		fmt.Fprintln(in)
		var date, gone int64
		if _, err := fmt.Fscan(out, &date, &gone); err != nil {
			t.Fatal(err)
		}
		if off := time.Unix(date, 0).Sub(time.Now().Add(ahead)).Abs(); off > time.Minute || gone > 60_000 || gone < 0 {
			t.Errorf("%v ahead, the date is off by %v, and %d ms have gone by", ahead, off, gone)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
