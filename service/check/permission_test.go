package check

import (
	"fmt"
	"strings"
	"testing"
)

// TestManyPermissions has more records than are shown: those in force come first, and the rest
// is counted.
func TestManyPermissions(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for i := range 2 * mostPermissions {
		s.zones["example.org."].add(t, fmt.Sprintf(`_validation-persist.www.example.org. TXT "%02d"`, i))
	}
	long := strings.Repeat("x", 200)
	s.zones["example.org."].add(t, `_validation-persist.example.org. TXT "ca.example; accounturi=https://ca.example/" "`+long+`" "`+long+`; policy=wildcard"`)
	var found []string
	for _, step := range s.run(t).Steps {
		if step.Name == "permission" {
			found = append(found, step.Found)
			if step.Status != Note {
				t.Errorf("%v", step)
			}
		}
	}
	if len(found) != mostPermissions+1 || found[mostPermissions] != "there are 11 more TXT records where standing permissions are" {
		t.Fatalf("%d: %q", len(found), found)
	}
	if want := "the account https://ca.example/" + long; !strings.HasPrefix(found[0], want) || !strings.Contains(found[0], "x… of ca.example can obtain certificates for example.org and *.example.org") {
		t.Errorf("the first is %q", found[0])
	}
}

// TestPermissionsFail has the look-up fail, which is no fault of what is checked.
func TestPermissionsFail(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.changeWorld("resolver-answers _validation-persist.example.org. TXT SERVFAIL")
	s.zones["example.org."].add(t, `_validation-persist.www.example.org. TXT "ca.example; accounturi=https://ca.example/1"`)
	report := s.run(t)
	var found []string
	for _, step := range report.Steps {
		if step.Name == "permission" {
			found = append(found, step.Found)
		}
	}
	if len(found) != 2 || !strings.Contains(found[0], "answers SERVFAIL for _validation-persist.example.org TXT") || !strings.Contains(found[1], "https://ca.example/1") || report.ExitCode() != 0 {
		t.Errorf("exit code %d: %q", report.ExitCode(), found)
	}
}
