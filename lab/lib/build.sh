# shellcheck shell=bash
# Brings a site up and takes it down: from the arrays of lib/site.sh to hosts that run.
#
# For each host four texts are gathered: lines for `ip -batch`, a script that is run inside, one
# ovs-vsctl transaction, and what can only be done after it. Then all hosts do their part at the
# same time.

declare -A LINKS SCRIPT VSCTL AFTER

site_up() {
  local began host owner
  began=$(now_ms)
  mkdir -p "$LAB_DIR"/{pids,log}
  site_read "$1"
  echo "$1" >"$LAB_DIR/shape"
  traffic_program

  for host in "${HOSTS[@]}"; do host_new "$host" & done
  each_succeeds "not every host came up"
  for host in "${HOSTS[@]}"; do
    LINKS[$host]='' SCRIPT[$host]=". '$LAB_HOME/lib/in-host.sh'"$'\n' VSCTL[$host]='' AFTER[$host]=''
  done
  plan_cables
  for host in "${HOSTS[@]}"; do "plan_${HOST_KIND[$host]}" "$host"; done
  plan_tunnels
  for owner in "${OWNERS[@]}"; do
    if [ "${OWNER_KIND[$owner]}" = machine ]; then plan_machine "$owner"; fi
  done
  for host in "${HOSTS[@]}"; do printf '%s' "${LINKS[$host]}" | host_net "$host" ip -batch - & done
  each_succeeds "cables between the hosts cannot be made"
  for host in "${HOSTS[@]}"; do run_script "$host" & done
  each_succeeds "not every host could be set up"
  for host in "${HOSTS[@]}"; do
    if [ -n "${HOST_LIBVIRT[$host]}" ]; then libvirt_start "$host" & fi
  done
  each_succeeds "libvirt does not start"
  ports_start
  vms_start
  paths_open
  say "shape $1 is up after $(($(now_ms) - began)) ms"
}

# Up means that every path of the shape carries packets: LACP takes a second or two.
paths_open() {
  local line from to
  for line in "${REACH[@]}"; do
    read -r from to _ <<<"$line"
    retry 30 site_ping_once "$from" "$to" || die "no packet gets through: $line" &
  done
  each_succeeds "the site is up but not every path works; lab check says more"
}

# Waits for the background jobs of this shell, and stops everything if one of them failed.
each_succeeds() {
  local job failed=
  for job in $(jobs -p); do wait "$job" || failed=yes; done
  [ -z "$failed" ] || die "$1"
}

run_script() { # run_script HOST
  local host=$1 script=$LAB_DIR/setup-$1
  {
    printf '%s' "${SCRIPT[$host]}"
    if [ -n "${VSCTL[$host]}" ]; then
      printf 'ovs_start\novs-vsctl --timeout=30%s\novs_widen_buffers\n' "${VSCTL[$host]# --}"
    fi
    printf '%s' "${AFTER[$host]}"
  } >"$script"
  timeout 60 nsenter -t "$(host_pid "$host")" --net --mount --pid --uts --ipc -- \
    bash "$script" >"$LAB_DIR/log/setup-$host.log" 2>&1 </dev/null ||
    die_with_log "setup-$host" "host $host cannot be set up"
}

plan_cables() {
  local cable a b x y
  for cable in "${CABLES[@]}"; do
    read -r a x b y <<<"$cable"
    LINKS[$a]+="link add $x type veth peer name $y netns $(host_pid "$b")"$'\n'
    SCRIPT[$a]+="ip link set $x mtu 1600 up; offloads_off $x"$'\n'
    SCRIPT[$b]+="ip link set $y mtu 1600 up; offloads_off $y"$'\n'
  done
}

plan_plain() {
  local uplinks=${HOST_UPLINKS[$1]}
  [ -z "${HOST_UNDERLAY[$1]}" ] || SCRIPT[$1]+="ip addr add ${HOST_UNDERLAY[$1]} dev ${uplinks%% *}"$'\n'
}

# The top-of-rack switch: a team of ports to a host with several cables, a plain port otherwise.
plan_tor() {
  local cable a x b y peer
  declare -A ports_to
  for cable in "${CABLES[@]}"; do
    read -r a x b y <<<"$cable"
    [ "$a" != "$1" ] || ports_to[$b]+=" $x"
    [ "$b" != "$1" ] || ports_to[$a]+=" $y"
  done
  VSCTL[$1]+=" -- add-br br-tor -- set bridge br-tor datapath_type=netdev"
  for peer in "${!ports_to[@]}"; do
    VSCTL[$1]+=$(team br-tor "team-$peer" "${ports_to[$peer]# }")
  done
}

# team BRIDGE NAME "UPLINK...": LACP with fast timers and hashing by flow
team() {
  case $2:$3 in
    *:*' '*) printf ' -- add-bond %s %s %s lacp=active bond_mode=balance-tcp other_config:lacp-time=fast' "$@" ;;
    *) printf ' -- add-port %s %s' "$1" "$3" ;;
  esac
}

# br-phy holds the uplinks and the underlay address, br-int the VMs; VLANs pass between the two.
plan_ovs() {
  local host=$1 underlay=${HOST_UNDERLAY[$1]} bridge
  VSCTL[$host]+=" -- add-br br-int -- set bridge br-int datapath_type=netdev"
  for bridge in $(bridges_of "$host"); do
    VSCTL[$host]+=" -- add-br $bridge -- set bridge $bridge datapath_type=netdev"
  done
  if [ -n "${HOST_UPLINKS[$host]}" ]; then
    VSCTL[$host]+=" -- add-br br-phy -- set bridge br-phy datapath_type=netdev"
    VSCTL[$host]+=$(team br-phy bond0 "${HOST_UPLINKS[$host]}")
    VSCTL[$host]+=" -- add-port br-int patch-phy -- set interface patch-phy type=patch options:peer=patch-int"
    VSCTL[$host]+=" -- add-port br-phy patch-int -- set interface patch-int type=patch options:peer=patch-phy"
    VSCTL[$host]+=" -- set port patch-phy trunks=20,30 -- set port patch-int trunks=20,30"
  fi
  [ -z "$underlay" ] || AFTER[$host]+="ip addr add $underlay dev br-phy; ip link set br-phy up"$'\n'
}

plan_bridge() {
  local host=$1 bridge uplinks=${HOST_UPLINKS[$1]}
  [ -z "${HOST_UNDERLAY[$host]}" ] || SCRIPT[$host]+="ip addr add ${HOST_UNDERLAY[$host]} dev ${uplinks%% *}"$'\n'
  for bridge in $(bridges_of "$host"); do
    SCRIPT[$host]+="ip link add $bridge type bridge; ip link set $bridge up"$'\n'
  done
}

bridges_of() {
  local line
  for line in "${BRIDGES[@]}"; do [ "${line% *}" != "$1" ] || echo "${line#* }"; done
}

plan_tunnels() {
  local line kind vni tag a b
  for line in "${TUNNELS[@]}"; do
    read -r kind vni tag a b <<<"$line"
    plan_tunnel_end "$kind" "$vni" "$tag" "$a" "${b%:*}"
    plan_tunnel_end "$kind" "$vni" "$tag" "$b" "${a%:*}"
  done
}

plan_tunnel_end() { # plan_tunnel_end KIND VNI TAG END PEER
  local kind=$1 vni=$2 tag=$3 host=${4%:*} bridge=${4#*:} peer=$5 remote own port
  remote=${HOST_UNDERLAY[$peer]%/*} own=${HOST_UNDERLAY[$host]%/*}
  if [ "${HOST_KIND[$host]}" = ovs ]; then
    [ "$bridge" != "$host" ] || bridge=br-int
    port=$kind-$peer
    if [ "$tag" = - ]; then tag=; else tag="tag=$tag"; fi
    # The VNI is in the name when one pair of hosts has several tunnels of one kind.
    [[ ${VSCTL[$host]} != *" $port "* ]] || port=${kind:0:2}$vni-$peer
    VSCTL[$host]+=" -- add-port $bridge $port $tag -- set interface $port type=$kind"
    VSCTL[$host]+=" options:remote_ip=$remote options:local_ip=$own options:key=$vni"
  else
    [ "$kind" = vxlan ] || die "shape: a $kind tunnel cannot end on the Linux bridge of $host"
    SCRIPT[$host]+="ip link add vxlan$vni type vxlan id $vni dstport 4789 local $own remote $remote"
    SCRIPT[$host]+=" dev ${HOST_UPLINKS[$host]%% *}; ip link set vxlan$vni master $bridge up"$'\n'
  fi
}

plan_machine() { # a namespace, and for each vNIC a port with the external ids that Neutron and libvirt set
  local name=$1 host=${OWNER_HOST[$1]} index bridge tag mac ip mtu port
  SCRIPT[$host]+="machine_start $name"$'\n'
  while read -r _ index bridge tag mac ip mtu; do
    port=tap-$name
    [ "$index" = 0 ] || port+=-$index
    [ ${#port} -le 15 ] || die "shape: '$name' is too long a name, its port would be $port"
    SCRIPT[$host]+="machine_vnic $name eth$index $port $mac $ip $mtu"$'\n'
    plan_port "$host" "$bridge" "$port" "$tag" "$mac" "$name"
  done < <(vnics_of "$name")
  [ "${OWNER_STYLE[$name]}" = named ] || SCRIPT[$host]+="machine_unname $name"$'\n'
}

plan_port() { # plan_port HOST BRIDGE PORT TAG MAC OWNER
  local tag="tag=$4"
  [ "$4" != - ] || tag=
  if [ "${HOST_KIND[$1]}" = bridge ]; then
    SCRIPT[$1]+="ip link set $3 master $2"$'\n'
  else
    VSCTL[$1]+=" -- add-port $2 $3 $tag -- set interface $3 external_ids:attached-mac='\"$5\"'"
    VSCTL[$1]+=" external_ids:iface-id=$(uuid_of "$6/$3") external_ids:vm-id=$6 external_ids:iface-status=active"
  fi
}

site_down() {
  local record name
  [ -e "$LAB_DIR/shape" ] || return 0
  # What was spawned in hosts dies with them; killing the hosts first would only make noise.
  for record in "$LAB_DIR"/pids/host-*; do
    [ -e "$record" ] || continue
    name=${record##*/}
    process_stop "$name" KILL >/dev/null &
  done
  wait
  for record in "$LAB_DIR"/pids/*; do
    [ -e "$record" ] || continue
    process_stop "${record##*/}" KILL >/dev/null
  done
  rm -rf "${LAB_DIR:?}"/*
}
