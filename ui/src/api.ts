//! API v1, as the page uses it: what is asked, and the shape of what is answered.
//!
//! Fields that the page does not read are left out. Times are RFC 3339.

export interface Me { name: string; role?: string; is_admin: boolean; via: string }

export interface Uplink { device: string; choice: string }
export interface Network {
  vlan: number | null
  vni: number | null
  tunnel: string | null
  tunnel_port: number | null
  remotes: string[]
  team: string | null
  uplinks: Uplink[]
}
export interface Attachment {
  device: string | null
  switch: string | null
  switch_kind: string | null
  port: string | null
  port_id: string | null
  port_group: string | null
  networks: Network[]
  notes: string[]
  since: string | null
}
export interface Vnic { name: string; mac: string | null; ips: { ip: string; source: string }[]; attachment: Attachment | null }
export interface Machine {
  id: string
  name: string
  aliases: string[]
  kind: string
  state: string
  tenant: string | null
  vnics: Vnic[]
  since: string | null
}
export interface Found { host: string; host_state: string; machine: Machine }
export interface FoundList { items: Found[]; suggestions: string[]; next: string | null }

export interface PortVnic { machine: string; name: string; uuid: string; mac: string | null; ips: string[]; port: string | null }
export interface PortGroup { name: string | null; vlan: number | null; vni: number | null; vnic_count: number; vnics: PortVnic[] }
export interface Switch { name: string; kind: string | null; port_groups: PortGroup[]; uplinks: { name: string; members: string[] }[] }
export interface TopologyHost { name: string; state: string; machines: number; switches: Switch[]; unattached: PortVnic[] }
export interface Topology { hosts: TopologyHost[] }

export interface Point {
  rank: number
  /** The word for it when a capture is asked for: `tap`, `uplink`, `inside`. */
  point: string
  /** In words. */
  kind: string
  refusal: string | null
  interfaces: { name: string; vnic: string; label: string; choice: string | null }[]
  sees: string
  misses: string[]
  costs: string
  disturbs: string
}
export interface Plan { vm: string; host: string; filter?: string; points: Point[] }

export interface Mistake { column: number; width: number; message: string; suggestion?: string | null }
export interface Checked { normal: string; explanation: string[]; kernel: { exact: boolean; passes: { text: string }[] } }

export interface Clock { ahead_ms: number; uncertainty_ms: number }
export interface Part {
  agent: string
  host: string
  number: number
  machine_id: string
  machine: string
  point: string
  began: string
  end: string | null
  bytes: number
  packets: number
  kernel_dropped: number
  failed: number
  clock: Clock | null
  is_reachable: boolean
}
export interface Note { at: string; host: string | null; text: string; is_refusal: boolean }
export interface Session {
  id: string
  owner: string
  what: string[]
  expression: string
  point: string
  snaplen: number
  reason: string
  state: 'running' | 'ended'
  began: string
  until: string
  /** When it ended. */
  ended: string | null
  /** Why it ended. */
  end: string | null
  is_complete: boolean
  packets: number
  bytes: number
  lost: number
  parts: Part[]
  notes: Note[]
  awaited: string[]
}

/** What became of the packets of an interface, or of all of them. */
export interface Ledger {
  received: number
  kernel_dropped: number
  not_selected: number
  not_mirrored: number
  other_tenant: number
  undecidable: number
  own_export: number
  after_limit: number
  queue_full: number
  sink_failed: number
  written: number
  written_bytes: number
  sliced: number
}
export interface Account extends Ledger { label: string; interface: string; interface_packets: number | null; passed_over: number | null }
/** The accounts of a session's hosts. */
export interface Receipt {
  session: string
  /** Whether every part has ended and told its account. */
  is_final: boolean
  total: Ledger
  lost: number
  unaccounted: number
  parts: (Part & { receipt: { interfaces?: Account[]; seconds?: number } | null })[]
  notes: Note[]
}

export interface End { mac: string | null; ip: string | null; port: number | null }
/** A packet; its ends are those of the innermost frame, its layers go from the outside in. */
export interface Packet {
  number: number
  time: string
  host: string
  point: string
  len: number
  kept: number
  stack: string[]
  source: End
  destination: End
  transport: string | null
  vlans: number[]
  vnis: number[]
  /** Where it could not be understood any further, and why. */
  stop: string | null
}
/** How many packets there were until now, and how many of them were not shown. */
export interface Counted { packets: number; skipped: number }

export interface AgentStatus {
  id: string
  host: string
  version: string
  state: string
  heard: string | null
  clock: Clock | null
  machines: number
  parts: number
  lost: number
  problems: string[]
}
export interface Status { version: string; began: string; agents: AgentStatus[]; sessions: number; machines: number; resident_bytes: number }

export interface User { name: string; role: string; is_enabled: boolean; made_by: string; made_at: string; note: string; tokens: number; grants: number }
export interface Token { id: string; kind: string; user?: string; agent?: string | null; uses_left?: number; made_by: string; made_at: string; expires_at: string | null; note: string }
export interface Made { id: string; token: string; expires_at: string | null }
export interface Grant {
  id: string
  to: string
  machines: string[]
  purposes: string[]
  snaplen: string | number
  longest: string | null
  from: string | null
  until: string | null
  needs_reason: boolean
  made_by: string
  note: string
}
export interface AuditEntry {
  seq: number
  at: string
  /** `user`, `agent`, `controller` or `unknown`. */
  who: string
  name: string | null
  from: string
  action: string
  subject: string
  machines: { id: string; name: string; tenant: string | null }[]
  more_machines: number
  answer: 'granted' | 'refused' | 'failed'
  because: string | null
  reason: string
}
/** Bytes by where the two ends are. */
export interface BySplit { intra_host: number; inter_host: number; vm_to_physical: number; group: number; outside: number; unknown: number }
export interface Talker { name: string; octets: number; sent: number; received: number; packets: number; flows: number; by_split: BySplit }
export interface Pair { one: string; other: string; octets: number; octets_one_to_other: number; octets_other_to_one: number; packets: number; flows: number; by_split: BySplit }
export interface TrafficTotals { flows: number; copies: number; packets: number; octets: number; by_split: BySplit; octets_copied: number; octets_carried: number; flows_of_unknown_rate: number }
export interface TrafficSums<T> { items: T[]; totals: TrafficTotals; is_widened: boolean; next: string | null }
export interface TrafficSeries { step_s: number; items: { begin: string; flows: number; packets: number; octets: number; by_split: BySplit }[] }
/** A flow, as far as the page shows it. */
export interface FlowRow {
  start: string
  end: string
  point: string
  overlay: string | null
  overlay_number: number | null
  vlan: number | null
  protocol: number
  client_ip: string
  client_port: number
  client_vm: string | null
  client_tenant: string | null
  server_ip: string
  server_port: number
  server_vm: string | null
  server_tenant: string | null
  split: string
  client_counted_octets: number
  server_counted_octets: number
  app: string
  asked_for: string | null
  community_id: string | null
}
export interface Exporter {
  address: string
  port: number | null
  protocol: string
  domain: number
  records: number
  samples: number
  malformed: number
  sets_without_template: number
  lost: number | null
  lost_unit: string
  sampling: { taken: number; population: number }[]
  clock_ahead_ms: number
  last_seen: string | null
}
/** Which flows: of what time, and what they must have. */
export interface TrafficWords { from: string | null; to: string | null; filter?: string }

export interface List<T> { items: T[]; next: string | null }

/** What is asked for when a capture begins. */
export interface Wish {
  what: string[]
  expression?: string
  point?: string
  snaplen?: number
  duration_s?: number
  reason?: string
  detach?: boolean
}

/** An answer that is not what was asked for: RFC 9457, as far as the page shows it. */
export class Problem extends Error {
  constructor(readonly status: number, readonly title: string, detail: string, readonly mistake: Mistake | null = null) {
    super(detail)
  }
}

/** Who is told when nobody is logged in any more. */
export const unauthorised = new EventTarget()

export const ROOT = 'api/v1'

async function ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (method !== 'GET') headers['x-overtap'] = '1'
  if (body !== undefined) headers['content-type'] = 'application/json'
  let response: Response
  try {
    response = await fetch(`${ROOT}/${path}`, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Problem(0, 'No answer', 'The controller does not answer. What is shown is from before; it is asked again.')
  }
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T
  if (response.status === 401 && path !== 'login') unauthorised.dispatchEvent(new Event('unauthorised'))
  const said = await response.json().catch(() => ({})) as { title?: string; detail?: string; mistake?: Mistake }
  throw new Problem(response.status, said.title ?? `Error ${response.status}`, said.detail ?? 'The controller says no more about it.', said.mistake ?? null)
}

function query(words: Record<string, string | number | null | undefined>): string {
  const text = new URLSearchParams()
  for (const [key, value] of Object.entries(words)) if (value !== null && value !== undefined && value !== '') text.set(key, String(value))
  const all = text.toString()
  return all && `?${all}`
}

/** All of a list that comes in pages; of a very long one the first thousands. */
async function all<T>(path: string): Promise<List<T>> {
  const items: T[] = []
  let next: string | null | undefined = null
  do {
    const page: List<T> = await ask('GET', `${path}${query({ limit: 1000, cursor: next })}`)
    items.push(...page.items)
    next = page.next
  } while (next && items.length < 5000)
  return { items, next: next ?? null }
}

const id = encodeURIComponent

/** A machine's id as the topology and the page's addresses have it: a UUID without the word before it. */
export const plainId = (machine: string): string => machine.replace(/^uuid:/, '')

export const api = {
  login: (token: string) => ask<void>('POST', 'login', { token }),
  logout: () => ask<void>('DELETE', 'login'),
  me: () => ask<Me>('GET', 'me'),
  machines: (words: { what?: string; at?: string | null; limit?: number; cursor?: string | null }, signal?: AbortSignal) =>
    ask<FoundList>('GET', `machines${query(words)}`, undefined, signal),
  topology: (at: string | null, host?: string) => ask<Topology>('GET', `topology${query({ at, host })}`),
  plan: (vm: string, filter: string, signal?: AbortSignal) => ask<Plan>('GET', `plan${query({ vm, filter })}`, undefined, signal),
  check: (expression: string, signal?: AbortSignal) => ask<Checked>('GET', `filter/check${query({ expression })}`, undefined, signal),
  sessions: () => all<Session>('sessions'),
  session: (name: string) => ask<Session>('GET', `sessions/${id(name)}`),
  receipt: (name: string) => ask<Receipt>('GET', `sessions/${id(name)}/receipt`),
  capture: (wish: Wish) => ask<Session>('POST', 'sessions', wish),
  stop: (name: string) => ask<Session>('POST', `sessions/${id(name)}/stop`),
  refilter: (name: string, expression: string) => ask<Session>('POST', `sessions/${id(name)}/filter`, { expression }),
  remove: (name: string) => ask<void>('DELETE', `sessions/${id(name)}`),
  file: (name: string) => `${ROOT}/sessions/${id(name)}/capture.pcapng`,
  packets: (name: string) => `${ROOT}/sessions/${id(name)}/packets`,
  status: () => ask<Status>('GET', 'status'),
  audit: (first: number | null, limit: number) => ask<{ items: AuditEntry[]; next: number | null }>('GET', `audit${query({ first, limit })}`),
  invite: (invitation: { address: string; agent: string | null; uses: number; expires_at: string; note: string }) => ask<Made>('POST', 'agents/invitations', invitation),
  removeAgent: (name: string, reason: string) => ask<void>('DELETE', `agents/${id(name)}${query({ reason })}`),
  top: (by: string, limit: number, words: TrafficWords) => ask<TrafficSums<Talker>>('GET', `traffic/top${query({ by, limit, ...words })}`),
  pairs: (by: string, limit: number, words: TrafficWords) => ask<TrafficSums<Pair>>('GET', `traffic/pairs${query({ by, limit, ...words })}`),
  split: (words: TrafficWords) => ask<{ by_split: BySplit; totals: TrafficTotals }>('GET', `traffic/split${query({ ...words })}`),
  series: (words: TrafficWords) => ask<TrafficSeries>('GET', `traffic/series${query({ ...words })}`),
  flows: (limit: number, cursor: string | null, words: TrafficWords) => ask<List<FlowRow>>('GET', `traffic/flows${query({ limit, cursor, ...words })}`),
  exporters: async () => {
    const first = await ask<List<Exporter> & { written: string | null }>('GET', `exporters${query({ limit: 1000 })}`)
    return { items: first.items, written: first.written }
  },
  users: () => all<User>('users'),
  addUser: (user: { name: string; role: string; note: string }) => ask<void>('POST', 'users', user),
  changeUser: (name: string, change: { role?: string; is_enabled?: boolean }) => ask<void>('POST', `users/${id(name)}`, change),
  tokens: () => all<Token>('tokens'),
  addToken: (token: { user: string; expires_at: string | null; note: string }) => ask<Made>('POST', 'tokens', token),
  removeToken: (name: string) => ask<void>('DELETE', `tokens/${id(name)}`),
  grants: () => all<Grant>('grants'),
  addGrant: (grant: Record<string, unknown>) => ask<void>('POST', 'grants', grant),
  removeGrant: (name: string) => ask<void>('DELETE', `grants/${id(name)}`),
}
