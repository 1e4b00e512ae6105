#!/usr/bin/env bash
# Sets the project up in .venv, once, and runs it. See ./run.sh --help.
set -euo pipefail

readonly VENV=.venv

usage() {
  cat <<'USAGE'
usage: ./run.sh                     the quickstart: train and evaluate on the embedded data
       ./run.sh video               the same for clips: text-video retrieval, on the embedded ones
       ./run.sh --config=FILE ...   python -m experiments.main --config=FILE ...
       ./run.sh test                all checks: ruff, mypy, pytest
       ./run.sh test --quick        the same without the tests that take long, for in between
       ./run.sh test ARGS ...       pytest ARGS ..., e.g. ./run.sh test tests/test_x.py -k name
       ./run.sh --help              this text
       ./run.sh --config=FILE --help   every field of that config: what it is, its value there,
                                    what it may hold; python -m experiments.main --help lists FILEs

The first call makes .venv here and installs the tested versions (constraints.txt) with pip; later
calls start at once. Relative paths are taken from this folder, wherever the script is called from.

PYTHON=python3.12 ./run.sh          chooses the interpreter (3.11 or 3.12); remakes .venv if needed
rm -r .venv                         starts afresh
GPU or TPU, after the first call    .venv/bin/pip install -c constraints.txt -e '.[cuda12]'
                                    or '.[tpu]'

methods of pictures:
  zero_shot, coop, cocoop, kgcoop, promptsrc, clip_adapter, tip_adapter, tip_adapter_f, gda, vpt,
  ivlp, maple, pro_mpt
methods of clips:
  zero_shot, vop, vop_p, vop_c, vop_f, vop_f_p, vop_f_c, full, bias, proj, partial, adapter_attn,
  adapter_ffn, clip_video, vilt_independent, vilt_multimodal, vilt_clip, vifi_clip,
  vifi_vl_prompting, a5
protocols:
  base_to_novel, few_shot, supervised, cross_dataset, domain_generalization, zero_shot_transfer,
  retrieval
USAGE
}

fail() {
  echo "run.sh: $*" >&2
  exit 1
}

# Those that setup.py promises: for 3.13 the tokenizer's package has no wheel.
is_tested_python() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null
}

find_python() {
  if [[ -n "${PYTHON:-}" ]]; then
    is_tested_python "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 or 3.12; unset PYTHON" \
      "to search for one, or give another"
    echo "$PYTHON"
    return
  fi
  local candidate
  for candidate in python3.11 python3.12 python3; do
    if is_tested_python "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or 3.12 found on PATH; install one (Debian, Ubuntu: apt install" \
    "python3.11-venv) or name it: PYTHON=/path/to/python3.11 ./run.sh"
}

identity() {
  "$1" -c 'import os, sys; print(os.path.realpath(sys.base_prefix), sys.version)' 2>/dev/null
}

# An interpreter that was not asked for by name is kept, whatever PATH now holds.
has_wanted_python() {
  is_tested_python "$VENV/bin/python" &&
    { [[ -z "${PYTHON:-}" ]] || [[ "$(identity "$PYTHON")" == "$(identity "$VENV/bin/python")" ]]; }
}

# A .venv that cannot run, or whose creation was interrupted before pip was in it, is made anew.
make_environment() {
  if has_wanted_python && "$VENV/bin/python" -m pip --version &>/dev/null; then
    return
  fi
  local python
  python="$(find_python)"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; install it (Debian, Ubuntu: apt install python3-venv, for" \
      "another version e.g. python3.11-venv), then run again"
  echo "run.sh: making $VENV with $("$python" --version)" >&2
  "$python" -m venv --clear "$VENV" ||
    fail "could not make $VENV; its reason is above. Check permissions and space, then run again"
}

# What an installation depends on; another of any of these, and pip runs again.
fingerprint() {
  { pwd; cat setup.py constraints.txt; } | sha256sum
}

is_installed() {
  [[ "$(cat "$1" 2>/dev/null)" == "$(fingerprint)" ]] && has_wanted_python
}

# install [EXTRA]: the project with its EXTRA, unless it is there already.
install() {
  local extra="${1:-}"
  local stamp="$VENV/installed-${extra:-run}"
  if is_installed "$stamp"; then
    return
  fi
  make_environment
  rm -f "$VENV"/installed-*
  echo "run.sh: installing packages into $VENV; some minutes, 1 to 2 GB of disk" >&2
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable ".${extra:+[$extra]}" ||
    fail "pip could not install the packages; its reason is above. If it speaks of connections or" \
      "retrying: connect, or set https_proxy or PIP_INDEX_URL. Then run again, it goes on from here"
  # The extras only add packages, so the plain installation is complete as well.
  fingerprint | tee "$stamp" >"$VENV/installed-run"
}

# run_checks [ARGS ...]: all checks, with ARGS for pytest.
run_checks() {
  local python="$VENV/bin/python"
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  "$python" -m mypy
  # A process per core; a file stays in one, as its tests share what is compiled. Files are taken
  # in tests/conftest.py's order, the long ones first.
  "$python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder \
    --durations=15 "$@"
}

main() {
  if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    usage
    return
  fi
  cd "$(dirname "${BASH_SOURCE[0]}")"
  # Large memory pages: on a CPU, page faults else take up to a fifth of a training step.
  export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
  if [[ "${1:-}" == test ]]; then
    shift
    install test
    case "$*" in
      "") run_checks ;;
      --quick) run_checks -m "not slow" ;;
      *) exec "$VENV/bin/python" -m pytest "$@" ;;
    esac
  elif [[ "${1:-}" == video ]]; then
    shift
    install
    exec "$VENV/bin/python" -m experiments.video "$@"
  elif (($#)); then
    install
    exec "$VENV/bin/python" -m experiments.main "$@"
  else
    install
    exec "$VENV/bin/python" -m experiments.quickstart
  fi
}

main "$@"
