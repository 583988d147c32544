#!/usr/bin/env bash
# The official OpenAI client against a real small model, directly and through the gateway.
#
#   tests/real_llm/run.sh [pytest options]                        with llama-server
#   MODE=llama-cpp-python tests/real_llm/run.sh                   with the llama-cpp-python server
#   tests/real_llm/run.sh -k direct                               the model server alone, as a control
#
# Builds the model server at the first run (setup.sh says how long that takes and where it goes).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
top="$(cd "$here/../.." && pwd)"
export MODE="${MODE:-llama-server}"
export REAL_LLM_DIR="${REAL_LLM_DIR:-$HOME/.cache/stagedoor-real-llm}"

"$here/setup.sh"
cd "$top"
python="$top/.venv/bin/python"
[ -x "$python" ] || python=python3
exec "$python" -m pytest -m real_llm -p no:cacheprovider tests/real_llm/test_real_llm.py "$@"
