package page

import "strings"

// Command is a command line that a person can copy into a shell, "" for none.
type Command string

// CommandOf returns a command with its arguments, of which the last one may be what others wrote. It is
// "" if that cannot be shown as it is, and so not copied either.
func CommandOf(argument string, words ...string) Command {
	if argument == "" || Text(argument).String() != argument {
		return ""
	}
	if strings.HasPrefix(argument, "-") {
		words = append(words, "--")
	}
	return Command(strings.Join(append(words, quoted(argument)), " "))
}

// quoted returns a word as any shell of POSIX reads it.
func quoted(word string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-"
	if strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
