package check

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrint(t *testing.T) {
	report := &Report{Steps: []Step{
		{Name: "resolver", Status: OK, Found: "it answers"},
		{Name: "server", Zone: "acme.example.com", Status: Wrong, Found: "no answer", Do: "start it:", Lines: []string{"bestdns {", "\tlisten :53", "}"}},
		Step{Name: "ds", Zone: "acme.example.com", Status: Warning, Found: "\x1b[31mred\nand \u009b\u202emore"}.shown(),
		{Name: "account", Status: Note, Found: "a record"},
	}}
	report.Outcome = report.outcome()
	for signs, want := range map[bool]string{
		false: `ok           resolver     it answers

zone acme.example.com
wrong        server       no answer
                          start it:
                              bestdns {
                              	listen :53
                              }
warning      ds           ⟨U+001B⟩[31mred⟨U+000A⟩and ⟨U+009B⟩⟨U+202E⟩more

1 step is wrong, 1 step has a warning.

note         account      a record
`,
		true: `✓ ok           resolver     it answers

zone acme.example.com
✗ wrong        server       no answer
                            start it:
                                bestdns {
                                	listen :53
                                }
! warning      ds           ⟨U+001B⟩[31mred⟨U+000A⟩and ⟨U+009B⟩⟨U+202E⟩more

1 step is wrong, 1 step has a warning.

· note         account      a record
`,
	} {
		var out strings.Builder
		p := &Printer{Out: &out, Signs: signs}
		for _, step := range report.Steps {
			p.Step(step)
		}
		p.Summary(report)
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("signs %t (-want +got):\n%s", signs, diff)
		}
	}
	for want, steps := range map[int][]Step{
		0: {{Status: OK}, {Status: Warning}, {Status: Skipped}, {Status: Note}},
		1: {{Status: Unknown}, {Status: Wrong}},
		2: {{Status: OK}, {Status: Unknown}},
	} {
		r := &Report{Steps: steps}
		r.Outcome = r.outcome()
		if got := r.ExitCode(); got != want {
			t.Errorf("exit code %d for %v", got, steps)
		}
	}
}
