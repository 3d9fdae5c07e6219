// Made-up traffic of the made-up site: flows, and every answer added up from them.

import { rfc3339, now_ns } from './site.mjs'

const SPLITS = ['intra_host', 'inter_host', 'vm_to_physical', 'group', 'outside', 'unknown']
const APPS = [[443, 'tls'], [53, 'dns'], [5432, 'postgresql'], [80, 'http'], [22, 'ssh'], [2049, 'nfs']]

/** Flows of the last two hours among the first machines of a site, the same in every run. */
export function flows(site) {
  const some = site.machines.slice(0, 14)
  const all = []
  const begin = Math.floor(now_ns() / 6e10) * 6e10 - 72e11
  for (let i = 0; i < 420; i++) {
    const client = some[(i * 5) % some.length]
    const server = i % 4 === 3 ? null : some[(i * 3 + 1) % some.length]
    if (server === client) continue
    const [port, app] = APPS[(i * 7) % APPS.length]
    const size = 1000 + ((i * 7919) % 97) ** 3 * (i % 5 === 0 ? 40 : 1)
    const start = begin + i * 17e9
    const end = (machine, port) => ({
      vm: machine ? `${machine.tenant ? `${machine.tenant}/` : ''}${machine.name}` : null, tenant: machine?.tenant ?? null, host: machine?.host ?? null,
      ip: machine ? `10.0.0.${machine.i + 1}` : `198.51.100.${i % 7}`, port,
    })
    const split = !server ? 'vm-to-physical' : server.host === client.host ? 'intra-host' : 'inter-host'
    all.push(row(i, start, start + ((i * 31) % 90) * 1e9, end(client, 40_000 + i), end(server, port), app, split, [Math.floor(size / 9), size]))
  }
  return all
}

function row(i, start, end, client, server, app, split, [there, back]) {
  const of = (side, it) => ({
    [`${side}_ip`]: it.ip, [`${side}_port`]: it.port, [`${side}_mac`]: null, [`${side}_vm`]: it.vm, [`${side}_tenant`]: it.tenant,
    [`${side}_host`]: it.host, [`${side}_port_group`]: null, [`is_${side}_ambiguous`]: false,
  })
  return {
    start: rfc3339(start), end: rfc3339(end), point: '192.0.2.11 ipfix 1 in', overlay: i % 3 ? null : 'vxlan', overlay_number: i % 3 ? null : 5001, vlan: i % 3 ? 110 : null,
    protocol: app === 'dns' ? 17 : 6, ...of('client', client), ...of('server', server), split, client_counted_octets: there, server_counted_octets: back,
    client_counted_packets: Math.ceil(there / 700), server_counted_packets: Math.ceil(back / 1200), app, is_app_seen: true,
    asked_for: app === 'tls' && !server.vm ? 'updates.example.org' : null, community_id: `1:${i}`,
  }
}

const WORDS = { vm: ['client_vm', 'server_vm'], host: ['client_host', 'server_host'], tenant: ['client_tenant', 'server_tenant'], address: ['client_ip', 'server_ip'], port: ['server_port'], app: ['app'], split: ['split'] }

export function answer({ here, response, url, path, me }, json, problem) {
  if (!here.flows) return problem(response, 404, 'Not Found', 'this controller has no flows; start it with --flows DIR, the store that overtap collect --store writes')
  const [from, to] = ['from', 'to'].map((word) => Date.parse(url.searchParams.get(word) ?? ''))
  const conditions = (url.searchParams.get('filter') ?? '').split(' and ').filter(Boolean)
  let found = here.flows.filter((flow) => (!from || Date.parse(flow.end) >= from) && (!to || Date.parse(flow.start) < to))
  for (const condition of conditions) {
    const [word, value] = condition.split(/=(.*)/)
    if (!WORDS[word]) return problem(response, 400, 'Bad Request', `rows have no \`${word}\`; they have ${Object.keys(WORDS).join(', ')}`)
    found = found.filter((flow) => WORDS[word].some((column) => String(flow[column]) === value))
  }
  if (me.name === 'viewer') found = found.filter((flow) => flow.client_tenant === 'acme' || flow.server_tenant === 'acme')
  const by = url.searchParams.get('by') ?? 'vms'
  const limit = Number(url.searchParams.get('limit') ?? 100)
  const at = Number(url.searchParams.get('cursor') ?? 0)
  const page = (items, more = {}) => json(response, { items: items.slice(at, at + limit), next: at + limit < items.length ? String(at + limit) : null, ...more })
  const largest = (sums) => [...sums.values()].sort((one, other) => other.octets - one.octets)
  const sums = { totals: totals(found), is_widened: false }
  switch (path[1]) {
    case 'split': return json(response, { by_split: sums.totals.by_split, totals: sums.totals })
    case 'series': return json(response, series(found, from))
    case 'flows': return page([...found].sort((one, other) => octets(other) - octets(one)))
    case 'top': {
      const rows = new Map()
      for (const flow of found) {
        if (by === 'apps' || by === 'ports') add(rows, by === 'apps' ? flow.app : `tcp/${flow.server_port}`, flow, true)
        else for (const name of new Set([name_of(flow, 'client', by), name_of(flow, 'server', by)])) add(rows, name, flow, name === name_of(flow, 'client', by))
      }
      return page(largest(rows), sums)
    }
    case 'pairs': {
      const rows = new Map()
      for (const flow of found) {
        const ends = [name_of(flow, 'client', by), name_of(flow, 'server', by)]
        const [one, other] = [...ends].sort()
        const key = `${one} ${other}`
        const pair = rows.get(key) ?? { one, other, octets: 0, octets_one_to_other: 0, octets_other_to_one: 0, packets: 0, flows: 0, by_split: none() }
        const isForth = ends[0] === one
        pair.octets += octets(flow)
        pair.octets_one_to_other += isForth ? flow.client_counted_octets : flow.server_counted_octets
        pair.octets_other_to_one += isForth ? flow.server_counted_octets : flow.client_counted_octets
        pair.flows++
        pair.by_split[flow.split.replaceAll('-', '_')] += octets(flow)
        rows.set(key, pair)
      }
      return page(largest(rows), sums)
    }
    default: return problem(response, 404, 'Not Found', `There is no ${url.pathname}.`)
  }
}

export function exporters({ here, response, me }, json, problem) {
  if (me.name === 'viewer') return problem(response, 403, 'Forbidden', 'exporters are shown to those with a grant to capture all machines: overtap grants add USER --machine all')
  const seen = (s) => rfc3339(now_ns() - s * 1e9)
  const row = (address, protocol, more) => ({
    address, port: protocol === 'sflow5' ? null : 49_200, protocol, domain: 1, datagrams: 81_022, records: 1_204_331, samples: 0, malformed: 0, sets_without_template: 0,
    lost: 0, lost_unit: 'records', not_sent: 0, restarts: 0, sampling: [{ taken: 1, population: 1 }], clock_ahead_ms: 3, first_seen: seen(90_000), last_seen: seen(4), ...more,
  })
  json(response, {
    items: [
      row('192.0.2.11', 'ipfix'), row('192.0.2.12', 'ipfix', { lost: 811, domain: 7 }), row('192.0.2.13', 'netflow9', { lost: null, sampling: [], clock_ahead_ms: -61_000 }),
      row('192.0.2.14', 'sflow5', { records: 0, samples: 90_211, lost_unit: 'datagrams', sampling: [{ taken: 1, population: 1000 }] }),
      row('192.0.2.15', 'netflow5', { last_seen: seen(4000), malformed: 3 }),
    ],
    written: seen(2), next: null,
  })
}

const octets = (flow) => flow.client_counted_octets + flow.server_counted_octets
const none = () => Object.fromEntries(SPLITS.map((split) => [split, 0]))
const name_of = (flow, side, by) => flow[`${side}_${{ vms: 'vm', hosts: 'host', tenants: 'tenant' }[by]}`] ?? (by === 'vms' ? flow[`${side}_ip`] : '-')

function add(rows, name, flow, is_client) {
  const it = rows.get(name) ?? { name, octets: 0, sent: 0, received: 0, packets: 0, flows: 0, by_split: none() }
  it.octets += octets(flow)
  it.sent += is_client ? flow.client_counted_octets : flow.server_counted_octets
  it.received += is_client ? flow.server_counted_octets : flow.client_counted_octets
  it.packets += flow.client_counted_packets + flow.server_counted_packets
  it.flows++
  it.by_split[flow.split.replaceAll('-', '_')] += octets(flow)
  rows.set(name, it)
}

function totals(found) {
  const all = { flows: found.length, copies: 12, packets: 0, octets: 0, by_split: none(), octets_copied: 8_400_000, octets_carried: 0, flows_of_unknown_rate: 0 }
  for (const flow of found) {
    all.packets += flow.client_counted_packets + flow.server_counted_packets
    all.octets += octets(flow)
    all.by_split[flow.split.replaceAll('-', '_')] += octets(flow)
  }
  return all
}

function series(found, from) {
  const step_s = from && Date.now() - from > 8e6 ? 720 : 60
  const times = new Map()
  for (const flow of found) {
    const begin = Math.floor(Date.parse(flow.end) / 1000 / step_s) * step_s
    const it = times.get(begin) ?? { begin: new Date(begin * 1000).toISOString(), flows: 0, packets: 0, octets: 0, by_split: none() }
    it.flows++
    it.octets += octets(flow)
    it.by_split[flow.split.replaceAll('-', '_')] += octets(flow)
    times.set(begin, it)
  }
  return { step_s, items: [...times].sort(([one], [other]) => one - other).map(([, it]) => it) }
}
