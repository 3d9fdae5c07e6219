# shellcheck shell=bash
# The jail: where a whole lab lives, and with which it ends.
#
# New pid, mount and network namespaces around everything; the state of the lab is a tmpfs that
# only the jail can see. When the command ends, or any of these processes is killed, even with
# SIGKILL, the kernel ends every process and frees every interface and mount in it.

JAIL_RC=125

# jail_run [--shape NAME] [-- CMD...]
jail_run() {
  local shape=overlay dir child rc
  while [ $# -gt 0 ]; do
    case $1 in
      --shape) shape=${2:?--shape wants a name}; shift 2 ;;
      --shape=*) shape=${1#*=}; shift ;;
      --) shift; break ;;
      -h | --help) usage; return ;;
      -*) wrong "no option '$1'; see lab --help" ;;
      *) break ;;
    esac
  done
  [ "$(id -u)" = 0 ] || die "a lab needs root: namespaces, Open vSwitch and libvirt (try sudo)"
  [ -r "$LAB_HOME/shapes/$shape" ] || wrong "no shape '$shape'; there are: $(cd "$LAB_HOME/shapes" && echo *)"
  tools_present
  dir=$(mktemp -d "${TMPDIR:-/tmp}/overtap-lab.XXXXXX") || exit $JAIL_RC
  [ ${#dir} -le 50 ] || { rmdir "$dir"; die "TMPDIR is too long for the paths of sockets: $dir"; }

  # Everything in the jail inherits descriptor 9, so its end of file means that the jail is gone,
  # by whatever death. Only the empty mount point is left then.
  # shellcheck disable=SC2016  # for that shell
  exec 9> >(exec setsid sh -c 'cat >/dev/null; rmdir "$1"' sh "$dir" >/dev/null 2>&1)
  LAB_DIR=$dir PATH=$LAB_HOME:$PATH env --default-signal=INT,QUIT setpriv --pdeathsig KILL \
    unshare --fork --kill-child=SIGKILL --pid --mount-proc --net --mount --propagation private -- \
    "$LAB_HOME/lab" jail-init "$shape" "$@" <&0 &
  child=$!
  # Ctrl-C is for the command inside; it comes back from there as an exit status.
  trap : INT
  trap 'kill -KILL $child 2>/dev/null' TERM HUP
  while :; do
    wait $child
    rc=$?
    kill -0 $child 2>/dev/null || break
  done
  exec 9>&-
  retry 5 test ! -d "$dir"
  exit $rc
}

# Process 1 of the jail: brings the lab up, runs the command, and with its end everything ends.
jail_init() {
  local shape=$1
  shift
  trap : INT TERM
  mount -t tmpfs -o mode=755 overtap-lab "$LAB_DIR" || die "no tmpfs on $LAB_DIR"
  ip link set lo up
  timeout "${OVERTAP_LAB_UP_S:-180}" "$LAB_HOME/lab" up "$shape" || exit $JAIL_RC
  [ $# -gt 0 ] || set -- "${SHELL:-/bin/bash}"
  "$@"
}

tools_present() {
  local tool missing=()
  for tool in ip unshare nsenter setpriv ethtool ping; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} -eq 0 ] || die "missing: ${missing[*]}; scripts/deps lab installs what the lab needs"
}
