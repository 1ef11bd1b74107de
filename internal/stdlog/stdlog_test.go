package stdlog_test

import (
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestProgramKeepsItsLog runs a program that imports the client.
func TestProgramKeepsItsLog(t *testing.T) {
	program := t.TempDir() + "/program"
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	cmd := exec.Command(program)
	var printed strings.Builder
	cmd.Stderr = &printed
	var ended *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &ended) || ended.ExitCode() != 1 {
		t.Errorf("log.Fatal ends the program with %v", err)
	}
	const date = `\d{4}/\d\d/\d\d \d\d:\d\d:\d\d `
	want := "^program: " + date + "by log, with bestdns{…}\nprogram: " + date + "INFO by slog\nprogram: " + date + "the end\n$"
	if !regexp.MustCompile(want).MatchString(printed.String()) {
		t.Errorf("it prints:\n%s\nwant, as a regular expression:\n%s", printed.String(), want)
	}
}
