# Sourced by the scripts beside it, one for each published table or figure. Parses their command line and defines `sweep` and `report`.
# A script first sets `seeds` to the paper's number of seeds, `only=` (empty) if it takes --only MODEL, and `fast=` if it takes --fast.
# A failed sweep does not stop the others; the script ends with `exit $failed`. A refused setting, Ctrl-C or SIGTERM stops everything.
# Works with bash 3.2, the version of macOS: it has no `;;&` and treats an empty array as unset.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
name=$(basename "$0")
output=runs/$name iterations= settings=() failed=0 any=no
usage="usage: scripts/$name ${fast+[--fast] }${only+[--only MODEL] }[--seeds N] [--iterations K] [--output DIR] [SETTING ...]"
while [ $# -gt 0 ]; do
  case $1 in
    --only | --seeds | --iterations | --output) [ $# -ge 2 ] || { echo "scripts/$name: $1 needs a value" >&2; exit 2; } ;;
  esac
  case $1 in
    --seeds | --iterations) [[ $2 =~ ^[0-9]+$ ]] || { echo "scripts/$name: $1 needs a whole number, not '$2'" >&2; exit 2; } ;;
  esac
  case $1 in
    -h | --help) sed -n '2,/^[^#]/s/^# //p' "$0"; exit ;;
    model=*) echo "scripts/$name: $1 would apply to every run of this script: ${only+choose a network with --only, or }use snip-run" >&2; exit 2 ;;
    output_dir=* | seeds=* | schedule.iterations=*)
      option=${1%%=*} option=${option#schedule.}
      echo "scripts/$name: write --${option%_dir} ${1#*=} instead of $1" >&2; exit 2 ;;
    --fast) [ -n "${fast+taken}" ] || { echo "$usage" >&2; exit 2; }; fast=yes; shift ;;
    --only) [ -n "${only+taken}" ] || { echo "$usage" >&2; exit 2; }; only=$2; shift 2 ;;
    --seeds) seeds=$2; shift 2 ;;
    --iterations) iterations=$2; shift 2 ;;
    --output) case $2 in /*) output=$2 ;; *) output=$(pwd -P)/$2 ;; esac; shift 2 ;;
    -*) echo "scripts/$name: there is no option '$1'; $usage" >&2; exit 2 ;;
    *) settings+=("$1"); shift ;;
  esac
done
[ -z "$iterations" ] || settings+=("schedule.iterations=$iterations")
python=${PYTHON:-$root/.venv/bin/python}
if [ -n "${PYTHON:-}" ]; then command -v "$PYTHON" > /dev/null; else [ -e "$root/.venv/installed" ]; fi || {
  echo "snip-run is not installed in $root/.venv: run scripts/run once, or set PYTHON to a Python that has it" >&2
  exit 2
}
cd "$root"

networks= # the script's networks, for the message about an unknown one
folders=("$output") # what `report` reports on
sweep() { # SETTING ...: runs snip-run on all combinations, with the user's settings last. The first SETTING is model=…, which --only selects.
  case " $networks " in *" ${1#model=} "*) ;; *) networks="$networks ${1#model=}" ;; esac
  [ -z "${only:-}" ] || [ "model=$only" = "$1" ] || return 0
  any=yes
  "$python" -m snip_cli -m "$@" "seeds=$seeds" "output_dir=$output" ${settings[@]+"${settings[@]}"} || go_on $?
}

report() { # OPTION ...: runs snip-report on the runs in `folders`, unless dry_run=true made none
  [ "$any" = yes ] || { echo "scripts/$name: there is no network '$only' in this script: choose one of$networks" >&2; exit 2; }
  case " ${settings[*]-} " in *" dry_run=true "*) return 0 ;; esac
  "$python" -m snip_cli.commands.snip_report "${folders[@]}" "$@" || go_on $?
}

go_on() { # EXIT_CODE: notes a failure and continues; exits on 2 (refused), 130 (Ctrl-C), 143 and 129 (terminated), which Python has already reported
  case $1 in 2 | 129 | 130 | 143) exit "$1" ;; esac
  failed=1
}
