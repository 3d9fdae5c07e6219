//! The topology: every host as a tile, one of them or few drawn as boxes in boxes, and the same as
//! a list. Thousands of machines are never drawn: tiles have their number, a drawing is one host's.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { api, type PortGroup, type PortVnic, type TopologyHost } from '../api'
import { Badge, Empty, Head, Scroll, Waiting, Wrong } from '../parts/basics'
import { Drawing, isTeam, kindOf, tagOf } from '../parts/drawing'
import { TimeBar } from '../parts/timebar'
import { ago, count, counted, when } from '../format'
import { isConnected, live, type Moved, useHeard, useLive, useLoaded } from '../live'
import { go, link } from '../route'

export function TopologyPage({ host, words }: { host: string | null; words: Record<string, string> }) {
  const at = words.at ?? null
  useLive('machines')
  const past = useLoaded(() => (at ? api.topology(at) : Promise.resolve(null)), [at])
  const topology = at ? past.value : live.topology
  const problem = at ? past.problem : live.problem
  const hosts = topology?.hosts ?? []
  const chosen = hosts.find(({ name }) => name === host) ?? null
  const [filter, setFilter] = useState('')
  const networks = useMemo(() => new Set(hosts.flatMap((host) => host.switches.flatMap((on) => on.port_groups.map(tagOf)))).size, [topology])
  const machines = hosts.reduce((sum, host) => sum + host.machines, 0)
  const wanted = filter.trim().toLowerCase()
  const shown = wanted ? hosts.filter((host) => host.name.toLowerCase().includes(wanted) || host.switches.some((on) => on.port_groups.some((group) => `${group.name ?? ''} ${tagOf(group)}`.toLowerCase().includes(wanted)))) : hosts
  const to = (name: string | null) => link(name ? ['topology', name] : ['topology'], { at })
  const away = hosts.filter(({ state }) => !isConnected(state)).length
  return (
    <>
      <Head title={chosen ? chosen.name : 'Topology'} above={chosen ? <a href={to(null)}>All hosts</a> : undefined}>
        <TimeBar at={at} go={(at) => go(link(host ? ['topology', host] : ['topology'], { at }), true)} />
      </Head>
      {problem && <Wrong problem={problem} again={at ? past.again : () => live.want()} />}
      {!topology && !problem && <Waiting what="the topology" />}
      {topology && hosts.length === 0 && (
        <Empty title={at ? 'Nothing was known then' : 'No host is here yet'}>
          {at ? <p>The memory of hosts begins when their agent first looked.</p> : <p>A host comes with its agent: <code>overtap agents invite</code> prints a token, <code>overtap agent enrol --token TOKEN</code> uses it there. If hosts are there, you may have no grant for their machines yet.</p>}
        </Empty>
      )}
      {topology && hosts.length > 0 && (
        <>
          {!chosen && (
            <p class="sums">
              <span><b>{count(hosts.length)}</b> hosts{away > 0 && <> <Badge tone="warn">{away} away</Badge></>}</span>
              <span><b>{count(machines)}</b> machines</span>
              <span><b>{count(networks)}</b> networks</span>
            </p>
          )}
          {host && !chosen && <Wrong problem={{ title: `No host is called ${host}`, message: at ? 'It was not there then, or no machine you may see was on it.' : 'It may be gone, or no machine you may see is on it.' } as never} again={() => go(to(null))} />}
          {chosen ? <HostView host={chosen} isPast={at !== null} /> : (
            <>
              {hosts.length > 12 && <input type="search" class="tile-filter" value={filter} placeholder="Hosts and networks …" aria-label="Show only hosts with this name or network" onInput={(event) => setFilter(event.currentTarget.value)} />}
              <Tiles hosts={shown} to={to} isPast={at !== null} />
              {shown.length === 0 && <Empty title="No host has this name or network" />}
              <MovesSeen />
              {hosts.length <= MOST_DRAWN && <Drawing hosts={hosts} open={(name) => go(to(name))} label={`Drawing of ${counted(hosts.length, 'host')}; the tiles above lead to the same`} />}
            </>
          )}
        </>
      )}
    </>
  )
}

/** A host as a tile: its name, how it is, how many machines. Moves fly from tile to tile. */
function Tiles({ hosts, to, isPast }: { hosts: TopologyHost[]; to: (name: string) => string; isPast: boolean }) {
  const place = useRef<HTMLUListElement>(null)
  const seen = useRef(live.moves[0])
  const most = Math.max(1, ...hosts.map((host) => host.machines))
  useHeard(['machines'], () => {
    if (isPast) return
    const fresh = live.moves.slice(0, seen.current ? Math.max(0, live.moves.indexOf(seen.current)) : live.moves.length)
    seen.current = live.moves[0]
    for (const move of fresh.slice(0, 8)) requestAnimationFrame(() => place.current && fly(place.current, move))
  })
  return (
    <ul class={hosts.length > 60 ? 'tiles small' : 'tiles'} ref={place} aria-label="Hosts">
      {hosts.map((host) => (
        <li key={host.name}>
          <a href={to(host.name)} class={isConnected(host.state) ? 'tile' : 'tile away'} data-host={host.name}>
            <span class="tile-name">{host.name}</span>
            <span class="tile-count">{!isConnected(host.state) && <span class="tile-state">away</span>} {count(host.machines)}<span class="unseen"> machines</span></span>
            <span class="tile-bar" aria-hidden="true"><span style={{ width: `${(100 * host.machines) / most}%` }} /></span>
          </a>
        </li>
      ))}
    </ul>
  )
}

/** Shows a machine on its way. */
function fly(tiles: HTMLElement, move: Moved): void {
  const tile = (name: string) => tiles.querySelector<HTMLElement>(`[data-host="${CSS.escape(name)}"]`)
  const from = tile(move.from)
  const to = tile(move.to)
  to?.animate([{ outline: '2px solid var(--accent)', outlineOffset: '0px' }, { outline: '2px solid transparent', outlineOffset: '4px' }], { duration: 2400 })
  if (!from || !to || matchMedia('(prefers-reduced-motion: reduce)').matches) return
  const [a, b] = [from.getBoundingClientRect(), to.getBoundingClientRect()]
  const label = document.createElement('div')
  label.className = 'flying'
  label.textContent = move.name
  label.setAttribute('aria-hidden', 'true')
  document.body.append(label)
  const at = (box: DOMRect) => `translate(${box.x + box.width / 2 - label.offsetWidth / 2}px, ${box.y + box.height / 2 - label.offsetHeight / 2}px)`
  label.animate([{ transform: at(a), opacity: 0 }, { transform: at(a), opacity: 1, offset: 0.2 }, { transform: at(b), opacity: 1, offset: 0.85 }, { transform: at(b), opacity: 0 }], { duration: 1300, easing: 'ease-in-out' })
    .finished.finally(() => label.remove())
}

/** The moves since the page was opened, said to those who cannot see them fly. */
function MovesSeen() {
  const [, again] = useState(0)
  useHeard(['machines'], () => again((times) => times + 1))
  const moves = live.moves.slice(0, 5)
  return (
    <section class="moves-seen" aria-live="polite" aria-label="Moves">
      {moves.length > 0 && <h2>Moved just now</h2>}
      <ul>{moves.map((move) => <li key={`${move.id}${move.at_ms}`}><a href={link(['machine', move.id])}>{move.name}</a> <span class="mono">{move.from} → {move.to}</span> <span class="quiet-text">{when(move.at_ms)}, {ago(move.at_ms)}</span></li>)}</ul>
    </section>
  )
}

function HostView({ host, isPast }: { host: TopologyHost; isPast: boolean }) {
  const groups = host.switches.flatMap((on) => on.port_groups)
  return (
    <>
      <p class="sums">
        <span>{isConnected(host.state) ? <Badge tone="good">connected</Badge> : <Badge tone="warn">away: this is what was known last</Badge>}</span>
        <span><b>{count(host.machines)}</b> machines</span>
        <span><b>{host.switches.length}</b> {host.switches.length === 1 ? 'vSwitch' : 'vSwitches'}</span>
        <span><b>{groups.length}</b> port groups</span>
      </p>
      {host.machines === 0 ? <Empty title={isPast ? 'No machine was here then' : 'No machine is here'} /> : (
        <>
          {host.switches.length > 0 && <Drawing hosts={[host]} open={(id) => go(link(['machine', id]))} label={`Drawing of ${host.name}; the lists below have the same`} />}
          {host.switches.map((on) => (
            <section key={on.name} aria-label={`vSwitch ${on.name}`}>
              <h2>{on.name} <span class="quiet-text">{kindOf(on.kind)}, out by {on.uplinks.length ? on.uplinks.map((uplink) => (isTeam(uplink) ? `${uplink.name} (${uplink.members.join(', ')})` : uplink.name)).join('; ') : 'nothing that is known'}</span></h2>
              {on.port_groups.map((group) => <Group key={`${group.name}${tagOf(group)}`} group={group} />)}
            </section>
          ))}
          {host.unattached?.length > 0 && (
            <section>
              <h2>At no vSwitch</h2>
              <Rows vnics={host.unattached} caption="vNICs at no vSwitch" />
            </section>
          )}
        </>
      )}
    </>
  )
}

function Group({ group }: { group: PortGroup }) {
  return (
    <details class="group" open={group.vnics.length <= 40}>
      <summary><b>{group.name ?? 'No port group'}</b> <span class="tag">{tagOf(group)}</span> <span class="quiet-text">{counted(group.vnic_count ?? group.vnics.length, 'vNIC')}</span></summary>
      <Rows vnics={group.vnics} caption={`vNICs in ${group.name ?? 'no port group'}`} />
    </details>
  )
}

function Rows({ vnics, caption }: { vnics: PortVnic[]; caption: string }) {
  const [most, setMost] = useState(100)
  useEffect(() => setMost(100), [caption])
  return (
    <Scroll label={caption}>
      <table class="dense">
        <caption class="unseen">{caption}</caption>
        <thead><tr><th scope="col">Machine</th><th scope="col">vNIC</th><th scope="col">MAC</th><th scope="col">Addresses</th><th scope="col">Port</th></tr></thead>
        <tbody>
          {vnics.slice(0, most).map((vnic) => (
            <tr key={`${vnic.uuid}${vnic.name}`}>
              <td><a href={link(['machine', vnic.uuid])}>{vnic.machine}</a></td>
              <td>{vnic.name}</td>
              <td class="mono">{vnic.mac ?? '–'}</td>
              <td class="mono">{vnic.ips.join(', ') || '–'}</td>
              <td class="mono">{vnic.port ?? '–'}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {vnics.length > most && <button type="button" onClick={() => setMost(most + 500)}>{count(vnics.length - most)} more</button>}
    </Scroll>
  )
}

const MOST_DRAWN = 12
