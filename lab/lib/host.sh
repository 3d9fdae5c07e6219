# shellcheck shell=bash
# Hosts: small containers with their own network, mounts, processes, IPC and host name.
#
# Every directory in which Open vSwitch or libvirt keep state is a private tmpfs, so that default
# paths work unchanged in each host; /usr, /tmp and this repository are the machine's. A host's
# process 1 only reaps. Killing the unshare that made it ends everything in it.

HOST_PRIVATE="/run /etc/openvswitch /var/lib/openvswitch /var/log/openvswitch
  /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt"

# host_new NAME: returns when it can be entered.
host_new() {
  local name=$1 outer pid
  process_spawn "host-$name" unshare --fork --kill-child=SIGKILL --pid --mount-proc --net --uts --ipc \
    --mount --propagation private bash "$LAB_HOME/lib/host-init" "$name" "$HOST_PRIVATE"
  retry 20 grep -q '^ready$' "$LAB_DIR/log/host-$name.log" ||
    die_with_log "host-$name" "host $name does not come up"
  outer=$(process_inside "$(process_pid "host-$name")")
  pid=$(process_child "$outer") || die_with_log "host-$name" "host $name ended at once"
  process_record "init-$name" "$pid"
}

host_pid() { process_pid "init-$1"; }

# Enters a host; the working directory stays, since files are mostly shared.
host_exec() {
  local host=$1
  shift
  nsenter -t "$(host_pid "$host")" --net --mount --pid --uts --ipc --wdns="$PWD" -- "$@"
}

host_spawn() { # host_spawn HOST NAME CMD...
  local host=$1 name=$2
  shift 2
  process_spawn "$name" nsenter -t "$(host_pid "$host")" --net --mount --pid --uts --ipc \
    --wdns="$PWD" -- "$@"
}

# Only the network of a host: inside its pid namespace the pids of other hosts do not exist.
host_net() {
  local host=$1
  shift
  nsenter -t "$(host_pid "$host")" --net -- "$@"
}

# A file of a host as it is seen from outside, without entering it.
host_path() { echo "/proc/$(host_pid "$1")/root$2"; }

# enter WHERE CMD...: a host by its name, a machine by its namespace, a guest by its serial shell.
enter() {
  local where=$1
  shift
  case $(kind_of "$where") in
    host) host_exec "$where" "$@" ;;
    machine) machine_prefix "$where" && host_exec "${OWNER_HOST[$where]}" "${PREFIX[@]}" "$@" ;;
    vm) vm_shell "$where" "$(printf '%q ' "$@")" ;;
    *) wrong "no host or VM is called '$where'; there are: ${HOSTS[*]} ${OWNERS[*]}" ;;
  esac
}

enter_spawn() { # enter_spawn WHERE NAME CMD...
  local where=$1 name=$2
  shift 2
  case $(kind_of "$where") in
    host) host_spawn "$where" "$name" "$@" ;;
    machine) machine_prefix "$where" && host_spawn "${OWNER_HOST[$where]}" "$name" "${PREFIX[@]}" "$@" ;;
    vm) wrong "spawn does not reach into guests: lab vm sh $where 'CMD &'" ;;
    *) wrong "no host or machine is called '$where'" ;;
  esac
}

# Sets PREFIX to the words that lead from a host into a machine on it.
machine_prefix() {
  local pid
  read -r pid <"$(host_path "${OWNER_HOST[$1]}" "/run/lab/$1.pid")" || die "machine $1 is not up"
  PREFIX=(nsenter -t "$pid" --net --uts "--wdns=$PWD" --)
}
