package tenants

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shop is a tenant as the tests have it.
var shop = Tenant{Name: "shop", Roles: []Role{Chat, Train}, Adapters: []string{"shared-*"}, Quota: Quota{RequestsPerMinute: 60, TokensPerMinute: 600, Queued: 2}}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		tenant      *Tenant
		name        string
		owns, sees  bool
		whole, role string
	}{
		{&shop, "shop.greet", true, true, "shop.greet", ""},
		{&shop, "greet", false, false, "shop.greet", ""},
		{&shop, "shared-1", false, true, "shop.shared-1", ""},
		{&shop, "shopping.greet", false, false, "shop.shopping.greet", ""},
		{&shop, "other.greet", false, false, "shop.other.greet", ""},
		{&Tenant{Name: "root", Roles: []Role{Admin}}, "other.greet", true, true, "other.greet", ""},
		{nil, "greet", true, true, "greet", ""},
	} {
		if owns, sees, whole := test.tenant.OwnsAdapter(test.name), test.tenant.Sees(test.name), test.tenant.QualifiedName(test.name); owns != test.owns || sees != test.sees || whole != test.whole {
			t.Errorf("%s of %s: owns %v, sees %v, whole name %s", test.name, test.tenant.Owner(), owns, sees, whole)
		}
	}
	if shop.May(Admin) || !shop.May(Train) || !(*Tenant)(nil).May(Admin) {
		t.Error("roles are mixed up")
	}
	if !shop.Owns("shop") || shop.Owns("") || shop.Owns("other") || !(*Tenant)(nil).Owns("shop") {
		t.Error("owners are mixed up")
	}
}

// TestKeys makes keys, finds their tenants, and has the registry notice changes of the file.
func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	key, err := Add(path, shop)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), key) {
		t.Errorf("the key itself is in the file: %s %v", text, err)
	}
	var warned []string
	r, err := Open(path, func(s string) { warned = append(warned, s) })
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	r.now = func() time.Time { return now }
	if got, _, ok := r.Find(key); !ok || got.Name != "shop" {
		t.Errorf("%+v %v", got, ok)
	}
	if _, _, ok := r.Find(key + "x"); ok {
		t.Error("another key is known")
	}

	richer := shop
	richer.Quota.Jobs = 5
	second, err := Add(path, richer)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(recheck)
	for _, k := range []string{key, second} {
		if got, _, ok := r.Find(k); !ok || got.Quota.Jobs != 5 {
			t.Errorf("after the change: %+v %v", got, ok)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(recheck)
	if _, _, ok := r.Find(key); !ok {
		t.Error("a damaged file takes the keys away")
	}
	if last := warned[len(warned)-1]; !strings.Contains(last, "is not a file of keys") {
		t.Errorf("the warning is %q", last)
	}
}

func TestRemoveAndList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	for _, name := range []string{"a", "b", "a"} {
		if _, err := Add(path, Tenant{Name: name, Roles: []Role{Chat}}); err != nil {
			t.Fatal(err)
		}
	}
	list, digests, err := List(path)
	if err != nil || len(list) != 3 || len(digests[0]) != 12 {
		t.Errorf("%+v %q %v", list, digests, err)
	}
	if n, err := Remove(path, "a"); n != 2 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if list, _, err := List(path); err != nil || len(list) != 1 || list[0].Name != "b" {
		t.Errorf("%+v %v", list, err)
	}
}

// TestBadFiles are refused with what is the matter.
func TestBadFiles(t *testing.T) {
	const digest = `"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"`
	for text, want := range map[string]string{
		`{}`:      "has no key",
		`[]`:      "is not a file of keys",
		`{"k":1}`: `unknown field "k"`,
		`{"keys":[{"name":"a","roles":["chat"],` + digest + `}]} {}`:                                            "something follows its object",
		`{"keys":[{"name":"A","roles":["chat"],` + digest + `}]}`:                                               `the name "A"`,
		`{"keys":[{"name":"a.b","roles":["chat"],` + digest + `}]}`:                                             `the name "a.b"`,
		`{"keys":[{"name":"a","roles":["boss"],` + digest + `}]}`:                                               `the role "boss"`,
		`{"keys":[{"name":"a","roles":[],` + digest + `}]}`:                                                     "has no roles",
		`{"keys":[{"name":"a","roles":["chat"],"adapters":["["],` + digest + `}]}`:                              `the adapter pattern "["`,
		`{"keys":[{"name":"a","roles":["chat"],"quota":{"jobs":-1},` + digest + `}]}`:                           "the quota jobs of -1",
		`{"keys":[{"name":"a","roles":["chat"],"digest":"md5:00"}]}`:                                            `the digest "md5:00"`,
		`{"keys":[{"name":"a","roles":["chat"],` + digest + `},{"name":"a","roles":["train"],` + digest + `}]}`: "is described in two ways",
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, func(string) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestUsage holds a tenant to its rates and to its number of requests.
func TestUsage(t *testing.T) {
	now := time.Unix(1000, 0)
	u := &Usage{now: func() time.Time { return now }}
	u.limit(shop.Quota)
	for i := range 60 {
		if err := u.Request(); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	var limit *LimitError
	if err := u.Request(); !errors.As(err, &limit) || limit.Quota != "requests_per_minute" || limit.After != time.Second {
		t.Errorf("request 61: %v", err)
	}
	now = now.Add(time.Second)
	if err := u.Request(); err != nil {
		t.Errorf("a second later: %v", err)
	}

	first, err := u.Generate(1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := u.Generate(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Generate(1); !errors.As(err, &limit) || limit.Quota != "queued" {
		t.Errorf("a third request: %v", err)
	}
	first(900) // 300 more than a minute's worth
	first(900)
	if _, err := u.Generate(1); !errors.As(err, &limit) || limit.Quota != "tokens_per_minute" || limit.After < 30*time.Second || limit.After > 31*time.Second {
		t.Errorf("after too many tokens: %v", err)
	}
	if _, tokens := u.Rates(); tokens.Limit != 600 || tokens.Remaining != 0 || tokens.Reset != 90*time.Second {
		t.Errorf("the rate of tokens is %+v", tokens)
	}
	second(0)
	now = now.Add(31 * time.Second)
	done, err := u.Generate(2)
	if err != nil {
		t.Fatal(err)
	}
	done(0)
	if u.live != 0 {
		t.Errorf("%d requests are live", u.live)
	}
	u.limit(Quota{})
	for range 1000 {
		if err := u.Request(); err != nil {
			t.Fatal(err)
		}
	}
}
