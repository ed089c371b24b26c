package route_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lorikeet-ai/lorikeet/route"
)

// The scripts tell what nodes are known and ask where requests go. Commands:
//
//	new [bound=F] [spread=F] [age=DUR] [load=DUR]
//	node NAME [running=N] [queued=N] [sent=N] [slots=8] [free=N] [resident=(..)] [roles=(..)] [age=DUR] [unready]
//	                                 tell what is known of a node, in place of what was known before
//	gone NAME
//	route [adapter=NAME] [prefix=NAME] [length=N] [tokens=N] [share=F] [tried=(..)] [begun]
//	requests N [adapter=NAME] [share=F]   route N of them one after the other, none of which ends; prints how many each node has got
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/route", func(t *testing.T, path string) {
		s := &script{}
		datadriven.RunTest(t, path, s.command)
	})
}

type script struct {
	options route.Options
	nodes   []route.Node
}

func (s *script) command(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "new":
		*s = script{}
		d.MaybeScanArgs(t, "bound", &s.options.Bound)
		d.MaybeScanArgs(t, "spread", &s.options.Spread)
		s.options.MaxAge = duration(t, d, "age")
		s.options.LoadTime = duration(t, d, "load")
		return ""
	case "node":
		n := node(t, d)
		s.remove(n.Name)
		s.nodes = append(s.nodes, n)
		return ""
	case "gone":
		s.remove(d.CmdArgs[0].Key)
		return ""
	case "route":
		return s.route(t, d)
	case "requests":
		return s.requests(t, d)
	}
	t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	return ""
}

func (s *script) remove(name string) {
	s.nodes = slices.DeleteFunc(s.nodes, func(n route.Node) bool { return n.Name == name })
}

func node(t *testing.T, d *datadriven.TestData) route.Node {
	n := route.Node{Name: d.CmdArgs[0].Key, Slots: 8, FreeTokens: 10000, Roles: []string{route.RoleServe}, Resident: map[string]bool{}}
	d.MaybeScanArgs(t, "running", &n.Running)
	d.MaybeScanArgs(t, "queued", &n.Queued)
	d.MaybeScanArgs(t, "sent", &n.Outstanding)
	d.MaybeScanArgs(t, "slots", &n.Slots)
	d.MaybeScanArgs(t, "free", &n.FreeTokens)
	n.Age = duration(t, d, "age")
	n.Ready = !d.HasArg("unready")
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "resident":
			for _, name := range arg.Vals {
				n.Resident[name] = true
			}
		case "roles":
			n.Roles = arg.Vals
		}
	}
	return n
}

func request(t *testing.T, d *datadriven.TestData) (r route.Request) {
	d.MaybeScanArgs(t, "adapter", &r.Adapter)
	d.MaybeScanArgs(t, "prefix", &r.Prefix)
	d.MaybeScanArgs(t, "length", &r.PrefixTokens)
	d.MaybeScanArgs(t, "tokens", &r.Tokens)
	d.MaybeScanArgs(t, "share", &r.Share)
	return r
}

func (s *script) route(t *testing.T, d *datadriven.TestData) string {
	var tried []route.Attempt
	for _, arg := range d.CmdArgs {
		if arg.Key == "tried" {
			for _, name := range arg.Vals {
				tried = append(tried, route.Attempt{Node: name, Begun: d.HasArg("begun")})
			}
		}
	}
	found, err := s.options.Route(s.nodes, request(t, d), tried...)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	return fmt.Sprintf("%s: %s (homes: %d)\n", found.Node, found.Reason, found.Homes)
}

func (s *script) requests(t *testing.T, d *datadriven.TestData) string {
	var count int
	if _, err := fmt.Sscan(d.CmdArgs[0].Key, &count); err != nil {
		d.Fatalf(t, "%v", err)
	}
	r, got := request(t, d), map[string]int{}
	for range count {
		found, err := s.options.Route(s.nodes, r)
		if err != nil {
			return fmt.Sprintf("error: %v\n", err)
		}
		got[found.Node]++
		i := slices.IndexFunc(s.nodes, func(n route.Node) bool { return n.Name == found.Node })
		s.nodes[i].Outstanding++
		s.nodes[i].Resident[r.Adapter] = true
	}
	var out strings.Builder
	for _, n := range s.nodes {
		fmt.Fprintf(&out, "%s: %d\n", n.Name, got[n.Name])
	}
	return out.String()
}

func duration(t *testing.T, d *datadriven.TestData, key string) time.Duration {
	var text string
	if !d.MaybeScanArgs(t, key, &text) {
		return 0
	}
	value, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return value
}
