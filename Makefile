# make demo   talk to the appliance on this machine, without hardware or any service elsewhere
# make test   all tests · make check   what CI checks besides · make bench   the benchmarks
# make bench-acoustic   does it hear you over its own voice, and never itself: an hour of replies in simulated rooms
# make bench-faults   more than a hundred faults, each injected into the running daemon: heard, seen, healed; fuzzed events, SIGKILLs
# make bench-fleet   a hundred thousand devices after an outage, and the provisioning service under load with a replica killed
# make bench-privacy   from a mute in mid-speech to a closed microphone, by the sound card's own log
# make soak   random people and faults around the daemon, 10 min, and a day in virtual time: what grows? SOAK="--minutes 480"
# make image   a card for a Raspberry Pi (KERNEL=debian|rpi, DRY_RUN=1, FRESH=1, MIRROR=, KEYS=, URL=, IMAGE_VERSION=) · make image-test   it, in QEMU (CUTS=20)
VENV := .venv/bin

.PHONY: demo test test-slow check lint format docs bench bench-quick bench-acoustic bench-faults bench-fleet bench-privacy soak image image-test lock clean

demo:
	@.ci/setup demo
	@$(VENV)/voice-appliance demo $(if $(DEMO_SAY),--say "$(DEMO_SAY)")

test:
	@.ci/setup test
	@.ci/tests

test-slow:
	@.ci/setup test
	$(VENV)/python -m pytest -q -m slow

check: lint
	$(VENV)/python -m mypy
	$(VENV)/lint-imports
	$(VENV)/python -m tests.docs --check
	! git grep -nIE 'p[y]pi[.](org|python)|p[y]thonhosted|deb[.]d[e]bian|archive[.]ub[u]ntu' -- .

lint:
	@.ci/setup test
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

format:
	@.ci/setup test
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .

docs:
	@.ci/setup test
	$(VENV)/python -m tests.docs

bench:
	@.ci/setup test
	$(VENV)/python -m tests.bench

bench-quick:
	@.ci/setup test
	$(VENV)/python -m tests.bench --quick

bench-acoustic:
	@.ci/setup test
	OPENBLAS_NUM_THREADS=1 $(VENV)/python -m tests.acoustic

bench-faults:
	@.ci/setup test
	$(VENV)/python -m tests.faults

bench-fleet:
	@.ci/setup test
	$(VENV)/python -m tests.fleet

bench-privacy:
	@.ci/setup test
	$(VENV)/python -m tests.privacy

soak:
	@.ci/setup test
	OPENBLAS_NUM_THREADS=1 $(VENV)/python -m tests.soak $(SOAK)

image:
	@.ci/setup test
	$(if $(DRY_RUN),,@image/setup build)
	@$(VENV)/python -m image --kernel $(or $(KERNEL),debian) $(if $(DRY_RUN),--dry-run) $(if $(FRESH),--fresh)

image-test:
	@.ci/setup test
	@image/setup test
	@$(VENV)/python -m image.test --cuts $(or $(CUTS),20) $(if $(IMAGE),--image $(IMAGE)) $(if $(SEED),--seed $(SEED))

lock:
	@.ci/setup test
	.ci/lock

clean:
	rm -rf .venv .cache .voice-appliance-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis demo-reply.wav image/out
	rm -rf --one-file-system image/cache  # a build that was killed may have left /proc mounted in there
