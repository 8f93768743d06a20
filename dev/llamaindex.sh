#!/usr/bin/env bash
# Tests with LlamaIndex's chat models, in an environment of their own (.venv/llamaindex, made once from exact versions with
# their hashes): it asks for older SDKs than those that the other tests try. Words after the command go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

home=.venv/llamaindex
stamp=$home/.stamp-$(cksum < dev/llamaindex.txt | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
    echo "installing LlamaIndex into $home (once)"
    [ -x "$home/bin/python" ] || .venv/bin/python -m venv "$home"
    "$home/bin/python" -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r dev/llamaindex.txt
    touch "$stamp"
fi
OSTIARY_LLAMAINDEX_PYTHON="$PWD/$home/bin/python" exec .venv/bin/python -m pytest -m llamaindex tests/clients "$@"
