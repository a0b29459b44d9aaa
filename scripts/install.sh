#!/usr/bin/env bash
# Installs, upgrades or removes edge-agent as a systemd service, where the Debian package does not fit. Safe to repeat.
#
#   sudo scripts/install.sh [--from WHAT] [--wheelhouse DIR] [--start]
#   sudo scripts/install.sh --rollback
#   sudo scripts/install.sh --uninstall [--purge]
#
#   --from WHAT       a wheel, a checkout, or a requirement such as edge-emotion-agent==1.2; default: this checkout
#   --wheelhouse DIR  take all packages, and the models that are in it, from DIR and use no network. Fill it elsewhere
#                     with: pip wheel -w DIR -c constraints/py311.txt '.[web]' && cp ~/.cache/edge-agent/models/*.tflite DIR
#                     then add --from edge-emotion-agent
#   --force           install again although the same wheel is installed, to get newer dependencies
#   --start           enable and start the service; without it a running one is restarted, and a stopped one left alone
#   --rollback        go back to the installation before the last upgrade
#   --uninstall       remove the program; the configuration and undelivered data stay ...
#   --purge           ... unless this is given too
#   --root DIR        install below DIR and touch no service and no user (to try it out; needs no root)
#   --python PYTHON   interpreter for the environment; default: python3
#
# Each installation gets an environment of its own under /opt/edge-agent, is tried out, and is switched to at once by one
# symbolic link: whatever goes wrong before leaves the running one as it was.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
from="$here" wheelhouse='' root='' python=python3
action=install force=no start=no purge=no

die() { echo "install.sh: $*" >&2; exit 1; }
say() { echo "install.sh: $*"; }

while [ $# -gt 0 ]; do
  case "$1" in
    --from | --wheelhouse | --root | --python)
      [ $# -ge 2 ] || die "$1 needs a value"
      declare "${1#--}=$2"
      shift
      ;;
    --force) force=yes ;;
    --start) start=yes ;;
    --purge) purge=yes ;;
    --rollback) action=rollback ;;
    --uninstall) action=uninstall ;;
    -h | --help) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done
[ "$purge" = no ] || [ "$action" = uninstall ] || die "--purge belongs to --uninstall"
if [ -n "$root" ]; then
  mkdir -p "$root"
  root="$(cd "$root" && pwd)"
elif [ "$(id -u)" != 0 ]; then
  die "run it with sudo (or try it out with --root DIR)"
fi

opt="$root/opt/edge-agent"
etc="$root/etc/edge-agent"
state="$root/var/lib/edge-agent"
unit="$root/etc/systemd/system/edge-agent.service"
sysusers="$root/etc/sysusers.d/edge-agent.conf"
tmpfiles="$root/etc/tmpfiles.d/edge-agent.conf"
command="$root/usr/local/bin/edge-agent"

# Whether services and users of this machine may be touched.
live() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

refuse_beside_package() {
  if [ -z "$root" ] && dpkg-query -W -f '${Status}' edge-agent 2>/dev/null | grep -q 'ok installed'; then
    die "the Debian package is installed; upgrade or remove it with apt"
  fi
}

# ---------------------------------------------------------------------- environment

# What decides whether an installation is the same: our own wheel and the interpreter. Newer dependencies alone are no
# reason to disturb a running device; --force takes them.
fingerprint() { { sha256sum <"$1"; "$python" -VV; } | sha256sum | cut -c1-16; }

# Into $scratch, with the pip of the environment $1.
build_wheel() {
  case "$from" in
    *.whl) cp "$from" "$scratch/" ;;
    *)
      if [ -d "$from" ]; then
        "$1/python" -m pip wheel -q "${index[@]}" --no-deps --wheel-dir "$scratch" "$from"
      else
        "$1/python" -m pip download -q "${index[@]}" --no-deps --only-binary=:all: --dest "$scratch" "$from"
      fi
      ;;
  esac
}

# A venv that sees the system's packages where picamera2 is one of them, with the numpy it was built against.
make_venv() {
  local venv="$1" options=()
  numpy=()
  if major="$("$python" -c 'import numpy, picamera2; print(numpy.__version__.split(".")[0])' 2>/dev/null)"; then
    options=(--system-site-packages)
    numpy=("numpy<$((major + 1))")
    say "using the system's picamera2 and ${numpy[*]}"
  fi
  "$python" -m venv "${options[@]}" "$venv" || die "cannot make an environment: apt install python3-venv"
}

# The versions that were tested on this Python. A wheelhouse is a set of its own, filled with them or not.
choose_versions() {
  local set
  set="$here/constraints/py$("$1/bin/python" -c 'import sys; print("%d%d" % sys.version_info[:2])')"
  case "${numpy[*]}" in 'numpy<2') set="$set-numpy1" ;; esac
  tested=()
  if [ -n "$wheelhouse" ]; then
    return
  elif [ -e "$set.txt" ]; then
    tested=(-c "$set.txt")
  else
    say "no set of versions was tested on this Python: taking the newest allowed ones"
  fi
}

check_python() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed"
}

install_environment() {
  local now new wheel
  scratch="$(mktemp -d)"
  new="$opt/venv-$(date +%Y%m%d-%H%M%S)-$$"
  # shellcheck disable=SC2064 # both names are meant as they are now
  trap "rm -rf '$scratch' '$new'" EXIT
  mkdir -p "$opt"
  index=()
  if [ -n "$wheelhouse" ]; then index=(--no-index --find-links "$wheelhouse"); fi
  now="$(readlink -e "$opt/bin" || true)"
  if [ -z "$now" ]; then make_venv "$new"; fi
  build_wheel "${now:-$new/bin}"
  wheel="$(find "$scratch" -name 'edge_emotion_agent-*.whl')"
  [ -n "$wheel" ] || die "$from gave no wheel of edge-emotion-agent"
  if [ -n "$now" ]; then
    if [ "$force" = no ] && [ "$(fingerprint "$wheel")" = "$(cat "$now/../.fingerprint" 2>/dev/null)" ]; then
      say "already up to date: $("$now/edge-agent" --version)"
      return
    fi
    make_venv "$new"
  fi
  choose_versions "$new"
  "$new/bin/python" -m pip install -q --no-warn-script-location "${index[@]}" "${tested[@]}" "${wheel}[web]" "${numpy[@]}"
  try_out "$new"
  fingerprint "$wheel" >"$new/.fingerprint"
  switch_to "$new"
  # shellcheck disable=SC2064
  trap "rm -rf '$scratch'" EXIT
}

try_out() {
  "$1/bin/edge-agent" --version >/dev/null || die "the new installation does not run; nothing was changed"
  if [ -e "$etc/config.toml" ]; then
    "$1/bin/edge-agent" config check --config "$etc/config.toml" >/dev/null ||
      die "this version does not accept $etc/config.toml (see above); nothing was changed"
  fi
}

# bin -> venv-…/bin is what the unit runs; renaming a link over another is atomic.
switch_to() {
  local before
  before="$(readlink "$opt/bin" || true)"
  ln -sfn "${1##*/}/bin" "$opt/bin.new"
  mv -T "$opt/bin.new" "$opt/bin"
  if [ -n "$before" ] && [ "$before" != "${1##*/}/bin" ]; then ln -sfn "${before%/bin}" "$opt/previous"; fi
  sync
  forget_old
  say "installed $("$opt/bin/edge-agent" --version)"
}

forget_old() {
  local keep venv
  keep=" $(readlink "$opt/bin") $(readlink "$opt/previous" || true)/bin "
  for venv in "$opt"/venv-*; do
    case "$keep" in *" ${venv##*/}/bin "*) ;; *) rm -rf "$venv" ;; esac
  done
}

# ---------------------------------------------------------------------- the rest of the system

install_files() {
  install -D -m 644 "$here/systemd/edge-agent.service" "$unit"
  install -D -m 644 "$here/systemd/edge-agent.sysusers" "$sysusers"
  install -D -m 644 "$here/systemd/edge-agent.tmpfiles" "$tmpfiles"
  mkdir -p "$(dirname "$command")" "$etc"
  ln -sfn /opt/edge-agent/bin/edge-agent "$command"
  [ -e "$etc/config.toml" ] || "$opt/bin/edge-agent" config init "$etc/config.toml" >/dev/null
  if [ -z "$root" ]; then
    systemd-sysusers edge-agent.conf
    systemd-tmpfiles --create edge-agent.conf || true
  fi
}

install_models() {
  [ -n "$wheelhouse" ] || return 0
  mkdir -p "$state/models"
  EDGE_AGENT__MODELS__DIR="$state/models" "$opt/bin/edge-agent" models pull --from "$wheelhouse" >/dev/null ||
    say "not all models are in $wheelhouse; see 'edge-agent models list'"
  if [ -z "$root" ]; then chown -R edge-agent:edge-agent "$state/models"; fi
}

start_service() {
  live || return 0
  systemctl daemon-reload
  if [ "$start" = yes ]; then
    systemctl enable edge-agent.service
    systemctl restart edge-agent.service
  else
    systemctl try-restart edge-agent.service
  fi
}

missing_library() {
  ldconfig -p 2>/dev/null | grep -q libportaudio.so.2 || say "for a microphone: apt install libportaudio2"
}

# ---------------------------------------------------------------------- actions

case "$action" in
  install)
    refuse_beside_package
    check_python
    install_environment
    install_files
    install_models
    missing_library
    start_service
    say "configuration: $etc/config.toml; check it with 'edge-agent config check' and the machine with 'edge-agent doctor'"
    ;;
  rollback)
    [ -L "$opt/previous" ] || die "there is no earlier installation to go back to"
    switch_to "$opt/$(readlink "$opt/previous")"
    start_service
    ;;
  uninstall)
    refuse_beside_package
    if live; then systemctl disable --now edge-agent.service 2>/dev/null || true; fi
    rm -rf "$opt" "$unit" "$sysusers" "$tmpfiles"
    if [ -L "$command" ]; then rm -f "$command"; fi
    if live; then systemctl daemon-reload; fi
    if [ "$purge" = yes ]; then
      rm -rf "$etc" "$state" "$unit.d" "$root/etc/credstore/edge-agent.mqtt-password"
      say "removed, with its configuration and data"
    else
      say "removed; $etc and $state were kept (--purge deletes them)"
    fi
    ;;
esac
