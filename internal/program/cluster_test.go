package program

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// A node has a name that stays, the copies that its cluster allows, and says with whom it shares without passwords.
func TestClusterSettings(t *testing.T) {
	for _, test := range []struct {
		c        ClusterConfig
		replicas int
		others   string
	}{
		{ClusterConfig{At: EmbedCluster}, 1, "the only one"},
		{ClusterConfig{At: EmbedCluster, Listen: "127.0.0.1:1", Peers: []string{"127.0.0.1:2", "127.0.0.1:3"}}, 3, "with 127.0.0.1:2, 127.0.0.1:3"},
		{ClusterConfig{At: "nats://u:hidden@one,two:4222", Replicas: 1}, 1, "by nats://one,two:4222"},
	} {
		test.c.Prefix, test.c.MaxBytes = "p", 1
		c := Config{Cluster: test.c, Data: t.TempDir(), Listen: "127.0.0.1:8080"}
		o := c.clusterOptions(zerolog.Nop())
		if err := c.CheckCluster(); err != nil || o.Replicas != test.replicas || test.c.others() != test.others {
			t.Errorf("%+v: %d replicas, %q, %v", test.c, o.Replicas, test.c.others(), err)
		}
		if o.Name != c.nodeName() || o.Name == "" || strings.Contains(o.Name, ":") {
			t.Errorf("the name is %q", o.Name)
		}
		if test.c.At != EmbedCluster && (len(o.URLs) != 2 || o.URLs[1] != "nats://two:4222") {
			t.Errorf("the addresses are %v", o.URLs)
		}
	}
	if err := (&Config{}).CheckCluster(); err != nil {
		t.Error(err)
	}
}
