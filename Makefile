# Bascule. `make help` lists the targets.
PREFIX ?= /usr
DESTDIR ?=
BUILD ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
JOBS ?= 2
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
PACKAGES := rdkafka librabbitmq hiredis sqlite3 libzstd yaml-0.1 libmicrohttpd openssl jansson libcurl libnats ncursesw

VERSION := 0.1.0
# Asked once, and only when something is compiled: `make check` installs pkg-config itself.
PACKAGE_CFLAGS = $(eval PACKAGE_CFLAGS := $(shell pkg-config --cflags $(PACKAGES)))$(PACKAGE_CFLAGS)
PACKAGE_LIBS = $(eval PACKAGE_LIBS := $(shell pkg-config --libs $(PACKAGES)))$(PACKAGE_LIBS)
# What newer client libraries can and older ones cannot: a name, the header, the function. Asked of the headers once,
# when something is compiled; `make FEATURES=` builds for the oldest (packaging/rpm does).
PROBES := HAVE_KAFKA_SASL_QUEUE:librdkafka/rdkafka.h:rd_kafka_conf_enable_sasl_queue
probe = $(shell set -- $(subst :, ,$(1)); printf '\043include <%s>\nvoid *p = (void *)%s;\n' "$$2" "$$3" | \
	$(CC) $(PACKAGE_CFLAGS) -w -fsyntax-only -x c - 2>/dev/null && echo "-D$$1")
FEATURES = $(eval FEATURES := $(foreach one,$(PROBES),$(call probe,$(one))))$(FEATURES)
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(CFLAGS) -I. -D_GNU_SOURCE -DBASCULE_VERSION='"$(VERSION)"' \
	-pthread $(PACKAGE_CFLAGS) $(FEATURES)
LIBS = $(PACKAGE_LIBS) -pthread -lm

SOURCES := $(filter-out bridge/cli/main.c,$(wildcard bridge/*.c bridge/*/*.c bridge/*/*/*.c routes/*.c store/*.c schemas/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
UNIT := $(wildcard tests/unit/*.c)
SIM := $(wildcard tests/sim/*.c)
OOM := $(wildcard tests/oom/*.c)
CONFORMANCE := $(wildcard tests/conformance/*.c)
BENCH := $(wildcard tests/bench/*.c)
# What a suite needs beside its own files. Test programs link only what they have.
TEST_BINARIES := $(if $(UNIT),$(BUILD)/tests/unit.bin) $(if $(SIM),$(BUILD)/tests/sim.bin) \
	$(if $(OOM),$(BUILD)/tests/oom.bin) $(if $(CONFORMANCE),$(BUILD)/tests/conformance.bin) $(TOOLS)
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
TOOLS := $(patsubst tests/brokers/%.c,$(BUILD)/tests/brokers/%,$(wildcard tests/brokers/*.c))
LINTED := $(wildcard bridge/*.c bridge/*/*.c bridge/*/*/*.c routes/*.c store/*.c schemas/*.c tests/*.c tests/*/*.c)
FORMATTED := $(LINTED) $(wildcard bridge/*.h bridge/*/*.h bridge/*/*/*.h routes/*.h store/*.h schemas/*.h tests/*.h tests/*/*.h)

##@ Build
all: $(BUILD)/bascule ## build the program (build/bascule)

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# What they include as bytes, which the compiler's lists of headers leave out.
$(BUILD)/store/schema.o: $(wildcard store/sql/*.sql)
$(BUILD)/tests/unit/old_stores.o: $(wildcard tests/stores/*.zst)

# The list of members is part of it: a source that is gone must go from the archive too. A linker takes the
# first of two functions of one name in an archive for both, silently.
$(BUILD)/libbascule.a: $(OBJECTS) $(BUILD)/members
	@rm -f $@
	$(AR) qcs $@ $(OBJECTS)
	@twice=$$(nm -g --defined-only $@ | awk '$$2 ~ /[TDBR]/ { print $$3 }' | sort | uniq -d); \
		[ -z "$$twice" ] || { echo "defined in two files: $$twice" >&2; rm -f $@; exit 1; }

$(BUILD)/bascule: $(BUILD)/bridge/cli/main.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/tests/unit.bin: $(UNIT:%.c=$(BUILD)/%.o) $(BUILD)/tests/harness.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(filter %.o %.a,$^) $(LIBS) -o $@
$(BUILD)/tests/sim.bin: $(SIM:%.c=$(BUILD)/%.o) $(BUILD)/tests/unit/fail_vfs.o $(BUILD)/tests/harness.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(filter %.o %.a,$^) $(LIBS) -o $@
$(BUILD)/tests/conformance.bin: $(CONFORMANCE:%.c=$(BUILD)/%.o) $(BUILD)/tests/harness.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(filter %.o %.a,$^) $(LIBS) -o $@
# The library as it is, but for the names of what can fail.
$(BUILD)/tests/oom/libfailing.a: $(BUILD)/libbascule.a tests/oom/symbols
	objcopy --redefine-syms=tests/oom/symbols $< $@
$(BUILD)/tests/oom.bin: $(OOM:%.c=$(BUILD)/%.o) $(BUILD)/tests/harness.o $(BUILD)/tests/sim/rig.o \
		$(BUILD)/tests/sim/world.o $(BUILD)/tests/oom/libfailing.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
# Helpers of the tests that are one file each.
$(TOOLS): $(BUILD)/tests/brokers/%: $(BUILD)/tests/brokers/%.o
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
$(BUILD)/tests/stores/fill: $(BUILD)/tests/stores/fill.o $(BUILD)/tests/unit/store_rig.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
# With clang and its fuzzer's flags, see `make fuzz`; the simulation's world stands in for brokers.
$(FUZZERS): %: %.o $(BUILD)/tests/fuzz/aid.o $(BUILD)/tests/sim/rig.o $(BUILD)/tests/sim/world.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -fsanitize=fuzzer $^ $(LIBS) -o $@
$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

# Changed flags rebuild everything.
$(BUILD)/flags: FORCE | ready
	@mkdir -p $(BUILD)
	@echo '$(CC) $(ALL_CFLAGS) $(LDFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS) $(LDFLAGS)' >$@
$(BUILD)/members: FORCE
	@mkdir -p $(BUILD)
	@echo '$(SOURCES)' | cmp -s - $@ || echo '$(SOURCES)' >$@

# Libraries may come from elsewhere than Debian's packages; only when they are not found at all is the
# package list asked.
ready:
	@command -v $(firstword $(CC)) >/dev/null && pkg-config --exists $(PACKAGES) 2>/dev/null || \
		{ packaging/install-deps --missing build && \
		  echo "make: $(firstword $(CC)) or one of these is not there: $(PACKAGES)" >&2; exit 1; }

-include $(OBJECTS:.o=.d) $(BUILD)/bridge/cli/main.d $(UNIT:%.c=$(BUILD)/%.d) $(OOM:%.c=$(BUILD)/%.d) $(SIM:%.c=$(BUILD)/%.d) \
	$(CONFORMANCE:%.c=$(BUILD)/%.d) $(BENCH:%.c=$(BUILD)/%.d) $(TOOLS:=.d) $(FUZZERS:=.d) $(BUILD)/tests/harness.d

deps: ## install the packages that build, tests, demo and lint need
	packaging/install-deps

# Pages, completions and the schema are what the program says of itself.
manual: $(BUILD)/manual/bascule.1 ## write manual pages, completions and the JSON Schema into build/manual
$(BUILD)/manual/bascule.1: $(BUILD)/bascule packaging/manual/write schemas/lifecycle.json $(wildcard packaging/manual/*.in)
	packaging/manual/write $(BUILD)/bascule $(BUILD)/manual

SHARE = $(DESTDIR)$(PREFIX)/share
install: all manual ## install program, manual, schemas, alert rules, dashboard below DESTDIR/PREFIX
	install -D -m 755 $(BUILD)/bascule $(DESTDIR)$(PREFIX)/bin/bascule
	install -d $(SHARE)/doc/bascule/examples $(SHARE)/doc/bascule/guide $(SHARE)/man/man1 $(SHARE)/man/man5 $(SHARE)/man/man7
	install -m 644 README.md $(SHARE)/doc/bascule/
	install -m 644 $(wildcard routes/examples/*.yaml) $(SHARE)/doc/bascule/examples/
	install -m 644 $(wildcard packaging/doc/*.md) $(SHARE)/doc/bascule/guide/
	install -m 644 $(BUILD)/manual/bascule.1 $(SHARE)/man/man1/
	install -m 644 $(BUILD)/manual/bascule.yaml.5 $(BUILD)/manual/bascule-routes.5 $(SHARE)/man/man5/
	install -m 644 $(BUILD)/manual/bascule-errors.7 $(SHARE)/man/man7/
	install -D -m 644 $(BUILD)/manual/bascule.bash $(SHARE)/bash-completion/completions/bascule
	install -D -m 644 $(BUILD)/manual/_bascule $(SHARE)/zsh/vendor-completions/_bascule
	install -D -m 644 $(BUILD)/manual/bascule.fish $(SHARE)/fish/vendor_completions.d/bascule.fish
	install -D -m 644 $(BUILD)/manual/bascule.schema.json $(SHARE)/bascule/bascule.schema.json
	install -D -m 644 schemas/lifecycle.json $(SHARE)/bascule/bascule-lifecycle.schema.json
	install -D -m 644 packaging/monitoring/bascule.rules.yml $(SHARE)/bascule/bascule.rules.yml
	install -D -m 644 packaging/monitoring/bascule-dashboard.json $(SHARE)/bascule/bascule-dashboard.json

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/bascule $(SHARE)/man/man1/bascule.1 $(SHARE)/man/man5/bascule.yaml.5 \
		$(SHARE)/man/man5/bascule-routes.5 $(SHARE)/man/man7/bascule-errors.7 \
		$(SHARE)/bash-completion/completions/bascule $(SHARE)/zsh/vendor-completions/_bascule \
		$(SHARE)/fish/vendor_completions.d/bascule.fish
	rm -rf $(SHARE)/doc/bascule $(SHARE)/bascule

deb: ## build the Debian package into build/packages
	@packaging/install-deps build deb
	@packaging/build-deb $(BUILD)/packages

rpm: ## build the RPM package for Enterprise Linux 9 into build/packages
	@packaging/install-deps build rpm
	@packaging/build-rpm $(BUILD)/packages

sbom: $(BUILD)/bascule.spdx.json ## write what the program is linked with into build/bascule.spdx.json (SPDX)
$(BUILD)/bascule.spdx.json: $(BUILD)/bascule packaging/sbom
	packaging/sbom $< $(VERSION) $@

clean: ## remove what was built
	rm -rf $(BUILD)

##@ Try
demo: ## install what is missing, then show a relay with real brokers (KEEP=1 leaves it running)
	@packaging/install-deps build brokers demo
	@$(MAKE) --no-print-directory -s -j$(JOBS) all $(TOOLS)
	@BUILD=$(BUILD) KEEP=$(KEEP) packaging/demo

##@ Test
check: ## install what is missing, then run all tests
	@packaging/install-deps build brokers test fuzz
	@$(MAKE) --no-print-directory -s -j$(JOBS) test-binaries
	@$(FUZZ_BUILD)
	@BUILD=$(BUILD) BASCULE_OOM_STRIDE=41 tests/run-suites unit sim oom fuzz conformance e2e

test-binaries: all $(TEST_BINARIES)

check-unit: $(filter %/unit.bin %/sim.bin,$(TEST_BINARIES)) ## unit tests and simulation: no broker needed
	@BUILD=$(BUILD) tests/run-suites unit sim

check-e2e: all $(TOOLS) ## end to end with real brokers; ONLY="PART…" runs tests whose names contain one
	@BUILD=$(BUILD) tests/e2e/run $(ONLY)

check-conformance: test-binaries ## every link against its real broker
	@BUILD=$(BUILD) tests/run-suites conformance

check-packages: all manual $(BUILD)/tests/unit.bin ## build packages, install them into fresh systems booted with systemd (root); ONLY="PART…"
	@packaging/install-deps build deb rpm packages
	@BUILD=$(BUILD) tests/packages/run $(ONLY)

torture: all $(TOOLS) ## kill -9 under load with real brokers, N (100) times (SEED=1); the oracle judges
	@packaging/install-deps build brokers test
	@BUILD=$(BUILD) tests/e2e/torture --kills $(or $(N),100) --seed $(or $(SEED),1)

soak-store: $(BUILD)/tests/unit.bin ## power cuts by SEEDS (10) of N (400) each and test, kills at every call
	@for seed in $$(seq 1 $(or $(SEEDS),10)); do \
		BASCULE_POWER_SEED=$$seed BASCULE_POWER_CUTS=$(or $(N),400) $(BUILD)/tests/unit.bin test_power || exit; \
	done
	@BASCULE_KILLS=0 $(BUILD)/tests/unit.bin test_kill

soak-faults: all $(TOOLS) ## outages of FAULT_SECONDS (600) each, one of DOWN_SECONDS (3600), then torture N (1000) times (SEED=1)
	@packaging/install-deps build brokers test
	@BUILD=$(BUILD) BASCULE_FAULT_SECONDS=$(or $(FAULT_SECONDS),600) tests/e2e/run -v stopped_until black_hole \
		burns_no_attempt rabbitmq_restarted kafka_killed broker_that_dies alarm_blocks key_parked \
		names_that_nobody reader_that_never half_open_server jetstream_sink_survives jetstream_source_survives
	@BUILD=$(BUILD) BASCULE_FAULT_SECONDS=$(or $(DOWN_SECONDS),3600) tests/e2e/run -v one_of_three
	@BUILD=$(BUILD) tests/e2e/torture --kills $(or $(N),1000) --seed $(or $(SEED),1)

SANITIZED = $(MAKE) --no-print-directory -s -j$(JOBS) BUILD=$(BUILD)/$@
asan: ## unit tests and simulation under address and undefined behaviour sanitizers
	@$(SANITIZED) CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' check-unit
asan-e2e: ## one pair of real brokers end to end with the program under asan and ubsan
	@$(MAKE) --no-print-directory -s -j$(JOBS) BUILD=$(BUILD)/asan \
		CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' \
		check-e2e ONLY=pair_rabbitmq_to_kafka
ubsan: ## unit tests and simulation under the undefined behaviour sanitizer alone
	@$(SANITIZED) CFLAGS='-O1 -g -fsanitize=undefined -fno-sanitize-recover=all' check-unit
tsan: ## the same under the thread sanitizer
	@$(SANITIZED) CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=thread' check-unit
# What is only possibly lost is SQLite's: it keeps pointers into the middle of its pages.
VALGRIND = valgrind -q --suppressions=$(CURDIR)/tests/valgrind.supp --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite
valgrind: ## the same under valgrind
	@packaging/install-deps build valgrind
	@SUITE_SECONDS=$(or $(SUITE_SECONDS),36000) $(SANITIZED) CFLAGS='-O1 -g' WRAP='$(VALGRIND)' check-unit

##@ Prove
fuzz: ## every parser and the store's file: corpora, then FUZZ_SECONDS (5) of new inputs each; ONLY="http…", KEEP=1
	@packaging/install-deps build fuzz
	@$(FUZZ_BUILD)
	@BUILD=$(BUILD)/fuzz JOBS=$(JOBS) KEEP=$(KEEP) tests/fuzz/run $(ONLY)

FUZZ_BUILD = $(MAKE) --no-print-directory -s -j$(JOBS) BUILD=$(BUILD)/fuzz CC=clang \
	CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all' \
	fuzzers
fuzzers: $(FUZZERS)

oom: ## each allocation and system call of start, relay, reload, replay and dead letters fails once, under asan
	@$(MAKE) --no-print-directory -s -j$(JOBS) BUILD=$(BUILD)/asan \
		CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' \
		$(BUILD)/asan/tests/oom.bin
	@BUILD=$(BUILD)/asan SUITE_SECONDS=$(or $(SUITE_SECONDS),36000) tests/run-suites oom

# 90 in 100 lines, which is what this project asks of the two layers that hold the guarantees.
coverage: ## lines that unit tests and simulation reach: build/coverage/index.html; store/ and routes/ need 90 %
	@packaging/install-deps build coverage
	@$(MAKE) --no-print-directory -s -j$(JOBS) BUILD=$(BUILD)/coverage CFLAGS='-O1 -g --coverage' \
		$(BUILD)/coverage/tests/unit.bin $(BUILD)/coverage/tests/sim.bin
	@find $(BUILD)/coverage -name '*.gcda' -delete
	@BUILD=$(BUILD)/coverage BASCULE_SIM_SEEDS=200 tests/run-suites unit sim
	@gcovr --root . --object-directory $(BUILD)/coverage --filter 'bridge/' --filter 'routes/' --filter 'store/' \
		--html-details $(BUILD)/coverage/index.html >/dev/null
	@for layer in store routes; do gcovr --root . --object-directory $(BUILD)/coverage --filter "$$layer/" \
		--sort-uncovered --fail-under-line 90 || exit 1; done

mutants: test-binaries ## build deliberate defects one by one; each must be seen by a test (ONLY="NAME…", NO_BROKER=1)
	@BUILD=$(BUILD) CC='$(CC)' FLAGS='$(subst ','\'',$(ALL_CFLAGS)) -O1 -g0' LIBS='$(LDFLAGS) $(LIBS)' JOBS=$(JOBS) \
		tests/mutants/run.py $(if $(NO_BROKER),--no-broker) $(ONLY)

soak: ## hours: mutants, oom, sanitizers, valgrind, fuzz, outages, torture, a million seeds (SEEDS, DURATION, KILLS, STEPS="NAME…")
	@SEEDS=$(SEEDS) DURATION=$(DURATION) KILLS=$(KILLS) STEPS='$(STEPS)' tests/soak

bench: all $(BENCH:%.c=$(BUILD)/%) ## speed beside bare loops and other bridges, half an hour; ARGS="--pairs kafka-kafka,log --runs 3", ARGS=--publish
	@packaging/install-deps build brokers test
	@BUILD=$(BUILD) tests/bench/run.py $(ARGS)

##@ Keep tidy
lint: ## clang-tidy, format, include layers, shellcheck, pyflakes
	@packaging/install-deps build lint
	@JOBS=$(JOBS) CFLAGS='-std=gnu11 $(filter-out -Werror,$(WARNINGS)) -I. -D_GNU_SOURCE $(PACKAGE_CFLAGS) $(FEATURES)' \
		FORMATTED='$(FORMATTED)' tests/lint/run $(LINTED)

format: ## format all C files
	clang-format -i $(FORMATTED)

help: ## this list
	@sed -n -e 's/^##@ \(.*\)/\n\1/p' -e 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 22
	@echo; echo "Variables: BUILD=$(BUILD) PREFIX=$(PREFIX) DESTDIR= CC=$(CC) CFLAGS='$(CFLAGS)' JOBS=$(JOBS)"

.PHONY: all ready manual deb rpm sbom check-packages deps install uninstall clean demo check test-binaries check-unit \
	check-e2e check-conformance asan asan-e2e ubsan tsan valgrind mutants fuzz fuzzers bench lint format help \
	torture soak-faults soak-store oom coverage soak FORCE
.DELETE_ON_ERROR:
.SECONDARY:
