# shellcheck shell=bash disable=SC2153  # HOSTS is an array of lib/site.sh
# QEMU guests: through libvirt where the host has it, by hand where it does not.
#
# The files of a running guest are in its host's own /run/lab: NAME.sh (control shell),
# NAME.console (serial log), and NAME.qmp and NAME.pid when it was started by hand.

guest_image() { # sets GUEST, the directory of kernel and initramfs
  GUEST=$("$LAB_HOME/guest/build") || exit 1
  ACCELERATOR=$(accelerator)
}

# An opened /dev/kvm proves nothing: with kvm_pvm and no vmx or svm, QEMU starts and the guest crawls.
accelerator() {
  if [ -w /dev/kvm ] && [ ! -e /sys/module/kvm_pvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
    echo kvm
  else
    echo tcg
  fi
}

# One libvirtd for each host, without systemd, D-Bus or virtlogd. TCP without authentication is
# for migration, and for a jail only.
libvirt_start() {
  local host=$1 address=${HOST_UNDERLAY[$1]%/*} etc
  etc=$(host_path "$host" /etc/libvirt)
  host_exec "$host" mkdir -p /var/lib/libvirt/{qemu,boot,images,dnsmasq} /var/log/libvirt/qemu \
    /var/cache/libvirt/qemu /etc/libvirt/{qemu/networks/autostart,storage,nwfilter,secrets}
  # Hosts with one host_uuid are one host to libvirt, and it refuses to migrate between them.
  cat >"$etc/libvirtd.conf" <<X
listen_tls = 0
listen_tcp = 1
listen_addr = "$address"
auth_tcp = "none"
auth_unix_rw = "none"
unix_sock_dir = "/run/libvirt"
host_uuid = "$(uuid_of "$host")"
ovs_timeout = 30
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
X
  cat >"$etc/qemu.conf" <<X
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
seccomp_sandbox = 0
migration_host = "$address"
migration_address = "$address"
X
  echo 'uri_default = "qemu:///system"' >"$etc/libvirt.conf"
  host_spawn "$host" "libvirtd-$host" /usr/sbin/libvirtd --listen --timeout 0
  retry 30 host_exec "$host" timeout 5 virsh -q list || die_with_log "libvirtd-$host" "libvirtd on $host does not answer"
}

vms_start() {
  local name
  for name in $(vms); do vm_boot "$name" & done
  each_succeeds "not every guest started"
}

# With six busy loops beside it, one guest of some twenty had not booted after 90 s; why is not known.
vm_boot() {
  vm_start "$1"
  vm_ready "$1" 60 || {
    say "$1 is started once more"
    vm_stop "$1"
    vm_start "$1"
    vm_ready "$1" 60
  }
}

vm_start() {
  local name=$1 host=${OWNER_HOST[$1]}
  ! vm_where "$name" >/dev/null || die "$name runs already"
  guest_image
  rm -f "$(host_path "$host" "/run/lab/$name.console")"
  case ${OWNER_STYLE[$name]} in
    libvirt) libvirt_domain "$name" "$host" ;;
    qemu) qemu_start "$name" "$host" ;;
    *) die "shape: a VM is started by libvirt or qemu, not by ${OWNER_STYLE[$name]}" ;;
  esac || die "$name does not start on $host"
  echo "$host" >"$LAB_DIR/where-$name"
}

vm_ready() { # vm_ready NAME SECONDS
  local console
  console=$(host_path "${OWNER_HOST[$1]}" "/run/lab/$1.console")
  retry "$2" grep -q LAB-READY "$console" || {
    say "$1 does not boot; the end of its console:"
    tail -n 10 "$console" >&2
    return 1
  }
}

libvirt_domain() { # a persistent domain, as OpenStack makes them
  local name=$1 host=$2
  domain_xml "$name" >"$LAB_DIR/domain-$name.xml"
  # shellcheck disable=SC2016  # for the shell in the host
  host_exec "$host" timeout 60 sh -c 'virsh -q define "$1" && virsh -q start "$2"' sh \
    "$LAB_DIR/domain-$name.xml" "$name"
}

qemu_start() { # qemu_start NAME HOST: by hand, as scripts around QEMU do it
  local name=$1 host=$2 index bridge mac words=() tap
  while read -r _ index bridge _ mac _; do
    tap=vm-$name-$index
    # shellcheck disable=SC2016  # for the shell in the host
    host_exec "$host" sh -c 'ip tuntap add "$1" mode tap user root && ip link set "$1" master "$2" up' sh "$tap" "$bridge"
    words+=(-netdev "tap,id=net$index,ifname=$tap,script=no,downscript=no,vnet_hdr=off"
      -device "virtio-net-pci,netdev=net$index,mac=$mac,id=nic$index,romfile=")
  done < <(vnics_of "$name")
  # The odd size: see guest/emulator.
  host_spawn "$host" "qemu-$name" qemu-system-x86_64 -name "guest=$name,debug-threads=on" \
    -uuid "$(uuid_of "$name")" -accel "$(qemu_accelerator)" -M pc-i440fx-7.2 -cpu qemu64 -m 98312K \
    -nodefaults -no-user-config -no-reboot -display none -pidfile "/run/lab/$name.pid" \
    -kernel "$GUEST/vmlinuz" -initrd "$GUEST/initrd.gz" -append "$(kernel_words "$name")" \
    -chardev "file,id=console,path=/run/lab/$name.console" -serial chardev:console \
    -device virtio-serial-pci,max_ports=2 \
    -chardev "socket,id=shell,path=/run/lab/$name.sh,server=on,wait=off" \
    -device virtserialport,chardev=shell,name=overtap-lab.shell \
    -qmp "unix:/run/lab/$name.qmp,server=on,wait=off" "${words[@]}"
  retry 10 test -e "$(host_path "$host" "/run/lab/$name.pid")" || die_with_log "qemu-$name" "QEMU of $name does not start"
}

qemu_accelerator() { if [ "$ACCELERATOR" = kvm ]; then echo kvm; else echo tcg,tb-size=32; fi; }

kernel_words() {
  local ips=() ip mtu last=1450
  while read -r _ _ _ _ _ ip mtu; do ips+=("$ip") last=$mtu; done < <(vnics_of "$1")
  # The check of the timer against the host's clock fails when TCG gets too little of a busy CPU.
  echo "console=ttyS0 quiet no_timer_check lab.name=$1 lab.mtu=$last lab.ip=$(IFS=,; echo "${ips[*]}")"
}

domain_xml() { # the tenant is where Nova puts it
  local name=$1 kind=qemu
  [ "$ACCELERATOR" != kvm ] || kind=kvm
  cat <<X
<domain type='$kind'>
  <name>$name</name><uuid>$(uuid_of "$name")</uuid>
  <metadata>
    <nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>
      <nova:name>$name</nova:name>
      <nova:owner><nova:project uuid='$(uuid_of "${OWNER_TENANT[$name]}")'>${OWNER_TENANT[$name]}</nova:project></nova:owner>
    </nova:instance>
  </metadata>
  <memory unit='MiB'>96</memory><vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
    <kernel>$GUEST/vmlinuz</kernel><initrd>$GUEST/initrd.gz</initrd>
    <cmdline>$(kernel_words "$name")</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_reboot>destroy</on_reboot>
  <devices>
    <emulator>$LAB_HOME/guest/emulator</emulator>
$(interfaces_xml "$name")
    <serial type='pty'><log file='/run/lab/$name.console' append='on'/><target port='0'/></serial>
    <channel type='unix'>
      <source mode='bind' path='/run/lab/$name.sh'/><target type='virtio' name='overtap-lab.shell'/>
    </channel>
    <memballoon model='none'/>
  </devices>
</domain>
X
}

# Offloads are off, so that a tap carries what a wire would.
interfaces_xml() {
  local bridge tag mac port
  while read -r _ _ bridge tag mac _; do
    port="<virtualport type='openvswitch'><parameters interfaceid='$(uuid_of "$1/$mac")'/></virtualport>"
    [ "$tag" = - ] || port="<vlan><tag id='$tag'/></vlan>$port"
    cat <<X
    <interface type='bridge'>
      <mac address='$mac'/><source bridge='$bridge'/>$port<model type='virtio'/>
      <driver>
        <host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off'/>
        <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/>
      </driver>
    </interface>
X
  done < <(vnics_of "$1")
}

vm_stop() { # as if its plug was pulled
  local name=$1 host
  host=$(vm_where "$name") || die "$name runs nowhere"
  if [ "${OWNER_STYLE[$name]}" = libvirt ]; then
    host_exec "$host" timeout 30 virsh -q destroy "$name"
  else
    process_stop "qemu-$name" >/dev/null
    while read -r _ index _; do host_net "$host" ip link del "vm-$name-$index"; done < <(vnics_of "$name")
  fi
}

# vm_where NAME: the host that has its pid file. Two have one during a migration; then it is where
# it was.
vm_where() {
  local name=$1 host hosts=()
  for host in "${HOSTS[@]}"; do
    if [ -e "$(host_path "$host" "/run/libvirt/qemu/$name.pid")" ] || [ -e "$(host_path "$host" "/run/lab/$name.pid")" ]; then
      hosts+=("$host")
    fi
  done
  case ${#hosts[@]} in
    0) return 1 ;;
    1) echo "${hosts[0]}" | tee "$LAB_DIR/where-$name" ;;
    *) cat "$LAB_DIR/where-$name" ;;
  esac
}

vm_list() {
  local name
  for name in $(vms); do
    echo "$name  $(uuid_of "$name")  $(vm_where "$name" || echo nowhere)  ${OWNER_STYLE[$name]}  ${OWNER_TENANT[$name]}"
  done
}

vm_shell() { # vm_shell NAME LINE
  local host
  host=$(vm_where "$1") || die "$1 runs nowhere"
  "$LAB_HOME/guest/shell.py" "$(host_path "$host" "/run/lab/$1.sh")" "${LAB_SHELL_S:-30}" "$2"
}

vm_migrate() { # vm_migrate NAME FROM TO [virsh words...]
  local name=$1 from=$2 to=$3 address=${HOST_UNDERLAY[$3]%/*} began
  shift 3
  [ "$(vm_where "$name")" = "$from" ] || die "$name is not on $from"
  [ $# -gt 0 ] || set -- --p2p
  began=$(now_ms)
  host_exec "$from" timeout 90 virsh -q migrate --live --persistent --undefinesource "$@" "$name" \
    "qemu+tcp://$address/system" --migrateuri "tcp://$address" || die "$name does not migrate from $from to $to"
  [ "$(vm_where "$name")" = "$to" ] || die "$name did not arrive on $to"
  say "$name migrated from $from to $to in $(($(now_ms) - began)) ms"
}

# The idle taps of a shape: one process holds them all open, so that they have a carrier.
ports_start() {
  local line host bridge count
  for line in "${PORTS[@]}"; do
    read -r host bridge count <<<"$line"
    host_spawn "$host" "crowd-$host" "$LAB_HOME/lib/crowd.py" "$bridge" "$count" "/run/lab/crowd.sock"
    retry 30 test -S "$(host_path "$host" /run/lab/crowd.sock)" || die_with_log "crowd-$host" "the taps of $host do not come up"
  done
}

crowd_send() { # every tap sends COUNT frames
  local line
  [ ${#PORTS[@]} -gt 0 ] || wrong "this shape has no crowd of taps"
  for line in "${PORTS[@]}"; do
    timeout 120 socat -t 100 - "UNIX:$(host_path "${line%% *}" /run/lab/crowd.sock)" <<<"$1"
  done
}
