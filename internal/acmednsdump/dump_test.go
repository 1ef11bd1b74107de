package acmednsdump

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// hash is as long as one of bcrypt, and of no password.
const hash = "$2a$10$01234567890123456789012345678901234567890123456789012"

const (
	sqliteSchema = `PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE acmedns(
		Name TEXT,
		Value TEXT
	);
INSERT INTO acmedns VALUES('db_version','1');
CREATE TABLE records(
        Username TEXT UNIQUE NOT NULL PRIMARY KEY,
        Password TEXT UNIQUE NOT NULL,
        Subdomain TEXT UNIQUE NOT NULL,
		AllowFrom TEXT
    );
`
	sqliteEnd = `CREATE TABLE txt(
		Subdomain TEXT NOT NULL,
		Value   TEXT NOT NULL DEFAULT '',
		LastUpdate INT
	);
INSERT INTO txt VALUES('label1','it''s; a value',1700000000);
CREATE INDEX idx_txt_subdomain ON txt (Subdomain);
COMMIT;
`
	postgresSchema = `--
-- PostgreSQL database dump
--

\restrict it's a key

SET statement_timeout = 0;
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

CREATE FUNCTION public.noted() RETURNS trigger
    LANGUAGE plpgsql
    AS $body$
BEGIN
  INSERT INTO public.records VALUES ('it''s $$ not one');
  RETURN NEW;
END;
$body$;

CREATE TABLE public.records (
    username text NOT NULL,
    password text NOT NULL,
    subdomain text NOT NULL,
    allowfrom text
);

ALTER TABLE public.records OWNER TO acmedns;

COPY public.acmedns (name, value) FROM stdin;
db_version	1
\.

COPY public.txt (rowid, subdomain, value, lastupdate) FROM stdin;
1	label1	it's; not a string	1700000000
\.

`
	postgresEnd = `
ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_pkey PRIMARY KEY (username);

--
-- PostgreSQL database dump complete
--

\unrestrict it's a key

`
)

func accountAt(line int, number string, networks ...string) Account {
	a := Account{Line: line, Username: "user" + number, Password: hash, Subdomain: "label" + number}
	for _, network := range networks {
		a.Networks = append(a.Networks, netip.MustParsePrefix(network))
	}
	return a
}

func anyAccount(Account) error { return nil }

// asBlob is how sqlite3 writes a text that was stored as bytes.
func asBlob(text string) string { return "X'" + hex.EncodeToString([]byte(text)) + "'" }

func TestRead(t *testing.T) {
	lite, pg := strings.Count(sqliteSchema, "\n"), strings.Count(postgresSchema, "\n")
	for name, test := range map[string]struct {
		dump string
		want []Account
	}{
		"sqlite3": {
			sqliteSchema +
				"INSERT INTO records VALUES('user1'," + asBlob(hash) + ",'label1','[]');\n" +
				"INSERT INTO records VALUES('user2'," + strings.ToUpper(asBlob(hash)) + ",'label2','[\"192.0.2.0/24\",\"2001:db8::/32\"]');\n" +
				"INSERT INTO records VALUES('user3','" + hash + "','label3',NULL);\n" + sqliteEnd,
			[]Account{accountAt(lite+1, "1"), accountAt(lite+2, "2", "192.0.2.0/24", "2001:db8::/32"), accountAt(lite+3, "3")},
		},
		"sqlite3 --preserve-rowids": {
			sqliteSchema + "INSERT INTO records(rowid,Username,Password,Subdomain,AllowFrom) VALUES(7,'user1'," + asBlob(hash) + ",'label1','[\"\"]');\n" + sqliteEnd,
			[]Account{accountAt(lite+1, "1")},
		},
		"sqlite3, an older database": {
			`CREATE TABLE IF NOT EXISTS "records"(Username TEXT UNIQUE NOT NULL PRIMARY KEY, Password TEXT UNIQUE NOT NULL, Subdomain TEXT UNIQUE NOT NULL, Value TEXT DEFAULT ('a,b'), LastActive INT CHECK (LastActive IN (1, 2)), AllowFrom TEXT, UNIQUE (Username, Subdomain));
INSERT INTO "records" VALUES('user1','` + hash + `','label1','["10.0.0.0/8"]',1,'["192.0.2.0/24"]');
`,
			[]Account{accountAt(2, "1", "192.0.2.0/24")},
		},
		"sqlite3 without a transaction, in CRLF": {
			strings.ReplaceAll(sqliteSchema+"INSERT INTO records VALUES('user1','"+hash+"','label1','[]');\n"+sqliteEnd, "\n", "\r\n"),
			[]Account{accountAt(lite+1, "1")},
		},
		"pg_dump": {
			postgresSchema + "COPY public.records (username, password, subdomain, allowfrom) FROM stdin;\n" +
				"user1\t" + hash + "\tlabel1\t[]\n" +
				"user2\t" + hash + "\tlabel2\t[\"192.0.2.0/24\"]\n" +
				"user3\t" + hash + "\tlabel3\t\\N\n" +
				"u\\x73er\\064\t" + hash + "\tlabel4\t[\\n\"192.0.2.0/24\",\\t\"[2001:db8::]/32\"]\n\\.\n" + postgresEnd,
			[]Account{accountAt(pg+2, "1"), accountAt(pg+3, "2", "192.0.2.0/24"), accountAt(pg+4, "3"), accountAt(pg+5, "4", "192.0.2.0/24", "2001:db8::/32")},
		},
		"pg_dump --inserts": {
			postgresSchema + "INSERT INTO public.records VALUES ('user1', '" + hash + "', 'label1', '[\"192.0.2.0/24\"]');\n" +
				"INSERT INTO public.records VALUES (E'u\\x73er\\064', '" + hash + "', E'\\u006c\\141bel4', NULL);\n" + postgresEnd,
			[]Account{accountAt(pg+1, "1", "192.0.2.0/24"), accountAt(pg+2, "4")},
		},
		"pg_dump --column-inserts": {
			postgresSchema + "INSERT INTO public.records (username, password, subdomain, allowfrom) VALUES ('user1', '" + hash + "', 'label1', '[]');\n" + postgresEnd,
			[]Account{accountAt(pg+1, "1")},
		},
		"pg_dump --rows-per-insert": {
			postgresSchema + "INSERT INTO public.records VALUES\n\t('user1', '" + hash + "', 'label1', '[]'),\n\t('user2', '" + hash + "', 'label2', '[]') ON CONFLICT DO NOTHING;\n" + postgresEnd,
			[]Account{accountAt(pg+2, "1"), accountAt(pg+3, "2")},
		},
		"pg_dump --data-only": {
			"COPY acme.records (subdomain, username, allowfrom, password) FROM stdin;\nlabel1\tuser1\t[]\t" + hash + "\n\\.\n",
			[]Account{accountAt(2, "1")},
		},
		"statements over several lines": {
			"/* one;\n   '*/ create table \"Records\" (\"Username\" text, \"Password\" text,\n\t-- AllowFrom text,\n\"Subdomain\" text, AllowFrom text);" +
				" INSERT OR REPLACE\nINTO `records` (allowfrom, Subdomain,\n Username, PASSWORD) OVERRIDING SYSTEM VALUE VALUES\n(\n'[]', 'label1', 'user1', '" + hash + "'\n);",
			[]Account{accountAt(7, "1")},
		},
		"a byte order mark and no end of the last line": {
			"\xef\xbb\xbfCREATE TABLE records(Username, Password, Subdomain, AllowFrom);COPY records FROM stdin;\nuser1\t" + hash + "\tlabel1\t[]\n\\.",
			[]Account{accountAt(2, "1")},
		},
		"beside another program's table": {
			"CREATE TABLE pdns.records (id integer, name text, content text);\nCOPY pdns.records (id, name, content) FROM stdin;\n1\ta\tb\n\\.\n" +
				"INSERT INTO pdns.records VALUES (2, 'c', 'd');\n" +
				postgresSchema + "INSERT INTO public.records VALUES ('user1', '" + hash + "', 'label1', '[]');\n" + postgresEnd,
			[]Account{accountAt(5+pg+1, "1")},
		},
		"no accounts": {sqliteSchema + sqliteEnd, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(strings.NewReader(test.dump), anyAccount)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Accounts{Taken: test.want}, got, cmp.Comparer(sameError), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("accounts (-want +got):\n%s\n%s", diff, test.dump)
			}
		})
	}
}

func sameError(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// TestSkipped has an account before and after one that is not taken.
func TestSkipped(t *testing.T) {
	long := strings.Repeat("x", maxValue+1)
	for name, test := range map[string]struct{ values, want string }{
		"no user name":               {"NULL,'" + hash + "','label2','[]'", "its user name is NULL"},
		"no subdomain":               {"'user2','" + hash + "',NULL,'[]'", "its subdomain is NULL"},
		"duplicate user name":        {"'user1','" + hash + "','label2','[]'", "duplicate user name, also in line 14"},
		"duplicate subdomain":        {"'user2','" + hash + "','label1','[]'", "duplicate subdomain, also in line 14"},
		"what the caller refuses":    {"'user2','plain','label2','[]'", "refused"},
		"not a network":              {"'user2','" + hash + "','label2','[\"192.0.2.0/33\"]'", `it is bound to "192.0.2.0/33", which is not a network in CIDR notation`},
		"an address":                 {"'user2','" + hash + "','label2','[\"192.0.2.1\"]'", `it is bound to "192.0.2.1", which is not`},
		"one of two is not":          {"'user2','" + hash + "','label2','[\"192.0.2.0/24\",\"x\"]'", `it is bound to "x", which is not`},
		"IPv4 as IPv6":               {"'user2','" + hash + "','label2','[\"::ffff:192.0.2.0/120\"]'", `it is bound to "::ffff:192.0.2.0/120", IPv4 addresses in the form of IPv6`},
		"an interface's network":     {"'user2','" + hash + "','label2','[\"fe80::%eth0/64\"]'", `it is bound to "fe80::%eth0/64", which is not`},
		"too many networks":          {"'user2','" + hash + "','label2','[" + strings.Repeat(`"192.0.2.0/24",`, maxNetworks) + `"192.0.2.0/24"]'`, "its list of networks has 1001 networks, and 1000 are the most"},
		"not a list":                 {"'user2','" + hash + "','label2','192.0.2.0/24'", `its list of networks is not a list of texts in JSON: "192.0.2.0/24"`},
		"an empty text":              {"'user2','" + hash + "','label2',''", "its list of networks is not a list of texts in JSON"},
		"a list of something else":   {"'user2','" + hash + "','label2','[4]'", "its list of networks is not a list of texts in JSON"},
		"networks as an expression":  {"'user2','" + hash + "','label2',replace('[\"192.0.2.0/24\",\\n\"x\"]','\\n',char(10))", "its list of networks is written as an expression"},
		"a number":                   {"2,'" + hash + "','label2','[]'", "its user name is written as an expression"},
		"an empty value":             {"'user2',,'label2','[]'", "its password is written as an expression"},
		"a sum in parentheses":       {"(1, (2)),'" + hash + "','label2','[]'", "its user name is written as an expression"},
		"odd hexadecimal digits":     {"'user2',X'243','label2','[]'", "its password is written X'…' with something else than hexadecimal"},
		"an escape that is not one":  {`'user2','` + hash + `',E'\u12','[]'`, "its subdomain has an escape sequence"},
		"bytes that are not UTF-8":   {"X'ff','" + hash + "','label2','[]'", "its user name is not UTF-8"},
		"a long value":               {"'user2','" + hash + "','label2','" + long + "'", "its list of networks has more than 65536 bytes"},
		"a long value with escapes":  {"'user2','" + hash + `',E'\u12` + long + "','[]'", "its subdomain has more than 65536 bytes"},
		"too few values":             {"'user2','" + hash + "','label2'", "its user name cannot be told: the row has 3 values, and the table 4 columns"},
		"too many values":            {"'user2','" + hash + "','label2','[]','[]'", "its user name cannot be told: the row has 5 values"},
		"many more values":           {"'user2','" + hash + "','label2'" + strings.Repeat(",''", 2*maxColumns), "its user name cannot be told: the row has 100 values"},
		"a skipped one's user name":  {"'user2','" + hash + "','label2','x'); INSERT INTO records VALUES('user2','" + hash + "','label9','[]'", "its list of networks is not a list of texts in JSON"},
		"several things, told first": {"'user1',NULL,'label1',NULL", "its password is NULL"},
	} {
		t.Run(name, func(t *testing.T) {
			dump := sqliteSchema + "INSERT INTO records VALUES('user1','" + hash + "','label1','[]');\n" +
				"INSERT INTO records VALUES(" + test.values + ");\n" +
				"INSERT INTO records VALUES('user3','" + hash + "','label3','[]');\n" + sqliteEnd
			got, err := Read(strings.NewReader(dump), func(a Account) error {
				if a.Password != hash {
					return errors.New("refused")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Account{accountAt(14, "1"), accountAt(16, "3")}, got.Taken); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			if len(got.Skipped) != got.SkippedInAll || got.SkippedInAll < 1 || got.Skipped[0].Line != 15 || !strings.HasPrefix(got.Skipped[0].Why.Error(), test.want) {
				t.Errorf("skipped %v, want line 15 because %s", got.Skipped, test.want)
			}
		})
	}
}

// TestSkippedOfCopy has rows that pg_dump would not write.
func TestSkippedOfCopy(t *testing.T) {
	dump := postgresSchema + "COPY public.records (username, password, subdomain) FROM stdin;\nuser1\t" + hash + "\tlabel1\n\\.\n" +
		"COPY public.records (username, password, subdomain, allowfrom) FROM stdin;\n" +
		"user2\t" + hash + "\n" +
		"user3\t" + hash + "\tlabel3\t" + strings.Repeat("x", maxValue) + "\n" +
		"user4\t" + hash + "\tlabel4\\\t[]\n" +
		"user5\t" + hash + "\tlabel5\t[]\t\\\n" +
		"user6\t" + hash + "\tlabel6\t[\\\\\"192.0.2.0/24\\\\\"]\n\\.\n" + postgresEnd
	got, err := Read(strings.NewReader(dump), anyAccount)
	if err != nil {
		t.Fatal(err)
	}
	var why []string
	for _, s := range got.Skipped {
		why = append(why, fmt.Sprintf("%d %s: %v", s.Line, s.Username, s.Why))
	}
	want := []string{
		"38 user1: its list of networks is missing",
		"41 : its user name cannot be told: the row has 2 values, and the table 4 columns",
		"42 : its user name is in a line of more than 65536 bytes, which are the most",
		"43 user4: its subdomain has an escape sequence that PostgreSQL does not have",
		"44 : its user name cannot be told: the row has 5 values, and the table 4 columns",
		`45 user6: its list of networks is not a list of texts in JSON: "[\\\"192.0.2.0/24\\\"]"`,
	}
	if diff := cmp.Diff(want, why); diff != "" || len(got.Taken) > 0 {
		t.Errorf("skipped (-want +got):\n%s\ntaken %v", diff, got.Taken)
	}
}

func TestRefused(t *testing.T) {
	const ours = "CREATE TABLE records(Username, Password, Subdomain, AllowFrom);\n"
	row := "INSERT INTO records VALUES('user1','" + hash + "','label1','[]');\n"
	for name, test := range map[string]struct{ dump, want string }{
		"empty":                   {"", "not a dump of acme-dns' database"},
		"another database":        {"CREATE TABLE domains(id, name);\nINSERT INTO domains VALUES(1,'records');\n", "it has no table records"},
		"another program's table": {"CREATE TABLE records(id, name, content, PRIMARY KEY (id));\nINSERT INTO records VALUES(1,'a','b');\n", "its table records has the columns id, name, content, and acme-dns' has username, password"},
		"its rows alone":          {"INSERT INTO records (id, name) VALUES (1,'a');", "its table records has the columns id, name"},
		"without networks":        {"CREATE TABLE records(Username, Password, Subdomain);\n", "has the columns username, password, subdomain, and"},
		"JSON":                    {`{"accounts":[]}`, "it is not complete, or it is not as sqlite3 or pg_dump write it"},
		"a database":              {"SQLite format 3\x00\x10\x00", `"sqlite3 acme-dns.db .dump"`},
		"a custom dump":           {"PGDMP\x01\x0e", "pg_dump's own format"},
		"compressed":              {"\x1f\x8b\x08\x00", "decompress it"},
		"UTF-16":                  {"\xff\xfeP\x00R\x00", "UTF-16"},
		"no columns":              {row, "line 1: rows of records do not name their columns"},
		"a newer acme-dns":        {ours + row + "CREATE TABLE acmedns(Name, Value);\nINSERT INTO acmedns VALUES('db_version','2');\n", `line 4: the database has db_version "2", and 0 and 1 are known`},
		"two databases":           {ours + row + "\n" + ours, `line 4: the dump has the tables "records" and "records"`},
		"two schemas":             {"CREATE TABLE a.records(Username, Password, Subdomain, AllowFrom);\nINSERT INTO b.records(Username, Password, Subdomain, AllowFrom) VALUES ('','','','');", `line 2: the dump has the tables "a.records" and "b.records"`},
		"backslashes in strings":  {"SET standard_conforming_strings = off;\n", "line 1: the dump has been made with standard_conforming_strings = off"},
		"a query":                 {ours + "INSERT INTO records SELECT * FROM others;", "line 2: INSERT INTO records has no list of VALUES"},
		"no row":                  {ours + "INSERT INTO records VALUES ;", "line 2: a row of records was expected"},
		"a COPY of CSV":           {ours + "COPY records FROM stdin WITH (FORMAT csv);\n\\.\n", "line 2: the rows of records are not in the format"},
		"a COPY of a file":        {ours + "COPY records FROM '/tmp/x';\n", "line 2: the rows of records are not in the format"},
		"errors of sqlite3":       {"BEGIN TRANSACTION;\n" + ours + row + "/**** ERROR: (11) database disk image is malformed *****/\nROLLBACK; -- due to errors\n", "line 5: sqlite3 could not read the whole database"},
		"no COMMIT":               {sqliteSchema + row, "what sqlite3 and pg_dump write at its end is missing"},
		"no end of pg_dump's":     {postgresSchema + strings.Replace(row, "records", "public.records", 1), "what sqlite3 and pg_dump write at its end is missing"},
		"within a row":            {ours + "INSERT INTO records VALUES('user1',", "the dump ends within a list"},
		"within a statement":      {ours + "ALTER TABLE\nrecords", "the dump ends within the statement that begins in line 2"},
		"within a string":         {ours + "INSERT INTO records VALUES('\n\n", "the dump ends within a string that begins in line 2"},
		"within E'…'":             {ours + "INSERT INTO records VALUES(E'\\", "the dump ends within a string that begins in line 2"},
		"within a name":           {ours + "INSERT INTO \"\n", "the dump ends within a name in quotes that begins in line 2"},
		"within dollars":          {"SELECT $a$ $ $b$ a$", "the dump ends within a string between dollars that begins in line 1"},
		"within a comment":        {"\n/* *", "the dump ends within a comment that begins in line 2"},
		"within a COPY":           {ours + "COPY records FROM stdin;\nuser1\t" + hash + "\tlabel1\t[]\n", "the dump ends within the rows of a table, in line 4"},
		"within another COPY":     {"COPY others FROM stdin;\n\\.x\n", "the dump ends within the rows of a table, in line 3"},
		"many tables":             {manyTables(), "line 101: there are more than 100 tables"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(strings.NewReader(test.dump), anyAccount)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
			if diff := cmp.Diff(Accounts{}, got); diff != "" {
				t.Errorf("accounts beside an error: %s", diff)
			}
		})
	}
}

func manyTables() string {
	var b strings.Builder
	for i := range maxTables + 1 {
		fmt.Fprintf(&b, "CREATE TABLE s%d.records(id, name);\n", i)
	}
	return b.String()
}

func TestLimits(t *testing.T) {
	t.Run("size", func(t *testing.T) {
		r := newReader(strings.NewReader(sqliteSchema+sqliteEnd), anyAccount)
		r.maxSize = int64(len(sqliteSchema))
		want := fmt.Sprintf("the dump has more than %d bytes, which are the most", len(sqliteSchema))
		if _, err := r.read(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	})
	t.Run("accounts", func(t *testing.T) {
		r := newReader(strings.NewReader(sqliteSchema+"INSERT INTO records VALUES('','','',''),\n(1,2,3,4),\n(1,2,3,4);"), anyAccount)
		r.maxRows = 2
		if _, err := r.read(); err == nil || err.Error() != "line 16: the dump has more than 2 accounts, which are the most" {
			t.Error(err)
		}
	})
	t.Run("skipped accounts", func(t *testing.T) {
		dump := sqliteSchema + "INSERT INTO records VALUES(1,2,3,4)" + strings.Repeat(",(1,2,3,4)", 2*maxSkipped) + ";" + sqliteEnd
		got, err := Read(strings.NewReader(dump), anyAccount)
		if err != nil || len(got.Skipped) != maxSkipped || got.SkippedInAll != 2*maxSkipped+1 {
			t.Errorf("%d of %d are told, %v", len(got.Skipped), got.SkippedInAll, err)
		}
	})
	t.Run("a failing reader", func(t *testing.T) {
		broken := errors.New("broken")
		_, err := Read(io.MultiReader(strings.NewReader(sqliteSchema+"INSERT INTO records VALUES('"), failing{broken}), anyAccount)
		if !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
