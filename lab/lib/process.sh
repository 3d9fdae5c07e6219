# shellcheck shell=bash
# Processes of the lab: started in the background, found again by name, ended.
#
# A record is LAB_DIR/pids/NAME with the pid and its start time, so that a pid used anew is never
# taken for ours. Knows nothing of hosts; lib/host.sh puts processes there.

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
wrong() { say "$*"; exit 2; }

# die_with_log NAME WORDS...: an error, and the end of what the process said.
die_with_log() {
  local log=$LAB_DIR/log/$1.log
  shift
  say "$*"
  [ ! -s "$log" ] || { say "the end of $log:"; tail -n 15 "$log" >&2; }
  exit 1
}

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }

# retry SECONDS CMD...: until CMD succeeds.
retry() {
  local end=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(now_ms)" -lt $end ] || return 1
    sleep 0.05
  done
}

# process_spawn NAME CMD...: output goes to log/NAME.log.
process_spawn() {
  local name=$1
  shift
  ! process_pid "$name" >/dev/null || die "'$name' runs already"
  rm -f "$LAB_DIR/log/$name.rc"
  # Emptied here and not in the child: nobody may wait on the words of an earlier run.
  : >"$LAB_DIR/log/$name.log"
  # The keeper's own words, such as "Killed", are nobody's; and who reads ours in a pipe shall not
  # wait for its end.
  process_keep "$name" "$@" >/dev/null 2>&1 &
  process_record "$name" $!
  disown
}

# The keeper stays behind the command to write down how it ended.
process_keep() {
  local name=$1
  shift
  trap '' INT TERM
  # A shell's background child ignores SIGINT; what is started here must be able to take one.
  env --default-signal=INT,QUIT,TERM "$@" >>"$LAB_DIR/log/$name.log" 2>&1 </dev/null
  echo $? >"$LAB_DIR/log/$name.rc"
}

process_record() { echo "$2 $(process_started "$2")" >"$LAB_DIR/pids/$1"; }

# The kernel's start time of a pid: field 22 of its stat line, counted behind the name.
process_started() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra stat <<<"${stat##*) }"
  # A zombie has ended, only nobody has asked yet.
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

# process_pid NAME: prints its pid, fails when it has ended.
process_pid() {
  local pid started
  { read -r pid started <"$LAB_DIR/pids/$1"; } 2>/dev/null || return 1
  [ -n "$started" ] && [ "$(process_started "$pid")" = "$started" ] && echo "$pid"
}

# process_stop NAME [SIGNAL]: prints the exit status of what was asked for.
process_stop() {
  local name=$1 signal=${2:-TERM} pid target
  [ -e "$LAB_DIR/pids/$name" ] || die "nothing is called '$name'"
  if pid=$(process_pid "$name"); then
    target=$(process_inside "$pid")
    kill "-$signal" "$target" 2>/dev/null
    retry 10 process_gone "$pid" || { kill -KILL "$target" 2>/dev/null; retry 5 process_gone "$pid"; }
  fi
  rm -f "$LAB_DIR/pids/$name"
  cat "$LAB_DIR/log/$name.rc" 2>/dev/null
}

process_gone() { ! process_started "$1" >/dev/null; }

# process_inside KEEPER: the command that was asked for, below the keeper and a chain of nsenter.
process_inside() {
  local pid=$1 name
  pid=$(process_child "$pid") || return 1
  while { read -r name <"/proc/$pid/comm"; } 2>/dev/null && [ "$name" = nsenter ]; do
    pid=$(process_child "$pid") || return 1
  done
  echo "$pid"
}

process_child() {
  local child=
  { read -r child _ <"/proc/$1/task/$1/children"; } 2>/dev/null
  [ -n "$child" ] && echo "$child"
}
