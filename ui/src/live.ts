//! What the page knows of the site now, and keeps knowing: one line of server-sent events, one copy
//! of the topology, one index to search in. Whoever shows something of it is told when it changed.

import { useEffect, useReducer, useRef, useState } from 'preact/hooks'
import { api, Problem, ROOT, type PortGroup, type PortVnic, type Topology, type TopologyHost } from './api'

/** Whether changes come by themselves. */
export type Line = 'opening' | 'open' | 'lost'

/** A machine that is on another host than before. */
export interface Moved { id: string; name: string; from: string; to: string; at_ms: number }

/** A machine in the index. */
export interface Known { id: string; name: string; host: string; detail: string; text: string }

/** Where a vNIC is; at no switch where `group` is null. */
export interface Spot { host: TopologyHost; group: PortGroup | null; vnic: PortVnic }

type Kind = 'machines' | 'sessions' | 'status' | 'line'

class Live extends EventTarget {
  line: Line = 'opening'
  topology: Topology | null = null
  problem: Problem | null = null
  index: Known[] = []
  /** The last moves seen, the newest first. */
  moves: Moved[] = []
  private hosts = new Map<string, string>()
  private source: EventSource | null = null
  private wanted: Set<string> | 'all' | null = null
  private silent = 0
  private missed = false
  private loading = false
  private took_ms = 0

  /** Begins to listen. Nothing happens if it does already. */
  begin(): void {
    if (this.source) return
    void this.reload()
    this.listen()
  }

  /** Forgets everything: nobody is logged in any more. */
  end(): void {
    clearTimeout(this.silent)
    this.silent = 0
    this.source?.close()
    this.source = null
    this.topology = null
    this.index = []
    this.moves = []
    this.hosts.clear()
  }

  /** Asks for the topology again, soon, or for these hosts of it; many wishes are one question. */
  want(hosts?: string[]): void {
    const isAsked = this.wanted !== null
    if (!hosts?.length || this.wanted === 'all') this.wanted = 'all'
    else this.wanted = new Set([...(this.wanted ?? []), ...hosts])
    if (isAsked) return
    // A large site is not asked for all the time: a fifth of it at most.
    setTimeout(() => {
      const wanted = this.wanted
      this.wanted = null
      void this.reload(wanted === 'all' || wanted === null || wanted.size > MOST_SINGLE ? null : [...wanted])
    }, this.wanted === 'all' ? Math.min(10_000, Math.max(150, 4 * this.took_ms)) : 150)
  }

  private listen(): void {
    const source = new EventSource(`${ROOT}/events`)
    this.source = source
    source.onopen = () => {
      clearTimeout(this.silent)
      this.silent = 0
      // What happened while the line was down is not said again.
      if (this.missed) {
        this.missed = false
        this.want()
        for (const kind of ['sessions', 'status'] as const) this.tell(kind)
      }
      this.say('open')
    }
    source.onerror = () => {
      if (this.source !== source) return
      this.missed = true
      // The controller ends the line now and then; only one that stays away is worth a word.
      this.silent ||= window.setTimeout(() => this.say('lost'), 4500)
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(() => {
          if (this.source === source) this.listen()
        }, 3000)
      }
    }
    source.addEventListener('machines', (event) => {
      this.want((said(event) as { hosts?: string[] } | null)?.hosts)
      this.tell('machines')
    })
    source.addEventListener('sessions', (event) => this.tell('sessions', said(event)))
    source.addEventListener('status', () => {
      this.want()
      this.tell('status')
    })
  }

  /** Asks for all, or for these hosts alone. */
  private async reload(hosts: string[] | null = null): Promise<void> {
    if (this.loading) return this.want(hosts ?? undefined)
    this.loading = true
    const began = performance.now()
    try {
      if (hosts && this.topology) {
        const parts = await Promise.all(hosts.map((host) => api.topology(null, host)))
        const fresh = parts.flatMap((part) => part.hosts)
        const others = this.topology.hosts.filter(({ name }) => !hosts.includes(name))
        this.take({ hosts: [...others, ...fresh].sort((a, b) => (a.name < b.name ? -1 : 1)) })
      } else {
        this.take(await api.topology(null))
        this.took_ms = performance.now() - began
      }
      this.problem = null
    } catch (error) {
      this.problem = error as Problem
    }
    this.loading = false
    this.tell('machines')
  }

  private take(topology: Topology): void {
    const before = this.hosts
    const isFirst = this.topology === null
    this.topology = topology
    this.hosts = new Map()
    const known = new Map<string, Known>()
    for (const { host, group, vnic } of spots(topology)) {
      this.hosts.set(vnic.uuid, host.name)
      const one = known.get(vnic.uuid)
      const words = [vnic.mac, ...vnic.ips, vnic.port].filter(Boolean).join(' ')
      if (one) {
        one.text += ` ${words.toLowerCase()}`
      } else {
        const detail = [host.name, group?.name, vnic.ips[0]].filter(Boolean).join(' · ')
        const text = `${vnic.machine} ${vnic.uuid} ${words}`.toLowerCase()
        known.set(vnic.uuid, { id: vnic.uuid, name: vnic.machine, host: host.name, detail, text })
      }
    }
    this.index = [...known.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    if (isFirst) return
    for (const [id, to] of this.hosts) {
      const from = before.get(id)
      if (from !== undefined && from !== to) this.moves.unshift({ id, name: known.get(id)?.name ?? id, from, to, at_ms: Date.now() })
    }
    this.moves.length = Math.min(this.moves.length, 50)
  }

  private say(line: Line): void {
    if (this.line === line) return
    this.line = line
    this.tell('line')
  }

  private tell(kind: Kind, about: unknown = null): void {
    this.dispatchEvent(new CustomEvent(kind, { detail: about }))
  }
}

/** Hosts that are asked for one by one; of more the whole site is asked for. */
const MOST_SINGLE = 6

export const live = new Live()

/** Every vNIC of a site. */
export function* spots(topology: Topology): Generator<Spot> {
  for (const host of topology.hosts) {
    for (const on of host.switches) {
      for (const group of on.port_groups) {
        for (const vnic of group.vnics) yield { host, group, vnic }
      }
    }
    for (const vnic of host.unattached ?? []) yield { host, group: null, vnic }
  }
}

/** Whether the agent of a host answers. */
export const isConnected = (state: string): boolean => state === 'connected'

/** The best matches of `words` among all machines: names that begin so, then all else that has each word. */
export function search(index: Known[], words: string, most: number): Known[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const first = wanted[0]
  if (first === undefined) return []
  const begins: Known[] = []
  const has: Known[] = []
  for (const known of index) {
    if (!wanted.every((word) => known.text.includes(word))) continue
    if (known.text.startsWith(first)) begins.push(known)
    else if (has.length < most) has.push(known)
    if (begins.length === most) break
  }
  return [...begins, ...has].slice(0, most)
}

/** Renders again whenever one of these changed. */
export function useLive(...kinds: Kind[]): Live {
  const [, again] = useReducer<number, void>((times) => times + 1, 0)
  useHeard(kinds, () => again())
  // What was said between the first drawing and the listening is heard by nobody.
  useEffect(() => again(), [kinds.join()])
  return live
}

/** Calls `then` whenever one of these changed. */
export function useHeard(kinds: Kind[], then: (about: unknown) => void): void {
  const now = useRef(then)
  now.current = then
  useEffect(() => {
    const heard = (event: Event) => now.current((event as CustomEvent).detail)
    for (const kind of kinds) live.addEventListener(kind, heard)
    return () => {
      for (const kind of kinds) live.removeEventListener(kind, heard)
    }
  }, [kinds.join()])
}

/** What an answer is now: not there yet, there, or a problem (beside what was there before). */
export interface Loaded<T> { value: T | null; problem: Problem | null; again: () => void }

/** Asks for something, and again whenever `about` changes or one of `kinds` is heard. */
export function useLoaded<T>(load: () => Promise<T>, about: unknown[], kinds: Kind[] = [], every_ms = 0): Loaded<T> {
  const [state, set] = useState<{ about: string; value: T | null; problem: Problem | null }>({ about: '', value: null, problem: null })
  const key = JSON.stringify(about)
  const newest = useRef('')
  const soon = useRef(0)
  const run = () => {
    newest.current = key
    load().then(
      (value) => { if (newest.current === key) set({ about: key, value, problem: null }) },
      (problem: Problem) => {
        if (newest.current === key) set((before) => ({ about: key, value: before.about === key ? before.value : null, problem }))
      },
    )
  }
  useEffect(() => {
    run()
    if (!every_ms) return undefined
    const timer = setInterval(run, every_ms)
    return () => clearInterval(timer)
  }, [key, every_ms])
  useHeard(kinds, () => {
    if (soon.current) return
    soon.current = window.setTimeout(() => {
      soon.current = 0
      run()
    }, 120)
  })
  useEffect(() => () => {
    newest.current = 'gone'
    clearTimeout(soon.current)
  }, [])
  return { value: state.about === key ? state.value : null, problem: state.problem, again: run }
}

function said(event: Event): unknown {
  try {
    return JSON.parse((event as MessageEvent<string>).data)
  } catch {
    return null
  }
}
