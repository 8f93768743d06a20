#!/usr/bin/env bash
# Tests against a model server that nobody here wrote: llama.cpp's, in front of a model made on the spot.
#
# Everything lies in .venv/live and is made once: an environment of exact versions with their hashes (dev/live.txt;
# llama.cpp is compiled, which takes minutes), and the model. `rm -r .venv/live` begins anew. Words after the command
# go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

home=.venv/live
python=$home/bin/python
stamp=$home/.stamp-$(cksum < dev/live.txt | cut -d' ' -f1)
model=$home/tiny-$(cksum < dev/live.py | cut -d' ' -f1).gguf

if [ ! -e "$stamp" ]; then
    command -v c++ >/dev/null || { echo "make test-live compiles llama.cpp and needs a C++ compiler on the PATH"; exit 2; }
    echo "installing the model server into $home (once; compiles llama.cpp, minutes)"
    [ -x "$python" ] || .venv/bin/python -m venv "$home"
    # Without its image models, which no test here uses. Compiling gives way to other work on the machine.
    CMAKE_ARGS="-DLLAVA_BUILD=OFF ${CMAKE_ARGS:-}" CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN)}" \
        nice -n 10 "$python" -m pip install -q --disable-pip-version-check --require-hashes -r dev/live.txt
    touch "$stamp"
fi
if [ ! -e "$model" ]; then
    echo "making the model"
    "$python" dev/live.py "$model.new"
    mv "$model.new" "$model"
fi

# The tests start the server and the gateway themselves, and stop them whatever happens.
OSTIARY_LIVE_PYTHON="$PWD/$python" OSTIARY_LIVE_MODEL="$PWD/$model" \
    exec .venv/bin/python -m pytest -m live tests/live "$@"
