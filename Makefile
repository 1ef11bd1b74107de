# All of it needs Go and make, and nothing else: what other tools there are run
# by "go run" in the versions given here.

GO       ?= go
MODULES  := . lego5 cmd/caddy e2e
FUZZTIME ?= 30s
COUNT    ?= 1
ATTACK   ?= 30s

GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# The race detector needs a C compiler.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: build
build: ## build ./caddy, a Caddy with all of BestDNS
	$(GO) build -C cmd/caddy -trimpath -ldflags "-s -w" -o $(CURDIR)/caddy .

.PHONY: demo
demo: build ## obtain a wildcard certificate on this machine (DEMO=--keep leaves it running)
	./caddy bestdns demo $(DEMO)

.PHONY: test
test: test-unit test-newest test-e2e ## run all tests

.PHONY: test-unit
test-unit: ## run the unit tests
	$(GO) test $(RACE) ./...
	$(GO) test -C lego5 $(RACE) ./...
	$(GO) test ./service/demo # whose tests are not for the race detector: they say why

# The other packages do not import Caddy.
.PHONY: test-newest
test-newest: ## run the unit tests of what imports Caddy against the newest Caddy
	$(GO) test -C cmd/caddy ./... github.com/caddy-dns/bestdns github.com/caddy-dns/bestdns/service github.com/caddy-dns/bestdns/service/demo

# All combinations of client, resolver and zone; "make test" runs each pair.
.PHONY: matrix
matrix: ## obtain certificates behind each caching resolver of Debian's, in each kind of zone (as root: it serves DNS at port 53)
	$(GO) test -C e2e -count=1 -timeout 60m -parallel 6 -run '^TestMatrix$$' -matrix -v .

# Not from the cache: Go does not see that these tests depend on the program
# that they build. The race detector watches those that have our client in their
# own process, called from many goroutines; in the others it would watch the test.
# Tests mostly wait, so more of them run at once than there are processors.
IN_PROCESS := ^Test(Libdns|Faults|Cancelled)
.PHONY: test-e2e
test-e2e: ## obtain certificates from a real CA by the real Caddy, certmagic and lego
	$(GO) test -C e2e $(RACE) -count=1 -timeout 30m -parallel 6 -run '$(IN_PROCESS)' .
	$(GO) test -C e2e -count=1 -timeout 30m -parallel 6 -skip '$(IN_PROCESS)' ./...

.PHONY: lint
lint: ## check formatting, go.mod, go vet, the workflows, and the linters with the layering of packages
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "not formatted by gofmt: $$unformatted"; exit 1; fi
	@for m in $(MODULES); do \
		echo "lint $$m" && \
		$(GO) mod tidy -C $$m -diff && \
		$(GO) vet -C $$m ./... && \
		(cd $$m && $(GO) run $(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...) || exit 1; \
	done
	@echo "lint release/caddy" && $(GO) mod tidy -C release/caddy -diff # of which the rest is a list of imports
	@$(GO) run $(ACTIONLINT)

.PHONY: bench
bench: ## measure all that has a figure, beside Knot where it is installed, and print one table (COUNT=5 for the best of five, ATTACK=30s for each way in which a client harms others)
	$(GO) run ./tools/bench -go $(GO) -count $(COUNT) -neighbour $(ATTACK)

.PHONY: fuzz
fuzz: ## run each fuzz test for FUZZTIME
	@for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
		done; \
	done

.PHONY: vuln
vuln: ## look for known vulnerabilities in the Caddy of a release
	$(GO) run $(GOVULNCHECK) -C release/caddy ./...

.PHONY: release
release: ## build the files of a release into dist, twice, and compare them (SNAPSHOT=1 rehearses it without a tag, TARGETS=linux/amd64 for some platforms alone, SHARED_CACHE=1 compiles once for both)
	$(GO) run ./tools/release $(if $(SNAPSHOT),-snapshot) $(if $(TARGETS),-targets $(TARGETS)) $(if $(SHARED_CACHE),-shared-cache)

.PHONY: tidy
tidy: ## bring the go.mod files in line, after a change of the root's
	@for m in $(MODULES) release/caddy; do $(GO) mod tidy -C $$m || exit 1; done
	@vendor=$$(mktemp -d) && $(GO) work vendor -C release/workspace -o $$vendor; status=$$?; rm -rf $$vendor; exit $$status

.PHONY: clean
clean: ## remove what was built
	rm -rf caddy coverage.out dist
