package cluster

import (
	"fmt"
	"strings"

	"github.com/rs/zerolog"
)

// serverLog writes what the NATS server in this process says to our log. Its notices are of interest to who looks for a
// fault only, and its errors are mostly of nodes that are not there yet. It implements the server's Logger.
type serverLog struct{ log zerolog.Logger }

func (l serverLog) write(e *zerolog.Event, format string, v []any) {
	e.Str("of", "nats").Msg(fmt.Sprintf(format, v...))
}

func (l serverLog) Noticef(format string, v ...any) { l.write(l.log.Debug(), format, v) }
func (l serverLog) Fatalf(format string, v ...any)  { l.write(l.log.Error(), format, v) }
func (l serverLog) Debugf(format string, v ...any)  { l.write(l.log.Trace(), format, v) }
func (l serverLog) Tracef(format string, v ...any)  { l.write(l.log.Trace(), format, v) }

func (l serverLog) Errorf(format string, v ...any) {
	e := l.log.Warn()
	if strings.HasPrefix(format, "Error trying to connect to route") { // twice a second for each node that is not there
		e = l.log.Debug()
	}
	l.write(e, format, v)
}

func (l serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords") { // they are in the memory of this process alone
		return
	}
	l.write(l.log.Info(), format, v)
}
