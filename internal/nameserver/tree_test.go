package nameserver

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A tree and the copies of it hold what maps would, whichever of them is changed,
// and however the hashes of keys fall.
func TestTree(t *testing.T) {
	hashes := newTree().exact.hash
	for _, test := range []struct {
		name string
		hash func(key string) uint64
	}{
		{"hashes as they are", hashes},
		{"few hashes", func(key string) uint64 { return hashes(key) % 3 }},
		{"hashes that differ in the last level", func(key string) uint64 { return hashes(key) << ((trieLevels - 1) * trieBits) }},
		{"equal hashes", func(string) uint64 { return 7 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			trees := []*tree{newTreeBy(test.hash)}
			models := []map[string]node{{}}
			for range 3000 {
				i := random.IntN(len(trees))
				key := fmt.Sprintf("%d\x00%d\x00", random.IntN(10), random.IntN(10))
				before := models[i][key]
				switch random.IntN(10) {
				case 0:
					copied, model := trees[i].Copy(), maps.Clone(models[i])
					if len(trees) < 6 {
						trees, models = append(trees, copied), append(models, model)
					} else if j := random.IntN(len(trees)); j != i {
						trees[j], models[j] = copied, model
					}
					continue
				case 1, 2, 3:
					delete(models[i], key)
					if got := trees[i].Delete(key); got != before {
						t.Fatalf("seed %d: deleting %q returns %q, not %q", seed, key, got, before)
					}
				default:
					n := node(fmt.Sprint(random.Uint64()))
					models[i][key] = n
					if got := trees[i].Set(key, n); got != before {
						t.Fatalf("seed %d: setting %q returns %q, not %q", seed, key, got, before)
					}
				}
			}
			for i := range trees {
				checkTree(t, trees[i], models[i])
			}
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
	}
}

// checkTree compares all that can be asked of a tree with what a map says.
func checkTree(t *testing.T, tree *tree, model map[string]node) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(model))
	if tree.Len() != len(keys) {
		t.Errorf("%d keys, want %d", tree.Len(), len(keys))
	}
	fresh := newTreeBy(tree.exact.hash)
	for _, key := range keys {
		fresh.Load(key, model[key])
		if n, ok := tree.Get(key); !ok || n != model[key] {
			t.Errorf("at %q: %q, %v, want %q", key, n, ok, model[key])
		}
		if n, ok := tree.Get(key + "x\x00"); ok {
			t.Errorf("below %q: %q", key, n)
		}
	}
	if got, want := branches(tree.exact.root), branches(fresh.exact.root); got != want {
		t.Errorf("%d branches, a new tree has %d", got, want)
	}
	var scanned []string
	tree.Scan(func(key string, n node) bool {
		if n != model[key] {
			t.Errorf("at %q: %q, want %q", key, n, model[key])
		}
		scanned = append(scanned, key)
		return true
	})
	if diff := cmp.Diff(keys, scanned); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, probe := range append([]string{"", "5\x00", "~"}, keys...) {
		at, found := slices.BinarySearch(keys, probe)
		var after, before string
		if at < len(keys) {
			after = keys[at]
		}
		switch {
		case found:
			before = probe
		case at > 0:
			before = keys[at-1]
		}
		if got := [2]string{tree.before(probe), tree.after(probe)}; got != [2]string{before, after} {
			t.Errorf("around %q: %q, want %q and %q", probe, got, before, after)
		}
		var ascended []string
		tree.Ascend(probe, func(key string, _ node) bool {
			ascended = append(ascended, key)
			return strings.HasPrefix(key, "5")
		})
		if len(ascended) > 0 && ascended[0] != after {
			t.Errorf("from %q: %q, want %q first", probe, ascended, after)
		}
	}
}

// branches counts those of a trie.
func branches(b *branch) int {
	if b == nil || len(b.entries)+len(b.branches) == 0 {
		return 0
	}
	n := 1
	for _, below := range b.branches {
		n += branches(below)
	}
	return n
}
