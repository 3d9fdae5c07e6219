# shellcheck shell=bash
# Traffic between two of a site's VMs, machines or hosts, counted at both ends.
#
# Both ends are guest/traffic.rs. A session is a name: its receiver starts first, the sender when
# the receiver listens; `wait` joins what both say into one line of JSON. Every message carries
# the sender's tenant, so that a receiver notices what belongs to somebody else.

traffic_program() {
  guest_image
  ln -sf "$GUEST/traffic" "$LAB_DIR/traffic"
  mkdir -p "$LAB_DIR/sessions"
}

traffic() {
  local verb=${1:-} from
  case $verb in
    start) shift; traffic_start "$@" ;;
    run) shift; traffic_start "$@" && traffic_wait "$SESSION" ;;
    wait | stop)
      [ $# -eq 2 ] || wrong "usage: lab traffic $verb NAME"
      [ -e "$LAB_DIR/sessions/$2" ] || die "no traffic is called '$2'; there is: $(ls "$LAB_DIR/sessions")"
      if [ "$verb" = stop ]; then
        read -r _ from _ _ <"$LAB_DIR/sessions/$2"
        traffic_ask_to_stop "$from" "$2.from"
      fi
      traffic_wait "$2"
      ;;
    *) wrong "usage: lab traffic start|run FROM TO [words...] | wait|stop NAME; see lab --help" ;;
  esac
}

traffic_start() { # sets SESSION
  [ $# -ge 2 ] || wrong "usage: lab traffic start FROM TO [--udp 100pps --count N | --tcp BYTES] ..."
  local from=$1 to=$2 proto=udp rate='' count='' bytes='' size=64 port=5001 marker name=$1-$2 address
  shift 2
  [ "$(kind_of "$from")" != nothing ] || wrong "no host or VM is called '$from'; there are: ${HOSTS[*]} ${OWNERS[*]}"
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || wrong "$1 wants a value"
    case $1 in
      --udp) proto=udp rate=${2%pps} ;;
      --tcp) proto=tcp bytes=$2 ;;
      --rate) rate=$2 ;;
      --count) count=$2 ;;
      --size) size=$2 ;;
      --port) port=$2 ;;
      --name) name=$2 ;;
      *) wrong "traffic: no option '$1'; see lab --help" ;;
    esac
    shift 2
  done
  address=$(traffic_address "$from" "$to") || exit
  marker=${OWNER_TENANT[$from]:-lab}
  [ ! -e "$LAB_DIR/sessions/$name" ] || die "traffic '$name' exists already; --name gives it another name"
  traffic_end "$to" "$name.to" "$proto-count" "port=$port" "marker=$marker" ${count:+"count=$count"}
  retry 20 traffic_says "$to" "$name.to" '^(ready|result)' || die "traffic $name: its receiver on $to does not start"
  traffic_end "$from" "$name.from" "$proto-send" "to=$address:$port" "marker=$marker" "size=$size" \
    ${rate:+"rate=$rate"} ${count:+"count=$count"} ${bytes:+"bytes=$bytes"}
  echo "$proto $from $to $marker" >"$LAB_DIR/sessions/$name"
  SESSION=$name
}

# traffic_address FROM TO: of TO, the address in a /24 that FROM is in too, else its first.
traffic_address() {
  local ip near=" "
  case $(kind_of "$2") in
    host) echo "${HOST_UNDERLAY[$2]%/*}"; return ;;
    nothing) wrong "no host or VM is called '$2'; there are: ${HOSTS[*]} ${OWNERS[*]}" ;;
  esac
  while read -r _ _ _ _ _ ip _; do near+="${ip%.*} "; done < <(vnics_of "$1")
  while read -r _ _ _ _ _ ip _; do
    if [[ $near == *" ${ip%.*} "* ]]; then echo "${ip%/*}"; return; fi
  done < <(vnics_of "$2")
  address_of "$2"
}

# traffic_end WHERE NAME MODE words...: one end, in the background. Names differ by end, since both
# may be on one machine.
traffic_end() {
  local where=$1 name=$2
  shift 2
  if is_vm "$where"; then
    vm_shell "$where" "rm -f /tmp/$name /tmp/$name.stop; traffic $* stop=/tmp/$name.stop >/tmp/$name 2>&1 &"
  else
    rm -f "$LAB_DIR/sessions/$name.stop"
    enter_spawn "$where" "traffic-$name" "$LAB_DIR/traffic" "$@" "stop=$LAB_DIR/sessions/$name.stop"
  fi
}

traffic_output() { # traffic_output WHERE NAME
  if is_vm "$1"; then LAB_SHELL_S=5 vm_shell "$1" "cat /tmp/$2"; else cat "$LAB_DIR/log/traffic-$2.log"; fi
}

traffic_says() { traffic_output "$1" "$2" | grep -Eq "$3"; }

traffic_ask_to_stop() { # traffic_ask_to_stop WHERE NAME
  if is_vm "$1"; then vm_shell "$1" "touch /tmp/$2.stop"; else touch "$LAB_DIR/sessions/$2.stop"; fi
}

# The sender may take as long as it was told to; then the receiver has half a second of silence left.
traffic_wait() {
  local name=$1 proto from to marker results patience=${LAB_TRAFFIC_S:-600}
  read -r proto from to marker <"$LAB_DIR/sessions/$name"
  retry "$patience" traffic_says "$from" "$name.from" '^result' || die "traffic $name: its sender on $from does not end"
  traffic_ask_to_stop "$to" "$name.to"
  retry 30 traffic_says "$to" "$name.to" '^result' || die "traffic $name: its receiver on $to does not end"
  rm -f "$LAB_DIR/sessions/$name" "$LAB_DIR/sessions/$name".{from,to}.stop
  results=$({ traffic_output "$from" "$name.from"; traffic_output "$to" "$name.to"; } | sed -n 's/^result //p')
  # shellcheck disable=SC2086  # words on purpose
  json "name=$name" "proto=$proto" "from=$from" "to=$to" "marker=$marker" $results
  [[ $results != *error=* ]]
}

json() { # json key=value...
  local word value out=
  for word; do
    value=${word#*=}
    [[ $value =~ ^([0-9]+|true|false)$ ]] || value="\"$value\""
    out+=",\"${word%%=*}\":$value"
  done
  echo "{${out#,}}"
}
