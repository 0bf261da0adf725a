# Bascule. `make help` lists the targets.
PREFIX ?= /usr
BUILD ?= build
CC ?= gcc
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
PACKAGES := rdkafka librabbitmq hiredis sqlite3 libzstd yaml-0.1 libmicrohttpd openssl jansson

VERSION := 0.1.0
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(CFLAGS) -I. -D_GNU_SOURCE -DBASCULE_VERSION='"$(VERSION)"' \
	-pthread $(shell pkg-config --cflags $(PACKAGES))
LIBS = $(shell pkg-config --libs $(PACKAGES)) -pthread -lm

SOURCES := $(filter-out bridge/cli/main.c,$(wildcard bridge/*.c bridge/*/*.c bridge/*/*/*.c routes/*.c store/*.c schemas/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
UNIT := $(wildcard tests/unit/*.c)
SIM := $(wildcard tests/sim/*.c)
CONFORMANCE := $(wildcard tests/conformance/*.c)

all: $(BUILD)/bascule

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libbascule.a: $(OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/bascule: $(BUILD)/bridge/cli/main.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/tests/unit.bin: $(UNIT:%.c=$(BUILD)/%.o) $(BUILD)/tests/harness.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
$(BUILD)/tests/sim.bin: $(SIM:%.c=$(BUILD)/%.o) $(BUILD)/tests/harness.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
$(BUILD)/tests/conformance.bin: $(CONFORMANCE:%.c=$(BUILD)/%.o) $(BUILD)/tests/harness.o $(BUILD)/libbascule.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

# Changed flags rebuild everything.
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(CC) $(ALL_CFLAGS) $(LDFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS) $(LDFLAGS)' >$@

-include $(OBJECTS:.o=.d) $(UNIT:%.c=$(BUILD)/%.d) $(SIM:%.c=$(BUILD)/%.d) $(CONFORMANCE:%.c=$(BUILD)/%.d)

.PHONY: all FORCE
.DELETE_ON_ERROR:
.SECONDARY:
