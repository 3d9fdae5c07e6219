# shellcheck shell=bash
# What a host does to itself while the lab comes up: sourced by the script that lib/build.sh
# writes for each host and that runs inside it.
#
# One script for each host and all hosts at once: entering a host for every command takes ten
# times as long on a busy machine.
set -e
# shellcheck source=lab/lib/uuid.sh
. "$(dirname "${BASH_SOURCE[0]}")/uuid.sh"

# No super-frames and no unfilled checksums: frames are what a wire would carry.
offloads_off() {
  local interface
  for interface; do ethtool -K "$interface" tx off gso off gro off tso off >/dev/null 2>&1 || true; done
}

# Open vSwitch with the userspace datapath: no kernel module, nothing shared between hosts.
ovs_start() {
  local log=/var/log/openvswitch run=/run/openvswitch
  ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
  ovsdb-server /etc/openvswitch/conf.db --remote=punix:$run/db.sock \
    --remote=db:Open_vSwitch,Open_vSwitch,manager_options --pidfile=$run/ovsdb-server.pid \
    --detach --no-chdir --log-file=$log/ovsdb-server.log -vconsole:off
  ovs-vsctl --no-wait --timeout=30 init -- set Open_vSwitch . \
    external-ids:hostname="$(hostname)" external-ids:system-id="$(uuid_of "$(hostname)")"
  ovs-vswitchd --pidfile=$run/ovs-vswitchd.pid --detach --no-chdir --disable-system \
    --log-file=$log/ovs-vswitchd.log -vconsole:off
}

# After the ports are there: a buffer belongs to the socket of a port.
ovs_widen_buffers() {
  "$(dirname "${BASH_SOURCE[0]}")/widen-buffers.py" "$(cat /run/openvswitch/ovs-vswitchd.pid)" $((16 << 20))
}

# machine_start NAME named|unnamed: a VM that costs nothing, a network namespace held by a process.
#
# An unnamed one is what a container is: no entry in /run/netns, only the process leads to it.
machine_start() {
  ip netns add "$1"
  # shellcheck disable=SC2016  # for the shell in the machine
  ip netns exec "$1" unshare --uts setsid sh -c \
    'hostname "$0"; echo $$ >"/run/lab/$0.pid"; exec sleep infinity' "$1" </dev/null >/dev/null 2>&1 &
  until [ -s "/run/lab/$1.pid" ]; do sleep 0.01; done
  ip -n "$1" link set lo up
  # Only what a test asks for is on its wires.
  ip netns exec "$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
}

# machine_vnic NAME ETH PORT MAC IP MTU: PORT is the other end, in the host.
machine_vnic() {
  ip link add "$3" type veth peer name "$2" netns "$1"
  ip link set "$3" up
  offloads_off "$3"
  ip -n "$1" -batch - <<X
link set $2 address $4 mtu $6 up
addr add $5 dev $2
X
  ip netns exec "$1" ethtool -K "$2" tx off gso off gro off tso off >/dev/null 2>&1 || true
}

machine_unname() { ip netns del "$1"; }
