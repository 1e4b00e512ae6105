#!/usr/bin/env bash
# Installs the project into .venv once and runs it. See ./run.sh --help.
set -euo pipefail

VENV=.venv
CONSTRAINTS=constraints.txt
# Minor versions of Python 3 as in pyproject.toml. A newer one may work, but is not tested.
OLDEST_PYTHON=11
NEWEST_PYTHON=14

here() {
  dirname "${BASH_SOURCE[0]}"
}

# list_methods FOLDER: prints the names of the records in prompt_jax/methods/FOLDER.
list_methods() {
  sed -nE '/[Rr]ecord\($/{n;s/^ *"([a-z0-9_]+)",$/\1/p;}' "$(here)/prompt_jax/methods/$1"/*.py |
    LC_ALL=C sort | join_names
}

list_protocols() {
  sed -nE 's/^    "([a-z0-9_]+)": Protocol\(.*$/\1/p' "$(here)/experiments/config/protocols.py" |
    join_names
}

# Joins lines with commas and wraps them.
join_names() {
  paste -sd, - | sed 's/,/, /g' | fold -s -w 96 | sed 's/^/  /; s/ *$//'
}

usage() {
  cat <<USAGE
usage: ./run.sh                     run the quickstart: train and evaluate on the embedded data
       ./run.sh video               the same for text-video retrieval on embedded videos
       ./run.sh [video] --full      the same with more seeds, classes or steps: some minutes
       ./run.sh --config=FILE ...   python -m experiments.main --config=FILE ...
       ./run.sh test                run all checks: ruff, mypy, pytest
       ./run.sh test --quick        the same without the slow tests
       ./run.sh test --oldest       the same with the oldest versions that pyproject.toml allows, in
                                    .venv-oldest, without mypy; Python 3.11 only
       ./run.sh test ARGS ...       pytest ARGS ..., e.g. ./run.sh test tests/test_x.py -k name
       ./run.sh --help              print this text
       ./run.sh --config=FILE --help   explain every field of that config, with its value and
                                    range; python -m experiments.main --help lists FILEs

The first call creates .venv here and installs the tested versions (constraints.txt) with pip; later
calls start at once. Relative paths start from this directory, wherever the script is called from.

PYTHON=python3.14 ./run.sh          use this interpreter (3.11 to 3.14); recreates .venv if needed
rm -r .venv                         start over
GPU or TPU, after the first call    .venv/bin/pip install -c constraints.txt -e '.[cuda12]'
                                    or '.[tpu]'

methods of images:
$(list_methods images)
methods of videos:
$(list_methods video)
protocols:
$(list_protocols)
USAGE
}

fail() {
  echo "run.sh: $*" >&2
  exit 1
}

is_tested_python() {
  "$1" -c "import sys; sys.exit(not $OLDEST_PYTHON <= sys.version_info[1] <= $NEWEST_PYTHON)" \
    2>/dev/null
}

tested_pythons() {
  if ((OLDEST_PYTHON == NEWEST_PYTHON)); then
    echo "Python 3.$OLDEST_PYTHON"
  else
    echo "Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON"
  fi
}

find_python() {
  if [[ -n "${PYTHON:-}" ]]; then
    is_tested_python "$PYTHON" || fail "PYTHON=$PYTHON is not $(tested_pythons); unset" \
      "PYTHON to search for one, or set another"
    echo "$PYTHON"
    return
  fi
  local candidates=() minor candidate
  for ((minor = OLDEST_PYTHON; minor <= NEWEST_PYTHON; minor++)); do
    candidates+=("python3.$minor")
  done
  for candidate in "${candidates[@]}" python3; do
    if is_tested_python "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "no $(tested_pythons) found on PATH; install one (Debian, Ubuntu: apt install" \
    "python3.$OLDEST_PYTHON-venv) or name it: PYTHON=/path/to/python3.$OLDEST_PYTHON ./run.sh"
}

identity() {
  "$1" -c 'import os, sys; print(os.path.realpath(sys.base_prefix), sys.version)' 2>/dev/null
}

# Without PYTHON, the interpreter of an existing .venv is kept, whatever is on PATH.
has_wanted_python() {
  is_tested_python "$VENV/bin/python" &&
    { [[ -z "${PYTHON:-}" ]] || [[ "$(identity "$PYTHON")" == "$(identity "$VENV/bin/python")" ]]; }
}

# Recreates a .venv that does not run, or whose creation was interrupted before pip was installed.
make_environment() {
  if has_wanted_python && "$VENV/bin/python" -m pip --version &>/dev/null; then
    return
  fi
  local python
  python="$(find_python)"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; install it (Debian, Ubuntu: apt install python3-venv, or" \
      "python3.11-venv for that version), then run again"
  echo "run.sh: creating $VENV with $("$python" --version)" >&2
  "$python" -m venv --clear "$VENV" ||
    fail "could not create $VENV; see the reason above. Check permissions and disk space, then" \
      "run again"
}

# Prints a hash of all that an installation depends on; if it changes, pip runs again.
fingerprint() {
  { pwd; cat pyproject.toml "$CONSTRAINTS"; } | sha256sum
}

is_installed() {
  [[ "$(cat "$1" 2>/dev/null)" == "$(fingerprint)" ]] && has_wanted_python
}

# Returns whether there is a tested version of torch for VENV's Python.
has_torch() {
  local minor
  minor="$("$VENV/bin/python" -c 'import sys; print(sys.version_info[1])')"
  grep -Eq "^torch==[^;]*(; python_version == \"3\.$minor\")?$" "$CONSTRAINTS" && return
  echo "run.sh: WITHOUT TORCH: $CONSTRAINTS has no version for Python 3.$minor; tests that need" \
    "it are skipped" >&2
  return 1
}

# install [EXTRA]: installs the project with its EXTRA, unless it is installed already.
install() {
  local extra="${1:-}"
  local stamp="$VENV/installed-${extra:-run}"
  if is_installed "$stamp"; then
    return
  fi
  make_environment
  if [[ "$extra" == test ]] && has_torch; then
    extra=test,onnx
  fi
  rm -f "$VENV"/installed-*
  echo "run.sh: installing packages into $VENV; this takes a minute or more, without output, and" \
    "1 to 4 GB of disk" >&2
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$CONSTRAINTS" --editable ".${extra:+[$extra]}" ||
    fail "pip could not install the packages; see the reason above. If it is a connection error," \
      "check the network, or set https_proxy or PIP_INDEX_URL. Then run again to resume"
  echo "run.sh: installed" >&2
  # The extras only add packages, so the plain installation is complete as well.
  fingerprint | tee "$stamp" >"$VENV/installed-run"
}

# run_checks [ARGS ...]: runs all checks, with ARGS for pytest.
run_checks() {
  local python="$VENV/bin/python"
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  # Types are checked with the newest versions only: older ones declare different ones, or none.
  [[ "$CONSTRAINTS" == constraints-oldest.txt ]] || "$python" -m mypy
  # One process per core; a file's tests share a process, and so compiled programs. Files start in
  # the order of tests/conftest.py, long ones first.
  "$python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder \
    --durations=15 "$@"
}

main() {
  if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    usage
    return
  fi
  cd "$(here)"
  # Large memory pages: otherwise page faults take up to a fifth of a training step on a CPU.
  export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
  if [[ "${1:-}" == test ]]; then
    shift
    if [[ "${1:-}" == --oldest ]]; then
      shift
      VENV=.venv-oldest
      CONSTRAINTS=constraints-oldest.txt
      NEWEST_PYTHON="$OLDEST_PYTHON"
    fi
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
  elif [[ -n "${1:-}" && "$1" != -* ]]; then
    fail "unknown command $(printf %q "$1"); use video, test, or options such as --config=FILE" \
      "(./run.sh --help)"
  elif (($#)) && [[ "$*" != --full ]]; then
    install
    exec "$VENV/bin/python" -m experiments.main "$@"
  else
    install
    exec "$VENV/bin/python" -m experiments.quickstart "$@"
  fi
}

main "$@"
