package solver

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
)

// Credentials returns what the variables of the token and of the endpoint have. Both have to
// be set.
func Credentials(tokenName, endpointName string) (token, endpoint string, err error) {
	t, e := variable{name: tokenName}, variable{name: endpointName}
	if err := require(&t, &e); err != nil {
		return "", "", err
	}
	// Said here, where it is known which variable it is.
	if err := api.CheckTokenFrom(t.source, t.value); err != nil {
		return "", "", fmt.Errorf("bestdns: %w", err)
	}
	return t.value, e.value, nil
}

// Endpoint returns what the variable of the endpoint has, which has to be set.
func Endpoint(name string) (string, error) {
	e := variable{name: name}
	err := require(&e)
	return e.value, err
}

// Int returns the number that a variable has. One that has none counts as not set.
func Int(name string, otherwise int) int {
	return number(name, otherwise, strconv.Atoi)
}

// Seconds returns the time that a variable has in whole seconds. One that has none, or a
// negative one, counts as not set.
func Seconds(name string, otherwise time.Duration) time.Duration {
	return number(name, otherwise, func(s string) (time.Duration, error) {
		seconds, err := strconv.Atoi(s)
		if seconds < 0 {
			err = strconv.ErrRange
		}
		return time.Duration(seconds) * time.Second, err
	})
}

func number[T any](name string, otherwise T, parse func(string) (T, error)) T {
	v := variable{name: name}
	if err := v.read(); err != nil {
		slog.Warn(fmt.Sprintf("bestdns: %v; the default applies", err))
	}
	value, err := parse(v.value)
	if err != nil {
		return otherwise
	}
	return value
}

// variable is an environment variable. Another one, of the same name with _FILE after it, may
// name a file with its value. lego's own functions are not used, because they keep a carriage
// return at the end of a file, or remove more than one line end.
type variable struct {
	name, value string
	source      string // the variable that was read, and its file if it names one
}

func (v *variable) read() error {
	v.value, v.source = os.Getenv(v.name), v.name
	file := os.Getenv(v.name + "_FILE")
	if v.value != "" || file == "" {
		return nil
	}
	v.source = fmt.Sprintf("%s_FILE (%s)", v.name, file)
	var err error
	if v.value, err = api.ReadValue(file); err != nil {
		return fmt.Errorf("reading the file that %s_FILE names: %w", v.name, err)
	}
	return nil
}

// require reads variables that have to be set.
func require(variables ...*variable) error {
	var missing []string
	for _, v := range variables {
		if err := v.read(); err != nil {
			return fmt.Errorf("bestdns: %w", err)
		}
		if v.value == "" {
			missing = append(missing, v.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("bestdns: some credentials information are missing: %s", strings.Join(missing, ",")) // as lego says it
	}
	return nil
}
