# shellcheck shell=bash disable=SC2034  # the arrays are read by the other files of lib
# The site: the words a shape is written in, and what they declare.
#
# A shape is a bash file of these words (see shapes/overlay). They only fill the arrays below;
# lib/build.sh turns those into hosts. Words that carry options take them as key=value.

HOSTS=()                   # in the order of the shape
declare -A HOST_KIND       # ovs, bridge, tor or plain
declare -A HOST_UNDERLAY   # address/length on the underlay, or empty
declare -A HOST_UPLINKS    # "up0 up1"
declare -A HOST_LIBVIRT    # yes or empty
CABLES=()                  # "host interface host interface"
BRIDGES=()                 # "host bridge"
TUNNELS=()                 # "kind vni tag end end", an end is HOST or HOST:BRIDGE
OWNERS=()                  # machines and VMs
declare -A OWNER_KIND      # machine or vm
declare -A OWNER_HOST      # where it starts
declare -A OWNER_TENANT
declare -A OWNER_STYLE     # machine: named or unnamed; vm: libvirt or qemu
declare -A OWNER_VNICS     # how many
VNICS=()                   # "owner index bridge tag mac ip mtu", tag is - when untagged
PORTS=()                   # "host bridge count"
REACH=()                   # "from to words..."

# host NAME KIND [underlay=IP/LEN] [uplinks=a,b] [libvirt=yes]
host() {
  local name=$1 underlay='' uplinks='' libvirt=''
  HOST_KIND[$name]=$2
  HOSTS+=("$name")
  shift 2
  options "underlay uplinks libvirt" "$@"
  HOST_UNDERLAY[$name]=$underlay HOST_UPLINKS[$name]=${uplinks//,/ } HOST_LIBVIRT[$name]=$libvirt
}

# cable HOST INTERFACE HOST INTERFACE
cable() { CABLES+=("$1 $2 $3 $4"); }

# bridge HOST NAME: one more vSwitch, internal-only unless a vNIC or tunnel leads out of it
bridge() { BRIDGES+=("$1 $2"); }

# tunnel vxlan|geneve END END vni=N [tag=VLAN]
tunnel() {
  local kind=$1 a=$2 b=$3 vni='' tag=-
  shift 3
  options "vni tag" "$@"
  TUNNELS+=("$kind $vni $tag $a $b")
}

# machine NAME HOST TENANT [style=named|unnamed]: a VM as cheap as a network namespace
machine() {
  local style=named name=$1 host=$2 tenant=$3
  shift 3
  options style "$@"
  owner machine "$name" "$host" "$tenant" "$style"
}

# vm NAME HOST TENANT [by=libvirt|qemu]: a QEMU guest
vm() {
  local by=libvirt name=$1 host=$2 tenant=$3
  shift 3
  options by "$@"
  owner vm "$name" "$host" "$tenant" "$by"
}

# vnic BRIDGE mac=MAC ip=IP/LEN [tag=VLAN] [mtu=1450]: of the machine or VM above it
vnic() {
  local mac='' ip='' tag=- mtu=1450 bridge=$1 owner=${OWNERS[-1]}
  shift
  options "mac ip tag mtu" "$@"
  VNICS+=("$owner ${OWNER_VNICS[$owner]} $bridge $tag $mac $ip $mtu")
  OWNER_VNICS[$owner]=$((OWNER_VNICS[$owner] + 1))
}

# ports HOST BRIDGE COUNT: that many more taps with a carrier and nobody behind them
ports() { PORTS+=("$1 $2 $3"); }

# reach FROM TO words...: TO is a name or an address; what `lab check` pings
reach() { REACH+=("$*"); }

owner() {
  OWNERS+=("$2")
  OWNER_KIND[$2]=$1 OWNER_HOST[$2]=$3 OWNER_TENANT[$2]=$4 OWNER_STYLE[$2]=$5 OWNER_VNICS[$2]=0
}

# options "NAMES" key=value...: sets the caller's variables of those names.
options() {
  local known=" $1 " word
  shift
  for word; do
    [[ $word == *=* && $known == *" ${word%%=*} "* ]] || die "shape: no option '$word' here; there are:$known"
    printf -v "${word%%=*}" '%s' "${word#*=}"
  done
}

kind_of() {
  if [ -n "${HOST_KIND[$1]:-}" ]; then echo host; else echo "${OWNER_KIND[$1]:-nothing}"; fi
}
is_vm() { [ "${OWNER_KIND[$1]:-}" = vm ]; }
vms() { local name; for name in "${OWNERS[@]}"; do ! is_vm "$name" || echo "$name"; done; }

# vnics_of OWNER: its lines of VNICS
vnics_of() {
  local vnic
  for vnic in "${VNICS[@]}"; do [ "${vnic%% *}" != "$1" ] || echo "$vnic"; done
}

address_of() { # of its first vNIC, without the length
  local ip
  read -r _ _ _ _ _ ip _ < <(vnics_of "$1")
  echo "${ip%/*}"
}

site_read() {
  [ -r "$LAB_HOME/shapes/$1" ] || die "no shape '$1'; there are: $(cd "$LAB_HOME/shapes" && echo *)"
  # shellcheck source=/dev/null
  . "$LAB_HOME/shapes/$1"
}

site_load() {
  local shape
  { read -r shape <"$LAB_DIR/shape"; } 2>/dev/null || die "no lab is up: lab up"
  site_read "$shape"
}

site_show() {
  local host name vnic tunnel style where
  for host in "${HOSTS[@]}"; do
    echo "host $host  ${HOST_KIND[$host]}  underlay ${HOST_UNDERLAY[$host]:--}  uplinks ${HOST_UPLINKS[$host]:--}"
  done
  for tunnel in "${TUNNELS[@]}"; do
    read -r -a vnic <<<"$tunnel"
    echo "tunnel ${vnic[0]}  VNI ${vnic[1]}  tag ${vnic[2]}  ${vnic[3]} - ${vnic[4]}"
  done
  for name in "${OWNERS[@]}"; do
    style=${OWNER_STYLE[$name]} where=${OWNER_HOST[$name]}
    ! is_vm "$name" || where=$(vm_where "$name") || where=nowhere
    while read -r _ index bridge tag mac ip _; do
      echo "${OWNER_KIND[$name]} $name ($style)  on $where  tenant ${OWNER_TENANT[$name]}  eth$index  $mac  $ip  $bridge tag $tag"
    done < <(vnics_of "$name")
  done
}

site_check() {
  local line failed=0
  for line in "${REACH[@]}"; do
    # shellcheck disable=SC2086  # words on purpose
    site_ping $line || failed=1
  done
  return $failed
}

site_ping() { # site_ping FROM TO words...
  local from=$1 to=$2
  shift 2
  # Patience only for the first echo: it may have to wait for ARP.
  if retry 5 site_ping_once "$from" "$to" && enter "$from" ping -q -c3 -i0.2 -W2 "$(reach_address "$to")" >/dev/null; then
    echo "ok   $from -> $to ($*)"
  else
    echo "FAIL $from -> $to ($*)"
    return 1
  fi
}

site_ping_once() { enter "$1" ping -c1 -W1 "$(reach_address "$2")"; }

reach_address() { if [ "$(kind_of "$1")" = nothing ]; then echo "$1"; else address_of "$1"; fi; }
