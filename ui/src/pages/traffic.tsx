//! Who talks to whom: over time, by where the ends are, the top talkers, the pairs; the flows behind
//! each number, from a flow to a capture; and who exports flows.

import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { api, type BySplit, type Exporter, type FlowRow, type Pair, plainId, type Problem, type TrafficWords } from '../api'
import { Badge, Empty, Head, Icon, Scroll, Waiting, Wrong } from '../parts/basics'
import { LINES, SeriesChart } from '../parts/series'
import { ago, bytes, count, counted, local, millis, span, utc, when } from '../format'
import { useLoaded } from '../live'
import { go, link } from '../route'

type Words = Record<string, string>

export function TrafficPage({ tab, words }: { tab: string; words: Words }) {
  const time = timeOf(words)
  return (
    <>
      <Head title="Traffic">{tab !== 'exporters' && <Times words={words} tab={tab} />}</Head>
      <nav class="tabs" aria-label="Of traffic">
        {[['', 'Who talks'], ['flows', 'Flows'], ['exporters', 'Exporters']].map(([word, name]) => (
          <a key={word} href={link(['traffic', ...(word ? [word] : [])], kept(words))} aria-current={tab === word ? 'page' : undefined}>{name}</a>
        ))}
      </nav>
      {tab !== 'exporters' && <Conditions words={words} tab={tab} />}
      {tab === 'flows' ? <Flows key={JSON.stringify(words)} words={words} time={time} /> : tab === 'exporters' ? <Exporters /> : <Overview words={words} time={time} />}
    </>
  )
}

/** The time that is asked about. `to` is null for now. */
interface Time { from: number; to: number | null; key: string }

function timeOf(words: Words): Time {
  const [from, to] = [Date.parse(words.from ?? ''), Date.parse(words.to ?? '')]
  if (from && to && from < to) return { from, to, key: `${from} ${to}` }
  const last = LAST.find(({ word }) => word === words.last) ?? LAST[0]!
  // In whole minutes, so that the same question is asked again and not always another one.
  return { from: Math.floor(Date.now() / 60_000) * 60_000 - last.seconds * 1000, to: null, key: last.word }
}

const askedOf = (words: Words, time: Time): TrafficWords => ({ from: utc(time.from), to: time.to ? utc(time.to) : null, filter: words.filter })

/** What of the address goes with one from view to view. */
const kept = ({ last, from, to, filter, by }: Words): Record<string, string | undefined> => ({ last, from, to, filter, by })

/** The last hour, day or week, or from when to when. */
function Times({ words, tab }: { words: Words; tab: string }) {
  const to = (more: Record<string, string | null>) => link(['traffic', ...(tab ? [tab] : [])], { ...kept(words), ...more })
  const isExact = Boolean(words.from && words.to)
  const time = timeOf(words)
  const [ends, set] = useState<[string, string] | null>(null)
  const [from, until] = ends ?? [local(time.from), local(time.to ?? Date.now())]
  const submit = (event: Event) => {
    event.preventDefault()
    const [one, other] = [Date.parse(from), Date.parse(until)]
    if (one && other && one < other) go(to({ from: utc(one), to: utc(other), last: null }))
    set(null)
  }
  return (
    <div class="times">
      <div class="tabs" role="group" aria-label="How far back">
        {LAST.map(({ word, name }) => (
          <button key={word} type="button" aria-pressed={!isExact && (words.last ?? LAST[0]!.word) === word} onClick={() => { set(null); go(to({ last: word, from: null, to: null })) }}>{name}</button>
        ))}
      </div>
      <form class="times-exact" onSubmit={submit}>
        <input type="datetime-local" step={1} aria-label="From" value={from} onInput={(event) => set([event.currentTarget.value, until])} />
        <span aria-hidden="true">–</span>
        <input type="datetime-local" step={1} aria-label="To" value={until} onInput={(event) => set([from, event.currentTarget.value])} />
        <button type="submit">Show</button>
      </form>
    </div>
  )
}

/** What the flows must have: each condition can be taken away, and others be typed. */
function Conditions({ words, tab }: { words: Words; tab: string }) {
  const [text, set] = useState('')
  const all = conditionsOf(words)
  const to = (conditions: string[]) => link(['traffic', ...(tab ? [tab] : [])], { ...kept(words), filter: conditions.join(AND) })
  const submit = (event: Event) => {
    event.preventDefault()
    if (!text.trim()) return
    set('')
    go(to([...all, ...text.split(AND).map((one) => one.trim()).filter(Boolean)]))
  }
  return (
    <form class="conditions" onSubmit={submit}>
      {all.map((one) => (
        <a key={one} class="condition" href={to(all.filter((other) => other !== one))} aria-label={`Without ${one}`}><span class="mono">{one}</span><Icon name="close" /></a>
      ))}
      <input type="search" class="mono grow" value={text} spellcheck={false} placeholder={all.length ? 'and also …' : 'Only some: vm=acme/web-01, port=443, app=dns, tenant=acme'} aria-label="Only flows with" onInput={(event) => set(event.currentTarget.value)} />
    </form>
  )
}

const conditionsOf = (words: Words): string[] => (words.filter ?? '').split(AND).map((one) => one.trim()).filter(Boolean)

/** The flows behind a number. */
const behind = (words: Words, more: string[]): string => link(['traffic', 'flows'], { ...kept(words), by: null, filter: [...new Set([...conditionsOf(words), ...more])].join(AND) })

function Overview({ words, time }: { words: Words; time: Time }) {
  const asked = askedOf(words, time)
  const about = [words.filter, time.key]
  const again_ms = time.to ? 0 : 30_000
  const series = useLoaded(() => api.series(asked), about, [], again_ms)
  const split = useLoaded(() => api.split(asked), about, [], again_ms)
  if (split.problem) return <Missing problem={split.problem} again={split.again} />
  if (!split.value) return <Waiting what="the traffic" />
  if (split.value.totals.flows === 0) {
    return <Empty title={words.filter ? 'No such flows in this time' : 'No flows in this time'}><p>Flows come here when <code>overtap collect --store</code> has taken them; the newest are some ten seconds behind.</p></Empty>
  }
  const { totals } = split.value
  const to = (from: number, until: number) => go(link(['traffic'], { ...kept(words), last: null, from: utc(from), to: utc(Math.max(until, from + 60_000)) }))
  return (
    <>
      <p class="sums">
        <a href={behind(words, [])}><b>{bytes(totals.octets)}</b></a>
        <span><b>{count(totals.packets)}</b> packets</span>
        <span>in <b>{count(totals.flows)}</b> {totals.flows === 1 ? 'flow' : 'flows'}, each counted once</span>
        {totals.octets_copied > 0 && <span class="quiet-text">{bytes(totals.octets_copied)} seen once more at other points</span>}
        {totals.flows_of_unknown_rate > 0 && <Badge tone="warn">{counted(totals.flows_of_unknown_rate, 'flow')} of unknown sampling, taken as they are</Badge>}
      </p>
      <section>
        <h2>Over time</h2>
        {series.problem && <Wrong problem={series.problem} again={series.again} />}
        {series.value && <SeriesChart series={series.value} from={time.from} to={time.to ?? Date.now()} mark={to} />}
        {series.value && (
          <details class="group">
            <summary>As a table: {counted(series.value.items.length, 'time')} of {span(series.value.step_s)}</summary>
            <Scroll label="Traffic over time">
              <table class="dense">
                <thead><tr><th scope="col">From</th>{LINES.map((line) => <th scope="col" class="number" key={line.name}>{line.name}</th>)}<th scope="col" class="number">All</th></tr></thead>
                <tbody>
                  {series.value.items.slice(-200).map((it) => {
                    const begin = Date.parse(it.begin)
                    return (
                      <tr key={it.begin}>
                        <td><a href={link(['traffic'], { ...kept(words), last: null, from: utc(begin), to: utc(begin + series.value!.step_s * 1000) })}>{when(begin)}</a></td>
                        {LINES.map((line) => <td class="number" key={line.name}>{bytes(line.of(it.by_split))}</td>)}
                        <td class="number">{bytes(it.octets)}</td>
                      </tr>
                    )
                  })}
                </tbody>
              </table>
            </Scroll>
          </details>
        )}
      </section>
      <section>
        <h2>Where the two ends are</h2>
        <SplitBar by={split.value.by_split} words={words} />
      </section>
      <Talkers words={words} time={time} again_ms={again_ms} />
      <Pairs words={words} time={time} again_ms={again_ms} />
    </>
  )
}

const SPLITS: { key: keyof BySplit; word: string; name: string; hint: string; colour: string }[] = [
  { key: 'intra_host', word: 'intra-host', name: 'Intra-host', hint: 'no uplink sees it', colour: 'good' },
  { key: 'inter_host', word: 'inter-host', name: 'Inter-host', hint: 'between two hosts', colour: 'accent' },
  { key: 'vm_to_physical', word: 'vm-to-physical', name: 'VM to physical', hint: 'with what is no machine here', colour: 'warn' },
  { key: 'group', word: 'group', name: 'Group', hint: 'to multicast or broadcast', colour: 'text-2' },
  { key: 'outside', word: 'outside', name: 'Outside', hint: 'neither is a machine here', colour: 'text-2' },
  { key: 'unknown', word: 'unknown', name: 'Unknown', hint: 'the inventory does not say, or you may not know', colour: 'text-2' },
]

function SplitBar({ by, words }: { by: BySplit; words: Words }) {
  const all = SPLITS.reduce((sum, { key }) => sum + by[key], 0)
  const shown = SPLITS.filter(({ key }, i) => i < 3 || by[key] > 0)
  let x = 0
  return (
    <div class="split">
      <svg class="split-bar" viewBox="0 0 1000 20" preserveAspectRatio="none" aria-hidden="true" focusable="false">
        {shown.map(({ key, colour }) => {
          const wide = all ? (by[key] / all) * 1000 : 0
          x += wide
          return <rect key={key} x={x - wide} y="0" width={wide} height="20" fill={`var(--${colour})`} stroke="var(--surface)" stroke-width="2" />
        })}
      </svg>
      <dl class="split-parts">
        {shown.map(({ key, word, name, hint, colour }) => (
          <div key={key}>
            <dt><svg width="10" height="10" aria-hidden="true" focusable="false"><rect width="10" height="10" rx="2" fill={`var(--${colour})`} /></svg> {name}</dt>
            <dd><a href={behind(words, [`split=${word}`])}>{bytes(by[key])}</a> <span class="quiet-text">{all ? `${((by[key] / all) * 100).toFixed(by[key] / all < 0.1 ? 1 : 0)} %` : ''}</span></dd>
            <dd class="quiet-text">{hint}</dd>
          </div>
        ))}
      </dl>
    </div>
  )
}

/** What a name of a row means as a condition; null for what has no name. */
function conditionOf(by: string, name: string): string | null {
  if (name === '-') return null
  if (by === 'apps') return `app=${name}`
  if (by === 'ports') return /^(tcp|udp|sctp)\/\d+$/.test(name) ? `port=${name.split('/')[1]}` : null
  if (by === 'hosts') return `host=${name}`
  if (by === 'tenants') return `tenant=${name}`
  // An address may have its network behind it: `10.0.0.7 in vxlan 5001`.
  const address = name.split(' in ')[0]!
  return isAddress(address) ? `address=${address}` : `vm=${name}`
}

const isAddress = (name: string): boolean => /^\d+\.\d+\.\d+\.\d+$/.test(name) || /^[0-9a-f]*:[0-9a-f:.]*$/i.test(name)

function Talkers({ words, time, again_ms }: { words: Words; time: Time; again_ms: number }) {
  const by = words.by ?? 'vms'
  const [most, set] = useState(12)
  const top = useLoaded(() => api.top(by, most, askedOf(words, time)), [by, most, words.filter, time.key], [], again_ms)
  const largest = top.value?.items[0]?.octets ?? 1
  return (
    <section>
      <div class="bar">
        <h2>Top talkers</h2>
        <div class="tabs" role="group" aria-label="Talkers by">
          {[['vms', 'Machines'], ['hosts', 'Hosts'], ['tenants', 'Tenants'], ['apps', 'Applications'], ['ports', 'Ports']].map(([word, name]) => (
            <button key={word} type="button" aria-pressed={by === word} onClick={() => go(link(['traffic'], { ...kept(words), by: word === 'vms' ? null : word }), true)}>{name}</button>
          ))}
        </div>
      </div>
      {top.problem && <Wrong problem={top.problem} again={top.again} />}
      {!top.value && !top.problem && <Waiting what="the talkers" />}
      {top.value && (
        <Scroll label="Top talkers">
          <table class="dense stack talkers">
            <thead><tr><th scope="col">{NAMES[by]}</th><th scope="col" class="number">Bytes</th><th scope="col"><span class="unseen">Of the largest</span></th><th scope="col" class="number">Sent</th><th scope="col" class="number">Received</th><th scope="col" class="number">Packets</th><th scope="col" class="number">Flows</th><th scope="col">Mostly</th></tr></thead>
            <tbody>
              {top.value.items.map((it) => {
                const condition = conditionOf(by, it.name)
                return (
                  <tr key={it.name}>
                    <td class="wrap"><b>{condition ? <a href={link(['traffic'], { ...kept(words), by: by === 'vms' ? 'apps' : null, filter: [...new Set([...conditionsOf(words), condition])].join(AND) })}>{nameOf(by, it.name)}</a> : nameOf(by, it.name)}</b></td>
                    <td class="number">{condition ? <a href={behind(words, [condition])}>{bytes(it.octets)}</a> : bytes(it.octets)}</td>
                    <td class="share"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false"><rect width={Math.max(0.5, (it.octets / largest) * 100)} height="8" rx="1" fill="var(--accent)" /></svg></td>
                    <td class="number labelled" data-label="sent">{bytes(it.sent)}</td>
                    <td class="number labelled" data-label="received">{bytes(it.received)}</td>
                    <td class="number labelled" data-label="packets">{count(it.packets)}</td>
                    <td class="number labelled" data-label="flows">{count(it.flows)}</td>
                    <td class="quiet-text">{mostly(it.by_split)}</td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        </Scroll>
      )}
      {top.value?.next && most < 500 && <button type="button" onClick={() => set(most * 4)}>More</button>}
      {top.value?.is_widened && <p class="quiet-text">Sums by minute of that time have expired; whole hours were taken.</p>}
    </section>
  )
}

const NAMES: Record<string, string> = { vms: 'Machine or address', hosts: 'Host', tenants: 'Tenant', apps: 'Application', ports: 'Port' }
const nameOf = (by: string, name: string): string => (name !== '-' ? name : by === 'tenants' ? 'no tenant' : by === 'hosts' ? 'no machine here' : 'no name')

function mostly(by: BySplit): string {
  const all = SPLITS.reduce((sum, { key }) => sum + by[key], 0)
  const most = [...SPLITS].sort((one, other) => by[other.key] - by[one.key])[0]!
  const share = all ? Math.round((by[most.key] / all) * 100) : 0
  return all ? `${most.name.toLowerCase()}${share < 100 ? ` ${share} %` : ''}` : '–'
}

/** Who talks to whom: a square of those who talk most, and the pairs as a list. */
function Pairs({ words, time, again_ms }: { words: Words; time: Time; again_ms: number }) {
  const by = words.by === 'hosts' || words.by === 'tenants' ? words.by : 'vms'
  const pairs = useLoaded(() => api.pairs(by, 200, askedOf(words, time)), [by, words.filter, time.key], [], again_ms)
  const items = pairs.value?.items ?? []
  const both = (pair: Pair): string[] | null => {
    const [one, other] = [conditionOf(by, pair.one), conditionOf(by, pair.other)]
    if (!one || !other) return null
    // Of one host with itself is what stays within it.
    return pair.one === pair.other && by === 'hosts' ? [one, 'split=intra-host'] : [one, other]
  }
  return (
    <section>
      <h2>Who talks to whom</h2>
      {pairs.problem && <Wrong problem={pairs.problem} again={pairs.again} />}
      {!pairs.value && !pairs.problem && <Waiting what="the pairs" />}
      {items.length > 0 && <Matrix by={by} items={items} words={words} both={both} />}
      {items.length > 0 && (
        <Scroll label="Pairs">
          <table class="dense stack">
            <thead><tr><th scope="col">One</th><th scope="col">Other</th><th scope="col" class="number">Bytes</th><th scope="col" class="number">One to other</th><th scope="col" class="number">Other to one</th><th scope="col" class="number">Flows</th><th scope="col">Mostly</th></tr></thead>
            <tbody>
              {items.slice(0, 12).map((it) => {
                const conditions = both(it)
                return (
                  <tr key={`${it.one}\0${it.other}`}>
                    <td class="wrap">{nameOf(by, it.one)}</td>
                    <td class="wrap labelled" data-label="with">{nameOf(by, it.other)}</td>
                    <td class="number">{conditions ? <a href={behind(words, conditions)}>{bytes(it.octets)}</a> : bytes(it.octets)}</td>
                    <td class="number labelled" data-label="→">{bytes(it.octets_one_to_other)}</td>
                    <td class="number labelled" data-label="←">{bytes(it.octets_other_to_one)}</td>
                    <td class="number labelled" data-label="flows">{count(it.flows)}</td>
                    <td class="quiet-text">{mostly(it.by_split)}</td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  )
}

function Matrix({ by, items, words, both }: { by: string; items: Pair[]; words: Words; both: (pair: Pair) => string[] | null }) {
  const sums = new Map<string, number>()
  const sent = new Map<string, { octets: number; pair: Pair }>()
  for (const pair of items) {
    sums.set(pair.one, (sums.get(pair.one) ?? 0) + pair.octets)
    sums.set(pair.other, (sums.get(pair.other) ?? 0) + pair.octets)
    const add = (from: string, to: string, octets: number) => {
      if (octets === 0) return
      const key = `${from}\0${to}`
      sent.set(key, { octets: (sent.get(key)?.octets ?? 0) + octets, pair })
    }
    add(pair.one, pair.other, pair.octets_one_to_other)
    add(pair.other, pair.one, pair.octets_other_to_one)
  }
  const names = [...sums].sort((one, other) => other[1] - one[1]).slice(0, 10).map(([name]) => name)
  const most = Math.max(1, ...[...sent.values()].map(({ octets }) => octets))
  // By the logarithm: the largest is often a thousand times the next.
  const shade = (octets: number) => Math.max(1, Math.min(6, 6 + Math.floor(Math.log10(octets / most) * 1.5)))
  return (
    <Scroll label="Who sends to whom" class="matrix-scroll">
      <table class="matrix">
        <caption>Rows send, columns receive</caption>
        <thead><tr><td />{names.map((name) => <th scope="col" key={name}><span>{nameOf(by, name)}</span></th>)}</tr></thead>
        <tbody>
          {names.map((from) => (
            <tr key={from}>
              <th scope="row">{nameOf(by, from)}</th>
              {names.map((to) => {
                const cell = sent.get(`${from}\0${to}`)
                const conditions = cell && both(cell.pair)
                const text = cell ? bytes(cell.octets) : ''
                return <td key={to} class={cell ? `shade-${shade(cell.octets)}` : undefined}>{conditions ? <a href={behind(words, conditions)} aria-label={`${nameOf(by, from)} to ${nameOf(by, to)}: ${text}`}>{text}</a> : text}</td>
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  )
}

/** The flows behind a number, the largest first, and the way to a capture of one. */
function Flows({ words, time }: { words: Words; time: Time }) {
  const [more, set] = useState<{ items: FlowRow[]; next: string | null } | null>(null)
  const [problem, fail] = useState<Problem | null>(null)
  const asked = askedOf(words, time)
  const first = useLoaded(() => api.flows(50, null, asked), [words.filter, time.key])
  const items = [...(first.value?.items ?? []), ...(more?.items ?? [])]
  const next = more ? more.next : first.value?.next ?? null
  const load = () => api.flows(200, next, asked).then((page) => set({ items: [...(more?.items ?? []), ...page.items], next: page.next }), fail)
  if (first.problem) return <Missing problem={first.problem} again={first.again} />
  return (
    <>
      {!first.value && <Waiting what="the flows" />}
      {problem && <Wrong problem={problem} />}
      {first.value && items.length === 0 && <Empty title="No such flows in this time" />}
      {items.length > 0 && (
        <Scroll label="Flows">
          <table class="dense stack">
            <thead><tr><th scope="col">Client</th><th scope="col">Server</th><th scope="col">Application</th><th scope="col" class="number">Bytes</th><th scope="col" class="number">To server</th><th scope="col" class="number">To client</th><th scope="col">Began</th><th scope="col"><span class="unseen">Capture</span></th><th scope="col">Where</th></tr></thead>
            <tbody>{items.map((flow, i) => <FlowLine key={`${flow.start} ${flow.community_id} ${flow.point} ${i}`} flow={flow} />)}</tbody>
          </table>
        </Scroll>
      )}
      {next && <button type="button" onClick={load}>More</button>}
      {items.length > 0 && <p class="quiet-text">The largest first. Each has all its bytes, also those of before and after this time. The same on a terminal: <code>overtap flows --last 1h --where …</code></p>}
    </>
  )
}

function FlowLine({ flow }: { flow: FlowRow }) {
  const seconds = (Date.parse(flow.end) - Date.parse(flow.start)) / 1000
  const [there, back] = [flow.client_counted_octets, flow.server_counted_octets]
  return (
    <tr>
      <td class="wrap"><EndOf vm={flow.client_vm} ip={flow.client_ip} port={flow.client_port} /></td>
      <td class="wrap labelled" data-label="→"><EndOf vm={flow.server_vm} ip={flow.server_ip} port={flow.server_port} /></td>
      <td>{flow.app}{flow.asked_for && <span class="quiet-text"> {flow.asked_for}</span>}</td>
      <td class="number"><b>{bytes(there + back)}</b></td>
      <td class="number labelled" data-label="→">{bytes(there)}</td>
      <td class="number labelled" data-label="←">{bytes(back)}</td>
      <td>{when(Date.parse(flow.start))} <span class="quiet-text">{seconds < 1 ? millis(seconds * 1000) : span(seconds)}</span></td>
      <td><CaptureFlow flow={flow} /></td>
      <td class="wrap">{[flow.split, flow.overlay ? `${flow.overlay} ${flow.overlay_number}` : '', flow.vlan !== null ? `VLAN ${flow.vlan}` : ''].filter(Boolean).join(', ')} {flow.point !== '-' && <span class="quiet-text">seen at {flow.point}</span>}</td>
    </tr>
  )
}

function EndOf({ vm, ip, port }: { vm: string | null; ip: string; port: number }) {
  const where = `${ip.includes(':') ? `[${ip}]` : ip}${port ? `:${port}` : ''}`
  return vm ? <><b>{vm}</b> <span class="mono quiet-text">{where}</span></> : <span class="mono">{where}</span>
}

/** Opens the capture dialog of the machine at one end, with the filter filled in. */
function CaptureFlow({ flow }: { flow: FlowRow }) {
  const [said, say] = useState('')
  const isClient = flow.client_vm !== null
  const vm = flow.client_vm ?? flow.server_vm
  if (!vm) return null
  const tenant = isClient ? flow.client_tenant : flow.server_tenant
  const name = tenant && vm.startsWith(`${tenant}/`) ? vm.slice(tenant.length + 1) : vm
  const open = () => {
    say('…')
    api.machines({ what: name, limit: 50 }).then((found) => {
      const here = found.items.map((it) => it.machine).filter((machine) => machine.name === name && machine.tenant === tenant)
      if (here[0]) go(link(['machine', plainId(here[0].id)], { capture: '1', filter: filterOf(flow, isClient) }))
      else say('it is not there now')
    }, (problem: Problem) => say(problem.message))
  }
  return <><button type="button" class="quiet" onClick={open} aria-label={`Capture this flow at ${vm}`}><Icon name="record" /> Capture</button>{said && <span class="quiet-text" role="status">{said}</span>}</>
}

/** The packets of a flow, as the filter language has it, seen from one of its ends. */
function filterOf(flow: FlowRow, isClient: boolean): string {
  const peer = isClient ? flow.server_ip : flow.client_ip
  const protocol = { 6: 'tcp', 17: 'udp', 132: 'sctp' }[flow.protocol]
  if (protocol) return `host ${peer} and ${protocol} port ${flow.server_port}`
  return `host ${peer} and ${{ 1: 'icmp', 58: 'icmp6' }[flow.protocol] ?? `proto ${flow.protocol}`}`
}

/** Who exports flows: whether they are heard, what is missing, how they sample, how their clocks are. */
function Exporters() {
  const { value, problem, again } = useLoaded(() => api.exporters(), [], [], 10_000)
  if (problem) return <Missing problem={problem} again={again} />
  if (!value) return <Waiting what="the exporters" />
  const written = value.written ? Date.parse(value.written) : null
  const now = written ?? Date.now()
  // Some say once in another domain that they begin, and never speak there again.
  const isSilent = (it: Exporter) => it.records + it.samples > 0 && Boolean(it.last_seen) && now - Date.parse(it.last_seen!) > SILENT_MS
  const items = [...value.items].sort((one, other) => Number(isSilent(other)) - Number(isSilent(one)) || (other.lost ?? 0) - (one.lost ?? 0))
  const silent = items.filter(isSilent).length
  return (
    <>
      <p class="sums">
        <span><b>{count(items.length)}</b> {items.length === 1 ? 'exporter' : 'exporters'}</span>
        {silent > 0 && <Badge tone="warn">{silent} silent</Badge>}
        <span class="quiet-text">{written ? <>as the collector wrote it down {ago(written)}</> : 'the collector has written nothing down yet'}</span>
        {written && Date.now() - written > 60_000 && <Badge tone="warn">the collector does not write any more</Badge>}
      </p>
      {items.length === 0 && <Empty title="Nobody has exported flows yet"><p><code>overtap collect --listen 2055 --state DIR --store DIR</code> takes them; point the exporters there.</p></Empty>}
      {items.length > 0 && (
        <Scroll label="Exporters">
          <table class="dense stack">
            <thead><tr><th scope="col">Exporter</th><th scope="col">Speaks</th><th scope="col">Heard</th><th scope="col" class="number">Records</th><th scope="col" class="number">Samples</th><th scope="col" class="number">Lost</th><th scope="col" class="number">Not understood</th><th scope="col">Sampling</th><th scope="col" class="number">Clock ahead</th></tr></thead>
            <tbody>
              {items.map((it) => (
                <tr key={`${it.address} ${it.port} ${it.protocol} ${it.domain}`}>
                  <td><b class="mono">{it.address}{it.port !== null && `:${it.port}`}</b></td>
                  <td>{it.protocol}{it.domain !== 0 && <span class="quiet-text"> domain {it.domain}</span>}</td>
                  <td>{it.records + it.samples === 0 ? <Badge tone="quiet">no flows</Badge> : isSilent(it) ? <><Badge tone="warn">silent</Badge> <span class="quiet-text">{ago(Date.parse(it.last_seen!))}</span></> : <Badge tone="good">heard</Badge>}</td>
                  <td class="number labelled" data-label="records">{count(it.records)}</td>
                  <td class="number labelled" data-label="samples">{count(it.samples)}</td>
                  <td class={it.lost ? 'number bad-text labelled' : 'number labelled'} data-label="lost">{it.lost === null ? <span class="quiet-text" title="The numbers of this exporter are not understood yet">not known</span> : <>{count(it.lost)}{it.lost > 0 && <span class="quiet-text"> {it.lost_unit}</span>}</>}</td>
                  <td class={it.malformed + it.sets_without_template ? 'number warn-text labelled' : 'number labelled'} data-label="not understood">{count(it.malformed + it.sets_without_template)}</td>
                  <td>{it.sampling.length === 0 ? <span class="quiet-text">says nothing</span> : it.sampling.map(({ taken, population }) => (taken === population ? 'all' : taken === 1 ? `1 in ${count(population)}` : `${count(taken)} in ${count(population)}`)).join(', ')}</td>
                  <td class={Math.abs(it.clock_ahead_ms) > 5000 ? 'number warn-text' : 'number'}>{millis(it.clock_ahead_ms)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  )
}

/** No flows at all is no fault: it says how to have some. */
function Missing({ problem, again }: { problem: Problem; again: () => void }): ComponentChildren {
  if (problem.status === 404) return <Empty title="This controller knows of no traffic"><p>{problem.message}</p></Empty>
  if (problem.status === 403) return <Empty title="Nothing here is yours to see"><p>{problem.message}</p></Empty>
  return <Wrong problem={problem} again={again} />
}

const LAST = [
  { word: '1h', name: '1 hour', seconds: 3600 },
  { word: '24h', name: '24 hours', seconds: 86_400 },
  { word: '7d', name: '7 days', seconds: 604_800 },
]
const AND = ' and '
/** So long after the collector's last word an exporter counts as silent. */
const SILENT_MS = 300_000
