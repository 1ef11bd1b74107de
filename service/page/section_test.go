package page

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// outline is a section with the names of its rows.
type outline struct {
	Open  []string
	Folds []string // keys, titles and how many rows
	Calm  string
}

func outlineOf[T any](s Section[T], name func(T) Text) (o outline) {
	for _, row := range s.Open.Rows {
		o.Open = append(o.Open, string(name(row)))
	}
	for _, fold := range s.Folds {
		o.Folds = append(o.Folds, fmt.Sprintf("%s: %s: %d", fold.Key, fold.Title, len(fold.Rows)))
	}
	if len(o.Open) == 0 && len(o.Folds) > 0 {
		o.Calm = s.Calm
	}
	return o
}

func zonesIn(states ...State) (list []Zone) {
	for i, state := range states {
		list = append(list, Zone{Name: Text(fmt.Sprintf("z%d", i)), State: state})
	}
	return list
}

func repeat[T any](n int, t T) (list []T) {
	for range n {
		list = append(list, t)
	}
	return list
}

func TestZoneSection(t *testing.T) {
	for _, test := range []struct {
		name  string
		zones []Zone
		want  outline
	}{
		{"none", nil, outline{}},
		{"few", zonesIn(Differ, Agree, Agree), outline{Open: []string{"z0", "z1", "z2"}}},
		{"as many as fit", zonesIn(repeat(whole, Agree)...), outline{Open: []string{"z0", "z1", "z2", "z3", "z4", "z5", "z6", "z7"}}},
		{"no trouble", zonesIn(repeat(50, Agree)...), outline{
			Calm: "No zone has trouble.", Folds: []string{"zones rest: 50 zones without trouble: 50"},
		}},
		{"some trouble", zonesIn(append([]State{Faulty, Differ, Unknown, NotAsked}, repeat(46, Agree)...)...), outline{
			Open: []string{"z0", "z1", "z2"}, Folds: []string{"zones rest: 47 zones without trouble, 1 of them not asked yet: 47"},
		}},
		{"much trouble", zonesIn(append(repeat(50, Faulty), Agree)...), outline{
			Open: []string{"z0", "z1", "z2", "z3", "z4"},
			Folds: []string{
				"zones more: 45 more zones with trouble: 45",
				"zones rest: 1 zone without trouble: 1",
			},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := outlineOf(View{Zones: test.zones}.ZoneSection(), func(z Zone) Text { return z.Name })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestOtherSections has what is urgent in the others, and in which words.
func TestOtherSections(t *testing.T) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	v := View{Now: now, ExpiryNotice: 14 * 24 * time.Hour, Challenges: repeat(7, Challenge{Name: "c"}), Denials: repeat(10, Denial{Client: "d"})}
	v.Challenges = append(v.Challenges, repeat(2, Challenge{Name: "later"})...)
	v.Changes = append(repeat(10, Change{Client: "made", Outcome: "changed"}), Change{Client: "refused", Outcome: "refused"}, Change{Client: "failed", Outcome: "failed"})
	v.Clients = append([]Client{{Name: "expired", Expires: now}, {Name: "soon", Expires: now.Add(time.Hour)}}, repeat(500, Client{Name: "lasting"})...)
	calm := View{Now: now, ExpiryNotice: v.ExpiryNotice, Changes: v.Changes[:10], Clients: v.Clients[2:]}
	for _, test := range []struct {
		name      string
		got, want outline
	}{
		{"challenges", outlineOf(v.ChallengeSection(), func(c Challenge) Text { return c.Name }), outline{
			Open: repeat(open, "c"), Folds: []string{"challenges more: 4 more names: 4"},
		}},
		{"changes", outlineOf(v.ChangeSection(), func(c Change) Text { return c.Client }), outline{
			Open: []string{"refused", "failed"}, Folds: []string{"changes rest: 10 changes made: 10"},
		}},
		{"denials", outlineOf(v.DenialSection(), func(d Denial) Text { return d.Client }), outline{
			Open: repeat(open, "d"), Folds: []string{"denials more: 5 earlier requests: 5"},
		}},
		{"clients", outlineOf(v.ClientSection(), func(c Client) Text { return c.Name }), outline{
			Open: []string{"expired", "soon"}, Folds: []string{"clients rest: 500 clients that do not expire soon: 500"},
		}},
		{"calm changes", outlineOf(calm.ChangeSection(), func(c Change) Text { return c.Client }), outline{
			Calm: "None of the last changes was refused, and none failed.", Folds: []string{"changes rest: 10 changes made: 10"},
		}},
		{"calm clients", outlineOf(calm.ClientSection(), func(c Client) Text { return c.Name }), outline{
			Calm: "No client has expired or expires within 14 days.", Folds: []string{"clients rest: 500 clients that do not expire soon: 500"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBriefServers(t *testing.T) {
	one, two := Server{Name: "ns1.test", Address: "192.0.2.1", Serial: 7}, Server{Address: "192.0.2.2", Serial: 7}
	faulty := Server{Name: "ns3.test", Fault: "cannot be reached from here"}
	for _, test := range []struct {
		name string
		zone Zone
		want []Text
	}{
		{"all agree", Zone{State: Agree, Servers: []Server{one, one, two}}, []Text{"ns1.test", "192.0.2.2"}},
		{"one out of reach", Zone{State: Agree, Servers: []Server{one, faulty}}, nil},
		{"they differ", Zone{State: Differ, Servers: []Server{one, two}}, nil},
		{"not asked", Zone{}, nil},
	} {
		if diff := cmp.Diff(test.want, test.zone.Brief()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
