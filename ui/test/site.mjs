// A made-up site: hosts, switches, machines, and what can happen to them. Everything follows from
// its numbers, so that two runs show the same pages.

const TENANTS = ['acme', 'globex', null]
const ROLES = ['web', 'db', 'cache', 'mail', 'build', 'dns', 'app', 'log']
const GROUPS = [
  { name: 'front', vlan: 110, vni: null },
  { name: 'storage', vlan: 120, vni: null },
  { name: 'acme-net', vlan: null, vni: 5001 },
  { name: 'globex-net', vlan: null, vni: 5002 },
]

export const now_ns = () => Date.now() * 1e6
export const rfc3339 = (ns) => new Date(ns / 1e6).toISOString()
const hex = (number, digits) => number.toString(16).padStart(digits, '0')

/** A site of `hosts` hosts that run `machines` machines. */
export function site({ hosts = 6, machines = 34 } = {}) {
  const digits = String(hosts).length
  const names = Array.from({ length: hosts }, (_, i) => `hv-${String(i + 1).padStart(digits, '0')}`)
  const all = Array.from({ length: machines }, (_, i) => machine(i, names[i % hosts], hosts, machines))
  return {
    hosts: names.map((name, i) => ({ name, is_connected: i !== 4, is_bridge: hosts > 3 && i === 5 })),
    machines: all,
    /** What was where before it moved: `{id, until_ns, host}`. */
    past: [],
  }
}

function machine(i, host, hosts, machines) {
  const round = Math.floor(i / ROLES.length) + 1
  const name = `${ROLES[i % ROLES.length]}-${String(round).padStart(machines > 800 ? 4 : 2, '0')}`
  const id = `uuid:${hex(0x3f2a1000 + i, 8)}-11aa-4bcd-8e${hex(i % 256, 2)}-${hex(0xabc000000000 + i, 12)}`
  const group = GROUPS[(i * 7 + Math.floor(i / 5)) % GROUPS.length]
  const state = i % 29 === 17 ? 'paused' : i % 31 === 23 ? 'shutoff' : 'running'
  const tenant = group.name.startsWith('acme') ? 'acme' : group.name.startsWith('globex') ? 'globex' : TENANTS[i % 3]
  const vnics = [0, ...(i % 9 === 0 ? [1] : [])].map((n) => ({ n, group: n === 0 ? group : GROUPS[1] }))
  return { i, id, name, host, tenant, state, vnics, since_ns: now_ns() - (i % 400) * 3.6e12 }
}

const mac = (m, n) => `52:54:00:${hex((m.i >> 8) & 255, 2)}:${hex(m.i & 255, 2)}:${hex(n + 1, 2)}`
const ip = (m, n) => `10.${n}.${(m.i >> 8) & 255}.${(m.i & 255) || 254}`
const tap = (m, n) => (n === 0 ? `vnet${m.i}` : `vnet${m.i}-${n}`)

/** The machine as the API says it. */
export function document(m, host) {
  return {
    id: m.id,
    uuid: m.id.slice(5),
    name: m.name,
    aliases: m.i % 5 === 0 ? [`instance-${hex(m.i, 8)}`] : [],
    kind: 'vm',
    state: m.state,
    tenant: m.tenant,
    vnics: m.vnics.map(({ n, group }) => ({
      name: `net${n}`,
      mac: mac(m, n),
      ips: m.state === 'shutoff' ? [] : [{ ip: ip(m, n), source: 'neighbours' }],
      attachment: m.state === 'shutoff' ? null : {
        device: tap(m, n), ifindex: 20 + m.i, namespace: 4026531840, namespace_path: null,
        switch: host.is_bridge ? 'br0' : 'br-int',
        switch_kind: host.is_bridge ? 'linux-bridge' : 'openvswitch',
        port: tap(m, n), port_id: null, port_group: group.name,
        networks: [{
          vlan: group.vlan, vni: group.vni, tunnel: group.vni ? 'vxlan' : null,
          tunnel_port: group.vni ? 4789 : null, remotes: group.vni ? ['192.0.2.12', '192.0.2.13'] : [],
          team: host.is_bridge ? null : 'bond0',
          uplinks: host.is_bridge
            ? [{ device: 'eth0', ifindex: 2, choice: 'only' }]
            : [{ device: 'eth0', ifindex: 2, choice: 'reported' }, { device: 'eth1', ifindex: 3, choice: 'standby' }],
        }],
        notes: m.i === 3 ? ['OpenFlow rules decide where its frames go; rules are not evaluated'] : [],
        since: rfc3339(m.since_ns),
      },
    })),
    since: rfc3339(m.since_ns),
  }
}

/** The site as it was at `at_ns`, or is now. */
export function topology(s, at_ns = null) {
  const on = new Map(s.hosts.map((host) => [host.name, []]))
  for (const m of s.machines) on.get(host_at(s, m, at_ns)).push(m)
  return {
    hosts: s.hosts.map((host) => {
      const groups = GROUPS.map((group) => ({
        ...group,
        vnics: on.get(host.name).filter((m) => m.state !== 'shutoff').flatMap((m) =>
          m.vnics.filter((vnic) => vnic.group === group).map(({ n }) => ({
            machine: m.name, uuid: m.id.slice(5), name: `net${n}`, mac: mac(m, n), ips: [ip(m, n)], port: tap(m, n),
          }))),
      })).filter((group) => group.vnics.length > 0).map((group) => ({ ...group, vnic_count: group.vnics.length }))
      return {
        name: host.name,
        state: host.is_connected ? 'connected' : 'away',
        machines: on.get(host.name).length,
        unattached: on.get(host.name).filter((m) => m.state === 'shutoff').flatMap((m) =>
          m.vnics.map(({ n }) => ({ machine: m.name, uuid: m.id.slice(5), name: `net${n}`, mac: mac(m, n), ips: [], port: null }))),
        switches: [{
          name: host.is_bridge ? 'br0' : 'br-int',
          kind: host.is_bridge ? 'linux-bridge' : 'openvswitch',
          port_groups: groups,
          uplinks: [host.is_bridge ? { name: 'eth0', members: ['eth0'] } : { name: 'bond0', members: ['eth0', 'eth1'] }],
        }],
      }
    }),
  }
}

/** Where a machine was. */
export function host_at(s, m, at_ns) {
  if (at_ns === null) return m.host
  return s.past.find((past) => past.id === m.id && at_ns < past.until_ns)?.host ?? m.host
}

/** The places where a machine's packets can be seen, as `overtap plan --output json` says it. */
export function plan(m, host, filter) {
  const label = (n, device) => `${m.name}/net${n} @ ${host.name}:${device}`
  const point = (rank, word, kind, rest) => ({ rank, point: word, kind, refusal: null, vnics: m.vnics.map(({ n }) => `net${n}`), interfaces: [], sees: '', misses: [], costs: '', disturbs: '', ...rest })
  return {
    vm: m.name,
    id: m.id,
    host: host.name,
    ...(filter ? { filter } : {}),
    points: [
      point(1, 'tap', 'own port', {
          interfaces: m.vnics.map(({ n }) => ({ name: tap(m, n), ifindex: 20 + m.i, vnic: `net${n}`, mac: mac(m, n), label: label(n, tap(m, n)), description: `tap of ${m.name}`, side: 'host', choice: null })),
        sees: 'every frame the VM sends and receives, as it sends them, with neighbours on this host too',
        misses: ['what the guest drops before its network card', 'checksums, where the card computes them'],
        costs: 'one copy of each selected packet in the kernel; less than 1 % of a core at 100 000 packets/s',
        disturbs: 'nobody: the guest does not notice',
      }),
      point(2, 'uplink', 'uplink', {
          interfaces: [{ name: 'eth0', ifindex: 2, vnic: 'net0', mac: null, label: `${m.name} @ ${host.name}:eth0`, description: 'active member of bond0', side: 'shared', choice: 'reported' }],
        sees: 'frames that leave or enter the host, inside their VXLAN',
        misses: ['everything between machines of this host', 'frames the vSwitch drops before the uplink'],
        costs: 'the kernel looks at every frame of the uplink',
        disturbs: 'nobody',
      }),
      point(3, 'inside', 'own interface, inside', { refusal: 'a VM has no namespace that can be entered; run a capture agent in the guest' }),
    ],
  }
}
